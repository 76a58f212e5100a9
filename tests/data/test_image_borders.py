"""Image borders: the scan and its rectangle are found among title bar, frame, text, calipers and grey bar."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.data.box import Box
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.image_borders import burned_in, content_box, scan_mask
from fibrolab.data.media import View
from fibrolab.data.readers import read_image
from fibrolab.phantom import preset_text
from fibrolab.phantom.archive import generate
from fibrolab.phantom.synthetic_cohort import Cohort

SCAN = Box(60, 40, 120, 150)
DATA = Path(__file__).parents[3] / "shared" / "data"


def speckle(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).rayleigh(50, (height, width)), 0, 255).astype(np.uint8)


def screen(scan: Box = SCAN, level: int = 0, seed: int = 0) -> np.ndarray:
    picture = np.full((240, 320), level, np.uint8)
    rows, columns = slice(scan.top, scan.top + scan.height), slice(scan.left, scan.left + scan.width)
    picture[rows, columns] = speckle(scan.height, scan.width, seed)
    return picture


def with_text(picture: np.ndarray) -> None:
    for line, text in enumerate(("HOSPITAL 12.03.2021", "Gain 54%", "MI 1.2")):
        cv2.putText(picture, text, (196, 60 + 14 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)


def with_frame(picture: np.ndarray) -> None:
    cv2.rectangle(picture, (0, 0), (319, 239), 180, 2)


def with_bar(picture: np.ndarray) -> None:
    picture[60:180, 300:310] = np.linspace(255, 0, 120)[:, None]


def with_title(picture: np.ndarray) -> None:
    picture[:32] = 58
    cv2.putText(picture, "Liver right lobe", (4, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 250, 1)


def with_ripples(picture: np.ndarray) -> None:
    picture[:] = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0)


def farthest_side(found: Box, expected: Box) -> int:
    ends = [(box.left, box.top, box.left + box.width, box.top + box.height) for box in (found, expected)]
    return max(abs(a - b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("dress", [with_text, with_frame, with_bar, with_title, with_ripples])
def test_burned_in_content_around_a_scan_is_cropped(dress) -> None:
    picture = screen()
    dress(picture)
    assert farthest_side(content_box(picture), SCAN) <= 3


def test_all_kinds_of_burned_in_content_together_are_cropped() -> None:
    picture = screen()
    for dress in (with_text, with_title, with_bar, with_frame, with_ripples):
        dress(picture)
    assert farthest_side(content_box(picture), SCAN) <= 3


def test_a_sector_keeps_its_sharp_corners() -> None:
    rows, columns = np.mgrid[:240, :320]
    radius, angle = np.hypot(columns - 160, rows + 20), np.arctan2(columns - 160, rows + 20)
    inside = (radius > 50) & (radius < 220) & (np.abs(angle) < 0.6)
    left, top, width, height = cv2.boundingRect(inside.astype(np.uint8))
    found = content_box(np.where(inside, speckle(240, 320), 0).astype(np.uint8))
    assert farthest_side(found, Box(left, top, width, height)) <= 6


@pytest.mark.parametrize(
    "picture",
    [
        speckle(120, 160),
        np.zeros((120, 160), np.uint8),
        np.full((120, 160), 90, np.uint8),
        np.zeros((1, 1), np.uint8),
    ],
    ids=["filled by the scan", "black", "grey", "one pixel"],
)
def test_an_image_without_a_border_is_kept_whole(picture: np.ndarray) -> None:
    assert content_box(picture) == Box(0, 0, picture.shape[1], picture.shape[0])


def test_a_shadow_at_the_edge_is_not_a_border() -> None:
    picture = speckle(240, 320)
    picture[:, :90] = 0
    assert content_box(picture) == Box(0, 0, 320, 240)


def test_text_alone_is_not_a_scan() -> None:
    picture = np.zeros((240, 320), np.uint8)
    with_text(picture)
    assert content_box(picture) == Box(0, 0, 320, 240)


@settings(max_examples=60, deadline=None)
@given(
    left=st.integers(30, 120),
    top=st.integers(20, 100),
    width=st.integers(60, 160),
    height=st.integers(60, 110),
    level=st.integers(0, 20),
    seed=st.integers(0, 5),
)
def test_a_scan_is_found_at_any_position(
    left: int, top: int, width: int, height: int, level: int, seed: int
) -> None:
    scan = Box(left, top, width, height)
    assert farthest_side(content_box(screen(scan, level, seed)), scan) <= 6


def test_the_border_of_pydicom_s_own_echo_is_found() -> None:
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("examples_ybr_color.dcm")))
    box = content_box(to_grey(read_image(path, View("middle"))))
    assert farthest_side(box, Box(92, 21, 141, 181)) <= 4  # measured by hand


def sector(height: int = 240, width: int = 320) -> np.ndarray:
    """Return the pixels of a curved probe's sector, bool (H, W); the face of the probe is not convex."""
    rows, columns = np.mgrid[:height, :width]
    radius, angle = np.hypot(columns - 160, rows + 20), np.arctan2(columns - 160, rows + 20)
    return (radius > 70) & (radius < 220) & (np.abs(angle) < 0.6)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_the_pixels_of_a_sector_are_found_with_its_shadows() -> None:
    inside = sector()
    picture = np.where(inside, speckle(240, 320), 0).astype(np.uint8)
    picture[150:, 140:170] = 0  # behind a stone
    with_text(picture)
    found = scan_mask(picture)
    assert overlap(found, inside) > 0.93
    assert found[150:190, 140:170].all()
    assert not found[55 - 20, 160]  # in front of the face, between its ends


