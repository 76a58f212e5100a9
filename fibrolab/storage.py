"""Write files completely or not at all, and notice when one of them has changed since."""

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from fibrolab.errors import StorageError

SEAL = "checksums.json"  # CRC-32 of each file of a sealed folder, by its path in it


def put(path: Path, content: bytes) -> Path:
    """Write a file; create its folder if needed.

    Args:
        path: Path of the file; an existing file is replaced, and kept if writing fails.
        content: Content of the file.

    Returns:
        ``path``.

    Raises:
        StorageError: The disk is full, or the folder cannot be created or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StorageError(f"{path} could not be written ({fault.strerror}): name another folder.") from fault
    put_all({path: content})
    return path


def save_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a mapping as JSON; see `put`."""
    put(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def write_table(frame: pd.DataFrame, path: Path, index: bool = False) -> Path:
    """Write a CSV into an existing folder; float64 values are read back to the same bits.

    Args:
        frame: Any table.
        path: Path of the file; see `put`.
        index: Whether the (named) index becomes the first column.

    Raises:
        StorageError: The folder is missing or not writable, or the disk is full.
    """
    put_all({path: as_csv(frame, index)})
    return path


def as_csv(frame: pd.DataFrame, index: bool = False) -> bytes:
    """Return the content of the CSV that `write_table` writes."""
    return frame.to_csv(index=index, lineterminator="\n").encode()


def put_all(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together into existing folders; if the disk is full, write none of them.

    All files are written under temporary names before the first one is renamed.

    Args:
        files: Content by path; existing files are replaced.

    Raises:
        StorageError: A folder is missing or not writable, or the disk is full.
    """
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    try:
        for path, content in files.items():
            with drafts[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # otherwise a power cut after renaming could leave an empty file
        for path in files:
            drafts[path].replace(path)
    except OSError as fault:
        raise StorageError(
            f"{path} could not be written ({fault.strerror}): {len(files[path]):,} bytes are needed there; "
            "free some space or name another folder."
        ) from fault
    finally:
        for draft in drafts.values():
            with suppress(OSError):  # if the folder is missing, there is no draft either
                draft.unlink(missing_ok=True)


def seal(folder: Path) -> None:
    """Write the checksums of all files of a complete folder into it, for `is_unchanged`.

    Raises:
        StorageError: The disk is full.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SEAL)
    save_json({path.relative_to(folder).as_posix(): _checksum(path) for path in files}, folder / SEAL)


def is_unchanged(folder: Path) -> bool:
    """Return whether a folder was sealed, and all its files of then still have the same bytes."""
    try:
        sealed = json.loads((folder / SEAL).read_bytes())
        return all(_checksum(folder / name) == checksum for name, checksum in sealed.items())
    except (OSError, ValueError, AttributeError):  # a file is missing, or the checksums are damaged
        return False


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum
