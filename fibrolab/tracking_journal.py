"""Records of a run on their way to the tracking database or server; those for a server wait in a file."""

import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from fibrolab.credentials import masked
from fibrolab.errors import InUseError, StorageError
from fibrolab.storage import make_folder, put, writing

logger = logging.getLogger(__name__)
FINISHED = "FINISHED"  # status of MLflow
ERROR = "error"  # tag of a run that has failed
JOURNAL, LOCK = "unsent.jsonl", "unsent.lock"
FIRST_WAIT, LONGEST_WAIT = 30.0, 600.0  # [s] between two attempts to reach a server that is away
_HEAD = "server"  # kind of the first line of a journal


class Record(NamedTuple):
    """Values of one kind, in the order in which the tracking server is to take them.

    Attributes:
        kind: `params`, `tags`, `metrics`, `data`, `files`, `status` or `parent`.
        values: Arguments of each value, such as its name and its number.
    """

    kind: str
    values: list[list[Any]]


Send = Callable[[Sequence[Record]], None]  # raises a StorageError if they could not all be sent


class Outbox:
    """Records that wait in memory, for a database: one that cannot be written ends the run."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[Record] = []

    def open(self, new: bool = True) -> None:
        """Prepare to take records; see `Journal.open`."""

    def add(self, kind: str, values: list[list[Any]]) -> None:
        """Take a record; `deliver` sends it."""
        self._waiting.append(Record(kind, values))

    def records(self) -> list[Record]:
        """Return the waiting records."""
        return list(self._waiting)

    def deliver(self, last: bool = False) -> bool:
        """Send the waiting records; return whether none is left.

        Args:
            last: Whether no later attempt follows.

        Raises:
            StorageError: They cannot be sent.
        """
        waiting, self._waiting = self._waiting, []
        self._send(waiting)
        return True

    def forget_end(self) -> None:
        """Drop the waiting records of an earlier end of the run, because it goes on."""

    def abandon(self) -> None:
        """Leave the run to another process, as it was before `open`."""

    def close(self, sent: bool) -> None:
        """Forget the records if they were sent."""


class Journal(Outbox):
    """Records that wait in a file until a server has taken them, so that a run outlives an outage.

    A record is written to the file before it is sent, so that neither an outage nor a kill loses it. The file
    is emptied when all its records were sent. A kill just before that repeats them, which changes nothing:
    MLflow stores an equal point of a curve, parameter, tag or data set once. While the server is away, it is
    looked for again after 30 s, 60 s ... 10 min, and what waits is then sent first.

    Args:
        folder: Folder of the journal, beside the run's files.
        server: Address of the server; no file shows its password.
        send: Send records.
        check: Raise a StorageError if the server does not answer; called if it was away before.

    Attributes:
        fault: Why the last attempt failed.
    """

    def __init__(self, folder: Path, server: str, send: Send, check: Callable[[], None]) -> None:
        super().__init__(send)
        self.folder, self.fault = folder, StorageError("")
        self._path, self._head = folder / JOURNAL, _line(_HEAD, [[masked(server)]])
        self._check, self._lock = check, FileLock(folder / LOCK)
        self._next, self._wait = -math.inf, 0.0  # [s] time of the next attempt; wait before it, 0: not away
        self._is_new = False  # created by `open`

    def open(self, new: bool = True) -> None:
        """Lock the journal for this process, and create it unless it exists.

        Args:
            new: Whether it may be created.

        Raises:
            InUseError: Another process has locked it, or has sent it a moment ago.
            StorageError: It cannot be created.
        """
        make_folder(self.folder)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InUseError(
                f"Run {self.folder.name} is in use by another process: wait until that has ended."
            ) from error
        if not self._path.is_file():
            if not new:
                self.close(sent=True)
                raise InUseError(f"Run {self.folder.name} was sent by another process.")
            put(self._path, self._head)
            self._is_new = True
        elif not self._path.read_bytes().endswith(b"\n"):  # the last line was torn by a kill
            self._append(b"\n")

    def add(self, kind: str, values: list[list[Any]]) -> None:
        """Write a record into the file; after a kill of this process it is still there."""
        self._append(_line(kind, values))

    def _append(self, line: bytes) -> None:
        with writing(self._path), self._path.open("ab") as file:
            file.write(line)

    def records(self) -> list[Record]:
        """Return the records in the file."""
        return read_records(self._path)

    def deliver(self, last: bool = False) -> bool:
        """Send the records unless the server was away a moment ago; return whether none is left.

        An error is kept in `fault`; nothing is raised, because no outage may end a run.
        """
        if not last and time.monotonic() < self._next:
            return False
        try:
            if self._wait:
                self._check()
            self._send(self.records())
        except StorageError as fault:
            self.fault = fault
            self._secure()
            self._wait = min(2 * self._wait or FIRST_WAIT, LONGEST_WAIT)
            self._next = time.monotonic() + self._wait
            return False
        os.truncate(self._path, self._path.read_bytes().index(b"\n") + 1)
        self._next, self._wait = -math.inf, 0.0
        return True

    def forget_end(self) -> None:
        """Drop the status, error and files of an earlier end, which would be sent while the run goes on."""
        kept = [
            Record(kind, [value for value in values if (kind, value[0]) != ("tags", ERROR)])
            for kind, values in self.records()
            if kind not in ("files", "status", "parent")
        ]
        put(self._path, self._head + b"".join(_line(*record) for record in kept))

    def _secure(self) -> None:
        """Have the disk take the file, so that it outlives a power cut too."""
        with contextlib.suppress(OSError), self._path.open("rb+") as file:
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Unlock the journal; remove it if `open` created it."""
        self.close(sent=self._is_new)

    def close(self, sent: bool) -> None:
        """Unlock the journal; remove it if everything was sent."""
        if sent:
            self._path.unlink(missing_ok=True)
        self._lock.release()
        if sent:
            (self.folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds other files
                self.folder.rmdir()


@contextlib.contextmanager
def keep_earlier_error() -> Iterator[None]:
    """After an earlier error, log an error of the database (full disk, lost server) instead of raising it."""
    failing = sys.exc_info()[0] is not None
    try:
        yield
    except Exception as error:
        if not failing:
            raise
        logger.warning("The end of the run could not be recorded (%s).", masked(str(error)))


def read_records(path: Path) -> list[Record]:
    """Return the records of a journal; a line that was torn by a kill or a power cut is left out.

    Args:
        path: The journal; one that does not exist has none.
    """
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines()[1:]:
        with contextlib.suppress(ValueError):
            found.append(Record(*json.loads(line)))
    return found


def is_finished(records: Sequence[Record]) -> bool:
    """Return whether records end a run as FINISHED, after which it is not resumed."""
    return any(
        record.kind == "status" and value[0] == FINISHED for record in records for value in record.values
    )


def _line(kind: str, values: list[list[Any]]) -> bytes:
    return json.dumps([kind, values]).encode() + b"\n"


def unsent(artifacts: Path) -> dict[str, str]:
    """Return the runs whose records or files wait in a folder, with the address of the server of each.

    Args:
        artifacts: Folder of the runs' files, `tracking.artifacts`.
    """
    found = {}
    for path in sorted(artifacts.glob(f"*/{JOURNAL}")):
        with contextlib.suppress(ValueError, OSError):  # torn when it was created, or just sent by another
            ((server,),) = Record(*json.loads(path.read_bytes().partition(b"\n")[0])).values
            found[path.parent.name] = str(server)
    return found
