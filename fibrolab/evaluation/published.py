"""`published.csv`: what a paper reports of the arm that a run repeats, with intervals by its size."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fibrolab.errors import FibrolabError
from fibrolab.evaluation import roc, shares
from fibrolab.evaluation.estimate import Estimate

COLUMNS = ("metric", "n", "n_positive", "value", "low", "high", "method", "note")
SIZES = (
    "n",
    "positive",
)  # beside the metrics of a task: how many the paper tested, and positive ones of them
UNKNOWN = "the paper gives no number from which an interval could be had"


def table(published: Mapping[str, Any] | None, task: str, level: float = 0.95) -> pd.DataFrame:
    """The published numbers of one task.

    Args:
        published: The setting of an experiment; below `tasks`, by task, `n`, `positive` and values by the
            names of `metrics.csv`. None: the run repeats no paper.
        task: Name of the run's task; no other is comparable.
        level: Coverage aimed at.

    Returns:
        Columns `COLUMNS`. Of an AUC the interval is Hanley and McNeil's, of accuracy Wilson's; where there is
        none, `note` says why.
    """
    reported = dict(((published or {}).get("tasks") or {}).get(task) or {})
    n, positive = (reported.pop(name, None) for name in SIZES)
    rows = [
        {"metric": metric, "n": n, "n_positive": positive}
        | vars(_estimate(metric, float(value), n, positive, level))
        for metric, value in reported.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _estimate(metric: str, value: float, n: int | None, positive: int | None, level: float) -> Estimate:
    """A number that cannot be true still stands there, with the reason why it has no interval."""
    try:
        if metric == "auc" and n and positive:
            return roc.published(value, positive, n - positive, level)
        if metric == "accuracy" and n:
            return Estimate(value, *shares.wilson(value * n, n, level), shares.WILSON)
    except FibrolabError as fault:
        return Estimate(value, note=str(fault))
    return Estimate(value, note=UNKNOWN)
