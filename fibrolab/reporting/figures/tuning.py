"""The figures of a study: history, importances, parallel coordinates, slices, Pareto front, curves, cost."""

from collections.abc import Iterator
from itertools import combinations, compress
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fibrolab.reporting import tuning_record
from fibrolab.reporting.figures.style import (
    ACCENT,
    INK,
    MM,
    NARROW,
    PALE,
    SECOND,
    SOFT,
    WIDE,
    shortened,
    styled,
)
from fibrolab.reporting.tables.tuning import EVALUATORS
from fibrolab.reporting.tuning_record import FINISHED, PARAMETER, PRUNED, Study

MOST = 9  # parameters in a figure: the most important ones
MANY = 200  # trials above which marks become smaller and lines paler
BEYOND = 4.0  # interquartile ranges from the middle half of the values beyond which a value is an outlier
CAPTIONS = {
    "history": "Value of each trial in the order of their start, and the best so far. A pruned trial is "
    "shown with its last value; triangles at the edge are values beyond it.",
    "pareto": "Finished trials by their goals. The front holds the trials that no other one equals or "
    "exceeds in every goal; values beyond an axis are drawn at its edge.",
    "importances": "Importance of the parameters: proportion of the variation between trials that each "
    "explains, by functional analysis of variance (fANOVA) over all finished trials, and by PED-ANOVA, which "
    "asks what distinguishes the best ones.",
    "curves": "Monitored validation metric of each trial by epoch (or fold). A cross ends a pruned trial.",
    "parallel": "Finished trials, a line each, from their settings to their result; dark lines are the "
    "better ones. A setting that a trial does not have is at the foot of its axis.",
    "slices": "Finished trials by each parameter; dark marks are later trials.",
    "cost": "Duration of the trials by how they ended.",
}


def drawn(study: Study) -> Iterator[tuple[str, Figure]]:
    """Yield name and figure of all that the study has data for, in the order of the page."""
    if study.trials.empty:
        return
    yield "history", history(study)
    if len(study.goals) > 1 and len(study.finished):
        yield "pareto", pareto(study)
    if len(study.importances):
        yield "importances", importances(study)
    if len(study.progress):
        yield "curves", curves(study)
    if len(study.finished) > 1 and study.parameters:
        yield "parallel", parallel(study)
        yield "slices", slices(study)
    if study.trials["seconds"].notna().any():
        yield "cost", cost(study)


@styled
def history(study: Study) -> Figure:
    """Return the values of the trials by number, a panel a goal, with the best so far."""
    figure = Figure(figsize=(WIDE, (10 + 50 * len(study.goals)) * MM), layout="constrained")
    grid = figure.subplots(len(study.goals), 1, sharex=True, squeeze=False)[:, 0]
    style: dict[str, Any] = {"s": 14 if len(study.trials) <= MANY else 5}
    pruned = study.trials.loc[study.trials["state"] == PRUNED, "number"]
    ends = pruned.map(study.progress.sort_values("step").groupby("number")["value"].last())
    for name, sign, title, axes in zip(study.values, study.signs, study.titles, grid, strict=True):
        number, found = study.finished["number"], study.finished[name]
        limits = _limits(pd.concat([found, ends]), sign)
        _within(axes, number, found, limits, color=ACCENT, label="finished", **style)
        if len(pruned):
            _within(
                axes, pruned, ends, limits, color=SECOND, marker="x", linewidths=0.8, label="pruned", **style
            )
        if len(study.goals) == 1 and len(found):
            best = found.cummin() if sign > 0 else found.cummax()
            axes.step(number, best, where="post", color=INK, linewidth=1.2, label="best so far")
        axes.set_ylabel(title)
        axes.grid(axis="y", color="#eef1f4", linewidth=0.7)
        axes.set_axisbelow(True)
    last = study.trials["number"].max()
    grid[-1].set(xlabel="trial", xlim=(-0.5 - last / 100, last + 0.5 + last / 100))
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, grid[0])
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """Set the names of marks and lines above the panel, where they hide no trial."""
    if axes.get_legend_handles_labels()[1]:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)


