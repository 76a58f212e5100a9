"""Difference of two arms in one measure: a valid test, its interval, and the patients to detect it."""

import math
from dataclasses import dataclass

import numpy as np

from fibrolab.evaluation.comparison import hypothesis_tests
from fibrolab.evaluation.comparison.arms import Arm, Measure, Task, counted_hits, limits
from fibrolab.evaluation.comparison.training_seeds import ALPHA, POWER, spread
from fibrolab.evaluation.intervals import delong, sample_size
from fibrolab.evaluation.intervals.sample_size import Needed

MCNEMAR = "mid-p McNemar"
DELONG, CLUSTERED = "DeLong", "clustered DeLong (Obuchowski)"
BOOTSTRAP, WITH_SEEDS = "paired bootstrap", "t over patients and trainings"
ONE_TRAINING = "one arm has a single training, whose variance is assumed to be that of the other arm's"
FEW, TWO = 3, "no interval: the variance of a training cannot be estimated from two"
UNPAIRED_DELONG, UNPAIRED_BOOTSTRAP = "unpaired DeLong", "bootstrap of each cohort"
Sides = tuple[Arm, Arm]


@dataclass(frozen=True)
class Contrast:
    """Difference of two arms in one measure, with its test.

    Attributes:
        difference: First arm less second, in the unit of the measure.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p of no difference, not corrected for other tests.
        method: Method of interval and p.
        needed: Patients to detect the observed difference, of two cohorts together; NaN where no number can
            be given.
        groups: Number of independent groups compared.
        note: Why a number is NaN, or how it is limited; otherwise empty.
        unplanned: Why no number of patients can be given, if the note does not say it; otherwise empty.
    """

    difference: float
    low: float
    high: float
    p: float
    method: str
    needed: float
    groups: int
    note: str = ""
    unplanned: str = ""


def contrast(
    measure: Measure,
    arm: Arm,
    against: Arm,
    values: tuple[np.ndarray, np.ndarray],
    draws: tuple[np.ndarray, np.ndarray],
    task: Task,
    paired: bool = True,
    level: float = 0.95,
    alpha: float = ALPHA,
) -> Contrast:
    """Test two arms in one measure.

    Areas of single trainings are tested with DeLong's variance or, with several rows a group, Obuchowski's;
    proportions of rows (accuracy, sensitivity, specificity), with one row a group, by McNemar's mid-p test;
    all other measures, and all means of several trainings, by Student's t and the variance over resampled
    groups, see `training_seeds`.

    Args:
        measure: A measure of both arms.
        arm: One arm.
        against: The other; if paired, on the same rows.
        values: Values of both arms by training (S,).
        draws: Values of both by training and resample (S, R); if paired, on the same resamples.
        task: Classes and end points.
        paired: Whether both arms predicted the same rows; otherwise two different cohorts are compared.
        level: Nominal coverage of the interval.
        alpha: Two-sided level of the test that the needed patients are planned for.
    """
    groups = _count(arm) if paired else _count(arm) + _count(against)
    effective = arm.effective_groups if paired else arm.effective_groups + against.effective_groups
    sides, difference = (arm, against), float(values[0].mean() - values[1].mean())
    if not math.isfinite(difference):
        nan = math.nan
        return Contrast(nan, nan, nan, nan, "", nan, groups, "not defined in both arms")
    if max(map(len, values)) > 1:
        return _resampled(measure, sides, task, values, draws, WITH_SEEDS, level, alpha, groups, effective)
    if measure.metric == "auc":
        return _areas(measure, sides, task, paired, level, alpha, groups)
    if paired and arm.one_row_a_group and counted_hits(arm, measure, task) is not None:
        return _mcnemar(measure, sides, task, level, alpha, groups)
    method = BOOTSTRAP if paired else UNPAIRED_BOOTSTRAP
    return _resampled(measure, sides, task, values, draws, method, level, alpha, groups, effective)


def _areas(
    measure: Measure, sides: Sides, task: Task, paired: bool, level: float, alpha: float, groups: int
) -> Contrast:
    lowest = task.endpoints[measure.of]
    scores = [side.predictions[0].scores[measure.of] for side in sides]
    if paired:
        plain, ill = sides[0].one_row_a_group, sides[0].labels >= lowest
        both = delong.areas(np.stack(scores), ill, sides[0].groups, clustered=not plain)
        test = delong.paired(both, level=level)
        variance = both.covariance[0, 0] + both.covariance[1, 1] - 2 * both.covariance[0, 1]
        method = DELONG if plain else CLUSTERED
    else:
        ours, theirs = (
            delong.areas(score, side.labels >= lowest, side.groups)
            for score, side in zip(scores, sides, strict=True)
        )
        test = delong.unpaired(ours, theirs, level)
        variance = ours.covariance[0, 0] + theirs.covariance[0, 0]
        method = UNPAIRED_DELONG
    needed = sample_size.needed_from(test.difference, float(variance), groups, POWER, alpha)
    return _found(test, method, needed, groups)


def _mcnemar(measure: Measure, sides: Sides, task: Task, level: float, alpha: float, groups: int) -> Contrast:
    """Test on the counted rows, such as the diseased for a sensitivity; plan for patients of every kind."""
    both = [counted_hits(side, measure, task) for side in sides]
    (ours, counted), (theirs, _) = (found for found in both if found is not None)
    ours, theirs = ours[counted], theirs[counted]
    test = hypothesis_tests.mcnemar(ours, theirs, sides[0].groups[counted], level=level)
    alone = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    needed = sample_size.needed_from_discordant(*alone, len(counted), POWER, alpha)
    return _found(test, MCNEMAR, needed, groups)


def _resampled(
    measure: Measure,
    sides: Sides,
    task: Task,
    values: tuple[np.ndarray, np.ndarray],
    draws: tuple[np.ndarray, np.ndarray],
    method: str,
    level: float,
    alpha: float,
    groups: int,
    effective: float,
) -> Contrast:
    """Test by the variance over resamples: a p from their ranks is too small with few groups."""
    difference = float(values[0].mean() - values[1].mean())
    trained = [len(side.predictions) for side in sides if not side.is_marker]
    alone = min(trained) == 1 < max(trained)
    found = spread(values, draws, effective, alike=alone)
    if found is None:
        nan, why = math.nan, "both arms are defined on too few of the resamples"
        return Contrast(difference, nan, nan, nan, method, nan, groups, why)
    least, most = limits(measure, task)
    low, high, why = found.interval(difference, level, (least - most, most - least))
    if alone and max(trained) < FEW:
        low, high, why = math.nan, math.nan, TWO
    needed = found.needed(difference, groups, alpha)
    note = why if found.error else ""  # where nothing varied, the note of the plan says so
    test = hypothesis_tests.Result(found.p(difference), difference=difference, low=low, high=high, note=note)
    return _found(test, method, needed, groups, ONE_TRAINING if alone else "")


def _found(
    test: hypothesis_tests.Result, method: str, needed: Needed, groups: int, warning: str = ""
) -> Contrast:
    note = "; ".join(filter(None, (warning, test.note)))
    unplanned = "" if test.note or math.isfinite(needed.patients) else needed.note
    return Contrast(
        test.difference, test.low, test.high, test.p, method, needed.patients, groups, note, unplanned
    )


def _count(arm: Arm) -> int:
    return len(np.unique(arm.groups))
