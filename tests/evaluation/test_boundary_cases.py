"""Boundary cases: ties, the ends of scales, and the counts from which rules apply."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from fake_arms import STAGES, predictions_of
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation import endpoints, predictions
from fibrolab.evaluation.clinical import cohort, subgroups
from fibrolab.evaluation.clinical.cohort_tests import of_counts
from fibrolab.evaluation.comparison.hypothesis_tests import mcnemar
from fibrolab.evaluation.comparison.training_seeds import Spread
from fibrolab.evaluation.intervals import by_metric, coverage, delong, proportions, roc_curves
from fibrolab.evaluation.intervals.bootstrap import resampled
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import probability_quality
from fibrolab.evaluation.probabilities import conformal
from fibrolab.evaluation.probabilities.recalibration import recalibration


def test_a_score_of_one_half_is_negative_in_value_and_interval():
    truth = np.array([2, 0, 2, 0])
    chance = np.array([[0.5, 0, 0.5], [0.5, 0, 0.5], [0, 0, 1], [1, 0, 0]])
    values = endpoints.evaluate(truth, chance, {"ge_F2": 2})
    assert (values["sensitivity_ge_F2"][0], values["specificity_ge_F2"][0]) == (0.5, 1.0)
    found = by_metric.table(truth, chance, np.arange(4).astype(str), STAGES[:3], 20, end_points={"ge_F2": 2})
    ends = found.loc[["sensitivity_ge_F2", "specificity_ge_F2"], ["low", "high"]].to_numpy(float)
    assert ends == pytest.approx(np.array([proportions.wilson(1, 2), proportions.wilson(2, 2)]))


def test_percentiles_are_used_if_no_correction_is_possible():
    row = pd.Series({"value": 0.5, "low": 0.4, "high": 0.6, "bca_low": np.nan, "bca_high": np.nan})
    assert by_metric.resampled(row, one_group=False) == Estimate(0.5, 0.4, 0.6, by_metric.RESAMPLED)


def test_the_coverage_of_clustered_samples_is_that_of_as_many_groups():
    test = predictions.select(predictions_of(1.0, 0, n=48, per_patient=4), keys.TEST)
    truth, groups = test[keys.Y_TRUE].to_numpy(), test[keys.GROUP_ID].to_numpy()
    row = by_metric.table(truth, predictions.probabilities(test), groups, STAGES, 20).loc["accuracy"]
    known = {
        n: coverage.expected("accuracy", row["method"], n, row["value"], clustered=True) for n in (12, 48)
    }
    assert row["coverage"] == known[12] != known[48]


def test_resamples_equal_to_the_value_count_half():
    values = np.arange(30) % 2.0  # the bootstrap is symmetric: there is nothing to correct

    def measure(weights):
        weights = np.ones((1, 30)) if weights is None else weights
        return {"mean": weights @ values / weights.sum(axis=1)}

    row = resampled(measure, np.arange(30).astype(str), 20_000).loc["mean"]
    assert (row["bca_low"], row["bca_high"]) == pytest.approx((row["low"], row["high"]), abs=0.5 / 30)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=60))
def test_intervals_of_misses_mirror_those_of_hits(rows):
    hits, groups = (np.array(column) for column in zip(*rows, strict=True))
    found, other = proportions.estimate(hits, groups=groups), proportions.estimate(~hits, groups=groups)
    assert (found.low, found.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


def test_a_large_group_of_misses_counts_less_than_the_number_of_groups():
    hits = np.repeat([True, False], 40)
    groups = np.concatenate([np.arange(40), np.full(40, 99)])
    assert proportions.effective_counts(hits, groups=groups)[1] < 5


def test_differences_of_proportions_or_areas_are_at_most_one():
    found = mcnemar(np.array([True, True]), np.array([False, False]))
    assert (found.difference, found.high) == (1, 1)
    assert mcnemar(np.array([False, False]), np.array([True, True])).low == -1
    ill = np.repeat([True, False], 6)
    good = np.array([6, 7, 8, 9, 10, 3.5, 1, 2, 3, 4, 5, 0])
    both = delong.areas(np.stack([good, -good]), ill)
    assert 0.8 < delong.paired(both).difference < delong.paired(both).high == 1
    assert delong.paired(both, 1, 0).low == -1


@pytest.mark.parametrize("alarms", [29, 57, 58])
def test_a_curve_rises_at_its_point_of_the_grid(alarms):
    score = np.append(np.arange(100.0), 99.5 - alarms)  # as many of a hundred healthy ones score higher
    band = roc_curves.roc_band(score, score % 1 > 0, np.arange(101).astype(str), 2)
    assert (band.y[alarms - 1], band.y[alarms]) == (0, 1)


def test_of_two_equally_probable_neighbours_the_lower_stage_joins_first():
    assert conformal.mass_before(np.array([[0.25, 0.5, 0.25]])).tolist() == [[0.5, 0.0, 0.75]]


def test_a_coverage_is_called_low_only_if_its_whole_interval_is():
    frame = predictions_of(1.0, 0)
    found = conformal.table(frame, STAGES, alphas=[0.2])
    low = found["high"] < 0.8
    assert (found["note"].str.contains("below") == low).all()
    assert ((found["coverage"] < 0.8) & ~low).any()


def test_fifteen_predictions_fill_fifteen_bins_of_the_calibration_error():
    sure = np.linspace(0.55, 0.97, 15)
    chance, truth = np.column_stack([1 - sure, sure]), np.arange(15) % 2
    found = probability_quality.expected_calibration_error(truth, chance)[0]
    assert found == pytest.approx(np.abs(truth - sure).mean())
    chance, truth = np.vstack([chance, [[0.02, 0.98]]]), np.append(truth, 1)  # with a wrong one of .97
    found = probability_quality.expected_calibration_error(truth, chance)[0]
    assert found == pytest.approx((np.abs(truth - chance[:, 1]).sum() - 2 * 0.02) / 16)


def test_probabilities_are_clipped_at_the_resolution_of_float32():
    positive, groups = np.array([False, True, True, False, True]), np.arange(5)
    sure, nearly = np.array([0, 0, 1, 1, 0.4]), np.array([1, 1, 2**23 - 1, 2**23 - 1, 0.4 * 2**23]) / 2**23
    for one, other in zip(*(recalibration(score, positive, groups) for score in (sure, nearly)), strict=True):
        assert one.value == pytest.approx(other.value)


def test_the_sd_of_resamples_is_that_of_a_sample():
    ages = {"a": 40.0, "b": 50.0, "c": 63.0}
    rows = [{keys.SAMPLE_ID: k, keys.PATIENT_ID: k, keys.AGE_YEARS: age} for k, age in ages.items()]
    manifest = pd.concat([pd.DataFrame(rows).assign(**{keys.PARTITION: part}) for part in keys.PARTITIONS])
    manifest.index = [f"{k}{part}" for part in keys.PARTITIONS for k in ages]
    found = cohort.table(manifest.assign(**{keys.LABEL: 0, keys.PATIENT_ID: manifest.index}), ("F0", "F1"))
    cell = found.loc[found["variable"] == keys.AGE_YEARS, keys.TEST].iloc[0]
    assert cell == f"51.0 ± {np.std(list(ages.values()), ddof=1):.1f}"


def test_an_expected_count_below_one_needs_fishers_test():
    counts = np.array([[20, 20], [20, 20], [20, 20], [20, 20], [1, 0]])  # a fifth of the cells, as few as 0.5
    assert of_counts(counts).name == "Fisher's exact test, by simulation"


def test_thirty_groups_are_enough_and_twenty_nine_are_few():
    frame = predictions_of(1.0, 0, n=59)
    frame[keys.SITE] = np.where(np.arange(len(frame)) % 59 < 30, "thirty", "fewer")
    manifest = frame[[keys.SAMPLE_ID]].set_index(keys.SAMPLE_ID)
    found = subgroups.table(frame, manifest, STAGES, ordered=True, resamples=50).query("metric == 'mae'")
    narrow = found.set_index("value")["note"].str.contains("fewer than 30 groups")
    assert narrow.to_dict() == {"fewer": True, "thirty": False}


@pytest.mark.parametrize(("groups", "scores"), [(5, [5, 4, 5, 2, 4]), (6, [2, 4, 2, 1, 2])])
def test_rounding_of_equal_groups_is_not_a_variance(groups, scores):
    ill = np.tile([False, False, True, True, False], groups)
    found = delong.estimate(np.tile(np.array(scores, float), groups), ill, np.repeat(np.arange(groups), 5))
    assert "no variance was observed" in found.note
    assert found.high - found.low > 0.5


def test_four_large_cells_have_pearsons_test_without_correction():
    found = of_counts(np.array([[20, 10], [10, 20]]))
    assert found.name == "chi-squared"
    assert found.p == pytest.approx(stats.chi2.sf(60 * (20 * 20 - 10 * 10) ** 2 / 30**4, 1))


def test_one_patient_fewer_than_needed_is_not_enough():
    spread, reach = Spread(of_groups=4e-4, of_seeds=2e-4, df=9.0), stats.norm.isf(0.025) + stats.norm.isf(0.2)
    needed = spread.needed(0.06, groups=100).patients
    for patients, enough in ((needed, True), (needed - 1, False)):
        error = np.sqrt(spread.of_groups * 100 / patients + spread.of_seeds)
        assert (0.06 / error >= reach) == enough


@pytest.mark.parametrize(("stray", "refused"), [(0.9e-4, False), (1.1e-4, True)])
def test_probabilities_may_deviate_from_a_sum_of_one_by_rounding_only(stray, refused):
    frame = predictions_of(1.0, 0, n=10).assign(p_0=lambda rows: rows["p_0"] + stray)
    with pytest.raises(DataError, match="not 1") if refused else nullcontext():
        predictions.validated(frame, "made up")
