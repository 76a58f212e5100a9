from pathlib import Path

import fake_run
import fake_tables
import numpy as np
import pandas as pd
import pytest

from fibrolab.reporting import findings
from fibrolab.reporting.run import Run

CONFIG = {"task": {"classes": list(fake_run.CLASSES), "endpoints": fake_tables.ENDPOINTS}}


def said(**found: pd.DataFrame) -> list[str]:
    return [finding.text for finding in findings.of(Run(Path(), config=CONFIG, tables=found))]


def measured(**columns: list[float]) -> Run:
    table = pd.DataFrame({"metric": ["accuracy", "macro_auc", "qwk"], "value": 0.8} | columns)
    return Run(Path(), config=CONFIG, metrics=table)


def test_an_interval_that_is_known_to_cover_too_little_is_named() -> None:
    told = [finding.text for finding in findings.of(measured(coverage=[0.89, 0.94, np.nan]))]
    assert told == [
        "The 95\u00a0% interval of Accuracy is too narrow: on tests of this kind it is known to hold the "
        "truth in about 89\u00a0%."
    ]


def test_nothing_is_said_of_coverage_that_is_not_on_record() -> None:
    assert findings.of(measured()) == []


@pytest.mark.parametrize(("n", "told"), [(84, True), (87, True), (90, False)])
def test_few_groups_are_told(n: int, told: bool) -> None:
    frame = fake_run.predicted(fake_run.CLASSES, n, skill=2.0)
    texts = [finding.text for finding in findings.of(Run(Path(), config=CONFIG, predictions=frame))]
    assert any(f"{n // 3} groups only" in text for text in texts) is told


def test_end_points_without_a_threshold_are_told_once_a_reason() -> None:
    table = fake_tables.endpoints()
    assert said(endpoints=table) == []
    lost = table["endpoint"].isin(["ge_F2", "ge_F4"]) & ~table["rule"].isin(["", "half"])
    table.loc[lost, ["threshold", "note"]] = [np.nan, "validation holds no case"]
    text = "Validation chose no threshold for F2 or worse and F4 (validation holds no case)."
    assert said(endpoints=table) == [text]


def test_only_a_calibration_error_that_is_surely_large_is_told() -> None:
    table = fake_tables.calibration()
    assert said(calibration=table) == []
    wrong = (table["measure"] == "ece") & (table["probabilities"] == "as predicted")
    table.loc[wrong, ["value", "low", "high"]] = [0.2, 0.11, 0.28]
    (text,) = said(calibration=table)
    assert "badly calibrated (as predicted)" in text
    assert ".200 [.110, .280]" in text


def test_sets_that_surely_break_their_promise_are_told_by_class() -> None:
    table = fake_tables.conformal(fake_run.CLASSES).assign(high=0.99)
    assert said(conformal=table) == []
    short = (table["level"] == "sample") & (table["stage"] == "F1") & (table["alpha"] == 0.1)
    table.loc[short, ["coverage", "high"]] = [0.61, 0.73]
    assert said(conformal=table) == [
        "Sets that promise 90\u00a0% hold the true class in only 61.0\u00a0% of F1."
    ]
