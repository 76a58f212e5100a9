"""ROC and precision-recall curves on a fixed grid, with bands by resampling groups, and average precision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fibrolab.evaluation.intervals import placement_values
from fibrolab.evaluation.intervals.bootstrap import enough, percentiles, resample_weights
from fibrolab.evaluation.measures.weighted import Weights, ratio

GRID = np.linspace(0.0, 1.0, 101)
RESAMPLES = 500  # of a band; the remaining Monte Carlo error is not visible in a figure
TINY = 1e-12  # tolerance, so that 29 of 100 equals the grid's .29


@dataclass(frozen=True)
class Band:
    """A curve with a pointwise confidence band.

    The band covers each point at the nominal level, not the whole curve at once.

    Attributes:
        x: Grid (P,).
        y: Curve of the data (P,); NaN where a class is absent.
        low: Lower end (P,); NaN where there is no interval.
        high: Upper end (P,).
        note: Why a number is NaN; otherwise empty.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    note: str = ""


def roc_band(
    scores: np.ndarray,
    positive: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Band:
    """Compute the sensitivity (y) at fixed 1 - specificity (x), with a band by resampled groups.

    Tied scores are one segment of the curve, a straight line, so that the area under it is the AUC; where the
    curve is vertical, the upper end counts.

    Args:
        scores: Higher means more likely positive (N,).
        positive: Truth, bool (N,).
        groups: Independent unit of each row: patient or cluster (N,).
        resamples: Number of resamples of the groups.
        seed: As for `bootstrap.intervals`: the same seed draws the same resamples.
        level: Nominal coverage at each point.

    Raises:
        DataError: A score that is not finite.
    """
    return _band(_sensitivity, scores, positive, groups, resamples, seed, level)


def pr_band(
    scores: np.ndarray,
    positive: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Band:
    """Compute the precision (y) at fixed recall (x): that of the highest threshold which reaches the recall.

    A step function, whose area is the average precision; a straight line between the steps would show values
    that no threshold gives (Davis and Goadrich, ICML 2006). The value at recall 0 is the precision of
    the highest scores that include a positive row.

    Args:
        scores: Higher means more likely positive (N,).
        positive: Truth, bool (N,).
        groups: Independent unit of each row: patient or cluster (N,).
        resamples: Number of resamples of the groups.
        seed: As for `roc_band`.
        level: Nominal coverage at each point.

    Raises:
        DataError: A score that is not finite.
    """
    return _band(_precision, scores, positive, groups, resamples, seed, level)


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Compute the mean precision over the steps of recall, as in scikit-learn, float64 (R,).

    Args:
        scores: Higher means more likely positive (N,).
        positive: Truth, bool (N,).
        weights: One row a resample (R, N); None weights every sample once (R = 1).

    Returns:
        NaN where a class has no weight: without a negative row, every score would give 1.
    """
    counts = _Steps(scores, positive).counts(weights)
    gained = np.diff(counts.positive, axis=1)
    precision = np.nan_to_num(ratio(counts.positive, counts.positive + counts.negative))[:, 1:]
    found = ratio((gained * precision).sum(axis=1), counts.positive[:, -1])
    return np.where(counts.negative[:, -1] > 0, found, np.nan)


class _Counts(NamedTuple):
    """Weight of each class at or above each threshold, from none to all, (R, T + 1) each."""

    positive: np.ndarray
    negative: np.ndarray


class _Steps:
    """Thresholds of a score: rows are sorted once and counted under any weights."""

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        scores, self._positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
        assert scores.shape == self._positive.shape, "one score a row"
        placement_values.refuse_not_finite(scores[None])
        self._order = np.argsort(-scores, kind="stable")
        self._positive = self._positive[self._order]
        ordered = scores[self._order]
        ends = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
        self._last = np.flatnonzero(ends)  # last row of each tie

    def counts(self, weights: Weights | None) -> _Counts:
        """Sum the weights (R, N) of both classes at or above each threshold."""
        if weights is None:
            weights = np.ones((1, len(self._order)))
        ordered = weights[:, self._order]
        return _Counts(*(self._above(ordered * of) for of in (self._positive, ~self._positive)))

    def _above(self, weights: np.ndarray) -> np.ndarray:
        above = np.zeros((len(weights), len(self._last) + 1))
        above[:, 1:] = np.cumsum(weights, axis=1)[:, self._last]
        return above


def _sensitivity(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Interpolate on the grid from the counts (T + 1,) of one resample; of points at one x the upper."""
    return np.interp(GRID + TINY, negative / negative[-1], positive / positive[-1])


def _precision(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Look up on the grid from the counts (T + 1,) of one resample; at recall 0 the limit from above."""
    first = np.searchsorted(positive, positive[-1] * np.maximum(GRID - TINY, TINY))
    return positive[first] / (positive[first] + negative[first])


def _band(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    scores: np.ndarray,
    positive: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    resamples: int,
    seed: int,
    level: float,
) -> Band:
    steps = _Steps(scores, positive)

    def curves(weights: Weights | None) -> np.ndarray:
        rows = [pair for pair in zip(*steps.counts(weights), strict=True) if pair[0][-1] and pair[1][-1]]
        return np.array([measure(*pair) for pair in rows]).reshape(-1, len(GRID))

    unknown = np.full(len(GRID), np.nan)
    if np.all(positive) or not np.any(positive):  # true of no rows as well
        return Band(GRID, unknown, unknown, unknown, "one class only: there is no curve")
    curve = curves(None)[0]
    if len(set(groups)) < 2:
        return Band(GRID, curve, unknown, unknown, "one group only: no band can be drawn from it")
    draws = np.concatenate([curves(weights) for weights in resample_weights(groups, resamples, seed)])
    if not enough(len(draws), resamples):
        return Band(GRID, curve, unknown, unknown, "a class is in too few groups to draw a band")
    low, high = percentiles(draws, level)
    agree = "" if (low < high).any() else "every resample gives the same curve: its uncertainty is not known"
    return Band(GRID, curve, low, high, agree)
