#!/bin/sh
# Run one server of the stack: serve.sh mlflow | dashboard
#
# Environment: SECRETS, folder of the passwords (/run/secrets); PGHOST and PGPORT of PostgreSQL; LISTEN and PORT,
# where it answers; for mlflow also ARTIFACTS, an s3:// bucket or a folder, and S3_ENDPOINT of that bucket.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
secrets=${SECRETS:-/run/secrets}

secret() {
  if [ ! -s "$secrets/$1" ]; then
    echo "serve.sh: the secret $secrets/$1 is missing or empty; docker/make_secrets.sh makes it." >&2
    exit 1
  fi
  cat "$secrets/$1"
}

make_bucket() {
  python - "$1" "$2" <<'PYTHON'
import sys
import boto3

bucket, endpoint = sys.argv[1:]
store = boto3.client("s3", endpoint_url=endpoint)
if bucket not in {each["Name"] for each in store.list_buckets()["Buckets"]}:
    store.create_bucket(Bucket=bucket)
PYTHON
}

case "${1:-}" in
  mlflow)
    PGUSER=mlflow PGPASSWORD=$(secret mlflow_database_password)
    MLFLOW_AUTH_ADMIN_USERNAME=admin MLFLOW_AUTH_ADMIN_PASSWORD=$(secret mlflow_admin_password)
    MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret mlflow_session_key)
    MLFLOW_AUTH_CONFIG_PATH=$here/mlflow_auth.ini
    export PGUSER PGPASSWORD MLFLOW_AUTH_ADMIN_USERNAME MLFLOW_AUTH_ADMIN_PASSWORD
    export MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH
    case "$ARTIFACTS" in
      s3://*)
        AWS_ACCESS_KEY_ID=mlflow AWS_SECRET_ACCESS_KEY=$(secret s3_key) MLFLOW_S3_ENDPOINT_URL=$S3_ENDPOINT
        export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY MLFLOW_S3_ENDPOINT_URL
        export AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-us-east-1}"
        make_bucket "${ARTIFACTS#s3://}" "$S3_ENDPOINT"
        ;;
    esac
    export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # jobs of its GenAI part, a process each
    exec python -m mlflow server --app-name basic-auth --host "${LISTEN:-0.0.0.0}" --port "${PORT:-5000}" \
      --backend-store-uri postgresql:///mlflow --artifacts-destination "$ARTIFACTS" --workers "${WORKERS:-2}"
    ;;
  dashboard)
    PGUSER=optuna PGPASSWORD=$(secret optuna_database_password)
    export PGUSER PGPASSWORD
    # The dashboard does not make Optuna's tables: they come with the first study.
    python -c 'import optuna; optuna.storages.RDBStorage("postgresql:///optuna")'
    exec optuna-dashboard --host "${LISTEN:-0.0.0.0}" --port "${PORT:-8080}" postgresql:///optuna
    ;;
  *)
    echo "usage: serve.sh mlflow | dashboard" >&2
    exit 2
    ;;
esac
