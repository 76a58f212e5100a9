#!/usr/bin/env bash
# The servers of compose.yaml on this machine, without Docker: PostgreSQL, MLflow with users, optuna-dashboard.
#
#   docker/local_stack.sh start [postgres | mlflow | dashboard]
#   docker/local_stack.sh stop [postgres | mlflow | dashboard]
#   docker/local_stack.sh status
#   docker/local_stack.sh backup FILE
#   docker/local_stack.sh restore FILE
#
# It needs PostgreSQL (Debian: apt install postgresql) and a Python with `pip install 'fibrolab[server,dashboard]'`.
# All servers answer on 127.0.0.1 only. Data, logs and passwords are in one folder, which the variable
# FIBROLAB_STACK names. There is no S3-compatible store: MLflow keeps the files of runs in that folder.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" = 0 ]; then default=/var/lib/fibrolab; else default=${XDG_STATE_HOME:-$HOME/.local/state}/fibrolab; fi
stack=${FIBROLAB_STACK:-$default}
servers=(postgres mlflow dashboard)
databases=(mlflow mlflow_users optuna)

fail() {
  echo "local_stack.sh: $*" >&2
  exit 1
}

find_programs() {
  python=${PYTHON:-$here/../.venv/bin/python}
  [ -x "$python" ] || python=$(command -v python3) || fail "there is no Python: give its path as PYTHON=..."
  export PATH="$(cd "$(dirname "$python")" && pwd):$PATH"
  if ! command -v initdb > /dev/null; then
    local found
    found=$(find /usr/lib/postgresql -maxdepth 3 -name initdb 2> /dev/null | sort -V | tail -n 1)
    [ -n "$found" ] || fail "PostgreSQL is not installed: run \`apt install postgresql\`."
    export PATH="$(dirname "$found"):$PATH"
  fi
}

# PostgreSQL refuses to run as root; Debian's package has made the user postgres.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then (cd / && exec runuser -u postgres -- "$@"); else "$@"; fi
}

as_admin() { # psql, pg_dump ... as the administrator of the databases, whose password is in no argument
  PGPASSWORD=$(cat "$stack/secrets/postgres_password") PGHOST=127.0.0.1 PGPORT=$postgres_port PGUSER=postgres "$@"
}

read_ports() {
  [ -s "$stack/ports" ] || fail "there is no stack in $stack: run \`docker/local_stack.sh start\`."
  # shellcheck source=/dev/null
  . "$stack/ports"
}

