"""The difference of two arms in one measure: the test that is sound for it, and the patients it takes."""

import math
from dataclasses import dataclass

import numpy as np

from fibrolab.evaluation import metrics, roc, sample_size, significance
from fibrolab.evaluation.arms import Arm, Measure, Task
from fibrolab.evaluation.sample_size import Needed
from fibrolab.evaluation.seeds import spread

MCNEMAR = "mid-p McNemar"
DELONG, CLUSTERED = "DeLong", "clustered DeLong (Obuchowski)"
BOOTSTRAP, WITH_SEEDS = "paired bootstrap", "t over patients and trainings"
UNPAIRED_DELONG, UNPAIRED_BOOTSTRAP = "unpaired DeLong", "bootstrap of each cohort"


@dataclass(frozen=True)
class Contrast:
    """One arm less another.

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
    Obuchowski's; accuracies, where a group has one row, by McNemar's mid-p test; everything else by the
    bootstrap over groups. Means of several trainings have a test of their own, see `seeds`.

    Args:
        measure: Which both arms have.
        arm: One arm.
        against: The other; where paired, of the same rows.
        values: Of both, one a training (S,).
        draws: Of both, the mean over trainings in each resample (R,); where paired, the same resamples.
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
        return _means(difference, values, draws, level, groups)
    if measure.metric == "auc":
        return _areas(measure, arm, against, task, paired, level, groups)
    if paired and measure.metric == "accuracy" and arm.one_row_a_group:
        return _mcnemar(arm, against, level, groups)
    return _bootstrap(difference, draws, BOOTSTRAP if paired else UNPAIRED_BOOTSTRAP, level, groups)


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


def _mcnemar(arm: Arm, against: Arm, level: float, groups: int) -> Contrast:
    ours, theirs = (_right(side) for side in (arm, against))
    test = significance.mcnemar(ours, theirs, arm.groups, level=level)
    counts = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    needed = sample_size.needed_from_discordant(*counts, len(ours))
    note = _note(test.note, needed)
    return Contrast(test.difference, test.low, test.high, test.p, MCNEMAR, needed.patients, groups, note)


def _right(arm: Arm) -> np.ndarray:
    probabilities = arm.answers[0].probabilities
    assert probabilities is not None, "a marker has no accuracy"
    return metrics.decide(probabilities) == arm.labels


def _bootstrap(
    difference: float, draws: tuple[np.ndarray, np.ndarray], method: str, level: float, groups: int
) -> Contrast:
    test = significance.paired_bootstrap(*draws, difference, level)
    gaps = draws[0] - draws[1]
    gaps = gaps[np.isfinite(gaps)]
    variance = float(gaps.var(ddof=1)) if len(gaps) > 1 else math.nan
    needed = sample_size.needed_from(difference, variance, groups)
    note = _note(test.note, needed)
    return Contrast(difference, test.low, test.high, test.p, method, needed.patients, groups, note)


def _means(
    difference: float,
    values: tuple[np.ndarray, np.ndarray],
    draws: tuple[np.ndarray, np.ndarray],
    level: float,
    groups: int,
) -> Contrast:
    found = spread(draws[0] - draws[1], groups, values)
    if found is None:
        nan, why = math.nan, "both arms are defined on too few of the resamples"
        return Contrast(difference, nan, nan, nan, WITH_SEEDS, nan, groups, why)
    needed = found.needed(difference, groups)
    low, high = found.interval(difference, level)
    return Contrast(
        difference, low, high, found.p(difference), WITH_SEEDS, needed.patients, groups, _note("", needed)
    )


def _note(of_test: str, needed: Needed) -> str:
    """What the test says, or why there is no number of patients; the plan's caveat is told elsewhere."""
    return of_test or ("" if math.isfinite(needed.patients) else needed.note)


def _count(arm: Arm) -> int:
    return len(np.unique(arm.groups))
