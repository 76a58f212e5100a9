"""Memory of every process with 100,000 images: loader, training, and the preparation of the data.

    python -m benchmarks.memory            # the loader alone, two epochs
    python -m benchmarks.memory --train    # the whole of `fibrolab.training.fitting.fit`, then the loader
    python -m benchmarks.memory --data     # manifest, survey, split and audit, with their seconds

For the first two, a pixel store of as many scans is written directly (64 px; `--size 224` needs 5 GB of disk)
and read through `FibrosisDataModule` with paper 1's augmentation and two workers per loader. The training has
the default network and callbacks and a limited number of steps. For the third, as many PNG files of 32 px are
written and surveyed. Printed are the peak resident memory of each process (`VmHWM`), which counts shared
pages fully, and its largest proportional set size (PSS), in which a page shared by k processes counts 1/k.
The bound is 2 GiB per process. Linux only: it reads /proc.
"""

import argparse
import hashlib
import logging
import os
import tempfile
import time
from contextlib import suppress
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from benchmarks.stages import reading, staged
from fibrolab import keys
from fibrolab.auditing import thumbnails_of
from fibrolab.config import VERSION_BASE, arguments, folder, resolved
from fibrolab.data import splits
from fibrolab.data.audit import audit
from fibrolab.data.cache import PixelStore
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.preprocess import SEGMENTER, Preprocess
from fibrolab.data.survey import survey
from fibrolab.modules.base import TrainedModule
from fibrolab.tracking import track
from fibrolab.training import building, fitting

BOUND = 2 * 2**10  # MiB
CLASSES = ("F0", "F1", "F2", "F3", "F4")


class Watch(Thread):
    """Measures this process and its children several times a second while a `with` block runs.

    Attributes:
        seen: Peak resident memory and largest proportional set size [MiB] by process id.
    """

    def __init__(self, interval: float = 0.25) -> None:
        super().__init__(daemon=True)
        self.seen: dict[int, tuple[float, float]] = {}
        self._interval, self._over = interval, Event()

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Measure until the `with` block ends."""
        while not self._over.wait(self._interval):
            for pid in (os.getpid(), *(child.pid for child in active_children() if child.pid)):
                with suppress(OSError, TypeError):  # the process may have ended
                    peak, pss = reading(pid, "status", "VmHWM"), reading(pid, "smaps_rollup", "Pss")
                    self.seen[pid] = (peak, max(pss, self.seen.get(pid, (0, 0))[1]))

    def report(self) -> None:
        """Print the main process and its workers."""
        for pid, (peak, pss) in self.seen.items():
            name = "main" if pid == os.getpid() else "worker"
            print(f"{name:8} peak {peak:7.0f} MiB   PSS {pss:7.0f} MiB   bound {BOUND} MiB")


def table(count: int) -> pd.DataFrame:
    """Return a table of patients with two visits of two images each; the stage belongs to the visit."""
    number = np.arange(count)
    patients = [f"patient-{i // 4:06}" for i in number]
    visits = [f"visit-{i // 2:06}" for i in number]
    images = [f"{i // 1000:04}/{i:07}.png" for i in number]
    return pd.DataFrame(
        {
            keys.SAMPLE_ID: images, keys.PATIENT_ID: patients, keys.VISIT_ID: visits,
            keys.LABEL: (number // 2 * 7919) % 5, keys.IMAGE: images,
        }
    )  # fmt: skip


def config(root: str, size: int, steps: int) -> DictConfig:
    """Compose the settings of `fibrolab.train`."""
    overrides = [
        f"paths.root={root}", f"preprocess.size={size}", "augment=paper1", "num_workers=2", "batch_size=64",
        "trainer.max_epochs=1", f"+trainer.limit_train_batches={steps}", "trainer.accelerator=cpu",
    ]  # fmt: skip
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        return compose("train", overrides)


def many(settings: DictConfig, count: int) -> LabelledData:
    """Return data whose pixels are already in the store: random bytes, written in blocks of 1,000 scans."""
    store = PixelStore(
        Path(settings.paths.cache) / "pixels", Preprocess(**arguments(settings.preprocess, SEGMENTER))
    )
    store.folder.mkdir(parents=True)
    digests = [hashlib.sha256(str(i).encode()) for i in range(count)]
    generator = np.random.default_rng(0)
    for start in range(0, count, 1000):
        part = [digest.hexdigest() for digest in digests[start : start + 1000]]
        pixels = generator.integers(0, 256, (len(part), 1, *store.shape), np.uint8)
        store.append(list(zip(part, pixels, strict=True)))
    manifest = Manifest(table(count), CLASSES, "many", Path(settings.paths.root))
    facts = {keys.IMAGE: pd.DataFrame({"sha256": [digest.hexdigest() for digest in digests]})}
    return LabelledData(manifest, facts, manifest.labels, list(CLASSES), splits.holdout(manifest))


def train(
    settings: DictConfig, data: LabelledData, module: TrainedModule, datamodule: FibrosisDataModule
) -> None:
    """Fit some steps, then validate and predict all samples, as a run does."""
    tags: dict[str, Any] = {}
    with track(**resolved(settings.tracking), name="memory", tags=tags) as tracked:
        splits.write(data.split, data.manifest, tracked.folder / keys.SPLIT_FILE)  # which checkpoints name
        fitting.fit(settings, module, datamodule, data, tracked)


def passes(datamodule: FibrosisDataModule, epochs: int) -> None:
    """Load the batches of some epochs without using them."""
    datamodule.setup("fit")
    loader = datamodule.train_dataloader()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        start = time.perf_counter()
        seen = sum(len(batch[keys.IMAGE]) for batch in loader)
        print(f"loader, epoch {epoch}: {seen} images, {seen / (time.perf_counter() - start):.0f} a second")


def before_training(root: Path, count: int) -> None:
    """Measure each stage before the training: manifest, survey, splits and audit."""
    rows = table(count)
    write_files(root, rows[keys.IMAGE])
    manifest = staged("manifest", lambda: Manifest(rows, CLASSES, "many", root))
    staged("manifest hash", lambda: manifest.hash)
    staged("survey, cold", lambda: survey(manifest.media(), root / "cache"))
    facts = staged("survey, warm", lambda: survey(manifest.media(), root / "cache"))
    split = staged("holdout split", lambda: splits.holdout(manifest))
    staged("five folds", lambda: splits.kfold(manifest))
    surveys, shown = {keys.IMAGE: facts}, partial(thumbnails_of, manifest, root / "cache")
    staged("audit", lambda: audit(manifest, surveys, split, manifest.labels, CLASSES, shown))


def write_files(root: Path, names: pd.Series) -> None:
    """Write smooth noise as PNG files of 32 x 32 px, all different."""
    generator = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        coarse = generator.integers(0, 256, (8, 8), np.uint8)
        cv2.imwrite(str(root / name), cv2.resize(coarse, (32, 32)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2, help="passes of the loader")
    parser.add_argument("--steps", type=int, default=200, help="training steps")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--train", action="store_true")
    what.add_argument("--data", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as root:
        if options.data:
            return before_training(Path(root), options.images)
        settings = config(root, options.size, options.steps)
        data = many(settings, options.images)
        module = building.build_module(settings, data)
        datamodule = fitting.build_datamodule(settings, data, module)
        with Watch() as watch:
            if options.train:
                train(settings, data, module, datamodule)
            passes(datamodule, options.epochs)
    watch.report()


if __name__ == "__main__":
    main()
