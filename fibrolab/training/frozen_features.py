"""Run frozen branches once before training, so that their features replace their pixels."""

import copy
import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import distributed, nn
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.allowed import whole
from fibrolab.data.augment import Augment, sample_keys
from fibrolab.data.cache import ABSENT
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.datasets import PixelDataset
from fibrolab.data.features import FeatureTable, blocks, place, stored
from fibrolab.data.progress import track
from fibrolab.data.samplers import this_rank
from fibrolab.errors import ConfigError
from fibrolab.models.branches import INPUT
from fibrolab.modules.base import INITIAL_WEIGHTS, TrainedModule
from fibrolab.processes import loader_processes
from fibrolab.storage import is_unchanged
from fibrolab.training import ranks
from fibrolab.training.precision import trainer_config_errors

VERSION = 1  # increase it when a branch computes other features from the same pixels: invalidates the cache
DEFAULT_VIEWS = 8  # the number that messages suggest

logger = logging.getLogger(__name__)


def cache_features(
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    cache: Path,
    views: int | None = None,
    accelerator: str = "auto",
    precision: Any = "32-true",
) -> list[str]:
    """Compute the features of frozen branches once per image, and make the datamodule serve them.

    Without augmentation, the result is the same as running the branch in every epoch. With augmentation, a
    branch runs `views` times per image: view v is the image as augmented by the first draw of epoch v. A run
    with at most `views` epochs that draws each image once an epoch is therefore unchanged. A longer run
    starts again with view 0, and repeated draws of an image within an epoch get the same view. Views are
    always augmented on the CPU, as the loader's workers do it.

    Args:
        module: The module with the branches.
        datamodule: The datamodule that will serve the features; if all branches are cached, it needs no
            worker processes.
        cache: Folder of all caches.
        views: Augmented views of each training image; with None, augmented branches run in every epoch.
        accelerator: Accelerator of the run's trainer.
        precision: Precision of the run's trainer.

    Returns:
        Names of the branches whose features are served.

    Raises:
        ConfigError: `views` is not a number from 1, or the accelerator or precision is not available.
        StorageError: The disk is full or the folder cannot be written.
    """
    if views is not None and not whole(1).holds(views):
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
    logger.info("Frozen branches run once per image before the training: %s.", ", ".join(once))
    pixels = list(dict.fromkeys(key for name, key in inputs.items() if name not in once))
    datamodule.use_features(tables, pixels)
    return once


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: a head on features is so small that threads cost more than they share.

    On cores that other processes use too, each operation waits for the slowest of them.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _runs_once(module: TrainedModule, datamodule: FibrosisDataModule, name: str, views: int | None) -> bool:
    """Return whether a branch's features can be computed once; log how, if that only needs views."""
    modality = _input_of(module, name)
    if not module.network.branches[name].frozen or modality == keys.CLINICAL:
        return False
    reason = _reason_of_change(datamodule, modality)
    if reason is None or views is not None:
        return True
    logger.info(
        "Branch %s is frozen, but %s, so it runs in every epoch; features.views=%d%s would let it run once.",
        name,
        reason,
        DEFAULT_VIEWS,
        " or augment=none" if modality != keys.CLIP else "",
    )
    return False


def _input_of(module: TrainedModule, name: str) -> str:
    """Return the entry of the batch that a branch takes."""
    return str(module.hparams["branches"][name].get(INPUT, keys.IMAGE))


def _reason_of_change(datamodule: FibrosisDataModule, modality: str) -> str | None:
    """Return why the pixels of a sample differ between epochs; None if they do not."""
    if modality == keys.CLIP:
        return "other frames of its clips are drawn in every epoch"
    return "its images are augmented" if datamodule.transforms else None


