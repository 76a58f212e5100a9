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
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
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
    except OSError as error:
        reason = f"{full_disk(lock)}. Free some space, or set another paths.cache"
        raise StorageError(
            f"The {built} cannot be written: {reason if is_full(error) else error.strerror}."
        ) from error
