from pathlib import Path
from typing import Any

import fake_run
import fake_tables
import numpy as np
import pandas as pd
import pytest

from fibrolab.reporting import summary
from fibrolab.runs.trained_run import Run

TASK = {"classes": list(fake_run.CLASSES), "endpoints": fake_tables.ENDPOINTS, "ordered": True}
METRICS = pd.DataFrame({"metric": ["accuracy"], "value": 0.617, "low": 0.477, "high": 0.74, "baseline": 0.2})


def told(task: dict[str, Any] = TASK, **found: Any) -> list[str]:
    return summary.of(Run(Path(), config={"task": task}, **found))


def test_the_result_is_told_in_words_by_sample_where_no_patient_is_known() -> None:
    assert told(metrics=METRICS) == [
        "The right stage is named for 61.7\u00a0% [47.7,\u00a074.0] of the test samples; 20.0\u00a0% "
        "(majority class) without looking at the liver."
    ]


def test_patients_come_before_samples_and_end_points_follow() -> None:
    found = told(metrics=METRICS, patients=METRICS, tables={"endpoints": fake_tables.endpoints()})
    assert len(found) == 1 + len(fake_tables.ENDPOINTS)
    assert "of the test patients; always naming the commonest class of training is right for 20.0" in found[0]
    assert "without looking" not in found[0]  # the audit's higher baselines are of samples
    assert found[1] == (
        "F2 or worse: 78.0\u00a0% [73.0,\u00a083.0] of the patients with it are found, and 78.0\u00a0% "
        "[73.0,\u00a083.0] of those without it are cleared."
    )


def test_an_end_point_without_a_threshold_is_left_to_its_table() -> None:
    table = fake_tables.endpoints()
    lost = (table["endpoint"] == "ge_F3") & (table["rule"] == "youden")
    table.loc[lost, ["value", "low", "high"]] = np.nan
    found = told(metrics=METRICS, tables={"endpoints": table})
    assert [sentence.partition(":")[0] for sentence in found[1:]] == ["F2 or worse", "F4"]


def test_classes_without_an_order_are_no_stages() -> None:
    (sentence,) = told({"classes": ["cyst", "HCC", "FFS"], "ordered": False}, metrics=METRICS)
    assert sentence.startswith("The right class is named for")


@pytest.mark.parametrize("table", [None, METRICS.assign(value=np.nan), METRICS.assign(metric="qwk")])
def test_without_an_accuracy_nothing_is_said_of_it(table: pd.DataFrame | None) -> None:
    assert told(metrics=table) == []
