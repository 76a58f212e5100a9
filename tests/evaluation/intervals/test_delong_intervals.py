import math
import warnings

import numpy as np
import pytest
from scipy import stats

from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation.intervals import delong, placement_values


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Intervals


def test_the_logit_interval_is_the_plain_one_of_the_log_odds():
    value, variance = 0.9, 0.002
    margin = 1.959963984540054 * math.sqrt(variance) / (0.9 * 0.1)
    expected = [1 / (1 + math.exp(-(math.log(9) + side * margin))) for side in (-1, 1)]
    assert delong.interval(value, variance) == pytest.approx(expected)


def test_the_plain_interval_is_cut_off_at_one():
    low, high = delong.interval(0.98, 0.01, scale="plain")
    assert high == 1
    assert low == pytest.approx(0.98 - 0.1959963984540054)


@pytest.mark.parametrize("scale", ["logit", "plain"])
def test_an_interval_always_has_a_width(scale):
    for value, variance in ((1.0, 0.0), (0.0, 0.0), (0.5, 0.0), (math.nan, math.nan)):
        assert np.isnan(delong.interval(value, variance, scale=scale)).all()


def test_the_bound_of_a_perfect_area_is_that_of_clopper_and_pearson_for_the_smaller_class():
    positive = np.arange(50) < 20
    expected = stats.binomtest(20, 20).proportion_ci(0.95, "exact")
    best, worst = delong.estimate(positive * 1.0, positive), delong.estimate(positive * -1.0, positive)
    assert (best.value, best.low, best.high) == pytest.approx((1, expected.low, 1))
    assert (worst.value, worst.low, worst.high) == pytest.approx((0, 0, 1 - expected.low))
    assert best.method == "Clopper-Pearson"
    assert "independent pairs" in best.note


def test_the_bound_of_a_perfect_area_counts_each_group_once():
    positive = np.tile([True, False], 20)
    groups = np.repeat(np.arange(20), 2)  # each holds both classes, so ten pairs of different groups
    found = delong.estimate(positive * 1.0, positive, groups)
    assert found.low == pytest.approx(0.025 ** (1 / 10))


def test_an_area_of_equal_groups_has_an_interval_with_a_width():
    scores, positive = np.tile([1.0, 3.0, 2.0], 30), np.tile([True, True, False], 30)
    found = delong.estimate(scores, positive, np.repeat(np.arange(30), 3))
    assert found.value == pytest.approx(0.5)
    assert found.low < 0.45
    assert found.high > 0.55
    assert "no variance" in found.note


@pytest.mark.parametrize(("m", "n", "area"), [(25, 25, 0.95), (10, 40, 0.95), (20, 20, 0.99)])
def test_the_interval_has_its_nominal_coverage_near_one(m, n, area):
    rng = np.random.default_rng(0)
    positive = np.arange(m + n) < m
    shift = stats.norm.ppf(area) * math.sqrt(2)
    drawn = [delong.estimate(rng.normal(size=m + n) + shift * positive, positive) for _ in range(400)]
    covered = np.mean([found.low <= area <= found.high for found in drawn])
    assert covered > 0.93


def test_an_interval_from_few_units_has_a_note():
    rng = np.random.default_rng(0)
    positive = np.arange(40) < 4
    assert "fewer than 10 independent units" in delong.estimate(rng.normal(size=40), positive).note
    assert delong.estimate(rng.normal(size=40), np.arange(40) < 15).note == ""


