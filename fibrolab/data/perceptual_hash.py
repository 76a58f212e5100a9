"""Perceptual hash of an image: few bits differ between copies of other size, brightness or compression.

The thumbnail that is hashed has the bits of Pillow's `resize` with the Lanczos filter, first of the rows,
then of the columns (Pillow 13 chooses the order by the shape). Pillow's weights are whole numbers, whose sums
float64 holds exactly, so that products of matrices give them in a third of its time.
"""

from functools import lru_cache

import numpy as np

SIDE = 64  # of the thumbnail [px]
LOW = 16  # 16 x 16 low frequencies: a hash of 256 bits
_SUPPORT = 3.0  # half the width of the filter [px of the thumbnail, or of a smaller image]
_WHOLE = 2.0**22  # by which Pillow multiplies weights before it rounds them (PRECISION_BITS of Resample.c)
_TOGETHER = 8  # columns of the thumbnail from one product: more would multiply more zeros
_PRODUCT = 2**18  # multiplications up to which OpenBLAS starts no threads beside those of a survey


def perceptual_hash(grey: np.ndarray) -> str:
    """Compute the 256-bit perceptual hash of an image (H, W), hexadecimal.

    Each bit states whether one of the 16 x 16 lowest frequencies of a 64 x 64 thumbnail's cosine transform is
    above their median (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
    3.2.1).
    """
    from scipy.fft import dctn

    low = dctn(thumbnail(grey).astype(np.float64))[:LOW, :LOW]
    return np.packbits(low > np.median(low)).tobytes().hex()


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (H, W), resized to `SIDE` x `SIDE` by Lanczos' filter, rows first."""
    return np.ascontiguousarray(_resized_rows(_resized_rows(grey).T).T)


def _resized_rows(levels: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (H, W), whose rows are resized to `SIDE` columns, uint8 (H, SIDE)."""
    found, filters = np.empty((len(levels), SIDE)), _filters(levels.shape[1])
    height = max(1, _PRODUCT // (_TOGETHER * max(len(weights) for _, weights in filters)))
    for top in range(0, len(levels), height):
        rows, into = levels[top : top + height].astype(np.float64), found[top : top + height]
        for first, (start, weights) in zip(range(0, SIDE, _TOGETHER), filters, strict=True):
            part = rows[:, start : start + len(weights)]
            np.matmul(part, weights, out=into[:, first : first + _TOGETHER])
    return np.floor(found / _WHOLE + 0.5).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _filters(width: int) -> list[tuple[int, np.ndarray]]:
    """Return the filters of each `_TOGETHER` columns of the thumbnail of an image of this width.

    Returns:
        First column of the image that has a weight, and the whole-numbered weights of the columns from there
        on, float64 (n, _TOGETHER).
    """
    scale = width / SIDE
    step = max(scale, 1.0)  # when enlarging, the filter is as wide as for an image of the thumbnail's size
    centres = (np.arange(SIDE) + 0.5) * scale
    starts = np.maximum((centres - _SUPPORT * step + 0.5).astype(int), 0)
    ends = np.minimum((centres + _SUPPORT * step + 0.5).astype(int), width)
    found = []
    for first in range(0, SIDE, _TOGETHER):
        some = slice(first, first + _TOGETHER)
        columns = np.arange(starts[first], ends[first + _TOGETHER - 1])[:, None]
        at = (columns - centres[some] + 0.5) * (1.0 / step)
        inside = (columns >= starts[some]) & (columns < ends[some]) & (at >= -_SUPPORT) & (at < _SUPPORT)
        weights = np.where(inside, np.sinc(at) * np.sinc(at / _SUPPORT), 0.0)
        weights *= _WHOLE / weights.sum(axis=0)
        found.append((int(starts[first]), np.trunc(weights + np.copysign(0.5, weights))))
    return found
