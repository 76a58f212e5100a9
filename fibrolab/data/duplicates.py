"""Duplicates and near duplicates: images with the same content, which must stay in one partition."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fibrolab import keys
from fibrolab.data.manifest import Manifest

BLOCK = 512  # rows compared at once
NEAR_BITS = 32  # of 256: with a larger radius, different images of one scanner are linked into one cluster


def near_clusters(hashes: Sequence[str], radius: int = NEAR_BITS, block: int = 512) -> np.ndarray:
    """Cluster hashes by single linkage of all pairs within the radius.

    The pairs are never listed. Within a block of pairs, each row and each column is linked to its first
    neighbour in another cluster, until there is none. A round at least halves the number of clusters that
    still have links to make (Borůvka, 1926), so a cluster of any size takes a few rounds.

    Args:
        hashes: Hexadecimal hashes of equal length (N,).
        radius: Largest distance [bits].
        block: Rows compared at once.

    Returns:
        Cluster numbers (N,), int64.
    """
    distinct, which = np.unique(np.asarray(hashes, dtype=str), return_inverse=True)
    cluster = np.arange(len(distinct))
    for rows, columns, near in _near_blocks(distinct.tolist(), radius, block):
        while (missing := near & (cluster[rows][:, None] != cluster[columns])).any():
            row, column = missing.any(axis=1), missing.any(axis=0)
            of_rows = (rows[row], columns[missing[row].argmax(axis=1)])
            of_columns = (rows[missing[:, column].argmax(axis=0)], columns[column])
            links = np.concatenate([np.stack(of_rows, axis=1), np.stack(of_columns, axis=1)])
            cluster = linked(len(cluster), cluster[links])[cluster]
    return cluster[which]


def near_any(
    hashes: Sequence[str], members: np.ndarray, radius: int = NEAR_BITS, block: int = 512
) -> np.ndarray:
    """Return for each image whether a set contains another image within the radius, for many sets at once.

    Args:
        hashes: Hexadecimal hashes of equal length (N,).
        members: Whether an image is in each of S sets, bool (N, S).
        radius: Largest distance [bits].
        block: Rows compared at once.

    Returns:
        bool (N, S). An image is not a neighbour of itself.
    """
    found = np.zeros(members.shape, bool)
    weights = members.astype(np.float32)  # sums below 2^24 are exact
    for rows, columns, near in _near_blocks(hashes, radius, block):
        adjacency = near.astype(np.float32)
        found[rows] |= adjacency @ weights[columns] > 0
        found[columns] |= adjacency.T @ weights[rows] > 0
    return found


def nearest(hashes: Sequence[str], others: Sequence[str], radius: int = NEAR_BITS) -> np.ndarray:
    """Return the nearest of other images within the radius, for each image, int64 (N,); -1 if there is none.

    Args:
        hashes: Hexadecimal hashes of equal length (N,); empty ones have no neighbour.
        others: Hashes of the other images (M,), none empty.
        radius: Largest distance [bits].
    """
    found = np.full(len(hashes), -1, np.int64)
    given = np.array([row for row, each in enumerate(hashes) if each], np.int64)
    if not len(given) or not len(others):
        return found
    ours, theirs = _signs([each for each in hashes if each]), _signs(others)
    bits = ours.shape[1]
    for start in range(0, len(given), BLOCK):
        likeness = ours[start : start + BLOCK] @ theirs.T  # bits - 2 * distance
        best = likeness.argmax(axis=1)
        near = likeness[np.arange(len(best)), best] >= bits - 2 * radius
        found[given[start : start + BLOCK][near]] = best[near]
    return found


def _signs(hashes: Sequence[str]) -> np.ndarray:
    """Return the bits of hashes as -1 and 1, float32 (N, bits)."""
    codes = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return 2 * np.unpackbits(codes, axis=1).astype(np.float32) - 1


def _near_blocks(
    hashes: Sequence[str], radius: int, block: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows (n,), columns (m,) and which pairs are within the radius, bool (n, m), without self-pairs.

    Bits become -1 and 1, so that the distance is `(bits - a @ b) / 2`: one matrix product per block, which
    takes `block * N * 4` bytes. A pair is yielded once, or twice if both are rows of one block.
    """
    if len(hashes) < 2:
        return
    codes = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    signs = 2 * np.unpackbits(codes, axis=1).astype(np.float32) - 1
    bits = signs.shape[1]
    for start in range(0, len(signs), block):
        near = signs[start : start + block] @ signs[start:].T >= bits - 2 * radius
        np.fill_diagonal(near, False)
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        if len(rows):
            yield start + rows, start + columns, near[np.ix_(rows, columns)]


def linked(num_items: int, pairs: np.ndarray) -> np.ndarray:
    """Return the number of every item's connected component, int64 (N,).

    Args:
        num_items: N.
        pairs: Linked items (P, 2).
    """
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(num_items, num_items))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def shared_value_pairs(values: Sequence[str]) -> np.ndarray:
    """Return pairs (P, 2) that link the items with equal values in a chain; empty values link nothing."""
    codes = np.unique(np.asarray(values, dtype=str), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    order = order[np.asarray(values, dtype=str)[order] != ""]
    same = codes[order[1:]] == codes[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def clusters(digests: Sequence[str], hashes: Sequence[str], *values: Sequence[str]) -> np.ndarray:
    """Cluster images that have identical bytes, are near copies or share any further value.

    Args:
        digests: Content hash of every file (N,).
        hashes: Perceptual hash of every file (N,).
        values: Further values, such as the CT volume, that link images with equal values; empty ones do not.

    Returns:
        Cluster numbers (N,), int64.
    """
    _, first, content = np.unique(np.asarray(digests, dtype=str), return_index=True, return_inverse=True)
    near = near_clusters([hashes[i] for i in first])  # each distinct content is compared once
    head = np.unique(near, return_index=True)[1]
    near_pairs = np.stack([np.arange(len(content)), first[head[near]][content]], axis=1)
    shared = [shared_value_pairs(value) for value in values]
    return linked(len(content), np.concatenate([near_pairs, *shared]))


def grouped(manifest: Manifest, facts: pd.DataFrame) -> Manifest:
    """Group each sample without a patient with all its copies and near copies and other cuts of its file.

    Whole groups are joined, whether given by the source (such as the CT volume of a frame) or the patients
    that an image without a patient may belong to. Samples that all have a patient id are not joined: a copy
    under another patient's id is a fault of the data, which the audit reports and grouping must not hide.

    Args:
        manifest: The samples.
        facts: Survey of their images, one row per sample.

    Returns:
        The same samples; each new group has the name of its first group.
    """
    no_patient = manifest.table[keys.PATIENT_ID] == ""
    if not no_patient.any():
        return manifest
    copies = clusters(*(facts[name].tolist() for name in ("sha256", "phash", "file_sha256")))
    affected = no_patient.groupby(copies).transform("any")
    shared = (np.where(affected, copies.astype(str), "").tolist(), manifest.groups.tolist())
    cluster = linked(len(manifest), np.concatenate([shared_value_pairs(values) for values in shared]))
    groups = manifest.table[keys.GROUP_ID].groupby(cluster).transform("min")
    return replace(manifest, table=manifest.table.assign(**{keys.GROUP_ID: groups}))
