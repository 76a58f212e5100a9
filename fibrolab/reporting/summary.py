"""The result in words, for those who read one paragraph: what was right, found and cleared."""

import math
from collections.abc import Mapping
from typing import Any

from fibrolab.evaluation.measures import thresholds
from fibrolab.evaluation.patients import SAMPLE
from fibrolab.reporting import numbers, vocabulary
from fibrolab.runs.trained_run import Run

RULE = thresholds.YOUDEN  # the threshold that a sentence tells of


def of(run: Run) -> list[str]:
    """A sentence on the stages, then one on each end point; none where the files do not tell."""
    level, table = ("patient", run.patients) if run.patients is not None else (SAMPLE, run.metrics)
    if table is None:
        return []
    rows = numbers.rows(table, ["accuracy"], {} if level == "patient" else run.baselines)
    return [*_stages(run, level, rows), *_end_points(run, level)]


def _stages(run: Run, level: str, rows: list[numbers.Row]) -> list[str]:
    if not rows or not math.isfinite(rows[0].value):
        return []
    (row,) = rows
    baseline = ""
    if (
        math.isfinite(row.baseline) and level == SAMPLE
    ):  # the highest of the audit's, which knows samples alone
        baseline = f"; {row.baseline_text} without looking at the liver"
    elif math.isfinite(row.baseline):
        alike = numbers.quantity(row.baseline, row.metric)
        baseline = f"; always naming the commonest class of training is right for {alike}"
    what = "stage" if run.setting("task.ordered") and len(run.classes) > 2 else "class"
    return [f"The right {what} is named for {_unbroken(row)} of the test {level}s{baseline}."]


def _end_points(run: Run, level: str) -> list[str]:
    table = run.tables.get("endpoints")
    if table is None:
        return []
    rows = table[(table["level"] == level) & (table["rule"] == RULE)]
    told = []
    for name, found in rows.groupby("endpoint", sort=False):
        known = {row["metric"]: row for row in vocabulary.records(found)}
        shares = [_share(known.get(metric)) for metric in ("sensitivity", "specificity")]
        if all(shares):
            told.append(
                f"{vocabulary.endpoint(run, str(name))}: {shares[0]} of the {level}s with it are found, and "
                f"{shares[1]} of those without it are cleared."
            )
    return told


def _share(row: Mapping[str, Any] | None) -> str:
    if row is None or not math.isfinite(vocabulary.number(row, "value")):
        return ""
    value, low, high = (vocabulary.number(row, name) for name in ("value", "low", "high"))
    return _unbroken(f"{numbers.quantity(value, 'accuracy')} {numbers.interval(low, high, 'accuracy')}")


def _unbroken(estimate: object) -> str:
    """An estimate whose interval stays on one line."""
    return str(estimate).replace(", ", f",{numbers.SPACE}")
