"""Matrices of features on disk: complete or absent, computed by one process, read by many."""

import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import flip

from fibrolab.data import build_lock
from fibrolab.data.features import ABOUT, FEATURES, FeatureRows, FeatureTable, blocks, stored
from fibrolab.errors import StorageError

VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)


def written(root: Path, values: np.ndarray = VALUES, calls: list[int] | None = None) -> Path:
    def compute() -> Iterator[np.ndarray]:
        if calls is not None:
            calls.append(1)
        yield values[:4]
        yield values[4:]

    return stored(root, {"what": "a test"}, values.shape, compute)


def read(folder: Path) -> np.ndarray:
    everything = FeatureRows((folder,), 4, np.arange(6), np.full(6, -1))
    return np.stack([everything.read(index, None) for index in range(6)])


@pytest.mark.parametrize("damage", ["cut short", "one bit", "no description", "another description", "gone"])
def test_damaged_features_are_computed_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    folder = written(tmp_path, calls=calls)
    content = (folder / FEATURES).read_bytes()
    if damage == "cut short":
        (folder / FEATURES).write_bytes(content[:-4])
    elif damage == "one bit":
        (folder / FEATURES).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "no description":
        (folder / ABOUT).unlink()
    elif damage == "another description":
        (folder / ABOUT).write_text("[]")
    else:
        (folder / FEATURES).unlink()
    assert written(tmp_path, calls=calls) == folder
    np.testing.assert_array_equal(read(folder), VALUES)
    written(tmp_path, calls=calls)
    assert len(calls) == 2
    assert caplog.messages == [f"The features {folder} are damaged; they are computed again."]


@given(st.sampled_from([FEATURES, ABOUT]), st.integers(0, 2**20), st.integers(1, 255))
def test_a_changed_byte_is_found_before_the_features_are_used(name: str, position: int, mask: int) -> None:
    with TemporaryDirectory() as root:
        folder = written(Path(root))
        fresh = {path.name: path.read_bytes() for path in folder.iterdir()}
        flip(folder / name, position, mask)
        written(Path(root))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == fresh


@pytest.mark.parametrize("rows", [0, 6])
def test_the_blocks_of_a_matrix_are_its_rows_also_where_a_rank_has_none(rows: int, tmp_path: Path) -> None:
    part = stored(tmp_path, {"part": rows}, (rows, 4), lambda: iter([VALUES[:rows]] if rows else []))
    np.testing.assert_array_equal(np.concatenate([VALUES[:0], *blocks(part, 4)]), VALUES[:rows])


def test_an_exception_leaves_no_incomplete_matrix(tmp_path: Path) -> None:
    def compute() -> Iterator[np.ndarray]:
        yield VALUES[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, {"what": "a test"}, VALUES.shape, compute)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    np.testing.assert_array_equal(read(written(tmp_path)), VALUES)


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from fibrolab.data.features import stored
def compute():
    yield np.zeros((3, 4), np.float32)
    print("half", flush=True)
    time.sleep(600)
stored(Path(sys.argv[1]), {"what": "a test"}, (6, 4), compute)
"""


def test_a_killed_build_is_started_again(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert list(tmp_path.glob("*.part"))
    np.testing.assert_array_equal(read(written(tmp_path)), VALUES)
    assert not list(tmp_path.glob("*.part"))


def test_of_two_builders_at_once_one_computes_and_the_other_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    said: list[str] = []
    started, waiting, printed = threading.Event(), threading.Event(), threading.Event()

    def say(sentence: str, **_: object) -> None:
        said.append(sentence)
        printed.set()

    monkeypatch.setattr(build_lock, "print", say, raising=False)

    def slow() -> Iterator[np.ndarray]:
        calls.append(1)
        started.set()
        waiting.wait(timeout=60)
        yield VALUES

    with ThreadPoolExecutor() as pool:
        first = pool.submit(stored, tmp_path, {"what": "a test"}, VALUES.shape, slow)
        assert started.wait(timeout=60)
        second = pool.submit(written, tmp_path, VALUES, calls)
        assert printed.wait(timeout=60)
        waiting.set()
        assert first.result() == second.result()
    assert "waiting for it" in said[0]
    assert len(calls) == 1
    np.testing.assert_array_equal(read(first.result()), VALUES)


def test_a_full_disk_is_reported_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 50})
    monkeypatch.setattr("fibrolab.data.features.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(StorageError, match=r"is full \(50 bytes free\)"):
        written(tmp_path)


def test_feature_rows_are_pickled_without_their_maps(tmp_path: Path) -> None:
    clean, view = written(tmp_path / "clean"), written(tmp_path / "view", -VALUES)
    table = FeatureTable(4, clean, np.array([5, -1, 0, 0]), (view,), np.array([-1, -1, 1, 2]))
    rows = table.rows(np.array([3, 1, 2]))
    np.testing.assert_array_equal(rows.read(0, None), VALUES[0])
    there = pickle.loads(pickle.dumps(rows))
    assert there._maps == {}
    assert len(pickle.dumps(rows)) == len(pickle.dumps(there))
    np.testing.assert_array_equal([there.read(0, 4), there.read(2, 4)], -VALUES[[2, 1]])
    np.testing.assert_array_equal(there.read(1, 0), np.zeros(4))
    assert there.read(1, 0).dtype == np.float32
