"""Check the address of a tracking database or server, before MLflow repeats its requests for minutes."""

import ssl
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import urlopen

from sqlalchemy import create_engine, inspect, make_url

from fibrolab.credentials import masked
from fibrolab.errors import ConfigError, StorageError
from fibrolab.local_runs import sqlite_file
from fibrolab.time_limits import call_within

SERVERS = ("http:", "https:")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # those that MLflow takes
PATIENCE = 10.0  # [s] until a server that does not answer is out of reach
# Packages of the drivers of databases that are called otherwise.
DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "mysqldb": "mysqlclient"}


def check_address(uri: str) -> None:
    """Refuse what is no address, and a server or database that cannot be reached within `PATIENCE`.

    Raises:
        ConfigError: It is no address, or its driver is not installed.
        StorageError: The server does not answer.
        OSError, SQLAlchemyError: The database cannot be opened.
    """
    kind = uri.partition(":")[0].partition("+")[0]
    if uri.startswith(SERVERS):
        check_server(uri)
    elif kind in DATABASES:
        _check_database(uri)
    elif kind != "databricks":
        raise ConfigError(
            f"tracking.uri='{masked(uri)}' is not the address of a database or a server: give "
            "sqlite:///PATH/mlflow.db, postgresql://USER@HOST/NAME or http://HOST:5000."
        )


def check_server(uri: str, patience: float | None = None) -> None:
    """Refuse a server that does not answer, or is out of service.

    Args:
        uri: Its address.
        patience: Time limit [s]; by default `PATIENCE`.

    Raises:
        StorageError: No answer in time, or an error of the server.
    """
    patience = patience or PATIENCE
    parts = urlparse(uri)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/health"
    try:
        call_within(patience, lambda: urlopen(address, timeout=patience).close())
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError) and error.code < 500:  # such as a request for a password
            return
        if isinstance(getattr(error, "reason", None), ssl.SSLError):  # MLflow has its own setting for these
            return
        raise StorageError(
            f"The tracking server {masked(uri)} does not answer ({error}): start it, or correct tracking.uri."
        ) from error


def _check_database(uri: str) -> None:
    """Refuse a database that cannot be opened; a missing SQLite file is none."""
    place = sqlite_file(uri)
    if place and not place.exists():
        return
    address = make_url(f"sqlite:///{place}" if place else uri)
    driver = address.get_driver_name()
    try:
        engine = create_engine(address)
    except ImportError as error:
        raise ConfigError(
            f"tracking.uri={masked(uri)} needs a driver that is not installed: run `pip install "
            f"'{DRIVERS.get(driver, driver)}'`."
        ) from error
    try:
        call_within(PATIENCE, lambda: inspect(engine).has_table("runs"))
    finally:
        engine.dispose()
