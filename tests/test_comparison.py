"""The statistics of a comparison, against other packages, formulas and cases computed by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from fake_arms import BINARY, STAGES, TASK, answers, of_test
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy.stats import binom, norm
from scipy.stats import t as student
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score, roc_curve
from statsmodels.stats.multitest import multipletests

from fibrolab import keys
from fibrolab.evaluation import comparison, predictions, roc
from fibrolab.evaluation.arms import (
    AT_THRESHOLDS,
    END_POINTS,
    HEADLINE,
    Measure,
    Task,
    drawn,
    gathered,
    measured,
)

ACCURACY = Measure(HEADLINE, "accuracy")


def two(n=120, per_patient=1, skills=(1.0, 1.8)):
    frames = [answers(skill, seed, n, per_patient) for seed, skill in enumerate(skills)]
    return frames, [gathered(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)]


def compared(arms, task=TASK, resamples=400, **how):
    return comparison.table(arms, task, "sample", resamples=resamples, **how)


def one(table, metric, of="", against="a", arm="b", family=None):
    rows = table[(table["metric"] == metric) & (table["of"] == of) & (table["arm"] == arm)]
    rows = rows[rows["against"] == against]
    rows = rows if family is None else rows[rows["family"] == family]
    assert len(rows) == 1
    return rows.iloc[0]


def decided(frame):
    return predictions.probabilities(frame).argmax(axis=1)


def score(frame, lowest):
    return predictions.probabilities(frame)[:, lowest:].sum(axis=1)


def test_the_numbers_of_an_arm_are_those_of_scikit_learn():
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
    frames = [answers(skill, seed, 120, 4) for seed, skill in enumerate((1.0, 1.8))]
    arms = [gathered(name, [frame], TASK, by_patient=True) for name, frame in zip("ab", frames, strict=True)]
    row = one(comparison.table(arms, TASK, "patient", resamples=50), "accuracy")
    assert (row["n"], row["groups"], row["method"], row["level"]) == (30, 30, "mid-p McNemar", "patient")


def test_thresholds_are_chosen_on_validation_and_never_on_test():
    frame = answers(1.0, 0)
    seen, rows = predictions.select(frame, keys.VALIDATION), of_test(frame)
    false, true, cuts = roc_curve(seen[keys.Y_TRUE] >= 2, score(seen, 2), drop_intermediate=False)
    cut = cuts[np.argmax(true - false)]
    arm = gathered("a", [frame], TASK)
    assert np.array_equal(arm.answers[0].positive["ge_F2"], score(rows, 2) >= cut)
    turned = frame.assign(**{keys.Y_TRUE: frame[keys.Y_TRUE].where(frame[keys.PARTITION] != keys.TEST, 0)})
    again = gathered("a", [turned], TASK).answers[0].positive["ge_F2"]
    assert np.array_equal(arm.answers[0].positive["ge_F2"], again)


def test_without_a_side_in_validation_there_is_no_sensitivity_and_the_reason_is_told():
    frame = answers(1.0, 0)
    frame.loc[frame[keys.PARTITION] == keys.VALIDATION, keys.Y_TRUE] = 0
    arms = [gathered("a", [frame], TASK), gathered("b", [answers(1.0, 1)], TASK)]
    row = one(compared(arms), "sensitivity", "ge_F2", against="", arm="a", family=AT_THRESHOLDS)
    assert np.isnan(row["value"])
    assert "validation gave no threshold" in row["note"]
    assert np.isnan(one(compared(arms), "sensitivity", "ge_F2", family=AT_THRESHOLDS)["p"])


def test_identical_arms_differ_by_nothing_with_p_1_and_no_number_of_patients():
    frame = answers(1.0, 0, per_patient=2)
    arms = [gathered(name, [frame], TASK) for name in "ab"]
    rows = compared(arms)
    rows = rows[rows["against"] != ""]
    assert (rows["value"] == 0).all()
    assert (rows["p"] == 1).all()
    assert rows["needed"].isna().all()
    assert one(compared(arms), "accuracy")["note"].startswith("the arms do not differ")


def test_an_arm_of_seeds_is_their_mean_and_its_spread_is_told():
    frames = [answers(1.2, seed) for seed in range(3)]
    arms = [gathered("a", [answers(1.0, 9)], TASK), gathered("b", frames, TASK)]
    shares = [accuracy_score(rows[keys.Y_TRUE], decided(rows)) for rows in map(of_test, frames)]
    row = one(compared(arms), "accuracy", against="")
    assert row["value"] == pytest.approx(np.mean(shares))
    assert row["sd"] == pytest.approx(np.std(shares, ddof=1))
    assert one(compared(arms), "auc", "ge_F2")["method"] == "t over patients and trainings"


def test_the_interval_of_a_mean_of_seeds_holds_patients_and_seeds():
    frames = [answers(skill, seed, n=300) for seed, skill in enumerate((0.8, 1.2, 1.6))]
    arms = [gathered("a", [answers(1.0, 9, n=300)], TASK), gathered("b", frames, TASK)]
    draws = drawn(arms[1], TASK, 400, seed=0)[ACCURACY]
    shares = measured(arms[1], TASK)[ACCURACY][:, 0]
    patients, seeds = draws.var(ddof=1), shares.var(ddof=1) / 3
    df = (patients + seeds) ** 2 / (patients**2 / 299 + seeds**2 / 2)
    half = student.isf(0.025, df) * np.sqrt(patients + seeds)
    row = one(compared(arms), "accuracy", against="")
    assert (row["low"], row["high"]) == pytest.approx((shares.mean() - half, shares.mean() + half))


def test_one_lucky_seed_does_not_make_an_arm_better():
    lucky = [answers(skill, seed, n=400) for seed, skill in enumerate((0.9, 0.9, 2.4))]
    alone = compared([gathered("a", [answers(0.9, 8, n=400)], TASK), gathered("b", lucky[2:], TASK)])
    together = compared([gathered("a", [answers(0.9, 8, n=400)], TASK), gathered("b", lucky, TASK)])
    assert one(alone, "accuracy")["p"] < 0.01
    assert one(together, "accuracy")["p"] > 0.05


def folded(skill, seed, folds=4, n=160):
    """One frame a fold: each tests its own share of the samples."""
    whole = answers(skill, seed, n=n)
    rows = of_test(whole)
    home = np.arange(len(rows)) % folds
    validation = predictions.select(whole, keys.VALIDATION)
    return [pd.concat([validation, rows[home == fold]], ignore_index=True) for fold in range(folds)]


def test_folds_are_pooled_and_the_t_test_over_folds_is_nadeau_and_bengio_s():
    frames = {name: folded(skill, seed) for seed, (name, skill) in enumerate({"a": 1.0, "b": 1.4}.items())}
    arms = [gathered(name, each, TASK, folds=True) for name, each in frames.items()]
    arms = [comparison_with_sizes(arm) for arm in arms]
    shares = {
        name: np.array([accuracy_score(rows[keys.Y_TRUE], decided(rows)) for rows in map(of_test, each)])
        for name, each in frames.items()
    }
    table = compared(arms)
    mean = one(table, "accuracy", against="", family="folds")
    assert (mean["value"], mean["sd"]) == pytest.approx((shares["b"].mean(), shares["b"].std(ddof=1)))
    gaps = shares["b"] - shares["a"]
    error = gaps.std(ddof=1) * np.sqrt(1 / 4 + 40 / 120)
    row = one(table, "accuracy", family="folds")
    assert row["p"] == pytest.approx(2 * student.sf(abs(gaps.mean() / error), 3))
    assert one(table, "accuracy", family=HEADLINE)["n"] == 160


def comparison_with_sizes(arm):
    from dataclasses import replace

    return replace(arm, sizes=(120.0, 40.0))


def test_each_fold_answers_by_the_threshold_of_its_own_validation():
    frames = folded(1.0, 0, folds=2)
    low = frames[1].loc[frames[1][keys.PARTITION] == keys.VALIDATION].index
    frames[1] = frames[1].drop(low[10:])
    arm = gathered("a", frames, TASK, folds=True)
    for fold, frame in enumerate(frames):
        alone = gathered("a", [frame], TASK)
        rows = np.flatnonzero(arm.folds == fold)
        assert list(arm.samples[rows]) == list(alone.samples)
        for name in TASK.endpoints:
            whole = arm.answers[0].positive[name]
            assert np.array_equal(whole[rows], alone.answers[0].positive[name])


def test_a_marker_is_held_against_the_networks_on_the_patients_who_have_it():
    frames, arms = two()
    rows = of_test(frames[0])
    values = rows[keys.Y_TRUE] + np.random.default_rng(3).normal(size=len(rows))
    values = values.where(np.arange(len(rows)) % 3 > 0)
    known = values.notna().to_numpy()
    table = compared([*arms, comparison.marker("LSM", values.to_numpy(), arms[0], TASK)])
    ill = (rows[keys.Y_TRUE] >= 2).to_numpy()
    alone = one(table, "auc", "ge_F2", arm="LSM", against="")
    assert (alone["n"], alone["family"]) == (80, "comparators")
    assert alone["value"] == pytest.approx(roc_auc_score(ill[known], values[known]))
    row = one(table, "auc", "ge_F2", against="LSM")
    expected = roc.paired(roc.areas(np.stack([score(of_test(frames[1]), 2), values])[:, known], ill[known]))
    assert (row["value"], row["p"], row["n"]) == pytest.approx((expected.difference, expected.p, 80))
    assert set(table.loc[table["against"] == "LSM", "arm"]) == {"a", "b"}


def test_p_is_corrected_by_holm_within_each_table_and_patients_are_planned_only_where_it_fails():
    frames = [answers(skill, seed, n=200) for seed, skill in enumerate((0.8, 1.0, 2.0))]
    table = compared([gathered(name, [frame], TASK) for name, frame in zip("abc", frames, strict=True)])
    tests = table[table["p_holm"].notna()]
    for _, family in tests.groupby("family"):
        assert list(family["p_holm"]) == pytest.approx(list(multipletests(family["p"], method="holm")[1]))
    assert tests.loc[tests["p_holm"] < 0.05, "needed"].isna().all()
    assert (tests["p_holm"] < 0.05).any()
    assert tests.loc[tests["p_holm"] >= 0.05, "needed"].notna().any()


def test_the_patients_needed_shrink_the_error_to_what_power_asks_for():
    frames, arms = two(skills=(1.0, 1.1))
    a, b = map(of_test, frames)
    ill = (a[keys.Y_TRUE] >= 2).to_numpy()
    areas = roc.areas(np.stack([score(b, 2), score(a, 2)]), ill)
    variance = areas.covariance[0, 0] + areas.covariance[1, 1] - 2 * areas.covariance[0, 1]
    reach = norm.isf(0.025) + norm.isf(0.2)
    row = one(compared(arms), "auc", "ge_F2")
    assert row["needed"] == np.ceil(120 * reach**2 * variance / row["value"] ** 2)


def test_two_cohorts_are_compared_by_unpaired_tests():
    a = gathered("a", [answers(1.0, 0, cohort=1)], TASK)
    b = gathered("b", [answers(1.8, 1, n=90, cohort=2)], TASK)
    table = compared([a, b], paired=False, resamples=4000)
    ill = [arm.labels >= 2 for arm in (b, a)]
    areas = [roc.areas(arm.answers[0].scores["ge_F2"], y) for arm, y in zip((b, a), ill, strict=True)]
    expected = roc.unpaired(*areas)
    row = one(table, "auc", "ge_F2")
    assert (row["p"], row["low"], row["high"]) == pytest.approx((expected.p, expected.low, expected.high))
    row = one(table, "accuracy")
    assert (row["method"], row["groups"]) == ("bootstrap of each cohort", 210)
    shares = [measured(arm, TASK)[ACCURACY][0, 0] for arm in (a, b)]
    error = np.sqrt(shares[0] * (1 - shares[0]) / 120 + shares[1] * (1 - shares[1]) / 90)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_every_pair_of_four_arms_is_tested_and_of_five_each_against_the_first_or_the_reference():
    arms = [gathered(name, [answers(1.0, seed)], TASK) for seed, name in enumerate("abcde")]
    assert len(comparison.pairs(arms[:4])) == 6
    assert [(arm.name, against.name) for arm, against in comparison.pairs(arms)] == [
        (name, "a") for name in "bcde"
    ]
    named = {(arm.name, against.name) for arm, against in comparison.pairs(arms[:3], "b")}
    assert named == {("a", "b"), ("c", "b")}


def test_a_class_absent_from_the_test_gives_no_number_but_a_reason_and_no_warning():
    frames = [answers(1.0, seed) for seed in range(2)]
    frames = [frame[(frame[keys.PARTITION] != keys.TEST) | (frame[keys.Y_TRUE] < 4)] for frame in frames]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compared([gathered(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)])
    row = one(table, "auc", "ge_F4", against="", family=END_POINTS)
    assert np.isnan(row["value"])
    assert row["note"] == "the test lacks a class that it needs"
    assert one(table, "auc", "ge_F4")["note"] == "not defined in both arms"
    assert np.isfinite(one(table, "accuracy")["p"])


@pytest.mark.parametrize("rows", [1, 6])
def test_one_patient_alone_gives_no_interval_and_no_bootstrap(rows):
    frames = [answers(1.0, seed) for seed in range(2)]
    frames = [frame[(frame[keys.PARTITION] != keys.TEST) | (frame.index < 120 + rows)] for frame in frames]
    frames = [frame.assign(**{keys.GROUP_ID: "one"}) for frame in frames]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compared([gathered(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)])
    assert np.isnan(one(table, "mae")["p"])
    row = one(table, "qwk", against="")
    assert np.isnan(row["low"])
    assert row["note"]


def test_two_classes_have_their_second_as_the_end_point_and_nominal_ones_have_none():
    classes = BINARY.classes
    arms = [gathered(n, [answers(1.0, k, classes=classes)], BINARY) for k, n in enumerate("ab")]
    table = compared(arms, BINARY)
    assert set(table.loc[table["family"] == HEADLINE, "metric"]) == {"accuracy", "balanced_accuracy"}
    assert set(table.loc[table["family"] == END_POINTS, "of"]) == {"F2-F4"}
    nominal = Task(STAGES, False, {})
    table = compared([gathered(n, [answers(1.0, k)], nominal) for k, n in enumerate("ab")], nominal)
    assert set(table["family"]) == {HEADLINE, "classes", "anova"}
    assert "qwk" not in set(table["metric"])


def test_the_analysis_of_variance_says_what_it_ignores():
    _, arms = two()
    row = compared(arms).set_index(["family", "of"]).loc[("anova", "models")]
    assert "paired bootstrap" in row["note"]
    assert row["method"] == "one-way ANOVA, F(1, 8)"


@settings(max_examples=10)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 3]))
def test_the_order_of_the_predictions_changes_nothing(random, per_patient):
    frames = [answers(1.0, seed, 60, per_patient) for seed in range(2)]
    order = list(range(len(frames[1])))
    random.shuffle(order)
    first = [gathered(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)]
    second = [first[0], gathered("b", [frames[1].iloc[order]], TASK)]
    tables = [compared(arms, resamples=20) for arms in (first, second)]
    pd.testing.assert_frame_equal(*tables)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([1, 3]))
def test_exchanging_the_arms_turns_the_sign_and_keeps_p(seed, per_patient):
    arms = [gathered(name, [answers(1.0, seed + k, 60, per_patient)], TASK) for k, name in enumerate("ab")]
    forth, back = (compared(pair, resamples=50) for pair in (arms, arms[::-1]))
    forth, back = (table[table["p_holm"].notna()].reset_index(drop=True) for table in (forth, back))
    np.testing.assert_allclose(forth["value"], -back["value"], atol=1e-12)
    np.testing.assert_allclose(forth["low"], -back["high"], atol=1e-12)
    np.testing.assert_allclose(forth["p"], back["p"])
