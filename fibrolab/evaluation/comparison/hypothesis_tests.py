"""Hypothesis tests of differences between arms, each with its assumptions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from fibrolab.choices import refuse, unknown
from fibrolab.errors import DataError

ROUNDING = 1e-12  # rounding of differences between equal metrics
ANOVA_LIMITS: Final = (
    "One-way ANOVA assumes that the cells are independent measurements of equal variance. Here all arms "
    "predict the same patients, each cell is a proportion of a different number of patients, and the classes "
    "differ more from each other than the arms do, which hides differences between arms. The tests of the "
    "differences by patient make none of these assumptions."
)


@dataclass(frozen=True)
class Result:
    """Result of a hypothesis test.

    Attributes:
        p: Two-sided, unless the test states otherwise; NaN where the test is not defined.
        statistic: Test statistic; NaN where there is none.
        df: Degrees of freedom; empty where there are none.
        difference: First arm less second.
        low: Lower end of the interval of the difference.
        high: Upper end.
        sd: SD of the differences of the folds.
        note: Why a number is NaN, or how it is limited; otherwise empty.
    """

    p: float = math.nan
    statistic: float = math.nan
    df: tuple[float, ...] = ()
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    sd: float = math.nan
    note: str = ""


def mcnemar(
    right_a: np.ndarray,
    right_b: np.ndarray,
    groups: Sequence[str] | np.ndarray | None = None,
    method: Literal["midp", "exact"] = "midp",
    level: float = 0.95,
) -> Result:
    """Test two arms on the same patients, one row a patient, by McNemar's test.

    The p value of the discordant samples, on which only one arm is correct, from the binomial distribution;
    its mid-p form is nearer to the nominal level (Fagerland, Lydersen and Laake, BMC Med Res Methodol 13:91,
    2013). Interval of the difference: Bonett and Price, J Educ Behav Stat 37:479-488, 2012.

    Args:
        right_a: Where the first arm is correct: bool (N,).
        right_b: Where the second arm is correct: bool (N,).
        groups: Patient or cluster of copies of each sample (N,), to verify that none has two; by default each
            sample is independent.
        method: `exact` never exceeds the nominal level, `midp` is less conservative.
        level: Nominal coverage of the interval.

    Returns:
        The statistic is the smaller of the two numbers of discordant samples.

    Raises:
        ConfigError: The method is unknown.
        DataError: A group has several rows, or the lengths differ.
    """
    from scipy.stats import binom, norm

    if method not in ("midp", "exact"):
        refuse([unknown("method", method, ("midp", "exact"))])
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    names = np.arange(len(a)) if groups is None else np.asarray(groups)
    if not len(a) == len(b) == len(names):
        raise DataError(
            f"McNemar's test needs one pair a row; given are {len(a)}, {len(b)} and {len(names)} rows."
        )
    if repeats := len(names) - len(pd.unique(names)):
        raise DataError(
            f"McNemar's test takes one row a group, and {repeats} of the {len(names)} rows are further ones "
            "of the same groups. Average them to patients, or use the paired bootstrap over groups."
        )
    n, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    if n == 0:
        return Result(note="no sample that both arms predicted")
    fewer, discordant = min(only_a, only_b), only_a + only_b
    beyond = float(binom.cdf(fewer, discordant, 0.5))
    at = float(binom.pmf(fewer, discordant, 0.5))
    p = min(1.0, 2 * beyond - (at if method == "midp" else 0.0))
    # Bonett and Price: one sample is added to both kinds of disagreement.
    proportion_a, proportion_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    spread = math.sqrt((proportion_a + proportion_b - (proportion_a - proportion_b) ** 2) / (n + 2))
    half = float(norm.isf((1 - level) / 2)) * spread
    low, high = max(-1.0, proportion_a - proportion_b - half), min(1.0, proportion_a - proportion_b + half)
    note = "" if discordant else "the arms are correct on the same samples"
    return Result(p, fewer, difference=(only_a - only_b) / n, low=low, high=high, note=note)


def anova(table: pd.DataFrame) -> Result:
    """Compute the one-way analysis of variance between columns, as papers report it; see `ANOVA_LIMITS`.

    Args:
        table: Sensitivities; rows are classes, columns are models. Transpose it to compare classes. NaN cells
            are left out.

    Returns:
        F, its two degrees of freedom and p.
    """
    from scipy.stats import f_oneway

    columns = [column[np.isfinite(column)] for column in table.to_numpy(np.float64).T]
    columns = [column for column in columns if len(column)]
    total = sum(map(len, columns))
    df = (len(columns) - 1.0, float(total - len(columns)))
    if df[0] < 1 or df[1] < 1:
        return Result(note="an analysis of variance needs two models, and two classes in one of them")
    if all(np.ptp(column) == 0 for column in columns):
        return Result(df=df, note="the classes of each model do not differ: there is no residual variance")
    found = f_oneway(*columns)
    return Result(float(found.pvalue), float(found.statistic), df, note=ANOVA_LIMITS)


def corrected_resampled_t(
    differences: np.ndarray, n_train: float, n_test: float, level: float = 0.95
) -> Result:
    """Test the mean difference of two arms over folds or random splits by the corrected resampled t test.

    The training sets of the folds overlap, so that their differences vary less than those of independent
    studies. The variance of the mean is (1/K + n_test/n_train) s^2 (Nadeau and Bengio, Mach Learn 52:239-281,
    2003, section 3).

    Args:
        differences: First arm less second by fold (K,); NaN folds are left out.
        n_train: Training samples of a fold.
        n_test: Test samples of a fold.
        level: Nominal coverage of the interval.

    Returns:
        Mean and SD of the differences, t, K - 1 degrees of freedom, p and interval.

    Raises:
        DataError: n_train or n_test is not positive.
    """
    from scipy.stats import t as student

    if not (n_train > 0 and n_test > 0):
        raise DataError(f"Folds of {n_train} samples to train and {n_test} to test: both must be above 0.")
    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)]
    k = len(values)
    if k < 2:
        return Result(difference=float(values[0]) if k else math.nan, note="a t test needs two folds")
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    if np.ptp(values) < ROUNDING:  # .85 - .80 and .90 - .85 differ by rounding
        same = abs(mean) < ROUNDING
        why = "the arms agree on every fold" if same else "the folds do not differ: their variance is unknown"
        return Result(1.0 if same else math.nan, df=(k - 1.0,), difference=mean, sd=0.0, note=why)
    error = sd * math.sqrt(1 / k + n_test / n_train)
    half = float(student.isf((1 - level) / 2, k - 1)) * error
    p = 2 * float(student.sf(abs(mean / error), k - 1))
    return Result(p, mean / error, (k - 1.0,), mean, mean - half, mean + half, sd)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust p values (M,) by Holm's method, which controls the family-wise error rate.

    Holm, Scand J Stat 6:65-70, 1979. A NaN stays NaN and is not counted as a test.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]  # NaN sorts last
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return adjusted
