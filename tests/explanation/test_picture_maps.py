"""Maps over original pictures: the time step of a film that is shown, its overlay, and means over scans."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fibrolab.data.clip_sampling import Segment
from fibrolab.data.formats import video
from fibrolab.data.geometry import Geometry
from fibrolab.data.media import Media
from fibrolab.data.preprocess import Preprocess
from fibrolab.explanation.overlays import Scale, overlay
from fibrolab.explanation.picture_maps import FRAME, MeanMap, Original, Source

SIDE, FRAMES = 32, 12


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Twelve frames, each of a grey level that tells its number; the network takes six of them."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    levels = np.arange(FRAMES, dtype=np.uint8) * 20
    video.write(path, np.broadcast_to(levels[:, None, None], (FRAMES, SIDE, SIDE)).copy(), fps=10)
    return Source({"a": Media(path)}, Preprocess(size=16), Segment("window", 6)).open("a")


def test_a_still_of_a_film_is_the_time_step_with_the_most_heat(film: Original) -> None:
    np.testing.assert_array_equal(film.used, [3, 4, 5, 6, 7, 8])
    values = np.zeros((3, 4, 4))  # each step stands for two of the six frames
    values[2] = -1
    picture, heat = film.still(values)
    assert picture[0, 0] in (7 * 20, 8 * 20)
    np.testing.assert_array_equal(heat, np.full((SIDE, SIDE), -1))


def test_the_middle_frame_of_a_film_is_shown_whatever_the_heat(film: Original) -> None:
    values = np.zeros((3, 4, 4))  # whose middle step stands for frames 5 and 6
    values[1], values[2] = 0.5, -1
    picture, heat = film.middle(values)
    assert picture[0, 0] == FRAMES // 2 * 20
    np.testing.assert_array_equal(heat, np.full((SIDE, SIDE), 0.5))


def test_the_middle_of_a_picture_is_the_part_that_the_network_sees() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    picture, heat = Original(pixels, Geometry(8, 6, left=2, top=1, width=4, height=3)).middle(np.ones((2, 2)))
    np.testing.assert_array_equal(picture, pixels[1:4, 2:6])
    np.testing.assert_array_equal(heat, np.ones((3, 4)))


def test_every_frame_is_shown_and_only_those_between_the_networks_frames_have_heat(film: Original) -> None:
    shown = np.stack(list(film.overlaid(np.ones((3, 4, 4)), Scale(1.0, signed=False))))
    assert shown.shape == (FRAMES, SIDE, SIDE, 3)
    is_coloured = (shown[..., 0] != shown[..., 2]).any(axis=(1, 2))
    np.testing.assert_array_equal(np.flatnonzero(is_coloured), np.arange(3, 9))


def test_heat_changes_evenly_between_two_time_steps(film: Original) -> None:
    """The two steps stand for frames 3 to 5 and 6 to 8, whose centres are 4 and 7."""
    values, scale = np.stack([np.zeros((4, 4)), np.ones((4, 4))]), Scale(1.0, signed=False)
    shown = list(film.overlaid(values, scale))
    for number, heat in ((4, 0), (5, 1 / 3), (6, 2 / 3), (7, 1), (8, 1)):
        expected = overlay(film.pixels[number], np.full((SIDE, SIDE), heat), scale)
        np.testing.assert_allclose(shown[number].astype(int), expected, atol=1)


def test_a_picture_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    original = Source({"a": Media(tmp_path / "a.png")}, Preprocess(size=16)).open("a")
    picture, heat = original.still(np.ones((4, 4)))
    np.testing.assert_array_equal(picture, pixels)
    assert heat.shape == (20, 30)


def test_scans_of_different_place_and_size_are_averaged_in_one_frame() -> None:
    """The heat is in the lower right quarter of each scan, wherever the scan lies on its screen."""
    mean = MeanMap()
    for left, top, side in ((20, 10, 80), (60, 40, 120)):
        picture, heat = np.zeros((200, 240), np.uint8), np.zeros((200, 240))
        noise = np.random.default_rng(side).integers(60, 200, (side, side))
        picture[top : top + side, left : left + side] = noise
        heat[top + side // 2 : top + side, left + side // 2 : left + side] = side
        mean.add(picture, heat)
    _, found, count = mean.means()
    assert count == 2
    expected = np.zeros((FRAME, FRAME))
    expected[FRAME // 2 :, FRAME // 2 :] = 1
    assert np.abs(found - expected).mean() < 0.05


def test_what_no_network_saw_has_no_mean() -> None:
    mean = MeanMap()
    picture = np.random.default_rng(0).integers(60, 200, (100, 100)).astype(np.uint8)
    heat = np.ones((100, 100))
    heat[:, :40] = np.nan
    mean.add(picture, heat)
    found = mean.means()[1]
    assert np.isnan(found[:, : FRAME // 3]).all()
    np.testing.assert_allclose(found[:, FRAME // 2 :], 1)
