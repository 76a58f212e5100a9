"""Write files completely or not at all, name the disk that is full, and notice when a file has changed."""

import errno
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fibrolab.errors import DataError, StorageError

if TYPE_CHECKING:
    import pandas as pd

SEAL = "checksums.json"  # CRC-32 of each file of a sealed folder, by its path in it
Content = bytes | Callable[[IO[bytes]], object]  # of a file; or a function that writes it into the open file


def put(path: Path, content: Content) -> Path:
    """Write a file; create its folder if needed.

    Args:
        path: Path of the file; an existing file is replaced, and kept if writing fails.
        content: Content of the file, or a function that writes it into the open file.

    Returns:
        ``path``.

    Raises:
        StorageError: The disk is full, or the folder cannot be created or written.
    """
    make_folder(path.parent)
    put_all({path: content})
    return path


def make_folder(folder: Path) -> Path:
    """Create a folder and those above it, unless they exist.

    Raises:
        StorageError: The disk is full, the folder above cannot be written, or a file is in the way.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a mapping as JSON; see `put`."""
    put(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def parse_yaml(text: str) -> Any:
    """Parse YAML by libyaml where that is installed, ten times as fast as `yaml.safe_load`."""
    import yaml  # late: most of what is stored is not YAML

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write_table(frame: "pd.DataFrame", path: Path, index: bool = False) -> Path:
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


def as_csv(frame: "pd.DataFrame", index: bool = False) -> bytes:
    """Return the content of the CSV that `write_table` writes."""
    return frame.to_csv(index=index, lineterminator="\n").encode()


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, Any] | None:
    """Read arrays of an `.npz` file; None if there is no such file.

    Raises:
        DataError: The file is damaged or lacks an array.
    """
    import zipfile  # late, as NumPy: a command that is refused reads no arrays

    import numpy as np

    damages = (
        *(OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error),
        RuntimeError,  # a flipped bit calls a member encrypted
    )
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in names}
    except damages as error:
        raise DataError(f"{path} is damaged ({error}): train the run again, or delete the file.") from error


def put_all(files: Mapping[Path, Content]) -> None:
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
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())  # otherwise a power cut after renaming could leave an empty file
        for path in files:
            drafts[path].replace(path)
    except OSError as fault:
        raise StorageError(unwritable(path, fault)) from fault
    finally:
        for draft in drafts.values():
            with suppress(OSError):  # if the folder is missing, there is no draft either
                draft.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, faults: type[Exception] | tuple[type[Exception], ...] = OSError) -> Iterator[None]:
    """Raise the faults of writing a file or folder as a `StorageError` that names it."""
    try:
        yield
    except faults as fault:
        raise StorageError(unwritable(path, fault)) from fault


def unwritable(path: Path, fault: BaseException) -> str:
    """Return a sentence on a file or folder that cannot be written, with the disk if that is full."""
    if is_full(fault):
        return f"{path} could not be written: {full_disk(path)}. Free some space, or name another folder."
    reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
    return f"{path} could not be written ({reason}): name another folder."


def is_full(error: BaseException | None, in_flight: bool = False) -> bool:
    """Return whether a full disk or quota caused an error, even if a library wrapped it.

    Args:
        error: The error; the causes that it names are looked at too.
        in_flight: Look at errors too that were being handled when it was raised, unless it hides them. It may
            then be a consequence of them, or another fault.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in ("disk is full", os.strerror(errno.ENOSPC))):
            return True  # SQLite, and an error that a worker process has passed on as text
        follows_context = in_flight and not error.__suppress_context__
        error = error.__cause__ or (error.__context__ if follows_context else None)
    return False


def full_disk(path: Path) -> str:
    """Return ``the disk mounted at /scratch is full (512 bytes free)`` for the disk that holds a path."""
    folder = _existing(path)
    mount = next(each for each in (folder, *folder.parents) if each.is_mount())
    return f"the disk mounted at {mount} is full ({free_bytes(path):,} bytes free)"


def free_bytes(path: Path) -> int:
    """Return the free space of the disk that holds a path, which need not exist [bytes]."""
    return shutil.disk_usage(_existing(path)).free


def _existing(path: Path) -> Path:
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


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
        if not isinstance(sealed, dict) or not sealed:
            return False
        return all(_checksum(folder / name) == checksum for name, checksum in sealed.items())
    except (OSError, ValueError):  # a file is missing, or the checksums are damaged
        return False


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum
