import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import endpoints, patients, predictions
from fibrolab.evaluation.intervals import delong, likelihood_ratios, proportions
from fibrolab.evaluation.intervals.bootstrap import resampled
from fibrolab.evaluation.measures import operating_points, thresholds
from fibrolab.evaluation.measures.operating_points import COLUMNS, MEASURES

STAGES = ("F0", "F1", "F2", "F3", "F4")
ENDPOINTS = {"ge_F2": 2, "ge_F4": 4}
SCIKIT = {
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "sensitivity": reference.recall_score,
    "specificity": lambda truth, answer: reference.recall_score(truth, answer, pos_label=False),
    "ppv": reference.precision_score,
    "npv": lambda truth, answer: reference.precision_score(truth, answer, pos_label=False),
    "lr_plus": lambda truth, answer: reference.class_likelihood_ratios(truth, answer)[0],
    "lr_minus": lambda truth, answer: reference.class_likelihood_ratios(truth, answer)[1],
    "f1": reference.f1_score,
}


def predicted(n=150, classes=5, seed=0, per_patient=3, skill=2.0):
    """Predictions of n validation and n test samples; the samples of a patient share a stage."""
    rng = np.random.default_rng(seed)
    owner = np.arange(2 * n) // per_patient
    stage = rng.integers(classes, size=owner[-1] + 1)[owner]
    distance = np.abs(np.arange(classes) - stage[:, None])
    scores = np.exp(-skill * distance + 2 * rng.normal(size=distance.shape))
    columns = {
        "sample_id": [f"s{i:04d}" for i in range(2 * n)],
        "group_id": [f"p{i:04d}" for i in owner],
        "patient_id": [f"p{i:04d}" for i in owner],
        "site": "",
        "partition": np.repeat(["validation", "test"], n),
        "fold": 0,
        "y_true": stage,
    }
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    columns |= {f"p_{k}": column for k, column in enumerate(probabilities.T)}
    return predictions.validated(pd.DataFrame(columns), source="a test")


def table(frame, classes=STAGES, end_points=ENDPOINTS, **settings):
    return operating_points.table(frame, classes, end_points, **{"resamples": 40, **settings})


def scored(frame, partition, lowest):
    rows = predictions.select(frame, partition)
    return endpoints.score(predictions.probabilities(rows), lowest), (rows["y_true"] >= lowest).to_numpy()


def cell(found, metric, rule="youden", endpoint="ge_F2", level="sample"):
    rows = found[(found["level"] == level) & (found["endpoint"] == endpoint) & (found["metric"] == metric)]
    (_, row), *others = rows[rows["rule"] == rule].iterrows()
    assert not others
    return row


