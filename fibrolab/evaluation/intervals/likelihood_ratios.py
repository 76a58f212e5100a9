"""Likelihood ratios: how many times likelier an answer is in the positive than in the negative."""

import math

import numpy as np

from fibrolab.evaluation.intervals import placement_values
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.intervals.placement_values import Groups

METHOD, CLUSTERED = "log (Simel)", "clustered log (Simel)"
NOISE = 1e-20  # a variance that rounding alone explains
WIDEST = math.log(1e9)  # either side of the ratio


def estimate(
    answered: np.ndarray, positive: np.ndarray, groups: Groups | None = None, level: float = 0.95
) -> Estimate:
    """Share of the positive that are answered so, over that of the negative, with the log method's interval.

    Simel, Samsa and Matchar, J Clin Epidemiol 44:763-770, 1991. A bootstrap has no such interval: it has to
    leave out the resamples without a false alarm, in which the ratio is largest. Where groups have several
    samples, what each adds to the logarithm is summed by group, as for an area (`structural.by_group`).

    Args:
        answered: Who has the answer, bool (N,): yes for LR+, no for LR-.
        positive: Who has the end point, bool (N,).
        groups: What was sampled from the population (N,); each sample its own by default.
        level: Coverage aimed at.

    Returns:
        NaN, or no interval, with the reason where a class is absent or nobody of it is answered so.
    """
    from scipy.stats import t

    answered, positive = np.asarray(answered, dtype=bool), np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        absent = "negative" if len(positive) and positive.all() else "positive"
        return Estimate(math.nan, note=f"no {absent} sample: there are no two shares to compare")
    ours, others = answered[positive], answered[~positive]
    if not others.any():
        return Estimate(math.nan, note="no negative sample is answered so: the ratio has no upper bound")
    ratio = float(ours.mean() / others.mean())
    if not ours.any():
        return Estimate(ratio, note="no interval: the logarithm of 0 is not defined")
    if answered.all():
        return Estimate(ratio, note="no interval: every sample has the same answer")
    a = (ours / ours.mean() - 1.0) / len(ours)  # what each row adds to the logarithm
    b = (1.0 - others / others.mean()) / len(others)
    codes = np.arange(len(positive)) if groups is None else placement_values.numbered(groups)
    if len(np.unique(codes)) == len(codes):
        method, variance, df = METHOD, float(a @ a + b @ b), math.inf
    else:
        held = codes[positive], codes[~positive]
        if min(len(np.unique(each)) for each in held) < 2:
            return Estimate(ratio, note="one group only holds a class: nothing shows how the ratio varies")
        method, variance = CLUSTERED, float(placement_values.by_group(a[None], b[None], *held)[0, 0])
        df = float(placement_values.degrees_of_freedom(a[None], b[None], *held)[0])
    if variance <= NOISE:
        return Estimate(ratio, note="no interval: the groups do not differ")
    margin = float(t.isf((1 - level) / 2, df)) * math.sqrt(variance)
    if margin > WIDEST:
        return Estimate(ratio, note="no interval: too few groups hold a class to bound the ratio")
    return Estimate(ratio, ratio * math.exp(-margin), ratio * math.exp(margin), method)
