"""How well scores rank: the area under the ROC curve, and Obuchowski's index of ordered classes.

As in `metrics`, every function takes weights (R, N), answers with R values, and calls what is undefined NaN.
"""

from itertools import combinations

import numpy as np

from fibrolab.evaluation.measures.weighted import Weights, ratio


def auc(y_true: np.ndarray, probabilities: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Area under the ROC curve of every class against the rest, float64 (R, K)."""
    areas = [area(scores, y_true == k, weights) for k, scores in enumerate(probabilities.T)]
    return np.stack(areas, axis=1)


def area(scores: np.ndarray, positive: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Area under the ROC curve of one score, float64 (R,).

    The share of (positive, negative) pairs that the score puts in order, ties counting half (Hanley and
    McNeil, Radiology 143:29-36, 1982); NaN where there is no pair.

    Args:
        scores: Higher speaks for positive (N,).
        positive: bool (N,).
        weights: One row a resample (R, N); None weighs every sample once (R = 1).
    """
    if weights is None:
        weights = np.ones((1, len(scores)))
    ours, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    others = others[np.argsort(scores[others])]
    return _area(scores[ours], scores[others], weights[:, ours], weights[:, others])


def expected_class(probabilities: np.ndarray) -> np.ndarray:
    """Mean of the class under its probabilities, for stages the expected stage, float64 (N,)."""
    # Not a matrix product: its rounding may differ from row to row, which would part samples that tie.
    return (probabilities * np.arange(probabilities.shape[1])).sum(axis=1)


def obuchowski(y_true: np.ndarray, probabilities: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Obuchowski's index of the expected stage, float64 (R,): a mean of the AUCs of every two stages.

    Obuchowski, Academic Radiology 12:1198-1204, 2005: 1 - sum over pairs of w L (1 - AUC). As for liver
    fibrosis in Lambert et al., Clinical Chemistry 54:1372-1378, 2008, the penalty L is proportional to the
    distance in stages and every pair is as common as any other, so that the index does not move with the
    spectrum of the sample. The weights w L are scaled to sum to one: guessing then scores .5 and two stages
    their AUC. Without that scaling, L being distance / (K - 1), 1 - index is a third of K + 1 over K - 1 as
    large: half for five stages.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class, in order (N, K).
        weights: One row a resample (R, N); None weighs every sample once (R = 1).

    Returns:
        Mean over the pairs of stages that are present; NaN where there is none, and in a resample that lacks
        one of the stages.
    """
    if weights is None:
        weights = np.ones((1, len(y_true)))
    scores = expected_class(probabilities)
    members = []  # each class that is present, its scores, ascending, and their weights
    for k in np.unique(y_true):
        rows = np.flatnonzero(y_true == k)
        rows = rows[np.argsort(scores[rows])]
        members.append((k, scores[rows], weights[:, rows]))
    total, distances = np.zeros(len(weights)), 0.0
    for (low, others, of_others), (high, ours, of_ours) in combinations(members, 2):
        total += (high - low) * _area(ours, others, of_ours, of_others)
        distances += high - low
    return total / distances if distances else np.full(len(weights), np.nan)


def _area(ours: np.ndarray, others: np.ndarray, of_ours: Weights, of_others: Weights) -> np.ndarray:
    """Weighted Mann-Whitney statistic; one sort serves every resample. `others` ascend."""
    below = np.zeros((len(of_others), len(others) + 1))  # weight of the m lowest negatives, m = 0..M
    np.cumsum(of_others, axis=1, out=below[:, 1:])
    lower = np.searchsorted(others, ours, side="left")
    upper = np.searchsorted(others, ours, side="right")  # upper - lower negatives tie
    won = np.einsum("rp,rp->r", of_ours, below[:, lower] + below[:, upper]) / 2.0
    return ratio(won, of_ours.sum(axis=1) * below[:, -1])