def test_every_level_end_point_and_rule_has_every_measure_once():
    found = table(predicted())
    assert tuple(found.columns) == COLUMNS
    expected = [
        (level, name, rule, metric)
        for level in ("sample", "patient")
        for name in ENDPOINTS
        for rule, metrics in [("", ("auc",)), *((rule, MEASURES) for rule in thresholds.RULES)]
        for metric in metrics
    ]
    assert list(found[["level", "endpoint", "rule", "metric"]].itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("rule", thresholds.RULES)
@pytest.mark.parametrize("metric", MEASURES)
def test_every_measure_equals_scikit_learn_at_the_threshold_of_validation(rule, metric):
    frame = predicted()
    row = cell(table(frame), metric, rule)
    assert row["threshold"] == thresholds.chosen(*scored(frame, "validation", 2), rule).value
    scores, positive = scored(frame, "test", 2)
    answer = scores > 0.5 if rule == "half" else scores >= row["threshold"]
    assert row["value"] == pytest.approx(SCIKIT[metric](positive, answer))
    assert row["low"] <= row["value"] <= row["high"]


def test_thresholds_do_not_depend_on_test_rows():
    frame = predicted()
    other = frame.copy()
    test = np.flatnonzero(frame["partition"] == "test")
    mixed = np.random.default_rng(1).permutation(test)
    other.loc[test, "y_true"] = frame.loc[mixed, "y_true"].to_numpy()
    one, two = table(frame, levels=["sample"]), table(other, levels=["sample"])
    pd.testing.assert_series_equal(one["threshold"], two["threshold"])
    assert not one["value"].equals(two["value"])


def test_areas_and_proportions_have_clustered_intervals():
    frame = predicted()
    found, test = table(frame), predictions.select(frame, "test")
    scores, positive = scored(frame, "test", 2)
    groups = test["group_id"].to_numpy()
    area, row = delong.estimate(scores, positive, groups), cell(found, "auc", "")
    assert (row["value"], row["low"], row["high"], row["method"]) == (
        area.value,
        area.low,
        area.high,
        "logit clustered DeLong",
    )
    row = cell(found, "npv", "half")
    share = proportions.estimate(~positive, scores <= 0.5, groups)
    assert (row["low"], row["high"], row["method"]) == (share.low, share.high, "clustered Wilson")


def test_a_likelihood_ratio_has_the_clustered_interval_of_its_logarithm():
    frame = predicted()
    found = table(frame)
    scores, positive = scored(frame, "test", 2)
    groups = predictions.select(frame, "test")["group_id"].to_numpy()
    for metric, results in (("lr_plus", scores > 0.5), ("lr_minus", scores <= 0.5)):
        row, wanted = cell(found, metric, "half"), likelihood_ratios.estimate(results, positive, groups)
        assert (row["low"], row["high"]) == (wanted.low, wanted.high)
        assert row["method"] == "clustered log (Simel)"


def test_other_measures_have_the_interval_of_resampled_patients():
    frame = predicted()
    row = cell(table(frame, resamples=60, seed=3), "f1", "half")
    scores, positive = scored(frame, "test", 2)
    groups = predictions.select(frame, "test")["group_id"].to_numpy()

    def measure(weights):
        rows = np.ones((1, len(scores))) if weights is None else weights
        return {"f1": np.array([reference.f1_score(positive, scores > 0.5, sample_weight=w) for w in rows])}

    wanted = resampled(measure, groups, 60, 3).loc["f1"]
    assert row["low"] == pytest.approx(wanted["bca_low"])
    assert row["high"] == pytest.approx(wanted["bca_high"])
    assert row["method"] == "BCa"


def test_patients_are_scored_as_their_pooled_samples_would_be():
    frame = predicted()
    levels = tuple(patients.LEVELS)
    found = table(frame, levels=levels)
    assert list(found["level"].unique()) == list(levels)
    for level, how in patients.LEVELS.items():
        if how:
            alone = table(patients.to_patients(frame, how), levels=["sample"])
            pooled = found[found["level"] == level].reset_index(drop=True)
            pd.testing.assert_frame_equal(pooled.drop(columns="level"), alone.drop(columns="level"))


def test_patients_of_one_sample_each_are_not_scored_twice():
    assert set(table(predicted(per_patient=1))["level"]) == {"sample"}


def test_without_validation_only_the_threshold_of_one_half_is_defined():
    frame = predicted()
    found = table(frame[frame["partition"] == "test"], levels=["sample"])
    known = found["rule"].isin(["", "half"])
    assert found.loc[known, "value"].notna().all()
    lost = found[~known]
    assert lost[["threshold", "value", "low", "high"]].isna().all(axis=None)
    assert (lost["note"] == "no validation rows to choose it on").all()


def test_a_test_set_of_one_class_has_notes_on_undefined_measures_and_no_warning():
    frame = predicted()
    frame = frame[(frame["partition"] == "validation") | (frame["y_true"] >= 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = table(frame, levels=["sample"])
    assert 0 < cell(found, "sensitivity")["value"] <= 1
    for metric in ("specificity", "balanced_accuracy", "lr_plus", "lr_minus"):
        assert np.isnan(cell(found, metric)["value"])
        assert cell(found, metric)["note"]
    assert "no negative sample" in cell(found, "lr_plus")["note"]
    assert cell(found, "balanced_accuracy")["note"] == "every test row has the end point"
    assert np.isnan(cell(found, "auc", "")["value"])


def test_a_likelihood_ratio_without_a_false_positive_is_undefined():
    frame = predicted(skill=30)
    row = cell(table(frame), "lr_plus", "half")
    assert np.isnan(row["value"])
    assert row["note"] == "no negative sample has this result: the ratio has no upper bound"
    assert cell(table(frame), "balanced_accuracy", "half")["note"].startswith("every resample gives the same")


def test_one_group_has_values_with_notes_instead_of_bootstrap_intervals():
    frame = predicted().assign(group_id="one")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = cell(table(frame), "f1")
    assert np.isfinite(row["value"])
    assert np.isnan(row["low"])
    assert "one group only" in row["note"]


def test_the_end_point_of_a_binary_task_is_its_second_class_and_nominal_classes_have_none():
    assert endpoints.of_task(("no", "yes"), {}) == {"yes": 1}
    assert endpoints.of_task(STAGES, ENDPOINTS) == ENDPOINTS
    assert endpoints.of_task(("cyst", "HCC", "normal"), {}, ordered=False) == {}
    found = table(predicted(classes=2), ("no", "yes"), {"yes": 1})
    assert set(found["endpoint"]) == {"yes"}
    assert table(predicted(classes=3), STAGES[:3], {}).empty


def test_predictions_that_cannot_be_scored_are_refused():
    with pytest.raises(DataError, match="5 probabilities a row, but 3 classes"):
        table(predicted(), STAGES[:3])
    with pytest.raises(DataError, match="No predictions of partition 'test'"):
        table(predicted().query("partition == 'validation'"))
    with pytest.raises(ConfigError, match="level: there is no 'patients'"):
        table(predicted(), levels=["patients"])
    with pytest.raises(ConfigError, match="resamples"):
        table(predicted(), resamples=1)


def test_a_proportion_of_no_samples_has_a_note_on_the_missing_class():
    positive = np.array([True, True, False, False])
    never = operating_points.decision_measures(np.zeros(4, bool), positive, np.arange(4))
    assert never["ppv"].note == "no sample is predicted positive"
    always = operating_points.decision_measures(np.ones(4, bool), positive, np.arange(4))
    assert always["npv"].note == "no sample is predicted negative"
    healthy = operating_points.decision_measures(positive, np.zeros(4, bool), np.arange(4))
    assert healthy["sensitivity"].note == "no positive sample"
