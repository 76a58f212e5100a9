import fake_run
import numpy as np
import pytest
from scipy import stats

from fibrolab import keys
from fibrolab.evaluation import baselines, predictions, score
from fibrolab.evaluation.measures import decisions


def test_p_of_independent_samples_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    hits, constant = rng.random(80) < 0.5, rng.random(80) < 0.3
    expected = stats.ttest_rel(hits.astype(float), constant.astype(float), alternative="greater")
    assert baselines.p_superior(hits, constant, np.arange(80)) == pytest.approx(expected.pvalue, rel=1e-9)


def test_copies_of_samples_do_not_reduce_p() -> None:
    rng = np.random.default_rng(1)
    hits, constant = rng.random(40) < 0.5, rng.random(40) < 0.4
    once = baselines.p_superior(hits, constant, np.arange(40))
    fourfold = baselines.p_superior(hits.repeat(4), constant.repeat(4), np.arange(40).repeat(4))
    assert fourfold == pytest.approx(once, rel=1e-9)


def test_p_has_its_nominal_level_for_a_network_as_good_as_the_most_frequent_class() -> None:
    rng, small, studies = np.random.default_rng(2), 0, 2000
    for _ in range(studies):
        commoner = rng.random(30)[:, None] < rng.beta(2, 2, 30)[:, None] * np.ones(4)
        hits = rng.random(commoner.shape) < 0.5
        small += baselines.p_superior(hits.ravel(), commoner.ravel(), np.arange(30).repeat(4)) < 0.05
    assert 0.035 < small / studies < 0.065


@pytest.mark.parametrize(
    ("hits", "constant", "groups"),
    [([1, 1, 0], [0, 0, 1], [0, 0, 0]), ([1, 0, 1], [1, 0, 1], [0, 1, 2]), ([1], [0], [0])],
)
def test_equal_groups_or_a_single_one_have_no_p(hits, constant, groups) -> None:
    assert np.isnan(baselines.p_superior(*(np.array(each) for each in (hits, constant, groups))))


def test_chance_is_that_of_the_most_frequent_training_class_and_of_each_class_its_call_rate() -> None:
    frame = fake_run.predicted(fake_run.CLASSES, 40, 1.0)
    test = predictions.select(frame, keys.TEST)
    truth, called = test[keys.Y_TRUE].to_numpy(), decisions.decide(predictions.probabilities(test))
    table = score.score(frame, fake_run.CLASSES, resamples=20)
    for commonest, name in enumerate(fake_run.CLASSES):
        found = baselines.with_chance_test(table, frame, commonest, fake_run.CLASSES)
        assert found.loc["accuracy", "chance"] == (truth == commonest).mean()
        assert found.loc[f"sensitivity_{name}", "chance"] == (called == commonest).mean()
        tested = {"accuracy", *(f"sensitivity_{each}" for each in fake_run.CLASSES)}
        assert set(found.index[found["p_chance"].notna()]) == tested
        assert set(found.index[found["chance"].notna()]) == tested


def test_p_of_a_sensitivity_agrees_with_the_chi_squared_test_of_independent_samples() -> None:
    rng = np.random.default_rng(0)
    present = rng.random(400) < 0.3
    called = rng.random(400) < np.where(present, 0.5, 0.42)
    counts = [[(called & each).sum(), (~called & each).sum()] for each in (present, ~present)]
    expected = stats.chi2_contingency(counts, correction=False).pvalue / 2
    assert baselines.p_above_call_rate(called, present, np.arange(400)) == pytest.approx(expected, rel=0.1)


def test_p_of_a_sensitivity_has_its_nominal_level_with_groups_and_none_for_a_constant_call() -> None:
    rng, small, studies = np.random.default_rng(3), 0, 1000
    groups = np.arange(60).repeat(3)
    for _ in range(studies):
        present = (rng.random(60) < 0.3).repeat(3)
        called = (rng.random(60) < 0.4).repeat(3)  # the images of a patient agree
        small += baselines.p_above_call_rate(called, present, groups) < 0.05
    assert 0.03 < small / studies < 0.07
    assert np.isnan(baselines.p_above_call_rate(np.ones(180, dtype=bool), present, groups))
    assert np.isnan(baselines.p_above_call_rate(called, np.zeros(180, dtype=bool), groups))
