"""Tables of published numbers that are consistent by construction, from generated predictions."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fibrolab.evaluation.intervals import delong, proportions
from fibrolab.evaluation.published.reported_table import COLUMNS

CLASSES = ("F0", "F1", "F2", "F3")
Row = dict[str, Any]


def end_point(seed: int, arms: int = 3) -> pd.DataFrame:
    """Return all numbers of some arms at one end point, rounded to three decimals."""
    rng = np.random.default_rng(seed)
    positive, negative = (int(size) for size in rng.integers(15, 200, 2))
    truth = np.r_[np.ones(positive, dtype=bool), np.zeros(negative, dtype=bool)]
    rows: list[Row] = []
    areas = {}
    for arm in (f"arm{number}" for number in range(arms)):
        scores = np.r_[rng.normal(rng.uniform(0.6, 2.2), 1, positive), rng.normal(0, 1, negative)]
        known = {
            "arm": arm, "task": "F4", "cohort": "test", "n": len(truth), "positive": positive, "classes": 2,
        }  # fmt: skip
        found = delong.areas(scores, truth)
        area = float(found.values[0])
        low, high = delong.interval(
            area, float(found.covariance[0, 0]), scale=str(rng.choice(["plain", "logit"]))
        )
        areas[arm] = area
        rows.append(known | {"metric": "auc"} | _printed(area, low, high))
        rows += [known | each for each in _binary(truth, scores > 0.8, rng)]
    difference = areas["arm0"] - areas["arm1"]
    rows.append(
        {
            "arm": "arm0",
            "against": "arm1",
            "task": "F4",
            "cohort": "test",
            "metric": "auc",
            "value": f"{difference:.3f}",
        }
    )
    return _table(rows)


def stages(seed: int, folds: int = 5) -> pd.DataFrame:
    """Return the numbers of one arm on several classes in equal folds, pooled and as means over the folds."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(6, 40, len(CLASSES)) if seed % 2 else np.full(len(CLASSES), rng.integers(8, 40))
    skill = rng.uniform(0.3, 0.95, len(CLASSES))
    matrices = [_matrix(sizes, skill, rng) for _ in range(folds)]
    known = {"arm": "network", "task": "stage", "cohort": "test", "classes": len(CLASSES)}
    rows: list[Row] = []
    for fold, of_fold in (("", sizes), ("pooled", sizes * folds)):
        common = {"task": "stage", "cohort": "test", "metric": "count", "classes": len(CLASSES), "fold": fold}
        rows += [common | {"class": name, "value": str(n)} for name, n in zip(CLASSES, of_fold, strict=True)]
        rows.append(common | {"value": str(of_fold.sum())})
    for fold, matrix in enumerate(matrices, 1):
        rows += [known | {"fold": str(fold), "n": matrix.sum()} | each for each in _of_classes(matrix)]
    rows += [known | {"fold": "pooled"} | each for each in _of_classes(sum(matrices), cells=True)]
    accuracy = np.array([round(np.trace(each) / each.sum(), 3) for each in matrices])
    exact = np.array([np.trace(each) / each.sum() for each in matrices])
    rows.append(
        known
        | {
            "fold": "mean",
            "metric": "accuracy",
            "value": f"{exact.mean():.3f}",
            "sd": f"{exact.std(ddof=1):.3f}",
        }
    )
    for fold, extreme in (("lowest", accuracy.min()), ("highest", accuracy.max())):
        rows.append(known | {"fold": fold, "metric": "accuracy", "value": f"{extreme:.3f}"})
    return _table(rows)


def unknown_positives(seed: int) -> pd.DataFrame:
    """Return the numbers of two arms on a few samples, whose number of positives is not printed."""
    table = end_point(seed, arms=2)
    return table[~table["metric"].isin(["lr_plus", "lr_minus", "npv", "specificity"])].assign(
        positive="", low="", high=""
    )


