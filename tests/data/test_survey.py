"""The survey: correct measurements of every file, stored between runs and never out of date."""

import hashlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stored import flip, hashes

from fibrolab.data import file_facts, readers
from fibrolab.data import survey as module
from fibrolab.data.media import Media, View, whole
from fibrolab.data.readers import read_image
from fibrolab.data.survey import (
    ANSWERED,
    AUDITED,
    SURVEYED,
    perceptual_hash,
    survey,
    thumbnails,
    unreadable,
)
from fibrolab.errors import DataError, StorageError

PROGRAM = """
import os, sys
from pathlib import Path
from fibrolab.data import file_facts, survey
from fibrolab.data.media import whole
tree, cache, killed_after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
file_facts._WRITE_EVERY = 4
add, added = file_facts._Database.add, []
def add_and_count(*arguments):
    add(*arguments)
    added.append(arguments)
    if len(added) == killed_after:
        os._exit(9)  # ends without any clean-up, as after kill -9
file_facts._Database.add = add_and_count
survey.survey(whole(sorted(tree.iterdir())), cache)
"""


def picture(seed: int, side: int = 32) -> np.ndarray:
    """Return smooth noise that differs between seeds, uint8 (side, side)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 10), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, form: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=form, **options)
    return buffer.getvalue()


def bits_apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of twenty different images."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for seed in range(20):
        (folder / f"{seed:02}.png").write_bytes(encoded(picture(seed)))
    return folder


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A folder with three images in `tree` and their database in `cache`, and their survey."""
    folder = tmp_path_factory.mktemp("surveyed")
    (folder / "tree").mkdir()
    for seed in range(3):
        (folder / "tree" / f"{seed}.png").write_bytes(encoded(picture(seed)))
    return folder, survey(whole(sorted((folder / "tree").iterdir())), folder / "cache")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the files that the survey opens."""
    opened: list[Path] = []
    read: Callable[[Path], bytes] = readers.read_bytes
    monkeypatch.setattr(readers, "read_bytes", lambda path: opened.append(path) or read(path))
    return opened


def test_the_facts_are_those_of_the_content_and_not_of_the_name(tmp_path: Path) -> None:
    scan = tmp_path / "scan.jpg"
    scan.write_bytes(data := encoded(np.dstack([picture(0, 48)[:40]] * 3)))
    (facts,) = survey(whole([scan]), tmp_path / "cache").to_dict("records")
    assert tuple(facts) == SURVEYED
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    assert facts["n_bytes"] == len(data)
    assert (facts["width"], facts["height"]) == (48, 40)
    assert (facts["mode"], facts["format"]) == ("RGB", "PNG")
    assert facts["phash"] == perceptual_hash(picture(0, 48)[:40])
    assert facts["error"] == ""


def test_facts_keep_the_order_of_the_paths_for_any_number_of_threads(tree: Path, tmp_path: Path) -> None:
    paths = sorted(tree.iterdir(), reverse=True)
    found = survey(whole(paths), tmp_path / "cache", workers=4)
    assert found["sha256"].tolist() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_the_pixels_of_each_file_that_is_measured_are_handed_on(tree: Path, tmp_path: Path) -> None:
    (tree / "text.png").write_text("no picture")
    paths, taken = sorted(tree.iterdir()), dict[str, np.ndarray]()
    media = [Media(path, View.parse(box="2 3 20 10")) for path in paths]
    facts = survey(media, tmp_path / "cache", take=taken.__setitem__)
    read = facts[facts["error"] == ""]
    assert len(read) == len(paths) - 1
    assert sorted(taken) == sorted(read["sha256"])
    for row, digest in read["sha256"].items():
        np.testing.assert_array_equal(taken[digest], read_image(paths[row], media[row].view))
    survey(media, tmp_path / "cache", take=lambda *_: pytest.fail("a known file is not decoded"))


def test_files_to_answer_have_the_same_facts_without_those_of_an_audit(tree: Path) -> None:
    (tree / "text.png").write_text("no picture")
    media = whole(sorted(tree.iterdir()))
    found = survey(media, None, columns=ANSWERED)
    audited = set(AUDITED) & set(SURVEYED)
    pd.testing.assert_frame_equal(found, survey(media, None).drop(columns=list(audited)))


def test_statistics_are_those_of_the_grey_levels(tmp_path: Path) -> None:
    grey = picture(0, 48)[:40].copy()
    grey[:5], grey[:, -7:] = 0, 3
    (tmp_path / "scan.png").write_bytes(encoded(grey))
    (facts,) = survey(whole([tmp_path / "scan.png"]), None).to_dict("records")
    assert facts["mean"] == pytest.approx(grey.mean(), abs=1e-9)
    assert facts["sd"] == pytest.approx(grey.std(), abs=1e-9)
    assert facts["black"] == (grey <= 8).mean()
    assert [facts[f"border_{side}"] for side in ("top", "bottom", "left", "right")] == [5 / 40, 0, 0, 7 / 48]


def test_without_a_cache_the_facts_are_the_same_and_nothing_is_stored(tree: Path, tmp_path: Path) -> None:
    (tree / "text.png").write_text("no picture")
    paths = sorted(tree.iterdir())
    for some in (paths, paths[:1], paths[:2] * 2):
        without, stored = survey(whole(some), None), survey(whole(some), tmp_path / "cache")
        pd.testing.assert_frame_equal(without, stored, check_dtype=False)  # columns of objects
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "cache"}


def test_a_second_survey_reads_no_file(tree: Path, tmp_path: Path, reads: list[Path]) -> None:
    paths = sorted(tree.iterdir())
    cold = survey(whole(paths), tmp_path / "cache")
    assert sorted(reads) == paths
    reads.clear()
    pd.testing.assert_frame_equal(survey(whole(paths), tmp_path / "cache"), cold)
    assert reads == []


def test_an_edit_that_keeps_size_and_modification_time_is_noticed(tree: Path, tmp_path: Path) -> None:
    path, other = tree / "00.png", tmp_path / "other.bmp"
    path.write_bytes(encoded(picture(0), "BMP"))  # uncompressed, so that all sizes are equal
    before, stat = survey(whole([path]), tmp_path / "cache"), path.stat()
    other.write_bytes(encoded(picture(99), "BMP"))
    while path.stat().st_ctime_ns == stat.st_ctime_ns:  # until the clock of the file system advances
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    after = survey(whole([path]), tmp_path / "cache")
    assert after["sha256"][0] == hashlib.sha256(other.read_bytes()).hexdigest() != before["sha256"][0]
    assert after["phash"][0] != before["phash"][0]


def test_thumbnails_are_kept_on_the_disk_and_read_for_the_rows_that_are_asked(
    tree: Path, tmp_path: Path, reads: list[Path]
) -> None:
    media = whole(sorted(tree.iterdir()))
    assert "thumbnail" not in survey(media, tmp_path / "cache")
    reads.clear()
    some = [media[2], media[0], media[2]]
    found = thumbnails(some, tmp_path / "cache")
    assert not reads
    grey = [read_image(item.path, item.view) for item in some]
    expected = [cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA).ravel() for each in grey]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(thumbnails(some, None), expected)
    assert thumbnails([], None).shape == (0, 1024)


def test_a_file_that_has_gone_since_the_survey_is_named(tree: Path, tmp_path: Path) -> None:
    media = whole(sorted(tree.iterdir()))
    survey(media, tmp_path / "cache")
    media[1].path.unlink()
    with pytest.raises(DataError, match=rf"{media[1].path} .*could be read when the data were surveyed"):
        thumbnails(media, tmp_path / "cache")


def test_only_new_and_changed_files_are_read_again(tree: Path, tmp_path: Path, reads: list[Path]) -> None:
    survey(whole(sorted(tree.iterdir())), tmp_path / "cache")
    reads.clear()
    (tree / "03.png").write_bytes(encoded(picture(3, 40)))
    (tree / "new.png").write_bytes(encoded(picture(50)))
    survey(whole(sorted(tree.iterdir())), tmp_path / "cache")
    assert sorted(path.name for path in reads) == ["03.png", "new.png"]


def test_another_version_of_the_measurement_measures_again(
    tree: Path, tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    survey(whole([tree / "00.png"]), tmp_path / "cache")
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    survey(whole([tree / "00.png"]), tmp_path / "cache")
    assert len(reads) == 2


def damaged(folder: Path) -> dict[str, Path]:
    """Return a file for each kind of damage, by words of its message."""
    whole = encoded(picture(0, 64))
    contents = {
        "zero bytes": b"",
        "is text, beginning": b"<html>Log in to download</html>",
        "truncated": whole[: len(whole) // 2],
        "no such file": None,
    }
    paths = {words: folder / f"bad_{number}.png" for number, words in enumerate(contents)}
    for words, path in paths.items():
        if contents[words] is not None:
            path.write_bytes(contents[words])
    return paths


def test_unreadable_files_have_a_reason_and_no_other_fact(tmp_path: Path) -> None:
    bad = damaged(tmp_path)
    for facts, words in zip(survey(whole(list(bad.values())), tmp_path).to_dict("records"), bad, strict=True):
        assert words in facts["error"]
        assert str(tmp_path) not in facts["error"]
        assert facts["sha256"] == facts["phash"] == ""


def test_a_repaired_file_is_read_again(tmp_path: Path) -> None:
    bad = list(damaged(tmp_path).values())
    survey(whole(bad), tmp_path / "cache")
    for path in bad:
        path.write_bytes(encoded(picture(7)))
    assert (survey(whole(bad), tmp_path / "cache")["error"] == "").all()


@pytest.mark.parametrize("rows", [None, range(2, 26)])
def test_every_unreadable_file_has_a_sentence_with_its_row_if_known(
    tree: Path, tmp_path: Path, rows: range | None
) -> None:
    bad = damaged(tree)
    paths = sorted({*tree.iterdir(), *bad.values()})
    sentences = unreadable(whole(paths), survey(whole(paths), tmp_path / "cache"), tree, rows)
    assert len(sentences) == 4
    for (words, path), sentence in zip(bad.items(), sentences, strict=True):
        row = "" if rows is None else f"row {2 + paths.index(path)}: "
        assert sentence.startswith(f"{row}{path.name}: ")
        assert words in sentence


def test_after_a_kill_only_what_was_not_yet_written_is_measured_again(
    tree: Path, tmp_path: Path, reads: list[Path]
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tree), str(tmp_path / "cache"), "11"]
    assert subprocess.run(command, check=False, timeout=120).returncode == 9
    paths = sorted(tree.iterdir())
    found = survey(whole(paths), tmp_path / "cache")
    assert sorted(reads) == paths[8:]  # two writes of four, and three files lost
    pd.testing.assert_frame_equal(found, survey(whole(paths), tmp_path / "anew"))


def test_two_processes_survey_one_tree_at_once(tree: Path, tmp_path: Path, reads: list[Path]) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tree), str(tmp_path / "cache"), "0"]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    paths = sorted(tree.iterdir())
    found = survey(whole(paths), tmp_path / "cache")
    assert reads == []
    pd.testing.assert_frame_equal(found, survey(whole(paths), tmp_path / "anew"))


def test_the_database_is_not_locked_while_files_are_measured(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, read = tmp_path / "cache", readers.read_bytes

    def write_beside(path: Path) -> bytes:
        other = sqlite3.connect(cache / "survey.sqlite", timeout=2, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # fails if the survey holds its lock while it measures
        other.execute("ROLLBACK")
        other.close()
        return read(path)

    monkeypatch.setattr(readers, "read_bytes", write_beside)
    monkeypatch.setattr(file_facts, "_WRITE_EVERY", 3)
    assert (survey(whole(sorted(tree.iterdir())), cache, workers=1)["error"] == "").all()


def test_a_file_that_is_no_database_is_replaced(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, cache = whole(sorted(tree.iterdir())), tmp_path / "cache"
    fresh = survey(paths, cache)
    (cache / "survey.sqlite").write_text("this is not a database, however long one looks at it\n" * 40)
    pd.testing.assert_frame_equal(survey(paths, cache), fresh)
    pd.testing.assert_frame_equal(survey(paths, cache), fresh)
    assert caplog.messages == [f"{cache / 'survey.sqlite'} is damaged; the files are measured again."]


def test_a_damaged_database_that_another_process_has_replaced_is_kept(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other process replaces it between the error of this one and its lock."""
    paths, cache = whole(sorted(tree.iterdir())), tmp_path / "cache"
    fresh = survey(paths, cache)
    database, remove = cache / "survey.sqlite", file_facts._remove_damaged
    good = database.read_bytes()
    database.write_bytes(b"not a database" * 99)
    monkeypatch.setattr(
        file_facts, "_remove_damaged", lambda *words: (database.write_bytes(good), remove(*words))
    )
    monkeypatch.setattr(readers, "read_bytes", lambda path: pytest.fail(f"measured again: {path}"))
    pd.testing.assert_frame_equal(survey(paths, cache), fresh)
    assert not caplog.messages


