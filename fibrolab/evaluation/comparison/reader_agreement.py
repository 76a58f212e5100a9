"""Readers against a model: agreement on the same samples, and areas under the ROC curve given the truth."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fibrolab.evaluation import endpoints as end_points
from fibrolab.evaluation.intervals import bootstrap, by_metric, delong
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.measures.catalogue import ScoredSamples
from fibrolab.evaluation.measures.decisions import decide
from fibrolab.evaluation.measures.weighted import Weights

READER, MODEL, TRUTH = "reader", "model", "truth"
KAPPA, ACCURACY, AUC, DIFFERENCE = "qwk", "accuracy", "auc", "auc_difference"
COLUMNS = ("reader", "metric", "of", "against", "value", "low", "high", "method", "p", "note", "n", "groups")


@dataclass(frozen=True)
class Readings:
    """Stages that one reader and a model gave to the same N samples.

    Attributes:
        reader: Name of the reader.
        stages: Class index that the reader gave, int64 (N,).
        probabilities: Of the model, float64 (N, K).
        groups: Independent unit of each sample (N,): the patient, or the sample itself.
        labels: True class index, int64 (N,); None where it is not known.
    """

    reader: str
    stages: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray
    labels: np.ndarray | None = None


def table(
    readings: Readings,
    classes: Sequence[str],
    endpoints: Mapping[str, int],
    ordered: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate the agreement of a reader with a model and, where truth is known, of both with it.

    Of stages, agreement is the quadratic weighted kappa (Cohen, Psychological Bulletin 70:213-220, 1968) with
    its bootstrap interval over groups; of other classes it is the proportion of equal answers. The stage that
    a reader gave is the score of each end point. Areas under the ROC curve and the paired difference, reader
    less model, are by DeLong's method, with repeated groups by Obuchowski's.

    Args:
        readings: The answers.
        classes: Names of the K classes.
        endpoints: Name and lowest positive class of each end point.
        ordered: Whether the classes are stages.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.

    Returns:
        Columns `COLUMNS`; p of a difference is two-sided and not corrected for the number of end points.
    """
    size = {
        "reader": readings.reader,
        "n": len(readings.stages),
        "groups": len(np.unique(readings.groups)),
    }
    metric = KAPPA if ordered else ACCURACY
    decided = decide(readings.probabilities)
    pairs = [(READER, readings.stages, MODEL, decided)]
    if readings.labels is not None:
        pairs += [(READER, readings.stages, TRUTH, readings.labels), (MODEL, decided, TRUTH, readings.labels)]
    rows: list[dict[str, Any]] = []
    for name, given, against, other in pairs:
        found = _agreement(metric, given, other, readings.groups, len(classes), resamples, seed)
        rows.append({"metric": metric, "of": name, "against": against, **vars(found)})
    if readings.labels is not None:
        for point, lowest in endpoints.items():
            rows += _areas(readings, readings.labels, point, lowest)
    return pd.DataFrame([size | {"p": math.nan} | row for row in rows])[list(COLUMNS)]


def curves(readings: Readings, lowest: int) -> dict[str, list[tuple[float, float]]]:
    """Return the ROC curves of reader and model for one end point: 1 - specificity and sensitivity.

    Args:
        readings: The answers, with true classes.
        lowest: Lowest positive class of the end point.

    Returns:
        The corners of each curve from (0, 0) to (1, 1); none without positive and negative samples.
    """
    assert readings.labels is not None, "a curve needs the truth"
    ill = readings.labels >= lowest
    if ill.all() or not ill.any():
        return {}
    return {name: _corners(score, ill) for name, score in _scores(readings, lowest).items()}


def _agreement(
    metric: str, given: np.ndarray, other: np.ndarray, groups: np.ndarray, k: int, resamples: int, seed: int
) -> Estimate:
    """Return the agreement of two ratings of the same samples with its interval."""
    entry = catalogue.find(metric)
    assert entry is not None, metric
    function, chosen = entry.function, np.eye(k)[given]

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        known = np.ones((1, len(other))) if weights is None else weights
        return {metric: function(ScoredSamples(other, chosen, known))}

    (_, row), *_ = bootstrap.resampled(measure, groups, resamples, seed).iterrows()
    undefined = "not defined where all answers are one and the same class"
    return by_metric.resampled(row, len(np.unique(groups)) < 2, undefined)


def _scores(readings: Readings, lowest: int) -> dict[str, np.ndarray]:
    return {
        READER: readings.stages.astype(np.float64),
        MODEL: end_points.score(readings.probabilities, lowest),
    }


def _areas(readings: Readings, labels: np.ndarray, point: str, lowest: int) -> Iterator[dict[str, Any]]:
    """Yield the area of reader and model for one end point, and their difference."""
    scores = _scores(readings, lowest)
    areas = delong.areas(np.stack(list(scores.values())), labels >= lowest, readings.groups)
    for arm, name in enumerate(scores):
        yield {"metric": f"{AUC}_{point}", "of": name, "against": TRUTH, **vars(areas.estimate(arm))}
    test = delong.paired(areas)
    yield {
        "metric": f"{DIFFERENCE}_{point}", "of": READER, "against": MODEL, "value": test.difference,
        "low": test.low, "high": test.high, "method": "paired DeLong", "p": test.p, "note": test.note,
    }  # fmt: skip


def _corners(score: np.ndarray, ill: np.ndarray) -> list[tuple[float, float]]:
    cuts = np.unique(score)[::-1]
    positive = score[:, None] >= cuts  # (N, cuts)
    x, y = positive[~ill].mean(axis=0), positive[ill].mean(axis=0)
    return [(0.0, 0.0), *zip(x.tolist(), y.tolist(), strict=True)]
