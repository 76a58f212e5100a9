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
from fibrolab.data.cache import PixelStore
from fibrolab.data.datasets import PixelDataset
from fibrolab.data.manifest import Manifest
from fibrolab.data.samplers import build_sampler
from fibrolab.data.splits import Split
from fibrolab.errors import ConfigError

MOST_WORKERS = 8


class FibrosisDataModule(L.LightningDataModule):
    """Batches of `image` uint8 (B, 1, H, W), `label` int64 (B,) and `index` int64 (B,), the manifest row.

    Args:
        manifest: The samples.
        labels: Class of every sample under the task, int64 (N,).
        split: Who trains, validates and tests.
        store: Where preprocessed pixels are kept; `prepare_data` fills it.
        digests: SHA-256 of every image file (N,).
        transforms: Augmentation of training images (`fibrolab.data.augment.Augment`); empty for none.
        sampler: How training images are drawn, see `fibrolab.data.samplers.build_sampler`.
        batch_size: Images a batch and process.
        num_workers: Loader processes; `auto` leaves one core to the training, at most eight.
        seed: Of order and augmentation.

    Raises:
        ConfigError: `batch_size` or `num_workers` is no such number.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        labels: np.ndarray,
        split: Split,
        store: PixelStore,
        digests: Sequence[str],
        transforms: Sequence[Mapping[str, Any]] = (),
        sampler: str = "shuffle",
        batch_size: int = 32,
        num_workers: int | str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.manifest, self.labels, self.split, self.store = manifest, labels, split, store
        self._digests, self._transforms, self._sampler = digests, transforms, sampler
        self._batch_size, self._seed = batch_size, seed
        spare = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 1))
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} is not a number of images.")
        if num_workers != "auto" and not (isinstance(num_workers, int) and num_workers >= 0):
            raise ConfigError(f"num_workers={num_workers} is neither auto nor a number of processes.")
        self._num_workers = spare if num_workers == "auto" else int(num_workers)
        self._slots: np.ndarray | None = None

    def prepare_data(self) -> None:
        """Preprocess what the store does not hold yet."""
        self._slots = self.store.build(self.manifest.paths(), self._digests)

    def setup(self, stage: str) -> None:
        """Find every image's slot; other ranks find the work of rank 0 done."""
        if self._slots is None:
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

    def training_images(self, num_images: int = 15) -> tuple[np.ndarray, np.ndarray]:
        """The first epoch's first training images as the network gets them.

        Returns:
            Bytes, uint8 (n, H, W), and class of each, int64 (n,).
        """
        dataset = self._dataset(keys.TRAIN, self._transforms)
        order = build_sampler(self._sampler, dataset.labels, self._seed)
        items = [dataset[key] for key in islice(order, num_images)]
        images = np.stack([np.asarray(item[keys.IMAGE])[0] for item in items])
        return images, np.array([item[keys.LABEL] for item in items])

    def _dataset(self, partition: str, transforms: Sequence[Mapping[str, Any]] = ()) -> PixelDataset:
        assert self._slots is not None, "prepare_data or setup comes first"
        rows = self.split.rows(partition)
        return PixelDataset(
            self.store.pixels_path,
            self.store.shape,
            rows=self._slots[rows],
            labels=self.labels[rows],
            indices=rows,
            keys=sample_keys(self.manifest.table[keys.SAMPLE_ID].iloc[rows]),
            augment=Augment(transforms) if transforms else None,
            seed=self._seed,
        )

    def _loader(
        self, partition: str, sampler: str = "sequential", transforms: Sequence[Mapping[str, Any]] = ()
    ) -> DataLoader:
        dataset = self._dataset(partition, transforms)
        return DataLoader(
            dataset,
            batch_size=self._batch_size,
            sampler=build_sampler(sampler, dataset.labels, self._seed),
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
