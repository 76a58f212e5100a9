"""Intervals that are known, from simulated studies like this one, to be narrower than they say."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import coverage
from fibrolab.evaluation.patients import SAMPLE, to_patients
from fibrolab.reporting import numbers, wording
from fibrolab.reporting.run import Run

NAMES = {"ppv": "precision"}  # measures of an end point that the simulations know by another name
SIMULATED = ("auc", "accuracy", "sensitivity", "specificity", "precision", "npv")


def remarked(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """End points as they are, with a remark in `note` where the interval covers too little."""
    test = run.scored()
    if test is None or float(run.setting("bootstrap.level", coverage.LEVEL)) != coverage.LEVEL:
        return table
    sizes = {level == SAMPLE: _groups(test, level) for level in table["level"].unique()}
    rows = wording.records(table)
    remarks = [_remark(row, sizes[row["level"] == SAMPLE]) for row in rows]
    notes = [
        "; ".join(filter(None, (wording.word(row, "note"), remark)))
        for row, remark in zip(rows, remarks, strict=True)
    ]
    return table.assign(note=notes)


def _groups(test: pd.DataFrame, level: str) -> int:
    return int((test if level == SAMPLE else to_patients(test))[keys.GROUP_ID].nunique())


def _remark(row: Mapping[str, Any], groups: int) -> str:
    metric, method = NAMES.get(row["metric"], row["metric"]), wording.word(row, "method")
    if metric not in SIMULATED:
        return ""
    value = wording.number(row, "value")
    share = coverage.expected(metric, method, groups, value, clustered="clustered" in method)
    if not share < coverage.LOWEST:  # NaN: nothing like it was simulated
        return ""
    return f"such an interval held the truth in {numbers.quantity(share, 'accuracy')} of simulated studies"
