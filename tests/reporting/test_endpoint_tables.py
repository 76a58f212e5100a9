from pathlib import Path

import fake_run
import fake_tables
import numpy as np
import pandas as pd
import pytest

from fibrolab.evaluation.intervals import coverage
from fibrolab.reporting.tables import endpoints as endpoint_sheets
from fibrolab.reporting.tables import estimates
from fibrolab.runs.trained_run import Run

CONFIG = {"task": {"classes": list(fake_run.CLASSES), "endpoints": fake_tables.ENDPOINTS}}


def compared(table: pd.DataFrame) -> list[str]:
    first = endpoint_sheets.comparators(Run(Path(), config=CONFIG, tables={"comparators": table}))[0]
    return [f"{line.cells[0].text}: {line.cells[0].small}" for line in first.lines]


def same_patients() -> pd.DataFrame:
    """Markers that all patients have: the run is the same beside each."""
    return fake_tables.comparators().assign(n=90)


def test_the_run_has_one_line_for_markers_of_the_same_patients() -> None:
    lines = compared(same_patients())
    assert lines == [
        "LSM: published",
        "LSM: fitted on validation",
        "APRI: published",
        "APRI: fitted on validation",
        "This run: Youden's index",
    ]


def test_two_of_three_markers_with_the_same_patients_share_the_line_of_the_run() -> None:
    table = same_patients()
    third = table[(table["beside"] == "apri")].assign(beside="fib4", n=70)
    third["marker"] = third["marker"].replace("apri", "fib4")
    ours = [line for line in compared(pd.concat([table, third])) if line.startswith("This run")]
    assert ours == [
        "This run: where LSM and APRI are known, Youden's index",
        "This run: where FIB-4 is known, Youden's index",
    ]


def test_the_run_has_a_line_per_marker_if_a_value_differs() -> None:
    table = same_patients()
    other = (table["marker"] == "run") & (table["beside"] == "apri") & (table["metric"] == "npv")
    table.loc[other, "value"] = 0.7
    ours = [line for line in compared(table) if line.startswith("This run")]
    assert len(ours) == 2


@pytest.fixture
def run() -> Run:
    frame = fake_run.predicted(fake_run.CLASSES, 60, skill=2.0)
    return Run(Path(), config=CONFIG, predictions=frame)


def area(**changes: object) -> pd.DataFrame:
    row = {"level": "sample", "endpoint": "ge_F2", "rule": "", "threshold": np.nan, "metric": "auc"}
    row |= fake_tables.estimate(0.95, "percentile") | changes
    return pd.DataFrame([row])


@pytest.fixture
def falling_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated intervals of areas with a coverage of 90 %, less .1 % per group."""
    monkeypatch.setattr(coverage, "expected", lambda metric, method, groups, *_: 0.9 - groups / 1000)


@pytest.mark.usefixtures("falling_short")
def test_an_interval_with_low_coverage_has_a_remark(run: Run) -> None:
    (note,) = estimates.with_coverage_remarks(run, area(note="few patients", method="logit DeLong"))["note"]
    assert note == "few patients; such intervals contained the true value in 88.0\u00a0% of simulated studies"


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "logit DeLong"},  # covers well
        {"method": "none that was simulated"},
        {"metric": "lr_plus", "method": "log (Simel)"},
        {"metric": "balanced_accuracy", "method": "BCa"},  # simulated for five stages only
        {"value": np.nan},
    ],
)
def test_an_interval_with_good_or_unknown_coverage_has_no_remark(
    run: Run, changes: dict[str, object]
) -> None:
    assert estimates.with_coverage_remarks(run, area(**changes))["note"].tolist() == [""]


@pytest.mark.usefixtures("falling_short")
def test_intervals_of_another_level_were_not_simulated(run: Run) -> None:
    other = Run(Path(), config=CONFIG | {"bootstrap": {"level": 0.9}}, predictions=run.predictions)
    assert estimates.with_coverage_remarks(other, area(method="logit DeLong"))["note"].tolist() == [""]


def test_slopes_of_patients_with_several_samples_have_low_coverage(run: Run) -> None:
    row = {"level": "sample", "probabilities": "as predicted", "measure": "slope_ge_F2"}
    slope = pd.DataFrame([row | fake_tables.estimate(0.9, "clustered Wald")])
    assert "simulated studies" in estimates.with_coverage_remarks(run, slope)["note"][0]
    alone = run.predictions.assign(group_id=lambda rows: rows["sample_id"])
    alone = Run(Path(), config=CONFIG, predictions=alone)
    assert estimates.with_coverage_remarks(alone, slope)["note"].tolist() == [""]
    assert estimates.with_coverage_remarks(run, slope.assign(measure="intercept_ge_F2"))["note"].tolist() == [
        ""
    ]


def test_ppv_has_the_coverage_of_proportions() -> None:
    of_share = coverage.expected("accuracy", "clustered Wilson", 20, 0.9, clustered=True)
    assert coverage.expected("ppv", "clustered Wilson", 20, 0.9, clustered=True) == of_share


def test_baselines_have_a_column_only_where_one_is_known() -> None:
    found = {"endpoints": fake_tables.endpoints()}
    *_, without = endpoint_sheets.sheets(Run(Path(), config=CONFIG, tables=found))
    baselines = pd.DataFrame({"metric": ["accuracy_ge_F2"], "value": [0.8], "baseline": [0.6]})
    _, having, *_ = endpoint_sheets.sheets(Run(Path(), config=CONFIG, tables=found, metrics=baselines))
    assert "Baseline" not in [column.title for column in without.columns]
    assert "baseline" not in without.caption
    place = [column.title for column in having.columns].index("Baseline")
    assert {line.cells[place].text for line in having.lines} == {"60.0\u00a0%", "–"}


def test_decisions_of_two_classes_have_the_baseline_of_the_headline() -> None:
    table = fake_tables.endpoints().query("endpoint == 'ge_F2'").assign(endpoint=">=F2")
    metrics = pd.DataFrame({"metric": ["accuracy"], "value": [0.8], "baseline": [0.6]})
    config = {"task": {"classes": ["<F2", ">=F2"], "endpoints": {}}}
    run = Run(Path(), config=config, tables={"endpoints": table}, metrics=metrics)
    _, decisions, *_ = endpoint_sheets.sheets(run)
    place = [column.title for column in decisions.columns].index("Baseline")
    assert {line.cells[place].text for line in decisions.lines} == {"60.0\u00a0%"}
