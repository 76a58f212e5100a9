import numpy as np
import pandas as pd
import pytest

from fibrolab.evaluation.intervals import bootstrap, by_metric, delong, proportions

STAGES = ("F0", "F1", "F2")


def made_up(n=90, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(3, size=n)
    probabilities = rng.dirichlet(np.ones(3), n)
    probabilities[np.arange(n), y_true] += 0.5
    return y_true, probabilities / probabilities.sum(axis=1, keepdims=True)


def by(name, table):
    return table.loc[name, ["low", "high"]].to_numpy(float)


def test_proportions_have_wilsons_interval_areas_delongs_and_others_the_bootstraps():
    y_true, probabilities = made_up()
    groups = np.arange(90).astype(str)
    table = by_metric.table(y_true, probabilities, groups, STAGES, 200, end_points={"ge_F1": 1})
    right = probabilities.argmax(axis=1) == y_true
    assert by("accuracy", table) == pytest.approx(proportions.wilson(right.sum(), 90))
    wanted = delong.estimate(probabilities[:, 2], y_true == 2)
    assert by("auc_F2", table) == pytest.approx((wanted.low, wanted.high))
    wanted = delong.estimate(probabilities[:, 1:].sum(axis=1), y_true >= 1)
    assert by("auc_ge_F1", table) == pytest.approx((wanted.low, wanted.high))
    assert set(table.loc[["accuracy", "npv_F0", "sensitivity_ge_F1"], "method"]) == {"Wilson"}
    assert set(table.loc[["auc_F0", "auc_ge_F1"], "method"]) == {"logit DeLong"}
    assert table.loc["qwk", "method"] == "BCa"
    drawn = bootstrap.intervals(y_true, probabilities, groups, STAGES, 200)
    assert by("qwk", table) == pytest.approx(drawn.loc["qwk", ["bca_low", "bca_high"]].to_numpy(float))
    assert 0.9 < table.loc["qwk", "coverage"] < 0.97  # as it was simulated
    ninety = by_metric.table(y_true, probabilities, groups, STAGES, 200, level=0.9)
    assert ninety["coverage"].isna().all()
    pd.testing.assert_series_equal(
        table.loc[drawn.index, "bca_low"].drop("ece"), drawn["bca_low"].drop("ece")
    )
    assert np.isnan(table.loc["ece", "low"])
    assert "chance alone" in table.loc["ece", "note"]


def test_several_samples_a_group_have_clustered_and_wider_intervals():
    y_true, probabilities = (np.repeat(values, 3, axis=0) for values in made_up())
    groups = np.repeat(np.arange(90), 3).astype(str)
    table = by_metric.table(y_true, probabilities, groups, STAGES, 200)
    assert table.loc["accuracy", "method"] == "clustered Wilson"
    assert table.loc["auc_F0", "method"] == "logit clustered DeLong"
    blind = by_metric.table(y_true, probabilities, np.arange(270).astype(str), STAGES, 200)
    for name in ("accuracy", "auc_F0", "qwk"):
        assert np.diff(by(name, blind)) < 0.75 * np.diff(by(name, table))


def test_a_perfect_prediction_has_an_interval_with_a_width():
    y_true = np.arange(60) % 3
    table = by_metric.table(y_true, np.eye(3)[y_true], np.arange(60).astype(str), STAGES, 200)
    for name in ("accuracy", "sensitivity_F1", "auc_F1"):
        assert table.loc[name, "value"] == 1.0
        assert table.loc[name, "low"] < 0.97
    assert np.isnan(table.loc["qwk", "low"])
    assert "every resample gives the same value" in table.loc["qwk", "note"]


def test_undefined_values_have_a_note():
    y_true, probabilities = made_up()
    without = np.where(y_true == 2, 1, y_true)
    table = by_metric.table(without, probabilities, np.arange(90).astype(str), STAGES, 200)
    for name in ("sensitivity_F2", "auc_F2", "f1_F2"):
        row = table.loc[name]
        assert np.isnan(row["low"])
        assert row["note"] or np.isfinite(row["value"])
    single = by_metric.table(y_true, probabilities, np.zeros(90).astype(str), STAGES, 200)
    assert single.loc["qwk", "note"] == by_metric.ONE_GROUP


def test_averages_have_a_note_on_absent_classes():
    y_true, probabilities = made_up()
    here = y_true < 2
    groups = np.arange(here.sum()).astype(str)
    table = by_metric.table(y_true[here], probabilities[here], groups, STAGES, 50)
    averages = ["macro_auc", "weighted_f1", "balanced_accuracy", "obuchowski"]
    assert (
        table.loc[averages, "note"]
        .str.contains("no sample of F2: averaged over the classes that are present")
        .all()
    )
    assert table.loc[["accuracy", "qwk", "auc_F0"], "note"].eq("").all()
    full = by_metric.table(y_true, probabilities, np.arange(90).astype(str), STAGES, 50)
    assert not full["note"].str.contains("no sample of").any()


def test_averages_have_no_interval_where_too_few_groups_hold_a_class():
    y_true, probabilities = made_up()
    rare = (y_true < 2) | (np.cumsum(y_true == 2) <= 1)  # one sample of F2
    groups = np.arange(rare.sum()).astype(str)
    table = by_metric.table(y_true[rare], probabilities[rare], groups, STAGES, 200)
    for name in ("macro_auc", "macro_f1", "balanced_accuracy", "obuchowski"):
        assert np.isfinite(table.loc[name, "value"])
        assert np.isnan(table.loc[name, "low"])  # it covered 59 %, averaging over whatever was drawn
        assert table.loc[name, "note"] == by_metric.FEW
    assert np.isfinite(table.loc["weighted_auc", "low"])


def test_a_proportion_with_one_counted_sample_a_group_has_the_coverage_of_independent_samples():
    y_true = np.array([0, 1, 2] * 20 + [0, 0])
    answer = np.where(np.arange(62) % 7 == 0, (y_true + 1) % 3, y_true)
    groups = np.r_[np.arange(60), [60, 60]].astype(str)  # the last two samples are of one patient, of F0
    table = by_metric.table(y_true, 0.1 + 0.7 * np.eye(3)[answer], groups, STAGES, 20)
    assert table.loc["sensitivity_F1", "method"] == "Wilson"
    alone = by_metric.table(y_true, 0.1 + 0.7 * np.eye(3)[answer], np.arange(62).astype(str), STAGES, 20)
    assert table.loc["sensitivity_F1", "coverage"] == alone.loc["sensitivity_F1", "coverage"]
    assert table.loc["accuracy", "method"] == "clustered Wilson"


def test_equal_losses_have_no_interval():
    y_true = np.arange(30) % 3
    table = by_metric.table(y_true, np.full((30, 3), 1 / 3), np.arange(30).astype(str), STAGES, 50)
    assert np.isnan(table.loc["log_loss", "low"])
    assert table.loc["log_loss", "note"] == by_metric.AGREEING


def test_with_two_classes_every_average_of_areas_is_the_area():
    y_true = np.arange(40) % 2
    for probability in (np.linspace(0.1, 0.9, 40) + 0.02 * y_true, 0.2 + 0.6 * y_true):  # medium, perfect
        both = np.column_stack([1 - probability, probability])
        table = by_metric.table(y_true, both, np.arange(40).astype(str), ("no", "yes"), 50)
        for name in ("macro_auc", "weighted_auc"):
            assert table.loc[name, "value"] == pytest.approx(table.loc["auc", "value"])
            assert by(name, table) == pytest.approx(by("auc", table))
            assert (
                table.loc[name, ["method", "note"]].tolist() == table.loc["auc", ["method", "note"]].tolist()
            )
        assert np.isfinite(by("macro_auc", table)).all()
