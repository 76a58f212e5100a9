"""Grids of pictures: texts, empty columns, and the size of their files."""

import io

import numpy as np
from drawn import texts
from PIL import Image

from fibrolab.reporting.figures import picture_grid
from fibrolab.reporting.figures.picture_grid import Column, Tile

ROWS = ["surest right"] * 2 + ["surest wrong"]


def tiles(*titles: str, size: tuple[int, ...] = (12, 16)) -> list[Tile]:
    noise = np.random.default_rng(0).integers(0, 256, (len(titles), *size), np.uint8)
    return [Tile(pixels, title, "wrong" in title) for pixels, title in zip(noise, titles, strict=True)]


def test_columns_rows_and_reasons_are_written() -> None:
    columns = [
        Column("Original", tiles("true F0", "true F1", "true F2")),
        Column(
            "ResNet50", [*tiles("F0 (90 %) right", "F1 (80 %) right"), Tile(None, "F4 (99 %) wrong", True)]
        ),
        Column("GM + LSM", absent="A regression has no map."),
    ]
    figure = picture_grid.grid(columns, ROWS)
    shown = texts(figure)
    assert {"Original", "ResNet50", "GM + LSM", "true F2", "F4 (99 %) wrong"} <= set(shown)
    assert [text for text in shown if text in ROWS] == ["surest right", "surest wrong"]
    assert "A regression has no map." in [text.replace("\n", " ") for text in shown]
    assert sum(bool(axes.images) for axes in figure.axes) == 5
    colours = {text.get_text(): text.get_color() for text in figure.texts}
    assert colours["F4 (99 %) wrong"] != colours["F1 (80 %) right"]


def test_no_text_of_many_columns_of_tall_pictures_leaves_the_page() -> None:
    names = ["EfficientNet-B0", "a network of a long name, branch grey", *"abcdefg"]
    columns = [Column(name, tiles(*["F4 (100 %) wrong"] * 6, size=(30, 10))) for name in names]
    figure = picture_grid.grid(columns, ROWS * 2)
    width, height = figure.get_size_inches()
    assert width <= picture_grid.WIDE + 1e-9
    assert height <= picture_grid.TALLEST + 1e-9
    figure.dpi = picture_grid.DPI
    boxes = [text.get_window_extent() for text in figure.texts]
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.y1 for box in boxes) <= height * figure.dpi


def test_pictures_of_unlike_shapes_have_rows_of_their_own_heights_below_their_titles() -> None:
    shapes = [(12, 16), (30, 12), (10, 20)] * 3
    titles = ["cyst (100\u00a0%) right", "cyst (99\u00a0%) right", "haemangioma (91\u00a0%) wrong"] * 3
    columns = [
        Column(
            f"Network {k}", [tiles(title, size=size)[0] for title, size in zip(titles, shapes, strict=True)]
        )
        for k in range(5)
    ]
    figure = picture_grid.grid(columns, ROWS * 3)
    figure.dpi = picture_grid.DPI
    boxes = [text.get_window_extent() for text in figure.texts if text.get_rotation() == 0]
    places = [axes.get_window_extent() for axes in figure.axes]
    for number, box in enumerate(boxes):
        for other in [*boxes[number + 1 :], *places]:
            lower, higher = sorted((box, other), key=lambda each: each.y0)
            side_by_side = box.x1 <= other.x0 + 1 or other.x1 <= box.x0 + 1
            assert side_by_side or lower.y1 <= higher.y0 + 1
    first = places[:9]  # of one column
    proportions = [place.height / place.width for place in first]
    np.testing.assert_allclose(proportions, [height / width for height, width in shapes])
    assert {"haemangioma", "(91\u00a0%) wrong"} <= {
        line for text in texts(figure) for line in text.split("\n")
    }


def test_a_file_of_noise_is_small() -> None:
    columns = [Column(str(k), tiles(*["F0"] * 6, size=(224, 224, 3))) for k in range(8)]
    content = picture_grid.webp(picture_grid.grid(columns, ROWS * 2))
    assert len(content) <= picture_grid.LARGEST
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "WEBP"
