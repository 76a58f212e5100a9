import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from fibrolab.evaluation.measures.metrics import evaluate
from fibrolab.evaluation.measures.probability_quality import expected_calibration_error, log_losses


def probability_metrics(y_true, probabilities, weights=None):
    values = evaluate(y_true, probabilities, [str(k) for k in range(probabilities.shape[1])], weights)
    return {name: values[name] for name in ("log_loss", "brier", "ece")}


def made_up(n, seed=0, k=5):
    rng = np.random.default_rng(seed)
    return rng.integers(k, size=n), rng.dirichlet(np.ones(k), n)


def test_ece_equals_that_of_scikit_learns_calibration_curve():
    y_true, probabilities = made_up(150)
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == y_true
    found, predicted = calibration_curve(hit, confidence, n_bins=15, strategy="quantile")
    assert expected_calibration_error(y_true, probabilities)[0] == pytest.approx(
        np.abs(found - predicted).mean()
    )


def test_samples_of_one_confidence_share_a_bin():
    confidence = np.repeat([0.6, 0.9], [40, 10])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    y_true = np.repeat([0, 1, 0, 1], [30, 10, 5, 5])  # accuracy .75 at confidence .6, .5 at .9
    expected = 0.8 * abs(0.75 - 0.6) + 0.2 * abs(0.5 - 0.9)
    assert expected_calibration_error(y_true, probabilities)[0] == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(2, 4), st.integers(0, 2**31))
def test_neither_the_order_of_rows_nor_their_repetition_changes_a_value(n, k, seed):
    y_true, probabilities = made_up(n, seed, k)
    probabilities = np.round(probabilities * 8) + 0.5  # coarse, hence tied
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    order = np.random.default_rng(seed).permutation(n)
    plain = probability_metrics(y_true, probabilities)
    turned = probability_metrics(y_true[order], probabilities[order], np.full((1, n), 2.0))
    for name, value in plain.items():
        assert value[0] == pytest.approx(turned[name][0], rel=1e-9, abs=1e-12), name


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**31))
def test_ece_is_between_the_mean_gap_and_one(n, seed):
    y_true, probabilities = made_up(n, seed)
    gap = (probabilities.argmax(axis=1) == y_true).mean() - probabilities.max(axis=1).mean()
    assert abs(gap) - 1e-12 <= expected_calibration_error(y_true, probabilities)[0] <= 1


def test_the_brier_score_of_guessing_is_a_quarter_or_four_fifths():
    coin = probability_metrics(np.array([0, 1]), np.full((2, 2), 0.5))
    assert (coin["brier"][0], coin["log_loss"][0], coin["ece"][0]) == (0.25, pytest.approx(np.log(2)), 0.0)
    five = probability_metrics(np.arange(5), np.full((5, 5), 0.2))
    assert five["brier"][0] == pytest.approx(0.8)
    assert five["log_loss"][0] == pytest.approx(np.log(5))


def test_a_probability_of_zero_for_the_true_class_has_a_finite_loss():
    assert log_losses(np.array([1]), np.array([[1.0, 0.0]]))[0] == pytest.approx(36.04, abs=0.01)


def test_the_ece_of_perfect_probabilities_shrinks_as_samples_grow():
    rng = np.random.default_rng(0)

    def mean_of(n):
        draws = []
        for _ in range(30):
            probabilities = rng.dirichlet(np.full(5, 0.3), n)
            truth = (rng.random(n)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=4)
            draws.append(expected_calibration_error(truth, probabilities)[0])
        return np.mean(draws)

    assert mean_of(100) == pytest.approx(0.14, abs=0.02)
    assert mean_of(1000) == pytest.approx(0.044, abs=0.01)
