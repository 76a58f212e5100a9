"""Decisions by the most probable class, confusion matrices, and the metrics that follow from these.

Every function of matrices takes R of them at once, one a weighting of the samples; what is undefined is NaN.
"""

import numpy as np

from fibrolab.evaluation.measures.weighted import Weights, ratio


def decide(probabilities: np.ndarray) -> np.ndarray:
    """Return the most probable class of each row of (N, K), int64 (N,); the first one of a tie."""
    return probabilities.argmax(axis=1)


def confusion_matrix(
    y_true: np.ndarray, y_pred: np.ndarray, num_classes: int, weights: Weights | None = None
) -> np.ndarray:
    """Sum the weights of every pair of true (row) and predicted (column) class, float64 (R, K, K)."""
    if weights is None:
        weights = np.ones((1, len(y_true)))
    cell = np.asarray(y_true, np.int64) * num_classes + np.asarray(y_pred, np.int64)  # (N,)
    order = np.argsort(cell, kind="stable")
    occupied, starts = np.unique(cell[order], return_index=True)
    matrix = np.zeros((len(weights), num_classes * num_classes))
    matrix[:, occupied] = np.add.reduceat(weights[:, order], starts, axis=1)
    return matrix.reshape(-1, num_classes, num_classes)


def quadratic_weighted_kappa(matrix: np.ndarray) -> np.ndarray:
    """Compute the agreement beyond chance, errors weighted by squared distance, of (R, K, K) matrices, (R,).

    Cohen, Psychological Bulletin 70:213-220, 1968: 1 - observed / expected disagreement.
    """
    stage = np.arange(matrix.shape[1])
    cost = np.subtract.outer(stage, stage).astype(float) ** 2
    chance = matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :]  # (R, K, K)
    observed = (cost * matrix).sum(axis=(1, 2)) * matrix.sum(axis=(1, 2))
    return 1.0 - ratio(observed, (cost * chance).sum(axis=(1, 2)))


def mean_absolute_error(matrix: np.ndarray) -> np.ndarray:
    """Compute the mean distance of predicted from true class [stages] of (R, K, K) matrices, (R,)."""
    stage = np.arange(matrix.shape[1])
    distance = np.abs(np.subtract.outer(stage, stage))
    return ratio((distance * matrix).sum(axis=(1, 2)), matrix.sum(axis=(1, 2)))


def rates(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the rates of each class against the rest of (R, K, K) matrices, float64 (R, K) by name.

    Sensitivity, specificity, precision (PPV), NPV, F1 and the likelihood ratios LR+ = sensitivity /
    (1 - specificity) and LR- = (1 - sensitivity) / specificity (Deeks and Altman, BMJ 329:168-169, 2004).
    """
    other = 1.0 - np.eye(matrix.shape[1])
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    present, predicted = matrix.sum(axis=2), matrix.sum(axis=1)
    others = present.sum(axis=1, keepdims=True) - present
    misses, false_alarms = present - hits, predicted - hits
    # True negatives are summed: a difference would leave 1e-17 where there are none.
    rejected = np.einsum("rij,ki,kj->rk", matrix, other, other)
    return {
        "sensitivity": ratio(hits, present),
        "specificity": ratio(rejected, others),
        "precision": ratio(hits, predicted),
        "npv": ratio(rejected, rejected + misses),
        "f1": ratio(2.0 * hits, present + predicted),
        "lr_plus": ratio(hits * others, present * false_alarms),
        "lr_minus": ratio(misses * others, present * rejected),
    }
