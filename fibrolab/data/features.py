"""Features of frozen branches: computed once, stored by the hash of their inputs, memory-mapped.

Each matrix is one folder, built as KEY.part and renamed when it is complete::

    ROOT/KEY/features.f32   row i: F float32 at 4 * F * i
    ROOT/KEY/about.json     the settings that KEY is the hash of, for human readers
    ROOT/KEY/checksums.json of both, compared whenever the features are used
    ROOT/KEY.part           a build in progress, or a killed one, which the next build deletes
    ROOT/KEY.lock           locked by the process that builds
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibrolab.data.build_lock import only_builder
from fibrolab.data.cache import ABSENT
from fibrolab.storage import is_unchanged, save_json, seal

FEATURES, ABOUT = "features.f32", "about.json"
REOPEN_EVERY = 1024  # reads: the pages of a memory map count as this process's memory until it is closed
BLOCK = 1024  # rows that `blocks` yields at a time
_VALUE = 4  # bytes of a float32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureTable:
    """Features (F,) of the samples of a data set, from one frozen branch.

    Attributes:
        num_features: Length of a feature vector, F.
        clean: Matrix of the features without augmentation.
        clean_rows: Row of each sample of the manifest in it, int64 (N,); copies of one image share a row, and
            a sample that lacks the modality has none (`ABSENT`).
        augmented: Matrices of the training samples with augmentation, one per view (`features.views`), which
            epochs use in rotation; none without augmentation.
        augmented_rows: Row of each sample in each of these matrices, int64 (N,).
    """

    num_features: int
    clean: Path
    clean_rows: np.ndarray
    augmented: tuple[Path, ...]
    augmented_rows: np.ndarray

    def subset(self, rows: np.ndarray) -> "FeatureTable":
        """Return the features of some samples without augmentation, given as rows of the manifest (n,)."""
        absent = np.full(len(rows), ABSENT)
        return FeatureTable(self.num_features, self.clean, self.clean_rows[rows], (), absent)

    def rows(self, rows: np.ndarray) -> "FeatureRows":
        """Return the features of some samples, given as rows of the manifest (n,)."""
        return FeatureRows(
            (self.clean, *self.augmented),
            self.num_features,
            self.clean_rows[rows],
            self.augmented_rows[rows],
        )


class FeatureRows:
    """Features of the samples of one partition; quickly sent to a worker, which opens its own memory maps.

    Args:
        matrices: The matrix without augmentation, then those with augmentation.
        num_features: Length of a feature vector, F.
        clean_rows: Row of each sample in the matrix without augmentation, int64 (n,).
        augmented_rows: Row of each sample in the matrices with augmentation, int64 (n,).
    """

    def __init__(
        self,
        matrices: tuple[Path, ...],
        num_features: int,
        clean_rows: np.ndarray,
        augmented_rows: np.ndarray,
    ) -> None:
        self.num_features = num_features
        self._matrices, self._clean_rows, self._augmented_rows = matrices, clean_rows, augmented_rows
        self._maps: dict[Path, np.memmap] = {}
        self._reads = 0

    def __len__(self) -> int:
        """Return the number of samples, n."""
        return len(self._clean_rows)

    def read(self, index: int, epoch: int | None) -> np.ndarray:
        """Return a copy of one sample's features, float32 (F,); zeros if it lacks the modality.

        Args:
            index: Index of the sample.
            epoch: Chooses the matrix with augmentation, in rotation; None for features without augmentation.
                If there is no matrix with augmentation, all features are without.
        """
        matrix, *augmented = self._matrices
        row = self._clean_rows[index]
        if row == ABSENT:
            return np.zeros(self.num_features, np.float32)
        if epoch is not None and augmented:
            matrix, row = augmented[epoch % len(augmented)], self._augmented_rows[index]
            assert row != ABSENT, "only training samples have augmented features"
        if self._reads % REOPEN_EVERY == 0:
            self._maps.clear()
        self._reads += 1
        if matrix not in self._maps:
            self._maps[matrix] = np.memmap(matrix / FEATURES, np.float32, mode="r")
        begin = row * self.num_features
        return np.array(self._maps[matrix][begin : begin + self.num_features])

    def __getstate__(self) -> dict[str, object]:
        """Pickle all but the memory maps: each worker opens its own."""
        return {**self.__dict__, "_maps": {}}


def stored(
    root: Path,
    about: Mapping[str, Any],
    shape: tuple[int, int],
    compute: Callable[[], Iterable[np.ndarray]],
) -> Path:
    """Return the matrix that `about` describes; compute it if it is missing or damaged.

    Only one process computes a matrix; a second one waits and then finds it stored.

    Args:
        root: Folder of all matrices; created when it is missing.
        about: Everything that the values depend on, in types of JSON.
        shape: Rows and columns, (n, F).
        compute: Yields the rows in order, float32 (b, F) at a time.

    Returns:
        The matrix's folder.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    folder = place(root, about)
    size = shape[0] * shape[1] * _VALUE
    if is_unchanged(folder):
        return folder
    with only_builder(folder.with_suffix(".lock"), f"features {folder}"):
        if not is_unchanged(folder):  # no other process built it while this one waited
            if folder.is_dir():
                _log.warning("The features %s are damaged; they are computed again.", folder)
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
            _check_space(folder.parent, size)
            _build(part, about, size, compute)
            shutil.rmtree(folder, ignore_errors=True)  # late: another process may be reading it
            part.replace(folder)
    return folder


def place(root: Path, about: Mapping[str, Any]) -> Path:
    """Return the folder of the matrix that `about` describes, see `stored`; it need not exist."""
    text = json.dumps(about, sort_keys=True)
    return Path(root) / hashlib.sha256(text.encode()).hexdigest()[:32]


def blocks(matrix: Path, num_features: int) -> Iterator[np.ndarray]:
    """Yield the rows of a stored matrix in order, float32 (b, F) at a time."""
    with (matrix / FEATURES).open("rb") as file:
        while content := file.read(BLOCK * num_features * _VALUE):
            yield np.frombuffer(content, np.float32).reshape(-1, num_features)


def _build(
    part: Path, about: Mapping[str, Any], size: int, compute: Callable[[], Iterable[np.ndarray]]
) -> None:
    """Write a matrix of `size` bytes into a new folder; remove the folder after any exception."""
    part.mkdir()
    try:
        _write(part / FEATURES, compute())
        assert (part / FEATURES).stat().st_size == size, "compute must yield as many rows as shape says"
        save_json(about, part / ABOUT)
        seal(part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _check_space(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(path: Path, blocks: Iterable[np.ndarray]) -> None:
    """Write the blocks one after the other and wait until they are on the disk."""
    with path.open("wb") as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block, np.float32).tobytes())
        file.flush()
        os.fsync(file.fileno())
