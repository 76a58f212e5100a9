"""Known truth: a patient's score in every channel, and the best accuracy that the scores allow."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

CLASSES = ("F0", "F1", "F2", "F3", "F4")
MIDDLE = (len(CLASSES) - 1) / 2
STAGE_VARIANCE = (len(CLASSES) ** 2 - 1) / 12  # of a stage drawn evenly from 0..4
LINEAR_RANGE = 1.2  # scores within it are drawn almost in proportion, those beyond saturate gently

GREY, STIFFNESS, MOTION, SERUM = "grey", "stiffness", "motion", "serum"
# Between patients of one stage, in stages, at separability 1. Our choice: colours and motion tell a little
# more than texture (best accuracy 96 and 92 %), and blood little.
SPREADS: Final = {GREY: 0.3, STIFFNESS: 0.25, MOTION: 0.25, SERUM: 1.0}
# What each kind of picture shows of them.
SHOWN: Final = {
    "image": (GREY,),
    "elastogram": (STIFFNESS,),
    "capture": (GREY, STIFFNESS),
    "clip": (GREY, MOTION),
}
IMAGE_CHANNELS: Final = (GREY,)


def score(stage: int, separability: float, deviate: float, channel: str = GREY) -> float:
    """Draw the latent fibrosis score of a patient, by which alone a channel depends on the stage.

    In each channel a patient's disease is ``stage + SPREADS[channel] / separability * deviate`` [stages],
    standardised over a balanced cohort. Standardised scores have the same spread at every separability: what
    changes is how far they follow the stage, not how varied the livers look. At separability 0 the score is
    the deviate alone.

    Args:
        stage: METAVIR stage, 0..4.
        separability: Distance of neighbouring stages; 0 = no trace, 1 = clear.
        deviate: The patient's standard normal deviate in this channel, independent of the other channels.
        channel: One of `SPREADS`.

    Returns:
        The score, of mean 0 and variance 1 over balanced stages.
    """
    spread = SPREADS[channel]
    disease = separability * (stage - MIDDLE) + spread * deviate
    return float(disease / np.sqrt(separability**2 * STAGE_VARIANCE + spread**2))


def severity(score: float) -> float:
    """Return the severity of fibrosis for a score, in (0, 1); strictly increasing."""
    return float(ndtr(score / LINEAR_RANGE))


def distance(separability: float, channels: Sequence[str] = IMAGE_CHANNELS) -> float:
    """Return the distance of neighbouring stages in standard deviations.

    Channels are independent given the stage, so their distances add as the sides of a right angle: the
    sensitivity index of independent observations (Green and Swets 1966, Signal Detection Theory and
    Psychophysics).
    """
    return float(np.sqrt(sum((separability / SPREADS[channel]) ** 2 for channel in channels)))


def best_accuracy(
    separability: float,
    channels: Sequence[str] = IMAGE_CHANNELS,
    shares: Sequence[float] | None = None,
) -> float:
    """Compute the accuracy that no classifier of the images can exceed on average, in closed form.

    Given the scores of its channels a picture is independent of the stage, so the Bayes decision on the
    scores bounds every model, however many pictures of a patient it sees. Along the line on which stages
    differ, stage k is N(k d, 1) with d the `distance`; the discriminants are straight lines (Hastie,
    Tibshirani and Friedman 2009, The Elements of Statistical Learning, eq. 4.10): each stage is chosen on one
    interval, and the accuracy is a sum of normal integrals.

    Args:
        separability: As given to `score`.
        channels: What the pictures show: `SHOWN`.
        shares: Share of each of the five stages in the cohort; even if left out.
    """
    prior = _prior(shares)
    step = distance(separability, channels)
    if step == 0:
        return float(prior.max())
    means = step * np.arange(len(prior), dtype=np.float64)
    low, high = _intervals(means, prior)
    inside = ndtr(high - means) - ndtr(low - means)
    return float(np.sum(prior * np.where(high > low, inside, 0.0)))


def _prior(shares: Sequence[float] | None) -> NDArray[np.float64]:
    prior = np.asarray([1] * len(CLASSES) if shares is None else shares, dtype=np.float64)
    if prior.shape != (len(CLASSES),) or not np.isfinite(prior).all() or prior.min() < 0 or prior.sum() <= 0:
        raise ValueError(f"shares must be {len(CLASSES)} numbers >= 0, not all zero; got {shares!r}")
    return prior / prior.sum()


def _intervals(
    means: NDArray[np.float64], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return borders `(K,)`, `(K,)` within which each class has the highest posterior; none if low > high."""
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
