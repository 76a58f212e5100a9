"""Files that are whole or absent, sentences on a full disk, and changed bytes in sealed folders."""

import errno
import io
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compose import composed
from stored import flip

from fibrolab import config, storage
from fibrolab.config import run
from fibrolab.errors import DataError, StorageError
from fibrolab.runs import checkpoint
from fibrolab.storage import SEAL, full_disk, is_full, is_unchanged, make_folder, put, seal, write_table


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill all disks: a file can be opened and its content buffered, but not written."""

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", refuse)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1234}))


def test_a_full_disk_is_named_with_its_free_space_and_the_older_file_is_kept(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    put(tmp_path / "file", b"older")
    request.getfixturevalue("full")
    with pytest.raises(StorageError) as raised:
        put(tmp_path / "file", b"newer")
    mount = next(folder for folder in tmp_path.parents if os.path.ismount(folder))
    assert str(raised.value) == (
        f"{tmp_path / 'file'} could not be written: the disk mounted at {mount} is full (1,234 bytes free). "
        "Free some space, or name another folder."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"older"


def test_the_disk_of_a_path_that_does_not_exist_is_that_of_the_folder_above(tmp_path: Path) -> None:
    assert (
        full_disk(tmp_path / "none" / "at" / "all").split(" is full")[0]
        == full_disk(tmp_path).split(" is full")[0]
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "?"), True),
        (OSError(errno.EDQUOT, "?"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (
            RuntimeError("Caught OSError in worker process 0.\nOSError: [Errno 28] No space left on device"),
            True,
        ),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("full"), False),
    ],
)
def test_a_full_disk_is_recognised_behind_other_errors(error: Exception, expected: bool) -> None:
    wrapped = RuntimeError("it failed")
    wrapped.__cause__ = error
    assert is_full(error) == is_full(wrapped) == expected


def raised_while(first: Exception, hidden: bool) -> Exception:
    try:
        try:
            raise first
        except Exception:
            if hidden:
                raise ValueError("another fault") from None
            raise ValueError("another fault")  # noqa: B904
    except ValueError as error:
        return error


@pytest.mark.parametrize("hidden", [False, True])
def test_an_error_while_the_disk_was_full_is_another_fault_except_for_a_whole_command(
    tmp_path: Path, hidden: bool
) -> None:
    error = raised_while(OSError(errno.ENOSPC, "No space left on device"), hidden)
    assert not is_full(error)

    def job(_: object) -> None:
        raise error

    with pytest.raises(
        ValueError if hidden else StorageError, match="another fault" if hidden else "is full"
    ):
        run(job, composed(f"paths.root={tmp_path}"))


def test_full_shared_memory_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def job(_: object) -> None:
        raise RuntimeError(
            "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to allocate shared "
            "memory(shm) for file </torch_7_1_0>: No space left on device (28)"
        )

    monkeypatch.setattr(config, "SHARED_MEMORY", tmp_path)
    with pytest.raises(StorageError, match=rf"^{tmp_path}: the disk .* full .* or set num_workers=0\.$"):
        run(job, composed(f"paths.root={tmp_path / 'root'}"))


def test_a_file_in_the_way_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            StorageError, match=rf"^{folder} could not be written \(.*\): name another folder"
        ):
            make_folder(folder)


class Filling(io.FileIO):
    """A file on a disk that is full after a thousand bytes."""

    def write(self, content: Any) -> int:
        if self.tell() + memoryview(content).nbytes > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


@pytest.mark.parametrize("numbers", [1, 9_999])  # in the file's buffer, and beyond it
def test_a_disk_that_is_full_within_a_file_of_tensors_is_named(
    numbers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.ckpt"
    checkpoint.save({"weights": torch.zeros(2)}, path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: io.BufferedWriter(Filling(path, mode)))
        with pytest.raises(StorageError, match=rf"{path} could not be written: the disk .* is full"):
            checkpoint.save({"weights": torch.zeros(numbers)}, path)
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == {path: before}


def test_a_file_of_tensors_has_the_bytes_of_torch_save(tmp_path: Path) -> None:
    weights = torch.rand(99, 5)
    content = {"weights": weights, "tied": weights, "part": weights[3], "rows": [{"epoch": 0}]}
    checkpoint.save(content, tmp_path / "kept.ckpt")
    torch.save(content, expected := io.BytesIO())
    assert (tmp_path / "kept.ckpt").read_bytes() == expected.getvalue()


def test_a_folder_that_is_deleted_during_a_run_is_made_again_or_named(tmp_path: Path) -> None:
    import pandas as pd

    put(tmp_path / "gone" / "file", b"content")
    assert (tmp_path / "gone" / "file").read_bytes() == b"content"
    with pytest.raises(StorageError, match=r"other/table\.csv could not be written \(No such file"):
        write_table(pd.DataFrame(), tmp_path / "other" / "table.csv")


@pytest.mark.parametrize(
    ("fullest", "advice"),
    [("cache", "set another paths.root"), ("tmp", "set TMPDIR to a folder on another disk")],
)
def test_a_write_without_a_name_is_reported_with_the_disk_that_has_the_least_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fullest: str, advice: str
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(config, "free_bytes", lambda path: 7 if path.name == fullest else 10**9)

    def job(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = composed(f"paths.root={tmp_path}", f"paths.cache={tmp_path / 'cache'}")
    with pytest.raises(StorageError, match=rf"^{tmp_path / fullest}: the disk mounted at .* {advice}\.$"):
        run(job, settings)


def test_a_write_with_a_name_is_reported_with_the_disk_of_its_file(tmp_path: Path) -> None:
    def job(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "file"))

    with pytest.raises(StorageError, match=rf"^{tmp_path / 'file'}: the disk mounted at"):
        run(job, composed(f"paths.root={tmp_path / 'root'}"))


def test_every_changed_byte_and_missing_file_of_a_sealed_folder_is_found(tmp_path: Path) -> None:
    assert not is_unchanged(tmp_path)
    put(tmp_path / "one", b"first")
    put(tmp_path / "below" / "two", b"second")
    seal(tmp_path)
    assert is_unchanged(tmp_path)
    for path in (tmp_path / "one", tmp_path / "below" / "two"):
        for position in range(path.stat().st_size):
            flip(path, position)
            assert not is_unchanged(tmp_path)
            flip(path, position)
    assert is_unchanged(tmp_path)
    for nothing in ("[]", "{}", "3"):
        (tmp_path / SEAL).write_text(nothing)
        assert not is_unchanged(tmp_path)
    seal(tmp_path)
    (tmp_path / "one").unlink()
    assert not is_unchanged(tmp_path)


def test_every_damage_of_stored_arrays_is_a_sentence_or_harmless(tmp_path: Path) -> None:
    path, arrays = tmp_path / "best.npz", {"numbers": np.arange(40.0), "names": np.array(["x", "yy"])}
    assert storage.read_arrays(path, arrays) is None
    for save in (np.savez, np.savez_compressed):
        save(path, **arrays)
        whole = path.read_bytes()
        with pytest.raises(DataError, match=r"best\.npz is damaged"):
            storage.read_arrays(path, [*arrays, "lacking"])
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 0x81  # also the bit that calls a member encrypted
            for content in (bytes(damaged), whole[:place]):
                path.write_bytes(content)
                try:
                    found = storage.read_arrays(path, arrays)
                except DataError:
                    continue
                assert found is not None
                for name, values in arrays.items():
                    np.testing.assert_array_equal(found[name], values)
