"""What an arm of a comparison is measured by, and how sure each of its numbers is."""

import numpy as np
import pytest
from fake_arms import STAGES, TASK, answers, compared, decided, of_test, one, score, two
from sklearn.metrics import mean_absolute_error, recall_score

from fibrolab import keys
from fibrolab.evaluation import patients, predictions, roc, shares
from fibrolab.evaluation.arms import AT_THRESHOLDS, CLASSES, END_POINTS, RULE, gathered
from fibrolab.evaluation.thresholds import chosen


def called(frame, lowest):
    """What the threshold of the frame's own validation part says of its test rows."""
    seen = predictions.select(frame, keys.VALIDATION)
    threshold = chosen(score(seen, lowest), (seen[keys.Y_TRUE] >= lowest).to_numpy(), RULE)
    return threshold.answers(score(of_test(frame), lowest))


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
            wanted = shares.estimate(yes == ill, ill == side, groups)
            assert row["value"] == pytest.approx(recall_score(ill, yes, pos_label=side))
            assert numbers(row) == (wanted.value, wanted.low, wanted.high, "clustered Wilson")
            other = recall_score(ill, called(frames[0], lowest), pos_label=side)
            gap = one(table, metric, name, family=AT_THRESHOLDS)["value"]
            assert gap == pytest.approx(row["value"] - other)
        area = roc.estimate(score(rows, lowest), ill, groups)
        row = one(table, "auc", name, against="", family=END_POINTS)
        assert numbers(row) == (pytest.approx(area.value), area.low, area.high, "logit clustered DeLong")


def test_the_share_of_a_class_that_is_found_counts_that_class_alone():
    frames, arms = two()
    table, rows = compared(arms), of_test(frames[1])
    for k, name in enumerate(STAGES):
        row = one(table, "sensitivity", name, against="", family=CLASSES)
        of = (rows[keys.Y_TRUE] == k).to_numpy()
        low, high = shares.wilson((decided(rows)[of] == k).sum(), of.sum())
        assert (row["low"], row["high"]) == (low, high)
    wanted = mean_absolute_error(rows[keys.Y_TRUE], decided(rows))
    assert one(table, "mae", against="")["value"] == pytest.approx(wanted)


def test_by_patient_an_arm_answers_with_the_mean_of_each_patient():
    frame = answers(1.0, 0, per_patient=4)
    arm = gathered("a", [frame], TASK, by_patient=True)
    rows = of_test(patients.to_patients(frame)).set_index(keys.SAMPLE_ID).loc[arm.samples]
    np.testing.assert_allclose(arm.answers[0].probabilities, predictions.probabilities(rows))
    assert list(arm.labels) == list(rows[keys.Y_TRUE])


def test_two_cohorts_are_drawn_apart_even_where_they_are_of_one_size():
    frame = answers(1.0, 0)
    copied = frame.assign(**{name: "x" + frame[name] for name in (keys.SAMPLE_ID, keys.GROUP_ID)})
    arms = [gathered(name, [each], TASK) for name, each in (("a", frame), ("b", copied))]
    row = one(compared(arms, paired=False), "accuracy")
    assert row["value"] == 0
    share = one(compared(arms, paired=False), "accuracy", against="")["value"]
    assert row["high"] - row["low"] == pytest.approx(
        2 * 1.96 * np.sqrt(2 * share * (1 - share) / 120), rel=0.2
    )
