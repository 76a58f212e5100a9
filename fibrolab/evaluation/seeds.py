"""How sure the mean of several trainings is: it varies with the patients and with the trainings.

The variance over patients comes from resampled groups, that over S trainings is s^2 / S, which is what
resampling them would give (S - 1 of S drawn with replacement: Rao and Wu, J Am Stat Assoc 83:231-241, 1988).
Percentiles of such resamples would be far too narrow: of two or three trainings there are only a few. The sum
is therefore held against Student's t, with the degrees of freedom of a sum of variances (Satterthwaite,
Biometrics Bull 2:110-114, 1946).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from fibrolab.evaluation import sample_size
from fibrolab.evaluation.bootstrap import DEFINED
from fibrolab.evaluation.sample_size import Needed

POWER, ALPHA = 0.8, 0.05  # of the study that is planned


class Spread(NamedTuple):
    """The variance of a mean of trainings, or of a difference of two such means.

    Attributes:
        of_groups: Over the patients, with the trainings at hand.
        of_seeds: Over the trainings.
        df: Degrees of freedom of their sum.
    """

    of_groups: float
    of_seeds: float
    df: float

    def interval(self, value: float, level: float) -> tuple[float, float]:
        """Low and high of a value that spreads so."""
        half = float(stats.t.isf((1 - level) / 2, self.df)) * math.sqrt(self.of_groups + self.of_seeds)
        return value - half, value + half

    def p(self, difference: float) -> float:
        """Two-sided p of no difference; NaN where nothing varied, though there is one."""
        error = math.sqrt(self.of_groups + self.of_seeds)
        if error == 0:
            return 1.0 if difference == 0 else math.nan
        return float(2 * stats.t.sf(abs(difference) / error, self.df))

    def needed(self, difference: float, groups: int) -> Needed:
        """Patients that would have told the arms apart by as many trainings, were the difference as seen."""
        reach = float(stats.norm.isf(ALPHA / 2) + stats.norm.isf(1 - POWER))
        if difference == 0 or self.of_seeds * reach**2 < difference**2:
            left = 1 - (self.of_seeds * reach**2 / difference**2 if difference else 0)
            return sample_size.needed_from(difference, self.of_groups / left, groups, POWER, ALPHA)
        return Needed(math.nan, "no number of patients is enough: the trainings of an arm differ too much")


def spread(draws: np.ndarray, groups: int, sides: Sequence[np.ndarray]) -> Spread | None:
    """The variance of the mean of one arm, or of the difference of two.

    Args:
        draws: The mean, or the difference, in R resamples of the groups (R,).
        groups: How many there are.
        sides: Of each arm the value of each training (S,); one training has no spread that can be known.

    Returns:
        The spread; None where fewer than nine tenths of the resamples define the measure.
    """
    valid = draws[np.isfinite(draws)]
    if len(valid) < max(2.0, DEFINED * len(draws)) or groups < 2:
        return None
    parts = [(float(valid.var(ddof=1)), groups - 1)]
    parts += [
        (float(values.var(ddof=1)) / len(values), len(values) - 1) for values in sides if len(values) > 1
    ]
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / df for variance, df in parts)
    return Spread(parts[0][0], total - parts[0][0], total**2 / below if below > 0 else math.inf)
