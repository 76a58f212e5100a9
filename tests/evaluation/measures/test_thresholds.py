import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from fibrolab.errors import ConfigError
from fibrolab.evaluation.measures.thresholds import RULES, chosen


@st.composite
def validations(draw):
    """Scores (coarse or fine, hence tied or not) and labels of both classes."""
    n = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positive = rng.random(n) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    positive[rng.choice(n, 2, replace=False)] = (True, False)
    levels = draw(st.sampled_from([1, 3, 10, 1000]))
    return rng.integers(levels, size=n) / levels + 0.2 * positive, positive


def sensitivity_and_specificity(scores, positive, threshold):
    """Sensitivity and specificity of `score >= threshold`."""
    return (scores[positive] >= threshold).mean(), (scores[~positive] < threshold).mean()


targets = st.sampled_from([0.5, 0.7, 0.9, 0.95, 1.0])


@settings(max_examples=80, deadline=None)
@given(validations(), targets)
def test_the_target_sensitivity_is_reached_on_validation_by_no_higher_threshold(case, target):
    scores, positive = case
    threshold = chosen(scores, positive, "sensitivity", target)
    assert sensitivity_and_specificity(scores, positive, threshold.value)[0] >= target
    for higher in np.unique(scores[scores > threshold.value]):
        assert sensitivity_and_specificity(scores, positive, higher)[0] < target


@settings(max_examples=80, deadline=None)
@given(validations(), targets)
def test_the_target_specificity_is_reached_on_validation_by_no_lower_threshold(case, target):
    scores, positive = case
    threshold = chosen(scores, positive, "specificity", target)
    kept = [t for t in np.unique(scores) if sensitivity_and_specificity(scores, positive, t)[1] >= target]
    if kept:
        assert threshold.value == kept[0]
    else:
        assert np.isnan(threshold.value)
        assert "no threshold is negative for" in threshold.note


@settings(max_examples=80, deadline=None)
@given(validations())
def test_youdens_threshold_is_the_lowest_with_the_largest_index_on_scikit_learns_curve(case):
    scores, positive = case
    threshold = chosen(scores, positive, "youden").value
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    found, spared = sensitivity_and_specificity(scores, positive, threshold)
    assert found + spared - 1 == pytest.approx((true - false).max())
    for lower in np.unique(scores[scores < threshold]):
        assert sum(sensitivity_and_specificity(scores, positive, lower)) < found + spared - 1e-12


@settings(max_examples=40, deadline=None)
@given(validations(), st.sampled_from(RULES[1:]))
def test_a_monotonic_change_of_scale_changes_no_decision(case, rule):
    scores, positive = case
    one, other = chosen(scores, positive, rule), chosen(scores * 40 - 3, positive, rule)  # such as kPa
    assume(not np.isnan(one.value))
    np.testing.assert_array_equal(one.is_positive(scores), other.is_positive(scores * 40 - 3))


def test_thresholds_equal_those_computed_by_hand():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    positive = np.array([0, 0, 1, 0, 0, 1, 1, 1], bool)
    assert chosen(scores, positive, "youden").value == 0.6  # sensitivity 3/4, specificity 1
    assert chosen(scores, positive, "sensitivity").value == 0.3  # 3 of 4 are not nine tenths
    assert chosen(scores, positive, "sensitivity", target=0.75).value == 0.6
    assert chosen(scores, positive, "specificity").value == 0.6
    assert chosen(scores, positive, "specificity", target=0.5).value == 0.3


def test_of_two_thresholds_with_equal_index_the_more_sensitive_is_chosen():
    scores, positive = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])
    assert chosen(scores, positive, "youden").value == 0.2  # 1 + 1/2 as at 0.4: 1/2 + 1


def test_one_half_needs_no_data_and_a_tie_is_negative():
    threshold = chosen(np.array([]), np.array([], bool), "half")
    assert threshold.value == 0.5
    assert threshold.is_positive(np.array([0.4, 0.5, 0.6])).tolist() == [False, False, True]


def test_a_score_at_the_threshold_is_positive():
    threshold = chosen(np.array([0.3, 0.7]), np.array([False, True]), "youden")
    assert threshold.is_positive(np.array([0.69, 0.7])).tolist() == [False, True]


@pytest.mark.parametrize("rule", RULES[1:])
@pytest.mark.parametrize(
    ("positive", "reason"),
    [
        ([], "no validation rows"),
        ([True], "every validation row has"),
        ([False] * 3, "row lacks the end point"),
    ],
)
def test_validation_without_both_classes_has_a_note_instead_of_a_threshold(rule, positive, reason):
    threshold = chosen(np.arange(len(positive)) / 10, np.array(positive, bool), rule)
    assert np.isnan(threshold.value)
    assert reason in threshold.note


def test_a_threshold_at_which_all_are_positive_has_a_note():
    threshold = chosen(np.full(6, 0.4), np.array([1, 0, 1, 0, 1, 0], bool), "sensitivity")
    assert threshold.value == 0.4
    assert threshold.note == "every validation row is predicted positive"


def test_unknown_rules_and_impossible_targets_are_refused_with_what_is_allowed():
    scores, positive = np.array([0.1, 0.9]), np.array([False, True])
    with pytest.raises(ConfigError, match=r"half, sensitivity, specificity, youden\. Did you mean youden"):
        chosen(scores, positive, "yuoden")
    with pytest.raises(ConfigError, match="above 0 and up to 1, such as"):
        chosen(scores, positive, "sensitivity", target=90)
