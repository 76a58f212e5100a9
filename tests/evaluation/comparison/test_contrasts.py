"""The test of a difference, and its error rate with few groups."""

import numpy as np
import pytest
from fake_arms import TASK, predictions_of
from scipy.stats import binom
from scipy.stats import t as student
from statsmodels.stats.contingency_tables import mcnemar

from fibrolab.evaluation.comparison.arms import (
    AT_THRESHOLDS,
    CLASSES,
    HEADLINE,
    Measure,
    arm_from_runs,
    measured,
    resampled_values,
)
from fibrolab.evaluation.comparison.contrasts import contrast
from fibrolab.evaluation.intervals import sample_size

ACCURACY = Measure(HEADLINE, "accuracy")


def compared(measure, skills=(1.0, 1.8), n=120, per_patient=1, seed=0, resamples=200):
    """Two arms of one training each, and the test of their difference."""
    sides = [
        arm_from_runs(name, [predictions_of(skill, 2 * seed + k, n, per_patient, cohort=seed)], TASK)
        for k, (name, skill) in enumerate(zip("ab", skills, strict=True))
    ]
    values = [measured(side, TASK)[measure][:, 0] for side in sides]
    draws = [resampled_values(side, TASK, resamples, seed)[measure] for side in sides]
    return sides, draws, contrast(measure, *sides, values, draws, TASK)


@pytest.mark.parametrize(("metric", "of_the_diseased"), [("sensitivity", True), ("specificity", False)])
def test_sensitivities_of_one_row_a_patient_are_tested_by_mcnemar_on_the_diseased_only(
    metric, of_the_diseased
):
    sides, _, found = compared(Measure(AT_THRESHOLDS, metric, "ge_F2"), skills=(0.6, 1.0))
    counted = (sides[0].labels >= 2) == of_the_diseased
    a, b = ((side.predictions[0].positive["ge_F2"] == of_the_diseased)[counted] for side in sides)
    cells = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert found.method == "mid-p McNemar"
    assert min(cells[0][1], cells[1][0]) > 0
    of_these = binom(cells[0][1] + cells[1][0], 0.5)
    exact = mcnemar(cells, exact=True).pvalue
    assert found.p == pytest.approx(exact - of_these.pmf(min(cells[0][1], cells[1][0])))
    assert found.difference == pytest.approx(a.mean() - b.mean())
    expected = sample_size.needed_from_discordant(cells[0][1], cells[1][0], len(counted))
    assert found.needed == expected.patients


def test_the_sensitivity_of_a_class_is_tested_on_samples_of_that_class_only():
    sides, _, found = compared(Measure(CLASSES, "sensitivity", "F4"))
    right = [side.predictions[0].probabilities.argmax(axis=1) == 4 for side in sides]
    ill = sides[0].labels == 4
    assert found.method == "mid-p McNemar"
    assert found.difference == pytest.approx(right[0][ill].mean() - right[1][ill].mean())


def test_several_rows_a_patient_are_tested_by_t_with_the_variance_over_patients():
    _, draws, found = compared(ACCURACY, per_patient=4)
    error = (draws[0] - draws[1]).std(ddof=1) * np.sqrt(30 / 29)
    assert found.method == "paired bootstrap"
    assert found.p == pytest.approx(2 * student.sf(abs(found.difference) / error, 30 - 1))
    assert found.high - found.low == pytest.approx(2 * student.isf(0.025, 30 - 1) * error)


def test_patients_of_unequal_numbers_of_samples_count_as_fewer():
    sides, _, _ = compared(ACCURACY, per_patient=4)
    member = np.unique(sides[0].groups, return_inverse=True)[1]
    kept = np.arange(len(member)) % 4 <= member % 4  # one, two, three or four of a patient's four
    kept[member == 0] = True
    arms = [side.restricted(kept) for side in sides]
    values = [measured(arm, TASK)[ACCURACY][:, 0] for arm in arms]
    draws = [resampled_values(arm, TASK, 200, 0)[ACCURACY] for arm in arms]
    sizes = np.bincount(member[kept])
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    error = (draws[0] - draws[1]).std(ddof=1) * np.sqrt(effective / (effective - 1))
    found = contrast(ACCURACY, *arms, values, draws, TASK)
    assert effective < 28
    assert found.p == pytest.approx(2 * student.sf(abs(found.difference) / error, effective - 1))


def test_p_may_be_smaller_than_one_over_the_number_of_resamples():
    assert compared(ACCURACY, skills=(0.2, 3.0), per_patient=4, resamples=50)[2].p < 1e-4


def test_the_interval_of_a_difference_stays_within_its_range():
    found = compared(ACCURACY, skills=(5.0, 0.0), n=12, per_patient=4)[2]
    assert found.difference > 0.5
    assert found.high == 1
