"""Forest plot of subgroups, each with its confidence interval."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.figures.style import ACCENT, INK, MM, SOFT, WIDE, shortened, styled

LINE = 4.6  # height of a line [mm]
FRAME = 20  # height of title and axis [mm]


@styled
def subgroups(table: pd.DataFrame, overall: Mapping[str, float] | None = None) -> Figure:
    """Draw each metric of each subgroup with its interval; the dashed line is the whole test set.

    Args:
        table: Columns variable, value, n, groups, metric, estimate, low and high.
        overall: Value of the metrics on the whole test set, where known.

    Returns:
        The figure, a panel per metric and a line per subgroup.
    """
    metrics = list(dict.fromkeys(table["metric"]))
    lines = _lines(table)
    figure = Figure(figsize=(WIDE, (FRAME + LINE * len(lines)) * MM), layout="constrained")
    grid = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(grid, metrics, strict=True):
        rows = table[table["metric"] == metric].set_index(["variable", "value"])
        _forest(axes, [rows.loc[[key]].iloc[0] if key in rows.index else None for key in lines])
        axes.set_title(numbers.title(metric))
        if numbers.is_percentage(metric):
            axes.xaxis.set_major_formatter(PercentFormatter(1, 0, f"{numbers.SPACE}%"))
        if (whole := (overall or {}).get(metric)) is not None and np.isfinite(whole):
            axes.axvline(whole, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    grid[0].set_yticks(range(len(lines)), list(lines.values()))
    grid[0].set_ylim(len(lines) - 0.4, -0.6)
    for tick, (_, value) in zip(grid[0].get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if value is None else "normal")
        tick.set_color(INK)
    return figure


def _lines(table: pd.DataFrame) -> dict[tuple[str, str | None], str]:
    """Return the label of each line, by variable and value; the heading of a variable has no value."""
    lines: dict[tuple[str, str | None], str] = {}
    for row in vocabulary.records(table.drop_duplicates(["variable", "value"])):
        variable, value, n = str(row["variable"]), str(row["value"]), vocabulary.number(row, "n")
        lines.setdefault((variable, None), vocabulary.variable(variable))
        size = f"n = {n:,.0f}" if np.isfinite(n) else "n not known"
        lines[variable, value] = f"{shortened(vocabulary.value(variable, value))}, {size}"
    return lines


def _forest(axes: Axes, rows: list[Any]) -> None:
    """Draw a dot and its interval per line; an undefined estimate is marked as such."""
    for height, row in enumerate(rows):
        if row is None:
            continue
        if not np.isfinite(row["estimate"]):
            axes.text(
                0.5, height, "not defined", transform=axes.get_yaxis_transform(), color=SOFT, fontsize=6.5
            ).set(ha="center", va="center")
            continue
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            axes.plot([row["low"], row["high"]], [height, height], color=ACCENT, linewidth=1.2)
        axes.plot(row["estimate"], height, "o", color=ACCENT, ms=4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#eef1f4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
