"""From a sampler's key to tensors: bytes off the memory maps, augmented by the key's own seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fibrolab import keys
from fibrolab.data.augment import Augment, augmentation_seed
from fibrolab.data.cache import ABSENT, Slots
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.features import FeatureRows

# A page counts as this process's memory from its first reading through a map until the map is closed, and
# Linux may map 2 MiB around one scan (a large folio). Closing the map now and then costs next to nothing, as
# the pages stay in the system's cache, and keeps a worker under 256 MiB of them however large the store is.
REOPEN_EVERY = 128  # scans


@dataclass
class Pixels:
    """One modality of some samples, where it lies in its store.

    Args:
        path: the store's `pixels.u8`.
        shape: shape of one scan, ``(H, W)`` or ``(H, W, 3)``.
        slots: first slot and number of slots of each sample, ``(N,)`` both; see `Slots` for absent ones.
        fps: for clips: frame rate of each [1/s], ``(N,)``.
        segment: for clips: which of their frames are taken.
    """

    path: Path
    shape: tuple[int, ...]
    slots: Slots
    fps: np.ndarray | None = None
    segment: Segment | None = None

    def __post_init__(self) -> None:
        self._map: np.memmap | None = None
        self._reads = 0

    def has(self, index: int) -> bool:
        """Return whether a sample has this modality."""
        return bool(self.slots.first[index] != ABSENT)

    def read(self, index: int, seed: int | None) -> np.ndarray:
        """Return a copy of one sample's scans; zeros where the sample lacks the modality.

        Args:
            index: of the sample.
            seed: of this draw, for clips; None in evaluation.

        Returns:
            uint8 ``(1, H, W)`` of a grey picture, ``(T, H, W)`` of a clip, ``(1, H, W, 3)`` of colours.
        """
        if not self.has(index):
            return np.zeros((self.segment.length if self.segment else 1, *self.shape), np.uint8)
        frames = np.zeros(1, np.int64)
        if self.segment is not None and self.fps is not None:
            frames = self.segment.frames(int(self.slots.frames[index]), float(self.fps[index]), seed)
        if self._map is None or self._reads >= REOPEN_EVERY:
            slots = self.path.stat().st_size // int(np.prod(self.shape))
            self._map = np.memmap(self.path, np.uint8, mode="r", shape=(slots, *self.shape))
            self._reads = 0
        self._reads += len(frames)
        return np.array(self._map[self.slots.first[index] + frames])

    def __getstate__(self) -> dict[str, object]:
        """Leave the map behind: each worker opens its own."""
        return {**self.__dict__, "_map": None}


class PixelDataset(Dataset[dict[str, Tensor | int]]):
    """Samples of one partition, out of pixel stores and of what was measured or computed beforehand.

    Holds a few arrays and no object a sample, so that it is cheap to hand to a worker.

    Args:
        inputs: pixels of each modality by its batch key.
        labels: class of each sample, int64 ``(N,)``.
        indices: row of each sample in the manifest, int64 ``(N,)``.
        keys: 64 bits of each sample's id, uint64 ``(N,)``, see `sample_keys`.
        augment: what is done to training images; None leaves them as stored.
        seed: seed of the run.
        train: whether segments of clips are drawn at random, and features are those of the epoch's view.
        present: which samples have a modality, bool ``(N,)``, of each that some sample of the data set lacks.
        features: of frozen branches, by the branch's name; they stand in for pixels.
        clinical: measured values, float32 ``(N, D)``, NaN where there are none.
        tell_seed: whether a draw's seed travels with it, for augmentation of the whole batch.
    """

    def __init__(
        self,
        inputs: Mapping[str, Pixels],
        labels: np.ndarray,
        indices: np.ndarray,
        keys: np.ndarray,
        augment: Augment | None = None,
        seed: int = 0,
        train: bool = False,
        *,
        present: Mapping[str, np.ndarray] | None = None,
        features: Mapping[str, FeatureRows] | None = None,
        clinical: np.ndarray | None = None,
        tell_seed: bool = False,
    ) -> None:
        assert len(labels) == len(indices) == len(keys), "one entry a sample is needed in each"
        self.inputs = dict(inputs)
        self.labels = labels
        self.indices = indices
        self.keys = keys
        self.augment = augment
        self.seed = seed
        self.train = train
        self.present = dict(present or {})
        self.features = dict(features or {})
        self.clinical = clinical
        self.tell_seed = tell_seed

    def __len__(self) -> int:
        """Samples, N."""
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Tensor | int]:
        """Return one draw of one sample.

        All its modalities share the seed of the draw, so that an elastogram is turned and shifted as its
        grey image is, and every frame of a clip as the first.

        Args:
            key: ``(epoch, index, draw)`` from an `EpochSampler`; the index counts within this dataset.

        Returns:
            Of each modality uint8 ``(C, H, W)``, of clips ``(1, T, H, W)``, zeros of one that is absent; the
            label, and the row of the manifest; beside them `keys.present`, `keys.features` float32 ``(F,)``,
            `keys.CLINICAL` float32 ``(D,)`` and `keys.SEED`, as far as the dataset was given them.
        """
        epoch, index, draw = key
        seed = augmentation_seed(self.seed, epoch, int(self.keys[index]), draw)
        batch: dict[str, Tensor | int] = {
            keys.LABEL: int(self.labels[index]),
            keys.INDEX: int(self.indices[index]),
        }
        for name, pixels in self.inputs.items():
            scans = pixels.read(index, seed if self.train else None)
            if self.augment is not None and pixels.has(index):
                drawn = self.augment.labels if name == keys.MASK else self.augment
                scans = np.stack([drawn(scan, seed) for scan in scans])
            batch[name] = _tensor(scans, clip=pixels.segment is not None)
        for name, present in self.present.items():
            batch[keys.present(name)] = bool(present[index])
        for branch, rows in self.features.items():
            batch[keys.features(branch)] = torch.from_numpy(rows.read(index, epoch if self.train else None))
        if self.clinical is not None:
            batch[keys.CLINICAL] = torch.from_numpy(self.clinical[index])
        if self.tell_seed:
            batch[keys.SEED] = seed - 2**64 if seed >= 2**63 else seed  # the same 64 bits, signed
        return batch


def _tensor(scans: np.ndarray, clip: bool) -> Tensor:
    """``(T, H, W)`` as ``(1, T, H, W)``; ``(1, H, W)`` as it is; ``(1, H, W, 3)`` as ``(3, H, W)``."""
    tensor = torch.from_numpy(np.ascontiguousarray(scans))
    if clip:
        return tensor[None]
    return tensor if tensor.ndim == 3 else tensor[0].permute(2, 0, 1).contiguous()
