import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from fibrolab.evaluation.intervals import delong, placement_values

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "reference" / "asah.csv"
MARKERS = ("wfns", "s100b", "ndka")


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@st.composite
def cases(draw, arms=2, largest=40):
    """Tied scores of some arms, a truth with two of each class at least, and groups that may hold both."""
    n = draw(st.integers(6, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positive = rng.permutation(np.arange(n) < draw(st.integers(2, n - 2)))
    scores = rng.integers(0, draw(st.sampled_from([3, 8, 1000])), (arms, n)) + positive
    groups = rng.integers(draw(st.integers(3, n)), size=n)
    return scores.astype(float), positive, groups


def pair_by_pair(scores, positive, groups):
    """Obuchowski's estimator as written in the paper (equations 3 to 6), over all pairs."""
    m, n = positive.sum(), (~positive).sum()
    order = np.sign(scores[:, positive, None] - scores[:, None, ~positive]) / 2 + 0.5  # (M, m, n)
    area = order.mean(axis=(1, 2))
    v10, v01 = order.mean(axis=2), order.mean(axis=1)
    names = np.unique(groups)
    x = np.array([(v10[:, groups[positive] == g] - area[:, None]).sum(axis=1) for g in names]).T
    y = np.array([(v01[:, groups[~positive] == g] - area[:, None]).sum(axis=1) for g in names]).T
    i10, i01, i = len(np.unique(groups[positive])), len(np.unique(groups[~positive])), len(names)
    s10, s01, s11 = i10 / ((i10 - 1) * m) * x @ x.T, i01 / ((i01 - 1) * n) * y @ y.T, i / (i - 1) * x @ y.T
    return area, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def two_groups_of_each_class(positive, groups):
    return min(len(set(groups[positive])), len(set(groups[~positive]))) >= 2


# Against values of other software


@pytest.fixture(scope="module")
def asah():
    if not REFERENCE.is_file():
        pytest.skip(f"the reference data is not beside the project ({REFERENCE})")
    return pd.read_csv(REFERENCE)


@pytest.fixture(scope="module")
def published_areas(asah):
    return delong.areas(asah[list(MARKERS)].to_numpy().T, (asah["outcome"] == "Poor").to_numpy())


@pytest.mark.shared
@pytest.mark.parametrize(
    ("arm", "auc", "variance", "low", "high"),
    [
        (0, 0.823678861788618, 0.00146991470882363, 0.74853489, 0.89882284),
        (1, 0.73136856, 0.00266868245717244, 0.63011821, 0.83261892),
        (2, 0.611957994579946, 0.0031908105493913, 0.501244999271703, 0.722670989888189),
    ],
)
def test_areas_variances_and_plain_intervals_equal_those_of_proc(
    published_areas, arm, auc, variance, low, high
):
    value, found = published_areas.values[arm], published_areas.covariance[arm, arm]
    assert value == pytest.approx(auc, abs=5e-9)
    assert found == pytest.approx(variance, rel=1e-12)
    assert delong.interval(value, found, scale="plain") == pytest.approx((low, high), abs=5e-9)


@pytest.mark.shared
def test_covariances_are_those_of_proc(published_areas):
    found = published_areas.covariance
    np.testing.assert_array_equal(found, found.T)
    expected = (-0.000532967856762438, -0.000756164938056579, 0.00119615567376754)
    assert (found[0, 2], found[2, 1], found[1, 0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("first", "second", "z", "p", "low", "high"),
    [
        (0, 1, 2.20898359144091, 0.0271757822291882, 0.0104062, 0.1742144),
        (0, 2, 2.79777591868904, 0.00514557970691098, 0.0634012, 0.3600406),
        (2, 1, -1.39077002573558, 0.164295175223054, -0.2876917, 0.0488706),
    ],
)
def test_paired_tests_are_those_of_proc(published_areas, first, second, z, p, low, high):
    found = delong.paired(published_areas, first, second)
    assert (found.statistic, found.p) == pytest.approx((z, p), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-8)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("first", "second", "t", "p"),
    [
        ("wfns", "s100b", 1.43490640926908, 0.152825378808796),
        ("wfns", "ndka", 3.10125096778969, 0.00220950791756457),
        ("ndka", "s100b", -1.55995743389685, 0.120192832430845),
    ],
)
def test_unpaired_tests_are_those_of_proc(asah, first, second, t, p):
    poor = (asah["outcome"] == "Poor").to_numpy()
    found = delong.unpaired(delong.areas(asah[first], poor), delong.areas(asah[second], poor))
    assert (found.statistic, found.p) == pytest.approx((t, p), rel=1e-12)


@pytest.mark.shared
def test_the_interval_of_a_subset_is_that_of_proc(asah):
    women = asah[asah["gender"] == "Female"]
    found = delong.areas(women["ndka"], (women["outcome"] == "Poor").to_numpy())
    assert found.values[0] == pytest.approx(0.6671428571, abs=5e-11)
    bounds = delong.interval(found.values[0], found.covariance[0, 0], scale="plain")
    assert bounds == pytest.approx((0.5261398281, 0.8081458862), abs=5e-11)


@pytest.mark.parametrize("seed", range(5))
def test_paired_tests_with_ties_are_those_of_mlstatkit(seed):
    from MLstatkit import Delong_test

    rng = np.random.default_rng(seed)
    positive = rng.random(120) < 0.3
    scores = np.round(rng.normal(size=(2, 120)) + positive, 1)
    found = delong.paired(delong.areas(scores, positive))
    z, p = Delong_test(positive.astype(int), *scores, return_ci=False, return_auc=False)
    assert (-found.statistic, found.p) == pytest.approx(
        (z, p), rel=1e-10
    )  # it takes the second less the first


def test_the_unpaired_test_of_two_sets_of_different_size_has_the_degrees_of_freedom_of_welch():
    rng = np.random.default_rng(0)
    sets = []
    for n in (60, 25):
        positive = np.arange(n) % 3 == 0
        sets.append(delong.areas(rng.normal(size=n) + positive, positive))
    v, w = (float(found.covariance[0, 0]) for found in sets)
    df = (v + w) ** 2 / (v**2 / 59 + w**2 / 24)
    t = (sets[0].values[0] - sets[1].values[0]) / math.sqrt(v + w)
    found = delong.unpaired(*sets)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-12)
    assert found.high - found.difference == pytest.approx(
        stats.t.ppf(0.975, df) * math.sqrt(v + w), rel=1e-12
    )


@given(cases())
@settings(max_examples=60)
def test_areas_are_those_of_scikit_learn(case):
    scores, positive, _ = case
    expected = [roc_auc_score(positive, row) for row in scores]
    np.testing.assert_allclose(delong.areas(scores, positive).values, expected, atol=1e-14)


@given(cases(arms=3))
@settings(max_examples=60)
def test_covariances_are_those_of_a_count_over_all_pairs_with_groups_and_without(case):
    scores, positive, groups = case
    for codes in (np.arange(len(positive)), groups):
        if two_groups_of_each_class(positive, codes):
            area, covariance = pair_by_pair(scores, positive, codes)
            found = delong.areas(scores, positive, codes.astype(str))
            np.testing.assert_allclose(found.values, area, atol=1e-14)
            np.testing.assert_allclose(found.covariance, covariance, atol=1e-14)


def test_the_variance_of_five_patients_equals_the_value_computed_by_hand():
    # Positives 3, 2; negatives 1, 2, 0. Pairs won: 3 of 3 and 2.5 of 3, so A = 11/12.
    # V10 = 1, 5/6; V01 = 1, 3/4, 1. S10 = (1/12)^2 * 2 = 1/72; S01 = ((1/12)^2 * 2 + (1/6)^2) / 2 = 1/48.
    found = delong.areas(np.array([3.0, 2, 1, 2, 0]), np.array([True, True, False, False, False]))
    assert found.values[0] == pytest.approx(11 / 12)
    assert found.covariance[0, 0] == pytest.approx(1 / 72 / 2 + 1 / 48 / 3)


# Properties of any data


@given(cases())
def test_only_the_order_of_the_scores_counts(case):
    scores, positive, groups = case
    plain, bent = delong.areas(scores, positive, groups), delong.areas(np.exp(scores / 100), positive, groups)
    np.testing.assert_array_equal(plain.values, bent.values)
    np.testing.assert_array_equal(plain.covariance, bent.covariance)


@given(cases())
def test_swapped_classes_give_the_rest_of_the_area_and_the_same_covariance(case):
    scores, positive, groups = case
    for codes in (None, groups):
        one, other = delong.areas(scores, positive, codes), delong.areas(scores, ~positive, codes)
        np.testing.assert_allclose(one.values, 1 - other.values, atol=1e-14)
        np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-14)


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_and_the_names_of_the_groups_do_not_count(case, random):
    scores, positive, groups = case
    rows = random.sample(range(len(positive)), len(positive))
    one = delong.areas(scores, positive, groups)
    other = delong.areas(scores[:, rows], positive[rows], [f"P{code}" for code in groups[rows]])
    np.testing.assert_allclose(one.values, other.values, rtol=1e-14)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-15)
    assert (one.units, one.pairs) == (other.units, other.pairs)