create() { # what is missing of the folder; nothing that exists is changed
  mkdir -p "$stack/logs" "$stack/artifacts"
  chmod 711 "$stack" # PostgreSQL's user passes through
  "$here/make_secrets.sh" "$stack/secrets"
  chmod 600 "$stack"/secrets/*
  [ -s "$stack/ports" ] || "$python" - > "$stack/ports.new" <<'PYTHON'
import socket

names = ("postgres_port", "mlflow_port", "dashboard_port")
probes = [socket.create_server(("127.0.0.1", 0)) for _ in names]  # open together, so that they differ
print("\n".join(f"{name}={probe.getsockname()[1]}" for name, probe in zip(names, probes)))
PYTHON
  [ -s "$stack/ports" ] || mv "$stack/ports.new" "$stack/ports"
}

create_cluster() {
  [ -e "$stack/postgres/created" ] && return
  rm -rf "$stack/postgres"
  mkdir "$stack/postgres"
  cp "$stack/secrets/postgres_password" "$stack/postgres/password"
  [ "$(id -u)" != 0 ] || chown -R postgres: "$stack/postgres"
  as_postgres test -w "$stack/postgres" ||
    fail "the user postgres cannot enter $stack: give another folder as FIBROLAB_STACK=... or open those above it."
  as_postgres initdb --pgdata="$stack/postgres/data" --username=postgres --pwfile="$stack/postgres/password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 > "$stack/logs/initdb.log" 2>&1 ||
    fail "PostgreSQL could not make its cluster: $(tail -n 1 "$stack/logs/initdb.log")"
  rm "$stack/postgres/password"
  start_cluster
  SECRETS=$stack/secrets as_admin psql --quiet --set=ON_ERROR_STOP=1 --dbname=postgres --file="$here/create_databases.sql"
  touch "$stack/postgres/created"
}

start_cluster() {
  as_postgres pg_ctl --pgdata="$stack/postgres/data" --log="$stack/postgres/log.txt" --silent --wait --timeout=120 \
    --options="-p $postgres_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" start > /dev/null ||
    fail "PostgreSQL did not start: $(tail -n 2 "$stack/postgres/log.txt")"
}

# Process id of a server that this script has started and that still runs.
pid_of() {
  local pid
  if [ "$1" = postgres ]; then
    pid=$(head -n 1 "$stack/postgres/data/postmaster.pid" 2> /dev/null) || return 1
    as_postgres pg_ctl --pgdata="$stack/postgres/data" status > /dev/null 2>&1 || return 1
  else
    pid=$(cat "$stack/$1.pid" 2> /dev/null) || return 1
    ps -o args= -p "$pid" 2> /dev/null | grep -qE 'serve\.sh|mlflow|optuna' || return 1
  fi
  echo "$pid"
}

start() {
  if pid_of "$1" > /dev/null; then return; fi
  if [ "$1" = postgres ]; then
    create_cluster
    pid_of postgres > /dev/null || start_cluster
    return
  fi
  pid_of postgres > /dev/null || fail "$1 needs PostgreSQL, which is stopped: run \`docker/local_stack.sh start\`."
  local port=${1}_port
  export SECRETS=$stack/secrets PGHOST=127.0.0.1 PGPORT=$postgres_port LISTEN=127.0.0.1 PORT=${!port}
  export ARTIFACTS=$stack/artifacts WORKERS=${WORKERS:-1}
  set -m # a process group of its own, which `stop` ends as a whole
  "$here/serve.sh" "$1" > "$stack/logs/$1.log" 2>&1 < /dev/null &
  echo $! > "$stack/$1.pid"
  set +m
}

wait_for() {
  [ "$1" != postgres ] || return 0
  local port=${1}_port path=health
  [ "$1" = mlflow ] || path=dashboard
  for _ in $(seq 360); do
    pid_of "$1" > /dev/null || fail "$1 did not start; its log $stack/logs/$1.log ends with: $(tail -n 1 "$stack/logs/$1.log")"
    if "$python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' \
      "http://127.0.0.1:${!port}/$path" 2> /dev/null; then return; fi
    sleep 0.5
  done
  fail "$1 does not answer after 3 minutes; its log is $stack/logs/$1.log."
}

stop() {
  local pid
  pid=$(pid_of "$1") || return 0
  if [ "$1" = postgres ]; then
    as_postgres pg_ctl --pgdata="$stack/postgres/data" --mode=fast --silent --wait --timeout=120 stop > /dev/null ||
      fail "PostgreSQL did not stop within 2 minutes."
    return
  fi
  kill -- "-$pid"
  for _ in $(seq 60); do
    kill -0 -- "-$pid" 2> /dev/null || break
    sleep 0.5
  done
  kill -KILL -- "-$pid" 2> /dev/null || true
  rm -f "$stack/$1.pid"
}

status() {
  local each port running=0
  for each in "${servers[@]}"; do
    port=${each}_port
    if pid_of "$each" > /dev/null; then
      printf '%-10s running  127.0.0.1:%s\n' "$each" "${!port}"
    else
      printf '%-10s stopped\n' "$each"
      running=3
    fi
  done
  cat <<TEXT
Clients:   tracking.uri=http://127.0.0.1:$mlflow_port   hydra.sweeper.storage=postgresql://optuna@127.0.0.1:$postgres_port/optuna
Passwords: export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD="\$(cat $stack/secrets/mlflow_admin_password)"
           export PGPASSWORD="\$(cat $stack/secrets/optuna_database_password)"
Files of runs are kept by MLflow in $stack/artifacts: there is no S3-compatible store here.
TEXT
  return $running
}

backup() {
  local file=$1 name
  [ ! -e "$file" ] || fail "$file exists: give another name."
  pid_of postgres > /dev/null || fail "PostgreSQL is stopped: run \`docker/local_stack.sh start postgres\`."
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # The databases before the files: then no run of the backup misses a file that it had.
  for name in "${databases[@]}"; do
    as_admin pg_dump --format=custom --no-owner --no-privileges --file="$work/$name.dump" "$name"
  done
  cp "$stack/secrets/mlflow_admin_password" "$work/" # its hash is in mlflow_users
  tar --create --gzip --file="$file.part" --directory="$work" . --directory="$stack" artifacts ||
    fail "$file could not be written whole; $file.part can be removed."
  mv "$file.part" "$file"
  echo "saved $(du -h "$file" | cut -f 1) in $file"
}

restore() {
  local file=$1 name each
  [ -r "$file" ] || fail "there is no file $file."
  work=$(mktemp -d "$stack/restore.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  tar --extract --gzip --file="$file" --directory="$work" 2> /dev/null || fail "$file is no whole backup of this script."
  for each in "${databases[@]/%/.dump}" mlflow_admin_password artifacts; do
    [ -e "$work/$each" ] || fail "$file is no backup of this script: it has no $each."
  done
  # New databases are filled beside the old ones, which stay as they are until all of them are whole.
  for name in "${databases[@]}"; do
    as_admin psql --quiet --dbname=postgres --set=ON_ERROR_STOP=1 \
      --command="DROP DATABASE IF EXISTS ${name}_new" --command="CREATE DATABASE ${name}_new OWNER ${name%_users}"
    as_admin pg_restore --exit-on-error --no-owner --role="${name%_users}" --dbname="${name}_new" "$work/$name.dump" ||
      fail "the database $name of $file cannot be restored; nothing was changed."
  done
  stop mlflow
  stop dashboard
  for name in "${databases[@]}"; do
    as_admin psql --quiet --dbname=postgres --set=ON_ERROR_STOP=1 \
      --command="DROP DATABASE $name WITH (FORCE)" --command="ALTER DATABASE ${name}_new RENAME TO $name" \
      --command="REVOKE CONNECT ON DATABASE $name FROM PUBLIC"
  done
  rm -rf "$stack/artifacts"
  mv "$work/artifacts" "$stack/artifacts"
  mv "$work/mlflow_admin_password" "$stack/secrets/mlflow_admin_password"
  start_all
}

start_all() {
  local each
  for each in "${servers[@]}"; do start "$each"; done
  for each in "${servers[@]}"; do wait_for "$each"; done
}

usage="usage: local_stack.sh start [SERVER] | stop [SERVER] | status | backup FILE | restore FILE; SERVER: ${servers[*]}"
command=${1:-} operand=${2:-}
case "$command" in
  start | stop)
    [[ -z $operand || " ${servers[*]} " = *" $operand "* ]] || fail "there is no server '$operand'; $usage"
    ;;
  status) ;;
  backup | restore) [ -n "$operand" ] || fail "$command needs a file; $usage" ;;
  *) fail "$usage" ;;
esac
[ "$command" = start ] || read_ports
find_programs
[ "$command" != start ] || { create && read_ports; }
case "$command $operand" in
  "start ") start_all && status ;;
  start*) start "$operand" && wait_for "$operand" ;;
  "stop ") for each in dashboard mlflow postgres; do stop "$each"; done ;;
  *) "$command" "$operand" ;;
esac
