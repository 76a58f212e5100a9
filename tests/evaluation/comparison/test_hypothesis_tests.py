"""Tests of differences, against scipy, statsmodels and cases computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation.comparison.hypothesis_tests import (
    ANOVA_LIMITS,
    anova,
    corrected_resampled_t,
    holm,
    mcnemar,
)


def arms(both, only_a, only_b, neither):
    """Correct predictions of two arms, with the given numbers of concordant and discordant samples."""
    counts = (both, only_a, only_b, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_gives_the_published_p_values_and_interval():
    # Fagerland, Lydersen and Laake 2013: airway hyper-responsiveness of 21 children before and after.
    right = arms(1, 1, 7, 12)
    assert mcnemar(*right, method="exact").p == pytest.approx(0.0703, abs=5e-5)
    found = mcnemar(*right)
    assert found.p == pytest.approx(0.0391, abs=5e-5)
    assert found.difference == pytest.approx(-6 / 21)
    # By hand: (2 - 8)/23 +- 1.96 sqrt((10/23 - (6/23)^2) / 23)
    assert (found.low, found.high) == pytest.approx((-0.5084, -0.0134), abs=5e-5)


@given(st.tuples(*[st.integers(0, 40)] * 4).filter(lambda counts: sum(counts) > 0))
def test_mcnemar_agrees_with_statsmodels_whichever_arm_is_first(counts):
    a, b = arms(*counts)
    exact, mid = mcnemar(a, b, method="exact"), mcnemar(a, b)
    theirs = reference_mcnemar([[counts[0], counts[1]], [counts[2], counts[3]]], exact=True)
    assert exact.p == pytest.approx(theirs.pvalue)
    assert exact.statistic == theirs.statistic
    assert mid.p <= exact.p + 1e-12
    turned = mcnemar(b, a)
    assert (turned.p, turned.difference, turned.low) == (mid.p, -mid.difference, pytest.approx(-mid.high))
    assert mid.low <= mid.difference <= mid.high


def test_identical_arms_have_p_1_and_arms_without_samples_have_no_p():
    right = np.array([True, False, True])
    found = mcnemar(right, right)
    assert (found.p, found.difference) == (1.0, 0.0)
    assert found.low < 0 < found.high
    empty = mcnemar(right[:0], right[:0])
    assert math.isnan(empty.p)
    assert "no sample" in empty.note


def test_mcnemar_refuses_repeated_groups_with_advice():
    right = np.array([True, False, True])
    with pytest.raises(DataError, match=r"1 of the 3 rows.*paired bootstrap"):
        mcnemar(right, right, groups=["a", "b", "a"])
    with pytest.raises(DataError, match="3, 2 and 3 rows"):
        mcnemar(right, right[:2])
    with pytest.raises(ConfigError, match="there is no 'mid'"):
        mcnemar(right, right, method="mid")


def test_anova_equals_scipy_and_has_a_note_on_its_assumptions():
    table = pd.DataFrame({"a": [0.9, 0.4, 0.5], "b": [0.95, 0.5, 0.7], "c": [0.8, np.nan, 0.3]})
    expected = stats.f_oneway([0.9, 0.4, 0.5], [0.95, 0.5, 0.7], [0.8, 0.3])
    found = anova(table)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.df, found.note) == ((2, 5), ANOVA_LIMITS)
    assert anova(table.T).df == (2, 5)


@pytest.mark.parametrize(
    "table", [{"a": [0.1, 0.2]}, {"a": [0.5], "b": [0.6]}, {"a": [0.5, 0.5], "b": [0.7, 0.7]}, {}]
)
@pytest.mark.filterwarnings("error")
def test_an_undefined_anova_is_nan_with_a_note(table):
    found = anova(pd.DataFrame(table))
    assert math.isnan(found.p)
    assert found.note


def test_the_resampled_t_equals_values_computed_by_hand():
    gaps = np.array([0.02, 0.05, -0.01, 0.04, 0.05])
    found = corrected_resampled_t(gaps, n_train=80, n_test=20)
    error = math.sqrt((1 / 5 + 1 / 4) * 0.00065)  # squares of -1, 2, -4, 1, 2 hundredths: 0.0026 over 4
    assert (found.difference, found.sd) == pytest.approx((0.03, math.sqrt(0.00065)))
    assert found.statistic == pytest.approx(0.03 / error)
    assert found.df == (4,)
    assert found.p == pytest.approx(2 * stats.t.sf(0.03 / error, 4))
    assert (found.low, found.high) == pytest.approx(
        (0.03 - 2.776445 * error, 0.03 + 2.776445 * error), rel=1e-6
    )


def test_without_correction_the_resampled_t_is_the_usual_t_test():
    gaps = np.random.default_rng(0).normal(0.1, 0.3, 10)
    expected = stats.ttest_1samp(gaps, 0)
    found = corrected_resampled_t(gaps, n_train=1e15, n_test=1)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize(
    ("gaps", "p", "words"),
    [
        ([0.1] * 5, math.nan, "variance is unknown"),
        ([0.0] * 5, 1.0, "agree"),
        ([0.2], math.nan, "two folds"),
        ([np.nan, 0.1], math.nan, "two folds"),
        ([], math.nan, "two folds"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_folds_that_do_not_differ_have_p_1_or_a_note(gaps, p, words):
    found = corrected_resampled_t(np.array(gaps), 80, 20)
    assert found.p == pytest.approx(p, nan_ok=True)
    assert words in found.note


def test_folds_without_samples_are_refused():
    with pytest.raises(DataError, match="above 0"):
        corrected_resampled_t(np.array([0.1, 0.2]), 80, 0)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_holm_equals_statsmodels(count):
    values = np.random.default_rng(count).integers(0, 20, count) / 50  # with ties
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1], abs=1e-12)


def test_holm_does_not_count_undefined_tests():
    adjusted = holm([0.01, np.nan, 0.04, 0.03])
    assert adjusted == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)


def test_differences_by_rounding_count_as_equal_folds():
    first, second = np.array([0.85, 0.90, 0.70]), np.array([0.80, 0.85, 0.65])
    gaps = first - second
    assert np.ptp(gaps) > 0  # in the last bits
    found = corrected_resampled_t(gaps, 80, 20)
    assert math.isnan(found.p)
    assert "their variance is unknown" in found.note
    assert corrected_resampled_t(gaps - gaps.mean(), 80, 20).p == 1.0
