"""Receiver operating characteristic and precision-recall curves, with pointwise confidence bands.

Up to three curves share a panel. More curves, with their bands, would hide each other: then each has its own
panel, with the others in grey.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fibrolab.evaluation import endpoints
from fibrolab.evaluation.intervals import roc_curves
from fibrolab.reporting import numbers
from fibrolab.reporting.figures.style import (
    ACCENT,
    BAND,
    COLOURS,
    DASHES,
    INK,
    MM,
    NARROW,
    PALE,
    RESAMPLES,
    SECOND,
    SOFT,
    WIDE,
    panels,
    shortened,
    styled,
)
from fibrolab.reporting.vocabulary import end_point

TOGETHER = 3  # curves in one panel
FRAME: Any = {"xlim": (-0.01, 1.01), "ylim": (-0.01, 1.01), "aspect": "equal"}
CHOSEN = "threshold chosen on validation"


@dataclass(frozen=True)
class Curve:
    """One class or end point against the rest.

    Attributes:
        name: Name of the class or end point.
        area: The area under the curve in words, or why there is no curve.
        x: Abscissae of the curve; empty where there is none.
        y: Ordinates.
        base: Ordinates at x = 0 and x = 1 of random predictions: chance, or the prevalence.
        band: Pointwise interval; None where there is none.
        mark: Operating point of the threshold chosen on validation; None where it is not known.
        steps: How its points are joined; those of precision-recall curves are not joined by straight lines,
            since no threshold gives a point on them.
    """

    name: str
    area: str
    x: np.ndarray
    y: np.ndarray
    base: tuple[float, float]
    band: roc_curves.Band | None = None
    mark: tuple[float, float] | None = None
    steps: Literal["default", "steps-post"] = "default"


Tracer = Callable[[str, np.ndarray, np.ndarray, Any, float], Curve]


@styled
def roc(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    level: float = 0.95,
    chosen: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Draw the one-vs-rest ROC curve of each class; of two classes, only of the second.

    Args:
        y_true: True class indices (N,).
        probabilities: Predicted probabilities (N, K).
        classes: Names of the K classes.
        groups: Resampled for the bands (N,); without groups there are no bands.
        level: Coverage of the bands at each specificity, not of the whole curve.
        chosen: Sensitivity and specificity at the threshold chosen on validation, by class, to be marked.

    Returns:
        The figure, with the areas; a class that is absent, or the only one, is named without a curve.
    """
    traced = _one_vs_rest(_roc, y_true, probabilities, classes, groups, level)
    return _figure(_marked(traced, chosen or {}), "1 − specificity", "sensitivity", "lower right")


