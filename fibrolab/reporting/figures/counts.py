"""Figures of counts: the confusion matrix, and the classes by partition."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from fibrolab.evaluation.measures import decisions
from fibrolab.reporting.figures.style import ACCENT, INK, MM, NARROW, WIDE, name_columns, shortened, styled

CROWDED = 7  # number of classes above which a figure takes the width of the page


@styled
def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix, with proportions of the true class below the counts.

    Args:
        y_true: True class indices (N,).
        y_pred: Predicted class indices (N,).
        classes: Names of the K classes.

    Returns:
        The figure; the rows are true, the columns predicted.
    """
    size = len(classes)
    counts = decisions.confusion_matrix(y_true, y_pred, size)[0].astype(np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    proportions = counts / np.maximum(totals, 1)
    width = NARROW if size <= CROWDED else WIDE
    figure = Figure(figsize=(width, 0.92 * width), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(proportions, cmap="Blues", vmin=0, vmax=1)
    letters = 8 if size <= 5 else 6.5
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:,}\n{100 * proportions[row, column]:.0f} %" if totals[row, 0] else "–"
        ink = "white" if proportions[row, column] > 0.55 else INK
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=letters)
    name_columns(axes, classes, 0.8 * width / size)
    names = (f"{shortened(name)}\nn = {total:,}" for name, total in zip(classes, totals[:, 0], strict=True))
    axes.set_yticks(range(size), list(names))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


@styled
def partitions(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw the number of samples of each class in training, validation and test.

    Args:
        counts: Number of samples by partition, then by class.

    Returns:
        The figure, a panel per partition, on one scale; bars of many classes are horizontal, so that their
        names can be read.
    """
    names = [shortened(name) for name in next(iter(counts.values()))]
    horizontal = len(names) > CROWDED
    figure = Figure(figsize=(WIDE, (12 + 5 * len(names) if horizontal else 50) * MM), layout="constrained")
    panels = figure.subplots(1, len(counts), sharex=horizontal, sharey=True, squeeze=False)[0]
    for axes, (name, classes) in zip(panels, counts.items(), strict=True):
        numbers = list(classes.values())
        if horizontal:
            bars = axes.barh(range(len(numbers)), numbers, color=ACCENT, height=0.66)
        else:
            bars = axes.bar(range(len(numbers)), numbers, color=ACCENT, width=0.66)
            name_columns(axes, list(classes), 0.9 * WIDE / len(counts) / max(1, len(numbers)))
        axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7)
        axes.set_title(f"{name.capitalize()}, n = {sum(numbers):,}")
        along, across = ("y", "x") if horizontal else ("x", "y")
        axes.tick_params(axis=along, length=0)
        axes.tick_params(axis=across, left=False, bottom=False, labelleft=False, labelbottom=False)
        axes.spines["bottom" if horizontal else "left"].set_visible(False)
        axes.margins(**{across: 0.16})
    if horizontal:
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
    return figure
