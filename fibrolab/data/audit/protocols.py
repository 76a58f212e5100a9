"""Protocols: ways to assign images to training and scoring."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fibrolab import keys
from fibrolab.data.apportionment import apportion
from fibrolab.data.audit.evidence import Evidence

OUT = -1  # fold of an image that takes no part
FOLDS = 5


class Protocol(NamedTuple):
    """One assignment of samples to folds.

    Attributes:
        fold: Fold of every sample, `OUT` for none; what scores a sample has learned from the other folds.
        scored: Which samples are scored, bool (N,).
    """

    fold: np.ndarray
    scored: np.ndarray


def protocols(evidence: Evidence) -> dict[str, Protocol]:
    """Return the run's own split, and 5-fold cross-validation in three ways.

    Returns:
        `run`: training part against test part. `random`: all files dealt out at random, as papers did.
        `distinct`: one file an image, at random. `grouped`: one file an image, groups kept whole. A protocol
        that leaves nothing to learn from or to score is left out. Without copies, or with groups of one,
        two of them are one and the same.
    """
    rng = np.random.default_rng(evidence.seed)
    labels, first, everything = evidence.labels, evidence.first, np.arange(len(evidence.labels))
    random = _folds(labels, everything, everything, rng)
    distinct = random if len(first) == len(labels) else _folds(labels, first, everything, rng)
    alone = len(np.unique(evidence.group[first])) == len(first)
    grouped = distinct if alone else _folds(labels, first, evidence.group, rng)
    found = {"run": _own(evidence), "random": random, "distinct": distinct, "grouped": grouped}
    return {name: protocol for name, protocol in found.items() if _usable(protocol)}


def stratified(labels: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Assign single images to parts at random, each class in the given proportions.

    Args:
        labels: Class of every image, int64 (N,).
        shares: Proportion of each part; they sum to one.
        rng: Source of the draw.

    Returns:
        Part of every image, int64 (N,).
    """
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = (rank + rng.random(len(counts))[labels[order]]) / counts[labels[order]]
    parts = np.empty(len(labels), np.int64)
    parts[order] = np.minimum(np.searchsorted(np.cumsum(shares), place, side="right"), len(shares) - 1)
    return parts


def whole_groups(groups: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Draw whole groups at random until so many images are reached, bool (N,).

    Whole ones, since an image's copies decide how easily it is recognised.
    """
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    kept = np.zeros(len(sizes), bool)
    kept[order[np.cumsum(sizes[order]) <= most]] = True
    return kept[groups]


def _usable(protocol: Protocol) -> bool:
    return len(np.unique(protocol.fold[protocol.fold != OUT])) > 1 and bool(protocol.scored.any())


def _own(evidence: Evidence) -> Protocol:
    fold = np.full(len(evidence.labels), OUT)
    fold[evidence.split.rows(keys.TRAIN)] = 0
    fold[evidence.split.rows(keys.TEST)] = 1
    return Protocol(fold, fold == 1)


def _folds(labels: np.ndarray, rows: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Protocol:
    fold = np.full(len(labels), OUT)
    numbers = np.unique(groups[rows], return_inverse=True)[1]
    shares = [1 / FOLDS] * FOLDS
    if numbers.max() + 1 < len(rows):
        fold[rows] = apportion(labels[rows], numbers, shares, rng)
    else:
        fold[rows] = stratified(labels[rows], shares, rng)
    return Protocol(fold, fold != OUT)
