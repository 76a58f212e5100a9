"""Protocols: ways to assign images to folds for fitting and scoring the baselines."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fibrolab import keys
from fibrolab.data.apportionment import apportion
from fibrolab.data.audit.evidence import Evidence

OUT = -1  # fold of an image that is not used
FOLDS = 5


class Protocol(NamedTuple):
    """One assignment of samples to folds.

    Attributes:
        fold: Fold of every sample, `OUT` for none; its samples are predicted from those of the other folds.
        scored: Whether a sample is scored, bool (N,).
    """

    fold: np.ndarray
    scored: np.ndarray


def protocols(evidence: Evidence) -> dict[str, Protocol]:
    """Return the run's own split, and 5-fold cross-validation in three ways.

    Returns:
        `run`: training part against test part. `random`: all files at random, as in the papers.
        `distinct`: one file per image, at random. `grouped`: one file per image, groups kept whole. A
        protocol without images to fit to or to score is left out. Without copies, `distinct` is `random`; if
        no image shares its group, `grouped` is `distinct`.
    """
    rng = np.random.default_rng(evidence.seed)
    labels, first, all_rows = evidence.labels, evidence.first, np.arange(len(evidence.labels))
    random = _folds(labels, all_rows, all_rows, rng)
    distinct = random if len(first) == len(labels) else _folds(labels, first, all_rows, rng)
    single = len(np.unique(evidence.group[first])) == len(first)
    grouped = distinct if single else _folds(labels, first, evidence.group, rng)
    found = {"run": _own_split(evidence), "random": random, "distinct": distinct, "grouped": grouped}
    return {name: protocol for name, protocol in found.items() if _usable(protocol)}


def stratified(labels: np.ndarray, proportions: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Assign single images to parts at random, each class in the given proportions.

    Args:
        labels: Class of every image, int64 (N,).
        proportions: Proportion of the images in each part; they sum to one.
        rng: Generator of the draw.

    Returns:
        Part of every image, int64 (N,).
    """
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    quantile = (rank + rng.random(len(counts))[labels[order]]) / counts[labels[order]]
    parts = np.empty(len(labels), np.int64)
    part = np.searchsorted(np.cumsum(proportions), quantile, side="right")
    parts[order] = np.minimum(part, len(proportions) - 1)
    return parts


def whole_groups(groups: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Draw whole groups at random, of at most `most` images in all, bool (N,).

    Groups are kept whole because a nearest neighbour recognises an image by its copies.
    """
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    kept = np.zeros(len(sizes), bool)
    kept[order[np.cumsum(sizes[order]) <= most]] = True
    return kept[groups]


def _usable(protocol: Protocol) -> bool:
    """Return whether there are images to fit to and images to score."""
    return len(np.unique(protocol.fold[protocol.fold != OUT])) > 1 and bool(protocol.scored.any())


def _own_split(evidence: Evidence) -> Protocol:
    """Return the run's split: its test part is predicted from its training part."""
    fold = np.full(len(evidence.labels), OUT)
    fold[evidence.split.rows(keys.TRAIN)] = 0
    fold[evidence.split.rows(keys.TEST)] = 1
    return Protocol(fold, fold == 1)


def _folds(labels: np.ndarray, rows: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Protocol:
    """Assign the given rows to folds, groups kept whole."""
    fold = np.full(len(labels), OUT)
    numbers = np.unique(groups[rows], return_inverse=True)[1]
    proportions = [1 / FOLDS] * FOLDS
    if numbers.max() + 1 < len(rows):
        fold[rows] = apportion(labels[rows], numbers, proportions, rng)
    else:
        fold[rows] = stratified(labels[rows], proportions, rng)
    return Protocol(fold, fold != OUT)
