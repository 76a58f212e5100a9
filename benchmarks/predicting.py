"""Prediction from files against reading and preprocessing the same files, and memory for 4 times as many.

    python -m benchmarks.predicting
    python -m benchmarks.predicting --files 64 --width 96 --height 64 --epochs 1

A small network is trained on phantoms. `predict` then stages files of noise in the size of a scan, and the
same files are surveyed and preprocessed alone, in the same parts: the limit of the data path. Prints files a
second of both, their ratio (aim 0.9), the same with the network's own forward passes beside the data path,
which no command can avoid on a CPU, and the memory of a process after N and after 4 N files.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from fibrolab.analyses import predicting
from fibrolab.config import VERSION_BASE, folder
from fibrolab.data.progress import within_one
from fibrolab.pipeline import train
from fibrolab.runs import new_input, open_run, sample_answers

KIB_PER_MIB = 1024


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


def seconds_of_data(run_folder: Path, place: Path) -> tuple[float, float]:
    """Return the time to survey and preprocess the files, part by part, and of the forward passes [s]."""
    network = open_run(run_folder).predictors[0]
    manifest = new_input.listed([place], network.record, network.module.inputs)
    of_data = of_network = 0.0
    for start in range(0, len(manifest), predicting.PART):
        part = sample_answers.of_rows(manifest, np.arange(start, min(start + predicting.PART, len(manifest))))
        with tempfile.TemporaryDirectory() as cache, within_one():
            started = time.perf_counter()
            data, _ = new_input.unlabelled(part, network.classes)
            assert data is not None, "all files are whole"
            datamodule = network.datamodule(data, Path(cache), lasting=False)
            datamodule.prepare_data()
            of_data += time.perf_counter() - started
            for batch in datamodule.test_dataloader():
                started = time.perf_counter()
                with torch.inference_mode():
                    network.module(batch)
                of_network += time.perf_counter() - started
    return of_data, of_network


def seconds_of_prediction(root: Path, run: str, place: Path) -> float:
    """Return the time of the command, without imports [s]."""
    words = (f"paths.root={root}", f"run={run}", f"input={place}", f"folder={root / f'of {place.name}'}")
    config = composed("predict", *words)
    started = time.perf_counter()
    predicting.predict(config)
    return time.perf_counter() - started


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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        settings = ["data.patients=60", "data.images_per_patient=1", f"trainer.max_epochs={given.epochs}"]
        small = ["trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=20"]
        trained = train(composed("train", f"paths.root={root}", *settings, *small))
        for name, number in (("files", given.files), ("more", 4 * given.files)):
            write_files(root / name, number, given.height, given.width)
        of_data, of_network = seconds_of_data(trained.folder, root / "files")
        whole = seconds_of_prediction(root, trained.id, root / "files")
        before = peak()
        seconds_of_prediction(root, trained.id, root / "more")
        print(f"{given.files} files of {given.width} x {given.height} pixels")
        print(f"survey and preprocessing: {given.files / of_data:7.1f} files/s")
        print(f"predict:                  {given.files / whole:7.1f} files/s")
        print(f"forward passes:           {given.files / of_network:7.1f} files/s")
        both = of_data + of_network
        print(f"ratio: {of_data / whole:.2f} (aim 0.9), with the forward passes {both / whole:.2f}")
        print(f"peak memory: {before:.0f} MiB after {given.files}, {peak():.0f} MiB after 4 times as many")


if __name__ == "__main__":
    main()
