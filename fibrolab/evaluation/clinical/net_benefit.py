"""Decision curve analysis: net benefit of treating by a score, against treating all patients or none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fibrolab.evaluation.intervals.bootstrap import check, percentiles, resample_weights
from fibrolab.evaluation.intervals.by_metric import ONE_GROUP

THRESHOLDS = np.arange(1, 100) / 100  # threshold probabilities for treatment


@dataclass(frozen=True)
class Decision:
    """Net benefit of an end point's score, per patient, in units of one true positive.

    Attributes:
        thresholds: Threshold probabilities, .01 to .99 (T,).
        run: Net benefit of treating by the score (T,).
        all: Net benefit of treating all patients (T,); that of treating none is 0.
        low: Lower end of the pointwise interval of `run` (T,); NaN where there is none.
        high: Upper end (T,).
        note: Why there is no interval; otherwise empty.
    """

    thresholds: np.ndarray
    run: np.ndarray
    all: np.ndarray
    low: np.ndarray
    high: np.ndarray
    note: str = ""


def curve(
    score: np.ndarray,
    positive: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Decision:
    """Compute the net benefit over threshold probabilities, with a percentile band over resampled groups.

    Vickers and Elkin, Med Decis Making 26:565-574, 2006: TP / n - FP / n * t / (1 - t), where every
    patient whose score is at least t is treated. The odds t / (1 - t) are the number of unnecessary
    treatments accepted for one necessary treatment by whoever chooses the threshold t. The score must be a
    probability: miscalibration means treatment at the wrong thresholds, which lowers the net benefit.

    Args:
        score: Probability of the end point (N,), N at least 1.
        positive: Whether it was reached, bool (N,).
        groups: Independent unit of each row: patient or cluster (N,).
        resamples: Bootstrap resamples of the groups, at least 2.
        seed: Seed of the resamples.
        level: Coverage of the band at each threshold, not of the whole curve.

    Raises:
        ConfigError: resamples or level out of range.
    """
    check(resamples, level)
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    odds = THRESHOLDS / (1.0 - THRESHOLDS)
    benefit = np.where(positive[:, None], 1.0, -odds)  # (N, T), of treating this patient
    gained = np.where(score[:, None] >= THRESHOLDS, benefit, 0.0)
    low = high = np.full(len(THRESHOLDS), np.nan)
    note = ""
    if len(set(groups)) > 1:
        draws = [
            weights @ gained / weights.sum(axis=1, keepdims=True)
            for weights in resample_weights(groups, resamples, seed)
        ]
        low, high = percentiles(np.concatenate(draws), level)
    else:
        note = ONE_GROUP
    return Decision(THRESHOLDS, gained.mean(axis=0), benefit.mean(axis=0), low, high, note)
