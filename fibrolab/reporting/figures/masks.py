"""Figures of a segmentation: best and worst cases, agreement of areas, reliability of pixel probabilities."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fibrolab.evaluation.segmentation import images
from fibrolab.reporting.figures.style import MM, WIDE, styled

TRUE, PREDICTED = "#009e73", "#d55e00"  # green and vermilion, distinguishable to all readers
COLUMNS = 4
REFERENCES = {images.TRUE_MASKS: "true", images.MAPS: "classifier's map"}  # what masks are measured against


class Case(NamedTuple):
    """One image with its masks.

    Attributes:
        title: Text above it.
        image: Grey levels, uint8 (H, W).
        true: Class of each pixel, (H, W).
        predicted: Predicted class of each pixel, (H, W).
    """

    title: str
    image: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


@styled
def cases(rows: Sequence[tuple[str, Sequence[Case]]], reference: str = "true") -> Figure:
    """Draw cases with the outlines of true and predicted masks, one row of pictures for each kind.

    Args:
        rows: Name of each kind, such as `Worst`, and its cases, at most four.
        reference: Name of the masks in `Case.true`.
    """
    height = WIDE / COLUMNS * len(rows) + 12 * MM
    figure = Figure(figsize=(WIDE, height), layout="constrained")
    grid = np.atleast_2d(figure.subplots(len(rows), COLUMNS))
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (kind, shown) in zip(grid, rows, strict=True):
        for axes, case in zip(line, shown, strict=False):
            axes.imshow(case.image, cmap="gray", vmin=0, vmax=255, interpolation="none")
            for mask, colour, style in ((case.true, TRUE, "-"), (case.predicted, PREDICTED, "--")):
                for number in np.unique(mask[mask > 0]):
                    outline = (mask == number).astype(float)
                    axes.contour(outline, [0.5], colors=colour, linestyles=style, linewidths=0.9)
            axes.set_title(f"{kind}: {case.title}", fontsize=7, fontweight="normal", pad=3)
    lines = [Line2D([], [], color=TRUE), Line2D([], [], color=PREDICTED, linestyle="--")]
    figure.legend(lines, [reference, "predicted"], loc="outside lower center", ncols=2, frameon=False)
    return figure


@styled
def bland_altman(measures: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """Draw the difference of predicted and true area against their mean, one panel for each class.

    Args:
        measures: Areas of the test images, columns class, area_true and area_predicted.
        limits: Bias and limits of agreement of each class, as `agreement.bland_altman` returns them.
    """
    figure = Figure(figsize=(WIDE, 60 * MM), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(limits)))
    for axes, (_, row) in zip(panels, limits.iterrows(), strict=True):
        part = measures[measures["class"] == row["class"]]
        true, predicted = part["area_true"], part["area_predicted"]
        axes.scatter((true + predicted) / 2, predicted - true, s=8, alpha=0.6, linewidths=0)
        for name, style in (("bias", "-"), ("low", "--"), ("high", "--")):
            axes.axhline(row[name], color="0.3", linestyle=style, linewidth=0.9)
        axes.set(title=row["class"], xlabel=f"mean area [{row['unit']}]")
    panels[0].set_ylabel(f"predicted less {REFERENCES[images.reference(measures)]} area")
    return figure


@styled
def calibration(table: pd.DataFrame) -> Figure:
    """Draw the observed proportion of each class against its predicted probability.

    Args:
        table: As `agreement.calibration` returns it.
    """
    figure = Figure(figsize=(WIDE / 2, 65 * MM), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    for name, part in table.groupby("class", sort=False):
        axes.plot(part["probability"], part["observed"], marker="o", markersize=3, label=name)
    axes.set(xlabel="probability of a pixel", ylabel="proportion of the class", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False)
    return figure
