"""What measures of a resampled test set share: the weights of its samples, quotients of weighted sums."""

import numpy as np

Weights = np.ndarray  # float64 (R, N), finite and not negative


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, NaN where there is nothing below the line."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def average(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean of (R, K) values by (R, K) shares, (R,); a value without a share may be undefined."""
    return ratio(np.where(shares > 0, values * shares, 0.0).sum(axis=1), shares.sum(axis=1))
