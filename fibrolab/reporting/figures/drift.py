"""The figure of monitoring: the mean of each quantity by week, beside that of validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fibrolab.reporting.figures.style import ACCENT, MM, SECOND, SOFT, WIDE, styled

COLUMNS = 4
NAMED = 4  # weeks that are named below a panel
CAPTION = (
    "Mean of each quantity by week (point) beside that of validation (dashed line). Bars: confidence "
    "interval of the difference from validation, from a bootstrap over patients. Squares: weeks with an "
    "alarm."
)


@styled
def by_week(table: pd.DataFrame, weeks: Sequence[str], titles: Mapping[str, str], alarms: set[Any]) -> Figure:
    """Draw a panel for each quantity that has values.

    Args:
        table: Columns week, quantity, before, after, difference, low and high.
        weeks: The weeks in their order.
        titles: Title of each quantity, in the order of the panels.
        alarms: Week and quantity of each alarm.
    """
    drawn = [name for name in titles if table.loc[table["quantity"] == name, "after"].notna().any()]
    high = -(-len(drawn) // COLUMNS)
    figure = Figure(figsize=(WIDE, 38 * MM * high), layout="constrained")
    for number, name in enumerate(drawn):
        axes = figure.add_subplot(high, COLUMNS, number + 1)
        rows = table[table["quantity"] == name].set_index("week").reindex(list(weeks))
        places = np.arange(len(weeks))
        before, after = rows["before"].to_numpy(float), rows["after"].to_numpy(float)
        ends = before[:, None] + rows[["low", "high"]].to_numpy(float)
        axes.axhline(np.nanmean(before), color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
        axes.vlines(places, ends[:, 0], ends[:, 1], color=ACCENT, linewidth=1.1)
        found = np.array([(week, name) in alarms for week in weeks])
        axes.plot(places[~found], after[~found], "o", color=ACCENT, markersize=3)
        axes.plot(places[found], after[found], "s", color=SECOND, markersize=4.5)
        axes.set_title(titles[name])
        step = max(1, -(-len(weeks) // NAMED))
        axes.set_xticks(places[::step], _short(weeks[::step]))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(-0.6, len(weeks) - 0.4)
    return figure


def _short(weeks: Sequence[str]) -> list[str]:
    """Return weeks such as W05; of several years, below the first one of each its year."""
    years = [week[:4] for week in weeks]
    first = {years.index(year) for year in years} if len(set(years)) > 1 else set[int]()
    return [f"{week[-3:]}\n{week[:4]}" if place in first else week[-3:] for place, week in enumerate(weeks)]
