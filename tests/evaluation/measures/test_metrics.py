import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from fibrolab.evaluation.baselines import majority
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.measures.decisions import confusion_matrix, decide
from fibrolab.evaluation.measures.metrics import evaluate, proportions
from fibrolab.evaluation.measures.ranking import auc

STAGES = ("F0", "F1", "F2", "F3", "F4")
SUMMED = (
    "log_loss",
    "brier",
    "ece",
)  # of parts that are no whole numbers: their order shows in the last bits


@st.composite
def cases(draw):
    """Truth, probabilities (coarse, hence tied) and whole or broken weights; classes may be missing."""
    k = draw(st.integers(2, 5))
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frequencies = rng.dirichlet(np.full(k, draw(st.sampled_from([0.1, 1.0, 10.0]))))
    y_true = rng.choice(k, size=n, p=frequencies)
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    scores = rng.integers(1, levels + 1, size=(n, k)).astype(float)
    scores[np.arange(n), y_true] += draw(st.sampled_from([0.0, 1.0]))
    weights = rng.integers(0, 3, size=n).astype(float)
    if draw(st.booleans()):
        weights *= rng.uniform(0.1, 2.0, size=n)
    weights[draw(st.integers(0, n - 1))] += 1.0  # at least one sample counts
    return y_true, scores / scores.sum(axis=1, keepdims=True), weights


def scikit_learn(y_true, probabilities, weights):
    """The same metrics, with NaN by the rules that metrics.py states, from scikit-learn alone."""
    counted = weights > 0
    whole = set(y_true) == set(y_true[counted])  # else an average over classes would be one of fewer
    y_true, probabilities, weights = y_true[counted], probabilities[counted], weights[counted]
    y_pred = decide(probabilities)
    every = range(probabilities.shape[1])
    present = np.unique(y_true)
    values = {
        "accuracy": reference.accuracy_score(y_true, y_pred, sample_weight=weights),
        "balanced_accuracy": reference.balanced_accuracy_score(y_true, y_pred, sample_weight=weights),
        "mae": reference.mean_absolute_error(y_true, y_pred, sample_weight=weights),
    }
    values["qwk"] = np.nan
    if (
        len(np.union1d(y_true, y_pred)) > 1
    ):  # all labels named: scikit-learn closes the gap of an absent stage
        settled = {"labels": list(every), "weights": "quadratic", "sample_weight": weights}
        values["qwk"] = reference.cohen_kappa_score(y_true, y_pred, **settled)
    scores = (reference.precision_score, reference.recall_score, reference.f1_score)
    for name, function in zip(("precision", "sensitivity", "f1"), scores, strict=True):
        settled = {"sample_weight": weights, "labels": present, "zero_division": 0}
        values[f"macro_{name}"] = function(y_true, y_pred, average="macro", **settled)
        values[f"weighted_{name}"] = function(y_true, y_pred, average="weighted", **settled)
        settled = {"sample_weight": weights, "labels": every, "zero_division": np.nan}
        each = function(y_true, y_pred, average=None, **settled)
        values |= {f"{name}_{k}": each[k] for k in every}
    for k in every:
        truth, answer = y_true == k, y_pred == k
        settled = {"sample_weight": weights, "pos_label": False, "zero_division": np.nan}
        values[f"specificity_{k}"] = reference.recall_score(truth, answer, **settled)
        values[f"npv_{k}"] = reference.precision_score(truth, answer, **settled)
        values[f"lr_plus_{k}"], values[f"lr_minus_{k}"] = reference.class_likelihood_ratios(
            truth, answer, labels=[False, True], sample_weight=weights, replace_undefined_by=np.nan
        )
        both = len(np.unique(truth)) == 2
        area = reference.roc_auc_score(truth, probabilities[:, k], sample_weight=weights) if both else np.nan
        values[f"auc_{k}"] = area
    share = [weights[y_true == k].sum() for k in present]
    for name in ("specificity", "npv", "auc"):
        each = [values[f"{name}_{k}"] for k in present]
        each = np.nan_to_num(each) if catalogue.find(name).undefined_counts_as_zero else each
        values |= {f"macro_{name}": np.mean(each), f"weighted_{name}": np.average(each, weights=share)}
    settled = {"labels": every, "sample_weight": weights}
    values["log_loss"] = reference.log_loss(y_true, probabilities, **settled)
    values["brier"] = reference.brier_score_loss(y_true, probabilities, **settled)
    values["obuchowski"] = by_pairs(y_true, probabilities, weights, present)
    if not whole:
        values |= dict.fromkeys(over_classes(values), np.nan)
    return values | ({"auc": values["auc_1"]} if len(every) == 2 else {})


