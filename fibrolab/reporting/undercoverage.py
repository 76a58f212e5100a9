"""Intervals that are known, from simulated studies like this one, to be narrower than they say."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.intervals import coverage, proportions
from fibrolab.evaluation.patients import SAMPLE
from fibrolab.reporting import numbers, vocabulary
from fibrolab.runs.trained_run import Run


def remarked(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """End points or calibration as they are, with a remark in `note` where an interval covers too little."""
    test = run.scored()
    if test is None or float(run.setting("bootstrap.level", coverage.LEVEL)) != coverage.LEVEL:
        return table
    sizes = test[keys.GROUP_ID].value_counts().to_numpy()
    rows = vocabulary.records(table)
    notes = [filter(None, (vocabulary.word(row, "note"), _remark(row, sizes))) for row in rows]
    return table.assign(note=["; ".join(each) for each in notes])


def _remark(row: Mapping[str, Any], sizes: np.ndarray) -> str:
    method = vocabulary.word(row, "method")
    if "measure" in row:
        name = "slope" if str(row["measure"]).startswith("slope_") else row["measure"]
        clustered = row["level"] == SAMPLE and bool((sizes > 1).any())
    elif method in coverage.FAMILIES:
        name, clustered = row["metric"], "clustered" in method
    else:  # an end point's other measures are not those of five stages
        return ""
    share = coverage.expected(
        name, method, proportions.effective_groups(sizes), vocabulary.number(row, "value"), clustered
    )
    if not share < coverage.LOWEST:  # NaN: nothing like it was simulated
        return ""
    return f"such an interval held the truth in {numbers.quantity(share, 'accuracy')} of simulated studies"
