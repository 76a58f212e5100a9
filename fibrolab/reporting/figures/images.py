"""Contact sheets: training samples as the network receives them, and the images with the largest errors."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fibrolab.reporting.figures.style import MM, WIDE, sentence, styled


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
    """Arrange pictures in rows with titles above; the font size does not depend on their number."""
    place = WIDE / columns  # inches
    columns = max(1, min(columns, len(images)))
    lines = max(1, -(-len(images) // columns))
    letters = round(place / 0.062)  # of 7 points, side by side
    wrapped = [textwrap.wrap(" ".join(title.split()), letters)[:3] for title in titles]
    rise = 0.12 * max(map(len, wrapped), default=1) + 0.08  # inches above a picture
    figure = Figure(figsize=(place * columns, (place + rise) * lines), layout="constrained")
    for axes in np.atleast_1d(figure.subplots(lines, columns)).flat:
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, wrapped, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_title("\n".join(title), fontsize=7, fontweight="normal", loc="center", pad=3)
    return figure
