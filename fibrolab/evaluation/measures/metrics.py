"""The metrics of a classifier, for one weighting of the samples or for a thousand at once.

A resampled test set is the test set with whole-number weights, so the bootstrap never copies a row:
every function takes weights (R, N) and answers with R values.

What is undefined is NaN, never a quiet 0:

- sensitivity and AUC of a class that is absent, specificity and AUC where there is nothing else;
- precision of a class that is never predicted, NPV of a class that is always predicted;
- LR+ of a class without a false alarm, LR- of a class that is answered wherever it is absent;
- F1 of a class neither present nor predicted (present and never predicted, it is 0);
- quadratic weighted kappa where truth and prediction are one and the same single class;
- Obuchowski's index where fewer than two classes are present;
- it and every macro average in a resample that lacks a class of the data: without the class they measure
  something else, whose spread says nothing of theirs.

Averages run over the classes that are present in the truth. There, as in scikit-learn
(`zero_division=0`), a class that is never predicted counts with precision 0, and one that is always predicted
with NPV 0: a model must not raise its average by giving a class up.
"""

from collections.abc import Sequence

import numpy as np

from fibrolab.evaluation.measures import probability_quality
from fibrolab.evaluation.measures.ranking import auc, obuchowski
from fibrolab.evaluation.measures.weighted import Weights, average, ratio

AVERAGED = ("sensitivity", "specificity", "precision", "npv", "f1", "auc")
PER_CLASS = (*AVERAGED, "lr_plus", "lr_minus")
GIVEN_UP = ("precision", "npv")  # undefined without such an answer; in an average that counts as 0


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
        probabilities: One column a class (N, K), rows summing to one; the most probable class is the answer.
        classes: The K class names.
        weights: One row a resample (R, N); None weighs every sample once (R = 1).
        ordered: Whether the classes are stages; then kappa, the mean absolute error and Obuchowski's index
            are meaningful.

    Returns:
        float64 (R,) under each name: `accuracy`, `balanced_accuracy` (the macro sensitivity under its
        other name), `macro_X` and `weighted_X` (by class frequency) for X in `AVERAGED`, `qwk`, `mae`
        [stages] and `obuchowski` if ordered, `log_loss` [nats], `brier` and `ece`, `auc` of the second class
        if there are two, then `X_CLASS`, one against the rest, for X in `PER_CLASS`; precision is the
        positive predictive value.
    """
    y_true = np.asarray(y_true)
    assert probabilities.shape == (len(y_true), len(classes)), "one probability a sample and class"
    assert len(y_true) > 0, "no samples"
    if weights is None:
        weights = np.ones((1, len(y_true)))
    matrix = confusion_matrix(y_true, decide(probabilities), len(classes), weights)
    by_class = rates(matrix) | {"auc": auc(y_true, probabilities, weights)}
    support = matrix.sum(axis=2)  # (R, K)
    values = {"accuracy": ratio(np.trace(matrix, axis1=1, axis2=2), support.sum(axis=1))}
    present = np.unique(y_true)
    whole = (support[:, present] > 0).all(axis=1)  # no class of the data is lacking
    for name in AVERAGED:
        found = np.nan_to_num(by_class[name]) if name in GIVEN_UP else by_class[name]
        values[f"macro_{name}"] = np.where(whole, found[:, present].mean(axis=1), np.nan)
        values[f"weighted_{name}"] = average(found, support)
    values["balanced_accuracy"] = values["macro_sensitivity"]
    if ordered:
        values["qwk"] = quadratic_weighted_kappa(matrix)
        values["mae"] = mean_absolute_error(matrix)
        values["obuchowski"] = obuchowski(y_true, probabilities, weights)
    values |= probability_quality.evaluate(y_true, probabilities, weights)
    if len(classes) == 2:
        values["auc"] = by_class["auc"][:, 1]
    return values | {f"{x}_{c}": by_class[x][:, k] for k, c in enumerate(classes) for x in PER_CLASS}


def shares(
    y_true: np.ndarray, decided: np.ndarray, classes: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which samples count for each metric that is a share of samples, and which of those are hits.

    What an interval of a share needs (`shares.estimate`), where `evaluate` gives its value alone.

    Args:
        y_true: Class indices (N,).
        decided: Class that was answered (N,).
        classes: The K class names.

    Returns:
        Hits and counted, bool (N,) each, under `accuracy` and `sensitivity_CLASS`, `specificity_CLASS`,
        `precision_CLASS` and `npv_CLASS`; a metric is the share of the counted that are hits.
    """
    y_true, decided = np.asarray(y_true), np.asarray(decided)
    found = {"accuracy": (y_true == decided, np.ones(len(y_true), dtype=bool))}
    for k, name in enumerate(classes):
        present, answered = y_true == k, decided == k
        found[f"sensitivity_{name}"] = (answered, present)
        found[f"specificity_{name}"] = (~answered, ~present)
        found[f"precision_{name}"] = (present, answered)
        found[f"npv_{name}"] = (~present, ~answered)
    return found


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


def quadratic_weighted_kappa(matrix: np.ndarray) -> np.ndarray:
    """Agreement beyond chance, errors weighed by squared distance, of (R, K, K) matrices, (R,).

    Cohen, Psychological Bulletin 70:213-220, 1968: 1 - observed / expected disagreement.
    """
    stage = np.arange(matrix.shape[1])
    cost = np.subtract.outer(stage, stage).astype(float) ** 2
    chance = matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :]  # (R, K, K)
    observed = (cost * matrix).sum(axis=(1, 2)) * matrix.sum(axis=(1, 2))
    return 1.0 - ratio(observed, (cost * chance).sum(axis=(1, 2)))


def mean_absolute_error(matrix: np.ndarray) -> np.ndarray:
    """Mean distance of predicted from true class [stages] of (R, K, K) matrices, (R,)."""
    stage = np.arange(matrix.shape[1])
    distance = np.abs(np.subtract.outer(stage, stage))
    return ratio((distance * matrix).sum(axis=(1, 2)), matrix.sum(axis=(1, 2)))


def rates(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """What a decision gives of each class against the rest, of (R, K, K) matrices, (R, K) each.

    Sensitivity, specificity, precision (PPV), NPV, F1 and the likelihood ratios LR+ = sensitivity /
    (1 - specificity) and LR- = (1 - sensitivity) / specificity (Deeks and Altman, BMJ 329:168-169, 2004).
    """
    other = 1.0 - np.eye(matrix.shape[1])
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    present, predicted = matrix.sum(axis=2), matrix.sum(axis=1)
    others = present.sum(axis=1, keepdims=True) - present
    misses, false_alarms = present - hits, predicted - hits
    spared = np.einsum("rij,ki,kj->rk", matrix, other, other)  # summed, lest a difference leaves 1e-17 of 0
    return {
        "sensitivity": ratio(hits, present),
        "specificity": ratio(spared, others),
        "precision": ratio(hits, predicted),
        "npv": ratio(spared, spared + misses),
        "f1": ratio(2.0 * hits, present + predicted),
        "lr_plus": ratio(hits * others, present * false_alarms),
        "lr_minus": ratio(misses * others, present * spared),
    }
