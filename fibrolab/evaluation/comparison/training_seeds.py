"""Variance of a mean over several trainings, which varies with the patients and with the trainings.

Both are samples of a population, as cases and readers are in a reader study, whose variance is used here
(Obuchowski and Rockette, Commun Stat Simul Comput 24:285-308, 1995): the variance over resampled patients
plus the variance between trainings that exceeds it. A patient on whom trainings disagree contributes to both
and is counted once. Resampling patients and trainings together would count this variance three times (Owen,
Ann Appl Stat 1:386-411, 2007), and its percentiles would rest on the few values of two or three trainings.
Intervals and tests use Student's t with the degrees of freedom of a sum of variances (Satterthwaite,
Biometrics Bull 2:110-114, 1946; for reader studies Hillis, Stat Med 26:596-619, 2007).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from fibrolab.evaluation.intervals import sample_size
from fibrolab.evaluation.intervals.bootstrap import enough
from fibrolab.evaluation.intervals.by_metric import AGREEING, ROUNDING
from fibrolab.evaluation.intervals.sample_size import Needed

POWER, ALPHA = 0.8, 0.05  # of the planned study
TOO_WIDE = "no interval: too few trainings or groups to estimate their variance"
UNLIMITED = (-math.inf, math.inf)


class Spread(NamedTuple):
    """The variance of a mean of trainings, or of a difference of two such means.

    Attributes:
        of_groups: Variance over patients for these trainings; more patients would reduce it.
        of_seeds: Variance over trainings with an unlimited number of patients.
        df: Degrees of freedom of their sum.
    """

    of_groups: float
    of_seeds: float
    df: float

    @property
    def error(self) -> float:
        """Standard error; 0 where nothing but rounding varied."""
        error = math.sqrt(self.of_groups + self.of_seeds)
        return error if error > ROUNDING else 0.0

    def interval(
        self, value: float, level: float, limits: tuple[float, float] = UNLIMITED
    ) -> tuple[float, float, str]:
        """Return low, high and an empty note; NaN with the reason where there is no useful interval."""
        if self.error == 0:
            return math.nan, math.nan, AGREEING
        half, (least, most) = float(stats.t.isf((1 - level) / 2, self.df)) * self.error, limits
        if 2 * half >= most - least:  # wider than the whole range
            return math.nan, math.nan, TOO_WIDE
        return max(least, value - half), min(most, value + half), ""

    def p(self, difference: float) -> float:
        """Return the two-sided p of no difference; NaN where nothing varied but a difference exists."""
        if self.error == 0:
            return 1.0 if abs(difference) < ROUNDING else math.nan
        return float(2 * stats.t.sf(abs(difference) / self.error, self.df))

    def needed(self, difference: float, groups: int, alpha: float = ALPHA) -> Needed:
        """Compute the patients to detect the observed difference with as many trainings."""
        reach = float(stats.norm.isf(alpha / 2) + stats.norm.isf(1 - POWER))
        if difference == 0 or self.of_seeds * reach**2 < difference**2:
            remaining = 1 - (self.of_seeds * reach**2 / difference**2 if difference else 0)
            return sample_size.needed_from(difference, self.of_groups / remaining, groups, POWER, alpha)
        return Needed(math.nan, "with so few trainings no number of patients suffices: train with more seeds")


def spread(
    values: Sequence[np.ndarray], draws: Sequence[np.ndarray], groups: float, alike: bool = False
) -> Spread | None:
    """Compute the variance of the mean of one arm, or of the difference of two.

    Args:
        values: Values of each arm by training (S,).
        draws: The same in R resamples of the groups (S, R); of arms on the same rows the same resamples.
        groups: Effective number of groups (`proportions.effective_groups`): few large ones vary more than
            their number suggests.
        alike: Whether an arm of a single training, whose variance cannot be estimated, is assumed to vary
            like the other; otherwise it is assumed not to vary, like a marker without training.

    Returns:
        The spread; None where fewer than nine tenths of the resamples define the measure.
    """
    mean = draws[0].mean(axis=0) - (draws[1].mean(axis=0) if len(draws) > 1 else 0.0)
    valid = np.isfinite(mean)
    if not enough(int(valid.sum()), len(mean)) or groups < 2:
        return None
    unbiased = groups / (groups - 1)  # resampled groups vary less than new ones
    of_groups = unbiased * float(mean[valid].var(ddof=1))
    several = [(arm, drawn[:, valid]) for arm, drawn in zip(values, draws, strict=True) if len(arm) > 1]
    between = [float(arm.var(ddof=1)) / len(arm) for arm, _ in several]
    within = [unbiased * _of_one_training(drawn) for _, drawn in several]
    if alike and len(several) < len(values):  # s^2 / S of the one arm, s^2 / 1 of the other
        between, within = ([part * (1 + len(several[0][0])) for part in each] for each in (between, within))
    of_seeds = max(0.0, sum(between) - sum(within))
    total = of_groups + of_seeds
    below = of_groups**2 / (groups - 1)
    below += sum(part**2 / (len(arm) - 1) for part, (arm, _) in zip(between, several, strict=True))
    return Spread(of_groups, of_seeds, total**2 / below if below > 0 else math.inf)


def _of_one_training(draws: np.ndarray) -> float:
    """Compute the training-specific variance over patients of a mean of S trainings, of draws (S, R)."""
    size = len(draws)
    return float((draws - draws.mean(axis=0)).var(axis=1, ddof=1).sum()) / (size * (size - 1))
