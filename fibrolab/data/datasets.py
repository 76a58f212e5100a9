"""From a sampler's key to tensors: bytes off the memory map, augmented by the key's own seed."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from fibrolab import keys
from fibrolab.data.augment import Augment, augmentation_seed

# A page counts as this process's memory from its first reading through a map until the map is closed, and
# Linux may map 2 MiB around one scan (a large folio). Closing the map now and then costs next to nothing, as
# the pages stay in the system's cache, and keeps a worker under 256 MiB of them however large the store is.
REOPEN_EVERY = 128  # scans


class PixelDataset(Dataset[dict[str, torch.Tensor | int]]):
    """Samples of one partition, out of a pixel store.

    Holds a few arrays and no object a sample, so that it is cheap to hand to a worker.

    Args:
        store_path: the store's `pixels.u8`.
        shape: shape of one scan, ``(H, W)``.
        rows: slot of each sample in the store, int64 ``(N,)``.
        labels: class of each sample, int64 ``(N,)``.
        indices: row of each sample in the manifest, int64 ``(N,)``.
        keys: 64 bits of each sample's id, uint64 ``(N,)``, see `sample_keys`.
        augment: what is done to training images; None leaves them as stored.
        seed: seed of the run.
    """

    def __init__(
        self,
        store_path: Path,
        shape: tuple[int, ...],
        rows: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray,
        keys: np.ndarray,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        assert len(rows) == len(labels) == len(indices) == len(keys), "one entry a sample is needed in each"
        self.store_path = store_path
        self.shape = shape
        self.rows = rows
        self.labels = labels
        self.indices = indices
        self.keys = keys
        self.augment = augment
        self.seed = seed
        self._pixels: np.memmap | None = None
        self._reads = 0

    def __len__(self) -> int:
        """Samples, N."""
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, torch.Tensor | int]:
        """One draw of one sample.

        Args:
            key: ``(epoch, index, draw)`` from an `EpochSampler`; the index counts within this dataset.

        Returns:
            The image as uint8 ``(1, H, W)``, the label, and the row of the manifest.
        """
        epoch, index, draw = key
        image = self._read(int(self.rows[index]))
        if self.augment is not None:
            image = self.augment(image, augmentation_seed(self.seed, epoch, int(self.keys[index]), draw))
        return {
            keys.IMAGE: torch.from_numpy(np.ascontiguousarray(image))[None],
            keys.LABEL: int(self.labels[index]),
            keys.INDEX: int(self.indices[index]),
        }

    def __getstate__(self) -> dict[str, object]:
        """Leave the map behind: each worker opens its own."""
        return {**self.__dict__, "_pixels": None}

    def _read(self, row: int) -> np.ndarray:
        """A copy of one scan, uint8 ``(H, W)``."""
        if self._pixels is None or self._reads % REOPEN_EVERY == 0:
            slots = self.store_path.stat().st_size // int(np.prod(self.shape))
            self._pixels = np.memmap(self.store_path, np.uint8, mode="r", shape=(slots, *self.shape))
        image = np.array(self._pixels[row])
        self._reads += 1
        return image
