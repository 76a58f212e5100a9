"""Figures of a run's probabilities: reliability diagrams and decision curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fibrolab.evaluation import endpoints
from fibrolab.evaluation.clinical import net_benefit
from fibrolab.evaluation.measures.decisions import decide
from fibrolab.evaluation.probabilities import calibration
from fibrolab.reporting.figures.style import (
    ACCENT,
    BAND,
    INK,
    MM,
    NARROW,
    PALE,
    RESAMPLES,
    SECOND,
    SOFT,
    WIDE,
    shortened,
    styled,
)
from fibrolab.reporting.vocabulary import end_point


@styled
def reliability(
    y_true: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    groups: np.ndarray,
    level: float = 0.95,
    errors: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the proportion of correct predictions against their probability, and a histogram below.

    Args:
        y_true: True class indices (N,).
        predicted: Probabilities (N, K) by title, such as ``As predicted`` and ``At temperature 1.40``.
        groups: For the intervals (N,).
        level: Coverage of the intervals of each bin.
        errors: Text in the panel of each, such as ``ECE .041``.

    Returns:
        The figure, a panel for each kind of probabilities.
    """
    count = len(predicted)
    figure = Figure(figsize=(NARROW if count == 1 else WIDE, 104 * MM), layout="constrained")
    grid = figure.subplots(2, count, sharex=True, sharey="row", squeeze=False, height_ratios=(4, 1))
    for column, (title, probabilities) in enumerate(predicted.items()):
        confidence, hit = probabilities.max(axis=1), decide(probabilities) == np.asarray(y_true)
        upper, lower = grid[:, column]
        _reliability(upper, calibration.reliability(confidence, hit, groups, level=level))
        upper.set_title(title)
        upper.text(0.03, 0.96, (errors or {}).get(title, ""), va="top", transform=upper.transAxes)
        lower.hist(confidence, bins=np.linspace(0, 1, 21), color=PALE, edgecolor="white", linewidth=0.5)
        lower.axvline(confidence.mean(), color=ACCENT, linewidth=1.2)
        lower.set_xlabel("probability of the predicted class")
    grid[0, 0].set_ylabel("proportion correct")
    grid[1, 0].set_ylabel("predictions")
    return figure


def _reliability(axes: Axes, found: calibration.Reliability) -> None:
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.7)
    spread = np.abs(np.stack([found.proportion - found.low, found.high - found.proportion]))
    bars: dict[str, Any] = {"ecolor": ACCENT, "elinewidth": 1, "capsize": 2, "capthick": 1}
    axes.errorbar(found.mean_confidence, found.proportion, np.nan_to_num(spread), fmt="none", **bars)
    axes.plot(found.mean_confidence, found.proportion, "o-", color=ACCENT, ms=4, mfc="white", mew=1.3)
    axes.set(xlim=(0, 1), ylim=(-0.01, 1.01))


@styled
def decision_curves(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    lowest: Mapping[str, int],
    groups: np.ndarray,
    level: float = 0.95,
) -> Figure:
    """Draw the net benefit of treating by the probability of each end point, with treating all and none.

    Args:
        y_true: True class indices (N,).
        probabilities: Predicted probabilities (N, K).
        classes: Names of the K classes.
        lowest: Lowest positive class of each end point, one at least.
        groups: Resampled for the bands (N,).
        level: Coverage of the bands at each threshold, not of the whole curve.

    Returns:
        The figure, a panel per end point, each on its own scale since prevalences differ.
    """
    columns = min(3, len(lowest))
    rows = -(-len(lowest) // columns)
    figure = Figure(figsize=(NARROW if columns == 1 else WIDE, (62 * rows + 6) * MM), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(lowest) :]:
        axes.set_visible(False)
    for axes, stage in zip(grid, lowest.values(), strict=False):
        positive, score = endpoints.labels(y_true, stage) == 1, endpoints.score(probabilities, stage)
        name = shortened(end_point(classes, stage))
        if not positive.any():
            axes.set_title(f"{name}: no cases")
            axes.set(xticks=[], yticks=[])
            continue
        axes.set_title(name)
        _decision(axes, net_benefit.curve(score, positive, groups, RESAMPLES, level=level))
    grid[0].set_ylabel("net benefit")
    lines, names = next((found for axes in grid if (found := axes.get_legend_handles_labels())[0]), ([], []))
    if lines:
        figure.legend(lines, names, loc="outside lower center", ncols=len(lines), handlelength=2.6)
    return figure


def _decision(axes: Axes, found: net_benefit.Decision) -> None:
    axes.axhline(0, color=INK, linewidth=0.8, label="treat none")
    axes.plot(found.thresholds, found.all, color=SECOND, linestyle=(0, (5, 1.5)), label="treat all")
    axes.plot(found.thresholds, found.run, color=ACCENT, label="this run")
    if np.isfinite(found.low).any():
        axes.fill_between(found.thresholds, found.low, found.high, color=ACCENT, alpha=BAND, linewidth=0)
    top = 1.12 * max(found.run.max(), found.all.max(), 0.02)
    axes.set(xlim=(0, 1), ylim=(-0.15 * top, top), xlabel="threshold probability")
