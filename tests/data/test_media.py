"""Views: frame and rectangle, from the cells of a manifest to the pixels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.data.box import Box
from fibrolab.data.media import View
from fibrolab.errors import UnreadableImageError

FILE = Path("scan.png")
sides = st.integers(0, 40)


@given(sides, sides, st.integers(1, 40), st.integers(1, 40), st.sampled_from(["", "middle", "0", "17"]))
def test_a_view_is_read_as_it_was_written(left: int, top: int, width: int, height: int, frame: str) -> None:
    view = View.parse(frame, f"  {left} {top}\t{width} {height} ")
    assert view.box == Box(left, top, width, height)
    assert View.parse(frame, str(view.box)) == view
    assert view.frame == (int(frame) if frame.isdecimal() else frame or None)


@given(sides, sides, st.integers(1, 40), st.integers(1, 40))
def test_a_rectangle_is_cut_whole_or_refused(left: int, top: int, width: int, height: int) -> None:
    pixels = np.arange(30 * 50).reshape(30, 50).astype(np.uint8)
    view = View(box=Box(left, top, width, height))
    if left + width <= 50 and top + height <= 30:
        cut = view.cut(pixels, FILE)
        assert cut.shape == (height, width)
        assert cut[0, 0] == pixels[top, left]
    else:
        with pytest.raises(UnreadableImageError, match=r"exceeds the image of 50 x 30 pixels"):
            view.cut(pixels, FILE)


@pytest.mark.parametrize(
    "box", ["1 2 3", "1 2 3 4 5", "1 2 0 4", "1 2 3 00", "-1 2 3 4", "1.5 2 3 4", "lesion", "1,2,3,4"]
)
def test_an_invalid_rectangle_is_refused_with_the_allowed_form(box: str) -> None:
    with pytest.raises(ValueError, match="left top width height"):
        View.parse("", box)


@pytest.mark.parametrize("frame", ["last", "-1", "2.5", "9" * 5000])
def test_an_invalid_frame_is_refused_with_the_allowed_form(frame: str) -> None:
    with pytest.raises(ValueError, match="neither a number from 0 nor 'middle'"):
        View.parse(frame, "")


def test_every_view_of_a_file_has_its_own_digest_and_the_whole_has_the_files() -> None:
    views = [
        View(),
        View(0),
        View("middle"),
        View(box=Box(0, 0, 1, 1)),
        View(0, Box(0, 0, 1, 1)),
        View(box="grey_panel"),
    ]
    names = [view.digest("ab" * 32) for view in views]
    assert names[0] == "ab" * 32
    assert len(set(names)) == len(views)


def test_the_number_of_the_frame_that_is_used() -> None:
    assert View().frame_of(1, FILE) == 0
    assert View("middle").frame_of(9, FILE) == 4
    assert View(8).frame_of(9, FILE) == 8
    with pytest.raises(UnreadableImageError, match="holds 9 frames; choose one"):
        View().frame_of(9, FILE)
    with pytest.raises(UnreadableImageError, match="no frame 9; its 9 frames count from 0"):
        View(9).frame_of(9, FILE)
