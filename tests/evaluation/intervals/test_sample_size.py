"""Patients that a study needs, against other software, integrals and simulated studies."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

from fibrolab.evaluation.comparison.hypothesis_tests import mcnemar
from fibrolab.evaluation.intervals import sample_size
from fibrolab.evaluation.intervals.proportions import wilson

AREAS = st.floats(0.55, 0.99)


@pytest.mark.parametrize(
    ("first", "second", "correlation"), [(0.7, 0.7, 1), (0.99, 0.9, 0.3), (0.6, 0.95, 0.8)]
)
def test_the_component_is_a_bivariate_normal_probability(first, second, correlation):
    both = stats.multivariate_normal([0, 0], [[1, correlation / 2], [correlation / 2, 1]])
    expected = both.cdf(stats.norm.ppf([first, second])) - first * second
    assert sample_size.auc_component(first, second, correlation) == pytest.approx(expected, abs=1e-8)


def test_at_chance_the_variance_is_that_of_the_rank_sum_test():
    assert sample_size.auc_component(0.5, 0.5) == pytest.approx(1 / 12)


@pytest.mark.parametrize(("area", "more"), [(0.7, 1.01), (0.85, 1.07), (0.95, 1.31)])
def test_hanley_and_mcneil_need_as_many_more_patients_as_documented(area, more):
    exponential = area / (2 - area) + 2 * area**2 / (1 + area) - 2 * area**2
    assert exponential / (2 * sample_size.auc_component(area, area)) == pytest.approx(more, abs=0.005)


@given(AREAS, AREAS, st.floats(0, 0.99))
def test_correlated_arms_need_fewer_patients_and_two_cohorts_the_most(first, second, correlation):
    if abs(first - second) < 0.01:
        return
    paired = sample_size.two_aucs(first, second, 0.4, correlation)
    assert 0 < sample_size.two_aucs(first, second, 0.4, correlation + 0.01) < paired
    assert paired <= sample_size.two_aucs(first, second, 0.4, None) * (1 + 1e-9)
    assert paired == pytest.approx(sample_size.two_aucs(second, first, 0.6, correlation))


def study(areas, correlation, positives, negatives, rng):
    """Scores (2, N) of two arms by normal distributions, with their placements."""
    shared = rng.normal(size=positives + negatives)
    own = rng.normal(size=(2, positives + negatives))
    scores = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    scores[:, :positives] += math.sqrt(2) * stats.norm.ppf(areas)[:, None]
    greater = scores[:, :positives, None] > scores[:, None, positives:]
    return greater.mean(axis=2), greater.mean(axis=1)


def test_the_paired_test_has_the_planned_power():
    rng, areas, studies = np.random.default_rng(0), (0.9, 0.8), 1500
    n = sample_size.two_aucs(*areas, prevalence=0.4, correlation=0.5)
    positives, negatives = math.ceil(0.4 * n), math.ceil(0.6 * n)
    rejected = 0
    for _ in range(studies):
        above, below = study(areas, 0.5, positives, negatives, rng)
        gaps = above[0] - above[1], below[0] - below[1]
        error = math.sqrt(gaps[0].var(ddof=1) / positives + gaps[1].var(ddof=1) / negatives)
        rejected += abs(gaps[0].mean()) > 1.96 * error
    assert rejected / studies == pytest.approx(0.8, abs=0.035)


def test_the_logit_interval_has_the_planned_width_and_excludes_the_planned_value():
    rng, studies = np.random.default_rng(1), 800
    for n, half, power in (
        (sample_size.auc_within(0.85, 0.05, 0.4), 0.05, None),
        (sample_size.auc_above(0.85, 0.75, 0.4), None, 0.8),
    ):
        positives, negatives = math.ceil(0.4 * n), math.ceil(0.6 * n)
        ends = []
        for _ in range(studies):
            above, below = study(np.array([0.85, 0.85]), 0, positives, negatives, rng)
            area = above[0].mean()
            variance = above[0].var(ddof=1) / positives + below[0].var(ddof=1) / negatives
            reach = 1.96 * math.sqrt(variance) / (area * (1 - area))
            ends.append([1 / (1 + math.exp(-math.log(area / (1 - area)) + s * reach)) for s in (1, -1)])
        low, high = np.array(ends).T
        if half:
            assert (high - low).mean() / 2 == pytest.approx(half, rel=0.03)
        if power:
            assert power - 0.03 < (low > 0.75).mean() < power + 0.06


@given(st.floats(0.02, 0.98), st.floats(0.02, 0.3), st.sampled_from([0.9, 0.95]))
def test_wilsons_interval_has_exactly_the_planned_width(share, half_width, level):
    n = sample_size.proportion_within(share, half_width, level)
    low, high = wilson(share * n, n, level)
    assert (high - low) / 2 == pytest.approx(half_width)


def test_wilsons_interval_excludes_the_value_with_the_planned_power():
    n = math.ceil(sample_size.proportion_above(0.6, 0.5))
    assert n == 194  # (1.95996 x 0.5 + 0.84162 x 0.489898)^2 / 0.01 = 193.8
    power = sum(stats.binom.pmf(k, n, 0.6) for k in range(n + 1) if wilson(k, n)[0] > 0.5)
    assert power == pytest.approx(0.8, abs=0.03)


def test_two_cohorts_need_as_many_patients_as_in_r():
    # The example of R's power.prop.test(p1 = .50, p2 = .75, power = .90): n = 76.7 in each group.
    assert sample_size.two_unpaired_proportions(0.5, 0.75, power=0.9) == pytest.approx(76.7, abs=0.05)
    theirs = samplesize_proportions_2indep_onetail(0.25, 0.5, 0.9, alpha=0.05, alternative="two-sided")
    assert sample_size.two_unpaired_proportions(0.5, 0.75, power=0.9) == pytest.approx(theirs, rel=0.05)


def test_mcnemars_test_has_the_planned_power():
    rng, studies = np.random.default_rng(2), 1500
    discordant = sample_size.discordant_proportion(0.9, 0.8, 0.3)
    assert discordant == pytest.approx(0.9 * 0.2 + 0.1 * 0.8 - 2 * 0.3 * 0.3 * 0.4)
    n = math.ceil(sample_size.two_proportions(0.9, 0.8, discordant))
    only = ((discordant + 0.1) / 2, (discordant - 0.1) / 2)
    rejected = 0
    for _ in range(studies):
        kind = rng.choice(3, size=n, p=[*only, 1 - discordant])
        rejected += mcnemar(kind != 1, kind != 0).p < 0.05
    assert rejected / studies == pytest.approx(0.8, abs=0.035)


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.integers(0, 20))
def test_any_possible_pair_of_arms_is_within_the_limits(first, second, both):
    least, most = sample_size.discordant_limits(first, second)
    overlap = max(0, first + second - 1), min(first, second)
    joint = overlap[0] + (overlap[1] - overlap[0]) * both / 20
    assert least - 1e-9 <= first + second - 2 * joint <= most + 1e-9


def test_copied_rows_count_as_one_and_independent_rows_count_fully():
    assert sample_size.design_effect(5, 1) == 5
    assert sample_size.design_effect(5, 0) == 1
    assert sample_size.design_effect(5, 0.5) == 3
    assert sample_size.design_effect(1, 0.5) == 1


def test_the_needed_patients_scale_with_the_observed_variance():
    found = sample_size.needed_from(difference=0.02, variance=0.0004, n=100)
    assert found.patients == 785  # (1.95996 + 0.84162)^2 x 0.0004 x 100 / 0.0004 = 784.9
    assert found.note == sample_size.CAVEAT
    # Two arms seen at the variance that the plan expects, at any n, need what the plan says.
    planned = sample_size.two_aucs(0.9, 0.85, 0.4, 0.5)
    z = 1.959964 + 0.841621
    assert sample_size.needed_from(0.05, 0.05**2 / z**2 * planned / 60, 60).patients == math.ceil(planned)
    assert sample_size.needed_from(-0.02, 0.0004, 100) == found


def test_the_needed_patients_follow_from_discordant_ones():
    found = sample_size.needed_from_discordant(9, 6, 100)
    assert found.patients == math.ceil(sample_size.two_proportions(0.09, 0.06, 0.15))
    assert sample_size.needed_from_discordant(6, 9, 100) == found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (sample_size.needed_from(0.0, 0.1, 50), "do not differ"),
        (sample_size.needed_from(0.1, 0.0, 50), "variance of the difference is 0"),
        (sample_size.needed_from(math.nan, 0.1, 50), "not defined"),
        (sample_size.needed_from(0.1, math.nan, 50), "not defined"),
        (sample_size.needed_from_discordant(4, 4, 50), "do not differ"),
        (sample_size.needed_from_discordant(0, 0, 0), "no patient"),
        (sample_size.needed_from_discordant(4, 0, 35), "on only 4 of 35 patients: too few"),
    ],
)
def test_impossible_plans_have_a_note(found, words):
    assert math.isnan(found.patients)
    assert words in found.note
