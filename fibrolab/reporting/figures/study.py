"""Figures of a study of several arms: their accuracy by protocol, differences, and learning curves."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fibrolab.reporting import numbers
from fibrolab.reporting.figures.style import ACCENT, INK, MM, PALE, SECOND, SOFT, WIDE, shortened, styled

ABREAST = 4  # panels in a row
LETTERS = 72  # of the titles of a row of panels
LINE, FRAME = 5.0, 24.0  # height of a line, and of title and axis [mm]
ROW = 3.7  # height of a line of `protocols` [mm]
COLOURS = (ACCENT, SECOND, INK, "#8a6d1d", "#6b4fa0", "#2f7d5b", "#a04f4f")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))


@styled
def differences(table: pd.DataFrame) -> Figure:
    """Draw the difference of each pair of arms in each measure with its interval.

    Args:
        table: Columns pair, metric, value, low, high, and found: whether the corrected p is below .05.

    Returns:
        The figure, a panel a measure and a line a pair, `ABREAST` panels a row; 0 is no difference.
    """
    metrics, pairs = list(dict.fromkeys(table["metric"])), list(dict.fromkeys(table["pair"]))
    lines = -(-len(metrics) // ABREAST)
    height = lines * (FRAME + LINE * len(pairs)) * MM
    figure = Figure(figsize=(WIDE, height), layout="constrained")
    columns = -(-len(metrics) // lines)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for empty in grid.flat[len(metrics) :]:
        empty.set_visible(False)
    for axes, metric in zip(grid.flat, metrics, strict=False):
        rows = table[table["metric"] == metric].set_index("pair")
        for place, pair in enumerate(pairs):
            if pair in rows.index:
                _difference(axes, place, rows.loc[pair])
        axes.axvline(0, color=SOFT, linewidth=0.9, zorder=0)
        axes.set_title(textwrap.fill(numbers.title(metric), LETTERS // columns))
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    grid[0, 0].set_yticks(range(len(pairs)), [shortened(pair, 40) for pair in pairs])
    grid[0, 0].set_ylim(len(pairs) - 0.4, -0.6)
    return figure


def _difference(axes: Axes, height: int, row: pd.Series) -> None:
    """Draw one difference: filled if it is found, hollow if it is not."""
    if not np.isfinite(row["value"]):
        return
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        axes.plot([row["low"], row["high"]], [height, height], color=ACCENT, linewidth=1.2)
    face = ACCENT if row["found"] else "white"
    axes.plot(row["value"], height, "o", color=ACCENT, markerfacecolor=face, ms=4)


@styled
def protocols(table: pd.DataFrame) -> Figure:
    """Draw the accuracy of each arm of each protocol and task beside that of the baselines.

    Args:
        table: Columns part (title of a protocol and task), name, network (whether it is one), value, low and
            high.

    Returns:
        The figure: a block a protocol and task, a line a network (filled) or baseline (hollow).
    """
    parts = list(dict.fromkeys(table["part"]))
    figure = Figure(figsize=(WIDE, (14 + ROW * (len(table) + 1.6 * len(parts))) * MM), layout="constrained")
    axes = figure.subplots()
    height, names = 0.0, {}
    for part in parts:
        axes.text(0.0, height, part, transform=axes.get_yaxis_transform(), weight="bold", va="center")
        for row in table[table["part"] == part].to_dict("records"):
            height += 1
            colour, face = (ACCENT, ACCENT) if row["network"] else (SECOND, "white")
            axes.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=1.2)
            axes.plot(row["value"], height, "o", color=colour, markerfacecolor=face, ms=4, clip_on=False)
            names[height] = shortened(str(row["name"]), 40)
        height += 1.6
    axes.set(xlim=(0, 1), ylim=(height - 0.6, -1), xlabel="accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol="\u00a0%"))
    axes.set_yticks(list(names), list(names.values()))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE, linewidth=0.6)
    axes.spines["left"].set_visible(False)
    return figure


@styled
def curves(history: pd.DataFrame) -> Figure:
    """Draw loss and accuracy of training and validation by epoch, of several trainings of an arm their mean.

    Args:
        history: Columns arm (its label), epoch from 0, and `train/` and `val/` `loss` and, if measured,
            `accuracy`.

    Returns:
        The figure, a row for each quantity with one panel for training and one for validation.
    """
    quantities = [name for name in ("loss", "accuracy") if f"train/{name}" in history]
    figure = Figure(figsize=(WIDE, 60 * MM * len(quantities)), layout="constrained")
    grid = figure.subplots(len(quantities), 2, sharey="row", squeeze=False)
    for row, quantity in zip(grid, quantities, strict=True):
        for axes, (part, title) in zip(row, {"train": "training", "val": "validation"}.items(), strict=True):
            column = f"{part}/{quantity}"
            for number, (arm, rows) in enumerate(history.groupby("arm", sort=False)):
                means = rows.groupby("epoch")[column].mean().dropna() if column in rows else rows["epoch"][:0]
                colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
                axes.plot(means.index + 1, means, color=colour, linestyle=dash, linewidth=1.1, label=str(arm))
            axes.set_title(f"{quantity.capitalize()} of {title}")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0, 1].legend(frameon=False, fontsize=6.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
