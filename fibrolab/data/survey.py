"""The survey: what is known of every image file before anything is trained, remembered between runs."""

import hashlib
import io
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fibrolab.data.progress import track
from fibrolab.data.readers import decode, read_bytes, to_grey
from fibrolab.errors import DataError, StorageError, UnreadableImageError, listing

FACTS = ("sha256", "n_bytes", "width", "height", "mode", "format", "phash", "error")
VERSION = 2  # raise it when facts are added or measured otherwise: what was remembered is then measured anew
_KEPT_BACK = 256  # files between two writes: a kill loses no more, and another process never waits for long
_TABLE = f"files_{VERSION}"
_HASH_SIDE = 16  # 16 x 16 low frequencies: a perceptual hash of 256 bits


def survey(paths: Sequence[Path], cache: Path, workers: int = 0) -> pd.DataFrame:
    """Facts of every file, in the order of `paths`.

    A file is read again when its size, its modification or change time or its inode differ from what
    was remembered, so an edited file is never mistaken for the old one.

    Args:
        paths: Image files.
        cache: Folder of the memory, `survey.sqlite`.
        workers: Threads; 0 takes every core. (Decoding and hashing let go of Python's lock.)

    Returns:
        One row a path with the columns `FACTS`: SHA-256 of the bytes, size [bytes], width and height
        [pixels], PIL mode, format by content, 256-bit perceptual hash (hexadecimal) and `error`, empty
        for a readable file.

    Raises:
        StorageError: The memory cannot be read or written.
    """
    stamps = [_stamp(path) for path in paths]
    try:
        with _Memory(cache) as memory:
            facts = memory.recall(paths, stamps)
            unknown = [i for i, fact in enumerate(facts) if fact is None]
            for i, fact in zip(unknown, _measure([paths[i] for i in unknown], workers), strict=True):
                facts[i] = fact
                memory.note(paths[i], stamps[i], fact)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(
            f"What is known of the image files cannot be kept in {cache / 'survey.sqlite'} ({error}). "
            "Make room or name another paths.cache; a damaged survey.sqlite may be deleted: the files are "
            "then measured anew."
        ) from error
    return pd.DataFrame(facts, columns=list(FACTS))


def readable(
    paths: Sequence[Path], facts: pd.DataFrame, policy: str, root: Path
) -> tuple[np.ndarray, list[str]]:
    """Which files can be used, and a sentence on each that cannot.

    Args:
        paths: The files.
        facts: Their survey.
        policy: `error`, or `skip` to go on without the unreadable ones.
        root: Folder that names in sentences are relative to.

    Returns:
        A boolean mask (N,) and the sentences on what was left out.

    Raises:
        DataError: Under `error` when any file is unreadable (all are listed), or when none is readable.
    """
    good = (facts["error"] == "").to_numpy()
    faults = [
        f"{path.relative_to(root) if path.is_relative_to(root) else path}: {error}"
        for path, error in zip(paths, facts["error"], strict=True)
        if error
    ]
    if faults and policy == "error":
        raise DataError(
            f"{len(faults)} of {len(paths)} image files under {root} cannot be read:\n{listing(faults)}\n"
            "Mend or remove them, or set data.on_unreadable=skip to go on without them."
        )
    if not good.any():
        raise DataError(f"None of the {len(paths)} image files under {root} can be read:\n{listing(faults)}")
    return good, faults


def perceptual_hash(grey: np.ndarray) -> str:
    """256-bit perceptual hash of an image (H, W), hexadecimal.

    The sign, against their median, of the 16 x 16 lowest frequencies of a 64 x 64 thumbnail's cosine
    transform (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, 3.2.1).
    """
    from scipy.fft import dctn

    side = 4 * _HASH_SIDE
    thumbnail = Image.fromarray(grey).resize((side, side), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(thumbnail, np.float64))[:_HASH_SIDE, :_HASH_SIDE]
    return np.packbits(low > np.median(low)).tobytes().hex()


def _measure(paths: Sequence[Path], workers: int) -> Iterator[tuple]:
    if not paths:
        return
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from track(pool.map(_facts, paths), total=len(paths), task="Surveying files")


def _facts(path: Path) -> tuple:
    try:
        data = read_bytes(path)
        pixels = decode(data, path)
    except UnreadableImageError as error:
        return ("", 0, 0, 0, "", "", "", str(error).removeprefix(f"{path}: "))
    with Image.open(io.BytesIO(data)) as header:
        width, height, mode, form = *header.size, header.mode, header.format or ""
    digest = hashlib.sha256(data).hexdigest()
    return (digest, len(data), width, height, mode, form, perceptual_hash(to_grey(pixels)), "")


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


class _Memory:
    """Facts by path and stamp in one SQLite file, which two processes may use at once.

    New facts are written in short transactions, so that no process holds the lock while it measures.
    """

    def __init__(self, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(cache / "survey.sqlite", timeout=120)
        self._new: list[tuple] = []
        columns = ", ".join(FACTS)
        self._database.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (path PRIMARY KEY, stamp, {columns})")

    def __enter__(self) -> "_Memory":
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._database):
            self._write()  # also after a fault: what was measured stays known

    def recall(self, paths: Sequence[Path], stamps: Sequence[str]) -> list[tuple | None]:
        """The facts of each path, None where the file is new or has changed."""
        query = f"SELECT stamp, {', '.join(FACTS)} FROM {_TABLE} WHERE path = ?"
        rows = [self._database.execute(query, (str(path.absolute()),)).fetchone() for path in paths]
        return [row[1:] if row and row[0] == stamp else None for row, stamp in zip(rows, stamps, strict=True)]

    def note(self, path: Path, stamp: str, facts: tuple) -> None:
        """Remember one file; one that cannot be opened has no stamp and is looked at again."""
        if stamp:
            self._new.append((str(path.absolute()), stamp, *facts))
        if len(self._new) >= _KEPT_BACK:
            self._write()

    def _write(self) -> None:
        places = ", ".join("?" * (2 + len(FACTS)))
        with self._database:  # one transaction
            self._database.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES ({places})", self._new)
        self._new.clear()
