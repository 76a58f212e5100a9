-- Databases and users of the stack; psql reads the passwords from the files of $SECRETS.
\set mlflow_password `cat "$SECRETS/mlflow_database_password"`
\set optuna_password `cat "$SECRETS/optuna_database_password"`
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE ROLE optuna LOGIN PASSWORD :'optuna_password';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_users OWNER mlflow;
CREATE DATABASE optuna OWNER optuna;
REVOKE CONNECT ON DATABASE mlflow, mlflow_users, optuna FROM PUBLIC;
