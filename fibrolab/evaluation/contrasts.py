"""The difference of two arms in one measure: the test that is sound for it, and the patients it takes."""

import math
from dataclasses import dataclass

import numpy as np

from fibrolab.evaluation import roc, sample_size, significance
from fibrolab.evaluation.arms import Arm, Measure, Task, hits, limits
from fibrolab.evaluation.sample_size import Needed
from fibrolab.evaluation.seeds import spread

MCNEMAR = "mid-p McNemar"
DELONG, CLUSTERED = "DeLong", "clustered DeLong (Obuchowski)"
BOOTSTRAP, WITH_SEEDS = "paired bootstrap", "t over patients and trainings"
ONE_TRAINING = "one arm has a single training, which is taken to vary as those of the other do"
UNPAIRED_DELONG, UNPAIRED_BOOTSTRAP = "unpaired DeLong", "bootstrap of each cohort"


@dataclass(frozen=True)
class Contrast:
    """The difference of two arms in one measure, with its test.

    Attributes:
        difference: In the measure's own unit.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided, of no difference; not corrected for other tests.
        method: What gave interval and p.
        needed: Patients that would have told the arms apart, both cohorts together where there are two; NaN
            where no number can be given.
        groups: Independent groups that were compared.
        note: Why something is NaN, or what to beware of; otherwise empty.
    """

    difference: float
    low: float
    high: float
    p: float
    method: str
    needed: float
    groups: int
    note: str = ""


def contrast(
    measure: Measure,
    arm: Arm,
    against: Arm,
    values: tuple[np.ndarray, np.ndarray],
    draws: tuple[np.ndarray, np.ndarray],
    task: Task,
    paired: bool = True,
    level: float = 0.95,
) -> Contrast:
    """Test two arms in one measure.

    Areas of arms of one answer each are tested by DeLong's variance or, of several rows a group, by
    Obuchowski's; shares of the rows (accuracy, sensitivity, specificity), where a group has one row, by
    McNemar's mid-p test; everything else, and all means of several trainings, by Student's t and the variance
    over resampled groups, see `seeds`.

    Args:
        measure: Which both arms have.
        arm: One arm.
        against: The other; where paired, of the same rows.
        values: Of both, one a training (S,).
        draws: Of both, of each training in each resample (S, R); where paired, the same resamples.
        task: What is asked.
        paired: Whether both answered the same rows; otherwise two different cohorts are compared.
        level: Coverage of the interval.
    """
    groups = _count(arm) if paired else _count(arm) + _count(against)
    difference = float(values[0].mean() - values[1].mean())
    if not math.isfinite(difference):
        nan = math.nan
        return Contrast(nan, nan, nan, nan, "", nan, groups, "not defined in both arms")
    if max(map(len, values)) > 1:
        return _resampled(measure, arm, against, values, draws, WITH_SEEDS, level, groups)
    if measure.metric == "auc":
        return _areas(measure, arm, against, task, paired, level, groups)
    if paired and arm.one_row_a_group and hits(arm, measure, task) is not None:
        return _mcnemar(arm, against, measure, task, level, groups)
    method = BOOTSTRAP if paired else UNPAIRED_BOOTSTRAP
    return _resampled(measure, arm, against, values, draws, method, level, groups)


def _areas(
    measure: Measure, arm: Arm, against: Arm, task: Task, paired: bool, level: float, groups: int
) -> Contrast:
    lowest = task.endpoints[measure.of]
    scores = [side.answers[0].scores[measure.of] for side in (arm, against)]
    if paired:
        both = roc.areas(np.stack(scores), arm.labels >= lowest, arm.groups)
        test = roc.paired(both, level=level)
        variance = both.covariance[0, 0] + both.covariance[1, 1] - 2 * both.covariance[0, 1]
        method = DELONG if arm.one_row_a_group else CLUSTERED
    else:
        ours, theirs = (
            roc.areas(score, side.labels >= lowest, side.groups)
            for score, side in zip(scores, (arm, against), strict=True)
        )
        test = roc.unpaired(ours, theirs, level)
        variance = ours.covariance[0, 0] + theirs.covariance[0, 0]
        method = UNPAIRED_DELONG
    needed = sample_size.needed_from(test.difference, float(variance), groups)
    return Contrast(
        test.difference,
        test.low,
        test.high,
        test.p,
        method,
        needed.patients,
        groups,
        _note(test.note, needed),
    )


def _mcnemar(arm: Arm, against: Arm, measure: Measure, task: Task, level: float, groups: int) -> Contrast:
    """Of the rows that count, such as the diseased for a sensitivity; patients are needed of every kind."""
    both = [hits(side, measure, task) for side in (arm, against)]
    (ours, counted), (theirs, _) = (found for found in both if found is not None)
    ours, theirs = ours[counted], theirs[counted]
    test = significance.mcnemar(ours, theirs, arm.groups[counted], level=level)
    alone = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    needed = sample_size.needed_from_discordant(*alone, len(counted))
    note = _note(test.note, needed)
    return Contrast(test.difference, test.low, test.high, test.p, MCNEMAR, needed.patients, groups, note)


def _resampled(
    measure: Measure,
    arm: Arm,
    against: Arm,
    values: tuple[np.ndarray, np.ndarray],
    draws: tuple[np.ndarray, np.ndarray],
    method: str,
    level: float,
    groups: int,
) -> Contrast:
    """By the variance over resamples: a p from their ranks is too small where the groups are few."""
    difference = float(values[0].mean() - values[1].mean())
    trained = [len(side.answers) for side in (arm, against) if not side.is_marker]
    alone = min(trained) == 1 < max(trained)
    found = spread(values, draws, groups, alike=alone)
    if found is None:
        nan, why = math.nan, "both arms are defined on too few of the resamples"
        return Contrast(difference, nan, nan, nan, method, nan, groups, why)
    needed = found.needed(difference, groups)
    least, most = limits(measure)
    low, high = np.clip(found.interval(difference, level), least - most, most - least).tolist()
    note = _note(ONE_TRAINING if alone else "", needed)
    return Contrast(difference, low, high, found.p(difference), method, needed.patients, groups, note)


def _note(of_test: str, needed: Needed) -> str:
    """What the test says, or why there is no number of patients; the plan's caveat is told elsewhere."""
    return of_test or ("" if math.isfinite(needed.patients) else needed.note)


def _count(arm: Arm) -> int:
    return len(np.unique(arm.groups))
