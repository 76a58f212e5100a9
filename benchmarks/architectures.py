"""Images a second of every architecture in training and inference, against bare networks in a plain loop.

    python -m benchmarks.architectures [single hybrid multimodal r3d_18 lstm] [--image-size 64]
    python -m benchmarks.architectures single --set channels_last=true

`fibrolab` is the training of `fibrolab.train`: batches of bytes, scaled and repeated to three channels in the
network, the Lightning Trainer with the default config, all its callbacks, and the curves in an MLflow
database. The bare networks are those of timm and torchvision with one dense layer, in the shortest loop that
trains (forward, loss, backward, step) or infers; their batches are in memory as scaled floats of three
channels, so that they do no scaling. Both have the same architecture, batches in memory, loss, optimizer and
threads.

The two alternate epoch by epoch. An epoch is timed from the request of its first batch to the end of its last
step; the first epoch of each is a warm-up. Medians over the other epochs are printed, and as ratio the median
over pairs of adjacent epochs. Validation and checkpoints, which a plain loop would also need, are not timed.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import lightning as L
import numpy as np
import timm
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn
from torchvision.models.video import r3d_18

from fibrolab import keys
from fibrolab.config import VERSION_BASE, folder, resolved
from fibrolab.data import splits
from fibrolab.loading import load
from fibrolab.modules.base import Batch, TrainedModule
from fibrolab.tracking import track
from fibrolab.training import building, fitting

CLASSES = 5
IMAGES = 4  # per patient; with as many patients as a batch has images there are two or more training batches


class Bare(nn.Module):
    """Networks of other libraries, side by side, and one dense layer on their joined features."""

    def __init__(self, *networks: tuple[str, nn.Module, int]) -> None:
        super().__init__()
        self.inputs = [name for name, _, _ in networks]
        self.networks = nn.ModuleList(network for _, network, _ in networks)
        self.classifier = nn.Linear(sum(width for _, _, width in networks), CLASSES)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, K)."""
        features = [network(batch[name]) for name, network in zip(self.inputs, self.networks, strict=True)]
        return self.classifier(torch.cat(features, dim=1))


class BareLSTM(nn.Module):
    """A network of timm on every frame, and torch's LSTM on its features."""

    def __init__(self, network: nn.Module, width: int, units: int) -> None:
        super().__init__()
        self.network, self.lstm = network, nn.LSTM(width, units, batch_first=True)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the last hidden state (B, units) of clips (B, 3, T, H, W)."""
        frames = clips.transpose(1, 2)  # (B, T, 3, H, W)
        features = self.network(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # (B, T, F)
        return self.lstm(features)[1][0][-1]


def _timm(name: str, key: str = keys.IMAGE) -> tuple[str, nn.Module, int]:
    network = timm.create_model(name, num_classes=0)
    return key, network, int(getattr(network, "head_hidden_size", 0) or network.num_features)  # type: ignore[arg-type]


def _r3d() -> tuple[str, nn.Module, int]:
    network = r3d_18(weights=None)
    network.fc = nn.Identity()
    return keys.CLIP, network, 512


@dataclass(frozen=True)
class Architecture:
    """Settings of fibrolab, and the bare networks of the same architecture."""

    overrides: list[str]
    bare: Callable[[], nn.Module]
    data: list[str] = field(default_factory=lambda: ["data=phantom"])


CLIPS = ["data=phantom_clips", "data.frames=16", "segment.length=8"]
ARCHITECTURES = {
    "single": Architecture(
        ["backbone@model.branches.image=resnet18"],
        lambda: Bare(_timm("resnet18")),
    ),
    "hybrid": Architecture(
        ["model=hybrid", "head@model.head=linear"],
        lambda: Bare(_timm("resnet50"), _timm("vgg16")),
    ),
    "multimodal": Architecture(
        [
            "model=multimodal",
            "backbone@model.branches.grey=resnet18",
            "backbone@model.branches.elastogram=resnet18",
        ],
        lambda: Bare(_timm("resnet18"), _timm("resnet18", keys.ELASTOGRAM)),
        ["data=phantom_swe"],
    ),
    "r3d_18": Architecture(
        ["model=video", "backbone@model.branches.clip=r3d_18", "frames@model.branches.clip.frames=none"],
        lambda: Bare(_r3d()),
        CLIPS,
    ),
    "lstm": Architecture(
        ["model=video", "backbone@model.branches.clip=resnet18", "frames@model.branches.clip.frames=lstm"],
        lambda: Bare((keys.CLIP, BareLSTM(_timm("resnet18")[1], 512, 256), 256)),
        CLIPS,
    ),
}


class PlainLoop:
    """The shortest loop that trains or infers."""

    def __init__(self, network: nn.Module, batches: list[Batch], learning: dict[str, Any] | None) -> None:
        self.network = network.train(learning is not None)
        self.batches = [_floats(batch) for batch in batches]
        self.optimizer = learning and torch.optim.AdamW(network.parameters(), **learning)

    def epoch(self) -> None:
        """Take one step for each batch."""
        with torch.set_grad_enabled(self.optimizer is not None):
            for batch in self.batches:
                logits = self.network(batch)
                if self.optimizer:
                    loss = nn.functional.cross_entropy(logits, batch[keys.LABEL])
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()


class Alternating:
    """The batches that Lightning iterates over; before each epoch the plain loop runs one of its own.

    Attributes:
        plain: Duration of each epoch of the plain loop [s].
        ours: Duration of each epoch of fibrolab [s].
    """

    def __init__(self, batches: list[Batch], loop: PlainLoop) -> None:
        self._batches, self._loop = batches, loop
        self._steps, self._start = 0, 0.0
        self.plain: list[float] = []
        self.ours: list[float] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        start = time.perf_counter()
        with as_torch_starts():
            self._loop.epoch()
        self._start = time.perf_counter()
        self.plain.append(self._start - start)
        yield from self._batches

    def step_ended(self, *_: Any) -> None:
        """Record the end of an epoch of fibrolab; called by Lightning after each step of the module."""
        self._steps += 1
        if self._steps % len(self) == 0:
            self.ours.append(time.perf_counter() - self._start)

    def report(self, name: str, batch_size: int) -> None:
        """Print the images a second of both, and their ratio."""
        plain, ours = np.array(self.plain[1:]), np.array(self.ours[1:])
        images = batch_size * len(self)
        print(
            f"{name:24} bare {images / np.median(plain):8.1f}/s   fibrolab "
            f"{images / np.median(ours):8.1f}/s   ratio {np.median(plain / ours):.3f} "
            f"({(plain / ours).min():.3f} to {(plain / ours).max():.3f})",
            flush=True,
        )


@contextmanager
def as_torch_starts() -> Iterator[None]:
    """Switch off the Trainer's `deterministic` for a while, as in a plain loop."""
    mode, warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warn)


