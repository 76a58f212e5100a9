"""Whether accuracy is more than chance: than answering every sample with the commonest class of training."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.intervals import proportions
from fibrolab.evaluation.measures import metrics


def beside(table: pd.DataFrame, frame: pd.DataFrame, commonest: int) -> pd.DataFrame:
    """The metrics with two more columns, which accuracy alone has: `chance` and `p_chance`.

    Args:
        table: Index `metric`, as `score.score` gives it.
        frame: The predictions that it was measured on.
        commonest: Class of training that the constant answer names; one chosen on the test part itself
            would make p too small.
    """
    test = predictions.select(frame, keys.TEST)
    truth = test[keys.Y_TRUE].to_numpy()
    hits = metrics.decide(predictions.probabilities(test)) == truth
    constant = truth == commonest
    known = {
        "chance": float(constant.mean()),
        "p_chance": p_of_more(hits, constant, test[keys.GROUP_ID].to_numpy()),
    }
    return table.assign(
        **{name: pd.Series({"accuracy": value}).reindex(table.index) for name, value in known.items()}
    )


def p_of_more(hits: np.ndarray, constant: np.ndarray, groups: np.ndarray) -> float:
    """One-sided p that one answer is right more often than another on the same samples.

    The mean difference over its standard error by group (the ratio estimator), against Student's t with one
    degree of freedom fewer than the groups are worth (`shares.worth`).

    Args:
        hits: Where the one is right, bool (N,).
        constant: Where the other is, bool (N,).
        groups: Patient or cluster of each sample (N,).

    Returns:
        NaN where the groups do not differ, or are worth no two.
    """
    gains = hits.astype(float) - constant
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    left = np.bincount(members, gains - gains.mean())
    worth = proportions.worth(sizes)
    if worth <= 1 or not left.any():
        return math.nan
    error = math.sqrt(len(sizes) / (len(sizes) - 1) * (left**2).sum()) / len(gains)
    return float(stats.t.sf(gains.mean() / error, worth - 1))
