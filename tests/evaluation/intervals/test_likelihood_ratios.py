import math
import warnings

import numpy as np
import pytest
from scipy.stats import norm

from fibrolab.evaluation.intervals import by_metric
from fibrolab.evaluation.intervals.bootstrap import resampled
from fibrolab.evaluation.intervals.likelihood_ratios import CLUSTERED, METHOD, estimate
from fibrolab.evaluation.measures.weighted import ratio


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def table_of_four(ill, called_ill, well, called_well):
    positive = np.repeat([True, False], [ill, well])
    answered = np.concatenate([np.arange(ill) < called_ill, np.arange(well) < called_well])
    return answered, positive


def test_the_interval_equals_that_of_simel_samsa_and_matchar_by_hand():
    found = estimate(*table_of_four(100, 80, 100, 10))
    half = 1.959963984540054 * math.sqrt(1 / 80 - 1 / 100 + 1 / 10 - 1 / 100)
    assert found.value == pytest.approx(8.0)
    assert (found.low, found.high) == pytest.approx((8 * math.exp(-half), 8 * math.exp(half)))
    assert found.method == METHOD


def test_the_ratio_of_the_other_class_is_the_inverse_with_inverted_interval():
    answered, positive = table_of_four(40, 30, 60, 12)
    for groups in (None, np.arange(100) % 25):
        ours, theirs = (estimate(answered, truth, groups) for truth in (positive, ~positive))
        inverse = (1 / theirs.value, 1 / theirs.high, 1 / theirs.low)
        assert (ours.value, ours.low, ours.high) == pytest.approx(inverse)


def test_copies_within_patients_change_nothing():
    answered, positive = table_of_four(80, 60, 120, 20)
    once = estimate(answered, positive)
    copied = estimate(*(np.repeat(x, 5) for x in (answered, positive)), np.repeat(np.arange(200), 5))
    assert copied.method == CLUSTERED
    assert copied.value == pytest.approx(once.value)
    assert math.log(copied.high / copied.low) == pytest.approx(math.log(once.high / once.low), rel=0.03)


@pytest.mark.parametrize(
    ("cells", "value", "why"),
    [
        ((3, 2, 0, 0), math.nan, "no negative sample"),
        ((0, 0, 3, 2), math.nan, "no positive sample"),
        ((0, 0, 0, 0), math.nan, "no positive sample"),
        ((4, 3, 4, 0), math.nan, "no upper bound"),
        ((4, 0, 4, 0), math.nan, "no upper bound"),
        ((4, 0, 4, 2), 0.0, "logarithm of 0"),
        ((4, 4, 4, 4), 1.0, "same result"),
    ],
)
def test_extreme_ratios_have_a_note_instead_of_an_interval(cells, value, why):
    found = estimate(*table_of_four(*cells))
    assert found.value == pytest.approx(value, nan_ok=True)
    assert np.isnan([found.low, found.high]).all()
    assert why in found.note


def test_a_class_of_one_group_has_a_ratio_without_an_interval():
    found = estimate(*table_of_four(4, 3, 6, 2), np.array([0] * 4 + [1, 1, 2, 2, 3, 3]))
    assert found.value == pytest.approx(0.75 / (1 / 3))
    assert math.isnan(found.low)
    assert "one group only" in found.note


def studies(per_patient, number):
    """100 samples; 5 % of those without the end point are predicted positive."""
    rng = np.random.default_rng(0)
    groups = np.arange(100) // per_patient
    positive = groups < 40 / per_patient
    for _ in range(number):
        own, each = rng.standard_normal(groups[-1] + 1)[groups], rng.standard_normal(100)
        latent = (own + each) / math.sqrt(2)
        yield np.where(positive, latent < norm.ppf(0.85), latent > norm.ppf(0.95)), positive, groups


@pytest.mark.parametrize("per_patient", [1, 4])
def test_intervals_of_few_false_positives_have_their_coverage(per_patient):
    found = [estimate(*study) for study in studies(per_patient, 500)]
    known = [each.low <= 0.85 / 0.05 <= each.high for each in found if math.isfinite(each.low)]
    assert len(known) > 400  # others have no false positive
    assert np.mean(known) > 0.93


def test_the_log_method_has_an_interval_where_the_bootstrap_has_none():
    without = {"bootstrap": 0, "logarithm": 0}
    for answered, positive, groups in studies(1, 40):

        def measure(weights, answered=answered, positive=positive):
            rows = np.ones((1, 100)) if weights is None else weights
            ill, well = (rows @ (answered & of) / (rows @ of) for of in (positive, ~positive))
            return {"lr": ratio(ill, well)}

        row = resampled(measure, groups.astype(str), 100).loc["lr"]
        without["bootstrap"] += math.isnan(by_metric.resampled(row, one_group=False).low)
        without["logarithm"] += math.isnan(estimate(answered, positive).low)
    assert without["bootstrap"] > 3 * without["logarithm"]