def _floats(batch: Batch) -> Batch:
    """Return the inputs of a bare network: scaled, with three channels, in memory."""
    scaled = {}
    for name, value in batch.items():
        if value.dtype == torch.uint8:
            value = value.float().div_(127.5).sub_(1)
            value = value if value.shape[1] == 3 else value.repeat_interleave(3, dim=1)
        scaled[name] = value
    return scaled


def config(architecture: Architecture, options: argparse.Namespace, root: str) -> DictConfig:
    """Compose the settings of `fibrolab.train`, with the loss and schedule of the plain loop."""
    overrides = [
        *architecture.data, *architecture.overrides, f"paths.root={root}",
        f"data.patients={max(20, options.batch_size)}", f"data.images_per_patient={IMAGES}",
        f"preprocess.size={options.image_size}", "model.head.dropout=0", "loss=cross_entropy",
        "scheduler=constant", "augment=none", "pretrained=false", "callbacks.early_stopping=null",
        f"batch_size={options.batch_size}", "num_workers=0", "trainer.accelerator=cpu",
        f"trainer.max_epochs={options.epochs + 1}", *options.overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        return compose("train", overrides)


def measure(
    architecture: Architecture, settings: DictConfig, options: argparse.Namespace
) -> tuple[Alternating, Alternating]:
    """Fit and predict as the pipeline does, on batches from memory."""
    tags: dict[str, Any] = {}
    with track(**resolved(settings.tracking), name="speed", tags=tags) as tracked:
        data = load(settings)
        module = building.build_module(settings, data)
        datamodule = fitting.build_datamodule(settings, data, module)
        datamodule.prepare_data()
        whole = [
            batch for batch in datamodule.train_dataloader() if len(batch[keys.LABEL]) == settings.batch_size
        ]
        batches = list(islice(cycle(whole), options.steps))
        learning = {key: settings.optimizer[key] for key in ("lr", "weight_decay")}
        bare = architecture.bare()
        _same_size(module, bare)
        training = Alternating(batches, PlainLoop(bare, batches, learning))
        datamodule.train_dataloader = lambda: training  # type: ignore[method-assign,assignment,return-value]
        module.on_train_batch_end = training.step_ended  # type: ignore[method-assign,assignment]
        splits.write(data.split, data.manifest, tracked.folder / keys.SPLIT_FILE)  # which checkpoints name
        fitting.fit(settings, module, datamodule, data, tracked)
        inference = Alternating(batches, PlainLoop(bare, batches, None))
        module.on_predict_batch_end = inference.step_ended  # type: ignore[method-assign,assignment]
        trainer = L.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tracked.folder
        )
        for _ in range(options.epochs + 1):
            trainer.predict(module, dataloaders=inference, return_predictions=False)
    return training, inference


def _same_size(module: TrainedModule, bare: nn.Module) -> None:
    """Exit unless both have the same number of weights."""
    ours, theirs = (
        sum(parameter.numel() for parameter in network.parameters()) for network in (module.network, bare)
    )
    if ours != theirs:
        raise SystemExit(f"The networks differ: {ours:,} weights in fibrolab's, {theirs:,} in the bare one.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(ARCHITECTURES)}; default: all")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=16, help="steps of an epoch")
    parser.add_argument("--epochs", type=int, default=6, help="timed epochs of each loop")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads; default: 1")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], help="further settings of fibrolab")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    print(f"{options.image_size} px, batches of {options.batch_size}, {options.threads} thread(s)")
    for name in options.names or ARCHITECTURES:
        architecture = ARCHITECTURES[name]
        with tempfile.TemporaryDirectory() as root:
            training, inference = measure(architecture, config(architecture, options, root), options)
        training.report(f"{name}, training", options.batch_size)
        inference.report(f"{name}, inference", options.batch_size)


if __name__ == "__main__":
    main()
