import numpy as np
import pandas as pd
import pytest

from fibrolab.evaluation import bootstrap, intervals, roc, shares

STAGES = ("F0", "F1", "F2")


def made_up(n=90, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(3, size=n)
    probabilities = rng.dirichlet(np.ones(3), n)
    probabilities[np.arange(n), y_true] += 0.5
    return y_true, probabilities / probabilities.sum(axis=1, keepdims=True)


def by(name, table):
    return table.loc[name, ["low", "high"]].to_numpy(float)


def test_shares_take_wilsons_interval_areas_delongs_and_the_rest_the_bootstraps():
    y_true, probabilities = made_up()
    groups = np.arange(90).astype(str)
    table = intervals.table(y_true, probabilities, groups, STAGES, 200, end_points={"ge_F1": 1})
    right = probabilities.argmax(axis=1) == y_true
    assert by("accuracy", table) == pytest.approx(shares.wilson(right.sum(), 90))
    wanted = roc.estimate(probabilities[:, 2], y_true == 2)
    assert by("auc_F2", table) == pytest.approx((wanted.low, wanted.high))
    wanted = roc.estimate(probabilities[:, 1:].sum(axis=1), y_true >= 1)
    assert by("auc_ge_F1", table) == pytest.approx((wanted.low, wanted.high))
    assert set(table.loc[["accuracy", "npv_F0", "sensitivity_ge_F1"], "method"]) == {"Wilson"}
    assert set(table.loc[["auc_F0", "auc_ge_F1"], "method"]) == {"logit DeLong"}
    assert table.loc["qwk", "method"] == "BCa"
    drawn = bootstrap.intervals(y_true, probabilities, groups, STAGES, 200)
    assert by("qwk", table) == pytest.approx(drawn.loc["qwk", ["bca_low", "bca_high"]].to_numpy(float))
    assert 0.9 < table.loc["qwk", "coverage"] < 0.97  # as it was simulated
    ninety = intervals.table(y_true, probabilities, groups, STAGES, 200, level=0.9)
    assert ninety["coverage"].isna().all()
    pd.testing.assert_series_equal(
        table.loc[drawn.index, "bca_low"].drop("ece"), drawn["bca_low"].drop("ece")
    )
    assert np.isnan(table.loc["ece", "low"])
    assert "chance alone" in table.loc["ece", "note"]


def test_several_samples_a_group_take_the_clustered_forms_and_wider_intervals():
    y_true, probabilities = (np.repeat(values, 3, axis=0) for values in made_up())
    groups = np.repeat(np.arange(90), 3).astype(str)
    table = intervals.table(y_true, probabilities, groups, STAGES, 200)
    assert table.loc["accuracy", "method"] == "clustered Wilson"
    assert table.loc["auc_F0", "method"] == "logit clustered DeLong"
    blind = intervals.table(y_true, probabilities, np.arange(270).astype(str), STAGES, 200)
    for name in ("accuracy", "auc_F0", "qwk"):
        assert np.diff(by(name, blind)) < 0.75 * np.diff(by(name, table))


def test_a_perfect_answer_is_not_perfectly_sure():
    y_true = np.arange(60) % 3
    table = intervals.table(y_true, np.eye(3)[y_true], np.arange(60).astype(str), STAGES, 200)
    for name in ("accuracy", "sensitivity_F1", "auc_F1"):
        assert table.loc[name, "value"] == 1.0
        assert table.loc[name, "low"] < 0.97
    assert np.isnan(table.loc["qwk", "low"])
    assert "every resample gives the same value" in table.loc["qwk", "note"]


def test_what_is_not_defined_says_why():
    y_true, probabilities = made_up()
    without = np.where(y_true == 2, 1, y_true)
    table = intervals.table(without, probabilities, np.arange(90).astype(str), STAGES, 200)
    for name in ("sensitivity_F2", "auc_F2", "f1_F2"):
        row = table.loc[name]
        assert np.isnan(row["low"])
        assert row["note"] or np.isfinite(row["value"])
    with pytest.warns(UserWarning, match="One group only"):
        single = intervals.table(y_true, probabilities, np.zeros(90).astype(str), STAGES, 200)
    assert single.loc["qwk", "note"] == intervals.ALONE
