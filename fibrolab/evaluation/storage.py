"""Tables written whole or not at all, so that a kill or a full disk leaves no half file to trust."""

import os
from pathlib import Path

import pandas as pd

from fibrolab.errors import StorageError


def write_table(frame: pd.DataFrame, path: Path, index: bool = False) -> None:
    """Write a CSV beside its place, then move it there in one step.

    float64 values are written in the shortest form that reads back to the same bits.

    Args:
        frame: Any table.
        path: Where it goes; an older file there is replaced, and kept if writing fails.
        index: Whether the (named) index becomes the first column.

    Raises:
        StorageError: The folder is missing, closed to writing, or the disk is full.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            frame.to_csv(file, index=index, lineterminator="\n")
            file.flush()
            os.fsync(file.fileno())  # else a power cut after the move could leave an empty file
        draft.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} could not be written ({error.strerror}): free space or choose another folder."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