@given(cases())
def test_the_sums_by_group_are_those_by_row_where_every_group_has_one_row(case):
    scores, positive, _ = case
    parts = [placement_values.components(row, positive) for row in scores]
    ours, others = np.stack([part[1] for part in parts]), np.stack([part[2] for part in parts])
    codes = np.arange(len(positive))
    grouped = placement_values.by_group(ours, others, codes[positive], codes[~positive])
    np.testing.assert_allclose(grouped, placement_values.by_row(ours, others), rtol=1e-12, atol=1e-18)


@given(cases(), st.integers(2, 5))
def test_rows_repeated_within_their_group_do_not_reduce_the_variance(case, times):
    scores, positive, _ = case
    groups = np.arange(len(positive))
    once = delong.areas(scores, positive, groups)
    often = [np.repeat(part, times, axis=-1) for part in (scores, positive, groups)]
    np.testing.assert_allclose(delong.areas(*often).values, once.values, atol=1e-14)
    np.testing.assert_allclose(delong.areas(*often).covariance, once.covariance, rtol=1e-9, atol=1e-15)
    blind = np.diag(delong.areas(*often[:2]).covariance)
    assert (blind <= np.diag(once.covariance) / times + 1e-15).all()


@given(cases())
def test_a_variance_is_never_negative_and_an_interval_lies_round_its_area(case):
    scores, positive, groups = case
    found = delong.areas(scores, positive, groups)
    if not found.note:
        assert np.linalg.eigvalsh(found.covariance).min() > -1e-15
        for arm in range(2):
            estimate = found.estimate(arm)
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
            assert estimate.low < estimate.high


@given(cases())
def test_exchanging_arms_changes_the_sign_of_a_paired_test(case):
    scores, positive, groups = case
    found = delong.areas(scores, positive, groups)
    one, other = delong.paired(found), delong.paired(found, 1, 0)
    assert other.difference == -one.difference
    assert other.p == pytest.approx(one.p, nan_ok=True)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), nan_ok=True)
