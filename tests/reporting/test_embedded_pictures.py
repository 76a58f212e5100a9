"""Pictures embedded in pages: their size, and that a reduced one shows what the file shows."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fibrolab.reporting import html

WIDTH = 32  # on the page [CSS px]


def shown(picture: html.Picture) -> np.ndarray:
    kind, _, content = picture.address.partition(";base64,")
    assert kind == "data:image/jpeg"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


@pytest.mark.parametrize(
    ("size", "pixels", "css"),
    [
        ((20, 10), (20, 10), (20, 10)),
        ((64, 48), (64, 48), (32, 24)),
        ((110, 82), (64, 48), (32, 24)),
        ((640, 480), (64, 48), (32, 24)),
        ((20, 900), (7, 320), (7, 320)),
        ((900, 1), (64, 1), (32, 0)),
    ],
)
@pytest.mark.parametrize("colours", [(), (3,)])
def test_a_picture_has_at_most_two_pixels_for_each_of_its_width_on_the_page(
    size: tuple[int, int], pixels: tuple[int, int], css: tuple[int, int], colours: tuple[int, ...]
) -> None:
    found = html.embedded(np.full((size[1], size[0], *colours), 90, np.uint8), WIDTH, "a", "b")
    content = shown(found)
    assert content.shape == (pixels[1], pixels[0], *colours)
    assert np.abs(content.astype(int) - 90).max() <= 2
    assert (found.width, found.height) == css


@pytest.mark.parametrize("side", [100, 130, 400])
def test_a_reduced_picture_shows_every_region_at_its_place_and_brightness(side: int) -> None:
    coarse = np.random.default_rng(0).integers(40, 220, (8, 8), dtype=np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    box = Image.fromarray(large).resize((64, 64), Image.Resampling.BOX)
    found = shown(html.embedded(large, WIDTH, "", ""))
    assert np.abs(found.astype(int) - np.asarray(box)).mean() < 4


def test_fine_texture_of_a_large_picture_is_averaged_and_makes_no_pattern() -> None:
    checkered = (np.indices((640, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert shown(html.embedded(checkered, WIDTH, "", "")).std() < 3
