"""Frozen branches are run once: before the training, their features take the place of their pixels."""

import copy
import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.data.augment import Augment, sample_keys
from fibrolab.data.cache import ABSENT
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.datasets import PixelDataset
from fibrolab.data.features import FeatureTable, stored
from fibrolab.data.progress import track
from fibrolab.errors import ConfigError
from fibrolab.models.branches import INPUT
from fibrolab.modules.base import STARTS, Classifier
from fibrolab.training.precision import refusals

VERSION = 1  # raise it when a branch makes other features of the same pixels: old ones are then left alone
DEFAULT_VIEWS = 8  # what a user is advised to try

logger = logging.getLogger(__name__)


def cached(
    module: Classifier,
    datamodule: FibrosisDataModule,
    cache: Path,
    views: int | None = None,
    accelerator: str = "auto",
    precision: Any = "32-true",
) -> list[str]:
    """Run every frozen branch once an image, where that gives the same training, and serve the features.

    Without augmentation the result is that of running the branch in every epoch. With it a branch is run
    `views` times an image: view v is the image as the first draw of epoch v would have it, so that a run of
    no more epochs than views, in which each image comes once an epoch, is the plain run again. A longer run
    begins with view 0 anew, and the repeats of a sampler within an epoch share a view. Views are always drawn
    as the loader's workers draw them.

    Args:
        module: Whose branches are frozen or not.
        datamodule: Which is told to serve features; it needs no worker processes where all are cached.
        cache: Folder of all caches.
        views: Augmented views of each training image; None leaves augmented branches to run every epoch.
        accelerator: Of the run's trainer.
        precision: Of the run's trainer.

    Returns:
        Names of the branches whose features are served.

    Raises:
        ConfigError: `views` is no number from 1, or the accelerator or precision cannot be had.
        StorageError: The disk is full or the folder cannot be written.
    """
    if views is not None and not (isinstance(views, int) and not isinstance(views, bool) and views >= 1):
        raise ConfigError(f"features.views={views} is neither a whole number from 1 nor null.")
    inputs = {name: _input_of(module, name) for name in module.network.branches}
    once = [name for name in inputs if _runs_once(module, datamodule, name, views)]
    if not once:
        return []
    datamodule.setup("fit")
    fabric = _fabric(accelerator, precision)
    root = cache / "features"
    tables = {
        name: Extraction(name, module, datamodule, root, fabric, str(precision)).table(views or 0)
        for name in once
    }
    logger.info("Frozen, so run once an image before the training: branch %s.", ", ".join(once))
    datamodule.use_features(
        tables, list(dict.fromkeys(key for name, key in inputs.items() if name not in once))
    )
    return once


def _runs_once(module: Classifier, datamodule: FibrosisDataModule, name: str, views: int | None) -> bool:
    """Return whether a branch's features can be computed once; log it where only views are missing."""
    modality = _input_of(module, name)
    if not module.network.branches[name].frozen or modality == keys.CLINICAL:
        return False
    changes = _changes(datamodule, modality)
    if changes is None or views is not None:
        return True
    logger.info(
        "Branch %s is frozen, but %s, so it runs in every epoch; features.views=%d%s would let it run once.",
        name,
        changes,
        DEFAULT_VIEWS,
        " or augment=none" if modality != keys.CLIP else "",
    )
    return False


def _input_of(module: Classifier, name: str) -> str:
    """Return the entry of the batch that a branch takes."""
    return str(module.hparams["branches"][name].get(INPUT, keys.IMAGE))


def _changes(datamodule: FibrosisDataModule, modality: str) -> str | None:
    """Return why a sample's pixels differ between epochs; None where they do not."""
    if modality == keys.CLIP:
        return "its clips give other frames in every epoch"
    return "its images are augmented" if datamodule.transforms else None


