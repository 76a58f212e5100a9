"""Whether accuracy is more than chance, which is the best that one answer for all can do."""

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import metrics, predictions, shares, significance


def beside(table: pd.DataFrame, frame: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """The metrics with two more columns, which accuracy alone has: `chance` and `p_chance`.

    Chance is the share of the commonest class of the test part: no constant answer, whatever it learnt from,
    is right more often. p is of a one-sided exact binomial test at the number of independent samples that
    the groups are worth (`shares.witnesses`).

    Args:
        table: Index `metric`, as `score.score` gives it.
        frame: The predictions that it was measured on.
        level: Coverage of the intervals beside it, for the allowance that few groups need.
    """
    test = predictions.select(frame, keys.TEST)
    truth = test[keys.Y_TRUE].to_numpy()
    hits = metrics.decide(predictions.probabilities(test)) == truth
    right, n, _ = shares.witnesses(hits, groups=test[keys.GROUP_ID].to_numpy(), level=level)
    chance = float(np.bincount(truth).max() / len(truth))
    known = {"chance": chance, "p_chance": significance.against_chance(right, n, chance).p}
    return table.assign(
        **{name: pd.Series({"accuracy": value}).reindex(table.index) for name, value in known.items()}
    )
