"""Find the files of a finished run on this machine without importing MLflow (seconds)."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

from fibrolab.errors import ConfigError
from fibrolab.tracking_journal import FINISHED, JOURNAL, is_finished, read_records

ACTIVE = "active"  # stage of MLflow


def finished_folder(uri: str, run_id: str) -> Path | None:
    """Return the folder of a finished run in an SQLite database.

    Args:
        uri: Tracking database or server.
        run_id: MLflow's id of the run.

    Returns:
        The folder; None if the database is of another kind or cannot be read, or the run is unknown, not
        finished, deleted, or has its files elsewhere: MLflow then says why.
    """
    place = sqlite_file(uri)
    if place is None or not place.is_file():
        return None
    query = "SELECT status, lifecycle_stage, artifact_uri FROM runs WHERE run_uuid = ?"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(place))}?mode=ro", uri=True)) as database:
            row = database.execute(query, (run_id,)).fetchone()
    except sqlite3.Error:
        return None
    if row is None or row[:2] != (FINISHED, ACTIVE):
        return None
    folder = local_folder(str(row[2]))
    return folder if folder is not None and folder.is_dir() else None


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for a database of another kind or a server.

    Raises:
        ConfigError: Its path holds a sign after which an address has ended.
    """
    if not uri.startswith("sqlite:///"):
        return None
    path = uri.removeprefix("sqlite:///")
    if signs := sorted({"?", "#"} & set(path)):
        raise ConfigError(
            f"The tracking database {path} cannot be addressed: its path holds {' and '.join(signs)}. Choose "
            "another paths.root or tracking.uri."
        )
    return Path(path).absolute()


def local_folder(uri: str) -> Path | None:
    """Return the folder of an address of artifacts; None for one on a server."""
    parts = urlparse(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def waiting_folder(artifacts: str, run_id: str) -> Path | None:
    """Return the folder of a finished run that waits for its tracking server to be sent to it.

    Args:
        artifacts: Folder below which the files of a run wait, `tracking.artifacts`.
        run_id: MLflow's id of the run.

    Returns:
        The folder; None if the run does not wait, has not finished, or has its files elsewhere.
    """
    beside = Path(artifacts).absolute() / run_id
    folder = beside / "artifacts"
    return folder if folder.is_dir() and is_finished(read_records(beside / JOURNAL)) else None