@pytest.mark.parametrize("code", [sqlite3.SQLITE_READONLY, sqlite3.SQLITE_READONLY_DIRECTORY])
def test_a_folder_without_permission_to_write_is_not_called_damaged(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    paths, cache = whole(sorted(tree.iterdir())), tmp_path / "cache"
    survey(paths, cache)

    def refuse(*_: object) -> None:
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(file_facts._Database, "_insert", refuse)
    monkeypatch.setattr(file_facts.os, "access", lambda path, _: Path(path) != cache)  # root may write all
    with pytest.raises(StorageError, match=r"readonly database\. .* set another paths\.cache"):
        survey(paths, cache)
    assert not caplog.messages


def test_a_measurement_that_was_damaged_is_made_again(
    tree: Path, tmp_path: Path, reads: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    paths, cache = sorted(tree.iterdir()), tmp_path / "cache"
    fresh = survey(whole(paths), cache)
    database = cache / "survey.sqlite"
    flip(database, database.read_bytes().index(fresh["phash"][3].encode()), 2)
    flip(database, database.read_bytes().index(fresh["phash"][8].encode()), 0x80)  # no longer UTF-8
    reads.clear()
    pd.testing.assert_frame_equal(survey(whole(paths), cache), fresh)
    pd.testing.assert_frame_equal(survey(whole(paths), cache), fresh)
    assert reads == [paths[3], paths[8]]
    assert caplog.messages == [f"Damaged measurements in {database} are made again: 2."]


def test_a_value_that_is_not_a_number_is_stored_as_such(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scan.png").touch()
    counted: list[Media] = []
    for _ in range(2):
        file_facts.measured(
            whole([tmp_path / "scan.png"]),
            tmp_path,
            "numbers",
            ["x"],
            lambda media: counted.extend(media) or [(float("nan"),)],
            "",
        )
    assert len(counted) == 1
    assert not caplog.messages


@given(st.integers(0, 2**20), st.integers(1, 255))
def test_no_damage_of_the_database_changes_a_measurement(
    surveyed: tuple[Path, pd.DataFrame], position: int, mask: int
) -> None:
    folder, fresh = surveyed
    with TemporaryDirectory() as cache:
        shutil.copy(folder / "cache" / "survey.sqlite", cache)
        flip(Path(cache) / "survey.sqlite", position, mask)
        paths = whole(sorted((folder / "tree").iterdir()))
        for _ in range(2):
            pd.testing.assert_frame_equal(survey(paths, Path(cache), workers=1), fresh)


def test_a_database_whose_schema_is_no_text_any_more_is_made_again(
    surveyed: tuple[Path, pd.DataFrame],
) -> None:
    folder, fresh = surveyed
    schema = (folder / "cache" / "survey.sqlite").read_bytes().find(b"CREATE TABLE")
    assert schema > 0
    for position in range(schema - 20, schema + 100, 9):
        with TemporaryDirectory() as cache:
            shutil.copy(folder / "cache" / "survey.sqlite", cache)
            flip(Path(cache) / "survey.sqlite", position, 0x80)  # a byte that no UTF-8 text has there
            paths = whole(sorted((folder / "tree").iterdir()))
            pd.testing.assert_frame_equal(survey(paths, Path(cache), workers=1), fresh)


def test_a_database_that_another_process_replaced_meanwhile_is_opened_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths, cache = whole(sorted(tree.iterdir())), tmp_path / "cache"
    survey(paths[:5], cache)
    read, replaced = readers.read_bytes, []

    def replace_once(path: Path) -> bytes:
        if not replaced:
            replaced.append(path)
            (cache / "survey.sqlite").unlink()
            survey(paths[:10], cache)
        return read(path)

    monkeypatch.setattr(readers, "read_bytes", replace_once)
    found = survey(paths, cache, workers=1)
    assert found["file_sha256"].tolist() == hashes(sorted(tree.iterdir()))
    assert not caplog.messages


def test_a_cache_folder_that_cannot_be_made_is_a_clear_error(tree: Path) -> None:
    with pytest.raises(StorageError, match=r"set another paths\.cache"):
        survey(whole(sorted(tree.iterdir())), tree / "00.png")


def test_the_perceptual_hash_has_256_bits_of_which_half_are_set() -> None:
    code = perceptual_hash(picture(0))
    assert len(code) == 64
    assert int(code, 16).bit_count() == 128


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptual_hash_is_robust_to_brightness_size_and_compression(seed: int) -> None:
    original = picture(seed, 96)
    code = perceptual_hash(original)
    squeezed = np.asarray(Image.open(io.BytesIO(encoded(original, "JPEG", quality=40))))
    smaller = np.asarray(Image.fromarray(original).resize((64, 64), Image.Resampling.BICUBIC))
    for variant in (original // 2, squeezed, smaller):
        assert bits_apart(code, perceptual_hash(variant)) <= 32


@pytest.mark.parametrize(("side", "step"), [(382, 1), (384, 2), (600, 3)])
def test_large_pictures_are_averaged_in_blocks_before_the_perceptual_hash(side: int, step: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    averaged = {k: perceptual_hash(np.asarray(Image.fromarray(noise).reduce(k))) for k in (1, 2, 3)}
    assert [k for k, code in averaged.items() if code == perceptual_hash(noise)][-1] == step


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptual_hash_of_an_enlarged_picture_differs_in_few_bits(seed: int) -> None:
    small = picture(seed, 224)
    large = np.asarray(Image.fromarray(small).resize((800, 600), Image.Resampling.BICUBIC))
    assert bits_apart(perceptual_hash(small), perceptual_hash(large)) <= 8


def test_the_perceptual_hashes_of_different_pictures_are_far_apart() -> None:
    codes = [perceptual_hash(picture(seed)) for seed in range(20)]
    assert min(bits_apart(one, other) for i, one in enumerate(codes) for other in codes[:i]) > 64


def test_a_full_disk_is_a_sentence_and_the_measurements_so_far_are_kept(
    tree: Path, tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, connect = whole(sorted(tree.iterdir())), sqlite3.connect

    def small(*arguments: object, **named: object) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        connection.execute("PRAGMA max_page_count = 8")
        return connection

    survey(paths[:2], tmp_path / "cache")
    with monkeypatch.context() as context:
        context.setattr(sqlite3, "connect", small)
        with pytest.raises(StorageError, match=r"survey\.sqlite: the disk mounted at .* is full \("):
            survey(paths, tmp_path / "cache")
    reads.clear()
    survey(paths[:2], tmp_path / "cache")
    assert reads == []


@pytest.mark.parametrize("block", [1, 3, 8192])
def test_files_measured_and_read_in_blocks_are_in_the_order_asked_for(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    media = whole(sorted(tree.iterdir()))
    expected = survey(media, tmp_path / "whole")
    monkeypatch.setattr(file_facts, "BLOCK", block)
    survey(media[1::2], tmp_path / "parts")  # half of the files are then stored, and half measured
    order = [5, 0, 19, 5, 4, 3, 0, *range(20)]
    found = survey([media[number] for number in order], tmp_path / "parts")
    pd.testing.assert_frame_equal(found, expected.iloc[order].reset_index(drop=True))


def test_only_a_block_of_files_waits_for_its_measurement(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_facts, "BLOCK", 4)
    submitted: list[int] = []
    mapped = file_facts.ThreadPoolExecutor.map

    def counted(pool: object, work: Callable, items: list) -> object:
        submitted.append(len(items))
        return mapped(pool, work, items)  # type: ignore[arg-type]

    monkeypatch.setattr(file_facts.ThreadPoolExecutor, "map", counted)
    survey(whole(sorted(tree.iterdir())), tmp_path / "cache")
    assert submitted == [4] * 5
