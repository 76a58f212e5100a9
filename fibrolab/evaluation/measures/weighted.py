"""Weights of the samples of a resampled test set, and ratios and averages under them."""

import numpy as np

Weights = np.ndarray  # float64 (R, N), finite and not negative


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is not positive."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def average(values: np.ndarray, proportions: np.ndarray) -> np.ndarray:
    """Average values (R, K) weighted by proportions (R, K), (R,); a value of weight 0 may be undefined."""
    return ratio(np.where(proportions > 0, values * proportions, 0.0).sum(axis=1), proportions.sum(axis=1))


def known_mean(values: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the weighted means (R,) of values (N,), of which NaN count nothing."""
    known = np.isfinite(values)
    return ratio(weights @ np.where(known, values, 0.0), weights @ known.astype(float))
