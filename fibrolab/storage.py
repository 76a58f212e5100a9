"""Files written whole or not at all, so that a kill or a full disk leaves no half file to trust."""

import os
from contextlib import suppress
from pathlib import Path

import pandas as pd

from fibrolab.errors import StorageError


def put(path: Path, content: bytes) -> Path:
    """Write a file; its folder is made where needed.

    Args:
        path: The file; an older one there is replaced, and kept if writing fails.
        content: What it shall hold.

    Returns:
        ``path``.

    Raises:
        StorageError: The disk is full or the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StorageError(f"{path} could not be written ({fault.strerror}): name another folder.") from fault
    return _written(path, content)


def write_table(frame: pd.DataFrame, path: Path, index: bool = False) -> Path:
    """Write a CSV into a folder that is there; float64 values read back to the same bits.

    Args:
        frame: Any table.
        path: As for `put`.
        index: Whether the (named) index becomes the first column.

    Raises:
        StorageError: The folder is missing, closed to writing, or the disk is full.
    """
    return _written(path, frame.to_csv(index=index, lineterminator="\n").encode())


def _written(path: Path, content: bytes) -> Path:
    """Beside its place, then moved there in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut after the move could leave an empty file
        draft.replace(path)
    except OSError as fault:
        raise StorageError(
            f"{path} could not be written ({fault.strerror}): {len(content):,} bytes are needed there; free "
            "some space or name another folder."
        ) from fault
    finally:
        with suppress(OSError):  # where the folder is the fault there is no draft either
            draft.unlink(missing_ok=True)
    return path
