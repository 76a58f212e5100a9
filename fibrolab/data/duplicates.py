"""Copies and near copies: which images are one image, and so must never be parted."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEAR_BITS = 32  # of 256: farther apart, images of one scanner chain into one cluster


def near_pairs(hashes: Sequence[str], radius: int = NEAR_BITS, block: int = 512) -> np.ndarray:
    """Every pair of perceptual hashes within a Hamming radius.

    Bits become -1 and 1, so that the distance is `(bits - a @ b) / 2`: one matrix product a block, which
    needs `block * N * 4` bytes at a time.

    Args:
        hashes: Hexadecimal hashes of equal length (N,).
        radius: Largest distance [bits].
        block: Rows compared at once.

    Returns:
        Index pairs i < j, int64 (P, 2).
    """
    if len(hashes) < 2:
        return np.empty((0, 2), np.int64)
    codes = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    signs = 2 * np.unpackbits(codes, axis=1).astype(np.float32) - 1
    bits = signs.shape[1]
    pairs = []
    for start in range(0, len(signs), block):
        nearness = signs[start : start + block] @ signs[start:].T
        row, column = np.nonzero(nearness >= bits - 2 * radius)
        upper = column > row
        pairs.append(np.stack([row[upper], column[upper]], axis=1) + start)
    return np.concatenate(pairs).astype(np.int64)


def linked(num_items: int, pairs: np.ndarray) -> np.ndarray:
    """Number of the connected component of every item, int64 (N,).

    Args:
        num_items: N.
        pairs: Linked items (P, 2).
    """
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(num_items, num_items))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def shared_value_pairs(values: Sequence[str]) -> np.ndarray:
    """Chains of items that share a value, as pairs (P, 2); empty values link nothing."""
    codes = np.unique(np.asarray(values, dtype=str), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    order = order[np.asarray(values, dtype=str)[order] != ""]
    same = codes[order[1:]] == codes[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def clusters(digests: Sequence[str], hashes: Sequence[str], *values: Sequence[str]) -> np.ndarray:
    """Cluster of every image: identical bytes, near copies, and whatever else is shared.

    Args:
        digests: Content hash of every file (N,).
        hashes: Perceptual hash of every file (N,).
        values: More labels that tie images together, such as the CT volume; empty ones tie nothing.

    Returns:
        Cluster numbers (N,), int64.
    """
    _, first, content = np.unique(np.asarray(digests, dtype=str), return_index=True, return_inverse=True)
    near = first[near_pairs([hashes[i] for i in first])]  # compared once a content, not once a copy
    copies = np.stack([np.arange(len(content)), first[content]], axis=1)
    shared = [shared_value_pairs(value) for value in values]
    return linked(len(content), np.concatenate([copies, near, *shared]))
