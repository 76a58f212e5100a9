"""The test of means of few trainings: its variance, its error rate, and the needed patients."""

import numpy as np
import pytest
from fake_arms import TASK, predictions_of

from fibrolab.evaluation.comparison import comparison_table
from fibrolab.evaluation.comparison.arms import arm_from_runs
from fibrolab.evaluation.comparison.contrasts import ONE_TRAINING
from fibrolab.evaluation.comparison.training_seeds import spread


class Clinic:
    """Scores of patients whose mean is the value of a training, in resamples that all studies share."""

    def __init__(self, patients=100, resamples=300, seed=0):
        self.rng = np.random.default_rng(seed)
        chances = np.full(patients, 1 / patients)
        self.shares = self.rng.multinomial(patients, chances, size=resamples) / patients  # (R, N)

    def arm(self, trainings, of_training, of_patient, of_both):
        """Values (S,) and draws (S, R) of an arm of the common skill."""
        n = self.shares.shape[1]
        scores = self.rng.normal(0, of_training, (trainings, 1)) + self.rng.normal(0, of_patient, n)
        scores = scores + self.rng.normal(0, of_both, (trainings, n))
        return scores.mean(axis=1), scores @ self.shares.T

    def found(self, sides, alike=False):
        """Difference of two arms, and its spread."""
        values, draws = zip(*sides, strict=True)
        known = spread(values, draws, self.shares.shape[1], alike)
        return values[0].mean() - values[1].mean(), known


def variance(known):
    return known.of_groups + known.of_seeds


@pytest.mark.parametrize("amounts", [(0.03, 0.05, 0.1), (0.02, 0.17, 0.22), (0.05, 0.0, 0.001)])
def test_the_variance_is_that_of_new_trainings_and_patients(amounts):
    clinic, s = Clinic(), 5
    known = [clinic.found([clinic.arm(s, *amounts), clinic.arm(s, *amounts)])[1] for _ in range(400)]
    of_training, of_patient, of_both = amounts
    true = 2 * (of_training**2 / s + of_patient**2 / 100 + of_both**2 / (s * 100))
    assert np.mean([variance(each) for each in known]) == pytest.approx(true, rel=0.12)


def test_disagreement_of_trainings_on_a_patient_is_counted_once():
    clinic, known = Clinic(), []
    for _ in range(300):
        difference, each = clinic.found([clinic.arm(5, 0, 0, 0.22), clinic.arm(5, 0, 0, 0.22)])
        known.append((variance(each), difference))
    found, differences = np.array(known).T
    assert found.mean() / differences.var() < 1.45  # 2 where it is counted twice, 3 by resampling both


@pytest.mark.parametrize("trainings", [2, 3, 5])
@pytest.mark.parametrize("amounts", [(0.03, 0.05, 0.1), (0.0, 0.17, 0.22)])
def test_equal_arms_rarely_differ_significantly(trainings, amounts):
    clinic, p = Clinic(), []
    for _ in range(500):
        difference, known = clinic.found([clinic.arm(trainings, *amounts) for _ in range(2)])
        p.append(known.p(difference))
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.075


def test_an_arm_of_one_training_is_assumed_to_vary_like_the_other():
    clinic, p = Clinic(), []
    for _ in range(500):
        sides = [clinic.arm(1, 0.03, 0.05, 0.1), clinic.arm(5, 0.03, 0.05, 0.1)]
        p.append([clinic.found(sides, alike)[1].p(clinic.found(sides)[0]) for alike in (False, True)])
    ignored, counted = (np.array(p) < 0.05).mean(axis=0)
    assert ignored > 0.15
    assert counted < 0.08


def test_an_arm_of_one_training_has_a_note_and_a_marker_has_none():
    one = arm_from_runs("one", [predictions_of(1.2, 7)], TASK)
    three = arm_from_runs("three", [predictions_of(1.2, seed) for seed in range(3)], TASK)
    marker = comparison_table.marker(
        "LSM", one.labels + np.random.default_rng(0).normal(size=len(one.labels)), one, TASK
    )
    table = comparison_table.table([one, three, marker], TASK, "sample", resamples=50).set_index(
        ["arm", "against"]
    )
    assert table.loc[("three", "one"), "note"].eq(ONE_TRAINING).any()
    assert not table.loc[("three", "LSM"), "note"].str.contains(ONE_TRAINING).any()


def test_more_patients_reduce_only_the_variance_over_patients():
    clinic = Clinic(seed=1)
    steady = clinic.found([clinic.arm(5, 0, 0.1, 0.3), clinic.arm(5, 0, 0.1, 0.3)])[1]
    assert steady.of_seeds == 0  # trainings differ on 100 patients because of the patients
    assert steady.needed(0.1, 100).patients > 0
    wild = clinic.found([clinic.arm(5, 0.2, 0.1, 0.3), clinic.arm(5, 0.2, 0.1, 0.3)])[1]
    assert "train with more seeds" in wild.needed(0.1, 100).note


def test_with_ten_patients_the_test_keeps_its_level_and_percentiles_do_not():
    clinic, p = Clinic(patients=10, resamples=1000), []
    for _ in range(1500):
        (values, draws), (others, of_others) = clinic.arm(1, 0, 1, 0), clinic.arm(1, 0, 1, 0)
        known = spread([values, others], [draws, of_others], 10)
        gaps = draws[0] - of_others[0]
        by_rank = 2 * (1 + min((gaps <= 0).sum(), (gaps >= 0).sum())) / (len(gaps) + 1)
        p.append([known.p(values[0] - others[0]), by_rank])
    student, by_rank = (np.array(p) < 0.05).mean(axis=0)
    assert 0.035 < student < 0.065
    assert by_rank > student + 0.02
