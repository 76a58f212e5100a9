"""Typicality: how often a validation sample is as unlike the training samples as a new one is.

The distance to the training samples is measured in two ways: between the features that the network gives to
its head, and between statistics of the pixels, which a network may be blind to. Each is the distance to the
k-th nearest training sample (Sun, Ming, Zhu and Li, Out-of-distribution detection with deep nearest
neighbors, ICML 2022, section 3), of the features after scaling them to unit length. Its rank among the
distances of the validation samples is a p value of "this sample comes from where the validation samples
come from" (conformal anomaly detection: Laxhammar and Falkman, FUSION 2010); the smaller one of the two
counts twice, after Bonferroni.
"""

import io
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fibrolab.storage import put, read_arrays

if TYPE_CHECKING:
    from scipy.spatial import KDTree

ENDING = ".reference.npz"  # of the file beside a checkpoint, instead of `.ckpt`
NEIGHBOURS = 5
RATE = 0.05  # proportion of validation samples that is called unlike the training samples
BLOCK = 512  # rows compared at once
LEAST = {  # smallest difference that counts as one unit: 5 % in size, 2 grey levels, 0.02 as a proportion
    "cut_width": 0.05, "cut_height": 0.05, "mean": 2.0, "sd": 2.0, "black": 0.02, "border_top": 0.02,
    "border_bottom": 0.02, "border_left": 0.02, "border_right": 0.02,
}  # fmt: skip
SIZES = ("cut_width", "cut_height")  # compared by their logarithm
NEAR = 1.0  # distance of pixel statistics [units] up to which samples count as equal


@dataclass(frozen=True)
class Reference:
    """Training samples of a network, and the distances of its validation samples to them.

    Attributes:
        features: Features of unit length, float32 (N, F); no column if the network has no head of ours.
        pixels: Pixel statistics of the training samples, float64 (N, P).
        unit: Standard deviation of each, at least `LEAST`, float64 (P,).
        feature_distances: Distances of M validation samples in features, ascending, float64 (M,).
        pixel_distances: The same in pixel statistics.
    """

    features: np.ndarray
    pixels: np.ndarray
    unit: np.ndarray
    feature_distances: np.ndarray
    pixel_distances: np.ndarray

    def typicality(self, features: np.ndarray | None, facts: pd.DataFrame) -> np.ndarray:
        """Return the p value of each sample, float64 (N,), between 1 / (M + 1) and 1.

        Args:
            features: Features of the samples, float32 (N, F); None if the network has no head of ours.
            facts: Survey of their images.
        """
        return _smaller(self._ranks(features, facts))

    def of_validation(self, features: np.ndarray | None, facts: pd.DataFrame) -> np.ndarray:
        """Return the p value of each of the M validation samples among the others, float64 (M,).

        A new sample that comes from where they come from has p values of the same distribution.

        Args:
            features: Features of all validation samples of the reference, float32 (M, F).
            facts: Survey of their images.
        """
        total = len(self.pixel_distances)
        return _smaller([((total + 1) * each - 1) / total for each in self._ranks(features, facts)])

    def _ranks(self, features: np.ndarray | None, facts: pd.DataFrame) -> list[np.ndarray]:
        """Return the rank of the distance in pixel statistics and, with features, of that in features."""
        own = _kth_nearest(self._tree, statistics(facts), self.unit)
        found = [_rank(own, self.pixel_distances)]
        if features is not None and self.features.size:
            other = _feature_distances(unit_length(features), self.features)
            found.append(_rank(other, self.feature_distances))
        return found

    @cached_property
    def _tree(self) -> "KDTree":
        """The training samples by their pixel statistics, which a server searches at every request."""
        return _tree(self.pixels, self.unit)

    @property
    def can_tell(self) -> bool:
        """Return whether there are enough validation samples for a p value of `RATE` or less."""
        tests = 2 if self.features.size else 1
        return tests / (len(self.pixel_distances) + 1) <= RATE

    def save(self, path: Path) -> None:
        """Write the reference; features as float16. StorageError if the disk is full."""
        content = io.BytesIO()
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays["features"] = self.features.astype(np.float16)
        np.savez_compressed(content, **arrays)
        put(path, content.getvalue())


def beside(checkpoint: Path) -> Path:
    """Return the path of the reference of a checkpoint."""
    return checkpoint.with_name(checkpoint.stem + ENDING)


def fit(
    features: np.ndarray | None, facts: pd.DataFrame, rows: np.ndarray, validation: np.ndarray
) -> Reference:
    """Return the reference of a network.

    Args:
        features: Features of all samples, float32 (N, F); None if the network has no head of ours.
        facts: Survey of the images of all samples.
        rows: Rows of the training samples, int64 (n,), at least one.
        validation: Rows of the validation samples, int64 (m,).
    """
    values = statistics(facts)
    unit = np.maximum(values[rows].std(axis=0), list(LEAST.values()))
    vectors = np.zeros((len(facts), 0), np.float32) if features is None else unit_length(features)
    by_pixels = _kth_nearest(_tree(values[rows], unit), values[validation], unit)
    by_features = _feature_distances(vectors[validation], vectors[rows])
    return Reference(vectors[rows], values[rows], unit, np.sort(by_features), np.sort(by_pixels))


def read(path: Path) -> Reference | None:
    """Read a reference; None if there is none, as of a fast dev run.

    Raises:
        DataError: The file is damaged.
    """
    arrays = read_arrays(path, Reference.__dataclass_fields__)
    if arrays is None:
        return None
    return Reference(**arrays | {"features": arrays["features"].astype(np.float32)})


def statistics(facts: pd.DataFrame) -> np.ndarray:
    """Return the pixel statistics of images from their survey, float64 (N, P), in the order of `LEAST`."""
    values = facts[list(LEAST)].to_numpy(np.float64, copy=True)
    sizes = [name in SIZES for name in LEAST]
    values[:, sizes] = np.log(np.maximum(values[:, sizes], 1.0))
    return values


def unit_length(features: np.ndarray) -> np.ndarray:
    """Return features scaled to unit length, float32 (N, F)."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)


def _smaller(ranks: list[np.ndarray]) -> np.ndarray:
    """Return the smallest of several p values of each sample, after Bonferroni."""
    return np.minimum(1.0, len(ranks) * np.min(ranks, axis=0))


def _rank(distances: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the proportion of known distances, ascending (M,), and of itself, that are not smaller."""
    at_least = len(known) - np.searchsorted(known, distances, side="left")
    return (at_least + 1.0) / (len(known) + 1.0)


def _feature_distances(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distance of vectors of unit length to the k-th nearest of others, float64 (N,)."""
    found = np.zeros(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ others.T
        found[start : start + BLOCK] = np.sqrt(np.maximum(0.0, 2.0 + 2.0 * _kth(-cosines)))
    return found


def _tree(values: np.ndarray, unit: np.ndarray) -> "KDTree":
    from scipy.spatial import KDTree

    return KDTree(values / unit)


def _kth_nearest(tree: "KDTree", values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return the distance [units] of statistics to the k-th nearest of a tree, at least `NEAR`."""
    found, _ = tree.query(values / unit, k=[min(NEIGHBOURS, tree.n)])
    return np.maximum(found[:, 0], NEAR)


def _kth(distances: np.ndarray) -> np.ndarray:
    """Return the k-th smallest of each row, or the largest if there are fewer."""
    k = min(NEIGHBOURS, distances.shape[1]) - 1
    return np.partition(distances, k, axis=1)[:, k]