def over_classes(values):
    """Names of the metrics that are averages over classes, each of equal weight."""
    return [
        name for name in values if name.startswith("macro_") or name in ("balanced_accuracy", "obuchowski")
    ]


def by_pairs(y_true, probabilities, weights, present):
    """Obuchowski's index, pair by pair."""
    expected = (probabilities * np.arange(probabilities.shape[1])).sum(axis=1)
    areas, distances = [], []
    for low, high in itertools.combinations(present, 2):
        rows = np.isin(y_true, (low, high))
        truth, weight = y_true[rows] == high, weights[rows]
        areas.append(reference.roc_auc_score(truth, expected[rows], sample_weight=weight))
        distances.append(high - low)
    return np.average(areas, weights=distances) if areas else np.nan


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_metric_equals_scikit_learn_with_ties_weights_and_missing_classes(case):
    y_true, probabilities, weights = case
    names = [str(k) for k in range(probabilities.shape[1])]
    ours = evaluate(y_true, probabilities, names, weights[None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = scikit_learn(y_true, probabilities, weights)
    assert set(ours) == {*expected, "ece"}  # which scikit-learn does not have
    for name, value in expected.items():
        assert ours[name][0] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@settings(max_examples=30, deadline=None)
@given(cases())
def test_missing_weights_are_unit_weights_and_rows_of_weights_are_independent(case):
    y_true, probabilities, weights = case
    names = [str(k) for k in range(probabilities.shape[1])]
    plain = evaluate(y_true, probabilities, names)
    both = evaluate(y_true, probabilities, names, np.stack([weights, np.ones(len(y_true))]))
    for name, value in plain.items():
        alike = np.testing.assert_allclose if name in SUMMED else np.testing.assert_array_equal
        alike(value[0], both[name][1], err_msg=name)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_integer_weights_equal_repeated_rows(case):
    y_true, probabilities, weights = case
    weights = np.ceil(weights)
    names = [str(k) for k in range(probabilities.shape[1])]
    rows = np.repeat(np.arange(len(y_true)), weights.astype(int))
    weighed = evaluate(y_true, probabilities, names, weights[None])
    repeated = evaluate(y_true[rows], probabilities[rows], names)
    lacking = set(y_true) - set(y_true[rows])
    for name, value in repeated.items():
        if lacking and name in over_classes(repeated):
            assert np.isnan(weighed[name]).all(), name
        elif name in SUMMED:
            np.testing.assert_allclose(value, weighed[name], rtol=1e-9, atol=1e-12, err_msg=name)
        else:
            np.testing.assert_array_equal(value, weighed[name], err_msg=name)


def test_integer_weights_give_exactly_the_auc_of_counted_pairs():
    rng = np.random.default_rng(0)
    y_true, scores = rng.integers(0, 2, 50), rng.integers(0, 6, 50) / 6
    ahead = np.sign(scores[y_true == 1][:, None] - scores[y_true == 0][None, :])
    assert auc(y_true, np.stack([1 - scores, scores], axis=1))[0, 1] == np.mean((ahead + 1) / 2)


def test_confusion_matrix_has_truth_in_rows_and_prediction_in_columns():
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1]), 3)
    np.testing.assert_array_equal(matrix, [[[1, 0, 1], [0, 1, 0], [0, 1, 0]]])


def test_a_class_that_is_never_predicted_has_no_precision_but_lowers_the_average():
    y_true = np.array([0, 0, 1, 1])
    values = evaluate(y_true, np.tile([0.9, 0.1], (4, 1)), ("no", "yes"))
    assert np.isnan(values["precision_yes"][0])
    assert values["f1_yes"][0] == 0.0
    assert values["macro_precision"][0] == 0.25
    assert values["auc"][0] == 0.5


def test_a_class_absent_from_truth_is_undefined_and_left_out_of_the_averages():
    y_true = np.array([0, 1, 0, 1])
    values = evaluate(y_true, np.eye(3)[[0, 1, 2, 1]], ("F0", "F1", "F2"))
    assert np.isnan(values["sensitivity_F2"][0])
    assert np.isnan(values["auc_F2"][0])
    assert values["precision_F2"][0] == 0.0  # it was predicted, and wrongly
    assert values["balanced_accuracy"][0] == 0.75
    assert np.isfinite(values["macro_auc"][0])


def test_resamples_of_zero_weight_are_undefined_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = evaluate(np.array([0, 1]), np.eye(2), ("a", "b"), np.zeros((1, 2)))
    assert all(np.isnan(value).all() for value in values.values())


