"""What a nominal 95 % interval is known to cover: the simulated study that is most like a result.

The table, `coverage.csv`, is what `python -m benchmarks.coverage --write` measured.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit

FILE = Path(__file__).with_suffix(".csv")
LEVEL = 0.95  # of the intervals that were simulated
LOWEST = 0.93  # what a report lets pass without a warning
FAMILIES = {  # of the table, by what gave the interval; those of a bootstrap bear the name of the metric
    "logit DeLong": "auc",
    "logit clustered DeLong": "auc",
    "Wilson": "share",
    "clustered Wilson": "share",
}


def expected(metric: str, method: str, groups: float, value: float, clustered: bool) -> float:
    """Coverage of a 95 % interval in the study of the table that is most like this one.

    Nearest by the number of groups (as a logarithm), then by the value (as a logit, of areas and shares).

    Args:
        metric: A name of `metrics.csv`.
        method: What gave the interval.
        groups: Patients or clusters that the metric was measured on.
        value: Of the metric.
        clustered: Whether groups hold several samples.

    Returns:
        A share; NaN where nothing like it was simulated, or the value is not defined.
    """
    rows = _studies(FAMILIES.get(method, metric), method, bool(clustered))
    if rows.empty or not math.isfinite(value) or groups < 1:
        return math.nan
    sizes = np.log(rows["groups"].to_numpy(float))
    rows = rows[np.isclose(sizes, _nearest(sizes, math.log(groups)))]
    if len(rows) > 1:
        truths = logit(rows["truth"].to_numpy(float))
        rows = rows[np.isclose(truths, _nearest(truths, float(logit(min(max(value, 0.01), 0.99)))))]
    return float(rows["coverage"].iloc[0])


def _nearest(known: np.ndarray, asked: float) -> float:
    return float(known[np.argmin(np.abs(known - asked))])


@cache
def _studies(family: str, method: str, clustered: bool) -> pd.DataFrame:
    """Rows of the table for one kind of interval."""
    table = _table()
    return table[
        (table["family"] == family) & (table["method"] == method) & (table["clustered"] == clustered)
    ]


@cache
def _table() -> pd.DataFrame:
    return pd.read_csv(FILE)