@pytest.mark.parametrize(
    "picture", [speckle(120, 160), np.zeros((1, 1), np.uint8)], ids=["scan", "one pixel"]
)
def test_without_a_border_every_pixel_belongs_to_the_scan(picture: np.ndarray) -> None:
    assert scan_mask(picture).all()
    assert not burned_in(np.minimum(picture, 200), scan_mask(picture)).any()


def test_text_is_found_beside_the_scan_and_calipers_on_it() -> None:
    inside = sector()
    plain = np.where(inside, np.minimum(speckle(240, 320), 190), 0).astype(np.uint8)
    drawn = plain.copy()
    with_title(drawn)
    for x, y in ((150, 120), (190, 150)):
        cv2.drawMarker(drawn, (x, y), 250, cv2.MARKER_CROSS, 9, 1)
    true = (drawn != plain) & (drawn != 58)  # the title bar is screen
    found = burned_in(drawn, scan_mask(drawn))
    assert (found & true & inside).sum() / (true & inside).sum() > 0.9
    assert (found & true & ~inside).sum() / (true & ~inside).sum() > 0.9
    assert (found & ~true).sum() < 0.2 * true.sum()
    assert not burned_in(plain, scan_mask(plain)).any()


def test_scan_and_text_of_phantoms_agree_with_their_true_masks(tmp_path: Path) -> None:
    cohort = Cohort(patients=15, images_per_patient=1, size=128, modality="masked")
    folder = generate(tmp_path, cohort, workers=1)
    scans, texts, beside = [], [], []
    for path in sorted((folder / "images").iterdir()):
        grey, mask = (cv2.imread(str(file), 0) for file in (path, folder / "masks" / path.name))
        scan, text = scan_mask(grey), mask == preset_text.TEXT
        found = burned_in(grey, scan)
        scans.append(overlap(scan, (mask > 0) & ~text))
        texts.append((found & text).sum() / text.sum())
        beside.append((found & ~text).sum() / found.sum())
    assert np.mean(scans) > 0.92  # some depths are as dark as the screen
    assert np.mean(texts) > 0.98
    assert np.mean(beside) < 0.3


@pytest.mark.shared
def test_scans_of_the_kaggle_set_lose_only_their_black_border() -> None:
    if not DATA.exists():
        pytest.skip("the data set does not lie beside the project")
    paths = [path for path in sorted((DATA / "kaggle_fibrosis" / "originals").rglob("*.*")) if path.is_file()]
    assert paths
    for path in paths:
        grey = to_grey(read_image(path)).astype(int)
        box = content_box(grey.astype(np.uint8))
        inside = np.zeros(grey.shape, bool)
        inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
        assert 0.15 < inside.mean() < 0.8, path
        assert (grey[~inside] > 60).mean() < 0.005, path
