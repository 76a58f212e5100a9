import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.evaluation.intervals.proportions import wilson
from fibrolab.evaluation.probabilities.calibration import BINS, reliability


def test_reliability_of_two_bins_equals_values_computed_by_hand():
    confidence = np.array([0.9, 0.5, 0.7, 0.6, 0.8, 0.55])
    hit = np.array([True, False, True, True, True, False])
    found = reliability(confidence, hit, bins=2)
    np.testing.assert_allclose(found.mean_confidence, [0.55, 0.8])
    np.testing.assert_allclose(found.proportion, [1 / 3, 1.0])
    np.testing.assert_array_equal(found.count, [3, 3])
    np.testing.assert_allclose([found.low[0], found.high[0]], wilson(1, 3))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([1, 2, 5, 1000]))
def test_bins_contain_every_row_once_in_order_and_none_is_empty(seed, n, levels):
    rng = np.random.default_rng(seed)
    confidence, hit = rng.integers(0, levels, n) / levels, rng.random(n) < 0.5
    found = reliability(confidence, hit, rng.integers(0, 30, n))
    assert found.count.sum() == n
    assert (found.count > 0).all()
    assert len(found.count) <= BINS
    assert (np.diff(found.mean_confidence) > 0).all()
    assert (found.count * found.proportion).sum() == pytest.approx(hit.sum())
    assert (found.count * found.mean_confidence).sum() == pytest.approx(confidence.sum())
    assert ((found.low <= found.proportion) & (found.proportion <= found.high)).all()


def test_different_confidences_fall_into_bins_of_equal_numbers():
    found = reliability(np.random.default_rng(3).random(200), np.ones(200, bool))
    np.testing.assert_array_equal(found.count, [20] * 10)


def test_images_of_one_patient_do_not_narrow_the_intervals():
    rng = np.random.default_rng(4)
    confidence, hit = rng.random(100), rng.random(100) < 0.5
    once = reliability(confidence, hit)
    four = reliability(np.tile(confidence, 4), np.tile(hit, 4), np.tile(np.arange(100), 4))
    np.testing.assert_allclose(four.proportion, once.proportion)
    assert (four.high - four.low > 0.9 * (once.high - once.low)).all()
