"""The pixel store: stored pixels, and the effects of crashes, copies, changed files and a full disk."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stored import flip, hashes, warnings_of, write_scans

from fibrolab.data import cache, masks
from fibrolab.data.cache import CHUNK, RECORD, PixelStore, Slots
from fibrolab.data.datasets import Pixels
from fibrolab.data.formats.contract import Header, to_grey
from fibrolab.data.media import View, whole
from fibrolab.data.preprocess import VERSION, Preprocess
from fibrolab.data.readers import Latest, OpenFile, read_image
from fibrolab.errors import DataError, StorageError

PREPROCESS = Preprocess(size=16)
# Builds in another process, slowly enough to be killed before it ends.
BUILDER = """
import sys
from pathlib import Path
from fibrolab.data.cache import PixelStore
from fibrolab.data.media import whole
from fibrolab.data.preprocess import Preprocess
folder, root = map(Path, sys.argv[1:])
paths = sorted(folder.glob("*.png"))
import hashlib
digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
print("started", flush=True)
PixelStore(root, Preprocess(size=16, denoise=10)).build(whole(paths), digests, workers=1)
print("done", flush=True)
"""


def build(root: Path, paths: list[Path], preprocess: Preprocess = PREPROCESS) -> np.ndarray:
    return PixelStore(root, preprocess).build(whole(paths), hashes(paths), progress=False).first


def check(root: Path, paths: list[Path], preprocess: Preprocess = PREPROCESS) -> None:
    """Assert that the store returns the right pixels for every file."""
    rows = build(root, paths, preprocess)
    pixels = PixelStore(root, preprocess).open()
    for path, row in zip(paths, rows, strict=True):
        np.testing.assert_array_equal(pixels[row], preprocess(to_grey(read_image(path))))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the files that are decoded."""
    seen: list[Path] = []

    class Recorded(OpenFile):
        def inspect(self, view: View) -> tuple[Header, np.ndarray]:
            seen.append(self.path)
            return super().inspect(view)

    class Recording(Latest):
        def __call__(self, path: Path) -> OpenFile:
            return Recorded(path)

    monkeypatch.setattr(masks, "Latest", Recording)
    return seen


def test_pixels_are_computed_once_and_mapped_read_only(tmp_path: Path, computed: list[Path]) -> None:
    paths = write_scans(tmp_path / "scans", CHUNK + 7)
    check(tmp_path / "cache", paths)
    check(tmp_path / "cache", paths[::-1])
    assert sorted(computed) == paths
    pixels = PixelStore(tmp_path / "cache", PREPROCESS).open()
    assert isinstance(pixels, np.memmap)
    assert pixels.shape == (CHUNK + 7, 16, 16)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_pixels_held_in_memory_are_those_that_a_build_makes_and_have_no_files(
    tmp_path: Path, computed: list[Path]
) -> None:
    paths = write_scans(tmp_path / "scans", 5)
    store = PixelStore(tmp_path / "cache", PREPROCESS, lasting=False)
    for name, path in zip(hashes(paths), paths, strict=True):
        store.held[name] = store.processed(read_image(path))
    wanted = [paths[number] for number in (3, 0, 4)]
    slots = store.build(whole(wanted), hashes(wanted))
    assert computed == []
    assert not store.folder.exists()
    rows = build(tmp_path / "other", wanted)
    of_file, in_memory = PixelStore(tmp_path / "other", PREPROCESS), Pixels(store.source, store.shape, slots)
    on_disk = Pixels(of_file.source, of_file.shape, Slots(rows, np.ones_like(rows)))
    for index in range(len(wanted)):
        np.testing.assert_array_equal(in_memory.read(index, None), on_disk.read(index, None))


def test_the_same_content_under_two_names_is_computed_once(tmp_path: Path, computed: list[Path]) -> None:
    paths = write_scans(tmp_path, 2)
    (tmp_path / "copy.jpg").write_bytes(paths[0].read_bytes())
    rows = build(tmp_path / "cache", [*paths, tmp_path / "copy.jpg"])
    assert rows.tolist() == [0, 1, 0]
    assert rows.dtype == np.int64
    assert len(computed) == 2


def test_a_changed_file_and_a_changed_setting_never_get_old_pixels(tmp_path: Path) -> None:
    paths = write_scans(tmp_path / "scans", 3)
    check(tmp_path / "cache", paths)
    paths[1].write_bytes(paths[2].read_bytes())
    Image.fromarray(np.full((24, 24), 9, np.uint8)).save(paths[0])
    check(tmp_path / "cache", paths)
    check(tmp_path / "cache", paths, Preprocess(size=16, equalize="histogram"))
    check(tmp_path / "cache", paths)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_changed_layout_of_the_store_has_another_version(tmp_path: Path) -> None:
    """After a change of this layout, raise the version: older code may share the cache."""
    build(tmp_path, write_scans(tmp_path / "scans", 1))
    folder = PixelStore(tmp_path, PREPROCESS).folder
    names = {path.name for path in folder.iterdir()} - {"build.lock"}
    assert names == {"pixels.u8", "records.bin", "settings.json"}
    assert (VERSION, cache.LAYOUT.format) == (9, "<32sIII")


