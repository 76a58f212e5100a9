"""Style and files of all figures: two widths, and a reproducible PNG and SVG."""

import io
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fibrolab.storage import put

DPI = 300  # required by journals for figures with lines and grey levels
MM = 1 / 25.4  # inches
NARROW, WIDE = 88 * MM, 180 * MM  # one and two columns of a journal's page
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a class name may contain "$"
    "svg.fonttype": "path",  # outlines: the same on every machine, without embedded fonts
    "svg.hashsalt": "fibrolab",  # reproducible files
}
# Okabe and Ito's palette without its yellow, dark to light; dashes distinguish the lines without colour.
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 3)),
    (0, (1, 3)),
)
INK, ACCENT, SECOND, PALE, SOFT = "#222222", "#0b4f8a", "#d55e00", "#c9cfd6", "#666666"
BAND = 0.16  # opacity of a confidence band: up to three may overlap
RESAMPLES = 300  # resamples of the groups for a band; its limits are shown, but not printed as numbers
LETTERS = 22  # of a name on an axis; longer names are cut in the middle

Drawing = TypeVar("Drawing", bound=Callable[..., Any])


def styled(draw: Drawing) -> Drawing:
    """Apply `STYLE` while drawing; matplotlib's global settings stay unchanged."""
    return matplotlib.rc_context(STYLE)(draw)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG at 300 dpi and, beside it, as SVG; each whole or not at all.

    Args:
        figure: The figure.
        path: Path of the PNG; the SVG has the same name.

    Returns:
        ``path``.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    png, svg = render(figure)
    put(path.with_suffix(".svg"), svg)
    return put(path, png)


@styled
def render(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as PNG at 300 dpi and as SVG, laid out once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas, svg, screen = FigureCanvasAgg(figure), io.BytesIO(), figure.dpi
    with warnings.catch_warnings():
        # A character that no font has is drawn as a box; the user cannot act on the warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.dpi = DPI
        canvas.draw()  # `savefig` draws twice, the first time only for the layout
        figure.dpi = screen
        figure.set_layout_engine("none")  # the layout is known; repeating it takes as long as drawing
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    return _png(pixels, pictured=any(axes.images for axes in figure.axes)), svg.getvalue()


def save_all(drawn: Mapping[str, Figure], names: Sequence[str], folder: Path) -> list[Path]:
    """Write figures by name, in the order of ``names``; remove the files of names that were not drawn.

    Returns:
        The PNG files written.
    """
    for name in set(names) - set(drawn):
        for ending in (".png", ".svg"):
            (folder / f"{name}{ending}").unlink(missing_ok=True)
    return [save(drawn[name], folder / f"{name}.png") for name in names if name in drawn]


def _png(pixels: np.ndarray, pictured: bool) -> bytes:
    """Encode RGB pixels (H, W, 3) as PNG.

    A chart is reduced to the 256 colours that it needs, which saves two thirds of the bytes; a figure with
    images keeps all colours.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    if not pictured:
        image = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        # The palette's white, 254, is the mean of the background and of the faintest edges.
        image.putpalette([255 if value == 254 else value for value in image.getpalette() or []])
    elif (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        image = Image.fromarray(pixels[..., 0])
    png = io.BytesIO()
    image.save(png, format="png", dpi=(DPI, DPI))
    return png.getvalue()


def shortened(name: str, letters: int = LETTERS) -> str:
    """Return a name, shortened in the middle if it is too long: ``patient_00…_12.png``."""
    name = " ".join(name.split())
    if len(name) <= letters:
        return name
    tail = letters // 2
    return f"{name[: letters - tail - 1]}…{name[-tail:]}"


def name_columns(axes: Axes, names: Sequence[str], room: float) -> None:
    """Set names below the columns 0, 1, ... of a panel, slanted where they would overlap.

    Args:
        axes: The panel.
        names: One per column.
        room: Width of a column [inches].
    """
    cut = [shortened(str(name)) for name in names]
    crowded = max(map(len, cut), default=0) * 0.065 > room  # a letter of 7.5 points is 0.065 inches wide
    slant: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(len(cut)), cut, **slant)


def sentence(figure: Figure, text: str) -> Figure:
    """Add a sentence to an empty figure that states why it is empty."""
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(text, 44), ha="center", va="center", color=SOFT)
    return figure


def panels(figure: Figure, number: int, columns: int) -> list[Axes]:
    """Add panels that share their axes to a figure, and return them; remaining places are empty.

    Args:
        figure: The figure.
        number: Number of panels.
        columns: Panels per row.
    """
    rows = -(-number // columns)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for axes in grid[number:]:
        axes.set_visible(False)
    for axes in grid[max(0, number - columns) : number]:  # the place below may be empty
        axes.tick_params(labelbottom=True)
    return list(grid[:number])