def _limits(values: pd.Series, sign: float) -> tuple[float, float]:
    """Return limits of an axis that leave out values far worse than most, and a margin."""
    known = values[np.isfinite(values)].to_numpy(float)
    if not len(known):
        return 0.0, 1.0
    lower, upper = np.quantile(known, [0.25, 0.75])
    reach = BEYOND * max(upper - lower, 1e-9)
    low, high = known.min(), known.max()
    if sign > 0 and high > upper + reach:
        high = known[known <= upper + reach].max()
    if sign < 0 and low < lower - reach:
        low = known[known >= lower - reach].min()
    margin = 0.06 * ((high - low) or max(abs(high), 1e-3))
    return low - margin, high + margin


def _within(axes: Axes, x: pd.Series, y: pd.Series, limits: tuple[float, float], **style: Any) -> None:
    """Draw points; those beyond the limits are triangles at the edge."""
    low, high = limits
    inside = y.between(low, high)
    axes.scatter(x[inside], y[inside], **style)
    edge = {"color": style["color"], "s": style["s"], "clip_on": False, "zorder": 3}
    for beyond, place, marker in ((y > high, high, "^"), (y < low, low, "v")):
        axes.scatter(x[beyond], np.full(int(beyond.sum()), place), marker=marker, **edge)
    axes.set_ylim(low, high)


