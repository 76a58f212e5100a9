"""Measurements of files, remembered in one SQLite file until the files change."""

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
_KEPT_BACK = 256  # measurements between two writes: a kill loses no more, and others never wait for long


def measured(
    media: Sequence[Media],
    cache: Path,
    table: str,
    columns: Sequence[str],
    measure: Callable[[Media], tuple],
    task: str,
    workers: int = 0,
) -> pd.DataFrame:
    """Measure every file that is new or has changed; recall the others.

    A file is read again when its size, its modification or change time or its inode differ from what
    was remembered, so an edited file is never mistaken for the old one. One that is named several times
    is measured once.

    Args:
        media: What to measure.
        cache: Folder of the memory.
        table: Name of the measurement and its version; another version is measured anew.
        columns: Names of the values that `measure` gives, which SQLite can hold.
        measure: Called in threads; a fault of the file is a value, not an exception.
        task: Words for the progress bar.
        workers: Threads; 0 takes every core. (Decoding and hashing let go of Python's lock.)

    Returns:
        One row for each of `media`, in its order.

    Raises:
        StorageError: The memory cannot be read or written.
    """
    places = {item: number for number, item in enumerate(dict.fromkeys(media))}
    distinct = list(places)
    stamps = [_stamp(item.path) for item in distinct]
    try:
        with _Memory(cache, table, columns) as memory:
            facts = memory.recall(distinct, stamps)
            unknown = [i for i, fact in enumerate(facts) if fact is None]
            found = _measured([distinct[i] for i in unknown], measure, task, workers)
            for i, fact in zip(unknown, found, strict=True):
                facts[i] = fact
                memory.note(distinct[i], stamps[i], fact)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(
            f"What is known of the files cannot be kept in {cache / FILE} ({error}). Make room or name "
            f"another paths.cache; a damaged {FILE} may be deleted: the files are then measured anew."
        ) from error
    return pd.DataFrame([facts[places[item]] for item in media], columns=list(columns))


def _measured(
    media: Sequence[Media], measure: Callable[[Media], tuple], task: str, workers: int
) -> Iterator[tuple]:
    if not media:
        return
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from track(pool.map(measure, media), total=len(media), task=task)


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


class _Memory:
    """Values by path, view and stamp in one table, which several processes may use at once.

    New values are written in short transactions, so that no process holds the lock while it measures.
    """

    def __init__(self, cache: Path, table: str, columns: Sequence[str]) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(cache / FILE, timeout=120)
        self._new: list[tuple] = []
        self._table, self._columns = table, list(columns)
        names = ", ".join(self._columns)
        self._database.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (path, view, stamp, {names}, PRIMARY KEY (path, view))"
        )

    def __enter__(self) -> "_Memory":
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._database):
            self._write()  # also after a fault: what was measured stays known

    def recall(self, media: Sequence[Media], stamps: Sequence[str]) -> list[tuple | None]:
        """Return the values of each file; None where it is new or has changed."""
        query = f"SELECT stamp, {', '.join(self._columns)} FROM {self._table} WHERE path = ? AND view = ?"
        rows = [self._database.execute(query, _key(item)).fetchone() for item in media]
        return [row[1:] if row and row[0] == stamp else None for row, stamp in zip(rows, stamps, strict=True)]

    def note(self, item: Media, stamp: str, values: tuple) -> None:
        """Remember one file; one that cannot be opened has no stamp and is looked at again."""
        if stamp:
            self._new.append((*_key(item), stamp, *values))
        if len(self._new) >= _KEPT_BACK:
            self._write()

    def _write(self) -> None:
        places = ", ".join("?" * (3 + len(self._columns)))
        with self._database:  # one transaction
            self._database.executemany(f"INSERT OR REPLACE INTO {self._table} VALUES ({places})", self._new)
        self._new.clear()


def _key(item: Media) -> tuple[str, str]:
    return str(item.path.absolute()), str(item.view)