def test_a_file_that_changes_during_the_build_is_not_stored_under_its_old_hash(tmp_path: Path) -> None:
    paths = write_scans(tmp_path / "scans", 3)
    digests = hashes(paths)
    paths[1].write_bytes(paths[2].read_bytes())
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    with pytest.raises(DataError, match=r"001\.png: changed since"):
        store.build(whole(paths), digests, progress=False)
    check(tmp_path / "cache", paths)


def test_all_unreadable_files_are_listed_and_the_others_kept(tmp_path: Path, computed: list[Path]) -> None:
    paths = write_scans(tmp_path / "scans", 5)
    paths[1].write_bytes(b"")
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    paths[3].write_bytes(b"stage,F2\n")
    paths.append(tmp_path / "scans" / "copy.png")
    paths[5].write_bytes(b"stage,F2\n")
    with pytest.raises(DataError) as raised:
        build(tmp_path / "cache", paths)
    message = str(raised.value)
    assert message.startswith("3 files")
    assert [
        word in message for word in ("001.png: the file is empty", "002.png: trunc", "1 identical cop")
    ] == [True] * 3
    computed.clear()
    check(tmp_path / "cache", [paths[0], paths[4]])
    assert computed == []


@pytest.mark.parametrize(
    ("index", "pixels"),
    [
        (-1, 0),  # the last record half written
        (-RECORD, 0),  # pixels written, no record
        (0, -1),  # the last pixels lost, such as by a power cut
        (13, 100),  # other bytes after both
        (-3 * RECORD + 5, -256),
        (-(2**20), -(2**20)),  # all lost
    ],
)
def test_after_a_crash_only_complete_slots_are_used(tmp_path: Path, index: int, pixels: int) -> None:
    paths = write_scans(tmp_path / "scans", 6)
    build(tmp_path / "cache", paths)
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    for path, change in ((store.folder / "records.bin", index), (store.pixels_path, pixels)):
        content = path.read_bytes() + b"\x7f" * max(change, 0)
        path.write_bytes(content[: max(0, len(content) + min(change, 0))])
    check(tmp_path / "cache", paths + write_scans(tmp_path / "more", 8))
    assert store.pixels_path.stat().st_size % 256 == 0
    assert (store.folder / "records.bin").stat().st_size % RECORD == 0


def test_an_interrupted_build_loses_at_most_one_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[Path]
) -> None:
    paths = write_scans(tmp_path / "scans", 2 * CHUNK + 1, side=16)
    original, calls = cache._append, []

    def stop_in_the_second_chunk(path: Path, content: bytes, synced: bool) -> None:
        calls.append(path)
        if len(calls) == 4:  # the second chunk's pixels are written, its records are not
            raise KeyboardInterrupt
        original(path, content, synced)

    monkeypatch.setattr(cache, "_append", stop_in_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cache", paths)
    monkeypatch.setattr(cache, "_append", original)
    computed.clear()
    build(tmp_path / "cache", paths)
    assert len(computed) == CHUNK + 1
    check(tmp_path / "cache", paths)


@pytest.mark.parametrize("number", [1, 3])
def test_a_store_that_does_not_last_holds_the_same_pixels(tmp_path: Path, number: int) -> None:
    paths = write_scans(tmp_path / "scans", number)
    build(tmp_path / "cache", paths)
    store = PixelStore(tmp_path / "soon removed", PREPROCESS, lasting=False)
    for _ in range(2):  # the second time nothing is missing
        rows = store.build(whole(paths), hashes(paths), progress=False).first
    np.testing.assert_array_equal(
        store.open()[rows], PixelStore(tmp_path / "cache", PREPROCESS).open()[:number]
    )
    assert {path.name for path in store.folder.iterdir()} == {"pixels.u8", "records.bin"}
    paths[0].write_bytes(b"changed since it was listed")
    with pytest.raises(DataError, match="1 files cannot be used"):
        PixelStore(tmp_path / "new", PREPROCESS, lasting=False).build(
            whole(paths), ["0" * 64, *hashes(paths[1:])]
        )


def test_a_disk_that_fills_up_is_reported_and_partial_writes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_scans(tmp_path / "scans", 3)
    original = cache._append

    def full(path: Path, content: bytes, synced: bool) -> None:
        original(path, content[: len(content) // 2], synced)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_append", full)
    with pytest.raises(StorageError, match="for 3 images, but the disk mounted at"):
        build(tmp_path / "cache", paths)
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    assert store.pixels_path.stat().st_size == 0
    with pytest.raises(StorageError, match="empty"):
        store.open()
    monkeypatch.setattr(cache, "_append", original)
    check(tmp_path / "cache", paths)


def test_a_disk_that_is_too_small_is_reported_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[Path]
) -> None:
    paths = write_scans(tmp_path / "scans", 3)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 500}))
    with pytest.raises(StorageError, match=r"0\.0 MiB for 3 images, .* \(500 bytes free\)"):
        build(tmp_path / "cache", paths)
    assert computed == []


