"""Calibration slope and intercept of the score of an end point."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fibrolab.evaluation.intervals.by_metric import ONE_GROUP
from fibrolab.evaluation.intervals.estimate import Estimate

CLIP = float(np.finfo(np.float32).eps)  # a float32 softmax rounds probabilities nearer to 0 or 1
METHOD = "clustered Wald"
SINGULAR = 1e12  # condition number from which a fit without a group is not defined
ONE_GROUP_DECIDES = "the fit depends on one group alone: no interval can be computed"


def recalibration(
    score: np.ndarray,
    positive: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    level: float = 0.95,
) -> tuple[Estimate, Estimate]:
    """Estimate calibration slope and intercept of an end point's score: 1 and 0 if it is calibrated.

    Cox, Biometrika 45:562-565, 1958, as Van Calster et al., BMC Med 17:230, 2019 advise: the slope of a
    logistic regression of the outcome on the score's logit (below 1, the score is overconfident),
    and the intercept of one with the slope fixed at 1 (calibration in the large: above 0, the risk is
    underestimated). Intervals from the sandwich variance over groups, corrected for their leverage (Mancl and
    DeRouen, Biometrics 57:126-134, 2001), and Student's t on G - 1 degrees of freedom.

    Args:
        score: Probability of the end point (N,).
        positive: Whether the end point is present, bool (N,).
        groups: Independent unit of each row: patient or cluster (N,).
        level: Nominal coverage.

    Returns:
        Slope and intercept; NaN with a reason where one class is absent, and for the slope where the score
        is constant or separates the classes perfectly, so that no finite slope is optimal.
    """
    from scipy.special import logit

    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        missing = Estimate(math.nan, note="one class only: neither slope nor intercept is defined")
        return missing, missing
    x = logit(np.clip(score, CLIP, 1.0 - CLIP))
    ones = np.ones((len(x), 1))
    intercept = _fitted(ones, x, positive, groups, level)
    ours, others = x[positive], x[~positive]
    if x.min() == x.max():
        return Estimate(math.nan, note="the score is constant: no slope is defined"), intercept
    if others.max() <= ours.min() or ours.max() <= others.min():
        note = "the score separates the classes perfectly: the slope has no finite value"
        return Estimate(math.nan, note=note), intercept
    return _fitted(np.column_stack([x, ones]), np.zeros(len(x)), positive, groups, level), intercept


def _fitted(
    design: np.ndarray,
    offset: np.ndarray,
    positive: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    level: float,
) -> Estimate:
    """Fit an unpenalised logistic regression; return its first coefficient with a sandwich interval."""
    from scipy.special import expit
    from scipy.stats import t

    outcome = positive.astype(np.float64)
    beta = _maximum_likelihood(design, offset, outcome)
    value = float(beta[0])
    codes, names = pd.factorize(np.asarray(groups))
    if len(names) < 2:
        return Estimate(value, note=ONE_GROUP)
    # The score and information of each group give the change of the fit without it.
    chance = expit(design @ beta + offset)
    weight = chance * (1.0 - chance)
    scores = np.zeros((len(names), len(beta)))
    information = np.zeros((len(names), len(beta), len(beta)))
    np.add.at(scores, codes, design * (outcome - chance)[:, None])
    np.add.at(information, codes, design[:, :, None] * design[:, None, :] * weight[:, None, None])
    without = information.sum(axis=0) - information  # (G, P, P)
    if not np.linalg.cond(without).max() < SINGULAR:
        return Estimate(value, note=ONE_GROUP_DECIDES)
    moves = np.linalg.solve(without, scores[:, :, None])[:, 0, 0]  # (G,)
    half = float(t.isf((1 - level) / 2, len(names) - 1)) * math.sqrt(float((moves**2).sum()))
    return Estimate(value, value - half, value + half, METHOD)


def _maximum_likelihood(design: np.ndarray, offset: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Fit the coefficients (P,) of the logistic regression on the design (N, P) with an offset (N,)."""
    from scipy.optimize import minimize
    from scipy.special import expit

    n = len(outcome)

    def loss(beta: np.ndarray) -> float:
        eta = design @ beta + offset
        return float((np.logaddexp(0.0, eta) - outcome * eta).mean())

    def gradient(beta: np.ndarray) -> np.ndarray:
        return design.T @ (expit(design @ beta + offset) - outcome) / n

    def hessian(beta: np.ndarray) -> np.ndarray:
        chance = expit(design @ beta + offset)
        return (design * (chance * (1.0 - chance))[:, None]).T @ design / n

    start, settled = np.zeros(design.shape[1]), {"gtol": 1e-9}
    return minimize(loss, start, jac=gradient, hess=hessian, method="trust-exact", options=settled).x
