"""Measures of an arm of a comparison, and their intervals."""

import numpy as np
import pytest
from fake_arms import BINARY, STAGES, TASK, compared, decided, of_test, one, predictions_of, two
from fake_arms import score as reached
from sklearn.metrics import mean_absolute_error, recall_score

from fibrolab import keys
from fibrolab.evaluation import patients, predictions, score
from fibrolab.evaluation.comparison.arms import (
    AT_THRESHOLDS,
    CLASSES,
    END_POINTS,
    HEADLINE,
    arm_from_runs,
)
from fibrolab.evaluation.intervals import delong, proportions
from fibrolab.evaluation.measures import operating_points
from fibrolab.evaluation.measures.thresholds import YOUDEN, chosen


def called(frame, lowest):
    """Decisions on the test rows by the threshold of the frame's own validation part."""
    seen = predictions.select(frame, keys.VALIDATION)
    threshold = chosen(reached(seen, lowest), (seen[keys.Y_TRUE] >= lowest).to_numpy(), YOUDEN)
    return threshold.is_positive(reached(of_test(frame), lowest))


def test_without_validation_end_points_are_decided_at_one_half():
    frame = of_test(predictions_of(1.0, 0))
    (prediction,) = arm_from_runs("a", [frame], TASK).predictions
    for name, lowest in TASK.endpoints.items():
        assert np.array_equal(prediction.positive[name], reached(frame, lowest) > 0.5)


def numbers(row):
    return row["value"], row["low"], row["high"], row["method"]


def test_sensitivity_and_specificity_are_those_of_scikit_learn_with_intervals_over_patients():
    frames, arms = two(per_patient=2)
    table, rows = compared(arms), of_test(frames[1])
    groups = rows[keys.GROUP_ID].to_numpy()
    for name, lowest in TASK.endpoints.items():
        ill, yes = (rows[keys.Y_TRUE] >= lowest).to_numpy(), called(frames[1], lowest)
        for metric, side in (("sensitivity", 1), ("specificity", 0)):
            row = one(table, metric, name, against="", family=AT_THRESHOLDS)
            wanted = proportions.estimate(yes == ill, ill == side, groups)
            assert row["value"] == pytest.approx(recall_score(ill, yes, pos_label=side))
            assert numbers(row) == (wanted.value, wanted.low, wanted.high, "clustered Wilson")
            other = recall_score(ill, called(frames[0], lowest), pos_label=side)
            gap = one(table, metric, name, family=AT_THRESHOLDS)["value"]
            assert gap == pytest.approx(row["value"] - other)
        area = delong.estimate(reached(rows, lowest), ill, groups)
        row = one(table, "auc", name, against="", family=END_POINTS)
        assert numbers(row) == (pytest.approx(area.value), area.low, area.high, "logit clustered DeLong")


def test_the_sensitivity_of_a_class_counts_only_samples_of_that_class():
    frames, arms = two()
    table, rows = compared(arms), of_test(frames[1])
    for k, name in enumerate(STAGES):
        row = one(table, "sensitivity", name, against="", family=CLASSES)
        of = (rows[keys.Y_TRUE] == k).to_numpy()
        low, high = proportions.wilson((decided(rows)[of] == k).sum(), of.sum())
        assert (row["low"], row["high"]) == (low, high)
    wanted = mean_absolute_error(rows[keys.Y_TRUE], decided(rows))
    assert one(table, "mae", against="")["value"] == pytest.approx(wanted)


def test_by_patient_an_arm_predicts_by_the_mean_of_each_patient():
    frame = predictions_of(1.0, 0, per_patient=4)
    arm = arm_from_runs("a", [frame], TASK, by_patient=True)
    rows = of_test(patients.to_patients(frame)).set_index(keys.SAMPLE_ID).loc[arm.samples]
    np.testing.assert_allclose(arm.predictions[0].probabilities, predictions.probabilities(rows))
    assert list(arm.labels) == list(rows[keys.Y_TRUE])


def test_two_cohorts_of_one_size_have_different_resamples():
    frame = predictions_of(1.0, 0)
    copied = frame.assign(**{name: "x" + frame[name] for name in (keys.SAMPLE_ID, keys.GROUP_ID)})
    arms = [arm_from_runs(name, [each], TASK) for name, each in (("a", frame), ("b", copied))]
    row = one(compared(arms, paired=False), "accuracy")
    assert row["value"] == 0
    mean_accuracy = one(compared(arms, paired=False), "accuracy", against="")["value"]
    assert row["high"] - row["low"] == pytest.approx(
        2 * 1.96 * np.sqrt(2 * mean_accuracy * (1 - mean_accuracy) / 120), rel=0.2
    )


