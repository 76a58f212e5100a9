"""The nearest neighbour of every image, under several protocols at once and in blocks."""

import numpy as np

BLOCK = 512


def nearest(points: np.ndarray, fold: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """The nearest point (Euclid) that lies in another fold.

    Distances are computed once for all protocols, a block of rows at a time. Grey levels are shifted to
    -128 .. 127: up to 1,024 of them, every sum of products is a whole number of at most 2^24, which float32
    holds exactly, so an identical image is never farther than another.

    Args:
        points: Grey levels, uint8 (N, D).
        fold: Fold of every point under each of P protocols; a negative one is no neighbour (P, N).
        block: Rows compared at once; `block * N * 4` bytes a protocol.

    Returns:
        Row of the neighbour, int64 (P, N); of equals the first. Meaningless where no fold offers one.
    """
    vectors = points.astype(np.float32) - 128
    half_norms = np.einsum("nd,nd->n", vectors, vectors) / 2
    found = np.empty(fold.shape, np.int64)
    for start in range(0, len(vectors), block):
        rows = slice(start, start + block)
        nearness = vectors[rows] @ vectors.T - half_norms  # falls with the distance, row by row
        for protocol, of in enumerate(fold):
            barred = (of[rows, None] == of) | (of < 0)
            found[protocol, rows] = np.where(barred, -np.inf, nearness).argmax(axis=1)
    return found
