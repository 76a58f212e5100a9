import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.errors import ConfigError
from fibrolab.evaluation.clinical.net_benefit import THRESHOLDS, curve


def at(found, threshold):
    return int(np.flatnonzero(np.isclose(found.thresholds, threshold))[0])


def test_net_benefit_of_five_patients_equals_values_computed_by_hand():
    score = np.array([0.9, 0.6, 0.4, 0.3, 0.1])
    positive = np.array([True, False, True, False, False])
    found = curve(score, positive, np.arange(5), resamples=20)
    # at .2: four are treated, two rightly: 2/5 - 2/5 * .2/.8; at .5: two, one rightly: 1/5 - 1/5 * 1
    assert found.run[at(found, 0.2)] == pytest.approx(0.3)
    assert found.run[at(found, 0.5)] == pytest.approx(0.0)
    assert found.run[at(found, 0.8)] == pytest.approx(0.2)
    assert found.run[at(found, 0.95)] == 0.0
    assert found.all[at(found, 0.2)] == pytest.approx(2 / 5 - 3 / 5 * 0.25)


def test_a_patient_at_the_threshold_probability_is_treated():
    found = curve(np.array([0.3, 0.1]), np.array([True, False]), np.arange(2), resamples=2)
    assert found.run[at(found, 0.3)] == 0.5
    assert found.run[at(found, 0.31)] == 0.0


@pytest.mark.parametrize("prevalence", [0.2, 0.5, 0.75])
def test_treating_all_has_no_net_benefit_if_the_threshold_is_the_prevalence(prevalence):
    positive = np.arange(40) < 40 * prevalence
    found = curve(np.full(40, 0.5), positive, np.arange(40), resamples=2)
    assert found.all[at(found, prevalence)] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(found.all) < 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_truth_has_the_largest_net_benefit_and_treating_none_has_zero(seed, n):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    truth, guess, none = (
        curve(score, positive, np.arange(n), resamples=2).run
        for score in (positive.astype(float), rng.random(n), np.zeros(n))
    )
    np.testing.assert_allclose(truth, positive.mean())
    assert (guess <= truth + 1e-12).all()
    assert (none == 0.0).all()


def test_the_curve_equals_a_count_at_every_threshold():
    rng = np.random.default_rng(1)
    score, positive = rng.integers(0, 101, 300) / 100, rng.random(300) < 0.3
    found = curve(score, positive, np.arange(300), resamples=2)
    for t, benefit in zip(found.thresholds, found.run, strict=True):
        right, wrong = (score >= t) & positive, (score >= t) & ~positive
        assert benefit == pytest.approx(right.sum() / 300 - wrong.sum() / 300 * t / (1 - t), abs=1e-12)


def test_copies_of_a_patient_make_the_band_no_narrower():
    rng = np.random.default_rng(2)
    score = rng.random(60)
    positive = rng.random(60) < score
    groups = np.arange(60)
    once = curve(score, positive, groups, resamples=200)
    four = curve(np.tile(score, 4), np.tile(positive, 4), np.tile(groups, 4), resamples=200)
    alone = curve(np.tile(score, 4), np.tile(positive, 4), np.arange(240), resamples=200)
    np.testing.assert_allclose(four.high - four.low, once.high - once.low, atol=1e-12)
    assert (alone.high - alone.low).mean() < 0.6 * (once.high - once.low).mean()


def test_the_band_covers_the_benefit_of_the_population():
    rng = np.random.default_rng(3)
    middle, inside = at(curve(np.ones(2), np.ones(2, bool), [0, 1], resamples=2), 0.4), []
    for seed in range(150):
        score = rng.random(150)
        found = curve(score, rng.random(150) < score, np.arange(150), resamples=200, seed=seed)
        truth = (1 - 0.4**2) / 2 - (1 - 0.4) ** 2 / 2 * 0.4 / 0.6  # of a calibrated uniform score
        inside.append(found.low[middle] <= truth <= found.high[middle])
    assert np.mean(inside) > 0.88


def test_the_same_seed_gives_the_same_band_in_any_order_of_rows():
    rng = np.random.default_rng(4)
    score, positive, groups = rng.random(50), rng.random(50) < 0.5, rng.integers(0, 20, 50)
    order = rng.permutation(50)
    one = curve(score, positive, groups, resamples=50, seed=9)
    two = curve(score[order], positive[order], groups[order], resamples=50, seed=9)
    np.testing.assert_allclose(one.low, two.low, atol=1e-12)
    assert not np.array_equal(one.low, curve(score, positive, groups, resamples=50, seed=8).low)


def test_one_group_has_a_curve_without_a_band_and_says_why():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = curve(np.array([0.7, 0.2]), np.array([True, False]), ["a", "a"])
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert "one group" in found.note
    assert found.run[at(found, 0.5)] == 0.5


@pytest.mark.parametrize("value", [True, False])
def test_one_class_only_has_a_curve_too(value):
    found = curve(np.full(4, 0.6), np.full(4, value), np.arange(4), resamples=5)
    assert found.run[at(found, 0.5)] == (1.0 if value else -1.0)
    assert found.low[at(found, 0.5)] == found.run[at(found, 0.5)]


def test_thresholds_run_from_one_to_ninety_nine_per_cent():
    assert (THRESHOLDS[0], THRESHOLDS[-1], len(THRESHOLDS)) == (0.01, 0.99, 99)


def test_a_level_outside_0_and_1_is_refused():
    with pytest.raises(ConfigError, match="level"):
        curve(np.ones(3), np.ones(3, bool), np.arange(3), level=95)
