"""Measurements of files, stored in one SQLite database until the files change."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pandas as pd

from fibrolab.data.media import Media
from fibrolab.data.progress import track
from fibrolab.errors import StorageError

FILE = "survey.sqlite"
_WRITE_EVERY = (
    256  # measurements: the most that a kill loses; writes are short, so other processes wait little
)


def measured(
    media: Sequence[Media],
    cache: Path,
    table: str,
    columns: Sequence[str],
    measure: Callable[[Media], tuple],
    task: str,
    workers: int = 0,
) -> pd.DataFrame:
    """Measure every file that is new or has changed; read the stored values of the others.

    A file is measured again when its size, its modification or change time or its inode differ from the
    stored ones, so an edited file is never taken for the old one. Repeated media are measured once.

    Args:
        media: Files to measure, with their views.
        cache: Folder of the database.
        table: Name of the measurement and its version; files are measured again for another version.
        columns: Names of the values that `measure` returns, of types that SQLite can store.
        measure: Called in threads; it returns a fault of the file as a value and does not raise it.
        task: Text of the progress bar.
        workers: Threads; 0 means one per core. (Decoding and hashing release the GIL.)

    Returns:
        One row for each of `media`, in its order.

    Raises:
        StorageError: The database cannot be read or written.
    """
    position = {item: number for number, item in enumerate(dict.fromkeys(media))}
    distinct = list(position)
    stamps = [_stamp(item.path) for item in distinct]
    try:
        with _Database(cache, table, columns) as database:
            facts = database.read(distinct, stamps)
            unknown = [i for i, fact in enumerate(facts) if fact is None]
            found = _measured([distinct[i] for i in unknown], measure, task, workers)
            for i, fact in zip(unknown, found, strict=True):
                facts[i] = fact
                database.add(distinct[i], stamps[i], fact)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(
            f"Measurements of the files cannot be stored in {cache / FILE} ({error}). Free disk space, or "
            f"set another paths.cache; a damaged {FILE} may be deleted: the files are then measured again."
        ) from error
    return pd.DataFrame([facts[position[item]] for item in media], columns=list(columns))


def _measured(
    media: Sequence[Media], measure: Callable[[Media], tuple], task: str, workers: int
) -> Iterator[tuple]:
    if not media:
        return
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from track(pool.map(measure, media), total=len(media), task=task)


def _stamp(path: Path) -> str:
    """Return size, times and inode of a file as text; empty if it cannot be opened."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


class _Database:
    """One table of values by path, view and stamp, which several processes may use at once.

    New values are written in short transactions, so that no process holds the lock while it measures.
    """

    def __init__(self, cache: Path, table: str, columns: Sequence[str]) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(cache / FILE, timeout=120)
        self._new: list[tuple] = []
        self._table, self._columns = table, list(columns)
        names = ", ".join(self._columns)
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (path, view, stamp, {names}, PRIMARY KEY (path, view))"
        )

    def __enter__(self) -> "_Database":
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._connection):
            self._write()  # also after an exception: measurements already made are kept

    def read(self, media: Sequence[Media], stamps: Sequence[str]) -> list[tuple | None]:
        """Return the stored values of each file; None if it is new or has changed."""
        query = f"SELECT stamp, {', '.join(self._columns)} FROM {self._table} WHERE path = ? AND view = ?"
        rows = [self._connection.execute(query, _key(item)).fetchone() for item in media]
        return [row[1:] if row and row[0] == stamp else None for row, stamp in zip(rows, stamps, strict=True)]

    def add(self, item: Media, stamp: str, values: tuple) -> None:
        """Store the values of one file; one without a stamp (it cannot be opened) is measured again later."""
        if stamp:
            self._new.append((*_key(item), stamp, *values))
        if len(self._new) >= _WRITE_EVERY:
            self._write()

    def _write(self) -> None:
        placeholders = ", ".join("?" * (3 + len(self._columns)))
        with self._connection:  # one transaction
            self._connection.executemany(
                f"INSERT OR REPLACE INTO {self._table} VALUES ({placeholders})", self._new
            )
        self._new.clear()


def _key(item: Media) -> tuple[str, str]:
    return str(item.path.absolute()), str(item.view)
