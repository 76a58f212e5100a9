"""The figures of a comparison: ROC curves of all arms by end point, and a forest of their differences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fibrolab.evaluation.comparison.arms import END_POINTS, HEADLINE, Arm
from fibrolab.evaluation.comparison.comparison_table import COMPARATORS, SIGNIFICANT
from fibrolab.evaluation.intervals import roc_curves
from fibrolab.evaluation.measures import catalogue
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.comparison_sentences import OVERLAPS, Comparison, measure
from fibrolab.reporting.figures.style import (
    ACCENT,
    BAND,
    COLOURS,
    DASHES,
    MM,
    PALE,
    RESAMPLES,
    SOFT,
    WIDE,
    panels,
    sentence,
    shortened,
    styled,
)

BANDS = 3  # largest number of arms with bands; more would hide each other
LINE, FRAME = 4.6, 16  # mm: height of a line, and of title and axis together
PANELS = (  # unit, metrics and their factor
    ("Points", ("accuracy", "balanced_accuracy"), 100),
    ("AUC", ("macro_auc", "auc"), 1),
    ("Dice and IoU", (*OVERLAPS, *map(catalogue.agreement, OVERLAPS)), 1),
)
CAPTIONS = {
    "roc_of_arms": "Receiver operating characteristic (ROC) curves of each arm, by end point. Shaded: "
    "pointwise confidence bands from a bootstrap over groups, for up to three networks; an arm of several "
    "trainings is shown by their mean, without a band.",
    "differences": "Differences between arms with confidence intervals; filled symbols are significant after "
    "Holm's correction.",
}


@styled
def roc_of_arms(comparison: Comparison) -> Figure:
    """Return the ROC curves, a panel per end point and a curve per arm."""
    level, arms = next(iter(comparison.arms.items()))
    task = comparison.task
    rows = comparison.rows(level, END_POINTS, COMPARATORS)
    alone = rows[(rows["against"] == "") & (rows["metric"] == "auc")]
    areas = dict(zip(zip(alone["of"], alone["arm"], strict=True), alone["value"], strict=True))
    columns = min(3, len(task.endpoints))
    width = WIDE if columns == 3 else WIDE * columns / 2
    banded = sum(not arm.is_marker for arm in arms) <= BANDS
    high = -(-len(task.endpoints) // columns)
    figure = Figure(figsize=(width, high * (width / columns + 8 * MM)), layout="constrained")
    for axes, (name, lowest) in zip(
        panels(figure, len(task.endpoints), columns), task.endpoints.items(), strict=True
    ):
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.6)
        for k, arm in enumerate(arms):
            style = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k % len(DASHES)]}
            label = f"{shortened(arm.name)}: {numbers.quantity(areas[name, arm.name], 'auc')}"
            _curve(axes, arm, name, lowest, comparison, banded, {**style, "label": label})
        axes.set(
            xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1)
        )
        axes.set_title(vocabulary.end_point(task.classes, lowest))
        axes.legend(
            title="AUC",
            loc="lower right",
            fontsize=6.5,
            title_fontsize=6.5,
            handlelength=2.8,
            frameon=True,
            edgecolor="none",
            framealpha=0.85,
        )
    figure.supxlabel("1 − specificity", fontsize=8)
    figure.supylabel("sensitivity", fontsize=8)
    return figure


def _curve(
    axes: Axes, arm: Arm, name: str, lowest: int, comparison: Comparison, banded: bool, style: dict[str, Any]
) -> None:
    """Draw one arm; several trainings by their mean sensitivity at each specificity."""
    arm = arm.restricted(arm.known())
    ill = arm.labels >= lowest
    banded = banded and len(arm.predictions) == 1 and not arm.is_marker
    resamples = RESAMPLES if banded else 2
    found = [
        roc_curves.roc_band(prediction.scores[name], ill, arm.groups, resamples, level=comparison.level)
        for prediction in arm.predictions
    ]
    x, y = found[0].x, np.mean([band.y for band in found], axis=0)
    axes.plot(x, y, **style)
    if banded and np.isfinite(found[0].low).any():
        axes.fill_between(x, found[0].low, found[0].high, color=style["color"], alpha=BAND, linewidth=0)


@styled
def differences(comparison: Comparison) -> Figure:
    """Return a forest plot of the differences in accuracy and in AUC, each panel in its own unit."""
    level = next(iter(comparison.arms))
    rows = comparison.rows(level, HEADLINE, END_POINTS)
    rows = rows[(rows["against"] != "") & rows["low"].notna()]
    drawn = [(title, rows[rows["metric"].isin(names)], scale) for title, names, scale in PANELS]
    drawn = [(title, part, scale) for title, part, scale in drawn if len(part)]
    if not drawn:
        return sentence(Figure(figsize=(WIDE, 30 * MM)), "No difference has a confidence interval.")
    heights = [FRAME + LINE * len(part) for _, part, _ in drawn]
    figure = Figure(figsize=(WIDE, sum(heights) * MM), layout="constrained")
    grid = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, part, scale) in zip(grid, drawn, strict=True):
        _forest(axes, part, comparison, scale)
        axes.set_title("Difference in percentage points" if title == "Points" else f"Difference in {title}")
    return figure


def _forest(axes: Axes, rows: pd.DataFrame, comparison: Comparison, scale: float) -> None:
    names = []
    for height, row in enumerate(vocabulary.records(rows)):
        significant = row["p_holm"] < SIGNIFICANT
        axes.plot([scale * row["low"], scale * row["high"]], [height, height], color=ACCENT, linewidth=1.2)
        face = ACCENT if significant else "white"
        axes.plot(scale * row["value"], height, "o", mec=ACCENT, mfc=face, ms=4.5, mew=1.1)
        pair = f"{shortened(row['arm'])} − {shortened(row['against'])}"
        names.append(f"{measure(row, comparison.task)}: {pair}")
    axes.axvline(0, color=SOFT, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#eef1f4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", numbers.MINUS)))


def names(comparison: Comparison) -> Sequence[str]:
    """Return the names of the figures that can be drawn."""
    return ("roc_of_arms", "differences") if comparison.task.endpoints else ("differences",)
