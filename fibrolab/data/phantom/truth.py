"""How much the stage shows: the latent fibrosis score of a patient, and the best accuracy that it allows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

CLASSES = ("F0", "F1", "F2", "F3", "F4")
MIDDLE = (len(CLASSES) - 1) / 2
STAGE_VARIANCE = (len(CLASSES) ** 2 - 1) / 12  # of a stage drawn evenly from 0..4
SPREAD = 0.3  # between patients of one stage, in stages, at separability 1: best accuracy 92 %
LINEAR_RANGE = 1.2  # scores within it are drawn almost in proportion, those beyond saturate gently


def score(stage: int, separability: float, deviate: float) -> float:
    """Latent fibrosis score of a patient: all that the images show of the stage.

    A patient's disease is ``stage + SPREAD / separability * deviate`` [stages], standardised over a balanced
    cohort. Standardised scores have the same spread at every separability: what changes is how far they
    follow the stage, not how varied the livers look. At separability 0 the score is the deviate alone.

    Args:
        stage: METAVIR stage, 0..4.
        separability: Distance of neighbouring stages; 0 = no trace, 1 = clear.
        deviate: The patient's standard normal deviate.

    Returns:
        The score, of mean 0 and variance 1 over balanced stages.
    """
    disease = separability * (stage - MIDDLE) + SPREAD * deviate
    return float(disease / np.sqrt(separability**2 * STAGE_VARIANCE + SPREAD**2))


def severity(score: float) -> float:
    """Share of the strongest change that a score is drawn with, in (0, 1); strictly increasing."""
    return float(ndtr(score / LINEAR_RANGE))


def best_accuracy(separability: float, shares: Sequence[float] | None = None) -> float:
    """Accuracy that no classifier of the images can exceed on average, in closed form.

    Given its score an image is independent of the stage, so the Bayes decision on the score bounds every
    model. In units of the spread, scores of stage k are N(k d, 1) with ``d = separability / SPREAD``; the
    discriminants are straight lines (Hastie, Tibshirani and Friedman 2009, The Elements of Statistical
    Learning, eq. 4.10): each stage is chosen on one interval, and the accuracy is a sum of normal integrals.

    Args:
        separability: As given to `score`.
        shares: Share of each of the five stages in the cohort; even if left out.
    """
    prior = _prior(shares)
    distance = separability / SPREAD
    if distance == 0:
        return float(prior.max())
    means = distance * np.arange(len(prior), dtype=np.float64)
    low, high = _intervals(means, prior)
    inside = ndtr(high - means) - ndtr(low - means)
    return float(np.sum(prior * np.where(high > low, inside, 0.0)))


def best_stage(
    scores: ArrayLike, separability: float, shares: Sequence[float] | None = None
) -> NDArray[np.intp]:
    """The Bayes decision: the most probable stage for each score `(N,)`; its accuracy is `best_accuracy`."""
    prior = _prior(shares)
    distance = separability / SPREAD
    to_spread = np.sqrt(distance**2 * STAGE_VARIANCE + 1)
    observed = np.asarray(scores, dtype=float)[:, None] * to_spread + distance * MIDDLE
    means = distance * np.arange(len(prior))
    with np.errstate(divide="ignore"):  # a stage that is absent has log share -inf and is never chosen
        return np.argmax(observed * means - means**2 / 2 + np.log(prior), axis=1)


def _prior(shares: Sequence[float] | None) -> NDArray[np.float64]:
    prior = np.asarray([1] * len(CLASSES) if shares is None else shares, dtype=np.float64)
    if prior.shape != (len(CLASSES),) or not np.isfinite(prior).all() or prior.min() < 0 or prior.sum() <= 0:
        raise ValueError(f"shares must be {len(CLASSES)} numbers >= 0, not all zero; got {shares!r}")
    return prior / prior.sum()


def _intervals(
    means: NDArray[np.float64], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Borders `(K,)` and `(K,)` between which each class has the highest posterior; low > high: nowhere."""
    low, high = np.full(len(means), -np.inf), np.full(len(means), np.inf)
    present = np.flatnonzero(prior)
    for left in present:
        for right in present[present > left]:
            gap = means[right] - means[left]
            with np.errstate(over="ignore"):  # means that all but coincide have their border at infinity
                border = (means[left] + means[right]) / 2 + np.log(prior[left] / prior[right]) / gap
            high[left] = min(high[left], border)
            low[right] = max(low[right], border)
    return low, high