ENDS = ["value", "low", "high", "method", "note"]


def own_rows(table, *families):
    rows = table[(table["arm"] == "b") & (table["against"] == "") & table["family"].isin(families)]
    return rows.set_index(["metric", "of"])[ENDS]


@pytest.mark.parametrize("per_patient", [1, 3])
def test_an_arm_of_one_training_has_the_values_of_its_own_report(per_patient):
    frames, arms = two(per_patient=per_patient)
    page = score.score(frames[1], STAGES, resamples=400, endpoints=TASK.endpoints)
    own = own_rows(compared(arms), HEADLINE, CLASSES, END_POINTS)
    assert {"balanced_accuracy", "qwk", "mae", "macro_f1"} <= set(own.index.get_level_values("metric"))
    assert {("precision", "F4"), ("npv", "F0"), ("auc", "F2"), ("f1", "F1")} <= set(own.index)
    for (metric, of), row in own.iterrows():
        wanted = page.loc[f"{metric}_{of}" if of else metric]
        assert list(row[ENDS[:3]]) == pytest.approx(list(wanted[ENDS[:3]]), nan_ok=True)
        assert (row["method"], row["note"]) == (wanted["method"], wanted["note"])


@pytest.mark.parametrize("per_patient", [1, 3])
def test_an_arm_at_its_thresholds_has_the_values_of_its_own_report(per_patient):
    frames, arms = two(per_patient=per_patient)
    page = operating_points.table(frames[1], STAGES, TASK.endpoints, 400, levels=["sample"])
    page = page[page["rule"] == YOUDEN].set_index(["metric", "endpoint"])
    own = own_rows(compared(arms), AT_THRESHOLDS)
    assert set(own.index.get_level_values("metric")) >= {"ppv", "npv", "lr_plus", "lr_minus", "f1"}
    for key, row in own.iterrows():
        assert list(row[ENDS[:3]]) == pytest.approx(list(page.loc[key, ENDS[:3]]), nan_ok=True)
        assert row["method"] == page.loc[key, "method"]


def test_with_two_classes_equal_measures_are_tested_once():
    arms = [
        arm_from_runs(n, [predictions_of(1.0, k, classes=BINARY.classes)], BINARY) for k, n in enumerate("ab")
    ]
    table = compared(arms, BINARY)
    tests = table[table["against"] != ""]
    assert set(tests["family"]) == {HEADLINE, END_POINTS, AT_THRESHOLDS}
    shown = table[(table["family"] == CLASSES) & (table["metric"] == "sensitivity")]
    assert list(shown["of"]) == ["F2-F4", "F2-F4"]  # the other class would repeat these tests
    assert "anova" not in set(table["family"])


def test_the_set_of_tested_measures_is_fixed():
    tests = compared(two()[1])
    tests = tests[tests["against"] != ""]
    assert set(tests.loc[tests["family"] == CLASSES, "metric"]) == {"sensitivity"}
    assert set(tests.loc[tests["family"] == AT_THRESHOLDS, "metric"]) == {"sensitivity", "specificity"}


def test_ratios_of_several_trainings_are_averaged_without_an_interval():
    arms = [
        arm_from_runs("a", [predictions_of(1.0, 9)], TASK),
        arm_from_runs("b", [predictions_of(1.4, k) for k in (0, 1)], TASK),
    ]
    row = one(compared(arms), "lr_minus", "ge_F2", against="", family=AT_THRESHOLDS)
    assert row["value"] > 0
    assert np.isnan(row["low"])
    assert "no interval" in row["note"]


def test_an_average_has_a_note_on_classes_absent_from_the_test():
    frames = [predictions_of(1.0, seed) for seed in range(2)]
    frames = [frame[(frame[keys.PARTITION] != keys.TEST) | (frame[keys.Y_TRUE] < 4)] for frame in frames]
    table = compared([arm_from_runs(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)])
    for metric in ("balanced_accuracy", "macro_auc"):
        assert "no sample of F4" in one(table, metric, against="", family=HEADLINE)["note"]
    assert "no sample of F4" not in one(table, "accuracy", against="")["note"]