@dataclass
class Extraction:
    """One frozen branch, and the samples that it is run on.

    Attributes:
        name: Of the branch.
        module: Which it is part of.
        datamodule: Holds the samples.
        root: Folder of the matrices.
        fabric: What it is run with.
        precision: That of the fabric, as Lightning names it.
    """

    name: str
    module: Classifier
    datamodule: FibrosisDataModule
    root: Path
    fabric: L.Fabric
    precision: str

    def table(self, views: int) -> FeatureTable:
        """Return features of every sample and, under augmentation, of that many views of training samples."""
        digests = self.datamodule.digests(self.input).astype(str)
        contents, first, places = np.unique(digests, return_index=True, return_inverse=True)
        absent = int(contents[0] == "")  # samples that lack the modality are sorted in front of all contents
        places = places - absent  # which makes theirs ABSENT
        clean = self._matrix(first[absent:], digests)
        train = self.datamodule.data.split.rows(keys.TRAIN)
        train = train[places[train] != ABSENT]
        view_places = np.full_like(places, ABSENT)
        view_places[train] = np.arange(len(train))
        epochs = range(views if _changes(self.datamodule, self.input) else 0)
        drawn = tuple(self._matrix(train, digests, epoch) for epoch in epochs)
        return FeatureTable(self.branch.num_features, clean, places, drawn, view_places)

    def _matrix(self, rows: np.ndarray, digests: np.ndarray, epoch: int | None = None) -> Path:
        """Return features of some samples, (n, F), unaugmented or as training draws them in an epoch."""
        about = self.about | {"samples": len(rows), "contents": _hash(digests[rows])}
        task = f"Features of branch {self.name}"
        if epoch is not None:
            about |= _drawn(self.datamodule, rows, epoch)
            task += f", view {epoch + 1}"
        run = partial(self.run, rows, epoch, task)
        return stored(self.root, about, (len(rows), self.branch.num_features), run)

    @property
    def branch(self) -> Any:
        """The branch itself."""
        return self.module.network.branches[self.name]

    @property
    def input(self) -> str:
        """The modality that it sees."""
        return _input_of(self.module, self.name)

    @cached_property
    def about(self) -> dict[str, Any]:
        """Return everything that the features of given pixels depend on."""
        hparams = self.module.hparams
        settings = {key: value for key, value in hparams["branches"][self.name].items() if key not in STARTS}
        datamodule, clip = self.datamodule, self.input == keys.CLIP
        return {
            "version": VERSION,
            "libraries": {name: version(name) for name in ("torch", "torchvision", "timm")},
            "branch": settings | {"image_size": hparams["image_size"], "state": _state_hash(self.branch)},
            "device": self.fabric.device.type,
            "precision": self.precision,
            "pixels": datamodule.stores[self.input].preprocess.key(),
            "segment": asdict(datamodule.segment) if clip else None,
        }

    def run(self, rows: np.ndarray, epoch: int | None, task: str) -> Iterator[np.ndarray]:
        """Yield the features of a batch at a time, float32 (b, F)."""
        # A copy goes to the device, so that the module stays where and as it is.
        network = self.fabric.setup_module(copy.deepcopy(self.branch).eval())
        loader = _loader(self.datamodule, self.input, rows, epoch)
        for batch in track(loader, len(loader), f"{task}, batches"):
            with torch.inference_mode():
                features = network(self.fabric.to_device(batch[self.input]))
            yield features.float().cpu().numpy()


def _loader(datamodule: FibrosisDataModule, modality: str, rows: np.ndarray, epoch: int | None) -> DataLoader:
    """Load one modality of some samples in order, unaugmented or as training draws them in an epoch."""
    data, transforms = datamodule.data, datamodule.transforms if epoch is not None else ()
    dataset = PixelDataset(
        {modality: datamodule.pixels(modality, rows)},
        labels=data.labels[rows],
        indices=rows,
        keys=sample_keys(data.manifest.table[keys.SAMPLE_ID].iloc[rows]),
        augment=Augment(transforms) if transforms else None,
        seed=datamodule.seed,
        train=epoch is not None,
    )
    draws = [(epoch or 0, index, 0) for index in range(len(rows))]
    return DataLoader(
        dataset,
        batch_size=datamodule.batch_size,  # what the training has memory for, this has too
        sampler=draws,
        num_workers=datamodule.num_workers if transforms else 0,  # reading alone is quicker than handing over
        generator=torch.Generator(),  # its own: the training's random numbers stay those of the plain run
    )


def _drawn(datamodule: FibrosisDataModule, rows: np.ndarray, epoch: int) -> dict[str, Any]:
    """Return everything that a view depends on beside the content of its samples."""
    return {
        "transforms": [dict(transform) for transform in datamodule.transforms],
        "albumentations": version("albumentations"),
        "sample_ids": _hash(datamodule.data.manifest.table[keys.SAMPLE_ID].iloc[rows]),
        "seed": datamodule.seed,
        "epoch": epoch,
    }


def _fabric(accelerator: str, precision: Any) -> L.Fabric:
    with refusals():
        return L.Fabric(accelerator=accelerator, devices=1, precision=precision)


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _state_hash(branch: nn.Module) -> str:
    """SHA-256 of all weights and buffers, also of those that a checkpoint leaves out."""
    digest = hashlib.sha256()
    for name, value in (*branch.named_parameters(), *branch.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