@dataclass
class Extraction:
    """One frozen branch, and the samples whose features it computes.

    Attributes:
        name: Name of the branch.
        module: The module with the branch.
        datamodule: The datamodule with the samples.
        root: Folder of the feature matrices.
        fabric: Lightning Fabric on which the branch runs.
        precision: Precision of the fabric, as Lightning names it.
    """

    name: str
    module: TrainedModule
    datamodule: FibrosisDataModule
    root: Path
    fabric: L.Fabric
    precision: str

    def table(self, views: int) -> FeatureTable:
        """Return features of all samples and, under augmentation, of `views` views of training samples."""
        digests = self.datamodule.digests(self.input).astype(str)
        contents, first, places = np.unique(digests, return_index=True, return_inverse=True)
        absent = int(contents[0] == "")  # samples without the modality have an empty digest, sorted first
        places = places - absent  # their place becomes ABSENT (-1)
        clean = self._matrix(first[absent:], digests)
        train = self.datamodule.data.split.rows(keys.TRAIN)
        train = train[places[train] != ABSENT]
        view_places = np.full_like(places, ABSENT)
        view_places[train] = np.arange(len(train))
        epochs = range(views if _reason_of_change(self.datamodule, self.input) else 0)
        drawn = tuple(self._matrix(train, digests, epoch) for epoch in epochs)
        return FeatureTable(self.branch.num_features, clean, places, drawn, view_places)

    def _matrix(self, rows: np.ndarray, digests: np.ndarray, epoch: int | None = None) -> Path:
        """Return the features of some samples, (n, F), unaugmented or as augmented in an epoch."""
        about = self.about | {"samples": len(rows), "contents": _hash(digests[rows])}
        task = f"Features of branch {self.name}"
        if epoch is not None:
            about |= _view_settings(self.datamodule, rows, epoch)
            task += f", view {epoch + 1}"
        if this_rank()[1] > 1:
            return self._in_parts(about, rows, epoch, task)
        run = partial(self.run, rows, epoch, task)
        return stored(self.root, about, (len(rows), self.branch.num_features), run)

    def _in_parts(self, about: dict[str, Any], rows: np.ndarray, epoch: int | None, task: str) -> Path:
        """Return such features; each rank computes a part of the samples, and rank zero joins the parts."""
        (rank, number), folder = this_rank(), place(self.root, about)
        known, parts = [rank == 0 and is_unchanged(folder)], [Path()] * number
        distributed.broadcast_object_list(known)
        if not known[0]:
            own, features = np.array_split(rows, number)[rank], self.branch.num_features
            run = partial(self.run, own, epoch, task)
            part = stored(self.root, about | {"part": [rank, number]}, (len(own), features), run)
            distributed.all_gather_object(parts, part)
            if rank == 0:
                joined = chain.from_iterable(blocks(each, features) for each in parts)
                stored(self.root, about, (len(rows), features), lambda: joined)
                for each in parts:
                    shutil.rmtree(each, ignore_errors=True)
            distributed.barrier()
        return folder

    @property
    def branch(self) -> Any:
        """The branch."""
        return self.module.network.branches[self.name]

    @property
    def input(self) -> str:
        """The modality that the branch takes."""
        return _input_of(self.module, self.name)

    @cached_property
    def about(self) -> dict[str, Any]:
        """All settings that determine the features of given pixels."""
        hparams = self.module.hparams
        branch = hparams["branches"][self.name]
        settings = {key: value for key, value in branch.items() if key not in INITIAL_WEIGHTS}
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
        """Yield the features batch by batch, float32 (b, F)."""
        # A copy is moved to the device, so that the module itself is unchanged.
        network = self.fabric.setup_module(copy.deepcopy(self.branch).eval())
        loader = _loader(self.datamodule, self.input, rows, epoch)
        shown = this_rank()[0] == 0
        for batch in track(loader, len(loader), f"{task}, batches") if shown else loader:
            with torch.inference_mode():
                features = network(self.fabric.to_device(batch[self.input]))
            yield features.float().cpu().numpy()


def _loader(datamodule: FibrosisDataModule, modality: str, rows: np.ndarray, epoch: int | None) -> DataLoader:
    """Return a loader of one modality of some samples in order, unaugmented or as in a training epoch."""
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
        batch_size=datamodule.batch_size // this_rank()[1],  # memory that suffices for training suffices here
        sampler=draws,
        **loader_processes(datamodule.num_workers if transforms else 0),  # plain reading is faster alone
        generator=torch.Generator(),  # separate, so that the training's random numbers do not change
    )


def _view_settings(datamodule: FibrosisDataModule, rows: np.ndarray, epoch: int) -> dict[str, Any]:
    """Return everything that a view depends on besides the content of its samples."""
    return {
        "transforms": [dict(transform) for transform in datamodule.transforms],
        "albumentations": version("albumentations"),
        "sample_ids": _hash(datamodule.data.manifest.table[keys.SAMPLE_ID].iloc[rows]),
        "seed": datamodule.seed,
        "epoch": epoch,
    }


def _fabric(accelerator: str, precision: Any) -> L.Fabric:
    gpu = ranks.device()
    with trainer_config_errors():
        return L.Fabric(
            accelerator=accelerator,
            devices=1 if gpu is None else [gpu],
            precision=precision,
            plugins=[LightningEnvironment()],  # one device, also in a job of Slurm
        )


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _state_hash(branch: nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers, including those that checkpoints leave out."""
    digest = hashlib.sha256()
    for name, value in (*branch.named_parameters(), *branch.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
