"""The catalogue of metrics: a record suffices to add a metric."""

import html
import re
from pathlib import Path

import fake_arms
import fake_run
import numpy as np
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.analyses import evaluation_tables
from fibrolab.evaluation import baselines, score
from fibrolab.evaluation.comparison import comparison_table
from fibrolab.evaluation.intervals.proportions import wilson
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.measures.catalogue import Metric, ScoredSamples
from fibrolab.reporting import numbers, run_page


def near(samples: ScoredSamples) -> np.ndarray:
    """Weighted proportion of samples whose prediction is at most one stage off."""
    off = np.abs(samples.probabilities.argmax(axis=1) - samples.y_true)
    return samples.weights @ (off <= 1) / samples.weights.sum(axis=1)


NEAR = Metric(
    "near",
    "Within one stage",
    near,
    interval="proportion",
    counts=lambda true, predicted: (np.abs(true - predicted) <= 1, np.ones(len(true), dtype=bool)),
    ordered=True,
    baseline="measured",
    percent=True,
    headline=True,
    compared_from=3,
)
DOUBT = Metric(
    "doubt",
    "Mean doubt",
    lambda samples: samples.weights @ (1 - samples.probabilities) / samples.weights.sum(axis=1)[:, None],
    higher_is_better=False,
    by_class=True,
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add two metrics to the catalogue during a test."""
    monkeypatch.setattr(catalogue, "METRICS", (*catalogue.METRICS, NEAR, DOUBT))


@pytest.mark.usefixtures("registered")
def test_a_new_record_is_scored_with_interval_and_baseline_and_reported(tmp_path: Path) -> None:
    folder = fake_run.make(tmp_path, n=60)
    table = pd.read_csv(folder / keys.METRICS_FILE, index_col="metric")
    row = table.loc["near"]
    assert row["method"] in ("Wilson", "clustered Wilson")
    assert row["low"] < row["value"] <= row["high"]
    assert {"macro_doubt", "weighted_doubt", "doubt_F3"} <= set(table.index)
    assert table.loc["doubt_F3", ["low", "high"]].notna().all()
    text = html.unescape(re.sub(r"<[^>]+>|[ \n]+", " ", run_page.write(folder).read_text()))
    assert "Within one stage" in text
    assert "Mean doubt" in text
    assert numbers.headline(table.reset_index())[-1].title == "Within one stage"


@pytest.mark.usefixtures("registered")
def test_a_new_record_has_the_baseline_of_a_constant_prediction_and_is_tracked() -> None:
    train, test = np.array([2, 2, 0]), np.array([0, 1, 2, 3, 4, 4])
    reached = baselines.majority(train, test)
    assert reached["near"] == pytest.approx(3 / 6)
    frame = fake_arms.predictions_of(1.2, 0, n=60)
    table = score.score(frame, fake_arms.STAGES, baselines=reached, resamples=20)
    assert table.loc["near", "baseline"] == pytest.approx(3 / 6)
    n = int((frame[keys.PARTITION] == keys.TEST).sum())
    assert tuple(table.loc["near", ["low", "high"]]) == pytest.approx(
        wilson(table.loc["near", "value"] * n, n)
    )
    points = pd.DataFrame(columns=["rule", "endpoint"])
    flat = evaluation_tables.tracked_metrics(evaluation_tables.Scores(table, None, points))
    assert "test/near" in flat
    assert "test/doubt_F3" not in flat  # not a headline metric


@pytest.mark.usefixtures("registered")
def test_arms_are_compared_in_a_new_record() -> None:
    _, arms = fake_arms.two()
    table = comparison_table.table(arms, fake_arms.TASK, "sample", resamples=50)
    rows = table[(table["metric"] == "near") & (table["family"] == "headline")]
    assert rows.loc[rows["against"] == "", ["value", "low", "high"]].notna().all(axis=None)
    assert rows.loc[rows["against"] != "", "p"].notna().all()
    assert {"doubt", "macro_doubt"} <= set(table.loc[table["family"] == "classes", "metric"])


@pytest.mark.parametrize(
    ("name", "found"),
    [("macro_auc", "auc"), ("npv_F3", "npv"), ("accuracy_ge_F2", "accuracy"), ("ppv", "precision"),
     ("lr_plus_F1", "lr_plus"), ("balanced_accuracy", "balanced_accuracy"), ("slope", None)],
)  # fmt: skip
def test_the_record_of_a_metric_is_found_by_its_name(name: str, found: str | None) -> None:
    metric = catalogue.find(name)
    assert (metric.name if metric else None) == found


def test_no_two_records_share_a_name_or_a_label_and_each_has_a_sensible_range() -> None:
    for values in zip(*((metric.name, metric.label) for metric in catalogue.METRICS), strict=True):
        assert len(set(values)) == len(values)
    for metric in catalogue.METRICS:
        least, largest = metric.limits(5)
        assert least < largest
        assert not isinstance(metric.baseline, float) or least <= metric.baseline <= largest
        assert (metric.interval == "none") == bool(metric.note)
        assert (metric.counts is None) or metric.when_empty or not metric.by_class


def test_a_metric_of_which_lower_is_better_exceeds_its_baseline_from_below() -> None:
    metrics = pd.DataFrame(
        {"metric": ["mae"], "value": [0.5], "low": [0.4], "high": [0.6], "baseline": [1.2]}
    )
    (row,) = numbers.rows(metrics, ["mae"])
    assert (row.above_baseline, row.verdict) == (True, "below its baseline")
    (row,) = numbers.rows(metrics.assign(high=1.3), ["mae"])
    assert row.above_baseline is False