def _binary(truth: np.ndarray, called: np.ndarray, rng: np.random.Generator) -> list[Row]:
    tp, fn = int((truth & called).sum()), int((truth & ~called).sum())
    tn, fp = int((~truth & ~called).sum()), int((~truth & called).sum())
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    rows: list[Row] = []
    for metric, hits, of in (
        ("sensitivity", tp, tp + fn), ("specificity", tn, tn + fp), ("accuracy", tp + tn, len(truth)),
        ("precision", tp, tp + fp), ("npv", tn, tn + fn),
    ):  # fmt: skip
        if of:
            rows.append({"metric": metric} | _printed(hits / of, *_interval(hits, of, rng)))
    rows.append({"metric": "f1", "value": f"{2 * tp / (2 * tp + fp + fn):.3f}"})
    rows.append({"metric": "balanced_accuracy", "value": f"{(sensitivity + specificity) / 2:.3f}"})
    if specificity < 1:
        rows.append({"metric": "lr_plus", "value": f"{sensitivity / (1 - specificity):.1f}"})
    if specificity > 0:
        rows.append({"metric": "lr_minus", "value": f"{(1 - sensitivity) / specificity:.2f}"})
    return rows


def _interval(hits: int, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the interval by one of the methods that papers use."""
    value = hits / n
    method = rng.integers(4)
    if method == 0:
        return proportions.wilson(hits, n)
    if method == 1:
        half = 1.96 * math.sqrt(value * (1 - value) / n)
        return max(0.0, value - half), min(1.0, value + half)
    if method == 2:
        low = stats.beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
        return float(low), float(stats.beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0)
    low, high = np.quantile(rng.binomial(n, value, 1000) / n, [0.025, 0.975])
    return min(float(low), value), max(float(high), value)


def _matrix(sizes: np.ndarray, skill: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows = []
    for number, (size, hit) in enumerate(zip(sizes, skill, strict=True)):
        chances = np.full(len(sizes), (1 - hit) / (len(sizes) - 1))
        chances[number] = hit
        rows.append(rng.multinomial(size, chances))
    return np.array(rows)


def _of_classes(matrix: np.ndarray, cells: bool = False) -> list[Row]:
    """Return accuracy, averages, and the metrics of each class, of a confusion matrix."""
    n, diagonal = matrix.sum(), np.diag(matrix)
    true, called = matrix.sum(axis=1), matrix.sum(axis=0)
    values = {
        "sensitivity": diagonal / true,
        "specificity": 1 - (called - diagonal) / (n - true),
        "precision": np.divide(diagonal, called, out=np.zeros(len(true)), where=called > 0),
        "f1": 2 * diagonal / (true + called),
    }
    rows: list[Row] = [{"metric": "accuracy", "value": f"{diagonal.sum() / n:.3f}"}]
    for metric, each in values.items():
        rows.append({"metric": metric, "value": f"{each.mean():.3f}", "n": ""})
        rows.append({"metric": f"macro_{metric}", "value": f"{each.mean():.3f}", "n": ""})
        rows.append(
            {"metric": f"weighted_{metric}", "value": f"{np.average(each, weights=true):.3f}", "n": ""}
        )
        rows += [
            {"metric": metric, "class": name, "value": f"{value:.3f}", "n": n, "positive": size}
            for name, value, size in zip(CLASSES, each, true, strict=True)
        ]
    if cells:
        rows += [
            {"metric": "confusion", "class": one, "predicted": other, "value": str(matrix[i, j])}
            for i, one in enumerate(CLASSES)
            for j, other in enumerate(CLASSES)
        ]
    return rows


def _printed(value: float, low: float, high: float) -> Row:
    return {"value": f"{value:.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}"}


def _table(rows: list[Row]) -> pd.DataFrame:
    texts = [{name: str(cell) for name, cell in row.items()} for row in rows]
    return pd.DataFrame(texts).reindex(columns=list(COLUMNS), fill_value="").fillna("")
