"""Geometry: a map of the network's input returns to the original picture's pixels."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.data import geometry
from fibrolab.data.box import Box
from fibrolab.data.formats import video
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.geometry import GEOMETRY, Geometry, shown_parts
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media, View
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import read_image
from fibrolab.data.splits import all_test
from fibrolab.loading import surveyed

SCAN = Box(70, 40, 120, 150)


def marked(size: tuple[int, int], scan: Box, centre: tuple[float, float], spread: float) -> np.ndarray:
    """A black screen with a grey scan, and in the scan a bright spot; uint8 (H, W)."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    spot = np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (2 * spread**2))
    picture = np.zeros(size[::-1])
    scan.of(picture)[:] = 90 + 160 * scan.of(spot)
    return picture.round().astype(np.uint8)


def found(network_input: np.ndarray, place: Geometry) -> tuple[float, float]:
    """The centre of the bright spot of a network's input, in pixels of the original picture."""
    heat = np.nan_to_num(place.to_picture(np.maximum(network_input.astype(np.float32) - 110, 0)))
    rows, columns = np.indices(heat.shape)
    return float((columns * heat).sum() / heat.sum()), float((rows * heat).sum() / heat.sum())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    side=st.sampled_from([32, 56, 100, 224]),
    crop=st.sampled_from(["none", "borders"]),
    roi=st.sampled_from([None, Box(20, 10, 250, 200), Box(55, 30, 145, 170)]),
    across=st.floats(0.2, 0.8),
    down=st.floats(0.2, 0.8),
    flipped=st.booleans(),
)
def test_a_bright_marker_returns_within_a_pixel(
    tmp_path: Path, side: int, crop: str, roi: Box | None, across: float, down: float, flipped: bool
) -> None:
    x, y = SCAN.left + across * SCAN.width, SCAN.top + down * SCAN.height
    pixels = marked((320, 240), SCAN, (x, y), spread=8)
    if flipped:
        pixels, x = pixels[:, ::-1], 319 - x
        roi = roi and Box(320 - roi.left - roi.width, *roi[1:])
    cv2.imwrite(str(tmp_path / "scan.png"), pixels)
    media, preprocess = Media(tmp_path / "scan.png", View(box=roi)), Preprocess(size=side, crop=crop)
    whole, place = geometry.picture(media, preprocess)
    np.testing.assert_array_equal(whole, pixels)
    network_input = preprocess(to_grey(read_image(media.path, media.view)))
    np.testing.assert_allclose(found(network_input, place), (x, y), atol=1)
    if crop == "borders":
        assert place.width < 140, "the screen around the scan was not cropped"


def test_a_map_covers_the_rectangle_and_nothing_else() -> None:
    place = Geometry(10, 8, left=2, top=1, width=4, height=6)
    whole = place.to_picture(np.ones((3, 3)))
    assert whole.shape == (8, 10)
    assert (Box(2, 1, 4, 6).of(whole) == 1).all()
    assert np.isfinite(whole).sum() == 24


@settings(max_examples=30, deadline=None)
@given(
    columns=st.integers(1, 14), rows=st.integers(1, 14), width=st.integers(1, 60), height=st.integers(1, 60)
)
def test_pixel_centres_are_mapped_to_their_proportion_of_the_rectangle(
    columns: int, rows: int, width: int, height: int
) -> None:
    """A map that rises linearly by one from edge to edge still does so between its outermost centres."""
    place = Geometry(width + 3, height + 2, 3, 2, width, height)
    rising = np.tile((np.arange(columns) + 0.5) / columns, (rows, 1))
    shown = place.box.of(place.to_picture(rising))
    proportion = (np.arange(width) + 0.5) / width
    expected = np.clip(proportion, 0.5 / columns, 1 - 0.5 / columns)
    np.testing.assert_allclose(shown, np.tile(expected, (height, 1)), atol=1e-5)


def data(folder: Path) -> LabelledData:
    """A scan of noise on a black screen: whole, as a rectangle of its file, and a sample without it."""
    pixels = np.zeros((120, 200), np.uint8)
    pixels[20:100, 40:180] = np.random.default_rng(0).integers(60, 256, (80, 140), dtype=np.uint8)
    cv2.imwrite(str(folder / "a.png"), pixels)
    table = pd.DataFrame(
        {
            keys.SAMPLE_ID: ["whole", "part", "colour"],
            keys.IMAGE: ["a.png", "a.png", ""],
            keys.ROI: ["", "10 5 150 110", ""],
            keys.ELASTOGRAM: ["", "", "a.png"],
        }
    )
    manifest, facts = surveyed(Manifest(table, ("a",), "scans", folder), folder / "cache", "error")
    return LabelledData(manifest, facts, manifest.labels, ["a"], all_test(manifest))


def test_the_part_is_that_of_the_rectangle_and_the_crop(tmp_path: Path) -> None:
    samples = data(tmp_path)
    plain = shown_parts(samples, keys.IMAGE, Preprocess(size=32))
    assert list(plain) == list(GEOMETRY)
    assert plain.iloc[0].tolist() == [200, 120, 0, 0, 200, 120]
    assert plain.iloc[1].tolist() == [200, 120, 10, 5, 150, 110]
    assert plain.iloc[2].isna().all()
    cropped = shown_parts(samples, keys.IMAGE, Preprocess(size=32, crop="borders"))
    np.testing.assert_allclose(cropped.iloc[0], [200, 120, 40, 20, 140, 80], atol=2)
    np.testing.assert_allclose(cropped.iloc[1], [200, 120, 40, 20, 120, 80], atol=2)
    colours = shown_parts(samples, keys.ELASTOGRAM, Preprocess(size=32).of_colours())
    assert colours.iloc[2].tolist() == [200, 120, 0, 0, 200, 120]


@pytest.mark.parametrize("crop", ["none", "borders"])
def test_the_frames_of_a_film_have_one_rectangle(tmp_path: Path, crop: str) -> None:
    frames = np.stack([marked((320, 240), SCAN, (110 + 5 * t, 100), spread=8) for t in range(6)])
    video.write(tmp_path / "film.mkv", frames, fps=12.0)
    preprocess = Preprocess(size=64, crop=crop)
    clip, place = geometry.film(Media(tmp_path / "film.mkv"), preprocess)
    assert clip.fps == pytest.approx(12, rel=0.01)
    for t, frame in enumerate(preprocess.clip(clip.frames)):
        np.testing.assert_allclose(found(frame, place), (110 + 5 * t, 100), atol=1)


def test_a_subset_keeps_its_samples_and_tests_all_of_them(tmp_path: Path) -> None:
    found = data(tmp_path).subset(np.array([2, 0]))
    assert found.manifest.table[keys.SAMPLE_ID].tolist() == ["colour", "whole"]
    assert len(found.facts[keys.IMAGE]) == len(found.labels) == 2
    assert found.split.rows(keys.TEST).tolist() == [0, 1]