def test_the_method_states_whether_it_is_clustered():
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=80), np.arange(80) % 2 == 0
    assert delong.estimate(scores, positive).method == "logit DeLong"
    assert delong.estimate(scores, positive, np.arange(80)).method == "logit DeLong"
    assert delong.estimate(scores, positive, np.arange(80) // 2).method == "logit clustered DeLong"


# Few patients, or patients with unequal numbers of rows


def of_patients(rng, sizes, area, arms=1):
    """Scores of 40 % ill patients whose samples correlate by a half."""
    groups = np.repeat(np.arange(len(sizes)), rng.permutation(sizes))
    positive = (rng.permutation(len(sizes)) < 0.4 * len(sizes))[groups]
    own, each = rng.standard_normal((arms, len(sizes)))[:, groups], rng.standard_normal((arms, len(groups)))
    return stats.norm.ppf(area) * math.sqrt(2) * positive + (own + each) / math.sqrt(2), positive, groups


@pytest.mark.parametrize(("sizes", "wanted"), [(np.full(20, 5), 0.93), (60 // np.arange(1, 21), 0.9)])
def test_intervals_of_few_or_unequal_patients_have_their_coverage(sizes, wanted):
    rng = np.random.default_rng(4)
    drawn = [delong.areas(*of_patients(rng, sizes, 0.9)).estimate() for _ in range(400)]
    assert np.mean([found.low <= 0.9 <= found.high for found in drawn]) > wanted


def test_equal_arms_rarely_differ_significantly_with_a_few_large_patients():
    rng = np.random.default_rng(5)
    sizes = 60 // np.arange(1, 21)
    drawn = [delong.paired(delong.areas(*of_patients(rng, sizes, 0.85, arms=2))).p for _ in range(400)]
    assert np.mean(np.array(drawn) < 0.05) < 0.09  # 16 % by the normal distribution


def test_degrees_of_freedom_of_two_equal_parts_equal_the_value_computed_by_hand():
    ours, others = np.array([[1.0, 1, -1, -1, 2, -2]]), np.array([[2.0, -2, 1, 1, -1, -1]])
    codes = np.array([0, 0, 1, 1, 2, 3])
    worth = 36 / (4 + 4 + 1 + 1)  # of each class: sizes 2, 2, 1, 1 and 1, 1, 2, 2
    found = placement_values.degrees_of_freedom(ours, others, codes, 4 + codes[::-1])
    assert found == pytest.approx([2 * (worth - 1)])


def test_independent_rows_keep_the_normal_distribution_of_delong():
    scores, positive = np.random.default_rng(0).normal(size=60), np.arange(60) % 2 == 0
    assert delong.areas(scores, positive, np.arange(60)).df.tolist() == [math.inf]
    assert delong.interval(0.8, 0.01, df=math.inf) == delong.interval(0.8, 0.01)
    assert delong.interval(0.8, 0.01, df=3.0)[0] < delong.interval(0.8, 0.01)[0]


# Undefined areas


@pytest.mark.parametrize(
    ("positive", "why"),
    [([True, True], "no negative"), ([False], "no positive"), ([], "no sample")],
)
def test_an_absent_class_leaves_the_area_undefined_with_a_note(positive, why):
    scores = np.arange(len(positive), dtype=float)
    found = delong.estimate(scores, positive)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert why in found.note
    arms = delong.areas(np.stack([scores, scores]), positive)
    assert math.isnan(delong.paired(arms).p)
    assert why in delong.paired(arms).note


def test_a_class_in_one_sample_or_group_has_an_area_without_an_interval():
    alone = delong.estimate([3.0, 1, 2, 0], [True, False, False, False])
    assert (alone.value, math.isnan(alone.low)) == (1.0, True)
    assert "one positive sample only" in alone.note
    together = delong.estimate([3.0, 1, 2, 0], [True, True, False, False], ["a", "a", "b", "c"])
    assert "one positive group only" in together.note
    both = delong.estimate([3.0, 1, 2, 0], [True, True, False, False], ["a", "a", "a", "a"])
    assert math.isnan(both.low)


def test_identical_arms_have_p_of_one_and_no_interval():
    rng = np.random.default_rng(0)
    for n in (7, 50, 1001):
        scores, positive = rng.normal(size=n), np.arange(n) % 3 == 0
        for codes in (None, np.arange(n) // 2):
            found = delong.paired(delong.areas(np.stack([scores, 2 * scores + 1]), positive, codes))
            assert (found.difference, found.statistic, found.p) == (0, 0, 1)
            assert math.isnan(found.low)
            assert found.note


def test_a_constant_and_a_perfect_score_have_a_note_on_their_variance():
    positive = np.arange(10) % 2 == 0
    found = delong.paired(delong.areas(np.stack([positive * 1.0, np.zeros(10)]), positive))
    assert found.difference == 0.5
    assert math.isnan(found.p)
    assert "no variance" in found.note


def test_two_perfect_sets_of_patients_do_not_differ():
    positive = np.arange(10) % 2 == 0
    perfect = delong.areas(positive * 1.0, positive)
    assert delong.unpaired(perfect, perfect).p == 1


def test_one_sample_of_a_class_in_either_set_leaves_the_unpaired_test_undefined():
    positive = np.arange(10) % 2 == 0
    fine, alone = delong.areas(np.arange(10.0) % 7, positive), delong.areas(np.arange(4.0), np.arange(4) == 0)
    assert math.isnan(delong.unpaired(fine, alone).p)
    assert "one positive sample" in delong.unpaired(fine, alone).note


def test_a_constant_score_has_an_area_of_one_half_with_an_interval():
    found = delong.estimate(np.ones(40), np.arange(40) % 2 == 0)
    assert found.value == 0.5
    assert found.low < 0.42
    assert found.high > 0.58


# Faults of the user


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(value):
    with pytest.raises(DataError, match=r"1 of 4 scores are not finite .* row 2"):
        delong.areas(np.array([0.1, 0.2, value, 0.4]), np.array([True, False, True, False]))


def test_a_row_without_a_group_is_refused():
    with pytest.raises(DataError, match="1 of 4 rows have no group"):
        delong.areas(np.arange(4.0), np.arange(4) < 2, np.array(["a", None, "b", "c"], dtype=object))


def test_plain_delong_refuses_several_rows_a_group():
    scores, ill = np.arange(4.0), np.arange(4) < 2
    with pytest.raises(DataError, match="4 rows of 3 groups: plain DeLong assumes independent rows"):
        delong.areas(scores, ill, ["a", "b", "b", "c"], clustered=False)
    alone = delong.areas(scores, ill, ["a", "b", "c", "d"], clustered=False)
    assert alone.values == delong.areas(scores, ill).values


# Areas of papers


def test_the_variance_of_hanley_and_mcneil_is_that_of_their_example():
    assert math.sqrt(delong.hanley_mcneil(0.893, 51, 58)) == pytest.approx(0.0325, abs=5e-5)


def test_the_variance_of_hanley_and_mcneil_at_chance_is_that_of_the_rank_sum():
    m, n = 12, 30  # (m + n + 1) / (12 m n), and Q1 = Q2 = 1/3 at A = 1/2
    assert delong.hanley_mcneil(0.5, m, n) == pytest.approx((m + n + 1) / (12 * m * n))


def test_a_published_area_has_the_interval_of_its_sample_sizes():
    found = delong.published(0.95, 30, 72)
    assert (found.low, found.high) == delong.interval(0.95, delong.hanley_mcneil(0.95, 30, 72))
    assert found.method == "logit Hanley-McNeil"
    assert delong.published(1.0, 30, 72).low == pytest.approx(0.025 ** (1 / 30))


@pytest.mark.parametrize("arguments", [(1.2, 3, 4), (math.nan, 3, 4), (0.9, 0, 4)])
def test_an_impossible_published_area_is_refused(arguments):
    with pytest.raises(ConfigError, match="AUC"):
        delong.published(*arguments)
