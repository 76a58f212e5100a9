"""A lock for building an entry of the cache, and error messages for a full or read-only disk."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fibrolab.errors import StorageError
from fibrolab.storage import full_disk, is_full


@contextmanager
def only_builder(lock: Path, built: str) -> Iterator[None]:
    """Hold a lock while something is built; a second process prints that it waits, and waits.

    Args:
        lock: File of the lock; its folder is created.
        built: Name of the built thing in messages, such as `pixel store PATH`.

    Raises:
        StorageError: The disk is full or cannot be written, here or in the code under the lock.
    """
    with storing(lock.parent, built):
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            print(f"Another process is building the {built}; waiting for it", file=sys.stderr)
            held.acquire()
        try:
            yield
        finally:
            held.release()


@contextmanager
def storing(folder: Path, built: str) -> Iterator[None]:
    """Create a folder in which something is built without a lock.

    Args:
        folder: The folder.
        built: Name of the built thing in messages.

    Raises:
        StorageError: The disk is full or cannot be written, here or in the code under it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = f"{full_disk(folder)}. Free some space, or set another paths.cache"
        raise StorageError(
            f"The {built} cannot be written: {reason if is_full(error) else error.strerror}."
        ) from error
