import fake_run
import numpy as np
import pytest
from scipy import stats

from fibrolab import keys
from fibrolab.evaluation import baselines, predictions, score


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


def test_chance_is_that_of_the_most_frequent_training_class_and_given_for_accuracy_only() -> None:
    frame = fake_run.predicted(fake_run.CLASSES, 40, 1.0)
    truth = predictions.select(frame, keys.TEST)[keys.Y_TRUE]
    table = score.score(frame, fake_run.CLASSES, resamples=20)
    for commonest in range(len(fake_run.CLASSES)):
        found = baselines.with_chance_test(table, frame, commonest)
        assert found.loc["accuracy", "chance"] == (truth == commonest).mean()
        assert found.index[found["p_chance"].notna()].tolist() == ["accuracy"]
        assert found["chance"].notna().sum() == 1
