import numpy as np
import pytest

from fibrolab.evaluation.measures.ranking import area, expected_class, obuchowski


def two_ended(scores):
    """Probabilities of three stages whose expected stage is twice the score."""
    scores = np.array(scores)
    return np.stack([1 - scores, np.zeros(len(scores)), scores], axis=1)


STAGES = np.array([0, 0, 1, 1, 2, 2])
SCORES = [0.1, 0.4, 0.3, 0.6, 0.5, 0.9]  # areas: F0 against F1 3/4, F1 against F2 3/4, F0 against F2 1


def test_obuchowskis_index_of_three_stages_equals_the_value_computed_by_hand():
    found = obuchowski(STAGES, two_ended(SCORES))[0]
    assert found == pytest.approx((0.75 + 0.75 + 2 * 1) / 4)
    published = 1 - (0.5 * 0.25 + 0.5 * 0.25 + 1 * 0) / 3  # equation of 2005: pairs alike, L = distance / 2
    assert (1 - published) / (1 - found) == pytest.approx((3 + 1) / (3 * (3 - 1)))


def test_the_index_does_not_depend_on_the_frequency_of_stages():
    weights = np.array([[1, 1, 1, 1, 1, 1], [5, 5, 1, 1, 2, 2]], float)
    found = obuchowski(STAGES, two_ended(SCORES), weights)
    assert found[0] == pytest.approx(found[1])


def test_the_index_averages_over_pairs_of_present_stages():
    ends = STAGES != 1
    assert obuchowski(STAGES[ends], two_ended(SCORES)[ends])[0] == 1.0
    assert np.isnan(obuchowski(STAGES[:2], two_ended(SCORES)[:2])).all()


def test_a_resample_that_lacks_a_stage_has_no_index():
    weights = np.array([[1, 1, 0, 0, 1, 1], [1, 1, 1, 0, 1, 0], [0] * 6], float)
    assert np.isnan(obuchowski(STAGES, two_ended(SCORES), weights)).tolist() == [True, False, True]


def test_the_index_of_guessing_is_one_half_and_of_reversed_scores_zero():
    stages = np.arange(5).repeat(3)
    assert obuchowski(stages, np.full((15, 5), 0.2))[0] == 0.5
    assert obuchowski(stages, np.eye(5)[4 - stages])[0] == 0.0


def test_the_index_of_two_classes_is_their_auc():
    rng = np.random.default_rng(0)
    truth, yes = rng.integers(0, 2, 40), rng.integers(0, 9, 40) / 9
    assert obuchowski(truth, np.stack([1 - yes, yes], axis=1))[0] == area(yes, truth == 1)[0]


def test_equal_rows_have_the_same_expected_stage_to_the_last_bit():
    rows = np.tile(np.random.default_rng(1).dirichlet(np.ones(5)), (1001, 1))
    assert len(np.unique(expected_class(rows))) == 1
