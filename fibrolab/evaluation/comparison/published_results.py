"""`published.csv`: results that a paper reports for the arm that a run repeats, with intervals."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from fibrolab.choices import refuse
from fibrolab.evaluation.intervals import delong, proportions
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import catalogue

COLUMNS = ("metric", "n", "n_positive", "value", "low", "high", "method", "note")
SIZES = ("n", "positive")  # numbers of samples that the paper tested, and of positive ones
UNKNOWN = "the paper gives no numbers to compute an interval from"


def table(published: Mapping[str, Any] | None, task: str, level: float = 0.95) -> pd.DataFrame:
    """Make the table of the published results of one task.

    Args:
        published: Setting of an experiment: below `tasks`, by task, `n`, `positive` and values by the names
            in `metrics.csv`. None: the run repeats no paper.
        task: Name of the run's task; only its results are comparable.
        level: Nominal coverage.

    Returns:
        Columns `COLUMNS`. The interval of an AUC is Hanley and McNeil's, of accuracy, sensitivity and
        specificity Wilson's; where there is none, `note` says why.

    Raises:
        ConfigError: The setting has faults, see `faults`.
    """
    refuse(faults(published))
    reported = dict(((published or {}).get("tasks") or {}).get(task) or {})
    n, positive = (reported.pop(name, None) for name in SIZES)
    rows = [
        {"metric": metric, "n": n, "n_positive": positive}
        | vars(_estimate(metric, float(value), n, positive, level))
        for metric, value in reported.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def faults(published: Any) -> list[str]:
    """List the faults of the setting, a sentence each, before anything is trained."""
    if published is None:
        return []
    tasks = published.get("tasks") if isinstance(published, Mapping) else published
    if tasks is not None and not (
        isinstance(tasks, Mapping) and all(isinstance(each or {}, Mapping) for each in tasks.values())
    ):
        return ["published names no numbers: give it tasks with numbers by name, such as "
                "'published={source: A paper, tasks: {stage: {n: 949, accuracy: 0.98}}}'."]  # fmt: skip
    return [fault for task, values in (tasks or {}).items() for fault in _faults(str(task), values or {})]


def _faults(task: str, values: Mapping[str, Any]) -> Iterator[str]:
    where = f"published.tasks.{task}"
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if name in SIZES:
            if not (number and float(value).is_integer() and value > 0):
                yield f"{where}.{name}={value} is not a whole number from 1."
        elif not number or not (_any_number(name) or 0 <= value <= 1):
            yield f"{where}.{name}={value} is not a number from 0 to 1."
    n, positive = values.get("n"), values.get("positive")
    if isinstance(n, int) and isinstance(positive, int) and positive >= n:
        yield f"{where}.positive={positive} leaves none of n={n} negative."


def _any_number(name: str) -> bool:
    """Return whether a metric may lie outside 0 to 1."""
    metric = catalogue.find(name)
    return metric is not None and metric.limits(num_classes=3) != (0.0, 1.0)


def _estimate(metric: str, value: float, n: int | None, positive: int | None, level: float) -> Estimate:
    if metric == "auc" and n and positive:
        return delong.published(value, positive, n - positive, level)
    of = {
        "accuracy": n,
        "sensitivity": positive,
        "specificity": n - positive if n and positive else None,
    }.get(metric)
    if not of:
        return Estimate(value, note=UNKNOWN)
    return Estimate(value, *proportions.wilson(value * of, of, level), proportions.WILSON)
