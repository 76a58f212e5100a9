"""Ground truth of the phantom: a patient's score in every channel, and the best accuracy they allow."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

CLASSES = ("F0", "F1", "F2", "F3", "F4")
MIDDLE = (len(CLASSES) - 1) / 2
STAGE_VARIANCE = (len(CLASSES) ** 2 - 1) / 12  # of a stage drawn uniformly from 0..4
LINEAR_RANGE = 1.2  # scores up to which the severity is almost linear; larger ones saturate gradually

GREY, STIFFNESS, MOTION, SERUM = "grey", "stiffness", "motion", "serum"
# Standard deviation between patients of one stage, in stages, at separability 1. Our choice: colours and
# motion depend on the stage a little more than texture (best accuracy 96 and 92 %), blood much less.
SPREADS: Final = {GREY: 0.3, STIFFNESS: 0.25, MOTION: 0.25, SERUM: 1.0}
# Channels that each kind of image shows.
SHOWN: Final = {
    "image": (GREY,),
    "elastogram": (STIFFNESS,),
    "capture": (GREY, STIFFNESS),
    "clip": (GREY, MOTION),
}
IMAGE_CHANNELS: Final = (GREY,)


def score(stage: int, separability: float, deviate: float, channel: str = GREY) -> float:
    """Return the latent fibrosis score of a patient, through which alone a channel depends on the stage.

    In each channel a patient's disease is ``stage + SPREADS[channel] / separability * deviate`` [stages],
    standardised over a balanced cohort. Standardised scores have the same spread at every separability: it
    changes their correlation with the stage, not the variation between livers. At separability 0 the score is
    the deviate.

    Args:
        stage: METAVIR stage, 0..4.
        separability: Effect of the stage; 0 = none, 1 = clear.
        deviate: The patient's standard normal deviate in this channel, independent of the other channels.
        channel: One of `SPREADS`.

    Returns:
        The score, with mean 0 and variance 1 over balanced stages.
    """
    spread = SPREADS[channel]
    disease = separability * (stage - MIDDLE) + spread * deviate
    return float(disease / np.sqrt(separability**2 * STAGE_VARIANCE + spread**2))


def severity(score: float) -> float:
    """Return the severity of fibrosis for a score, in (0, 1); strictly increasing."""
    return float(ndtr(score / LINEAR_RANGE))


def distance(separability: float, channels: Sequence[str] = IMAGE_CHANNELS) -> float:
    """Return the distance of neighbouring stages in standard deviations.

    Channels are independent given the stage, so the squares of their distances add: the sensitivity index of
    independent observations (Green and Swets 1966, Signal Detection Theory and Psychophysics).
    """
    return float(np.sqrt(sum((separability / SPREADS[channel]) ** 2 for channel in channels)))


def best_accuracy(
    separability: float,
    channels: Sequence[str] = IMAGE_CHANNELS,
    counts: Sequence[float] | None = None,
) -> float:
    """Compute the expected accuracy that no classifier of the images can exceed, in closed form.

    Given the scores of its channels, an image is independent of the stage. The Bayes decision on the scores
    is therefore a bound for every model, with any number of images of a patient. Along the direction in which
    stages differ, stage k is N(k d, 1), where d is the `distance`. The discriminants are linear (Hastie,
    Tibshirani and Friedman 2009, The Elements of Statistical Learning, eq. 4.10), so each stage is chosen on
    one interval, and the accuracy is a sum of normal integrals.

    Args:
        separability: As for `score`.
        channels: Channels that the images show, see `SHOWN`.
        counts: Number or proportion of patients in each of the five stages; None for equal numbers.
    """
    prior = _prior(counts)
    step = distance(separability, channels)
    if step == 0:
        return float(prior.max())
    means = step * np.arange(len(prior), dtype=np.float64)
    low, high = _intervals(means, prior)
    inside = ndtr(high - means) - ndtr(low - means)
    return float(np.sum(prior * np.where(high > low, inside, 0.0)))


def _prior(counts: Sequence[float] | None) -> NDArray[np.float64]:
    """Return the prior probability of each stage."""
    prior = np.asarray([1] * len(CLASSES) if counts is None else counts, dtype=np.float64)
    if prior.shape != (len(CLASSES),) or not np.isfinite(prior).all() or prior.min() < 0 or prior.sum() <= 0:
        raise ValueError(f"counts must be {len(CLASSES)} numbers >= 0, not all zero; got {counts!r}")
    return prior / prior.sum()


def _intervals(
    means: NDArray[np.float64], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return limits `(K,)`, `(K,)` between which each class has the highest posterior; none if low > high."""
    low, high = np.full(len(means), -np.inf), np.full(len(means), np.inf)
    present = np.flatnonzero(prior)
    for left in present:
        for right in present[present > left]:
            gap = means[right] - means[left]
            with np.errstate(over="ignore"):  # the limit of almost equal means is at infinity
                limit = (means[left] + means[right]) / 2 + np.log(prior[left] / prior[right]) / gap
            high[left] = min(high[left], limit)
            low[right] = max(low[right], limit)
    return low, high
