"""Ranking metrics: the area under the ROC curve, and Obuchowski's index of ordered classes.

As in `metrics`, every function takes weights (R, N) and returns R values, NaN where undefined.
"""

from itertools import combinations

import numpy as np

from fibrolab.evaluation.measures.weighted import Weights, ratio


def auc(y_true: np.ndarray, probabilities: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Compute the area under the ROC curve of every class against the rest, float64 (R, K)."""
    areas = [area(scores, y_true == k, weights) for k, scores in enumerate(probabilities.T)]
    return np.stack(areas, axis=1)


def area(scores: np.ndarray, positive: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Compute the area under the ROC curve of one score, float64 (R,).

    The proportion of (positive, negative) pairs that the score orders correctly, ties counting half (Hanley
    and McNeil, Radiology 143:29-36, 1982); NaN where there is no pair.

    Args:
        scores: Higher means more likely positive (N,).
        positive: bool (N,).
        weights: One row a resample (R, N); None weights every sample once (R = 1).
    """
    if weights is None:
        weights = np.ones((1, len(scores)))
    ours, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    others = others[np.argsort(scores[others])]
    return _area(scores[ours], scores[others], weights[:, ours], weights[:, others])


def expected_class(probabilities: np.ndarray) -> np.ndarray:
    """Compute the mean class index under the probabilities (the expected stage), float64 (N,)."""
    # Not a matrix product: its rounding may differ from row to row, which would break ties.
    return (probabilities * np.arange(probabilities.shape[1])).sum(axis=1)


def obuchowski(y_true: np.ndarray, probabilities: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Compute Obuchowski's index of the expected stage, float64 (R,): a mean AUC over pairs of stages.

    Obuchowski, Academic Radiology 12:1198-1204, 2005: 1 - sum over pairs of w L (1 - AUC). As for liver
    fibrosis in Lambert et al., Clinical Chemistry 54:1372-1378, 2008, the penalty L is proportional to the
    distance in stages and every pair is as common as any other, so that the index does not depend on the
    spectrum of the sample. The weights w L are scaled to sum to one: guessing then scores .5, and two stages
    score their AUC. Without that scaling, with L = distance / (K - 1), 1 - index is smaller by the factor
    (K + 1) / (3 (K - 1)): one half for five stages.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class, in order (N, K).
        weights: One row a resample (R, N); None weights every sample once (R = 1).

    Returns:
        Mean over the pairs of stages that are present; NaN where there is none, and in a resample that
        lacks one of these stages.
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
    """Compute the weighted Mann-Whitney statistic; one sort serves every resample. `others` ascend."""
    below = np.zeros((len(of_others), len(others) + 1))  # weight of the m lowest negatives, m = 0..M
    np.cumsum(of_others, axis=1, out=below[:, 1:])
    lower = np.searchsorted(others, ours, side="left")
    upper = np.searchsorted(others, ours, side="right")  # upper - lower negatives tie
    won = np.einsum("rp,rp->r", of_ours, below[:, lower] + below[:, upper]) / 2.0
    return ratio(won, of_ours.sum(axis=1) * below[:, -1])
