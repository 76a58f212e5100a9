"""Areas under ROC curves: their variance, with and without groups, intervals, and tests of differences.

An area is the proportion of pairs (a positive and a negative row) that the score orders correctly, ties
counting half. The contribution of each row is its structural component, the centred placement value (DeLong,
DeLong and Clarke-Pearson, Biometrics 44:837-845, 1988). Variance and covariance are sums of products of these
components: by row where rows are independent, by group where a patient has several rows (Obuchowski,
Biometrics 53:567-578, 1997).
"""

import math
from dataclasses import dataclass

import numpy as np

from fibrolab.choices import refuse
from fibrolab.errors import DataError
from fibrolab.evaluation.comparison.hypothesis_tests import Result
from fibrolab.evaluation.intervals import placement_values
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.intervals.placement_values import Groups

ROUNDING = 1e-13  # a variance of a difference below this fraction of its parts is rounding
NOISE = 1e-30  # variance times units below which it is rounding; one pair of 1e12 gives 1e-18
FEW = 10  # independent units of the smaller class; of nominal 95 %, 91 % were covered with 5, 79 % with 2
NARROW = f"fewer than {FEW} independent units of a class: the interval may be too narrow"
AGREEING = "no variance was observed: the bound is that of independent pairs which all agree"


@dataclass(frozen=True)
class Areas:
    """Areas of M arms on the same rows, with their covariance.

    Attributes:
        values: Area of each arm, float64 (M,); NaN where a class is absent.
        covariance: Covariance of the areas, float64 (M, M); NaN where a class has fewer than two units.
        n_positive: Rows of the positive class.
        n_negative: Rows of the negative class.
        units: Number of independent units: groups, or rows where no groups were given.
        pairs: Largest number of disjoint pairs of a positive and a negative unit.
        df: Degrees of freedom of each variance (M,); infinite where rows are independent, as in DeLong.
        note: Why values or covariance are NaN; otherwise empty.
    """

    values: np.ndarray
    covariance: np.ndarray
    n_positive: int
    n_negative: int
    units: int
    pairs: int
    df: np.ndarray
    note: str = ""

    def estimate(self, arm: int = 0, level: float = 0.95) -> Estimate:
        """Return the area of one arm with its interval on the logit scale, as `estimate` below does."""
        clustered = self.units < self.n_positive + self.n_negative
        method = "logit clustered DeLong" if clustered else "logit DeLong"
        value, variance = float(self.values[arm]), float(self.covariance[arm, arm])
        if self.note:
            return Estimate(value, note=self.note)
        return _estimate(value, variance, self.pairs, level, method, float(self.df[arm]))


