"""How every figure looks and is kept: one style, two widths, a PNG and an SVG that are equal each time."""

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

DPI = 300  # what journals ask of a figure with lines and greys
MM = 1 / 25.4  # inches
NARROW, WIDE = 88 * MM, 180 * MM  # one column and two of a journal's page
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
    "text.parse_math": False,  # a class named "$x" is a name, not a formula
    "svg.fonttype": "path",  # outlines: the same letters on every machine, and no font to send along
    "svg.hashsalt": "fibrolab",  # equal figures, equal bytes
}
# Okabe and Ito's colours that print well on white, dark to light; the dashes tell them apart without colour.
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
BAND = 0.16  # opacity of a confidence band: three may lie on each other
RESAMPLES = 300  # of the groups; a band is looked at, not quoted
LETTERS = 22  # of a name on an axis; longer ones are cut in the middle

Drawing = TypeVar("Drawing", bound=Callable[..., Any])


def styled(draw: Drawing) -> Drawing:
    """Draw under `STYLE` and leave matplotlib's global settings as they were."""
    return matplotlib.rc_context(STYLE)(draw)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG at 300 dpi and, beside it, as SVG; each whole or not at all.

    Args:
        figure: To be drawn.
        path: Where the PNG goes; the SVG has the same name.

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
        # A letter that no font has is drawn as a box, and seen; the terminal is for what can be mended.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.dpi = DPI
        canvas.draw()  # `savefig` draws twice, the first time only for the layout
        figure.dpi = screen
        figure.set_layout_engine("none")  # the layout is known; repeating it takes as long as drawing
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    return _png(pixels, pictured=any(axes.images for axes in figure.axes)), svg.getvalue()


def save_all(drawn: Mapping[str, Figure], names: Sequence[str], folder: Path) -> list[Path]:
    """Write figures by name, in the order of ``names``; remove files of those that were not drawn.

    Returns:
        The PNG files written.
    """
    for name in set(names) - set(drawn):
        for ending in (".png", ".svg"):
            (folder / f"{name}{ending}").unlink(missing_ok=True)
    return [save(drawn[name], folder / f"{name}.png") for name in names if name in drawn]


def _png(pixels: np.ndarray, pictured: bool) -> bytes:
    """Encode RGB pixels (H, W, 3) as PNG; a chart in the 256 colours that it needs, a third of the bytes.

    Pictures keep every colour that they have.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    if not pictured:
        image = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        # Its white is the mean of the paper and of the faintest edges, 254.
        image.putpalette([255 if value == 254 else value for value in image.getpalette() or []])
    elif (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        image = Image.fromarray(pixels[..., 0])
    png = io.BytesIO()
    image.save(png, format="png", dpi=(DPI, DPI))
    return png.getvalue()


def shortened(name: str, letters: int = LETTERS) -> str:
    """A name cut in the middle, so that its beginning and its end both stay: ``patient_00…_12.png``."""
    name = " ".join(name.split())
    if len(name) <= letters:
        return name
    tail = letters // 2
    return f"{name[: letters - tail - 1]}…{name[-tail:]}"


def name_columns(axes: Axes, names: Sequence[str], room: float) -> None:
    """Names below the columns 0, 1, ... of a panel, slanted where they would run into each other.

    Args:
        axes: The panel.
        names: One a column.
        room: Width of a column [inches].
    """
    cut = [shortened(str(name)) for name in names]
    crowded = max(map(len, cut), default=0) * 0.065 > room  # a letter of 7.5 points is 0.065 inches wide
    slant: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(len(cut)), cut, **slant)


def sentence(figure: Figure, text: str) -> Figure:
    """Say on a figure why there is nothing to be seen."""
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(text, 44), ha="center", va="center", color=SOFT)
    return figure


def panels(figure: Figure, number: int, columns: int) -> list[Axes]:
    """Panels of one scale in rows of `columns`; places left over are empty.

    Args:
        figure: Where they go.
        number: How many are drawn in.
        columns: Beside each other.
    """
    rows = -(-number // columns)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for axes in grid[number:]:
        axes.set_visible(False)
    for axes in grid[max(0, number - columns) : number]:  # whose neighbour below may be empty
        axes.tick_params(labelbottom=True)
    return list(grid[:number])
