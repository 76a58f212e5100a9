"""Tests of differences, against scipy, statsmodels and cases worked by hand."""

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
from fibrolab.evaluation import shares
from fibrolab.evaluation.significance import (
    ANOVA_LIMITS,
    against_chance,
    anova,
    corrected_resampled_t,
    holm,
    mcnemar,
    paired_bootstrap,
)


def arms(both, only_a, only_b, neither):
    """Where two arms are right, so often together and alone."""
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


def test_identical_arms_have_p_1_and_no_arms_have_none():
    right = np.array([True, False, True])
    found = mcnemar(right, right)
    assert (found.p, found.difference) == (1.0, 0.0)
    assert found.low < 0 < found.high
    empty = mcnemar(right[:0], right[:0])
    assert math.isnan(empty.p)
    assert "no sample" in empty.note


def test_mcnemar_refuses_repeated_groups_and_says_what_to_use():
    right = np.array([True, False, True])
    with pytest.raises(DataError, match=r"1 of the 3 rows.*paired bootstrap"):
        mcnemar(right, right, groups=["a", "b", "a"])
    with pytest.raises(DataError, match="3, 2 and 3 rows"):
        mcnemar(right, right[:2])
    with pytest.raises(ConfigError, match="there is no 'mid'"):
        mcnemar(right, right, method="mid")


@pytest.mark.parametrize(
    ("hits", "n", "chance"), [(0, 5, 0.2), (5, 5, 0.2), (17, 40, 1 / 3), (300, 949, 0.3)]
)
def test_p_against_chance_is_that_of_the_exact_binomial_test(hits, n, chance):
    expected = stats.binomtest(hits, n, chance, alternative="greater").pvalue
    assert against_chance(hits, n, chance).p == pytest.approx(expected, rel=1e-9)


def test_p_against_chance_holds_for_the_effective_number_of_clustered_samples():
    hits = np.random.default_rng(3).random(30) < 0.65
    copied, groups = np.repeat(hits, 10), np.repeat(np.arange(30), 10)
    right, n, _ = shares.witnesses(copied, groups=groups)
    clustered, naive = against_chance(right, n, 0.5).p, against_chance(copied.sum(), 300, 0.5).p
    alone = against_chance(hits.sum(), 30, 0.5).p
    assert alone < clustered < 1.5 * alone  # few groups cost a little
    assert naive < clustered / 100


def test_against_chance_at_its_borders():
    assert against_chance(3, 3, 0.0).p == 0
    assert against_chance(3, 3, 1.0).p == 1
    assert math.isnan(against_chance(0, 0, 0.5).p)
    with pytest.raises(DataError, match="chance"):
        against_chance(1, 3, 1.5)


def test_anova_is_scipy_s_between_models_and_says_what_it_ignores():
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
def test_an_undefined_anova_is_nan_with_a_reason(table):
    found = anova(pd.DataFrame(table))
    assert math.isnan(found.p)
    assert found.note


def test_the_resampled_t_is_worked_by_hand():
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


def test_without_overlap_to_correct_for_it_is_the_usual_t_test():
    gaps = np.random.default_rng(0).normal(0.1, 0.3, 10)
    expected = stats.ttest_1samp(gaps, 0)
    found = corrected_resampled_t(gaps, n_train=1e15, n_test=1)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize(
    ("gaps", "p", "words"),
    [
        ([0.1] * 5, math.nan, "spread is unknown"),
        ([0.0] * 5, 1.0, "agree"),
        ([0.2], math.nan, "two folds"),
        ([np.nan, 0.1], math.nan, "two folds"),
        ([], math.nan, "two folds"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_folds_that_do_not_differ_have_no_wrong_p(gaps, p, words):
    found = corrected_resampled_t(np.array(gaps), 80, 20)
    assert found.p == pytest.approx(p, nan_ok=True)
    assert words in found.note


def test_folds_without_samples_are_refused():
    with pytest.raises(DataError, match="above 0"):
        corrected_resampled_t(np.array([0.1, 0.2]), 80, 0)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_holm_is_statsmodels_s(count):
    values = np.random.default_rng(count).integers(0, 20, count) / 50  # with ties
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1], abs=1e-12)


def test_holm_does_not_count_what_is_undefined():
    adjusted = holm([0.01, np.nan, 0.04, 0.03])
    assert adjusted == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)


def test_the_paired_bootstrap_gives_quantiles_and_the_p_that_inverts_them():
    b = np.random.default_rng(0).random(999)
    a = b + np.linspace(-0.1, 0.9, 999)
    found = paired_bootstrap(a, b, difference=0.4)
    assert found.difference == 0.4
    assert (found.low, found.high) == pytest.approx((-0.075, 0.875))
    assert found.p == pytest.approx(2 * (1 + 100) / 1000)  # 100 of 999 differences are below 0
    turned = paired_bootstrap(b, a)
    assert (turned.p, turned.low) == (found.p, pytest.approx(-found.high))


def test_arms_that_always_differ_have_the_least_p_and_identical_ones_p_1():
    draws = np.random.default_rng(0).random(1000)
    assert paired_bootstrap(draws + 0.1, draws).p == pytest.approx(2 / 1001)
    assert paired_bootstrap(draws, draws).p == 1


def test_metrics_that_resamples_do_not_define_have_no_p():
    draws = np.where(np.arange(100) < 20, np.nan, 0.5)
    found = paired_bootstrap(draws, np.full(100, 0.4), difference=0.1)
    assert math.isnan(found.p)
    assert math.isnan(found.low)
    assert found.difference == 0.1
    assert "80 of 100" in found.note
    with pytest.raises(DataError, match="same resamples"):
        paired_bootstrap(draws, draws[:50])


def test_p_of_the_paired_bootstrap_is_uniform_where_the_arms_are_alike():
    rng, n = np.random.default_rng(1), 60
    found = []
    for _ in range(400):
        gaps = rng.normal(size=n)
        draws = rng.multinomial(n, np.full(n, 1 / n), size=199) @ gaps / n
        found.append(paired_bootstrap(draws, np.zeros(199)).p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def test_folds_that_differ_by_rounding_alone_have_no_spread_to_test_with():
    first, second = np.array([0.85, 0.90, 0.70]), np.array([0.80, 0.85, 0.65])
    gaps = first - second
    assert np.ptp(gaps) > 0  # in the last bits
    found = corrected_resampled_t(gaps, 80, 20)
    assert math.isnan(found.p)
    assert "their spread is unknown" in found.note
    assert corrected_resampled_t(gaps - gaps.mean(), 80, 20).p == 1.0
