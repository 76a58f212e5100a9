"""Contact sheets: training samples as the network receives them, and the images with the largest errors."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fibrolab.reporting.figures.style import MM, WIDE, sentence, styled

MARGIN, PAD = 1 * MM, 3 / 72  # around a picture, and below its title [inches]


@styled
def samples(images: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """Draw a contact sheet of training samples.

    Args:
        images: Grey images (H, W) or colours (H, W, 3), uint8.
        titles: One per picture.

    Returns:
        The figure, at most eight pictures wide; grey levels are not stretched.
    """
    return _sheet(images, titles, columns=8)


@styled
def mistakes(images: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """Draw a contact sheet of the largest errors, the largest first.

    Args:
        images: Grey images (H, W) or colours (H, W, 3), uint8.
        titles: One per picture, such as ``true F4, predicted F0, 93 %``; wrapped to the picture's width.

    Returns:
        The figure, at most five pictures wide; without errors it states that there are none.
    """
    if not len(images):
        return sentence(Figure(figsize=(WIDE, 14 * MM)), "No sample of the test set was misclassified.")
    return _sheet(images, titles, columns=5)


def _sheet(images: Sequence[np.ndarray], titles: Sequence[str], columns: int) -> Figure:
    """Arrange pictures in rows with titles above; the font size does not depend on their number.

    All are drawn in one panel, in inches: a panel of its own for each, with ticks that nobody sees, and the
    search for their places took a quarter of the time of all figures of a small run.
    """
    place = WIDE / columns  # inches
    columns = max(1, min(columns, len(images)))
    lines = max(1, -(-len(images) // columns))
    letters = round(place / 0.062)  # of 7 points, side by side
    wrapped = [textwrap.wrap(" ".join(title.split()), letters)[:3] for title in titles]
    rise = 0.12 * max(map(len, wrapped), default=1) + 0.08  # inches above a picture
    width, height = place * columns, (place + rise) * lines
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    for number, (image, title) in enumerate(zip(images, wrapped, strict=False)):
        line, column = divmod(number, columns)
        middle, centre = (column + 0.5) * place, height - line * (place + rise) - rise - place / 2
        up, across = (np.array(image.shape[:2]) / max(image.shape[:2]) * (place / 2 - MARGIN)).tolist()
        sides = (middle - across, middle + across, centre - up, centre + up)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none", extent=sides, aspect="auto")
        axes.text(middle, centre + up + PAD, "\n".join(title), fontsize=7, ha="center", va="baseline")
    return figure
