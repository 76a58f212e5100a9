import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from fibrolab.errors import DataError
from fibrolab.evaluation.intervals import roc_curves
from fibrolab.evaluation.intervals.bootstrap import resample_weights

AREA = {roc_curves.roc_band: "roc", roc_curves.pr_band: "precision-recall"}
both_bands = pytest.mark.parametrize("band", AREA, ids=AREA.values())


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@st.composite
def cases(draw, largest=60):
    """Tied scores, a truth with both classes, whole weights that leave both classes some."""
    n = draw(st.integers(4, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positive = rng.permutation(np.arange(n) < draw(st.integers(2, n - 2)))
    scores = rng.integers(0, draw(st.sampled_from([3, 10, 1000])), n) / 7 + positive
    weights = rng.integers(0, 3, n).astype(float)
    weights[[np.flatnonzero(positive)[0], np.flatnonzero(~positive)[0]]] = 1
    return scores, positive, weights


def sensitivity(scores, positive, weights=None):
    """On the grid, from scikit-learn's curve: the straight line, at a vertical the upper end."""
    false_rate, true_rate, _ = reference.roc_curve(
        positive, scores, sample_weight=weights, drop_intermediate=False
    )
    found = np.empty(101)
    for i, x in enumerate(np.arange(101) / 100):
        left = np.flatnonzero(false_rate <= x + 1e-9)[-1]
        if left == len(false_rate) - 1 or abs(false_rate[left] - x) < 1e-9:
            found[i] = true_rate[left]
        else:
            share = (x - false_rate[left]) / (false_rate[left + 1] - false_rate[left])
            found[i] = true_rate[left] + share * (true_rate[left + 1] - true_rate[left])
    return found


def precision(scores, positive, weights=None):
    """On the grid, from scikit-learn's curve: at the highest threshold that reaches the recall."""
    shares, recall, _ = reference.precision_recall_curve(positive, scores, sample_weight=weights)
    shares, recall = shares[-2::-1], recall[-2::-1]  # from the highest threshold down, without the end (0, 1)
    return np.array([shares[recall >= max(x - 1e-9, 1e-9)][0] for x in np.arange(101) / 100])


@given(cases())
def test_curves_on_the_grid_equal_those_of_scikit_learn(case):
    scores, positive, _ = case
    one_group = ["all"] * len(positive)
    roc, pr = (
        roc_curves.roc_band(scores, positive, one_group),
        roc_curves.pr_band(scores, positive, one_group),
    )
    np.testing.assert_allclose(roc.x, np.arange(101) / 100, atol=1e-15)
    np.testing.assert_allclose(roc.y, sensitivity(scores, positive), atol=1e-9)
    np.testing.assert_allclose(pr.y, precision(scores, positive), atol=1e-12)


@given(cases())
def test_average_precision_equals_that_of_scikit_learn_with_and_without_weights(case):
    scores, positive, weights = case
    assert roc_curves.average_precision(scores, positive) == pytest.approx(
        [reference.average_precision_score(positive, scores)]
    )
    rows = np.stack([weights, np.ones(len(weights)), 0.5 * weights])
    expected = [reference.average_precision_score(positive, scores, sample_weight=row) for row in rows]
    np.testing.assert_allclose(roc_curves.average_precision(scores, positive, rows), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("band", "by_scikit_learn"), [(roc_curves.roc_band, sensitivity), (roc_curves.pr_band, precision)]
)
def test_a_band_consists_of_percentiles_of_curves_of_resampled_groups(band, by_scikit_learn):
    rng = np.random.default_rng(0)
    groups = np.repeat([f"P{i}" for i in range(30)], 2)
    positive = rng.random(60) < 0.4
    scores = np.round(rng.normal(size=60) + positive, 1)
    weights = np.concatenate(list(resample_weights(groups, 80, seed=3)))
    drawn = [by_scikit_learn(scores, positive, row) for row in weights]
    found = band(scores, positive, groups, resamples=80, seed=3, level=0.9)
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(found.low, low, atol=1e-8)
    np.testing.assert_allclose(found.high, high, atol=1e-8)
    assert found.note == ""


def test_the_area_under_the_curve_is_the_auc_if_every_step_is_on_the_grid():
    rng = np.random.default_rng(0)
    positive = np.arange(130) < 30  # 100 negatives
    scores = rng.integers(0, 15, 130) + 4.0 * positive + 0.5 * positive  # ties within a class alone
    y = roc_curves.roc_band(scores, positive, ["all"] * 130).y
    assert np.sum(y[:-1]) / 100 == pytest.approx(reference.roc_auc_score(positive, scores))


@given(cases())
def test_sensitivity_never_falls_along_a_roc_curve_or_the_ends_of_its_band(case):
    scores, positive, _ = case
    found = roc_curves.roc_band(scores, positive, np.arange(len(positive)) // 2, resamples=40)
    assert (np.diff(found.y) >= 0).all()
    assert found.y[-1] == 1
    if np.isfinite(found.low).all():
        assert (np.diff(found.low) >= 0).all()
        assert (np.diff(found.high) >= 0).all()
        assert (found.low <= found.high).all()


@both_bands
def test_a_band_of_repeated_rows_is_narrower_only_if_they_count_as_new_patients(band):
    rng = np.random.default_rng(0)
    positive = np.repeat(rng.random(40) < 0.5, 5)
    scores = np.repeat(rng.normal(size=40), 5) + positive
    patients = band(scores, positive, np.repeat(np.arange(40), 5))
    rows = band(scores, positive, np.arange(200))
    assert np.mean(rows.high - rows.low) < 0.7 * np.mean(patients.high - patients.low)


@both_bands
def test_a_band_is_reproducible_and_independent_of_the_order_of_rows(band):
    rng = np.random.default_rng(0)
    positive, groups = rng.random(50) < 0.5, rng.integers(20, size=50)
    scores, rows = rng.normal(size=50) + positive, rng.permutation(50)
    one = band(scores, positive, groups, resamples=50)
    other = band(scores[rows], positive[rows], groups[rows], resamples=50)
    np.testing.assert_allclose(one.low, other.low, atol=1e-12)
    np.testing.assert_allclose(one.high, other.high, atol=1e-12)
    assert (band(scores, positive, groups, resamples=50, seed=1).low != one.low).any()


def test_the_curves_of_six_samples_equal_those_computed_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.7, 0.3, 0.1])
    positive = np.array([True, False, True, False, True, False])
    alone = ["all"] * 6
    roc = roc_curves.roc_band(scores, positive, alone).y
    # thresholds: (0, 1/3), (1/3, 1/3), then a tie up to (2/3, 2/3), (2/3, 1), (1, 1)
    assert roc[[0, 33, 50, 66, 67, 100]] == pytest.approx([1 / 3, 1 / 3, 1 / 2, 0.66, 1, 1])
    pr = roc_curves.pr_band(scores, positive, alone).y
    # recall 1/3 at precision 1, 2/3 at 1/2 (two of four), 1 at 3/5
    assert pr[[0, 33, 34, 66, 67, 100]] == pytest.approx([1, 1, 1 / 2, 1 / 2, 3 / 5, 3 / 5])
    assert roc_curves.average_precision(scores, positive) == pytest.approx([(1 + 1 / 2 + 3 / 5) / 3])


@both_bands
@pytest.mark.parametrize("positive", [[True, True, True], [False, False, False], []])
def test_one_class_has_a_note_instead_of_a_curve(band, positive):
    found = band(
        np.arange(len(positive), dtype=float), np.array(positive, bool), ["a", "b", "c"][: len(positive)]
    )
    assert np.isnan([found.y, found.low, found.high]).all()
    assert "one class only" in found.note


@both_bands
def test_one_group_has_a_curve_without_a_band(band):
    found = band(np.arange(6.0), np.arange(6) > 2, ["a"] * 6)
    assert np.isfinite(found.y).all()
    assert np.isnan(found.low).all()
    assert "one group only" in found.note


@both_bands
def test_a_class_of_one_group_has_a_curve_without_a_band(band):
    found = band(np.arange(30.0), np.arange(30) == 7, np.arange(30))
    assert np.isfinite(found.y).all()
    assert np.isnan(found.low).all()
    assert "too few groups" in found.note


@both_bands
def test_a_perfect_score_has_a_band_without_width_and_a_note(band):
    positive = np.arange(60) % 2 == 0
    found = band(positive * 1.0, positive, np.arange(60), resamples=50)
    np.testing.assert_array_equal(found.y, 1)
    assert "every resample gives the same curve" in found.note


def test_average_precision_without_a_class_is_undefined():
    scores = np.arange(4.0)
    assert np.isnan(roc_curves.average_precision(scores, np.ones(4, bool))).all()
    assert np.isnan(roc_curves.average_precision(scores, np.zeros(4, bool))).all()
    assert np.isnan(roc_curves.average_precision(np.empty(0), np.empty(0, bool))).all()
    rows = np.array([[1.0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
    found = roc_curves.average_precision(scores, np.array([True, True, False, False]), rows)
    assert np.isnan(found).tolist() == [True, False, True]


@both_bands
def test_a_score_that_is_not_finite_is_refused(band):
    with pytest.raises(DataError, match="1 of 3 scores are not finite"):
        band(np.array([0.1, np.nan, 0.3]), np.array([True, False, True]), ["a", "b", "c"])