def test_perfect_predictions_have_scores_of_one_and_errors_of_zero():
    y_true = np.arange(5).repeat(3)
    values = evaluate(y_true, np.eye(5)[y_true], STAGES)
    faults = {"mae", *SUMMED, *(f"lr_minus_{stage}" for stage in STAGES)}
    assert all(values.pop(name)[0] == 0.0 for name in faults)
    assert all(np.isnan(values.pop(f"lr_plus_{stage}")[0]) for stage in STAGES)  # no false positives
    assert all(value[0] == 1.0 for value in values.values())


def test_reversing_the_order_of_stages_changes_neither_kappa_nor_error():
    rng = np.random.default_rng(3)
    y_true, probabilities = rng.integers(0, 5, 60), rng.dirichlet(np.ones(5), 60)
    forth = evaluate(y_true, probabilities, STAGES)
    back = evaluate(4 - y_true, probabilities[:, ::-1], STAGES[::-1])
    for name in ("qwk", "mae", "obuchowski", "brier", "ece", "macro_auc", "sensitivity_F1"):
        np.testing.assert_allclose(forth[name], back[name], rtol=1e-12, err_msg=name)


def test_nominal_classes_have_no_ordinal_metric():
    values = evaluate(np.array([0, 1, 2]), np.eye(3), ("cyst", "HCC", "normal"), ordered=False)
    assert not {"qwk", "mae", "obuchowski"} & set(values)
    assert len(values) == 2 + len(SUMMED) + 2 * len(catalogue.by_class(averaged=True)) + 3 * len(
        catalogue.by_class()
    )


def test_likelihood_ratios_equal_those_of_a_two_by_two_table():
    y_true = np.repeat([1, 1, 0, 0], [80, 20, 10, 90])
    answer = np.repeat([1, 0, 1, 0], [80, 20, 10, 90])  # sensitivity .8, specificity .9
    values = evaluate(y_true, np.eye(2)[answer], ("no", "yes"))
    assert values["lr_plus_yes"][0] == pytest.approx(8.0)
    assert values["lr_minus_yes"][0] == pytest.approx(2 / 9)
    assert values["npv_yes"][0] == pytest.approx(90 / 110)


def test_a_class_that_is_always_predicted_has_no_npv_but_lowers_the_average():
    values = evaluate(np.array([0, 0, 1, 1]), np.tile([0.9, 0.1], (4, 1)), ("no", "yes"))
    assert np.isnan(values["npv_no"][0])
    assert np.isnan(values["lr_minus_no"][0])
    assert values["lr_plus_no"][0] == 1.0  # such a prediction carries no information
    assert values["macro_npv"][0] == 0.25


@settings(max_examples=30, deadline=None)
@given(cases())
def test_proportions_of_hits_equal_the_metrics(case):
    y_true, probabilities, _ = case
    names = [str(k) for k in range(probabilities.shape[1])]
    values = evaluate(y_true, probabilities, names)
    counts = proportions(y_true, decide(probabilities), names)
    kinds = ("sensitivity", "specificity", "precision", "npv")
    assert set(counts) == {"accuracy", *(f"{kind}_{name}" for kind in kinds for name in names)}
    for name, (hits, counted) in counts.items():
        assert hits.dtype == counted.dtype == bool
        share = hits[counted].mean() if counted.any() else np.nan
        assert values[name][0] == pytest.approx(share, nan_ok=True), name


def test_the_majority_baseline_predicts_the_most_frequent_training_class():
    train, test = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 2])
    baselines = majority(train, test)
    assert baselines["accuracy"] == 0.25
    assert baselines["balanced_accuracy"] == pytest.approx(1 / 3)
    assert baselines["macro_f1"] == pytest.approx(0.4 / 3)
    assert (baselines["macro_auc"], baselines["qwk"]) == (0.5, 0.0)


def test_constant_baselines_are_the_scores_of_a_constant_prediction():
    train, test = np.array([1, 1, 0]), np.array([0, 1, 0, 1, 1])
    scored = evaluate(test, np.tile([0.0, 1.0], (5, 1)), ("no", "yes"))
    for name, baseline in majority(train, test).items():
        assert scored[name][0] == pytest.approx(baseline), name


def test_with_two_classes_the_plain_auc_is_that_of_the_second():
    scores = np.array([[0.5, 0.1], [0.5, 0.2], [0.5, 0.3]])  # rows that sum to one would hide the difference
    values = evaluate(np.array([0, 0, 1]), scores, ("no", "yes"))
    assert (values["auc"][0], values["auc_no"][0]) == (1.0, 0.5)