@styled
def importances(study: Study) -> Figure:
    """Return bars of the importance of each parameter, one an evaluator."""
    table = study.importances.pivot_table("importance", "parameter", "evaluator").fillna(0.0)
    names = [name for name in study.parameters if name in table.index][:MOST]
    evaluators = [name for name in EVALUATORS if name in table]
    figure = Figure(figsize=(WIDE * 0.75, (18 + 9 * len(names)) * MM), layout="constrained")
    axes = figure.subplots()
    width = 0.76 / max(len(evaluators), 1)
    for place, name in enumerate(evaluators):
        heights = np.arange(len(names)) + (place - (len(evaluators) - 1) / 2) * width
        face: dict[str, Any] = {"color": ACCENT}
        if place:  # distinguished without colour too
            face = {"facecolor": "white", "edgecolor": SECOND, "hatch": "////"}
        axes.barh(heights, table.loc[names, name], height=0.86 * width, label=EVALUATORS[name], **face)
    axes.set_yticks(range(len(names)), [shortened(study.label(name), 34) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("importance")
    _legend(figure, axes)
    return figure


@styled
def curves(study: Study) -> Figure:
    """Return the curves of the monitored metric of finished and pruned trials, and of the chosen one."""
    figure = Figure(figsize=(WIDE, 66 * MM), layout="constrained")
    axes = figure.subplots()
    states = study.trials.set_index("number")["state"]
    steps = study.progress.sort_values(["number", "step"])
    known, starts = np.unique(steps["number"].to_numpy(int), return_index=True)
    points = np.split(steps[["step", "value"]].to_numpy(float), starts[1:])  # (steps, 2) each
    lines = dict(zip(known.tolist(), points, strict=True))
    many = len(lines) > MANY / 4
    width = {"linewidth": 0.6 if many else 0.9}
    for state, colour, dash, opacity in (
        (FINISHED, ACCENT, "-", 0.18 if many else 0.55),
        (PRUNED, SECOND, (0, (3, 1.2)), 0.3 if many else 0.8),
    ):
        shown = (states.get(number) == state and number != study.chosen for number in lines)
        own = list(compress(lines.values(), shown))
        style: dict[str, Any] = {"color": colour, "linestyle": dash}
        if own:
            axes.add_collection(LineCollection(own, **style, **width, alpha=opacity, rasterized=many))
            axes.plot([], [], **style, label=f"{state} ({len(own):,})")
        if own and state == PRUNED:
            ends = np.array([line[-1] for line in own])
            axes.scatter(ends[:, 0], ends[:, 1], color=colour, marker="x", s=8, linewidths=0.7, zorder=3)
    if study.chosen in lines:
        label = f"chosen (trial {study.chosen})"
        axes.plot(*lines[study.chosen].T, color=INK, linewidth=1.8, label=label, zorder=4)
    last = steps["step"].max()
    axes.set(xlim=(0.9 - 0.02 * last, last + 0.1 + 0.02 * last), ylim=_limits(steps["value"], study.signs[0]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch or fold", ylabel=study.titles[0])
    _legend(figure, axes)
    return figure


def _shades() -> Colormap:
    """Return a scale of blues that is dark enough at its light end, also in grey."""
    return ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, 256)))


@styled
def parallel(study: Study) -> Figure:
    """Return the settings and the result of each finished trial as a line over parallel axes."""
    names, value, sign = study.parameters[:MOST], study.finished[study.values[0]], study.signs[0]
    figure = Figure(figsize=(WIDE, 82 * MM), layout="constrained")
    axes = figure.subplots()
    heights, marks = map(list, zip(*[_scaled(study, name) for name in names], strict=True))
    low, high = _limits(value, sign)
    heights.append(((value.clip(low, high) - low) / (high - low)).to_numpy())
    marks.append([(place, tuning_record.short(low + place * (high - low))) for place in (0.06, 0.94)])
    points = np.column_stack(heights)  # (N, P + 1)
    order = np.argsort(-sign * value.to_numpy(float), kind="stable")  # the better ones on top
    lines = [np.column_stack([np.arange(points.shape[1]), points[row]]) for row in order]
    colours, many = _shades()(np.linspace(0, 1, len(lines)) ** 2), len(lines) > MANY
    style = {"linewidths": 0.5, "alpha": 0.35} if many else {"linewidths": 1.0, "alpha": 0.8}
    axes.add_collection(LineCollection(lines, colors=colours, **style))
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    beside: Any = {
        "xytext": (3, 0),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": 6.5,
        "bbox": box,
    }
    for place, texts in enumerate(marks):
        axes.axvline(place, color=SOFT, linewidth=0.8, zorder=3)
        for height, text in texts:
            axes.annotate(text, (place, height), zorder=4, **beside)
    labels = [*(shortened(study.label(name), 16) for name in names), study.titles[0]]
    slant: Any = {"rotation": 25, "ha": "right"} if len(labels) > 5 else {}
    axes.set_xticks(range(len(labels)), labels, **slant)
    axes.set(xlim=(-0.15, len(labels) - 0.55), ylim=(-0.06, 1.06), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    return figure


def _scaled(study: Study, name: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Return the cells of a parameter in finished trials as heights 0..1 (N,), and texts at some heights."""
    cells = study.finished[f"{PARAMETER}{name}"]
    missing = cells.isna().to_numpy()
    foot = 0.12 if missing.any() else 0.0  # below it are the trials that do not have the parameter
    if study.is_number(name):
        scaled = np.log(cells) if name in study.logarithmic else cells.astype(float)
        low, high = float(scaled.min()), float(scaled.max())
        heights = (scaled - low) / ((high - low) or 1.0)
        least, most = tuning_record.short(cells.min()), tuning_record.short(cells.max())
        places = {least: 0.0} | {most: float(high > low)}
    else:
        options = sorted(cells.dropna().astype(str).unique())
        places = {option: place / max(len(options) - 1, 1) for place, option in enumerate(options)}
        heights = cells.astype(str).map(places)
    marks = [(foot + (1 - foot) * height, shortened(text, 14)) for text, height in places.items()]
    marks += [(0.0, "none")] if missing.any() else []
    return np.where(missing, 0.0, foot + (1 - foot) * heights.astype(float)), marks


@styled
def slices(study: Study) -> Figure:
    """Return the value of the finished trials by each parameter."""
    names, found = study.parameters[:MOST], study.finished
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDE * max(columns, 1.5) / 3, (14 + 46 * rows) * MM), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    shade = Normalize(found["number"].min(), max(found["number"].max(), found["number"].min() + 1))
    for axes, name in zip(grid, names, strict=False):
        _slice(axes, study, name, shade)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel(study.titles[0])
    ticks = MaxNLocator(4, integer=True)
    scale = ScalarMappable(shade, _shades())
    figure.colorbar(scale, ax=list(grid), label="trial", aspect=30, fraction=0.03, ticks=ticks)
    return figure


def _slice(axes: Axes, study: Study, name: str, shade: Normalize) -> None:
    """Draw the finished trials by one parameter; options are spread a little, so that marks do not hide."""
    own = study.finished[study.finished[f"{PARAMETER}{name}"].notna()]
    x, limits = own[f"{PARAMETER}{name}"], _limits(study.finished[study.values[0]], study.signs[0])
    if not study.is_number(name):
        options = sorted(x.astype(str).unique())
        spread = np.random.default_rng(0).uniform(-0.18, 0.18, len(x))
        x = x.astype(str).map({option: place for place, option in enumerate(options)}) + spread
        slant: Any = {"rotation": 30, "ha": "right"} if len(options) > 2 else {}
        axes.set_xticks(range(len(options)), [shortened(option, 12) for option in options], **slant)
        axes.set_xlim(-0.5, len(options) - 0.5)
    elif name in study.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tuning_record.short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(LogLocator(numticks=4))
    many, y = len(own) > MANY, own[study.values[0]].clip(*limits)
    style: Any = {"cmap": _shades(), "norm": shade, "s": 4 if many else 12, "linewidths": 0}
    axes.scatter(x, y, c=own["number"], rasterized=many, **style)
    axes.set(ylim=limits, xlabel=shortened(study.label(name), 30))


@styled
def pareto(study: Study) -> Figure:
    """Return the finished trials by each pair of goals, with the front."""
    pairs = list(combinations(range(len(study.goals)), 2))
    size = NARROW if len(pairs) == 1 else WIDE / len(pairs)
    figure = Figure(figsize=(size * len(pairs), (70 if len(pairs) == 1 else 62) * MM), layout="constrained")
    found, front = study.finished, study.front
    for axes, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        columns = [study.values[x], study.values[y]]
        limits = [_limits(found[study.values[place]], study.signs[place]) for place in (x, y)]
        found = found.assign(
            **{name: found[name].clip(*each) for name, each in zip(columns, limits, strict=True)}
        )
        axes.scatter(*found.loc[~front, columns].to_numpy().T, color=PALE, s=10, label="other trials")
        best = found.loc[front, columns].sort_values(columns)
        line = {"linestyle": "-", "linewidth": 0.8} if len(pairs) == 1 else {"linestyle": "none"}
        axes.plot(*best.to_numpy().T, color=ACCENT, marker="o", ms=4, label="front", **line)
        arrows = ["lower is better" if mode == "min" else "higher is better" for mode in study.goals.values()]
        axes.set_xlabel(f"{study.titles[x]}\n({arrows[x]})")
        axes.set_ylabel(f"{study.titles[y]}\n({arrows[y]})")
    _legend(figure, figure.axes[0])
    return figure


@styled
def cost(study: Study) -> Figure:
    """Return the hours of training by how the trials ended."""
    hours = {state: time for state, time in tuning_record.hours(study).items() if time > 0}
    counts = tuning_record.counts(study)
    figure = Figure(figsize=(WIDE * 0.75, (16 + 8 * len(hours)) * MM), layout="constrained")
    axes = figure.subplots()
    minutes = sum(hours.values()) < 2
    scale = 60 if minutes else 1
    bars = axes.barh(range(len(hours)), [scale * time for time in hours.values()], color=ACCENT, height=0.6)
    axes.bar_label(bars, [f"{scale * time:.1f}" for time in hours.values()], padding=3, fontsize=7.5)
    axes.set_yticks(range(len(hours)), [f"{state} ({counts[state]:,})" for state in hours])
    axes.set_ylim(len(hours) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)
    axes.set_xlabel("minutes" if minutes else "hours")
    return figure
