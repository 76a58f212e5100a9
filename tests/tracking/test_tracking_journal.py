"""Records that wait for a server: kept in a file, sent in their order, once and whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.errors import InUseError, StorageError
from fibrolab.tracking_journal import FIRST_WAIT, JOURNAL, LOCK, LONGEST_WAIT, Journal, Record, unsent

SERVER = "http://me:s3cr3t@host:5000"


class FakeServer:
    """Takes records while it is up."""

    def __init__(self) -> None:
        self.up, self.asked, self.got = True, 0, list[Record]()

    def send(self, records: Sequence[Record]) -> None:
        self.check()
        self.got += records

    def check(self) -> None:
        self.asked += 1
        if not self.up:
            raise StorageError("away")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def opened(folder: Path, server: FakeServer) -> Journal:
    journal = Journal(folder / "run", SERVER, server.send, server.check)
    journal.open()
    return journal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("fibrolab.tracking_journal.time.monotonic", lambda: now[0])
    return now


def test_records_wait_for_a_server_that_is_away_and_are_sent_in_their_order(
    tmp_path: Path, server: FakeServer, clock: list[float]
) -> None:
    journal, server.up = opened(tmp_path, server), False
    for i in range(3):
        journal.add("metrics", [["train/loss", float("nan"), i, i]])
        assert not journal.deliver()
    assert server.asked == 1  # it is left alone for a while
    assert [record.values[0][3] for record in journal.records()] == [0, 1, 2]
    server.up, clock[0] = True, FIRST_WAIT
    assert journal.deliver()
    assert [record.values[0][3] for record in server.got] == [0, 1, 2]
    assert journal.records() == []
    journal.add("tags", [["a", "b"]])
    assert journal.deliver()
    assert server.got[-1] == Record("tags", [["a", "b"]])


def test_a_server_that_stays_away_is_asked_ever_more_seldom_and_always_at_the_end(
    tmp_path: Path, server: FakeServer, clock: list[float]
) -> None:
    journal, server.up = opened(tmp_path, server), False
    hours = 12
    for second in range(0, hours * 3600, 5):
        clock[0] = second
        journal.deliver()
    assert 60 * hours * 60 / LONGEST_WAIT <= server.asked < 60 * hours * 60 / LONGEST_WAIT + 8
    asked = server.asked
    assert not journal.deliver(last=True)
    assert server.asked == asked + 1
    assert str(journal.fault) == "away"


def test_a_journal_is_opened_by_one_process_at_a_time_and_again_after_a_kill(
    tmp_path: Path, server: FakeServer
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from fibrolab.tracking_journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), 'http://host', lambda _: None, lambda: None)\n"
        "journal.open(); journal.add('tags', [['a', 'b']]); print('open', flush=True); signal.pause()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InUseError, match="Run run is in use by another process"):
            opened(tmp_path, server)
        other.send_signal(signal.SIGKILL)
    assert opened(tmp_path, server).records() == [Record("tags", [["a", "b"]])]


@given(cut=st.integers(0, 60))
def test_a_line_that_a_kill_tore_is_left_out_and_the_next_one_is_kept(cut: int, tmp_path_factory) -> None:
    folder, server = tmp_path_factory.mktemp("torn"), FakeServer()
    first, last = [["one", "1"]], [["two", "ä" * 9]]
    journal = opened(folder, server)
    journal.add("tags", first)
    whole = len(path(folder).read_bytes())
    journal.add("tags", last)
    os.truncate(path(folder), max(whole, len(path(folder).read_bytes()) - cut))
    journal.close(sent=False)
    again = opened(folder, server)
    again.add("params", [["c", "d"]])
    found = again.records()
    assert found[0] == Record("tags", first)
    assert found[-1] == Record("params", [["c", "d"]])
    assert found[1:-1] in ([], [Record("tags", last)])
    again.close(sent=False)


def path(folder: Path) -> Path:
    return folder / "run" / JOURNAL


def test_a_waiting_run_is_found_with_its_server_and_no_password(tmp_path: Path, server: FakeServer) -> None:
    journal = opened(tmp_path, server)
    assert unsent(tmp_path) == {"run": "http://me:***@host:5000"}
    assert b"s3cr3t" not in path(tmp_path).read_bytes()
    journal.close(sent=True)
    assert unsent(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_has_sent_in_the_meantime_is_not_created_again(
    tmp_path: Path, server: FakeServer
) -> None:
    journal = Journal(tmp_path / "run", SERVER, server.send, server.check)
    with pytest.raises(InUseError, match="was sent by another process"):
        journal.open(new=False)
    assert list(tmp_path.iterdir()) == []


def test_files_beside_the_journal_stay(tmp_path: Path, server: FakeServer) -> None:
    journal = opened(tmp_path, server)
    (tmp_path / "run" / "artifacts").mkdir()
    journal.close(sent=True)
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["artifacts"]
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_full_disk_is_named(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path, server)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match=r"unsent\.jsonl could not be written: the disk mounted at"):
        journal.add("tags", [["a", "b"]])