def test_a_root_that_cannot_be_a_folder_is_reported(tmp_path: Path) -> None:
    paths = write_scans(tmp_path / "scans", 1)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        build(tmp_path / "file", paths)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six images in `scans` and their store in `cache`."""
    folder = tmp_path_factory.mktemp("built")
    build(folder / "cache", write_scans(folder / "scans", 6))
    return folder


@given(st.sampled_from(["pixels.u8", "records.bin"]), st.integers(0, 2**20), st.integers(1, 255))
def test_a_changed_byte_is_found_before_the_pixels_are_used(
    built: Path, name: str, position: int, mask: int
) -> None:
    with TemporaryDirectory() as folder, warnings_of("fibrolab.data.cache") as said:
        root = Path(folder) / "cache"
        shutil.copytree(built / "cache", root)
        flip((stored := PixelStore(root, PREPROCESS).folder) / name, position, mask)
        for _ in range(2):
            check(root, sorted((built / "scans").iterdir()))
        assert said == [f"Damaged entries of the pixel store {stored} are made again: 1."]


def test_pixels_on_a_bad_sector_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[Path]
) -> None:
    paths = write_scans(tmp_path / "scans", 5)
    build(tmp_path / "cache", paths)
    computed.clear()
    pread = os.pread

    def bad_sector(file: int, length: int, position: int) -> bytes:
        if position <= 2 * 256 < position + length:
            raise OSError(errno.EIO, "Input/output error")
        return pread(file, length, position)

    monkeypatch.setattr(os, "pread", bad_sector)
    monkeypatch.setattr(cache, "TOGETHER", 2)
    check(tmp_path / "cache", paths)
    assert computed == [paths[2]]


def test_slots_are_neither_moved_nor_reused_after_damage(tmp_path: Path) -> None:
    """Another process may be reading the store: its slots must keep their pixels."""
    paths = write_scans(tmp_path / "scans", 5)
    before = build(tmp_path / "cache", paths)
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    pixels = store.open()[before[[0, 1, 3]]].copy()
    flip(store.pixels_path, 2 * 256)
    flip(store.folder / "records.bin", 4 * RECORD)
    for more in (paths, write_scans(tmp_path / "more", 2)):
        after = build(tmp_path / "cache", [*paths, *more])
        assert after[:5].tolist() == [0, 1, 5, 3, 6]
        np.testing.assert_array_equal(store.open()[before[[0, 1, 3]]], pixels)
    check(tmp_path / "cache", [*paths, *more])


def test_pixels_that_are_not_wanted_are_not_read(tmp_path: Path, computed: list[Path]) -> None:
    paths = write_scans(tmp_path / "scans", 3)
    build(tmp_path / "cache", paths)
    flip(PixelStore(tmp_path / "cache", PREPROCESS).pixels_path, 256)
    computed.clear()
    check(tmp_path / "cache", [paths[0], paths[2]])
    assert computed == []
    check(tmp_path / "cache", paths)
    assert computed == [paths[1]]


def start(folder: Path, root: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", BUILDER, str(folder), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_build_that_is_killed_resumes_where_it_stopped(tmp_path: Path, computed: list[Path]) -> None:
    paths = write_scans(tmp_path / "scans", 6 * CHUNK, side=96)
    preprocess = Preprocess(size=16, denoise=10)
    store = PixelStore(tmp_path / "cache", preprocess)
    process = start(tmp_path / "scans", tmp_path / "cache")
    while process.poll() is None and store._count() < 2 * CHUNK:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = store._count()
    assert 2 * CHUNK <= kept < 6 * CHUNK
    build(tmp_path / "cache", paths, preprocess)
    assert len(computed) == 6 * CHUNK - kept
    check(tmp_path / "cache", paths, preprocess)


@pytest.mark.slow
def test_two_processes_share_one_build(tmp_path: Path) -> None:
    paths = write_scans(tmp_path / "scans", 3 * CHUNK, side=96)
    first, second = (start(tmp_path / "scans", tmp_path / "cache") for _ in range(2))
    outcomes = [process.communicate(timeout=120) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert sum("waiting for it" in err for _, err in outcomes) == 1
    assert sum(f"Preprocessing: {3 * CHUNK} done" in err for _, err in outcomes) == 1
    assert PixelStore(tmp_path / "cache", Preprocess(size=16, denoise=10))._count() == 3 * CHUNK
    check(tmp_path / "cache", paths, Preprocess(size=16, denoise=10))
