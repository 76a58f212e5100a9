"""Time the bootstrap of all metrics against the same loop over scikit-learn, and compare every value.

python -m benchmarks.bootstrap [--full] [--samples 1265] [--resamples 1000]
"""

import argparse
import resource
import time
import warnings

import numpy as np
from sklearn import metrics as reference

from fibrolab.evaluation.intervals.bootstrap import intervals, resample_weights
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.measures.decisions import decide
from fibrolab.evaluation.measures.metrics import evaluate

CLASSES = ("F0", "F1", "F2", "F3", "F4")
FREQUENCIES = (0.334, 0.136, 0.125, 0.136, 0.269)  # of the Kaggle fibrosis set


def made_up(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return stages, softmax probabilities with ties (rounded to 3 digits) and groups of about two images."""
    rng = np.random.default_rng(seed)
    y_true = rng.choice(len(CLASSES), size=n, p=FREQUENCIES)
    logits = rng.normal(size=(n, len(CLASSES)))
    logits[np.arange(n), y_true] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y_true, probabilities.round(3), rng.integers(max(2, n // 2), size=n).astype(str)


def by_scikit_learn(y_true: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute the metrics of `evaluate` that scikit-learn has, with as few calls as possible (11)."""
    y_pred = decide(probabilities)
    precision, sensitivity, f1, support = reference.precision_recall_fscore_support(
        y_true, y_pred, labels=range(len(CLASSES)), zero_division=np.nan
    )
    matrix = reference.confusion_matrix(y_true, y_pred, labels=range(len(CLASSES)))
    false_alarms = matrix.sum(axis=0) - np.diagonal(matrix)
    rejected = len(y_true) - support - false_alarms
    rates = {
        "sensitivity": sensitivity,
        "specificity": rejected / (len(y_true) - support),
        "precision": precision,
        "npv": rejected / (rejected + support - np.diagonal(matrix)),
        "f1": f1,
        "auc": [reference.roc_auc_score(y_true == k, probabilities[:, k]) for k in range(len(CLASSES))],
    }
    values = {
        "accuracy": reference.accuracy_score(y_true, y_pred),
        "balanced_accuracy": reference.balanced_accuracy_score(y_true, y_pred),
        "qwk": reference.cohen_kappa_score(y_true, y_pred, weights="quadratic"),
        "mae": reference.mean_absolute_error(y_true, y_pred),
    }
    for name in (metric.name for metric in catalogue.by_class(averaged=True)):
        values[f"macro_{name}"] = np.mean(rates[name])
        values[f"weighted_{name}"] = np.average(rates[name], weights=support)
        values |= {f"{name}_{c}": rates[name][k] for k, c in enumerate(CLASSES)}
    return {name: float(value) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=1265)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--full", action="store_true", help="scikit-learn runs all resamples, not 50")
    arguments = parser.parse_args()
    y_true, probabilities, groups = made_up(arguments.samples)

    intervals(y_true, probabilities, groups, CLASSES, resamples=50)  # warm-up: imports and memory
    start = time.perf_counter()
    table = intervals(y_true, probabilities, groups, CLASSES, arguments.resamples, seed=0)
    ours = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux

    weights = np.concatenate(list(resample_weights(groups, arguments.resamples, seed=0)))
    if not arguments.full:
        weights = weights[:50]
    values = evaluate(y_true, probabilities, CLASSES, weights)
    drawn = [np.repeat(np.arange(len(y_true)), row.astype(int)) for row in weights]
    warnings.filterwarnings("error")  # a class absent from a resample would make the comparison unfair
    start = time.perf_counter()
    expected = [by_scikit_learn(y_true[rows], probabilities[rows]) for rows in drawn]
    theirs = (time.perf_counter() - start) * arguments.resamples / len(drawn)

    if unknown := sorted(set(expected[0]) - set(values)):
        raise SystemExit(f"not among our metrics: {unknown}")
    gap = max(abs(row[name] - values[name][r]) for r, row in enumerate(expected) for name in row)
    scaled = "" if arguments.full else f" (scaled up from {len(drawn)} resamples)"
    print(f"{len(table)} metrics, n = {len(y_true)}, K = {len(CLASSES)}, {arguments.resamples} resamples")
    print(f"fibrolab      {ours:8.2f} s, process peak {peak:.0f} MiB")
    print(f"scikit-learn  {theirs:8.2f} s{scaled}")
    print(f"ratio         {theirs / ours:8.0f} x")
    print(f"largest difference of {gap:.1e} over {len(drawn) * len(expected[0])} values")


if __name__ == "__main__":
    main()
