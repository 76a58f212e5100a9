"""Our training step against the same network in a plain PyTorch loop, on the CPU.

    python -m benchmarks.training_step [--backbone resnet18] [--image-size 128] [--batch-size 32]

Ours is `fibrolab.fitting.fit` as `fibrolab.train` calls it: the Lightning Trainer with the default config,
all its callbacks and the curves in an MLflow database. The plain loop is the shortest that trains: forward,
loss, backward, step, with the gradients dropped where Lightning drops them, which is the fastest place. Both
start from the same weights and take the same batches, from memory, with the same loss, optimizer and threads;
the two alternate epoch by epoch, and before each their weights must be equal bit by bit.

A step lasts from one batch being asked for to the next. The first epoch of each warms up, and so does the
first step of an epoch; of the others the medians count, and the ratio is the median over pairs of adjacent
epochs. Validation and checkpoints, which a plain loop would need as well, are not timed.
"""

import argparse
import copy
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fibrolab import fitting, keys, pipeline
from fibrolab.config import VERSION_BASE, folder, resolved
from fibrolab.loading import load
from fibrolab.modules.base import Batch, Classifier
from fibrolab.modules.optimizers import build_optimizer
from fibrolab.tracking import track

IMAGES = 4  # of a patient; as many patients as a batch has images then make at least two batches for training


class PlainLoop:
    """A twin of a module's network, trained by hand."""

    def __init__(self, module: Classifier) -> None:
        self.network, self.criterion = copy.deepcopy(module.network), copy.deepcopy(module.criterion)
        self.optimizer = build_optimizer(self.network.parameters(), module.hparams["optimizer"])

    def epoch(self, batches: Iterator[Batch]) -> None:
        """One step a batch."""
        self.network.train()
        for batch in batches:
            loss = self.criterion(self.network(batch), batch[keys.LABEL])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


class Alternating:
    """The batches that Lightning iterates over; each time the plain loop takes them first.

    Attributes:
        plain: Duration of a step of the plain loop, an epoch each [s].
        ours: Duration of a step of ours, an epoch each [s].
    """

    def __init__(self, batches: list[Batch], module: Classifier) -> None:
        self._batches, self._module = batches, module
        self._loop = PlainLoop(module)
        self.plain: list[float] = []
        self.ours: list[float] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        self._check()
        with as_torch_starts():
            self._loop.epoch(self._timed(self.plain))
        yield from self._timed(self.ours)

    def _check(self) -> None:
        """Make sure that the two networks are one."""
        twin = self._loop.network.state_dict()
        apart = [
            name for name, value in self._module.network.state_dict().items() if not value.equal(twin[name])
        ]
        if apart:
            raise SystemExit(f"The two loops trained different networks: {', '.join(apart[:5])} differ.")

    def _timed(self, durations: list[float]) -> Iterator[Batch]:
        """The batches; between the second and the last being asked for lie all steps but two."""
        yield self._batches[0]  # after a validation or the other loop, the caches are cold
        start = time.perf_counter()
        yield from self._batches[1:-1]
        durations.append((time.perf_counter() - start) / (len(self) - 2))
        yield self._batches[-1]


@contextmanager
def as_torch_starts() -> Iterator[None]:
    """Undo the Trainer's `deterministic` for a while: nobody's plain loop has it."""
    mode, warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warn)


def config(options: argparse.Namespace, root: str) -> DictConfig:
    """What `fibrolab.train` would compose; without dropout and schedule, which would part the two loops."""
    overrides = [
        f"paths.root={root}", f"data.patients={max(20, options.batch_size)}",
        f"data.images_per_patient={IMAGES}", f"data.size={options.image_size}",
        f"backbone@model.branches.image={options.backbone}",
        "model.head.dropout=0", "scheduler=constant", "augment=none", "callbacks.early_stopping=null",
        f"batch_size={options.batch_size}", "num_workers=0", "trainer.accelerator=cpu",
        f"trainer.max_epochs={options.epochs + 1}", *options.overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        return compose("train", overrides)


def measure(settings: DictConfig, steps: int) -> Alternating:
    """Fit as the pipeline does, over batches from memory."""
    tags: dict[str, Any] = {}
    with track(**resolved(settings.tracking), name="training step", tags=tags) as tracked:
        data = load(settings)
        module = fitting.build_module(settings, data)
        datamodule = pipeline.build_datamodule(settings, data, module.inputs)
        datamodule.prepare_data()
        whole = [
            batch for batch in datamodule.train_dataloader() if len(batch[keys.LABEL]) == settings.batch_size
        ]
        alternating = Alternating(list(islice(cycle(whole), steps + 2)), module)
        datamodule.train_dataloader = lambda: alternating  # type: ignore[method-assign,assignment,return-value]
        fitting.fit(settings, module, datamodule, data, tracked)
    return alternating


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="further settings, such as trainer.deterministic=false")
    parser.add_argument("--backbone", default="resnet18", help="a file of conf/backbone")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of an epoch")
    parser.add_argument("--epochs", type=int, default=11, help="timed epochs of each loop")
    parser.add_argument("--threads", type=int, default=1, help="two loops on busy cores wait for each other")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as root:
        measured = measure(config(options, root), options.steps)
    plain, ours = (1000 * np.array(steps[1:]) for steps in (measured.plain, measured.ours))
    print(
        f"{options.backbone}, {options.image_size} px, batches of {options.batch_size}, "
        f"{options.threads} thread(s), median of {len(ours)} epochs of {options.steps} steps"
    )
    for name, steps in (("plain PyTorch", plain), ("fibrolab", ours)):
        print(f"{name:14} {np.median(steps):8.2f} ms a step   ({steps.min():.2f} to {steps.max():.2f})")
    print(f"{'ratio':14} {np.median(ours / plain):8.3f}")


if __name__ == "__main__":
    main()
