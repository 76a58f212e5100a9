"""Smooth random fields, used to model heterogeneous tissue."""

import cv2
import numpy as np

from fibrolab.phantom.beam import Array

BLUR = 1.5  # standard deviation of the smoothing, in lattice points


def field(across: Array, down: Array, scale_mm: float, rng: np.random.Generator) -> Array:
    """Draw a stationary Gaussian field of unit variance: smoothed white noise on a square lattice.

    Args:
        across: First coordinate of the points [mm], any 2-D shape.
        down: Second coordinate [mm], same shape. Divide a coordinate to stretch the field along it.
        scale_mm: Standard deviation of the smoothing Gaussian [mm].
        rng: Generator of the noise; the number of draws depends only on coordinates and scale.

    Returns:
        Values of the field at the points.
    """
    pitch = scale_mm / BLUR
    left, top = float(across.min()) / pitch - 1, float(down.min()) / pitch - 1
    shape = (int(down.max() / pitch - top) + 3, int(across.max() / pitch - left) + 3)
    lattice = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), BLUR)
    spread = np.float32(1 / (2 * np.sqrt(np.pi) * BLUR))  # standard deviation after the smoothing
    sampled = cv2.remap(lattice / spread, across / pitch - left, down / pitch - top, cv2.INTER_LINEAR)
    return np.asarray(sampled, dtype=np.float32)