def areas(
    scores: np.ndarray, positive: np.ndarray, groups: Groups | None = None, clustered: bool = True
) -> Areas:
    """Compute areas and covariance of one or several arms, in O(N log N) each.

    The components come from midranks (Sun and Xu, IEEE Signal Process Lett 21:1389-1393, 2014). With groups
    they are summed by group, which may have rows of both classes, and the covariance is Obuchowski's; where
    every group has one row it is DeLong's.

    Args:
        scores: Higher means more likely positive, (N,) or one row an arm (M, N).
        positive: Truth, bool (N,).
        groups: Independent unit of each row: patient or cluster (N,); None: every row is independent.
        clustered: Whether a group may have several rows; plain DeLong needs one.

    Raises:
        DataError: A score that is not finite, a row without a group, or a group with several rows if not
            clustered.
    """
    scores, positive = np.atleast_2d(np.asarray(scores, np.float64)), np.asarray(positive, bool)
    assert scores.shape == (len(scores), len(positive)), "one score a row and arm"
    placement_values.refuse_not_finite(scores)
    codes = np.arange(len(positive)) if groups is None else placement_values.numbered(groups)
    assert len(codes) == len(positive), "one group a row"
    m, n, units = int(positive.sum()), int((~positive).sum()), len(np.unique(codes))
    if not clustered and units < m + n:
        raise DataError(
            f"{m + n} rows of {units} groups: plain DeLong assumes independent rows; use the clustered form, "
            "or average each patient to one row first."
        )
    p, q = len(np.unique(codes[positive])), len(np.unique(codes[~positive]))
    sizes = (m, n, units, min(p, q, units // 2))
    undefined, df = np.full((len(scores), len(scores)), np.nan), np.full(len(scores), math.inf)
    if not m or not n:
        absent = "no sample" if m == n else f"no {'negative' if m else 'positive'} sample"
        return Areas(undefined[0], undefined, *sizes, df, f"{absent}: there is no pair to compare")
    values, ours, others = zip(*(placement_values.components(row, positive) for row in scores), strict=True)
    if min(p, q) < 2:
        alone, what = "positive" if p < 2 else "negative", "sample" if groups is None else "group"
        note = f"one {alone} {what} only: its variance cannot be estimated"
        return Areas(np.array(values), undefined, *sizes, df, note)
    a, b = np.stack(ours), np.stack(others)
    if units == m + n:
        covariance = placement_values.by_row(a, b)
    else:
        covariance = placement_values.by_group(a, b, codes[positive], codes[~positive])
        df = placement_values.degrees_of_freedom(a, b, codes[positive], codes[~positive])
    return Areas(np.array(values), np.where(np.abs(covariance) * units < NOISE, 0.0, covariance), *sizes, df)


def interval(
    value: float, variance: float, level: float = 0.95, scale: str = "logit", df: float = math.inf
) -> tuple[float, float]:
    """Compute the interval of an area by Student's t; with infinite degrees of freedom the normal one.

    Args:
        value: The area.
        variance: Its variance.
        level: Nominal coverage, such as 0.95.
        scale: `logit`, where the variance is divided by (A (1 - A))^2 (Pepe, The Statistical Evaluation of
            Medical Tests, 2003, section 5.2), which keeps its coverage in small samples and stays within 0
            and 1; or `plain`, on the area itself and cut off at 0 and 1, as R's pROC prints.
        df: Degrees of freedom of the variance.

    Returns:
        Low and high; NaN where the area is 0 or 1 or the variance is not above 0: there the normal
        approximation would have no width (see `estimate`).
    """
    assert scale in ("logit", "plain"), "a scale of the interval"
    if not (0 < value < 1 and variance > 0):
        return math.nan, math.nan
    from scipy import stats

    margin = float(stats.t.ppf((1 + level) / 2, df)) * math.sqrt(variance)
    if scale == "plain":
        return max(0.0, float(value - margin)), min(1.0, float(value + margin))
    middle, margin = math.log(value / (1 - value)), margin / (value * (1 - value))
    return float(_expit(middle - margin)), float(_expit(middle + margin))


def estimate(
    scores: np.ndarray, positive: np.ndarray, groups: Groups | None = None, level: float = 0.95
) -> Estimate:
    """Estimate an area with its interval on the logit scale.

    Where no variance is observed (all pairs in order, none, or all scores equal) the interval is exact
    instead. Of k disjoint pairs of a positive and a negative unit, which are independent, all are in order
    with probability at most A^k, so that areas below (alpha / 2)^(1 / k) are excluded (the bound of Clopper
    and Pearson, Biometrika 26:404-413, 1934).

    Args:
        scores: Higher means more likely positive (N,).
        positive: Truth, bool (N,).
        groups: As for `areas`.
        level: Nominal coverage.

    Raises:
        DataError: As `areas`.
    """
    return areas(scores, positive, groups).estimate(level=level)


def paired(areas: Areas, first: int = 0, second: int = 1, level: float = 0.95) -> Result:
    """Test two arms on the same rows: z with their covariance (DeLong et al., 1988), t with repeated groups.

    Args:
        areas: Areas of both arms.
        first: Index of one arm.
        second: Index of the other.
        level: Coverage of the interval of the difference (plain scale).
    """
    v, w = areas.covariance[first, first], areas.covariance[second, second]
    variance = float(v + w - 2 * areas.covariance[first, second])
    difference = float(areas.values[first] - areas.values[second])
    df = float(min(areas.df[first], areas.df[second]))
    return _test(difference, variance, float(v + w), df, level, areas.note)


def unpaired(areas_a: Areas, areas_b: Areas, level: float = 0.95) -> Result:
    """Test two arms on different patients: t by Welch and Satterthwaite, as in R's pROC.

    Degrees of freedom are (V1 + V2)^2 / (V1^2 / (N1 - 1) + V2^2 / (N2 - 1)), N being the units of each set
    (Robin et al., BMC Bioinformatics 12:77, 2011); with several rows a group, `Areas.df` replaces N - 1.

    Args:
        areas_a: Area of one arm on its patients.
        areas_b: Area of the other on other patients.
        level: Coverage of the interval of the difference (plain scale).
    """
    assert len(areas_a.values) == len(areas_b.values) == 1, "one arm each"
    v, w = float(areas_a.covariance[0, 0]), float(areas_b.covariance[0, 0])
    each = [float(min(areas.df[0], areas.units - 1)) for areas in (areas_a, areas_b)]
    below = v**2 / each[0] + w**2 / each[1] if v + w > 0 else 0.0
    df = (v + w) ** 2 / below if below > 0 else math.inf
    difference = float(areas_a.values[0] - areas_b.values[0])
    return _test(difference, v + w, v + w, df, level, areas_a.note or areas_b.note)


def hanley_mcneil(auc: float, n_positive: int, n_negative: int) -> float:
    """Compute the variance of an area from the sizes of the two samples alone.

    Hanley and McNeil, Radiology 143:29-36, 1982, equation 1, with Q1 = A / (2 - A) and
    Q2 = 2 A^2 / (1 + A) as for exponential scores.

    Args:
        auc: The area A.
        n_positive: Positive patients.
        n_negative: Negative patients.

    Raises:
        ConfigError: An area outside 0 and 1, or a class without a patient.
    """
    faults = []
    if not 0 <= auc <= 1:
        faults.append(f"an AUC of {auc} is not possible; give a number from 0 to 1, such as 0.92")
    if min(n_positive, n_negative) < 1:
        faults.append(f"{n_positive} positive and {n_negative} negative patients; an AUC needs one of each")
    refuse(faults)
    square = auc**2
    both = (n_positive - 1) * (auc / (2 - auc) - square) + (n_negative - 1) * (
        2 * square / (1 + auc) - square
    )
    return (auc * (1 - auc) + both) / (n_positive * n_negative)


def published(auc: float, n_positive: int, n_negative: int, level: float = 0.95) -> Estimate:
    """Estimate the interval of a published area from its two sample sizes, on the logit scale.

    Args:
        auc: The published area.
        n_positive: Positive patients.
        n_negative: Negative patients.
        level: Nominal coverage.

    Raises:
        ConfigError: As `hanley_mcneil`.
    """
    variance = hanley_mcneil(auc, n_positive, n_negative)
    return _estimate(auc, variance, min(n_positive, n_negative), level, "logit Hanley-McNeil")


def _estimate(
    value: float, variance: float, pairs: int, level: float, method: str, df: float = math.inf
) -> Estimate:
    if 0 < value < 1 and variance > 0:
        note = NARROW if pairs < FEW else ""
        return Estimate(value, *interval(value, variance, level, df=df), method, note)
    # With at least this probability a pair is ordered as all observed pairs are.
    bound = ((1 - level) / 2) ** (1 / pairs)
    return Estimate(value, value * bound, 1 - (1 - value) * bound, "Clopper-Pearson", AGREEING)


def _test(difference: float, variance: float, parts: float, df: float, level: float, note: str) -> Result:
    """Test a difference by Student's t; an infinite df is the normal distribution."""
    if math.isnan(variance):
        return Result(difference=difference, note=note)
    if variance <= ROUNDING * parts:
        if difference == 0:
            note = "the two do not differ in any pair: no interval"
            return Result(p=1.0, statistic=0.0, difference=0.0, note=note)
        note = "no variance was observed: the difference cannot be tested"
        return Result(difference=difference, note=note)
    from scipy import stats

    error = math.sqrt(variance)
    margin = float(stats.t.ppf((1 + level) / 2, df)) * error
    p = 2 * float(stats.t.sf(abs(difference) / error, df))
    low, high = max(-1.0, difference - margin), min(1.0, difference + margin)
    return Result(p, difference / error, difference=difference, low=low, high=high)


def _expit(x: float) -> float:
    """Compute 1 / (1 + e^-x) without overflow."""
    return 0.5 * (1 + math.tanh(x / 2))
