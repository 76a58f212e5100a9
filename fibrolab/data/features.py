"""Features of frozen branches: computed once, stored by the hash of their inputs, memory-mapped.

A matrix is one folder. It is built beside its place and moved there when it is whole::

    ROOT/KEY/features.f32   row i: F float32 at 4 * F * i
    ROOT/KEY/about.json     what KEY is the hash of, for people, and the SHA-256 of features.f32
    ROOT/KEY.part           a build that is under way, or was stopped: the next one begins anew
    ROOT/KEY.lock           held by the one process that builds
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibrolab.data.build_lock import only_builder
from fibrolab.data.cache import ABSENT

FEATURES, ABOUT = "features.f32", "about.json"
REOPEN_EVERY = 1024  # reads: pages of a map count as this process's memory until it is closed
_VALUE = 4  # bytes of a float32


@dataclass(frozen=True)
class FeatureTable:
    """Features (F,) of the samples of a data set, by one frozen branch.

    Attributes:
        num_features: Length of a feature vector, F.
        clean: The matrix of what is not augmented.
        places: Row of each sample of the manifest in it, int64 (N,); copies of one picture share a row, and a
            sample that lacks the modality has none (`ABSENT`).
        views: Matrices of the training samples under augmentation, epoch by epoch; none where training is
            not augmented.
        view_places: Row of each sample in every one of them, int64 (N,).
    """

    num_features: int
    clean: Path
    places: np.ndarray
    views: tuple[Path, ...]
    view_places: np.ndarray

    def rows(self, rows: np.ndarray) -> "FeatureRows":
        """Return the features of some samples, given as rows of the manifest (n,)."""
        return FeatureRows(
            (self.clean, *self.views), self.num_features, self.places[rows], self.view_places[rows]
        )


class FeatureRows:
    """Features of the samples of one partition; cheap to hand to a worker, which opens its own maps.

    Args:
        matrices: The clean one, then the views.
        num_features: Length of a feature vector, F.
        places: Row of each sample in the clean one, int64 (n,).
        view_places: Row of each sample in each view, int64 (n,).
    """

    def __init__(
        self, matrices: tuple[Path, ...], num_features: int, places: np.ndarray, view_places: np.ndarray
    ) -> None:
        self.num_features = num_features
        self._matrices, self._places, self._view_places = matrices, places, view_places
        self._maps: dict[Path, np.memmap] = {}
        self._reads = 0

    def __len__(self) -> int:
        """Samples, n."""
        return len(self._places)

    def read(self, index: int, epoch: int | None) -> np.ndarray:
        """Return a copy of one sample's features, float32 (F,); zeros where it lacks the modality.

        Args:
            index: Of the sample.
            epoch: Chooses the view, and starts over behind the last; None for features that are not
                augmented. Where there are no views, training is not augmented either.
        """
        matrix, *views = self._matrices
        place = self._places[index]
        if place == ABSENT:
            return np.zeros(self.num_features, np.float32)
        if epoch is not None and views:
            matrix, place = views[epoch % len(views)], self._view_places[index]
            assert place != ABSENT, "only training samples have views"
        if self._reads % REOPEN_EVERY == 0:
            self._maps.clear()
        self._reads += 1
        if matrix not in self._maps:
            self._maps[matrix] = np.memmap(matrix / FEATURES, np.float32, mode="r")
        begin = place * self.num_features
        return np.array(self._maps[matrix][begin : begin + self.num_features])

    def __getstate__(self) -> dict[str, object]:
        """Leave the maps behind: each worker opens its own."""
        return {**self.__dict__, "_maps": {}}


def stored(
    root: Path,
    about: Mapping[str, Any],
    shape: tuple[int, int],
    compute: Callable[[], Iterable[np.ndarray]],
) -> Path:
    """Return the matrix that `about` describes; compute it if it is missing or damaged.

    Only one process computes a matrix; a second one waits and then finds it.

    Args:
        root: Folder of all matrices; made when it is missing.
        about: Everything that the values depend on, as JSON has it.
        shape: Rows and columns, (n, F).
        compute: Yields the rows in order, float32 (b, F) at a time.

    Returns:
        The matrix's folder.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    text = json.dumps(about, sort_keys=True)
    folder = Path(root) / hashlib.sha256(text.encode()).hexdigest()[:32]
    size = shape[0] * shape[1] * _VALUE
    if _is_whole(folder, size):
        return folder
    with only_builder(folder.with_suffix(".lock"), f"features {folder}"):
        if not _is_whole(folder, size):  # nobody else did it while this process waited
            part = folder.with_suffix(".part")
            for leftover in (part, folder):
                shutil.rmtree(leftover, ignore_errors=True)
            _check_space(folder.parent, size)
            part.mkdir()
            written = _write(part / FEATURES, compute())
            _write_text(part / ABOUT, json.dumps({"about": about, "sha256": written}, indent=2))
            assert _size(part / FEATURES) == size, "not as many rows as were announced"
            part.replace(folder)
    return folder


def _is_whole(folder: Path, size: int) -> bool:
    """Tell whether a matrix is as it was written, by its SHA-256."""
    try:
        wanted = json.loads((folder / ABOUT).read_bytes())["sha256"]
        if _size(folder / FEATURES) != size:
            return False
        with (folder / FEATURES).open("rb") as file:
            return bool(hashlib.file_digest(file, "sha256").hexdigest() == wanted)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_space(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(path: Path, blocks: Iterable[np.ndarray]) -> str:
    """Write the blocks one after the other and wait until the disk has them; their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in blocks:
            content = np.ascontiguousarray(block, np.float32).tobytes()
            digest.update(content)
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _write_text(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size