@styled
def precision_recall(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> Figure:
    """Draw the precision-recall curve of each class against the others; arguments as for `roc`."""
    traced = _one_vs_rest(_precision_recall, y_true, probabilities, classes, groups, level)
    return _figure(traced, "recall (sensitivity)", "precision (PPV)", "lower left")


@styled
def end_points(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    lowest: Mapping[str, int],
    groups: np.ndarray | None = None,
    level: float = 0.95,
    chosen: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Draw the ROC curve of each end point, whose score is the sum of the probabilities of its stages.

    Args:
        y_true: As for `roc`.
        probabilities: As for `roc`.
        classes: As for `roc`.
        lowest: Lowest positive class of each end point.
        groups: As for `roc`.
        level: As for `roc`.
        chosen: As for `roc`, by end point.
    """
    traced = []
    for name, stage in lowest.items():
        positive, score = endpoints.labels(y_true, stage) == 1, endpoints.score(probabilities, stage)
        curve = _roc(end_point(classes, stage), positive, score, groups, level)
        traced += _marked([curve], {curve.name: (chosen or {}).get(name)})
    return _figure(traced, "1 − specificity", "sensitivity", "lower right")


def _one_vs_rest(
    trace: Tracer, y_true: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], *how: Any
) -> list[Curve]:
    shown = [1] if len(classes) == 2 else range(len(classes))
    return [trace(str(classes[k]), np.asarray(y_true) == k, probabilities[:, k], *how) for k in shown]


def _roc(name: str, positive: np.ndarray, score: np.ndarray, groups: Any, level: float) -> Curve:
    from sklearn.metrics import auc, roc_curve

    if reason := _undefined(positive):
        return Curve(name, reason, np.empty(0), np.empty(0), (0.0, 1.0))
    false_rate, true_rate, _ = roc_curve(positive, score, drop_intermediate=True)
    area = f"AUC {numbers.quantity(auc(false_rate, true_rate), 'auc')}"
    band = None if groups is None else roc_curves.roc_band(score, positive, groups, RESAMPLES, level=level)
    return Curve(name, area, false_rate, true_rate, (0.0, 1.0), band)


def _precision_recall(name: str, positive: np.ndarray, score: np.ndarray, groups: Any, level: float) -> Curve:
    from sklearn.metrics import precision_recall_curve

    if reason := _undefined(positive):
        return Curve(name, reason, np.empty(0), np.empty(0), (np.nan, np.nan))
    precision, recall, _ = precision_recall_curve(positive, score, drop_intermediate=True)
    found = recall > 0  # precision is not defined before the first true positive
    precision, recall = (np.append(values[found], values[found][-1:]) for values in (precision, recall))
    recall[-1] = 0.0
    area = f"AP {numbers.quantity(roc_curves.average_precision(score, positive)[0], 'auc')}"
    band = None if groups is None else roc_curves.pr_band(score, positive, groups, RESAMPLES, level=level)
    prevalence = float(positive.mean())
    return Curve(name, area, recall, precision, (prevalence, prevalence), band, steps="steps-post")


def _undefined(positive: np.ndarray) -> str:
    """Return why there is no curve; empty where there is one."""
    if positive.any() and not positive.all():
        return ""
    return "no other class" if positive.any() else "no cases"


def _marked(traced: Sequence[Curve], chosen: Mapping[str, tuple[float, float] | None]) -> list[Curve]:
    """Return the curves with the operating points that are known."""
    points = {name: (1 - point[1], point[0]) for name, point in chosen.items() if point is not None}
    return [replace(curve, mark=points.get(curve.name)) if len(curve.x) else curve for curve in traced]


def _figure(traced: Sequence[Curve], across: str, up: str, corner: str) -> Figure:
    """Return all curves in one panel, or in a panel each."""
    if len(traced) <= TOGETHER:
        figure = Figure(figsize=(NARROW, 84 * MM), layout="constrained")
        _together(figure.add_subplot(xlabel=across, ylabel=up, **FRAME), traced, corner)
        return figure
    columns = {4: 2, 5: 3, 6: 3}.get(len(traced), 4)
    rows, width = -(-len(traced) // columns), (NARROW if columns == 2 else WIDE)
    figure = Figure(figsize=(width, rows * (width / columns + 3 * MM) + 4 * MM), layout="constrained")
    for axes, curve in zip(panels(figure, len(traced), columns), traced, strict=True):
        _alone(axes, curve, traced, corner)
    figure.supxlabel(across, fontsize=8)
    figure.supylabel(up, fontsize=8)
    return figure


def _together(axes: Axes, traced: Sequence[Curve], corner: str) -> None:
    """Draw the curves of one panel, distinguished by colour and dash."""
    place: Any = corner
    for k, curve in enumerate(traced):
        style: Any = {"color": COLOURS[k + 1], "linestyle": DASHES[k]}
        axes.plot([0, 1], curve.base, color=style["color"] if curve.base[0] else SOFT, linewidth=0.6)
        axes.plot(curve.x, curve.y, label=f"{shortened(curve.name)}: {curve.area}", ds=curve.steps, **style)
        _band(axes, curve, style["color"])
        if curve.mark:
            axes.plot(*curve.mark, "o", mfc="white", mec=style["color"], ms=5, mew=1.3, zorder=4)
    if any(curve.mark for curve in traced):
        axes.plot([], [], "o", mfc="white", mec=INK, ms=5, mew=1.3, label=CHOSEN)
    axes.legend(loc=place, handlelength=3.2, frameon=True, edgecolor="none", framealpha=0.85)


def _alone(axes: Axes, curve: Curve, traced: Sequence[Curve], corner: str) -> None:
    """Draw one curve, with the others behind it."""
    for other in traced:
        if other is curve:
            continue
        if other.band is not None:  # the grid is fine enough for the background
            axes.plot(other.band.x, other.band.y, color=PALE, linewidth=0.7, zorder=1)
        else:
            axes.plot(other.x, other.y, color=PALE, ds=other.steps, linewidth=0.7, zorder=1)
    axes.plot([0, 1], curve.base, color=SOFT, linewidth=0.6, zorder=1.5)
    axes.plot(curve.x, curve.y, color=ACCENT, ds=curve.steps)
    _band(axes, curve, ACCENT)
    if curve.mark:
        axes.plot(*curve.mark, "o", mfc="white", mec=SECOND, ms=5, mew=1.3, zorder=4)
    axes.set(**FRAME, xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_title(shortened(curve.name))
    backed = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    across = 0.97 if "right" in corner else 0.03
    low = curve.base[0] if curve.base[0] < 0.2 else 0.0  # the text is above the line of a low prevalence
    axes.text(across, low + 0.05, curve.area, ha="right" if across > 0.5 else "left", bbox=backed, zorder=5)


def _band(axes: Axes, curve: Curve, colour: str) -> None:
    if curve.band is not None and np.isfinite(curve.band.low).any():
        axes.fill_between(
            curve.band.x, curve.band.low, curve.band.high, color=colour, alpha=BAND, linewidth=0
        )
