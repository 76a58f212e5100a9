"""Figures of heat maps: panels of samples, the same samples by arm, mean maps by class, heat over time."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from fibrolab.explanation import overlays, selection
from fibrolab.explanation.overlays import Scale
from fibrolab.reporting.figures.style import (
    ACCENT,
    BAND,
    MM,
    SOFT,
    WIDE,
    sentence,
    shortened,
    styled,
)

TALLEST = 225 * MM  # a page of a journal without its caption
CAPTIONS = {  # prefix of the files of each section of a page, and the text below them
    "panels": (
        "panels",
        "Samples chosen by rule: of each class the surest right and the surest wrong prediction, then those "
        "nearest to the decision threshold. Grey: not seen by the network.",
    ),
    "means": (
        "mean",
        "Mean picture (above) and mean map (below) by true class, each scan fitted to one frame and each map "
        "relative to its largest value.",
    ),
    "time": ("time", "Distribution of the heat of each film over its time steps."),
    "arms": (
        "arms",
        "The same samples in several runs, chosen by the mean of their predictions; each run has its own "
        "colour scale.",
    ),
}
TRIPLES = 2  # samples side by side in the panels
COLUMNS = 3 * TRIPLES  # pictures side by side
BAR_ROOM = 16 * MM  # of a vertical colour bar with its label
TITLE_ROOM = 8 * MM  # of two lines above a row of pictures


@dataclass(frozen=True)
class ExplainedSample:
    """A sample with its map, in the original picture's pixels.

    Attributes:
        sample_id: The sample.
        rule: Rule that chose it.
        truth: Name of its true class; empty if it is not known.
        predicted: Name of the predicted class.
        probability: Probability of the predicted class.
        picture: uint8 (H, W) or (H, W, 3).
        heat: Map (H, W); NaN where the network saw nothing.
    """

    sample_id: str
    rule: str
    truth: str
    predicted: str
    probability: float
    picture: np.ndarray
    heat: np.ndarray


def outcome(truth: str, predicted: str, probability: float) -> str:
    """Return ``true F2, predicted F3 (87 %), wrong``; without a true class the prediction alone."""
    text = f"predicted {predicted} ({100 * probability:.0f}\u00a0%)"
    return f"true {truth}, {text}, {'right' if truth == predicted else 'wrong'}" if truth else text


@styled
def panels(samples: Sequence[ExplainedSample], signed: bool, meaning: str) -> Figure:
    """Draw original, map and overlay of each sample, two samples a row, with one colour scale.

    The right prediction of a class is on the left, the wrong one beside it; other samples follow.

    Args:
        samples: The samples in the order of `selection.choose`.
        signed: Whether values below 0 are evidence against the target.
        meaning: Label of the colour bar, such as ``Grad-CAM, predicted class``.

    Returns:
        The figure; without samples it states that there are none.
    """
    if not samples:
        return sentence(Figure(figsize=(WIDE, 14 * MM)), "No sample was chosen.")
    lines = _lines(samples)
    columns = 3 * max(map(len, lines))
    figure, grid = _grid(samples, len(lines), columns)
    colours = overlays.scale([sample.heat for sample in samples], signed)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, line in zip(grid, lines, strict=True):
        for k, sample in enumerate(line):
            if sample is not None:
                _triple(row[3 * k : 3 * k + 3], sample, colours)
                continue
            (other,) = filter(None, line)
            text = f"no {('right', 'wrong')[k]} prediction of {other.truth}"
            said = row[3 * k].text(0, 0.5, text, transform=row[3 * k].transAxes, fontsize=7, color=SOFT)
            said.set_in_layout(False)
    for axes, name in zip(grid[len(lines) - 1], ("original", "map", "overlay") * TRIPLES, strict=False):
        axes.text(0.5, -0.04, name, transform=axes.transAxes, ha="center", va="top", fontsize=7, color=SOFT)
    _bar(figure, grid, colours, meaning)
    return figure


@styled
def arms(rows: Sequence[Mapping[str, ExplainedSample]], signed: bool, meaning: str) -> Figure:
    """Draw the same samples for several arms: the original, then one overlay an arm.

    Maps of different networks have different units, so each arm has its own colour scale.

    Args:
        rows: Each sample by the name of the arm; all have the same arms.
        signed: Whether values below 0 are evidence against the target.
        meaning: Label of the colour bars.
    """
    names = list(rows[0])
    firsts = [row[names[0]] for row in rows]
    columns = 1 + len(names)
    side_by_side = max(1, COLUMNS // columns)
    figure, grid = _grid(
        firsts, -(-len(rows) // side_by_side), side_by_side * columns, bar=0.0, below=16 * MM
    )
    for axes in grid.flat:
        axes.set_axis_off()
    blocks = grid.reshape(-1, columns)  # a line per sample, from left to right and then down
    for (axes, *_), sample in zip(blocks, firsts, strict=False):
        _show(axes, sample.picture, f"{sample.rule}\ntrue {sample.truth}" if sample.truth else sample.rule)
    for column, name in enumerate(names, 1):
        colours = overlays.scale([row[name].heat for row in rows], signed)
        for place, (axes, row) in enumerate(zip(blocks[:, column], rows, strict=False)):
            sample = row[name]
            said = f"{sample.predicted} ({100 * sample.probability:.0f}\u00a0%)"
            above = f"{shortened(name)}\n" if place < side_by_side else ""
            _show(axes, overlays.overlay(sample.picture, sample.heat, colours), above + said)
        _bar_below(grid[-1, column], colours)
    figure.suptitle(f"{meaning}; each run has its own colour scale", x=0, ha="left", fontsize=7)
    return figure


@styled
def mean_maps(means: Mapping[str, tuple[np.ndarray, np.ndarray, int]], signed: bool, meaning: str) -> Figure:
    """Draw the mean picture and the mean map of each class in the scan's coordinates.

    Args:
        means: Mean picture (h, w), mean map (h, w) and number of samples by name of the class.
        signed: Whether values below 0 are evidence against the target.
        meaning: Label of the colour bar.
    """
    colours = overlays.scale([heat for _, heat, _ in means.values()], signed)
    side = (WIDE - BAR_ROOM) / max(len(means), 3)
    figure = Figure(figsize=(side * len(means) + BAR_ROOM, 2 * side + 7 * MM), layout="constrained")
    grid = figure.subplots(2, len(means), squeeze=False)
    for (above, below), (name, (picture, heat, count)) in zip(grid.T, means.items(), strict=True):
        _show(above, picture.round().astype(np.uint8), f"{name} (n = {count:,})")
        _show(below, colours.coloured(heat), "")
    _bar(figure, grid, colours, meaning)
    return figure


@styled
def over_time(proportions: np.ndarray, seconds: np.ndarray | None = None) -> Figure:
    """Draw how the heat of films is distributed over time.

    Args:
        proportions: Proportion of each film's heat in each of its time steps, (N, t); rows sum to 1.
        seconds: Time of each step [s], (t,), if it is the same for all films.
    """
    steps = proportions.shape[1]
    time = np.arange(1, steps + 1) if seconds is None else seconds
    figure = Figure(figsize=(WIDE / 2, 55 * MM), layout="constrained")
    axes = figure.subplots()
    low, high = np.quantile(proportions, [0.1, 0.9], axis=0)
    axes.fill_between(time, low, high, color=ACCENT, alpha=BAND, lw=0, label="10th to 90th percentile")
    axes.plot(time, proportions.mean(axis=0), color=ACCENT, marker="o", ms=3, label="mean")
    axes.axhline(1 / steps, color=SOFT, lw=0.8, dashes=(4, 2), label="equal over time")
    axes.set(ylim=(0, 1.4 * high.max()), ylabel="Proportion of the heat")
    axes.set_xlabel("Time step of the map" if seconds is None else "Time [s]")
    axes.set_title(f"n = {len(proportions):,}", fontweight="normal")
    axes.legend(loc="upper left", ncols=2)
    return figure


def _lines(samples: Sequence[ExplainedSample]) -> list[list[ExplainedSample | None]]:
    """Arrange samples in rows: right and wrong of one class side by side, then the others."""
    by_class: dict[str, list[ExplainedSample | None]] = {}
    others: list[ExplainedSample | None] = []
    for sample in samples:
        if sample.rule in (selection.RIGHT, selection.WRONG):
            place = (selection.RIGHT, selection.WRONG).index(sample.rule)
            by_class.setdefault(sample.truth, [None, None])[place] = sample
        else:
            others.append(sample)
    rest = [others[k : k + TRIPLES] for k in range(0, len(others), TRIPLES)]
    return [*by_class.values(), *rest]


def _grid(
    samples: Sequence[ExplainedSample], rows: int, columns: int, bar: float = BAR_ROOM, below: float = 4 * MM
) -> tuple[Figure, np.ndarray]:
    """Return a figure with rows of pictures, as high as the tallest picture needs and a page allows."""
    aspect = max(sample.picture.shape[0] / sample.picture.shape[1] for sample in samples)
    highest = (TALLEST - below) / rows - TITLE_ROOM  # more rows have smaller pictures
    width = min((WIDE - bar) / max(columns, 3), highest / aspect)
    height = rows * (width * aspect + TITLE_ROOM) + below
    layout = ConstrainedLayoutEngine(w_pad=0.6 * MM, h_pad=0.6 * MM, hspace=0, wspace=0)
    figure = Figure(figsize=(width * columns + bar, height), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _triple(row: Sequence[Axes], sample: ExplainedSample, colours: Scale) -> None:
    original, heat, both = row
    said = outcome(sample.truth, sample.predicted, sample.probability)
    _show(original, sample.picture, f"{sample.rule}\n{said}")
    _show(heat, colours.coloured(sample.heat), "")
    _show(both, overlays.overlay(sample.picture, sample.heat, colours), "")


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.set_axis_off()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none")
    # The layout keeps the title's height free, but not its width, which would part the panels of a sample.
    axes.set_title("\n".join(" " for _ in title.splitlines()), fontsize=7, pad=2)
    above = axes.annotate(
        title, (0, 1), (0, 2), xycoords="axes fraction", textcoords="offset points", fontsize=7, va="bottom"
    )
    above.set_in_layout(False)


def _bar(figure: Figure, grid: np.ndarray, colours: Scale, meaning: str) -> None:
    """Add the bar of a colour scale beside some panels, with its label."""
    bar = figure.colorbar(
        _mappable(colours),
        ax=grid,
        extend=_extended(colours),
        aspect=40,
        shrink=min(1.0, 80 * MM / figure.get_figheight()),
        pad=0.015,
    )
    letters = round(min(80 * MM, figure.get_figheight()) / 0.056)  # of 7 points, side by side
    text = f"{meaning}; scale of this figure, up to the {overlays.CLIPPED:g}th percentile"
    bar.set_label("\n".join(textwrap.wrap(text, letters)), fontsize=7)
    bar.ax.tick_params(labelsize=6.5)
    bar.outline.set_linewidth(0.5)


def _bar_below(axes: Axes, colours: Scale) -> None:
    """Add the bar of a colour scale below one panel, which stays in its row."""
    place = axes.inset_axes((0.05, -0.14, 0.9, 0.05))
    bar = axes.figure.colorbar(
        _mappable(colours), cax=place, orientation="horizontal", extend=_extended(colours)
    )
    bar.ax.tick_params(labelsize=6.5)
    bar.outline.set_linewidth(0.5)


def _mappable(colours: Scale) -> ScalarMappable:
    return ScalarMappable(Normalize(colours.lowest, colours.largest), colours.colours)


def _extended(colours: Scale) -> str:
    return "both" if colours.signed else "max"
