import numpy as np
import pandas as pd
import pytest
from compose import composed, of_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from fibrolab.errors import ConfigError
from fibrolab.evaluation import endpoints, score
from fibrolab.evaluation.baselines import majority
from fibrolab.evaluation.intervals.bootstrap import intervals, resample_weights

STAGES = ("F0", "F1", "F2", "F3", "F4")
ENDPOINTS = {"ge_F2": 2, "ge_F3": 3, "ge_F4": 4}


def made_up(n, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 5)
    probabilities = rng.dirichlet(np.ones(5), n)
    probabilities[np.arange(n), y_true] += 0.3
    return y_true, probabilities / probabilities.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 60), st.integers(0, 2**31))
def test_measures_of_an_end_point_equal_scikit_learn_on_summed_probabilities(n, seed):
    y_true, probabilities = made_up(n, seed)
    values = endpoints.evaluate(y_true, probabilities, ENDPOINTS)
    for name, lowest in ENDPOINTS.items():
        truth, summed = y_true >= lowest, probabilities[:, lowest:].sum(axis=1)
        expected = {
            "auc": reference.roc_auc_score(truth, summed),
            "accuracy": reference.accuracy_score(truth, summed > 0.5),
            "sensitivity": reference.recall_score(truth, summed > 0.5),
            "specificity": reference.recall_score(~truth, summed <= 0.5),
        }
        for measure, value in expected.items():
            np.testing.assert_allclose(values[f"{measure}_{name}"], [value], rtol=1e-12)


def test_the_sum_decides_even_if_a_lower_stage_is_the_most_probable():
    values = endpoints.evaluate(
        np.array([2, 0]), np.array([[0.4, 0, 0.3, 0.3, 0], [1, 0, 0, 0, 0]]), {"ge": 2}
    )
    assert values["sensitivity_ge"][0] == values["specificity_ge"][0] == 1


def test_an_end_point_without_positives_has_no_sensitivity_and_no_auc():
    values = endpoints.evaluate(np.array([0, 1]), np.eye(5)[:2], {"ge_F4": 4})
    assert np.isnan(values["auc_ge_F4"][0])
    assert np.isnan(values["sensitivity_ge_F4"][0])
    assert values["specificity_ge_F4"][0] == 1


def test_an_end_point_has_the_same_resamples_as_the_classes():
    y_true, probabilities = made_up(60)
    groups = np.repeat(np.arange(20), 3).astype(str)
    table = intervals(y_true, probabilities, groups, STAGES, resamples=60, seed=3, endpoints=ENDPOINTS)
    weights = np.concatenate(list(resample_weights(groups, 60, 3)))
    areas = [
        reference.roc_auc_score(y_true >= 2, probabilities[:, 2:].sum(axis=1), sample_weight=row)
        for row in weights
    ]
    assert table.loc["auc_ge_F2", "low"] == pytest.approx(np.quantile(areas, 0.025), rel=1e-9)
    assert table.loc["auc_ge_F2", "high"] == pytest.approx(np.quantile(areas, 0.975), rel=1e-9)


def test_the_baseline_of_an_end_point_is_its_more_frequent_training_class():
    train, test = (
        np.array([0, 0, 0, 2, 3, 4, 4]),
        np.array([0, 2, 3, 4]),
    )  # F0 leads, yet most are F2 or worse
    baselines = majority(train, test, {"ge_F2": 2})
    assert baselines["accuracy"] == 0.25
    assert baselines["accuracy_ge_F2"] == 0.75
    assert baselines["auc_ge_F2"] == 0.5


@pytest.mark.parametrize(
    ("given", "classes", "ordered", "sentence"),
    [
        (
            {"any": 0},
            STAGES,
            True,
            "task.endpoints.any=0 leaves no negative or no positive class: give the number of",
        ),
        ({"ge_F5": 5}, STAGES, True, "from 1 to 4"),
        ({"F4": 4}, STAGES, True, "call it ge_F4"),
        ({"ge": 1}, ("cyst", "HCC"), False, "cyst, HCC are not stages"),
    ],
)
def test_an_end_point_that_the_classes_do_not_allow_is_refused(given, classes, ordered, sentence):
    with pytest.raises(ConfigError) as caught:
        endpoints.check(given, classes, ordered)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("task", of_samples("task"))
def test_every_task_names_end_points_that_its_classes_allow(task):
    config = composed(f"task={task}").task
    endpoints.check(config.endpoints, list(config.classes or ()), config.ordered)
    assert bool(config.endpoints) == (task == "stage")


def test_end_points_do_not_change_the_other_metrics():
    y_true, probabilities = made_up(30)
    columns = {f"p_{k}": column for k, column in enumerate(probabilities.T)}
    frame = pd.DataFrame(
        {"partition": "test", "group_id": np.arange(30).astype(str), "y_true": y_true, **columns}
    )
    plain = score.score(frame, STAGES, resamples=20)
    both = score.score(frame, STAGES, resamples=20, endpoints=ENDPOINTS)
    pd.testing.assert_frame_equal(plain, both.loc[plain.index])
    assert len(both) == len(plain) + 4 * len(ENDPOINTS)
