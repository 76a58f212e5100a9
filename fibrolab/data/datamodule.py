"""The datamodule: preprocessed pixels of a manifest under a split, as batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.allowed import whole
from fibrolab.choices import refuse, unknown
from fibrolab.data import clinical as measures
from fibrolab.data import masks
from fibrolab.data.augment import Augment, sample_keys
from fibrolab.data.cache import PixelStore, Slots
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datasets import PixelDataset, Pixels
from fibrolab.data.features import FeatureTable
from fibrolab.data.input_check import input_faults
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.preprocess import NOT_OF_CLIPS, NOT_OF_MASKS
from fibrolab.data.samplers import EpochSampler, RankSampler, build_sampler, check_batch_size, this_rank
from fibrolab.errors import ConfigError
from fibrolab.processes import cores, loader_processes

MOST_WORKERS = 8
AUGMENT_ON = ("workers", "device")
IN_ORDER = {"name": "sequential"}


class FibrosisDataModule(L.LightningDataModule):
    """Batches of each modality, `label` int64 (B,) and `index` int64 (B,), the manifest row.

    `image` and its label map `mask` are uint8 (B, 1, H, W), `elastogram` uint8 (B, 3, H, W), `clip` uint8
    (B, 1, T, H, W), `clinical` float32 (B, D). If some samples of the data set lack a modality, every batch
    states which samples have it, bool (B,) under `keys.present`.

    Args:
        data: The samples, their labels, and the split into training, validation and test.
        stores: Stores of the preprocessed pixels of each modality; `prepare_data` fills them.
        segment: Settings that choose the frames of a clip.
        transforms: Augmentation of training images (`fibrolab.data.augment.Augment`); empty for none.
        sampler: Settings of `fibrolab.data.samplers.build_sampler` for the order of training images.
        batch_size: Images per batch, of all ranks together.
        num_workers: Loader processes of each rank, on a CPU for training alone; `auto` takes all cores but
            one, at most eight, which the ranks on a machine share.
        seed: Seed of order and augmentation.
        clinical: Columns of the clinical values that the model takes, in order.
        augment_on: `workers` augments each sample as it is loaded, `device` augments whole batches on the
            network's device.
        predicted: Partitions of `predictions.csv`, in this order.

    Raises:
        ConfigError: The data lacks a modality or clinical column; samples have none of the model's inputs; an
            augmentation is unknown or not implemented there; `batch_size` or `num_workers` is not valid.
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
        clinical: Sequence[str] = (),
        augment_on: str = "workers",
        predicted: Sequence[str] = (keys.VALIDATION, keys.TEST),
    ) -> None:
        super().__init__()
        refuse(
            [
                *_faults(batch_size, num_workers, augment_on, transforms, keys.MASK in stores),
                *input_faults(data, list(stores), clinical),
                *_crop_faults(data, stores),
            ]
        )
        self.data, self.stores = data, dict(stores)
        self.predicted = tuple(predicted)
        self.segment, self.transforms, self.seed = segment or Segment(), transforms, seed
        self._sampler = dict(sampler or {"name": "shuffle"})
        self.batch_size = batch_size
        self._automatic = num_workers == "auto"
        self.num_workers = 0 if num_workers == "auto" else int(num_workers)
        self.share_cores(1)
        self._clinical = measures.measured(data.manifest.table, clinical) if clinical else None
        self._inputs: Sequence[str] = list(self.stores)
        self._epoch, self._batches = 0, 0  # first epoch of the training, and its batches that are done
        self._features: dict[str, FeatureTable] = {}
        self._slots: dict[str, Slots] | None = None
        self._on_device = augment_on == "device" and len(transforms) > 0
        if self._on_device:
            from fibrolab.data.augment_batches import BatchAugment

            self._augment_batch = BatchAugment(transforms)

    def use_features(self, features: Mapping[str, FeatureTable], inputs: Sequence[str]) -> None:
        """Put these features into all later batches, with the pixels of only these modalities.

        Args:
            features: Features of all samples from frozen branches, by the branch's name.
            inputs: Modalities that other branches take as pixels; none if all branches have features.
        """
        self._features = dict(features)
        self._inputs = [name for name in self.stores if name in inputs]
        if not self._inputs:
            self.num_workers = 0  # reading a row of a table takes less time than sending it between processes

    @property
    def serves_features_only(self) -> bool:
        """Return whether every branch has features, so that no pixels are read."""
        return bool(self._features) and not self._inputs

    def features_of(self, rows: np.ndarray) -> tuple[dict[str, FeatureTable], list[str]]:
        """Return what `use_features` takes for a data set of some rows of this one, int64 (n,)."""
        return {name: table.subset(rows) for name, table in self._features.items()}, list(self._inputs)

    def share_cores(self, ranks: int) -> None:
        """Let `num_workers=auto` leave room for so many ranks on this machine."""
        if self._automatic:
            self.num_workers = max(1, min(MOST_WORKERS, cores() // ranks - 1))

    def check_ranks(self, ranks: int) -> None:
        """Refuse data or a batch that cannot be dealt out to so many ranks.

        Raises:
            ConfigError: A rank would have no sample of a partition, or `batch_size` is not a multiple.
        """
        check_batch_size(self.batch_size, ranks)
        sizes = {name: len(self.data.split.rows(name)) for name in keys.PARTITIONS}
        if not sizes[keys.VALIDATION]:  # it is not used then
            del sizes[keys.VALIDATION]
        if few := [f"{name} has {size}" for name, size in sizes.items() if size < ranks]:
            raise ConfigError(
                f"{ranks} ranks need at least one sample each of every partition, and {', '.join(few)}: use "
                "fewer devices or more data."
            )

    def prepare_data(self) -> None:
        """Preprocess the files whose pixels are not stored yet.

        Raises:
            DataError: Files that changed since they were surveyed, or clips with too few frames.
        """
        if self._slots is not None:  # Lightning calls this at every fit
            return
        slots = {}
        for name, store in self.stores.items():
            if name == keys.MASK:
                slots[name] = self._build_masks(store)
                continue
            present = self.data.manifest.present(name)
            if not present.any():  # new samples, all without it
                none = np.empty(0, np.int64)
                slots[name] = Slots(none, none).among(present)
                continue
            facts = self.data.facts[name]
            media, clips = self.data.manifest.media(name, present), name == keys.CLIP
            if clips:
                names = [str(item.path) for item in media]
                frames, rates = (facts[column][present].tolist() for column in ("frames", "fps"))
                self.segment.check(names, frames, rates)
            digests = self.digests(name)[present].tolist()
            slots[name] = store.build(media, digests, clips=clips).among(present)
        self._slots = slots

    def _build_masks(self, store: PixelStore) -> Slots:
        present, media = self.data.manifest.present(keys.MASK), list(self.data.manifest.masks().values())
        images = self.digests(keys.IMAGE)[present].tolist()
        slots = store.build(media, masks.digests(media, images))
        if self.data.masks is not None:
            pixels = Pixels(store.source, store.shape, slots)
            masks.refuse_other_levels(
                media, (pixels.read(i, None) for i in range(len(media))), self.data.masks
            )
        return slots.among(present)

    def digests(self, name: str) -> np.ndarray:
        """Return the SHA-256 of the content of each sample's pixels, (N,); empty if it lacks the modality.

        Of an image that is cropped to its mask it depends on both files.

        Raises:
            DataError: Such masks cannot be opened.
        """
        column = "file_sha256" if name == keys.CLIP else "sha256"
        found = self.data.facts[name][column].to_numpy(object)
        if name == keys.CLIP and str(self.data.manifest.decode):
            present = self.data.manifest.present(name)
            files = zip(self.data.manifest.media(name, present), found[present], strict=True)
            found = found.copy()
            found[present] = [item.view.digest(digest) for item, digest in files]
        if self.stores[name].preprocess.crop != "mask" or name == keys.MASK:
            return found
        present = self.data.manifest.present(name)
        found = found.copy()
        found[present] = masks.cropped_digests(self.data.manifest.media(name, present), found[present])
        return found

    def setup(self, stage: str) -> None:
        """Find the slots of every sample; on other ranks, after rank 0 has filled the stores."""
        self.prepare_data()

    def state_dict(self) -> dict[str, int]:
        """Return the epoch with which a resumed training begins, and the batches of it that are done.

        The workers of a resumed training need the epoch before Lightning sets it.
        """
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        progress: Any = loop.epoch_progress.current
        ended = progress.processed > progress.completed
        return {"epoch": progress.processed, "batches": 0 if ended else loop.batch_idx + 1}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Set where a resumed training begins."""
        self._epoch, self._batches = state_dict["epoch"], state_dict["batches"]

    def train_dataloader(self) -> DataLoader:
        """Return batches of the training partition, augmented, in the sampler's order."""
        loader = self._loader(keys.TRAIN, trains=True)
        order = loader.sampler.order if isinstance(loader.sampler, RankSampler) else loader.sampler
        assert isinstance(order, EpochSampler)
        order.set_epoch(self._epoch)
        order.skip(self._batches * self.batch_size, self._epoch)
        return loader

    def val_dataloader(self) -> DataLoader:
        """Return batches of the validation partition, without augmentation, in the manifest's order."""
        return self._loader(keys.VALIDATION)

    def test_dataloader(self) -> DataLoader:
        """Return batches of the test partition, without augmentation, in the manifest's order."""
        return self._loader(keys.TEST)

    def predict_dataloader(self) -> list[DataLoader]:
        """Return batches of each partition of `predictions.csv`, without augmentation."""
        return [self._loader(partition) for partition in self.predicted]

    def training_images(self, num_images: int = 15) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the first training images of the first epoch with augmentation (first modality).

        The augmentation is always that of the workers, even with `augment_on=device`, or if the network takes
        features instead of pixels.

        Returns:
            The images, uint8 (H, W) or (H, W, 3) each (of a clip its middle frame), and the class of each,
            int64 (n,). Both are empty if the model takes no pixels.
        """
        if not self.stores:
            return [], np.empty(0, np.int64)
        name, *_ = self.stores
        dataset = self._dataset(keys.TRAIN, [name], self.transforms, train=True)
        order = (key for key in self._order(dataset, self._sampler) if dataset.inputs[name].has(key[1]))
        items = [dataset[key] for key in islice(order, num_images)]
        labels = np.array([item[keys.LABEL] for item in items], np.int64)
        return [_picture(np.asarray(item[name])) for item in items], labels

    def test_images(self, samples: Sequence[str]) -> dict[str, np.ndarray]:
        """Return images of test samples by id, see `training_images`; samples without one are left out."""
        if not self.stores:
            return {}
        name, *_ = self.stores
        dataset, table = self._dataset(keys.TEST, [name]), self.data.manifest.table
        index = {
            sample: k for k, sample in enumerate(table[keys.SAMPLE_ID].iloc[self.data.split.rows(keys.TEST)])
        }
        present = [sample for sample in samples if dataset.inputs[name].has(index[sample])]
        return {sample: _picture(np.asarray(dataset[0, index[sample], 0][name])) for sample in present}

    @property
    def shown_images(self) -> Callable[[Sequence[str]], Mapping[str, Any]]:
        """The function that returns images for the report: `labelled_images` if the task is to segment."""
        return self.test_images if self.data.masks is None else self.labelled_images

    def labelled_images(self, samples: Sequence[str]) -> dict[str, masks.Labelled]:
        """Return samples with their masks, true ones where known, as their files hold them, by id."""
        manifest = self.data.manifest
        names, media = manifest.table[keys.SAMPLE_ID], manifest.masks() | manifest.masks(keys.TRUE_MASK)
        rows = np.flatnonzero(names.isin(list(samples))).tolist()
        reader = masks.Reader()
        return {names[row]: reader.labelled(media[row]) for row in rows}

    def transfer_batch_to_device(
        self, batch: dict[str, Tensor], device: torch.device, dataloader_idx: int
    ) -> dict[str, Tensor]:
        """Move a batch to the device, but keep its seeds on the CPU, to be read without waiting for a GPU."""
        moved: dict[str, Tensor] = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return {**moved, keys.SEED: batch[keys.SEED]} if keys.SEED in batch else moved

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Augment a training batch on its device; only batches to be augmented here have seeds."""
        if keys.SEED not in batch:
            return batch
        batch = dict(batch)
        seeds = batch.pop(keys.SEED)
        for name in self._inputs:
            drawn = self._augment_batch(batch[name], seeds)
            present = batch.get(keys.present(name))
            if present is not None:  # noise must not fill the images of samples that have none
                drawn = drawn * present.view(-1, *[1] * (drawn.ndim - 1))
            batch[name] = drawn
        return batch

    def pixels(self, name: str, rows: np.ndarray) -> Pixels:
        """Return the stored pixels of one modality of some samples.

        Args:
            name: The modality.
            rows: Rows of the samples in the manifest, int64 (n,).
        """
        assert self._slots is not None, "prepare_data or setup comes first"
        store, slots = self.stores[name], self._slots[name]
        pixels = Pixels(store.source, store.shape, Slots(slots.first[rows], slots.frames[rows]))
        if name == keys.CLIP:
            pixels.segment = self.segment
            if name in self.data.facts:  # some sample has one
                pixels.fps = self.data.facts[name]["fps"].to_numpy()[rows]
        return pixels

    def _dataset(
        self,
        partition: str,
        inputs: Sequence[str],
        transforms: Sequence[Mapping[str, Any]] = (),
        **settings: Any,
    ) -> PixelDataset:
        data, rows = self.data, self.data.split.rows(partition)
        return PixelDataset(
            {name: self.pixels(name, rows) for name in inputs},
            labels=data.labels[rows],
            indices=rows,
            keys=sample_keys(data.manifest.table[keys.SAMPLE_ID].iloc[rows]),
            augment=Augment(transforms) if transforms else None,
            seed=self.seed,
            **settings,
        )

    def _extras(self, partition: str, trains: bool) -> dict[str, Any]:
        """Return the arguments of `PixelDataset` beside pixels, label and index."""
        data, rows = self.data, self.data.split.rows(partition)
        present = {
            name: data.manifest.present(name)[rows] for name in self.stores if not data.manifest.has(name)
        }
        return {
            "present": present,
            "features": {branch: table.rows(rows) for branch, table in self._features.items()},
            "clinical": None if self._clinical is None else self._clinical[rows],
            "with_seed": self._on_device and trains and len(self._inputs) > 0,
            "train": trains,
        }

    def _order(self, dataset: PixelDataset, sampler: Mapping[str, Any]) -> EpochSampler:
        groups = self.data.manifest.groups[dataset.indices]
        settings = {"name": "", **sampler}
        return build_sampler(labels=dataset.labels, groups=groups, seed=self.seed, **settings)

    def _loader(self, partition: str, trains: bool = False) -> DataLoader:
        """Return batches of a partition; those that train are augmented, in the sampler's order.

        On a CPU only these have processes. Others read stored pixels, in .02 ms a picture of 224 pixels, and
        a process would cost more: after its fork, each page of memory that a network writes is copied.
        """
        transforms = self.transforms if trains and not self._on_device else ()
        dataset = self._dataset(partition, self._inputs, transforms, **self._extras(partition, trains))
        order, (rank, ranks) = self._order(dataset, self._sampler if trains else IN_ORDER), this_rank()
        # Batch norm fails on a batch of one sample. If an epoch would end with such a batch, it is dropped;
        # the order is drawn again in each epoch, so that another sample is left out.
        single = trains and len(order) > self.batch_size > 1 == len(order) % self.batch_size
        dealt, on_gpu = ranks > 1, torch.cuda.is_available()
        number = self.num_workers if trains or on_gpu else 0
        return DataLoader(
            dataset,
            batch_size=self.batch_size // ranks,
            drop_last=single and not dealt,
            sampler=RankSampler(order, self.batch_size, rank, ranks, drop_last=single) if dealt else order,
            **loader_processes(number),
            persistent_workers=number > 0,
            generator=torch.Generator(),  # not the global one: loaders must not change the dropout masks
            pin_memory=on_gpu,
        )


def _picture(scan: np.ndarray) -> np.ndarray:
    """Return an input (C, H, W), or the middle frame of a clip (1, T, H, W), as (H, W) or (H, W, 3)."""
    if scan.ndim == 4:
        scan = scan[:, scan.shape[1] // 2]
    return scan[0] if len(scan) == 1 else np.moveaxis(scan, 0, -1)


def _faults(
    batch_size: Any, num_workers: Any, augment_on: str, transforms: Any, moves_masks: bool
) -> Iterator[str]:
    if not whole(1).holds(batch_size):
        yield f"batch_size={batch_size} is not a number of images."
    if not all(isinstance(transform, Mapping) for transform in transforms):
        yield f"augment.transforms={list(transforms)} lacks settings, such as {{name: HorizontalFlip}}."
    if num_workers != "auto" and not whole(0).holds(num_workers):
        yield f"num_workers={num_workers} is neither auto nor a number of processes."
    if augment_on not in AUGMENT_ON:
        yield unknown("augment_on", augment_on, AUGMENT_ON)
    if moves_masks and augment_on == "device" and len(transforms):
        yield "augment_on=device does not move masks with their images; set augment_on=workers."


def _crop_faults(data: LabelledData, stores: Mapping[str, PixelStore]) -> Iterator[str]:
    """Yield a sentence on inputs that cannot be cropped to a mask, and on images that have none."""
    cropped = [name for name, store in stores.items() if store.preprocess.crop == "mask"]
    if keys.MASK in cropped:
        yield NOT_OF_MASKS
    if keys.CLIP in cropped:
        yield NOT_OF_CLIPS
    without = data.manifest.present(keys.IMAGE) & ~data.manifest.present(keys.MASK)
    if keys.IMAGE in cropped and without.any():
        yield (
            f"preprocess.crop=mask needs a mask for every image of '{data.manifest.name}', and there is none "
            f"for {data.manifest.named(without)}: name the masks in the column `mask`. A segmenter makes "
            "masks: python -m fibrolab.evaluate run=SEGMENTER_ID data=..."
        )
