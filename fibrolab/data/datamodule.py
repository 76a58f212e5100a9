"""The datamodule: preprocessed pixels of a manifest under a split, as batches."""

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.data.augment import Augment, sample_keys
from fibrolab.data.cache import PixelStore, Slots
from fibrolab.data.datasets import PixelDataset, Pixels
from fibrolab.data.labelled import LabelledData
from fibrolab.data.samplers import EpochSampler, build_sampler
from fibrolab.data.segments import Segment
from fibrolab.errors import ConfigError

MOST_WORKERS = 8
IN_ORDER = {"name": "sequential"}


class FibrosisDataModule(L.LightningDataModule):
    """Batches of each modality, `label` int64 (B,) and `index` int64 (B,), the manifest row.

    `image` is uint8 (B, 1, H, W), `elastogram` uint8 (B, 3, H, W), `clip` uint8 (B, 1, T, H, W).

    Args:
        data: The samples, their labels, who trains, validates and tests.
        stores: Where the preprocessed pixels of each modality are kept; `prepare_data` fills them.
        segment: Which frames of a clip are taken.
        transforms: Augmentation of training images (`fibrolab.data.augment.Augment`); empty for none.
        sampler: How training images are drawn: `name` and settings of
            `fibrolab.data.samplers.build_sampler`.
        batch_size: Images a batch and process.
        num_workers: Loader processes; `auto` leaves one core to the training, at most eight.
        seed: Of order and augmentation.

    Raises:
        ConfigError: A modality that the data lacks, or `batch_size` or `num_workers` is no such number.
    """

    def __init__(
        self,
        *,
        data: LabelledData,
        stores: Mapping[str, PixelStore],
        segment: Segment | None = None,
        transforms: Sequence[Mapping[str, Any]] = (),
        sampler: Mapping[str, Any] | None = None,
        batch_size: int = 32,
        num_workers: int | str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.data, self.stores = data, dict(stores)
        self._segment, self._transforms = segment or Segment(), transforms
        self._sampler = dict(sampler or {"name": "shuffle"})
        self._batch_size, self._seed = batch_size, seed
        if lacking := [name for name in stores if name not in data.facts]:
            raise ConfigError(
                f"The model eats {', '.join(lacking)}, which '{data.manifest.name}' does not have for every "
                f"sample. It has: {', '.join(data.facts)}."
            )
        spare = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 1))
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} is not a number of images.")
        if num_workers != "auto" and not (isinstance(num_workers, int) and num_workers >= 0):
            raise ConfigError(f"num_workers={num_workers} is neither auto nor a number of processes.")
        self._num_workers = spare if num_workers == "auto" else int(num_workers)
        self._slots: dict[str, Slots] = {}

    def prepare_data(self) -> None:
        """Preprocess what the stores do not hold yet.

        Raises:
            DataError: Files that changed since they were surveyed, or clips shorter than their segment.
        """
        for name, store in self.stores.items():
            media, facts, clips = self.data.manifest.media(name), self.data.facts[name], name == keys.CLIP
            if clips:
                names = [str(item.path) for item in media]
                self._segment.check(names, facts["frames"].tolist(), facts["fps"].tolist())
            digests = facts["file_sha256" if clips else "sha256"].tolist()
            self._slots[name] = store.build(media, digests, clips=clips)

    def setup(self, stage: str) -> None:
        """Find every image's slot; other ranks find the work of rank 0 done."""
        if not self._slots:
            self.prepare_data()

    def train_dataloader(self) -> DataLoader:
        """Augmented, in the sampler's order."""
        return self._loader(keys.TRAIN, self._sampler, self._transforms)

    def val_dataloader(self) -> DataLoader:
        """As they are."""
        return self._loader(keys.VALIDATION)

    def test_dataloader(self) -> DataLoader:
        """As they are."""
        return self._loader(keys.TEST)

    def predict_dataloader(self) -> list[DataLoader]:
        """Validation, then test: what `predictions.csv` holds."""
        return [self.val_dataloader(), self.test_dataloader()]

    def training_images(self, num_images: int = 15) -> tuple[list[np.ndarray], np.ndarray]:
        """The first epoch's first training images as the network gets them: the first modality that it eats.

        Returns:
            Bytes, uint8 (H, W) or (H, W, 3) each, of a clip the middle frame; and class of each, int64 (n,).
        """
        dataset = self._dataset(keys.TRAIN, self._transforms)
        name, *_ = self.stores
        items = [dataset[key] for key in islice(self._order(dataset, self._sampler), num_images)]
        scans = [np.asarray(item[name]) for item in items]
        if name == keys.CLIP:
            scans = [scan[:, scan.shape[1] // 2] for scan in scans]
        pictures = [scan[0] if len(scan) == 1 else np.moveaxis(scan, 0, -1) for scan in scans]
        return pictures, np.array([item[keys.LABEL] for item in items])

    def _pixels(self, name: str, rows: np.ndarray) -> Pixels:
        store, slots = self.stores[name], self._slots[name]
        pixels = Pixels(store.pixels_path, store.shape, Slots(slots.first[rows], slots.frames[rows]))
        if name == keys.CLIP:
            pixels.fps, pixels.segment = self.data.facts[name]["fps"].to_numpy()[rows], self._segment
        return pixels

    def _dataset(self, partition: str, transforms: Sequence[Mapping[str, Any]] = ()) -> PixelDataset:
        assert self._slots, "prepare_data or setup comes first"
        data, rows = self.data, self.data.split.rows(partition)
        return PixelDataset(
            {name: self._pixels(name, rows) for name in self.stores},
            labels=data.labels[rows],
            indices=rows,
            keys=sample_keys(data.manifest.table[keys.SAMPLE_ID].iloc[rows]),
            augment=Augment(transforms) if transforms else None,
            seed=self._seed,
            train=partition == keys.TRAIN,
        )

    def _order(self, dataset: PixelDataset, sampler: Mapping[str, Any]) -> EpochSampler:
        return build_sampler(labels=dataset.labels, seed=self._seed, **sampler)

    def _loader(
        self,
        partition: str,
        sampler: Mapping[str, Any] = IN_ORDER,
        transforms: Sequence[Mapping[str, Any]] = (),
    ) -> DataLoader:
        dataset = self._dataset(partition, transforms)
        return DataLoader(
            dataset,
            batch_size=self._batch_size,
            sampler=self._order(dataset, sampler),
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
