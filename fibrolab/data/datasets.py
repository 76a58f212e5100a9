"""Dataset of one partition: returns stored pixels as tensors, augmented by a seed from the sampler's key."""

from collections.abc import Mapping, Sequence
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
from fibrolab.data.samplers import Key

# A page read through a memory map counts as this process's memory until the map is closed, and Linux may map
# 2 MiB around one image (a large folio). Closing the map regularly takes hardly any time, since the pages
# stay in the system's cache, and keeps these pages of a worker below 256 MiB for a store of any size.
REOPEN_EVERY = 128  # images


@dataclass
class Pixels:
    """Stored pixels of one modality of some samples.

    Args:
        source: the store's `pixels.u8`, or its images in memory, uint8 (1, H, W) or (1, H, W, 3) each.
        shape: shape of one image, ``(H, W)`` or ``(H, W, 3)``.
        slots: first slot and number of slots of each sample, ``(N,)`` both; see `Slots` for absent ones.
        fps: for clips: frame rate of each [1/s], ``(N,)``.
        segment: for clips: settings that choose their frames.
    """

    source: Path | Sequence[np.ndarray]
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
        """Return a copy of one sample's images; zeros where the sample lacks the modality.

        Args:
            index: index of the sample.
            seed: seed of this draw, for clips; None in evaluation.

        Returns:
            uint8 ``(1, H, W)`` of a grey image, ``(T, H, W)`` of a clip, ``(1, H, W, 3)`` of a colour image.
        """
        if not self.has(index):
            return np.zeros((self.segment.length if self.segment else 1, *self.shape), np.uint8)
        if not isinstance(self.source, Path):
            return self.source[self.slots.first[index]].copy()
        frames = np.zeros(1, np.int64)
        if self.segment is not None and self.fps is not None:
            frames = self.segment.frames(int(self.slots.frames[index]), float(self.fps[index]), seed)
        if self._map is None or self._reads >= REOPEN_EVERY:
            slots = self.source.stat().st_size // int(np.prod(self.shape))
            self._map = np.memmap(self.source, np.uint8, mode="r", shape=(slots, *self.shape))
            self._reads = 0
        self._reads += len(frames)
        return np.array(self._map[self.slots.first[index] + frames])

    def __getstate__(self) -> dict[str, object]:
        """Pickle all but the memory map: each worker opens its own."""
        return {**self.__dict__, "_map": None}


class PixelDataset(Dataset[dict[str, Tensor | int | float]]):
    """Samples of one partition: stored pixels, clinical values, and features computed beforehand.

    It consists of a few arrays, without an object per sample, and so is quickly sent to a worker.

    Args:
        inputs: pixels of each modality by its batch key.
        labels: class of each sample, int64 ``(N,)``.
        indices: row of each sample in the manifest, int64 ``(N,)``.
        keys: 64 bits of each sample's id, uint64 ``(N,)``, see `sample_keys`.
        augment: augmentation of training images; None returns them as stored.
        seed: seed of the run.
        train: whether clip frames are drawn at random, and features are of the epoch's augmented images.
        present: for each modality that some sample of the data set lacks: which samples have it, bool
            ``(N,)``.
        features: features of frozen branches by the branch's name, used instead of pixels.
        clinical: measured values, float32 ``(N, D)``, NaN where there are none.
        with_seed: whether to return the seed of a draw, for augmentation of the whole batch.
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
        with_seed: bool = False,
    ) -> None:
        assert len(labels) == len(indices) == len(keys), "each needs one entry per sample"
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
        self.with_seed = with_seed

    def __len__(self) -> int:
        """Return the number of samples, N."""
        return len(self.labels)

    def __getitem__(self, key: Key) -> dict[str, Tensor | int | float]:
        """Return one draw of one sample.

        All its modalities share the seed of the draw, so that an elastogram is rotated and shifted like its
        grey image, and all frames of a clip alike.

        Args:
            key: ``(epoch, index, draw)`` from an `EpochSampler`; the index counts within this dataset. A
                fourth entry is the weight of the sample in an uneven last batch (`RankSampler`).

        Returns:
            Each modality as uint8 ``(C, H, W)``, a clip as ``(1, T, H, W)``, with zeros for one that is
            absent; the label and the row of the manifest; and, if the dataset has them, `keys.present`,
            `keys.features` float32 ``(F,)``, `keys.CLINICAL` float32 ``(D,)``, `keys.SEED` and
            `keys.WEIGHT`.
        """
        epoch, index, draw, *weight = key
        seed = augmentation_seed(self.seed, epoch, int(self.keys[index]), draw)
        batch: dict[str, Tensor | int | float] = {
            keys.LABEL: int(self.labels[index]),
            keys.INDEX: int(self.indices[index]),
        }
        for name, pixels in self.inputs.items():
            images = pixels.read(index, seed if self.train else None)
            if self.augment is not None and pixels.has(index):
                augment = self.augment.labels if name == keys.MASK else self.augment
                images = np.stack([augment(image, seed) for image in images])
            batch[name] = _tensor(images, clip=pixels.segment is not None)
        for name, present in self.present.items():
            batch[keys.present(name)] = bool(present[index])
        for branch, rows in self.features.items():
            batch[keys.features(branch)] = torch.from_numpy(rows.read(index, epoch if self.train else None))
        if self.clinical is not None:
            batch[keys.CLINICAL] = torch.from_numpy(self.clinical[index])
        if self.with_seed:
            batch[keys.SEED] = seed - 2**64 if seed >= 2**63 else seed  # the same 64 bits, signed
        if weight:
            batch[keys.WEIGHT] = torch.tensor(weight[0], dtype=torch.float32)
        return batch


def _tensor(images: np.ndarray, clip: bool) -> Tensor:
    """Return ``(T, H, W)`` as ``(1, T, H, W)``, ``(1, H, W, 3)`` as ``(3, H, W)``, ``(1, H, W)`` as it is."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    if clip:
        return tensor[None]
    return tensor if tensor.ndim == 3 else tensor[0].permute(2, 0, 1).contiguous()
