"""Wilson's intervals of proportions, of independent samples and of groups."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t
from statsmodels.stats.proportion import proportion_confint

from fibrolab.errors import DataError
from fibrolab.evaluation.intervals.proportions import (
    CLUSTERED,
    UNSEEN,
    WILSON,
    effective_counts,
    effective_groups,
    effective_number,
    estimate,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (1, 1), (7, 10), (81, 263), (949_000, 1_000_000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_agrees_with_statsmodels_and_scipy(hits, n, level):
    ours = wilson(hits, n, level)
    assert ours == pytest.approx(proportion_confint(hits, n, 1 - level, "wilson"), abs=1e-12)
    theirs = binomtest(hits, n).proportion_ci(level, "wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_gives_newcombe_s_published_interval():
    # Newcombe, Stat Med 17:857-872, 1998, table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 0.0), (1, 2, 1.0), (math.nan, 2)])
def test_an_impossible_proportion_is_refused(arguments):
    with pytest.raises(DataError, match="hits"):
        wilson(*arguments)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.randoms())
def test_one_row_a_group_has_wilsons_interval_in_any_order(hits, random):
    names = [f"patient {i}" for i in range(len(hits))]
    random.shuffle(names)
    found = estimate(np.array(hits), groups=names)
    assert (found.low, found.high) == wilson(sum(hits), len(hits))
    assert (found.method, found.note) == (WILSON, "")
    assert found == estimate(np.array(hits))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9)), min_size=1, max_size=80))
def test_a_clustered_interval_contains_its_proportion_and_is_not_narrower(rows):
    hits, counted, groups = (np.array(column) for column in zip(*rows, strict=True))
    found = estimate(hits, counted, groups)
    if not counted.any():
        assert math.isnan(found.value)
        assert math.isnan(found.low)
        assert found.note == "no sample to count"
        return
    right, n, _ = effective_counts(hits, counted, groups)
    assert found.value == hits[counted].mean()
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    assert 1 <= n <= counted.sum()
    assert right == pytest.approx(found.value * n)
    low, high = wilson((hits & counted).sum(), counted.sum())
    assert found.high - found.low >= high - low - 1e-12


def test_the_design_effect_equals_that_of_leaving_out_each_group_by_hand():
    hits, sizes = np.array([2.0, 0.0, 3.0, 1.0, 4.0, 1.0]), np.array([2, 3, 4, 1, 5, 3])
    without = [9 / 16, 11 / 15, 8 / 14, 10 / 17, 7 / 13, 10 / 15]
    variance = 5 / 6 * sum((share - 11 / 18) ** 2 for share in without)
    design_effect = variance / (11 / 18 * 7 / 18 / 17)
    number = 18**2 / (4 + 9 + 16 + 1 + 25 + 9)
    few_groups = (t.isf(0.025, 17) / t.isf(0.025, number - 1)) ** 2
    assert 18 / design_effect * few_groups > 5.5  # yet below the 18 rows, so that no bound is met
    assert effective_number(hits, sizes) == (pytest.approx(18 / design_effect * few_groups), "")


def test_the_variance_of_equal_groups_is_that_of_the_ratio_estimator():
    hits, sizes = np.array([2.0, 0.0, 3.0, 1.0, 3.0, 3.0]), np.full(6, 3)
    variance = 6 / 5 * ((hits - 2) ** 2).sum() / 18**2  # of 12 hits in 18; as in Rao and Scott's equation 3
    few_groups = (t.isf(0.025, 17) / t.isf(0.025, 5)) ** 2
    wanted = 18 / (variance / (2 / 3 * 1 / 3 / 17)) * few_groups
    assert effective_number(hits, sizes) == (pytest.approx(wanted), "")


def test_agreeing_copies_within_patients_change_nothing():
    hits = np.random.default_rng(0).random(100) < 0.8
    alone = estimate(hits)
    copied = estimate(np.repeat(hits, 5), groups=np.repeat(np.arange(100), 5))
    assert copied.method == CLUSTERED
    assert copied.value == alone.value
    # A little wider than of 100 patients, since their variance is estimated.
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.03)
    assert copied.high - copied.low > alone.high - alone.low


@pytest.mark.parametrize("right", [True, False])
def test_without_a_miss_or_a_hit_each_group_counts_as_one_sample(right):
    found = estimate(np.full(40, right), groups=np.repeat(np.arange(8), 5))
    assert (found.low, found.high) == wilson(8 * right, 8)
    assert found.note == UNSEEN


def test_one_miss_does_not_make_an_interval_narrower_than_none():
    groups = np.repeat(np.arange(50), 5)
    hits = np.ones(250, dtype=bool)
    without = estimate(hits, groups=groups)
    hits[0] = False
    found = estimate(hits, groups=groups)
    assert found.high - found.low > without.high - without.low
    assert found.note == UNSEEN


def test_one_group_is_one_independent_unit():
    found = estimate(np.array([True, False, True]), groups=["p"] * 3)
    assert (found.low, found.high) == wilson(2 / 3, 1)
    assert found.note == "one group only: its samples count as one"


def test_only_the_groups_of_counted_samples_are_independent_units():
    hits, counted = np.array([True, False, True, True]), np.array([True, True, False, False])
    found = estimate(hits, counted, ["a", "b", "a", "b"])
    assert (found.method, found.low, found.high) == (WILSON, *wilson(1, 2))


def test_arguments_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="2 counted"):
        estimate(np.array([True]), np.array([True, False]))


@pytest.mark.parametrize(("patients", "share"), [(10, 0.7), (20, 0.9), (50, 0.7), (50, 0.97)])
def test_clustered_intervals_have_their_coverage_for_correlated_samples(patients, share):
    rng, size, studies = np.random.default_rng(5), 5, 1200
    groups = np.repeat(np.arange(patients), size)
    covered = naive = 0
    for _ in range(studies):
        skill = rng.beta(share, 1 - share, patients)  # intraclass correlation 0.5
        hits = rng.random(len(groups)) < skill[groups]
        found = estimate(hits, groups=groups)
        low, high = wilson(hits.sum(), len(hits))
        covered += found.low <= share <= found.high
        naive += low <= share <= high
    assert covered / studies > 0.93
    assert naive / studies < 0.9


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_intervals_have_their_coverage_if_a_few_patients_have_most_samples(correlation):
    rng, share, studies = np.random.default_rng(6), 0.7, 600
    groups = np.repeat(np.arange(20), np.maximum(1, 60 // np.arange(1, 21)))  # 60, 30, 20, 15, ... 3 samples
    covered = 0
    for _ in range(studies):
        own, each = rng.standard_normal(20)[groups], rng.standard_normal(len(groups))
        latent = np.sqrt(correlation) * own + np.sqrt(1 - correlation) * each
        found = estimate(latent < norm.ppf(share), groups=groups)
        covered += found.low <= share <= found.high
    assert covered / studies > 0.92  # 85 % if each group had the same weight


def test_the_effective_number_of_groups_is_their_number_only_if_they_are_equal():
    assert effective_groups(np.full(8, 5)) == pytest.approx(8)
    assert effective_groups(np.array([1000, 1, 1])) == pytest.approx(1.004, abs=1e-4)
    found = estimate(np.ones(1002, bool), groups=np.repeat(["one", "two", "three"], [1000, 1, 1]))
    assert found.low == pytest.approx(wilson(1, 1)[0], abs=0.01)  # hardly more than one independent patient
