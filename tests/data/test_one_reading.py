"""Frames of one file: read, hashed and parsed once, with the results of single readings."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_case import dataset, saved
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fibrolab.data import cache, media, readers
from fibrolab.data.box import Box
from fibrolab.data.cache import PixelStore
from fibrolab.data.formats import video
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import Decode, Media, View, batches, by_file
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import OpenFile, decode
from fibrolab.data.survey import survey

FRAMES, HEIGHT, WIDTH = 6, 48, 64
LEVELS = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH)).astype(np.uint8)
VIEWS = [View(number) for number in (0, 1, 5, 5, 2, 0)]


def in_windows(path: Path) -> None:
    """Write a film of which every second frame has a window of its own."""
    groups = []
    for number in range(FRAMES):
        group = pydicom.Dataset()
        if number % 2:
            window = pydicom.Dataset()
            window.WindowCenter, window.WindowWidth = 40 + 20 * number, 30
            group.FrameVOILUTSequence = pydicom.Sequence([window])
        groups.append(group)
    film = dataset(LEVELS, NumberOfFrames=FRAMES, PerFrameFunctionalGroupsSequence=pydicom.Sequence(groups))
    path.write_bytes(saved(film))


def in_pages(path: Path) -> None:
    first, *rest = [Image.fromarray(frame) for frame in LEVELS]
    first.save(path, save_all=True, append_images=rest, **({"duration": 40} if path.suffix == ".gif" else {}))


def in_colours(path: Path) -> None:
    colours = np.stack([LEVELS, LEVELS[::-1], 255 - LEVELS], axis=-1)
    path.write_bytes(saved(dataset(colours, NumberOfFrames=FRAMES)))


WRITERS: dict[str, Callable[[Path], object]] = {
    "grey.dcm": lambda path: path.write_bytes(saved(dataset(LEVELS, NumberOfFrames=FRAMES))),
    "windows.dcm": in_windows,
    "colours.dcm": in_colours,
    "film.avi": lambda path: video.write(path, LEVELS, 25),
    "pages.tif": in_pages,
    "pages.gif": in_pages,
    "film.nii": lambda path: nibabel.save(
        nibabel.Nifti1Image(LEVELS.T[:, :, None].astype(np.uint8), np.eye(4)), path
    ),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    for name, write in WRITERS.items():
        write(folder / name)
    return [folder / name for name in WRITERS]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the files that are read."""
    seen: list[Path] = []
    read = readers.read_bytes
    monkeypatch.setattr(readers, "read_bytes", lambda path: seen.append(path) or read(path))
    return seen


@pytest.mark.parametrize("name", WRITERS)
def test_a_frame_is_the_same_whatever_frames_were_read_before(films: list[Path], name: str) -> None:
    (path,) = (path for path in films if path.name == name)
    content, together = path.read_bytes(), OpenFile(path)
    shown = {}
    for view in VIEWS:
        header, shown[view] = together.inspect(view)
        alone, pixels = OpenFile(path, content).inspect(view)
        assert header == alone
        np.testing.assert_array_equal(shown[view], pixels)
    assert not np.array_equal(shown[View(0)], shown[View(1)])


def test_a_correction_of_one_view_is_not_made_in_another(films: list[Path]) -> None:
    (path,) = (path for path in films if path.name == "colours.dcm")
    views = [
        View(1), View(1, decode=Decode(colour="ycbcr")), View(1, decode=Decode(planes="by_plane")),
        View(1), View(1, Box(3, 4, 10, 20)), View(2),
    ]  # fmt: skip
    together, content = OpenFile(path), path.read_bytes()
    shown = [together.inspect(view)[1] for view in views]
    for view, pixels in zip(views, shown, strict=True):
        np.testing.assert_array_equal(pixels, decode(content, path, view))
    assert not np.array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[0], shown[2])


def test_a_frame_after_one_that_is_refused_is_read(films: list[Path]) -> None:
    for path in films:
        file = OpenFile(path)
        with pytest.raises(readers.UnreadableImageError, match="has no frame 60"):
            file.inspect(View(60))
        np.testing.assert_array_equal(file.inspect(View(3))[1], decode(path.read_bytes(), path, View(3)))


def test_survey_and_store_read_each_file_once(films: list[Path], tmp_path: Path, reads: list[Path]) -> None:
    rows = [Media(path, View(number)) for path in films for number in range(FRAMES)]
    random.Random(0).shuffle(rows)
    facts = survey(rows, tmp_path)
    assert sorted(reads) == sorted(films)
    assert facts["file_sha256"].tolist() == [
        hashlib.sha256(row.path.read_bytes()).hexdigest() for row in rows
    ]
    reads.clear()
    store = PixelStore(tmp_path / "pixels", Preprocess(size=16))
    first = store.build(rows, facts["sha256"].tolist(), progress=False).first
    assert sorted(reads) == sorted(films)
    pixels = store.open()
    for row, fact, slot in zip(rows, facts.itertuples(), first, strict=True):
        shown = decode(row.path.read_bytes(), row.path, row.view)
        assert fact.mean == pytest.approx(to_grey(shown).mean())
        np.testing.assert_array_equal(pixels[slot], store.processed(shown)[0])


def test_a_long_file_is_read_again_after_some_of_its_frames(
    films: list[Path], tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ONE_PASS", 4)
    rows = [Media(films[0], View(number)) for number in range(FRAMES)]
    digests = survey(rows, None)["sha256"].tolist()
    assert len(reads) == 1
    PixelStore(tmp_path, Preprocess(size=16)).build(rows, digests, progress=False)
    assert len(reads) == 3
    monkeypatch.setattr(cache, "BLOCK", 2 * 32 * 32)
    PixelStore(tmp_path, Preprocess(size=32)).build(rows, digests, progress=False)
    assert len(reads) == 6


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=40),
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_groups_of_one_file_hold_each_item_once(
    parts: list[tuple[str, int]], most: int, size: int, at_least: int
) -> None:
    items = [(Media(Path(name), View(frame)), place) for place, (name, frame) in enumerate(parts)]
    groups = by_file(items, most)
    assert sorted(place for group in groups for _, place in group) == list(range(len(items)))
    for group in groups:
        assert 1 <= len(group) <= most
        assert len({item.path for item, _ in group}) == 1
        assert [item.view.frame for item, _ in group] == sorted(item.view.frame for item, _ in group)
    joined = list(batches(groups, size, at_least))
    assert [group for batch in joined for group in batch] == groups
    for batch in joined[:-1]:
        assert len(batch) >= at_least
        assert sum(map(len, batch)) >= size
        assert len(batch) == at_least or sum(map(len, batch[:-1])) < size


def test_a_group_is_bounded() -> None:
    groups = by_file([(Media(Path("a"), View(number)), number) for number in range(media.ONE_PASS + 1)])
    assert list(map(len, groups)) == [media.ONE_PASS, 1]
