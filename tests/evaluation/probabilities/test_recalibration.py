import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm, t

from fibrolab.evaluation.probabilities.recalibration import recalibration


def clinic(rng, patients, rows=1, slope=1.0, intercept=0.0):
    """Scores whose logit, times slope plus intercept, is the outcome's; images of a patient agree."""
    own = rng.normal(size=patients) * 1.5
    x = np.repeat(own, rows) + 0.3 * rng.normal(size=patients * rows)
    positive = rng.random(patients).repeat(rows) < expit(slope * x + intercept)
    return expit(x), positive, np.arange(patients).repeat(rows)


def by_statsmodels(score, positive, groups):
    """Both coefficients with the standard errors of its bias-reduced sandwich."""
    x, found = logit(score), []
    for design, offset in ((sm.add_constant(x), None), (np.ones((len(x), 1)), x)):
        model = sm.GEE(positive * 1.0, design, groups, family=sm.families.Binomial(), offset=offset)
        fit = model.fit(cov_type="bias_reduced", ctol=1e-12)
        found.append((fit.params[-1], fit.bse[-1]))
    return found


@pytest.mark.parametrize("rows", [1, 4])
def test_slope_and_intercept_equal_those_of_statsmodels(rows):
    score, positive, groups = clinic(np.random.default_rng(rows), 80, rows, slope=0.6, intercept=0.5)
    factor = t.isf(0.025, 79)
    for ours, (value, error) in zip(
        recalibration(score, positive, groups), by_statsmodels(score, positive, groups), strict=True
    ):
        assert ours.value == pytest.approx(value, abs=1e-6)
        assert ours.high - ours.value == pytest.approx(factor * error, rel=1e-5)
        assert ours.method == "clustered Wald"


def test_a_calibrated_score_has_slope_one_and_intercept_zero():
    slope, intercept = recalibration(*clinic(np.random.default_rng(0), 20_000))
    assert slope.value == pytest.approx(1.0, abs=0.05)
    assert intercept.value == pytest.approx(0.0, abs=0.05)


def test_a_scaled_logit_divides_the_slope_by_the_same_factor():
    score, positive, groups = clinic(np.random.default_rng(1), 300)
    stretched = recalibration(expit(2.0 * logit(score)), positive, groups)[0]
    plain = recalibration(score, positive, groups)[0]
    assert stretched.value == pytest.approx(plain.value / 2, rel=1e-6)
    assert stretched.high == pytest.approx(plain.high / 2, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-2, 2))
def test_the_intercept_is_minus_the_constant_added_to_the_logit(seed, shift):
    score, positive, groups = clinic(np.random.default_rng(seed), 50)
    found, moved = (recalibration(x, positive, groups)[1].value for x in (score, expit(logit(score) + shift)))
    assert moved == pytest.approx(found - shift, abs=1e-5)


def test_copies_of_a_patient_change_neither_number_nor_interval():
    score, positive, groups = clinic(np.random.default_rng(2), 60)
    once = recalibration(score, positive, groups)
    four = recalibration(np.tile(score, 4), np.tile(positive, 4), np.tile(groups, 4))
    for one, other in zip(once, four, strict=True):
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=1e-6)


def test_intervals_of_images_of_few_patients_have_their_coverage():
    rng = np.random.default_rng(3)
    held = []
    for _ in range(300):
        found = recalibration(*clinic(rng, 40, 3, slope=1.0, intercept=0.0))[1]
        held.append(found.low <= 0.0 <= found.high)
    assert np.mean(held) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300)


def test_the_normal_distribution_would_give_narrower_intervals_of_few_patients():
    score, positive, groups = clinic(np.random.default_rng(4), 12)
    found = recalibration(score, positive, groups)[1]
    narrower = (found.high - found.value) * norm.isf(0.025) / t.isf(0.025, 11)
    assert found.high - found.value > narrower > 0


@pytest.mark.parametrize(
    ("score", "positive", "reason"),
    [
        ([0.1, 0.2, 0.3], [True, True, True], "one class"),
        ([0.1], [False], "one class"),
        ([0.3, 0.3, 0.3, 0.3], [True, False, True, False], "constant"),
        ([0.1, 0.2, 0.8, 0.9], [False, False, True, True], "separates the classes"),
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], "separates the classes"),
        ([0.1, 0.5, 0.5, 0.9], [False, False, True, True], "separates the classes"),
    ],
)
def test_an_undefined_slope_has_a_note(score, positive, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope, intercept = recalibration(np.array(score), np.array(positive), np.arange(len(score)))
    assert np.isnan([slope.value, slope.low, slope.high]).all()
    assert reason in slope.note
    assert np.isnan(intercept.value) == (reason == "one class")


def test_scores_of_zero_and_one_are_clipped_at_the_resolution_of_float32():
    score, positive = np.array([0.0, 0.0, 1.0, 1.0, 0.4]), np.array([False, True, True, False, True])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope, intercept = recalibration(score, positive, np.arange(5))
    assert np.isfinite([slope.value, slope.low, slope.high, intercept.value]).all()


def test_a_fit_that_depends_on_one_patient_has_a_note_instead_of_an_interval():
    score, positive, groups = clinic(np.random.default_rng(6), 30)
    groups[:-1] = 0  # the other patient has one image, which gives no slope
    slope, intercept = recalibration(score, positive, groups)
    assert np.isfinite(slope.value)
    assert np.isnan(slope.high)
    assert "one group" in slope.note
    assert np.isfinite(intercept.high)


def test_one_group_has_values_with_a_note_instead_of_intervals():
    score, positive, _ = clinic(np.random.default_rng(5), 30)
    for found in recalibration(score, positive, ["a"] * 30):
        assert np.isfinite(found.value)
        assert np.isnan([found.low, found.high]).all()
        assert "one group" in found.note
