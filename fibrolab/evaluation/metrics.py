"""The metrics of a classifier, for one weighting of the samples or for a thousand at once.

A resampled test set is the test set with whole-number weights, so the bootstrap never copies a row:
every function takes weights (R, N) and answers with R values.

What is undefined is NaN, never a quiet 0:

- sensitivity and AUC of a class that is absent, specificity and AUC where there is nothing else;
- precision of a class that is never predicted;
- F1 of a class neither present nor predicted (present and never predicted, it is 0);
- quadratic weighted kappa where truth and prediction are one and the same single class.

Averages run over the classes that are present in the truth. There, as in scikit-learn
(`zero_division=0`), a class that is never predicted counts with precision 0: a model must not raise its
average by giving a class up.
"""

from collections.abc import Sequence

import numpy as np

Weights = np.ndarray  # float64 (R, N), finite and not negative

AVERAGED = ("sensitivity", "specificity", "precision", "f1", "auc")


def decide(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class, int64 (N,); of equals the first."""
    return probabilities.argmax(axis=1)


def evaluate(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    weights: Weights | None = None,
    ordered: bool = True,
) -> dict[str, np.ndarray]:
    """Every metric of a test set.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class (N, K); they are compared, never thresholded.
        classes: The K class names.
        weights: One row a resample (R, N); None weighs every sample once (R = 1).
        ordered: Whether the classes are stages; then kappa and the mean absolute error are meaningful.

    Returns:
        float64 (R,) under each name: `accuracy`, `balanced_accuracy` (the macro sensitivity under its
        other name), `macro_X` and `weighted_X` (by class frequency), `qwk` and `mae` [stages] if
        ordered, `auc` of the second class if there are two, then `X_CLASS`, one against the rest, for X
        in sensitivity, specificity, precision, f1, auc. With two classes the positive and negative
        predictive values are the precisions of the second and the first.
    """
    y_true = np.asarray(y_true)
    assert probabilities.shape == (len(y_true), len(classes)), "one probability a sample and class"
    assert len(y_true) > 0, "no samples"
    if weights is None:
        weights = np.ones((1, len(y_true)))
    matrix = confusion_matrix(y_true, decide(probabilities), len(classes), weights)
    by_class = _rates(matrix) | {"auc": auc(y_true, probabilities, weights)}
    support = matrix.sum(axis=2)  # (R, K)
    values = {"accuracy": _ratio(np.trace(matrix, axis1=1, axis2=2), support.sum(axis=1))}
    values["balanced_accuracy"] = _average(by_class["sensitivity"], support > 0)
    for kind, shares in (("macro", (support > 0).astype(float)), ("weighted", support)):
        for name in AVERAGED:
            rates = by_class[name]
            values[f"{kind}_{name}"] = _average(
                np.nan_to_num(rates) if name == "precision" else rates, shares
            )
    if ordered:
        values["qwk"] = quadratic_weighted_kappa(matrix)
        values["mae"] = mean_absolute_error(matrix)
    if len(classes) == 2:
        values["auc"] = by_class["auc"][:, 1]
    per_class = {f"{x}_{c}": by_class[x][:, k] for k, c in enumerate(classes) for x in AVERAGED}
    return values | per_class


def confusion_matrix(
    y_true: np.ndarray, y_pred: np.ndarray, num_classes: int, weights: Weights | None = None
) -> np.ndarray:
    """Weight of every pair of true (row) and predicted (column) class, float64 (R, K, K)."""
    if weights is None:
        weights = np.ones((1, len(y_true)))
    cell = np.asarray(y_true, np.int64) * num_classes + np.asarray(y_pred, np.int64)  # (N,)
    order = np.argsort(cell, kind="stable")
    occupied, starts = np.unique(cell[order], return_index=True)
    matrix = np.zeros((len(weights), num_classes * num_classes))
    matrix[:, occupied] = np.add.reduceat(weights[:, order], starts, axis=1)
    return matrix.reshape(-1, num_classes, num_classes)


def auc(y_true: np.ndarray, probabilities: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Area under the ROC curve of every class against the rest, float64 (R, K).

    The share of (positive, negative) pairs that the score puts in order, ties counting half (Hanley and
    McNeil, Radiology 143:29-36, 1982); NaN where there is no pair.
    """
    if weights is None:
        weights = np.ones((1, len(y_true)))
    areas = [_auc(scores, y_true == k, weights) for k, scores in enumerate(probabilities.T)]
    return np.stack(areas, axis=1)


def quadratic_weighted_kappa(matrix: np.ndarray) -> np.ndarray:
    """Agreement beyond chance, errors weighed by squared distance, of (R, K, K) matrices, (R,).

    Cohen, Psychological Bulletin 70:213-220, 1968: 1 - observed / expected disagreement.
    """
    stage = np.arange(matrix.shape[1])
    cost = np.subtract.outer(stage, stage).astype(float) ** 2
    chance = matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :]  # (R, K, K)
    observed = (cost * matrix).sum(axis=(1, 2)) * matrix.sum(axis=(1, 2))
    return 1.0 - _ratio(observed, (cost * chance).sum(axis=(1, 2)))


def mean_absolute_error(matrix: np.ndarray) -> np.ndarray:
    """Mean distance of predicted from true class [stages] of (R, K, K) matrices, (R,)."""
    stage = np.arange(matrix.shape[1])
    distance = np.abs(np.subtract.outer(stage, stage))
    return _ratio((distance * matrix).sum(axis=(1, 2)), matrix.sum(axis=(1, 2)))


def _rates(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, precision and F1 of each class, (R, K) each."""
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    present, predicted = matrix.sum(axis=2), matrix.sum(axis=1)
    others = present.sum(axis=1, keepdims=True) - present
    false_alarms = predicted - hits
    return {
        "sensitivity": _ratio(hits, present),
        "specificity": _ratio(np.maximum(others - false_alarms, 0.0), others),  # rounding of odd weights
        "precision": _ratio(hits, predicted),
        "f1": _ratio(2.0 * hits, present + predicted),
    }


def _auc(scores: np.ndarray, positive: np.ndarray, weights: Weights) -> np.ndarray:
    """Weighted Mann-Whitney statistic of one class; one sort serves every resample."""
    ours, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    others = others[np.argsort(scores[others])]
    below = np.zeros((len(weights), len(others) + 1))  # weight of the m lowest negatives, m = 0..M
    np.cumsum(weights[:, others], axis=1, out=below[:, 1:])
    lower = np.searchsorted(scores[others], scores[ours], side="left")
    upper = np.searchsorted(scores[others], scores[ours], side="right")  # upper - lower negatives tie
    won = np.einsum("rp,rp->r", weights[:, ours], below[:, lower] + below[:, upper]) / 2.0
    return _ratio(won, weights[:, ours].sum(axis=1) * below[:, -1])


def _average(rates: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean of (R, K) rates by (R, K) shares; a rate without a share may be undefined."""
    return _ratio(np.where(shares > 0, rates * shares, 0.0).sum(axis=1), shares.sum(axis=1))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, NaN where there is nothing below the line."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
