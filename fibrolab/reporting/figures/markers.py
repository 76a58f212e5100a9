"""The figure of scored markers: their ROC curves by end point, with published cut-offs as points."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fibrolab import keys
from fibrolab.evaluation.clinical.comparators import CUTOFFS
from fibrolab.evaluation.clinical.marker_scores import Case, ScoredMarker
from fibrolab.evaluation.intervals import roc_curves
from fibrolab.reporting import numbers
from fibrolab.reporting.figures.style import (
    BAND,
    COLOURS,
    DASHES,
    MM,
    NARROW,
    PALE,
    RESAMPLES,
    WIDE,
    panels,
    shortened,
    styled,
)
from fibrolab.reporting.marker_sentences import Scoring

FEW_CURVES = 3  # largest number of markers with bands, and a legend beside the curves
NAMES = 4  # in a row of the legend below the panels
LETTERS = 34  # of a name in a legend
CAPTION = (
    "Receiver operating characteristic (ROC) curves of the markers, each on the rows that have it. Points: "
    "published cut-offs. Shaded, for up to three markers: pointwise confidence bands from a bootstrap over "
    "patients."
)


@styled
def roc_of_markers(scoring: Scoring) -> Figure:
    """Return the ROC curves, a panel per end point and a curve per marker."""
    columns = min(3, len(scoring.cases))
    width = NARROW if columns == 1 else WIDE * columns / 3
    high = -(-len(scoring.cases) // columns)
    below = 0 if len(scoring.markers) <= FEW_CURVES else -(-len(scoring.markers) // NAMES)
    size = (width, high * (width / columns + 8 * MM) + below * 5 * MM)
    figure = Figure(figsize=size, layout="constrained")
    for axes, case in zip(panels(figure, len(scoring.cases), columns), scoring.cases, strict=True):
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.6)
        for k, marker in enumerate(scoring.markers):
            _curve(axes, scoring, marker, case, k)
        ends: Any = {"xticks": (0, 0.5, 1), "yticks": (0, 0.5, 1), "aspect": "equal"}
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", **ends)
        axes.set_title(scoring.end_point(case.name))
        if not below:
            box: Any = {"frameon": True, "edgecolor": "none", "framealpha": 0.85, "title_fontsize": 6.5}
            axes.legend(title="AUC", loc="lower right", fontsize=6.5, handlelength=2.8, **box)
    figure.axes[0].set_ylabel("sensitivity")
    if below:  # inside a panel, the legend would hide the curves
        names = [shortened(scoring.title(marker.name), LETTERS) for marker in scoring.markers]
        lines = [Line2D([], [], label=name, **_style(k)) for k, name in enumerate(names)]
        figure.legend(handles=lines, loc="outside lower center", ncols=NAMES, fontsize=6.5, handlelength=2.8)
    return figure


def _curve(axes: Axes, scoring: Scoring, marker: ScoredMarker, case: Case, k: int) -> None:
    """Draw one marker: its curve, its band, and its published cut-off."""
    scores = marker.scores(scoring.rows)
    known = np.isfinite(scores)
    scores, positive = scores[known], case.positive[known]
    if positive.all() or not positive.any():
        return
    groups = scoring.rows.loc[known, keys.GROUP_ID].to_numpy()
    banded = len(scoring.markers) <= FEW_CURVES
    band = roc_curves.roc_band(scores, positive, groups, RESAMPLES if banded else 2, level=scoring.level)
    rows = scoring.table
    same = (rows["marker"] == marker.name) & (rows["endpoint"] == case.name) & (rows["metric"] == "auc")
    area = numbers.quantity(rows.loc[same, "value"].item(), "auc")
    label = f"{shortened(scoring.title(marker.name), LETTERS)}: {area}"
    style = _style(k)
    axes.plot(band.x, band.y, label=label, **style)
    if banded and np.isfinite(band.low).any():
        axes.fill_between(band.x, band.low, band.high, color=style["color"], alpha=BAND, linewidth=0)
    for cut in CUTOFFS:
        if (cut.marker, cut.stage) == (marker.name, case.stage):
            decided = scores >= cut.value
            point = decided[~positive].mean(), decided[positive].mean()
            axes.plot(*point, "o", color=style["color"], ms=3.5, clip_on=False)


def _style(k: int) -> dict[str, Any]:
    """Return colour and dashes of a marker by its number."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k % len(DASHES)]}
