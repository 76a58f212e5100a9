#!/bin/sh
# Make the passwords of the stack, each in a file of its own: docker/make_secrets.sh [FOLDER]
#
# Files that exist are kept. Only the owner can enter the folder. Within it the files are readable for all, since
# Docker Compose hands them to containers under other users with the permissions that they have here.
set -eu
folder=${1:-$(cd "$(dirname "$0")" && pwd)/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

for name in postgres_password mlflow_database_password optuna_database_password \
  mlflow_admin_password mlflow_session_key s3_key; do
  [ -s "$folder/$name" ] || od -An -tx1 -N24 /dev/urandom | tr -d ' \n' > "$folder/$name"
done
[ -s "$folder/s3.json" ] || cat > "$folder/s3.json" <<JSON
{"identities": [{"name": "mlflow", "actions": ["Admin", "Read", "Write", "List"],
  "credentials": [{"accessKey": "mlflow", "secretKey": "$(cat "$folder/s3_key")"}]}]}
JSON
chmod 644 "$folder"/*
