"""The pixel store of rectangles, colour images and clips."""

from pathlib import Path

import numpy as np
from PIL import Image
from stored import flip, hashes, write_films, write_scans

from fibrolab.data.box import Box
from fibrolab.data.cache import CLIPS, RECORD, PixelStore, Slots
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import Media, View, whole
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode_clip, read_image

PREPROCESS = Preprocess(size=16)


def test_views_of_one_file_have_different_slots(tmp_path: Path) -> None:
    (path,) = write_scans(tmp_path / "scans", 1)
    views = [View(), View(box=Box(0, 0, 12, 12)), View(box=Box(5, 3, 16, 20))]
    media = [Media(path, view) for view in views]
    digests = [view.digest(digest) for view, digest in zip(views, hashes([path] * 3), strict=True)]
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    slots = store.build(media, digests, progress=False)
    assert len(set(slots.first.tolist())) == 3
    for view, slot in zip(views, slots.first, strict=True):
        np.testing.assert_array_equal(
            store.open()[slot], PREPROCESS(view.cut(to_grey(read_image(path)), path))
        )


def test_colour_images_keep_three_channels_and_are_only_resized(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(colours).save(path := tmp_path / "swe.png")
    store = PixelStore(tmp_path / "cache", Preprocess(size=16, denoise=10, equalize="both").of_colours())
    slots = store.build(whole([path]), hashes([path]), progress=False)
    assert store.open().shape == (1, 16, 16, 3)
    np.testing.assert_array_equal(store.open()[slots.first[0]], colours)


def test_frames_of_a_clip_fill_consecutive_slots_next_to_those_of_images(tmp_path: Path) -> None:
    films = write_films(tmp_path, lengths=(7, 1 + 4 * CLIPS, 3))
    pictures = write_scans(tmp_path / "scans", 2)
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    before = store.build(whole(pictures), hashes(pictures), progress=False)
    slots = store.build(whole(films), hashes(films), clips=True, progress=False)
    assert slots.frames.tolist() == [7, 1 + 4 * CLIPS, 3]
    pixels = store.open()
    for film, first, count in zip(films, *slots, strict=True):
        frames = decode_clip(film.read_bytes(), film).frames
        np.testing.assert_array_equal(pixels[first : first + count], PREPROCESS.clip(frames))
    after = store.build(whole(pictures), hashes(pictures), progress=False)
    np.testing.assert_array_equal(after.first, before.first)
    assert isinstance(after, Slots)


def test_a_clip_that_a_crash_truncated_is_decoded_again(tmp_path: Path) -> None:
    films = write_films(tmp_path, lengths=(4, 6))
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    store.build(whole(films), hashes(films), clips=True, progress=False)
    index = store.folder / "records.bin"
    index.write_bytes(index.read_bytes()[: 7 * RECORD])  # the second clip loses its last frames
    slots = store.build(whole(films), hashes(films), clips=True, progress=False)
    assert (slots.first.tolist(), slots.frames.tolist()) == ([0, 4], [4, 6])
    frames = decode_clip(films[1].read_bytes(), films[1]).frames
    np.testing.assert_array_equal(store.open()[4:10], PREPROCESS.clip(frames))


def test_a_clip_with_a_changed_byte_in_any_frame_is_decoded_again(tmp_path: Path) -> None:
    films = write_films(tmp_path, lengths=(4, 6, 3))
    store = PixelStore(tmp_path / "cache", PREPROCESS)
    store.build(whole(films), hashes(films), clips=True, progress=False)
    pixels = store.open()[:].copy()
    flip(store.pixels_path, 5 * 256)  # the second frame of the second clip
    slots = store.build(whole(films), hashes(films), clips=True, progress=False)
    assert (slots.first.tolist(), slots.frames.tolist()) == ([0, 13, 10], [4, 6, 3])
    np.testing.assert_array_equal(store.open()[13:], pixels[4:10])
    flip(store.folder / "records.bin", 3 * RECORD)  # the record of the first clip
    slots = store.build(whole(films), hashes(films), clips=True, progress=False)
    assert (slots.first.tolist(), slots.frames.tolist()) == ([19, 13, 10], [4, 6, 3])
    np.testing.assert_array_equal(store.open()[19:], pixels[:4])
