"""Messages from rank zero: whole, in order, and at an end when rank zero is, however it ended."""

import logging
import multiprocessing
import os
import signal
import struct
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import pytest

from fibrolab.training import rank_messages
from fibrolab.training.rank_messages import listening, send_from_here, tell

FORK = multiprocessing.get_context("fork")
LOGGER = logging.getLogger("fibrolab.of_rank_zero")


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the handler of rank zero away where a test is rank zero itself."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(rank_messages, "_sender", None)
    yield
    root.handlers[:] = before
    root.setLevel(level)


def rank_zero(act: Callable[[Connection], None], told: Callable[[object], None]) -> None:
    """Run a function in a process that may send messages, until it and its messages have ended."""

    def be(writer: Connection) -> None:
        logging.getLogger().handlers.clear()
        send_from_here(writer)
        act(writer)

    with listening(told) as (writer, _):
        child = FORK.Process(target=be, args=(writer,))
        child.start()
        writer.close()
        child.join()


def test_what_is_told_and_logged_comes_whole_and_in_order(caplog: pytest.LogCaptureFixture) -> None:
    def act(_: Connection) -> None:
        for number in range(300):
            tell(("value", number, "x" * number * 100))
        LOGGER.warning("said by %s", "rank zero")

    received: list[object] = []
    rank_zero(act, received.append)
    assert received == [("value", number, "x" * number * 100) for number in range(300)]
    assert caplog.messages == ["said by rank zero"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("outlived", [False, True], ids=["alone", "with a loader process that lives longer"])
def test_a_rank_that_is_killed_within_a_message_ends_the_messages(outlived: bool) -> None:
    hold, release = os.pipe()

    def act(writer: Connection) -> None:
        tell("whole")
        if outlived and os.fork() == 0:
            os.close(release)
            os.read(hold, 1)
            os._exit(0)
        os.write(writer.fileno(), struct.pack("!i", 1000) + b"a part")
        os.kill(os.getpid(), signal.SIGKILL)

    received: list[object] = []
    rank_zero(act, received.append)
    os.close(release)
    assert received == ["whole"]


@pytest.mark.timeout(30)
def test_no_message_follows_one_that_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(writer: Connection) -> None:
        tell("whole")

        def interrupted(content: bytes) -> None:
            os.write(writer.fileno(), struct.pack("!i", len(content)) + content[:3])
            raise KeyboardInterrupt

        monkeypatch.setattr(Connection, "send_bytes", lambda _, content: interrupted(content))
        try:
            tell("a part")
        except KeyboardInterrupt:
            monkeypatch.undo()
        tell("dropped")

    received: list[object] = []
    rank_zero(act, received.append)
    assert received == ["whole"]


def test_a_process_forked_from_rank_zero_prints_what_it_logs(capfd: pytest.CaptureFixture[str]) -> None:
    def act(_: Connection) -> None:
        loader = FORK.Process(target=lambda: LOGGER.warning("said by a loader process"))
        loader.start()
        loader.join()

    received: list[object] = []
    rank_zero(act, received.append)
    assert received == []
    assert capfd.readouterr().err == "said by a loader process\n"


@pytest.mark.timeout(30)
def test_a_slow_function_does_not_delay_rank_zero() -> None:
    told_all = FORK.Event()

    def act(_: Connection) -> None:
        for _ in range(20):
            tell("x" * 100_000)  # more than a pipe holds
        told_all.set()

    received: list[object] = []
    rank_zero(act, lambda value: received.append(value) if told_all.wait() else None)
    assert len(received) == 20


def test_what_the_function_raises_is_raised_and_ends_its_calls() -> None:
    calls: list[object] = []

    def told(value: object) -> None:
        calls.append(value)
        raise ValueError("of the run")

    def act(_: Connection) -> None:
        tell(1)
        tell(2)

    with pytest.raises(ValueError, match="of the run"):
        rank_zero(act, told)
    assert calls == [1]
