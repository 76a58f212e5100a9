"""Files written whole or not at all, so that a kill or a full disk leaves no half file to trust."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

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
    put_all({path: content})
    return path


def save_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a mapping as JSON, whole or not at all; see `put`."""
    put(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def write_table(frame: pd.DataFrame, path: Path, index: bool = False) -> Path:
    """Write a CSV into a folder that is there; float64 values read back to the same bits.

    Args:
        frame: Any table.
        path: As for `put`.
        index: Whether the (named) index becomes the first column.

    Raises:
        StorageError: The folder is missing, closed to writing, or the disk is full.
    """
    put_all({path: as_csv(frame, index)})
    return path


def as_csv(frame: pd.DataFrame, index: bool = False) -> bytes:
    """Return a table as `write_table` writes it."""
    return frame.to_csv(index=index, lineterminator="\n").encode()


def put_all(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together into folders that are there: all, or where one has no room, none.

    Every file is written beside its place before the first is moved there.

    Args:
        files: Content by path; older ones are replaced.

    Raises:
        StorageError: A folder is missing or closed to writing, or the disk is full.
    """
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    try:
        for path, content in files.items():
            with drafts[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a power cut after the move could leave an empty file
        for path in files:
            drafts[path].replace(path)
    except OSError as fault:
        raise StorageError(
            f"{path} could not be written ({fault.strerror}): {len(files[path]):,} bytes are needed there; "
            "free some space or name another folder."
        ) from fault
    finally:
        for draft in drafts.values():
            with suppress(OSError):  # where the folder is the fault there is no draft either
                draft.unlink(missing_ok=True)
