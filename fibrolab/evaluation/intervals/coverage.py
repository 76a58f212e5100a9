"""Simulated coverage of nominal 95 % intervals, looked up in the simulated study most similar to a result.

`python -m benchmarks.coverage --write` simulates the studies and writes the table, `coverage.csv`.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

FILE = Path(__file__).with_suffix(".csv")
LEVEL = 0.95  # nominal, of the intervals that were simulated
LOWEST = 0.93  # coverage below which a report warns
FAMILIES = {  # of the table by method of the interval; a bootstrap's family is the metric
    "logit DeLong": "auc",
    "logit clustered DeLong": "auc",
    "Wilson": "share",
    "clustered Wilson": "share",
}


def expected(metric: str, method: str, groups: float, value: float, clustered: bool) -> float:
    """Return the coverage of a 95 % interval in the simulated study that is most similar.

    It is the nearest in the logarithm of the number of groups, and among these in the logit of the value.

    Args:
        metric: A name of `metrics.csv`.
        method: Method of the interval.
        groups: Number of patients or clusters on which the metric was measured.
        value: Value of the metric.
        clustered: Whether groups hold several samples.

    Returns:
        A proportion; NaN where no such study was simulated, or the value is not defined.
    """
    sizes, truths, covered = _studies(FAMILIES.get(method, metric), method, bool(clustered))
    if not len(sizes) or not math.isfinite(value) or groups < 1:
        return math.nan
    rows = np.flatnonzero(_nearest(sizes, math.log(groups)))
    if len(rows) > 1:
        wanted = _logit(np.array([min(max(value, 0.01), 0.99)]))[0]
        rows = rows[_nearest(truths[rows], float(wanted))]
    return float(covered[rows[0]])


def _nearest(known: np.ndarray, wanted: float) -> np.ndarray:
    """Return which of the known values equal the one nearest to the wanted, bool (N,)."""
    return np.isclose(known, known[np.argmin(np.abs(known - wanted))])


@cache
def _studies(family: str, method: str, clustered: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the simulated studies of one kind of interval.

    Returns:
        Logarithm of the number of groups, logit of the true value, and coverage, float64 (N,) each.
    """
    table = _table()
    rows = table[
        (table["family"] == family) & (table["method"] == method) & (table["clustered"] == clustered)
    ]
    groups, truth, covered = (rows[name].to_numpy(float) for name in ("groups", "truth", "coverage"))
    return np.log(groups), _logit(truth), covered


def _logit(proportions: np.ndarray) -> np.ndarray:
    from scipy.special import logit  # late: it takes longer to load than most commands need

    return np.asarray(logit(proportions), np.float64)


@cache
def _table() -> pd.DataFrame:
    return pd.read_csv(FILE)
