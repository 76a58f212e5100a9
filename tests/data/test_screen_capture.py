"""Screen captures of elastography: both squares, the colour bar and the stiffness from colours."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from swe_screen import TOP_KPA, Drawn, Screen, draw, jet, jpeg, png

from fibrolab.data import screen_capture
from fibrolab.data.box import Box
from fibrolab.data.media import View
from fibrolab.data.readers import decode
from fibrolab.errors import UnreadableImageError
from fibrolab.phantom import capture, patient

PATH = Path("capture.png")
BAR = jet(np.linspace(1, 0, 200))
SCREENS = st.builds(
    Screen,
    panel=st.sampled_from([(120, 160), (150, 230), (201, 243)]),
    beside=st.booleans(),
    grey_first=st.booleans(),
    centre=st.floats(-0.12, 0.12),
    spread=st.floats(0.35, 0.55),
    near=st.floats(0.15, 0.35),
    far=st.floats(0.65, 0.9),
    opacity=st.sampled_from([1.0, 0.8, 0.6]),
    patches=st.integers(0, 4),
    icons=st.booleans(),
    bar_right=st.booleans(),
    kpa=st.floats(3, 25),
    seed=st.integers(0, 1000),
)


def largest_by_definition(mask: np.ndarray) -> int:
    """Compute the side of the largest square by dynamic programming."""
    sides = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), int)
    for row, column in np.argwhere(mask):
        above = sides[row, column], sides[row, column + 1], sides[row + 1, column]
        sides[row + 1, column + 1] = 1 + min(above)
    return int(sides.max())


def true_and_read(drawn: Drawn) -> tuple[float, float]:
    square = screen_capture.squares(drawn.pixels, PATH).colour
    true = square.of(drawn.kpa)[square.of(drawn.shown)].mean()
    return float(true), TOP_KPA * screen_capture.reading(drawn.pixels, PATH)


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@settings(max_examples=40, deadline=None)
@given(SCREENS, st.sampled_from([None, 75]))
def test_both_squares_are_found_on_any_screen(screen: Screen, quality: int | None) -> None:
    drawn = draw(screen)
    pixels = drawn.pixels if quality is None else jpeg(drawn.pixels, quality)
    colour, grey = screen_capture.squares(pixels, PATH)
    assert (grey.left - colour.left, grey.top - colour.top) == screen.shift
    assert colour[2:] == grey[2:]
    assert drawn.inside(colour) > 0.99
    assert drawn.inside(grey) == 0


@settings(max_examples=20, deadline=None)
@given(SCREENS)
def test_the_square_is_the_largest_up_to_the_outline(screen: Screen) -> None:
    drawn = draw(screen)
    largest = largest_by_definition(drawn.region)
    assert (
        0.8 * largest - 2 * screen_capture.EDGE
        <= screen_capture.squares(drawn.pixels, PATH).colour.width
        <= largest
    )


@settings(max_examples=30, deadline=None)
@given(SCREENS)
@example(
    Screen(
        (120, 160), spread=0.375, near=0.3125, far=0.65625, opacity=0.8, patches=1, kpa=3.25, seed=3
    )  # a square of 30 pixels, on which the opacity is found to be .82
)
def test_stiffness_is_recovered_from_blended_colours(screen: Screen) -> None:
    true, read = true_and_read(draw(screen))
    assert read == pytest.approx(true, abs=0.3)  # one step of the opacity, .02, changes soft tissue by .2 kPa


@pytest.mark.parametrize("opacity", [1.0, 0.7])
@pytest.mark.parametrize("kpa", [3.0, 6.0, 12.0, 25.0])
def test_lossy_compression_changes_the_reading_by_less_than_half_a_kilopascal(
    kpa: float, opacity: float
) -> None:
    drawn = draw(Screen(panel=(320, 440), kpa=kpa, opacity=opacity))
    true, read = true_and_read(replace(drawn, pixels=jpeg(drawn.pixels)))
    assert read == pytest.approx(true, abs=0.5)


@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize("number", range(4))
def test_the_phantoms_captures_are_read(number: int, quality: int | None) -> None:
    person = patient.patient(0, number, separability=1.0)
    kpa = (4.0, 8.0, 14.0, 28.0)[number]
    rng = np.random.default_rng(number)
    screen = capture.capture(person.body, person.exam, kpa, width=320, rng=rng).screen
    pixels = screen if quality is None else jpeg(screen, quality)
    colour, grey = screen_capture.squares(pixels, PATH)
    assert grey == colour._replace(top=colour.top + len(screen) // 2)
    bar = screen_capture.scale(pixels, PATH)
    assert screen_capture.opacity(colour.of(pixels), grey.of(pixels), bar) == pytest.approx(
        capture.OPACITY, abs=0.05
    )
    assert TOP_KPA * screen_capture.reading(pixels, PATH) == pytest.approx(kpa, rel=0.3)


@pytest.mark.parametrize("resized", [0.8, 1.3])
def test_the_squares_of_a_resized_capture_are_found(resized: float) -> None:
    screen = Screen(panel=(200, 280))
    pixels = cv2.resize(draw(screen).pixels, None, fx=resized, fy=resized, interpolation=cv2.INTER_AREA)
    colour, grey = screen_capture.squares(pixels, PATH)
    assert grey.left == colour.left
    assert abs(grey.top - colour.top - resized * 200) <= 1


def test_a_fainter_and_noisier_grey_panel_is_found() -> None:
    screen = Screen()
    pixels = draw(screen).pixels
    below = pixels[screen.panel[0] :]
    noise = np.random.default_rng(0).normal(0, 8, (*below.shape[:2], 1))
    below[:] = np.clip(0.8 * below + noise, 0, 255).astype(np.uint8)
    colour, grey = screen_capture.squares(pixels, PATH)
    assert grey == colour._replace(top=colour.top + screen.panel[0])


def other_frame(drawn: Drawn, screen: Screen) -> np.ndarray:
    drawn.pixels[screen.panel[0] :] = draw(Screen(seed=99)).pixels[screen.panel[0] :]
    return drawn.pixels


def black_panel(drawn: Drawn, screen: Screen) -> np.ndarray:
    drawn.pixels[screen.panel[0] :] = 0
    return drawn.pixels


def one_panel(drawn: Drawn, screen: Screen) -> np.ndarray:
    return drawn.pixels[: screen.panel[0]]


def grey_panel_alone(drawn: Drawn, screen: Screen) -> np.ndarray:
    return drawn.pixels[screen.panel[0] :]


def grey_levels(drawn: Drawn, screen: Screen) -> np.ndarray:
    return drawn.pixels[:, :, 0]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (other_frame, "has a colour box but no second panel"),
        (black_panel, "has a colour box but no second panel"),
        (one_panel, "has a colour box but no second panel"),
        (grey_panel_alone, "has no colour box"),
        (grey_levels, "is a grey image"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_screen_without_both_panels_is_unreadable(
    damage: Callable[[Drawn, Screen], np.ndarray], sentence: str, seed: int
) -> None:
    screen = Screen(seed=seed)
    with pytest.raises(UnreadableImageError, match=f"{PATH}: {sentence}"):
        screen_capture.squares(damage(draw(screen), screen), PATH)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (9, 9)])
def test_an_image_too_small_for_a_screen_is_unreadable(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with pytest.raises(UnreadableImageError, match="has no colour box"):
        screen_capture.squares(noise, PATH)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_the_largest_square_agrees_with_the_dynamic_program(seed: int, height: int, width: int) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < 0.8).astype(np.uint8)
    square = screen_capture._largest_square(mask)
    assert square.of(mask).all()
    assert square.width == square.height == largest_by_definition(mask)


def test_of_several_largest_squares_the_middle_one_is_taken() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 5:45] = 1
    assert screen_capture._largest_square(mask) == Box(20, 10, 10, 10)


@pytest.mark.parametrize("right", [False, True])
def test_the_bar_runs_from_stiff_to_soft(right: bool) -> None:
    bar = screen_capture.scale(draw(Screen(bar_right=right)).pixels, PATH)
    stiff, soft = bar[0].astype(int), bar[-1].astype(int)
    assert stiff[0] > stiff[2] + 100
    assert soft[2] > soft[0] + 100


def test_a_strip_of_one_hue_is_not_a_bar() -> None:
    pixels = black(200, 200)
    pixels[20:120, 5:13] = (0, 120, 255)
    with pytest.raises(UnreadableImageError, match="has no colour bar"):
        screen_capture.scale(pixels, PATH)


def test_a_grey_image_has_no_bar() -> None:
    with pytest.raises(UnreadableImageError, match="has no colour bar"):
        screen_capture.scale(np.full((50, 50), 90, np.uint8), PATH)


@pytest.mark.parametrize("opacity", [1.0, 0.7, 0.5])
def test_grey_under_the_colours_does_not_change_the_stiffness(opacity: float) -> None:
    kpa = np.linspace(0, 40, 64).reshape(8, 8)
    grey = np.random.default_rng(0).integers(0, 256, (8, 8, 1))
    blended = (opacity * jet(kpa / 40) + (1 - opacity) * grey).round().astype(np.uint8)
    np.testing.assert_allclose(screen_capture.kilopascals(blended, BAR, 40.0, opacity), kpa, atol=0.4)


def test_kilopascals_follow_the_scale_and_are_missing_where_there_is_no_colour() -> None:
    square = np.stack([jet(np.full(4, 0.25)), np.full((4, 3), 128, np.uint8)])
    found = screen_capture.kilopascals(square, BAR, 80.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], 20.0, atol=0.5)
    assert np.isnan(found[1]).all()
    assert np.isnan(screen_capture.kilopascals(black(3, 3), BAR)).all()


@pytest.mark.parametrize("opacity", [1.0, 0.8, 0.6, 0.4])
@pytest.mark.parametrize("kpa", [4.0, 12.0, 30.0])
def test_opacity_is_recovered_from_the_two_panels(opacity: float, kpa: float) -> None:
    pixels = draw(Screen(opacity=opacity, kpa=kpa)).pixels
    found = screen_capture.squares(pixels, PATH)
    colour, grey = found.colour.of(pixels), found.grey.of(pixels)
    assert screen_capture.opacity(colour, grey, screen_capture.scale(pixels, PATH)) == pytest.approx(
        opacity, abs=0.03
    )


def test_without_colours_the_opacity_does_not_matter_and_is_one() -> None:
    assert screen_capture.opacity(black(8, 8), black(8, 8), BAR) == 1.0


def test_a_view_cuts_the_named_boxes_out_of_a_file() -> None:
    drawn = draw(Screen())
    content = png(drawn.pixels)
    colour = decode(content, PATH, View(box="colour_box"))
    grey = decode(content, PATH, View(box="grey_panel"))
    found = screen_capture.squares(drawn.pixels, PATH)
    np.testing.assert_array_equal(colour, found.colour.of(drawn.pixels))
    np.testing.assert_array_equal(grey, found.grey.of(drawn.pixels))
    assert np.ptp(grey.astype(int), axis=2).max() == 0
