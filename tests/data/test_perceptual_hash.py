"""The thumbnail of the perceptual hash: the bits of Pillow's Lanczos filter, which known hashes come from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fibrolab.data import perceptual_hash
from fibrolab.data.perceptual_hash import SIDE, thumbnail


def by_pillow(grey: np.ndarray) -> np.ndarray:
    """Return the thumbnail by one pass along the rows and one along the columns."""
    narrow = Image.fromarray(grey).resize((SIDE, len(grey)), Image.Resampling.LANCZOS)
    return np.asarray(narrow.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700), st.integers(1, 700), st.sampled_from(["levels", "speckle", "edges"]), st.integers(0)
)
def test_an_image_of_any_size_has_the_thumbnail_of_pillow(
    height: int, width: int, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (height, width))
    drawn = {
        "levels": levels,
        "speckle": rng.normal(80, 12, (height, width)).clip(0, 255),
        "edges": np.where(levels < 128, 0, 255),  # the filter overshoots, and levels are cut off
    }
    grey = drawn[kind].astype(np.uint8)
    np.testing.assert_array_equal(thumbnail(grey), by_pillow(grey))


@pytest.mark.parametrize("shape", [(1080, 1920), (3, 900), (900, 3)])
def test_a_large_or_narrow_image_has_the_thumbnail_of_pillow(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(thumbnail(grey), by_pillow(grey))
    turned = np.random.default_rng(1).integers(0, 256, shape[::-1], dtype=np.uint8).T  # not contiguous
    np.testing.assert_array_equal(thumbnail(turned), by_pillow(np.ascontiguousarray(turned)))


def test_filters_are_kept_for_a_limited_number_of_widths() -> None:
    for width in range(100, 300):
        thumbnail(np.zeros((1, width), np.uint8))
    known = perceptual_hash._filters.cache_info()
    assert known.currsize == known.maxsize
