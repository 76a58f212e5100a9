"""Contact sheets: what the network was given, and the images on which it was most wrong."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fibrolab.reporting.figures.style import MM, WIDE, sentence, styled


@styled
def samples(images: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """A contact sheet of training samples.

    Args:
        images: Grey images (H, W) or colours (H, W, 3), uint8.
        titles: One a picture.

    Returns:
        The figure, at most eight pictures wide; greys are shown as they are, not stretched.
    """
    return _sheet(images, titles, columns=8)


@styled
def mistakes(images: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """A contact sheet of the worst mistakes, the worst first.

    Args:
        images: Grey images (H, W) or colours (H, W, 3), uint8.
        titles: One a picture, such as ``true F4, said F0, 93 %``; wrapped to the picture's width.

    Returns:
        The figure, at most five pictures wide; without a mistake it says so.
    """
    if not len(images):
        return sentence(Figure(figsize=(WIDE, 14 * MM)), "No sample of the test set was answered wrongly.")
    return _sheet(images, titles, columns=5)


def _sheet(images: Sequence[np.ndarray], titles: Sequence[str], columns: int) -> Figure:
    """Pictures in rows, their titles above them; letters keep their size whatever the number of pictures."""
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
