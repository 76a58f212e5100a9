"""Grids of pictures, a column a network or a step, and their small files."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fibrolab.reporting.figures.style import INK, MM, PALE, SECOND, SOFT, WIDE, styled

ENDING = ".webp"
DPI = 200
LARGEST = 190_000  # bytes of a file, so that results can be kept in git
QUALITIES = (85, 75, 65, 55, 45, 35, 25)
SIDE = 320  # longest side of a picture that is drawn [px]
WIDEST = 34 * MM  # of a picture
TALLEST = 225 * MM  # of a figure: a page of a journal without its caption
LEFT, GAP = 6 * MM, 1.2 * MM  # room of the labels of the rows, and between pictures
LINE = 3 * MM  # of a text of 6.5 points
LETTER = 1.16 * MM  # mean width of its letters
NARROWEST = 19 * MM  # of a column, so that a prediction fits above its picture
LONGEST = 160  # letters of a text


@dataclass(frozen=True)
class Tile:
    """A picture with a text above it.

    Attributes:
        pixels: uint8 (H, W) or (H, W, 3); None leaves its place empty.
        title: Text above it.
        wrong: Whether the text is of a wrong prediction, which has another colour.
    """

    pixels: np.ndarray | None
    title: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Column:
    """A column of pictures.

    Attributes:
        title: Text above the column.
        tiles: Pictures, one a row; none if there are no pictures.
        absent: Reason why there are none.
    """

    title: str
    tiles: Sequence[Tile] = ()
    absent: str = ""


@styled
def grid(columns: Sequence[Column], rows: Sequence[str]) -> Figure:
    """Draw columns of pictures; neighbouring rows of one name have one label.

    Args:
        columns: The columns; at least one has pictures.
        rows: Name of each row.
    """
    room = min(WIDEST, (WIDE - LEFT) / len(columns) - GAP)  # of a column [inches]
    aspects = [_aspect(columns, row) for row in range(len(rows))]
    for _ in range(2):  # narrower columns need more lines, and more lines leave less room
        above, texts = _heights(columns, len(rows), room)
        width = min(room, (TALLEST - above - sum(texts) - GAP * len(rows)) / sum(aspects))
        room = max(width, min(room, NARROWEST))
    above, texts = _heights(columns, len(rows), room)
    steps = [text + width * aspect + GAP for text, aspect in zip(texts, aspects, strict=True)]
    size = (LEFT + len(columns) * (room + GAP), above + sum(steps))
    figure = Figure(figsize=size)
    tops = [size[1] - above - sum(steps[:row]) for row in range(len(rows) + 1)]
    for number, column in enumerate(columns):
        left = LEFT + number * (room + GAP)
        _text(figure, left, tops[0] + 0.4 * LINE, _wrapped(column.title, room), weight="bold")
        if not column.tiles:
            _absent(_axes(figure, left, 0, room, tops[0]), _wrapped(column.absent, room))
        for row, tile in enumerate(column.tiles):
            bottom, height = tops[row] - texts[row], width * aspects[row]
            _draw(_axes(figure, left, bottom - height, width, height), tile)
            colour = SECOND if tile.wrong else INK
            _text(figure, left, bottom + 0.2 * LINE, _wrapped(tile.title, room), color=colour)
    first = 0
    for name, same in groupby(rows):
        last = first + len(list(same))
        place = (0.35 * LEFT / size[0], (tops[first] + tops[last]) / 2 / size[1])
        figure.text(*place, name, rotation=90, va="center", fontsize=7, color=SOFT)
        first = last
    return figure


def _aspect(columns: Sequence[Column], row: int) -> float:
    """Return the height of the tallest picture of a row as a proportion of its width; 0 without pictures."""
    shown = [column.tiles[row].pixels for column in columns if column.tiles]
    return max((pixels.shape[0] / pixels.shape[1] for pixels in shown if pixels is not None), default=0.0)


def _heights(columns: Sequence[Column], rows: int, room: float) -> tuple[float, list[float]]:
    """Return the height of the titles of the columns, and of the texts of each row [inches]."""
    above = max(_lines(_wrapped(column.title, room)) for column in columns) + 0.5
    titles = [
        [_wrapped(column.tiles[row].title, room) for column in columns if column.tiles] for row in range(rows)
    ]
    return above * LINE, [max(map(_lines, each)) * LINE for each in titles]


def webp(figure: Figure) -> bytes:
    """Return a figure as WebP of at most `LARGEST` bytes, at the highest quality that allows it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, screen = FigureCanvasAgg(figure), figure.dpi
    figure.dpi = DPI
    canvas.draw()
    figure.dpi = screen
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    while len(content := _encoded(image, QUALITIES[0])) > LARGEST:
        if len(_encoded(image, QUALITIES[-1])) <= LARGEST:  # otherwise no quality allows it
            sizes = (_encoded(image, quality) for quality in QUALITIES[1:])
            return next(content for content in sizes if len(content) <= LARGEST)
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    return content


def _encoded(image: Any, quality: int) -> bytes:
    content = io.BytesIO()
    image.save(content, format="webp", quality=quality, method=6)
    return content.getvalue()


def _wrapped(text: str, room: float) -> str:
    """Return a text of up to `LONGEST` letters in lines that fit into a width [inches]."""
    short = text if len(text) <= LONGEST else textwrap.shorten(text, LONGEST, placeholder=" …")
    return textwrap.fill(short, max(6, int(room / LETTER)), break_long_words=True)


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add an empty panel at a place in inches."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.set_axis_off()
    return axes


def _text(figure: Figure, left: float, bottom: float, text: str, **style: Any) -> None:
    across, up = figure.get_size_inches()
    figure.text(left / across, bottom / up, text, fontsize=6.5, va="bottom", **style)


def _absent(axes: Axes, reason: str) -> None:
    """Fill a column without pictures with its reason."""
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=PALE)
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=6, color=SOFT, transform=axes.transAxes)


def _draw(axes: Axes, tile: Tile) -> None:
    """Draw a picture at the upper left of its place."""
    if tile.pixels is None:
        return
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(tile.pixels))
    image.thumbnail((SIDE, SIDE))
    axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255)
    axes.set_anchor("NW")
