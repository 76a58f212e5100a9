"""Likelihood ratios of a test result: its probability in the positive over that in the negative."""

import math

import numpy as np

from fibrolab.evaluation.intervals import placement_values
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.intervals.placement_values import Groups

METHOD, CLUSTERED = "log (Simel)", "clustered log (Simel)"
NOISE = 1e-20  # a variance that is rounding alone
WIDEST = math.log(1e9)  # either side of the ratio


def estimate(
    result: np.ndarray, positive: np.ndarray, groups: Groups | None = None, level: float = 0.95
) -> Estimate:
    """Estimate a likelihood ratio with the interval of the log method.

    Simel, Samsa and Matchar, J Clin Epidemiol 44:763-770, 1991. A bootstrap would have to leave out
    the resamples without a false positive, in which the ratio is largest. Where groups have several samples,
    the contributions to the logarithm are summed by group, as for an area (`placement_values.by_group`).

    Args:
        result: Samples with the test result, bool (N,): predicted positive for LR+, negative for LR-.
        positive: Samples with the condition, bool (N,).
        groups: Independent unit of each sample: patient or cluster (N,); by default the sample itself.
        level: Nominal coverage.

    Returns:
        NaN, or no interval, with the reason, where a class is absent or has no sample with the result.
    """
    from scipy.stats import t

    result, positive = np.asarray(result, dtype=bool), np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        absent = "negative" if len(positive) and positive.all() else "positive"
        return Estimate(math.nan, note=f"no {absent} sample: there are no two proportions to compare")
    ours, others = result[positive], result[~positive]
    if not others.any():
        return Estimate(math.nan, note="no negative sample has this result: the ratio has no upper bound")
    ratio = float(ours.mean() / others.mean())
    if not ours.any():
        return Estimate(ratio, note="no interval: the logarithm of 0 is not defined")
    if result.all():
        return Estimate(ratio, note="no interval: every sample has the same result")
    a = (ours / ours.mean() - 1.0) / len(ours)  # contribution of each row to the logarithm
    b = (1.0 - others / others.mean()) / len(others)
    codes = np.arange(len(positive)) if groups is None else placement_values.numbered(groups)
    if len(np.unique(codes)) == len(codes):
        method, variance, df = METHOD, float(a @ a + b @ b), math.inf
    else:
        held = codes[positive], codes[~positive]
        if min(len(np.unique(each)) for each in held) < 2:
            return Estimate(
                ratio, note="one group only holds a class: the variance of the ratio cannot be estimated"
            )
        method, variance = CLUSTERED, float(placement_values.by_group(a[None], b[None], *held)[0, 0])
        df = float(placement_values.degrees_of_freedom(a[None], b[None], *held)[0])
    if variance <= NOISE:
        return Estimate(ratio, note="no interval: the groups do not differ")
    margin = float(t.isf((1 - level) / 2, df)) * math.sqrt(variance)
    if margin > WIDEST:
        return Estimate(ratio, note="no interval: too few groups hold a class to bound the ratio")
    return Estimate(ratio, ratio * math.exp(-margin), ratio * math.exp(margin), method)
