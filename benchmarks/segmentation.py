"""Training of a segmenter by the Lightning Trainer, against a plain loop over the same steps.

    python -m benchmarks.segmentation                                  # a CPU, small
    python -m benchmarks.segmentation --size 224 --images 256          # larger images

Both train the same network on the same batches in memory, in turns; the first epoch of each is a warm-up. The
ratio of images a second shows what the module, its metrics and the trainer cost.
"""

import argparse
import logging
import statistics
import time

import lightning as L
import torch
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.modules.base import Batch
from fibrolab.modules.segmenter import Segmenter


class Clock(L.Callback):
    """The seconds of each training epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self._start)


def segmenter(size: int) -> Segmenter:
    """Build the Attention U-Net of `conf/model/attention_unet.yaml`."""
    torch.manual_seed(0)
    return Segmenter(
        network={"name": "attention_unet", "channels": [16, 32, 64, 128]},
        levels=None,
        ignore=255,
        classes=["background", "foreground"],
        image_size=size,
        loss={"name": "dice_cross_entropy"},
        optimizer={"name": "AdamW", "lr": 1e-3},
        scheduler={"name": "constant"},
    )


def batches(images: int, size: int, batch_size: int) -> list[Batch]:
    """Return batches of noise with rectangles as masks."""
    draw = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (images, 1, size, size), dtype=torch.uint8, generator=draw)
    mask = torch.zeros_like(grey)
    mask[:, :, size // 4 : size // 2, size // 4 : size // 2] = 1
    rows = torch.arange(images).split(batch_size)
    return [{keys.IMAGE: grey[each], keys.MASK: mask[each], keys.INDEX: each} for each in rows]


def by_trainer(module: Segmenter, data: list[Batch], epochs: int) -> list[float]:
    """Return the seconds of each epoch of the Lightning Trainer."""
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=[clock], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch_size=None))  # type: ignore[arg-type]
    return clock.seconds


def by_loop(module: Segmenter, data: list[Batch], epochs: int) -> list[float]:
    """Return the seconds of each epoch of a plain loop: forward, loss, backward, step."""
    optimizer = torch.optim.AdamW(module.network.parameters(), lr=1e-3)
    seconds = []
    module.train()
    for _ in range(epochs):
        start = time.perf_counter()
        for batch in data:
            optimizer.zero_grad()
            module.criterion(module(batch), module.targets(batch)).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print images a second of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=128, help="side of the images [px]")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4, help="timed epochs of each, beside the warm-up")
    given = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = batches(given.images, given.size, given.batch_size)
    rates: dict[str, list[float]] = {"trainer": [], "loop": []}
    for _ in range(2):  # in turns, so that a busy moment does not hit one of them alone
        for name, train in (("trainer", by_trainer), ("loop", by_loop)):
            seconds = train(segmenter(given.size), data, 1 + given.epochs)[1:]
            rates[name] += [given.images / each for each in seconds]
    median = {name: statistics.median(each) for name, each in rates.items()}
    for name, rate in median.items():
        print(f"{name:8} {rate:8.1f} images/s")
    print(f"ratio    {median['trainer'] / median['loop']:8.3f}")


if __name__ == "__main__":
    main()
