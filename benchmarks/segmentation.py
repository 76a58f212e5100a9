"""Segmenters: speed of their training against a plain loop, and their Dice beside the mean training mask.

    python -m benchmarks.segmentation speed                            # a CPU, small
    python -m benchmarks.segmentation speed --size 224 --images 256    # larger images
    python -m benchmarks.segmentation structures model=unet model=segresnet    # their defaults
    python -m benchmarks.segmentation structures --size 32 --patients 30 model=unet trainer.max_epochs=1

`speed`: the Lightning Trainer and the loop train the same network on the same batches in memory, in turns;
the first epoch of each is a warm-up. The ratio of images a second shows what the module, its metrics and the
trainer cost.

`structures`: `fibrolab.train` trains each network on phantoms with true masks. Printed are, of each
structure, the Dice of the test images, that of the mean training mask, and the difference in the same images
with the 95 % interval of the bootstrap over patients; then the same of all structures together.
"""

import argparse
import logging
import statistics
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import lightning as L
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from torch.utils.data import DataLoader

from fibrolab import keys, pipeline
from fibrolab.config import VERSION_BASE, folder
from fibrolab.evaluation.segmentation import scores
from fibrolab.evaluation.segmentation.images import CLASS, read
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


def speed(given: argparse.Namespace) -> None:
    """Print images a second of both, and their ratio."""
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


def structures(given: argparse.Namespace) -> None:
    """Train each network and print its Dice of each structure beside the baseline."""
    models = [word for word in given.settings if word.startswith("model=")] or ["model=attention_unet"]
    others = [word for word in given.settings if word not in models]
    for model in models:
        with tempfile.TemporaryDirectory() as root:
            start = time.perf_counter()
            table = trained(root, [model, *others], given)
            seconds = time.perf_counter() - start
        images = table.drop_duplicates(keys.SAMPLE_ID)
        tested = images[images[keys.PARTITION] == keys.TEST]
        patients = tested[keys.GROUP_ID].nunique()
        print(f"{model}: {len(tested)} test images of {patients} patients, {seconds:.0f} s")
        scored, gained = scores.score(table), scores.gains(table)
        names = [f"dice_{name}" for name in table[CLASS].unique()]
        for name in [*names, "dice"]:
            row, gain = scored.loc[name], gained.loc[name]
            print(
                f"  {name.removeprefix('dice_').replace('dice', 'all'):10} Dice {row['value']:.3f} "
                f"[{row['low']:.3f}, {row['high']:.3f}]   mean mask {row['baseline']:.3f}   "
                f"difference {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
            )


def trained(root: str, settings: list[str], given: argparse.Namespace) -> pd.DataFrame:
    """Train one network, and return the measures of its images."""
    data = ["data=phantom_masks", f"data.patients={given.patients}", f"data.size={given.size}"]
    with (
        initialize_config_dir(str(folder()), version_base=VERSION_BASE),
        redirect_stdout(StringIO()),  # the output of the run would hide the table
    ):
        pipeline.run(
            compose("train", [*data, f"preprocess.size={given.size}", f"paths.root={root}", *settings])
        )
    (run,) = Path(root).glob(f"mlruns/artifacts/*/artifacts/{keys.MASK_MEASURES_FILE}")
    return read(run)


def main() -> None:
    """Measure speed or quality."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "structures"))
    parser.add_argument("settings", nargs="*", help="of `structures`: networks, and settings of all runs")
    parser.add_argument("--size", type=int, default=64, help="side of the images [px]")
    parser.add_argument("--patients", type=int, default=200, help="of `structures`")
    parser.add_argument("--images", type=int, default=64, help="of `speed`")
    parser.add_argument("--batch-size", type=int, default=8, help="of `speed`")
    parser.add_argument(
        "--epochs", type=int, default=4, help="of `speed`: timed epochs of each, beside the warm-up"
    )
    given = parser.parse_intermixed_args()  # settings may follow an option
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.disable(logging.WARNING)
    {"speed": speed, "structures": structures}[given.what](given)


if __name__ == "__main__":
    main()
