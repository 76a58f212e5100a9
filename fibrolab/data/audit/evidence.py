"""Input of every part of the audit: samples, facts of their files, split, and groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.data.near_hashes import near_clusters
from fibrolab.data.splits import Split

UNKNOWN = -1  # code of a sample without a patient id
# Function of rows, int64 (n,), that returns the thumbnails of their images, uint8 (n, D).
Thumbnails = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """The data under audit; every array has one entry per sample.

    Attributes:
        manifest: The samples.
        surveys: Survey of the files of each modality, one row per sample; `image` is always there.
        split: The split whose leakage is measured.
        labels: Class of every sample under the task, int64 (N,).
        classes: Names of those classes.
        thumbnails: Reads the thumbnails of some rows: those of a million would take 1 GB.
        seed: Seed of every random draw.
    """

    manifest: Manifest
    surveys: Mapping[str, pd.DataFrame]
    split: Split
    labels: np.ndarray
    classes: Sequence[str]
    thumbnails: Thumbnails
    seed: int = 0

    def __post_init__(self) -> None:
        assert len(self.manifest) == len(self.facts) == len(self.labels), "one row a sample"

    @property
    def facts(self) -> pd.DataFrame:
        """Survey of the image files, one row per sample."""
        return self.surveys[keys.IMAGE]

    @cached_property
    def bytes(self) -> np.ndarray:
        """Code of the file content and view, int64 (N,): equal for the same view of identical bytes."""
        return codes(self.facts["sha256"])

    @cached_property
    def image(self) -> np.ndarray:
        """Code of the pixels, 0 .. M-1, int64 (N,): equal for identical pixels, even if bytes differ."""
        return codes(self.facts["pixels"])

    @cached_property
    def first(self) -> np.ndarray:
        """First sample of every distinct image, int64 (M,)."""
        return np.unique(self.image, return_index=True)[1]

    @cached_property
    def hashes(self) -> list[str]:
        """Perceptual hash of every distinct image, (M,)."""
        return self.facts["phash"].iloc[self.first].tolist()

    @cached_property
    def near_cluster(self) -> np.ndarray:
        """Code of the cluster of near copies (single linkage), int64 (N,)."""
        return near_clusters(self.hashes)[self.image]

    @cached_property
    def group(self) -> np.ndarray:
        """Code of the group that must stay in one partition, 0 .. G-1, int64 (N,)."""
        return codes(self.manifest.groups)

    @cached_property
    def patient(self) -> np.ndarray:
        """Code of the patient, `UNKNOWN` without a patient id, int64 (N,)."""
        names = self.manifest.table[keys.PATIENT_ID]
        return np.where((names == "").to_numpy(bool), UNKNOWN, codes(names))

    @cached_property
    def independent_unit(self) -> np.ndarray:
        """Code of the independent unit, int64 (N,): the patient, or the group without a patient id."""
        patients = int(self.patient.max()) + 1
        return np.where(self.patient == UNKNOWN, patients + self.group, self.patient)

    @cached_property
    def independent_samples(self) -> np.ndarray:
        """One random sample of each independent unit, int64 (U,): images of one person are dependent."""
        order = np.random.default_rng(self.seed).permutation(len(self.labels))
        return np.sort(order[np.unique(self.independent_unit[order], return_index=True)[1]])


def codes(values: Sequence | np.ndarray | pd.Series) -> np.ndarray:
    """Encode values as integers from 0 in the order of their text, int64 (N,); equal values are equal."""
    text = pd.Series(values).astype(str)  # hashed, not sorted: a fifth of the time and memory of np.unique
    return pd.factorize(text, sort=True, use_na_sentinel=False)[0].astype(np.int64)


def distinct_in(values: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Count the different values within each part.

    Args:
        values: Codes from 0; negative ones do not count (N,).
        within: Part of every entry, 0 .. P-1 (N,).

    Returns:
        int64 (P,).
    """
    known = values >= 0
    pairs = np.unique(np.stack([within[known], values[known]]), axis=1)[0]
    return np.bincount(pairs, minlength=int(within.max()) + 1)
