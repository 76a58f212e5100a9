"""Measurements of files, stored in one SQLite database until the files change.

Each row has a checksum: a damaged row is measured again, and a database that SQLite cannot read is replaced.
"""

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock

from fibrolab.data.media import Media, batches, by_file
from fibrolab.data.progress import track
from fibrolab.errors import StorageError
from fibrolab.processes import cores, single_threaded_opencv
from fibrolab.storage import full_disk, is_full

FILE = "survey.sqlite"
_WRITE_EVERY = (
    256  # measurements: the most that a kill loses; writes are short, so other processes wait little
)
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)  # the latter of a damaged name in the schema
# Errors of the disk or of permissions. Others come from a damaged file, since all statements are constant.
_UNUSABLE = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)
TOGETHER = 16  # most files that a thread takes at once, since taking one costs time too
BLOCK = 8192  # files measured, and rows kept as columns, at once
ATTEMPTS = 3  # to read and write the database, of which others may fail because another process replaces it
# Function of parts of one file; it returns a row of values for each.
Measure = Callable[[Sequence[Media]], Sequence[tuple]]
T = TypeVar("T")
_log = logging.getLogger(__name__)


def measured(
    media: Sequence[Media],
    cache: Path | None,
    table: str,
    columns: Sequence[str],
    measure: Measure,
    task: str,
    workers: int = 0,
    wanted: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Measure every file that is new or has changed; read the stored values of the others.

    A file is measured again when its size, its modification or change time or its inode differ from the
    stored ones, so an edited file is never taken for the old one. Repeated media are measured once. Stored
    values that were damaged are measured again too.

    Args:
        media: Files to measure, with their views.
        cache: Folder of the database; None stores nothing, for files that are measured once.
        table: Name of the measurement and its version; files are measured again for another version.
        columns: Names of the values that `measure` returns, of types that SQLite can store.
        measure: Called in threads; it returns a fault of the file as a value and does not raise it.
        task: Text of the progress bar.
        workers: Threads; 0 means one per core. (Decoding and hashing release the GIL.)
        wanted: Columns to return; None for all. The others are stored and not kept in memory.

    Returns:
        One row for each of `media`, in its order; without `cache` as columns of objects.

    Raises:
        StorageError: The database cannot be read or written.
    """
    distinct = list(dict.fromkeys(media))
    pass_over = partial(_pass_over, measure=measure, task=task, workers=workers or cores())
    wanted = columns if wanted is None else wanted
    if cache is None:
        # One block of objects: to make a column of its own type of each takes longer than to measure a file.
        values = np.empty((len(distinct), len(columns)), object)
        for (_, place), fact in pass_over([(item, place) for place, item in enumerate(distinct)]):
            values[place] = fact
        facts = pd.DataFrame(values, columns=list(columns), dtype=object)
        facts = facts if list(wanted) == list(columns) else facts[list(wanted)]
    else:
        rows_of = partial(_Rows, columns, wanted)
        stored = partial(_stored, distinct, cache, table, columns, pass_over, rows_of)
        facts = _undamaged(stored, cache, table, columns)
    return (
        facts if len(distinct) == len(media) else facts.iloc[_places(distinct, media)].reset_index(drop=True)
    )


def _pass_over(
    items: Sequence[tuple[Media, T]], measure: Measure, task: str, workers: int
) -> Iterator[tuple[tuple[Media, T], tuple]]:
    """Yield each item, file by file, with the values that are measured of its media."""
    files = by_file(items)
    together = min(TOGETHER, max(1, len(files) // (TOGETHER * workers)))  # few files are dealt out singly

    def values(groups: list[list[tuple[Media, T]]]) -> list[tuple[tuple[Media, T], tuple]]:
        return [
            pair for group in groups for pair in zip(group, measure([item for item, _ in group]), strict=True)
        ]

    if len(items) == 1:
        yield from values(files)
    elif items:
        with single_threaded_opencv(), ThreadPoolExecutor(workers) as pool:
            # A batch is submitted when the one before is done: an object waits for every file of a batch.
            found = (
                pool.map(values, [batch[k : k + together] for k in range(0, len(batch), together)])
                for batch in batches(files, BLOCK, workers)
            )
            yield from track(chain.from_iterable(chain.from_iterable(found)), total=len(items), task=task)


def _undamaged(
    stored: Callable[[], pd.DataFrame], cache: Path, table: str, columns: Sequence[str]
) -> pd.DataFrame:
    """Return what `stored` reads from the database; replace a damaged one, and read again."""
    try:
        for _ in range(1, ATTEMPTS):
            try:
                return stored()
            except DAMAGE as error:
                if not _is_damage(error, cache / FILE):
                    raise
                _remove_damaged(cache, table, columns)
        return stored()
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        reason = full_disk(cache) if is_full(error) else error
        raise StorageError(
            f"Measurements of the files cannot be stored in {cache / FILE}: {reason}. Free some space, or "
            "set another paths.cache."
        ) from error


def _places(distinct: Sequence[Media], media: Sequence[Media]) -> list[int]:
    """Return the place of each of `media` among the distinct ones."""
    place = {item: number for number, item in enumerate(distinct)}
    return [place[item] for item in media]


def _is_damage(error: Exception, database: Path) -> bool:
    """Return whether an error may come from damage or a replaced file, not from the disk or permissions."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code == sqlite3.SQLITE_READONLY_DBMOVED:  # another process has replaced the file
        return True
    may_write = all(os.access(path, os.W_OK) for path in (database, database.parent) if path.exists())
    refused = code & 0xFF == sqlite3.SQLITE_READONLY and not may_write
    return not refused and code != sqlite3.SQLITE_READONLY_DIRECTORY and code & 0xFF not in _UNUSABLE


def _remove_damaged(cache: Path, table: str, columns: Sequence[str]) -> None:
    """Remove a damaged database, unless another process has already replaced it by a readable one.

    Raises:
        sqlite3.DatabaseError: It cannot be read or written for another reason than damage.
    """
    database = cache / FILE
    with FileLock(database.with_suffix(".lock")):
        try:
            with _Database(cache, table, columns) as opened:
                opened.check()
        except DAMAGE as error:
            if not _is_damage(error, database):
                raise
            _log.warning("%s is damaged; the files are measured again.", database)
            for path in (database.with_name(f"{database.name}-journal"), database):
                path.unlink(missing_ok=True)


def _stored(
    media: Sequence[Media],
    cache: Path,
    table: str,
    columns: Sequence[str],
    pass_over: Callable[[list[tuple[Media, tuple[int, str]]]], Iterator],
    rows_of: Callable[[], "_Rows"],
) -> pd.DataFrame:
    """Return the stored values of distinct media, a row each; measure and store those that are missing."""
    rows, missing = rows_of(), []
    with _Database(cache, table, columns) as database:
        for place, (item, (stamp, fact)) in enumerate(zip(media, database.read(media), strict=True)):
            if fact is None:
                missing.append((item, (place, stamp)))
            else:
                rows.add(place, fact)
        for (item, (place, stamp)), fact in pass_over(missing):
            rows.add(place, fact)
            database.add(item, stamp, fact)
    return rows.table()


class _Rows:
    """Rows that come in any order, kept as the wanted columns, without the tuples of all rows beside them."""

    def __init__(self, columns: Sequence[str], wanted: Sequence[str]) -> None:
        self._columns, self._wanted = list(columns), list(wanted)
        self._parts: list[pd.DataFrame] = []
        self._new: list[tuple] = []
        self._places: list[int] = []

    def add(self, place: int, values: tuple) -> None:
        """Add the values of the row of that number."""
        self._places.append(place)
        self._new.append(values)
        if len(self._new) == BLOCK:
            self._end_part()

    def table(self) -> pd.DataFrame:
        """Return the rows in order."""
        if self._new or not self._parts:
            self._end_part()
        found = self._parts[0] if len(self._parts) == 1 else pd.concat(self._parts, ignore_index=True)
        order = np.argsort(np.array(self._places, np.int64))
        return found if (order[1:] > order[:-1]).all() else found.iloc[order].reset_index(drop=True)

    def _end_part(self) -> None:
        self._parts.append(pd.DataFrame(self._new, columns=self._columns)[self._wanted])
        self._new = []


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
        self._path = cache / FILE
        self._connection = sqlite3.connect(self._path, timeout=120)
        self._connection.text_factory = partial(str, encoding="utf-8", errors="replace")  # damaged text
        self._new: list[tuple] = []
        self._table, self._columns = table, list(columns)
        names = ", ".join(self._columns)
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} "
            f"(path, view, stamp, {names}, checksum, PRIMARY KEY (path, view))"
        )

    def __enter__(self) -> "_Database":
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._connection):
            self._write()  # also after an exception: measurements already made are kept

    def read(self, media: Sequence[Media]) -> Iterator[tuple[str, tuple | None]]:
        """Yield the stamp of each file, and its stored values; None if it has changed or one is damaged."""
        query = (
            f"SELECT stamp, {', '.join(self._columns)}, checksum FROM {self._table} "
            "WHERE path = ? AND view = ?"
        )
        damaged, path, stamp = 0, Path(), ""
        for item in media:
            if item.path != path:  # frames of a film have one path
                path, stamp = item.path, _stamp(item.path)
            row = self._connection.execute(query, _key(item)).fetchone()
            intact = row and row[-1] == _checksum((*_key(item), *row[:-1]))
            damaged += bool(row) and not intact
            yield stamp, row[1:-1] if intact and row[0] == stamp else None
        if damaged:
            _log.warning("Damaged measurements in %s are made again: %d.", self._path, damaged)

    def check(self) -> None:
        """Read everything, and write a row that is not kept; a damaged database raises an error."""
        for (finding,) in self._connection.execute("PRAGMA integrity_check").fetchall():
            if finding != "ok":
                raise sqlite3.DatabaseError(finding)
        names = ", ".join(("path", "view", "stamp", *self._columns, "checksum"))
        self._connection.execute(f"SELECT {names} FROM {self._table}").fetchall()
        self._insert([("", "", *[None] * (len(self._columns) + 2))])
        self._connection.rollback()

    def add(self, item: Media, stamp: str, values: tuple) -> None:
        """Store the values of one file; one without a stamp (it cannot be opened) is measured again later."""
        if stamp:
            row = (*_key(item), stamp, *values)
            self._new.append((*row, _checksum(row)))
        if len(self._new) >= _WRITE_EVERY:
            self._write()

    def _write(self) -> None:
        with self._connection:  # one transaction
            self._insert(self._new)
        self._new.clear()

    def _insert(self, rows: Sequence[tuple]) -> None:
        placeholders = ", ".join("?" * (4 + len(self._columns)))
        self._connection.executemany(f"INSERT OR REPLACE INTO {self._table} VALUES ({placeholders})", rows)


def _key(item: Media) -> tuple[str, str]:
    return str(item.path.absolute()), str(item.view)


def _checksum(row: tuple) -> int:
    return zlib.crc32(repr([None if value != value else value for value in row]).encode())  # NaN is stored so
