"""Training from the pixel cache with augmentation, against the same training from the device's memory.

    python -m benchmarks.feeding                                        # a CPU, small
    python -m benchmarks.feeding --image-size 224 --batch-size 128 --patients 1024 --backbone resnet50 \
        --set trainer.precision=bf16-mixed channels_last=true augment=paper2 augment_on=device     # a GPU

Each epoch is trained twice by the Lightning Trainer with the run's settings: once end to end (pixels from the
memory map, augmentation, workers, transfer), once with batches that are already on the device. The ratio of
images a second shows whether loading keeps up with the network. The first epoch is a warm-up. On a GPU the
peak memory of the device is printed too.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.config import VERSION_BASE, folder, resolved
from fibrolab.data import splits
from fibrolab.loading import load
from fibrolab.modules.base import Batch
from fibrolab.tracking import track
from fibrolab.training import building, fitting


class Twice:
    """The batches of an epoch from the loader, then as many from memory.

    Attributes:
        loaded: Images a second from the loader, an epoch each.
        resident: Images a second from memory, an epoch each.
    """

    def __init__(self, loader: Any, resident: list[Batch], steps: int) -> None:
        self._loader, self._resident, self._steps = loader, resident, steps
        self.sampler = loader.sampler  # whose epoch Lightning sets
        self.loaded: list[float] = []
        self.resident: list[float] = []

    def __len__(self) -> int:
        return 2 * self._steps

    def __iter__(self) -> Iterator[Batch]:
        whole = (batch for batch in self._loader if _size(batch) == _size(self._resident[0]))
        yield from self._timed(whole, self.loaded)
        yield from self._timed(cycle(self._resident), self.resident)

    def _timed(self, batches: Iterator[Batch], rates: list[float]) -> Iterator[Batch]:
        _wait()
        start, images = time.perf_counter(), 0
        for step, batch in enumerate(islice(batches, self._steps), start=1):
            if step == self._steps:  # nothing is requested after the last batch of an epoch
                _wait()
                rates.append(images / (time.perf_counter() - start))
            yield batch
            images += _size(batch)


def _size(batch: Batch) -> int:
    return len(batch[keys.LABEL])


def _wait() -> None:
    """Wait until the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def config(options: argparse.Namespace, root: str) -> DictConfig:
    """Compose the settings of `fibrolab.train`, with as many epochs as are measured."""
    overrides = [
        f"paths.root={root}", f"data.patients={options.patients}", "data.images_per_patient=4",
        f"data.size={options.image_size}", f"backbone@model.branches.image={options.backbone}",
        f"batch_size={options.batch_size}", "callbacks.early_stopping=null", "scheduler=constant",
        "pretrained=false", f"trainer.max_epochs={options.epochs + 1}", *options.overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        return compose("train", overrides)


def measure(settings: DictConfig) -> Twice:
    """Fit as the pipeline does, each epoch from the loader and from memory."""
    with track(**resolved(settings.tracking), name="feeding", tags={}) as tracked:
        data = load(settings)
        module = building.build_module(settings, data)
        datamodule = fitting.build_datamodule(settings, data, module)
        datamodule.prepare_data()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        loader = datamodule.train_dataloader()
        whole = [batch for batch in loader if _size(batch) == settings.batch_size]
        ready = [
            {name: value.to(device) for name, value in batch.items() if name != keys.SEED}
            for batch in whole[:8]
        ]
        twice = Twice(loader, ready, len(whole))
        datamodule.train_dataloader = lambda: twice  # type: ignore[method-assign,assignment,return-value]
        splits.write(data.split, data.manifest, tracked.folder / keys.SPLIT_FILE)  # which checkpoints name
        fitting.fit(settings, module, datamodule, data, tracked)
    return twice


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet18", help="a file of conf/backbone")
    parser.add_argument("--patients", type=int, default=80, help="drawn once, of four images each")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], help="further settings")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as root:
        measured = measure(config(options, root))
    loaded, resident = np.array(measured.loaded[1:]), np.array(measured.resident[1:])
    print(f"from the cache, augmented  {np.median(loaded):8.1f} images/s")
    print(f"from the device's memory   {np.median(resident):8.1f} images/s")
    print(f"ratio                      {np.median(loaded / resident):8.3f}")
    if torch.cuda.is_available():
        print(f"peak memory of the device  {torch.cuda.max_memory_allocated() / 2**20:8.0f} MiB")


if __name__ == "__main__":
    main()
