"""The statistics of a comparison, against other packages, formulas and cases computed by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from fake_arms import BINARY, STAGES, TASK, compared, decided, of_test, one, predictions_of, score, two
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy.stats import binom, norm
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score, roc_curve
from statsmodels.stats.multitest import multipletests

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.comparison import comparison_table
from fibrolab.evaluation.comparison.arms import (
    AT_THRESHOLDS,
    END_POINTS,
    HEADLINE,
    Measure,
    Task,
    arm_from_runs,
    measured,
)
from fibrolab.evaluation.intervals import delong

ACCURACY = Measure(HEADLINE, "accuracy")


def test_values_of_an_arm_equal_those_of_scikit_learn():
    frames, arms = two()
    table, rows = compared(arms), of_test(frames[1])
    truth = rows[keys.Y_TRUE]
    assert one(table, "accuracy", against="")["value"] == pytest.approx(accuracy_score(truth, decided(rows)))
    kappa = cohen_kappa_score(truth, decided(rows), weights="quadratic")
    assert one(table, "qwk", against="")["value"] == pytest.approx(kappa)
    for name, lowest in TASK.endpoints.items():
        expected = roc_auc_score(truth >= lowest, score(rows, lowest))
        assert one(table, "auc", name, against="")["value"] == pytest.approx(expected)


def test_areas_of_one_row_a_patient_are_tested_as_by_mlstatkit():
    frames, arms = two()
    table = compared(arms)
    a, b = map(of_test, frames)
    ill = (a[keys.Y_TRUE] >= 2).to_numpy().astype(int)
    _, p = Delong_test(ill, score(b, 2), score(a, 2), return_ci=False, return_auc=False)
    row = one(table, "auc", "ge_F2")
    assert row["method"] == "DeLong"
    assert row["p"] == pytest.approx(p)


def test_accuracies_of_one_row_a_patient_are_tested_by_mcnemar_with_mid_p():
    frames, arms = two()
    a, b = (decided(rows) == rows[keys.Y_TRUE] for rows in map(of_test, frames))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    fewer, total = min(only_a, only_b), only_a + only_b
    row = one(compared(arms), "accuracy")
    assert row["method"] == "mid-p McNemar"
    assert row["p"] == pytest.approx(2 * binom.cdf(fewer, total, 0.5) - binom.pmf(fewer, total, 0.5))
    assert row["value"] == pytest.approx(b.mean() - a.mean())


def test_several_rows_a_patient_are_never_tested_by_plain_delong_or_mcnemar():
    _, arms = two(per_patient=4)
    table = compared(arms)
    assert one(table, "accuracy")["method"] == "paired bootstrap"
    assert one(table, "auc", "ge_F2")["method"] == "clustered DeLong (Obuchowski)"
    assert one(table, "accuracy")["groups"] == 30


def test_by_patient_each_patient_is_one_row_and_the_tests_are_the_plain_ones():
    frames = [predictions_of(skill, seed, 120, 4) for seed, skill in enumerate((1.0, 1.8))]
    arms = [
        arm_from_runs(name, [frame], TASK, by_patient=True) for name, frame in zip("ab", frames, strict=True)
    ]
    row = one(comparison_table.table(arms, TASK, "patient", resamples=50), "accuracy")
    assert (row["n"], row["groups"], row["method"], row["level"]) == (30, 30, "mid-p McNemar", "patient")


def test_thresholds_are_chosen_on_validation_and_never_on_test():
    frame = predictions_of(1.0, 0)
    seen, rows = predictions.select(frame, keys.VALIDATION), of_test(frame)
    false, true, cuts = roc_curve(seen[keys.Y_TRUE] >= 2, score(seen, 2), drop_intermediate=False)
    cut = cuts[np.argmax(true - false)]
    arm = arm_from_runs("a", [frame], TASK)
    assert np.array_equal(arm.predictions[0].positive["ge_F2"], score(rows, 2) >= cut)
    turned = frame.assign(**{keys.Y_TRUE: frame[keys.Y_TRUE].where(frame[keys.PARTITION] != keys.TEST, 0)})
    again = arm_from_runs("a", [turned], TASK).predictions[0].positive["ge_F2"]
    assert np.array_equal(arm.predictions[0].positive["ge_F2"], again)


def test_without_a_class_in_validation_there_is_a_note_instead_of_a_sensitivity():
    frame = predictions_of(1.0, 0)
    frame.loc[frame[keys.PARTITION] == keys.VALIDATION, keys.Y_TRUE] = 0
    arms = [arm_from_runs("a", [frame], TASK), arm_from_runs("b", [predictions_of(1.0, 1)], TASK)]
    row = one(compared(arms), "sensitivity", "ge_F2", against="", arm="a", family=AT_THRESHOLDS)
    assert np.isnan(row["value"])
    assert "validation gave no threshold" in row["note"]
    assert np.isnan(one(compared(arms), "sensitivity", "ge_F2", family=AT_THRESHOLDS)["p"])


def test_identical_arms_have_no_difference_p_1_and_no_number_of_patients():
    frame = predictions_of(1.0, 0, per_patient=2)
    arms = [arm_from_runs(name, [frame], TASK) for name in "ab"]
    rows = compared(arms)
    rows = rows[rows["against"] != ""]
    assert (rows["value"] == 0).all()
    assert (rows["p"] == 1).all()
    assert rows["needed"].isna().all()
    assert one(compared(arms), "accuracy")["note"].startswith("the arms do not differ")


def test_a_marker_is_compared_with_networks_on_the_patients_who_have_it():
    frames, arms = two()
    rows = of_test(frames[0])
    values = rows[keys.Y_TRUE] + np.random.default_rng(3).normal(size=len(rows))
    values = values.where(np.arange(len(rows)) % 3 > 0)
    known = values.notna().to_numpy()
    table = compared([*arms, comparison_table.marker("LSM", values.to_numpy(), arms[0], TASK)])
    ill = (rows[keys.Y_TRUE] >= 2).to_numpy()
    alone = one(table, "auc", "ge_F2", arm="LSM", against="")
    assert (alone["n"], alone["family"]) == (80, "comparators")
    assert alone["value"] == pytest.approx(roc_auc_score(ill[known], values[known]))
    row = one(table, "auc", "ge_F2", against="LSM")
    expected = delong.paired(
        delong.areas(np.stack([score(of_test(frames[1]), 2), values])[:, known], ill[known])
    )
    assert (row["value"], row["p"], row["n"]) == pytest.approx((expected.difference, expected.p, 80))
    assert set(table.loc[table["against"] == "LSM", "arm"]) == {"a", "b"}


def test_p_is_corrected_by_holm_within_each_table_and_patients_are_planned_only_without_significance():
    frames = [predictions_of(skill, seed, n=200) for seed, skill in enumerate((0.8, 1.0, 2.0))]
    table = compared([arm_from_runs(name, [frame], TASK) for name, frame in zip("abc", frames, strict=True)])
    tests = table[table["p_holm"].notna()]
    for _, family in tests.groupby("family"):
        assert list(family["p_holm"]) == pytest.approx(list(multipletests(family["p"], method="holm")[1]))
    assert tests.loc[tests["p_holm"] < 0.05, "needed"].isna().all()
    assert (tests["p_holm"] < 0.05).any()
    assert (tests.loc[tests["p_holm"] < 0.05, "note"] == "").all()  # no note on needed patients
    open_ones = tests[tests["p_holm"] >= 0.05]
    assert (open_ones["p"] < 0.05).any()
    assert open_ones.loc[open_ones["p"] < 0.05, "needed"].notna().all()


def test_the_needed_patients_give_the_planned_power():
    frames, arms = two(skills=(1.0, 1.1))
    a, b = map(of_test, frames)
    ill = (a[keys.Y_TRUE] >= 2).to_numpy()
    areas = delong.areas(np.stack([score(b, 2), score(a, 2)]), ill)
    variance = areas.covariance[0, 0] + areas.covariance[1, 1] - 2 * areas.covariance[0, 1]
    reach = norm.isf(0.05 / 3 / 2) + norm.isf(0.2)  # one of three end points
    row = one(compared(arms), "auc", "ge_F2")
    assert row["needed"] == np.ceil(120 * reach**2 * variance / row["value"] ** 2)


def test_two_cohorts_are_compared_by_unpaired_tests():
    a = arm_from_runs("a", [predictions_of(1.0, 0, cohort=1)], TASK)
    b = arm_from_runs("b", [predictions_of(1.8, 1, n=90, cohort=2)], TASK)
    table = compared([a, b], paired=False, resamples=4000)
    ill = [arm.labels >= 2 for arm in (b, a)]
    areas = [delong.areas(arm.predictions[0].scores["ge_F2"], y) for arm, y in zip((b, a), ill, strict=True)]
    expected = delong.unpaired(*areas)
    row = one(table, "auc", "ge_F2")
    assert (row["p"], row["low"], row["high"]) == pytest.approx((expected.p, expected.low, expected.high))
    row = one(table, "accuracy")
    assert (row["method"], row["groups"]) == ("bootstrap of each cohort", 210)
    accuracies = [measured(arm, TASK)[ACCURACY][0, 0] for arm in (a, b)]
    error = np.sqrt(accuracies[0] * (1 - accuracies[0]) / 120 + accuracies[1] * (1 - accuracies[1]) / 90)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_four_arms_are_compared_in_pairs_and_five_with_the_first_or_the_reference():
    arms = [arm_from_runs(name, [predictions_of(1.0, seed)], TASK) for seed, name in enumerate("abcde")]
    assert len(comparison_table.pairs(arms[:4])) == 6
    assert [(arm.name, against.name) for arm, against in comparison_table.pairs(arms)] == [
        (name, "a") for name in "bcde"
    ]
    named = {(arm.name, against.name) for arm, against in comparison_table.pairs(arms[:3], "b")}
    assert named == {("a", "b"), ("c", "b")}
    assert len(comparison_table.pairs(arms, comparison_table.ALL)) == 10


def test_a_class_absent_from_the_test_gives_notes_and_no_warning():
    frames = [predictions_of(1.0, seed) for seed in range(2)]
    frames = [frame[(frame[keys.PARTITION] != keys.TEST) | (frame[keys.Y_TRUE] < 4)] for frame in frames]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compared(
            [arm_from_runs(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)]
        )
    row = one(table, "auc", "ge_F4", against="", family=END_POINTS)
    assert np.isnan(row["value"])
    assert row["note"] == "the test part lacks a class that it needs"
    assert one(table, "auc", "ge_F4")["note"] == "not defined in both arms"
    assert np.isfinite(one(table, "accuracy")["p"])


@pytest.mark.parametrize("rows", [1, 6])
def test_a_single_patient_gives_no_interval_and_no_bootstrap(rows):
    frames = [predictions_of(1.0, seed) for seed in range(2)]
    frames = [frame[(frame[keys.PARTITION] != keys.TEST) | (frame.index < 120 + rows)] for frame in frames]
    frames = [frame.assign(**{keys.GROUP_ID: "one"}) for frame in frames]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compared(
            [arm_from_runs(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)]
        )
    assert np.isnan(one(table, "mae")["p"])
    row = one(table, "qwk", against="")
    assert np.isnan(row["low"])
    assert row["note"]


def test_two_classes_have_one_end_point_and_nominal_ones_have_none():
    classes = BINARY.classes
    arms = [arm_from_runs(n, [predictions_of(1.0, k, classes=classes)], BINARY) for k, n in enumerate("ab")]
    table = compared(arms, BINARY)
    assert set(table.loc[table["family"] == HEADLINE, "metric"]) == {"accuracy", "balanced_accuracy"}
    assert set(table.loc[table["family"] == END_POINTS, "of"]) == {"F2-F4"}
    nominal = Task(STAGES, False, {})
    table = compared(
        [arm_from_runs(n, [predictions_of(1.0, k)], nominal) for k, n in enumerate("ab")], nominal
    )
    assert set(table["family"]) == {HEADLINE, "classes", "anova"}
    assert "qwk" not in set(table["metric"])


def test_the_analysis_of_variance_has_a_note_on_its_assumptions():
    _, arms = two()
    row = compared(arms).set_index(["family", "of"]).loc[("anova", "models")]
    assert "make none of these assumptions" in row["note"]
    assert row["method"] == "one-way ANOVA, F(1, 8)"


@settings(max_examples=10)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 3]))
def test_the_order_of_the_predictions_changes_nothing(random, per_patient):
    frames = [predictions_of(1.0, seed, 60, per_patient) for seed in range(2)]
    order = list(range(len(frames[1])))
    random.shuffle(order)
    first = [arm_from_runs(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)]
    second = [first[0], arm_from_runs("b", [frames[1].iloc[order]], TASK)]
    tables = [compared(arms, resamples=20) for arms in (first, second)]
    pd.testing.assert_frame_equal(*tables)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([1, 3]))
def test_exchanging_the_arms_changes_the_sign_and_keeps_p(seed, per_patient):
    arms = [
        arm_from_runs(name, [predictions_of(1.0, seed + k, 60, per_patient)], TASK)
        for k, name in enumerate("ab")
    ]
    forth, back = (compared(pair, resamples=50) for pair in (arms, arms[::-1]))
    forth, back = (table[table["p_holm"].notna()].reset_index(drop=True) for table in (forth, back))
    np.testing.assert_allclose(forth["value"], -back["value"], atol=1e-12)
    np.testing.assert_allclose(forth["low"], -back["high"], atol=1e-12)
    np.testing.assert_allclose(forth["p"], back["p"])


@pytest.mark.parametrize("per_patient", [1, 2])
def test_arms_that_cannot_be_distinguished_need_more_patients_than_were_tested(per_patient):
    close = 0
    for seed in range(0, 40, 2):
        arms = [arm_from_runs(name, [predictions_of(skill, seed + k, 24, per_patient, cohort=seed)], TASK)
                for k, (name, skill) in enumerate((("a", 0.6), ("b", 1.6)))]  # fmt: skip
        table = compared(arms, resamples=100)
        open_ones = table[table["p_holm"] >= 0.05]
        assert not (open_ones["needed"] <= open_ones["groups"]).any()
        close += open_ones["note"].str.contains(comparison_table.AS_MANY).sum()
    assert close > 0 or per_patient == 1
