"""Arms of several trainings: seeds are averaged, folds are pooled, and their SD is given."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_arms import TASK, compared, decided, of_test, one, predictions_of
from scipy.stats import t as student
from sklearn.metrics import accuracy_score

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.comparison.arms import (
    CLASSES,
    HEADLINE,
    Measure,
    arm_from_runs,
    measured,
    resampled_values,
)
from fibrolab.evaluation.comparison.contrasts import ONE_TRAINING, TWO
from fibrolab.evaluation.comparison.training_seeds import TOO_WIDE
from fibrolab.evaluation.intervals import proportions

ACCURACY = Measure(HEADLINE, "accuracy")


def test_an_arm_of_seeds_has_their_mean_and_sd():
    frames = [predictions_of(1.2, seed) for seed in range(3)]
    arms = [arm_from_runs("a", [predictions_of(1.0, 9)], TASK), arm_from_runs("b", frames, TASK)]
    accuracies = [accuracy_score(rows[keys.Y_TRUE], decided(rows)) for rows in map(of_test, frames)]
    row = one(compared(arms), "accuracy", against="")
    assert row["value"] == pytest.approx(np.mean(accuracies))
    assert row["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert one(compared(arms), "auc", "ge_F2")["method"] == "t over patients and trainings"


def test_the_interval_of_a_mean_of_seeds_includes_patients_and_seeds():
    frames = [predictions_of(skill, seed, n=300) for seed, skill in enumerate((0.8, 1.2, 1.6))]
    arms = [arm_from_runs("a", [predictions_of(1.0, 9, n=300)], TASK), arm_from_runs("b", frames, TASK)]
    draws = resampled_values(arms[1], TASK, 400, seed=0)[ACCURACY]
    accuracies = measured(arms[1], TASK)[ACCURACY][:, 0]
    patients, between = draws.mean(axis=0).var(ddof=1), accuracies.var(ddof=1) / 3
    within = (draws - draws.mean(axis=0)).var(axis=1, ddof=1).sum() / (3 * 2)  # of patients, by training
    patients, within = patients * 300 / 299, within * 300 / 299
    variance = patients + between - within
    df = variance**2 / (patients**2 / 299 + between**2 / 2)
    half = student.isf(0.025, df) * np.sqrt(variance)
    row = one(compared(arms), "accuracy", against="")
    assert (row["low"], row["high"]) == pytest.approx((accuracies.mean() - half, accuracies.mean() + half))


def test_one_good_seed_does_not_make_an_arm_significantly_better():
    lucky = [predictions_of(skill, seed, n=400) for seed, skill in enumerate((0.9, 0.9, 2.4))]
    alone = compared(
        [arm_from_runs("a", [predictions_of(0.9, 8, n=400)], TASK), arm_from_runs("b", lucky[2:], TASK)]
    )
    together = compared(
        [arm_from_runs("a", [predictions_of(0.9, 8, n=400)], TASK), arm_from_runs("b", lucky, TASK)]
    )
    assert one(alone, "accuracy")["p"] < 0.01
    assert one(together, "accuracy")["p"] > 0.05


def folded(skill, seed, folds=4, n=160):
    """One frame a fold, each with its own test samples."""
    whole = predictions_of(skill, seed, n=n)
    rows = of_test(whole)
    home = np.arange(len(rows)) % folds
    validation = predictions.select(whole, keys.VALIDATION)
    return [pd.concat([validation, rows[home == fold]], ignore_index=True) for fold in range(folds)]


def test_folds_are_pooled_and_tested_by_the_corrected_resampled_t_test():
    frames = {name: folded(skill, seed) for seed, (name, skill) in enumerate({"a": 1.0, "b": 1.4}.items())}
    arms = [arm_from_runs(name, each, TASK, folds=True) for name, each in frames.items()]
    arms = [replace(arm, sizes=(120.0, 40.0)) for arm in arms]
    accuracies = {
        name: np.array([accuracy_score(rows[keys.Y_TRUE], decided(rows)) for rows in map(of_test, each)])
        for name, each in frames.items()
    }
    table = compared(arms)
    mean = one(table, "accuracy", against="", family="folds")
    assert (mean["value"], mean["sd"]) == pytest.approx((accuracies["b"].mean(), accuracies["b"].std(ddof=1)))
    gaps = accuracies["b"] - accuracies["a"]
    error = gaps.std(ddof=1) * np.sqrt(1 / 4 + 40 / 120)
    row = one(table, "accuracy", family="folds")
    assert row["p"] == pytest.approx(2 * student.sf(abs(gaps.mean() / error), 3))
    assert one(table, "accuracy", family=HEADLINE)["n"] == 160


def test_each_fold_uses_the_threshold_of_its_own_validation():
    frames = folded(1.0, 0, folds=2)
    low = frames[1].loc[frames[1][keys.PARTITION] == keys.VALIDATION].index
    frames[1] = frames[1].drop(low[10:])
    arm = arm_from_runs("a", frames, TASK, folds=True)
    for fold, frame in enumerate(frames):
        alone = arm_from_runs("a", [frame], TASK)
        rows = np.flatnonzero(arm.folds == fold)
        assert list(arm.samples[rows]) == list(alone.samples)
        for name in TASK.endpoints:
            whole = arm.predictions[0].positive[name]
            assert np.array_equal(whole[rows], alone.predictions[0].positive[name])


def test_arms_with_different_folds_are_not_compared_fold_by_fold():
    first, second = folded(1.0, 0), folded(1.4, 1, folds=5)
    arms = [arm_from_runs(name, each, TASK, folds=True) for name, each in (("a", first), ("b", second))]
    row = one(compared([replace(arm, sizes=(120.0, 40.0)) for arm in arms]), "accuracy", family="folds")
    assert np.isnan(row["p"])
    assert row["note"] == "the arms have different folds, which cannot be paired"


def test_the_interval_of_a_mean_of_trainings_stays_within_the_range_of_the_measure():
    table = compared([arm_from_runs("a", [predictions_of(9.0, k, n=20) for k in range(2)], TASK),
                      arm_from_runs("b", [predictions_of(0.0, k, n=20) for k in (2, 3)], TASK)])  # fmt: skip
    alone = table[(table["against"] == "") & table["low"].notna()]
    ends = alone[alone["metric"] != "qwk"]
    assert (ends["low"] >= 0).all()
    assert (ends.loc[ends["metric"] != "mae", "high"] <= 1).all()
    assert one(table, "qwk", against="")["low"] < 0  # worse than chance is possible


def with_correct_f4(frame):
    """The frame with all samples of F4 predicted correctly."""
    frame = frame.copy()
    frame.loc[frame[keys.Y_TRUE] == 4, keys.probability_columns(5)] = [0.0, 0.0, 0.0, 0.0, 1.0]
    return frame


def test_a_proportion_of_1_in_all_trainings_has_wilsons_interval():
    arms = [arm_from_runs(name, [with_correct_f4(predictions_of(1.2, seed + k)) for k in range(2)], TASK)
            for seed, name in ((0, "a"), (5, "b"))]  # fmt: skip
    table = compared(arms)
    row = one(table, "sensitivity", "F4", against="", family=CLASSES)
    n = int((arms[0].labels == 4).sum())
    assert (row["value"], row["low"], row["high"]) == (1, *proportions.wilson(n, n))
    gap = one(table, "sensitivity", "F4", family=CLASSES)
    assert (gap["value"], gap["p"]) == (0, 1)
    assert np.isnan(gap["low"])
    assert gap["note"].startswith("the arms do not differ")


def test_a_constant_measure_that_is_not_a_proportion_has_a_note_instead_of_an_interval():
    right = predictions_of(1.2, 0)
    right[keys.probability_columns(5)] = np.eye(5)[right[keys.Y_TRUE]]
    for frames in ([right], [right, right]):
        table = compared(
            [arm_from_runs("a", [predictions_of(1.2, 1)], TASK), arm_from_runs("b", frames, TASK)]
        )
        row = one(table, "qwk", against="")
        assert row["value"] == 1
        assert np.isnan(row["low"])
        assert "every resample gives the same value" in row["note"]


@pytest.mark.parametrize(
    ("trainings", "skills", "why"),
    [
        ((1, 2), (0.3, 3.0), f"{ONE_TRAINING}; {TWO}"),
        ((1, 3), (0.9, 1.1, 1.0), ONE_TRAINING),
        ((2, 2), (0.3, 3.0), TOO_WIDE),
    ],
)
def test_an_interval_wider_than_the_range_of_the_measure_is_not_given(trainings, skills, why):
    arms = [
        arm_from_runs(name, [predictions_of(skills[k], seed + k) for k in range(count)], TASK)
        for (name, seed), count in zip((("a", 10), ("b", 20)), trainings, strict=True)
    ]
    row = one(compared(arms), "accuracy")
    assert np.isfinite(row["p"])
    assert row["note"].startswith(why)
    assert np.isnan(row["low"]) == ("no interval" in why)
