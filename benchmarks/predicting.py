"""Prediction from files against reading and preprocessing the same files, and memory for 4 times as many.

    python -m benchmarks.predicting
    python -m benchmarks.predicting model=hybrid preprocess.size=224 pretrained=false
    python -m benchmarks.predicting --files 64 --width 96 --height 64 --epochs 1

A network is trained on phantoms, with the settings that follow the options. `predict` then stages files of
noise in the size of a scan. The limit of the data path is to read, decode and preprocess each file once on
all cores; `predict` also hashes and measures each picture, to tell copies and strangers, and writes tables
and a page. On a CPU, no command can avoid the forward passes, which are measured apart. Prints files a second
and CPU seconds of each, what proportion of the whole the limit is without and with the forward passes, and
the memory of a process after N and after 4 N files.
"""

import argparse
import gc
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from fibrolab.analyses import predicting
from fibrolab.config import VERSION_BASE, folder
from fibrolab.data.readers import read_image
from fibrolab.pipeline import train
from fibrolab.processes import cores, single_threaded_opencv
from fibrolab.runs import open_run

KIB_PER_MIB = 1024
T = TypeVar("T")


def composed(name: str, *words: str) -> DictConfig:
    """Return the config of a command."""
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        return compose(name, list(words))


def write_files(place: Path, number: int, height: int, width: int) -> None:
    """Write PNG files of noise that compresses about as well as speckle."""
    place.mkdir()
    rng = np.random.default_rng(0)
    for row in range(number):
        noise = rng.normal(80, 12, (height, width)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).save(place / f"{row:05}.png", compress_level=1)


class Cost(NamedTuple):
    """Time of a piece of work: by the clock, and of all threads together [s]."""

    clock: float
    cpu: float

    def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
        return Cost(self.clock + other.clock, self.cpu + other.cpu)

    def over(self, whole: "Cost") -> str:
        """Return what proportion of the whole this is."""
        return f"{self.clock / whole.clock:.2f} of its time, {self.cpu / whole.cpu:.2f} of its CPU time"


def cost(work: Callable[[], T]) -> tuple[Cost, T]:
    """Return the cost of a piece of work, and its result."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Cost(time.perf_counter() - clock, time.process_time() - cpu), result


def limits(run_folder: Path, place: Path) -> tuple[Cost, Cost]:
    """Return the cost of reading, decoding and preprocessing each file once, and of the forward passes."""
    network = open_run(run_folder).predictors[0]
    (name, store), *_ = network.stores(place, lasting=False).items()
    files, size = sorted(place.iterdir()), network.batch_size

    def pixels() -> list[np.ndarray]:
        with single_threaded_opencv(), ThreadPoolExecutor(cores()) as pool:
            return list(pool.map(lambda path: store.processed(read_image(path)), files))

    of_data, images = cost(pixels)

    def passes() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), size):
                network.module({name: torch.from_numpy(np.stack(images[start : start + size]))})

    return of_data, cost(passes)[0]


def cost_of_prediction(root: Path, run: str, place: Path) -> Cost:
    """Return the cost of the command, without imports."""
    words = (f"paths.root={root}", f"run={run}", f"input={place}", f"folder={root / f'of {place.name}'}")
    config = composed("predict", *words)
    return cost(lambda: predicting.predict(config))[0]


def peak() -> float:
    """Return the peak memory of this process [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


def main() -> None:
    """Print both speeds and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--height", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=2)
    given, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        settings = ["data.patients=60", "data.images_per_patient=1", f"trainer.max_epochs={given.epochs}"]
        small = ["trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=20", *words]
        trained = train(composed("train", f"paths.root={root}", *settings, *small))
        for name, number in (("files", given.files), ("more", 4 * given.files)):
            write_files(root / name, number, given.height, given.width)
        gc.collect()
        gc.freeze()  # as the command does after its imports: the training's objects are no part of it
        of_data, of_network = limits(trained.folder, root / "files")
        whole = cost_of_prediction(root, trained.id, root / "files")
        before = peak()
        cost_of_prediction(root, trained.id, root / "more")
        print(f"{given.files} files of {given.width} x {given.height} pixels on {cores()} cores")
        named = (("read, decode, preprocess", of_data), ("forward passes", of_network), ("predict", whole))
        for task, each in named:
            print(f"{task + ':':25} {given.files / each.clock:7.1f} files/s, {each.cpu:6.1f} CPU s")
        print(f"reading and preprocessing are {of_data.over(whole)}")
        print(f"with the forward passes they are {(of_data + of_network).over(whole)} (aim 0.9)")
        print(f"peak memory: {before:.0f} MiB after {given.files}, {peak():.0f} MiB after 4 times as many")


if __name__ == "__main__":
    main()
