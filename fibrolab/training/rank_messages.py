"""Messages from rank zero to the process that leads the command: log records, and what the run is told.

They pass through a pipe, of which only rank zero keeps the end that writes. Thus a rank that is killed while
it writes ends the messages, where a queue of `multiprocessing` would wait for the rest for ever.
"""

import logging
import logging.handlers
import multiprocessing
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

ENDING = 2.0  # [s] for the end of a message; loader processes of a killed rank hold the pipe a little longer


class Sender:
    """Write messages whole and in order, from any thread of rank zero.

    Args:
        connection: The end of the pipe that writes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._process = os.getpid()

    def put_nowait(self, message: Any) -> None:
        """Send a message; a process that was forked from rank zero prints its log records."""
        if os.getpid() != self._process:
            if isinstance(message, logging.LogRecord):
                print(message.getMessage(), file=sys.stderr)
            return
        content = pickle.dumps(message)
        with self._lock:
            if self._connection.closed:
                return
            try:
                self._connection.send_bytes(content)
            except BaseException:  # such as a signal in the middle: no message can follow a part of one
                self._connection.close()
                raise


_sender: Sender | None = None  # of rank zero


def send_from_here(connection: Connection) -> None:
    """Send the log records of this process, which is rank zero, and what it tells."""
    global _sender
    _sender = Sender(connection)
    root = logging.getLogger()
    root.addHandler(logging.handlers.QueueHandler(_sender))  # type: ignore[arg-type]  # needs `put_nowait` only
    root.setLevel(logging.INFO)  # the loggers of the leading process choose


def tell(value: Any) -> None:
    """Pass a value from rank zero to the function `told` of the process that leads this command."""
    assert _sender is not None, "only rank zero tells"
    _sender.put_nowait(value)


@contextmanager
def listening(told: Callable[[Any], None] | None) -> Iterator[tuple[Connection, list[BaseException]]]:
    """Pass log records of rank zero to the loggers of this process, and what it tells to a function.

    All messages have been passed on at the end, which is after that of rank zero.

    Args:
        told: The function; None: the values are dropped.

    Yields:
        The end of the pipe for rank zero, to be closed here once that has started; and what the function
        raised, after which it is not called again.

    Raises:
        Exception: The function raised it.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()  # so that a slow function does not delay rank zero
    faults: list[BaseException] = []

    class Listener(logging.handlers.QueueListener):
        def handle(self, record: Any) -> None:
            if isinstance(record, logging.LogRecord):
                if (logger := logging.getLogger(record.name)).isEnabledFor(record.levelno):
                    logger.handle(record)
            elif told is not None and not faults:
                try:
                    told(record)
                except Exception as fault:
                    faults.append(fault)

    listener = Listener(messages)
    receiver = threading.Thread(target=_receive, args=(reader, messages), daemon=True)
    listener.start()
    receiver.start()
    try:
        yield writer, faults
    finally:
        writer.close()
        receiver.join(ENDING)
        listener.stop()
    if faults:
        raise faults[0]


def _receive(reader: Connection, messages: queue.SimpleQueue[Any]) -> None:
    with reader:
        while True:
            try:
                messages.put(reader.recv())
            except (EOFError, OSError):  # no process can write any more; the last message may be cut
                return
