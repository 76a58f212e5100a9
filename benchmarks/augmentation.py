"""Augmentation at 224 px: image by image in a loader's worker, against whole batches on the device.

    python -m benchmarks.augmentation

Printed for each file of conf/augment, in images a second: `Augment` on one core, as in a worker;
`BatchAugment` on one core; its random draws alone, which are made on the CPU even if the pixels are on a GPU
and therefore limit the rate; and, where there is a GPU, `BatchAugment` on it.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from fibrolab.data.augment import Augment
from fibrolab.data.augment_batches import BatchAugment

CONF = Path(__file__).parents[1] / "conf" / "augment"


def speckle(count: int, size: int) -> np.ndarray:
    """Return blurred grey noise, as in ultrasound, uint8 (count, size, size)."""
    generator = np.random.default_rng(0)
    fields = generator.rayleigh(60, (count, size, size))
    return np.stack([np.clip(cv2.GaussianBlur(each, (0, 0), 1.2), 0, 255) for each in fields]).astype(
        np.uint8
    )


def rate(work: Callable[[], object], images: int, repeats: int) -> float:
    """Return the images a second, the median of some repeats after a warm-up."""
    seconds = []
    for _ in range(repeats + 1):
        _wait()
        start = time.perf_counter()
        work()
        _wait()
        seconds.append(time.perf_counter() - start)
    return images / float(np.median(seconds[1:]))


def _wait() -> None:
    """Wait until the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rates(transforms: list[dict[str, Any]], pictures: np.ndarray, repeats: int) -> list[float]:
    """Measure a worker, whole batches on the CPU, their random draws alone, and whole batches on a GPU."""
    single, whole = Augment(transforms), BatchAugment(transforms)
    images, seeds = torch.from_numpy(pictures)[:, None], torch.arange(len(pictures))
    height, width = images.shape[-2:]

    works: list[Callable[[], object]] = [
        lambda: [single(picture, seed) for seed, picture in enumerate(pictures)],
        lambda: whole(images, seeds),
        lambda: [whole.parameters(seed, (height, width)) for seed in seeds.tolist()],
    ]
    if torch.cuda.is_available():
        there = images.cuda()
        works.append(lambda: whole(there, seeds))
    return [rate(work, len(images), repeats) for work in works]


def main() -> None:
    """Time each file and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = speckle(options.batch_size, options.size)
    print("images/s      worker   batches     draws       GPU")
    for path in sorted(set(CONF.glob("*.yaml")) - {CONF / "none.yaml"}):
        measured = rates(yaml.safe_load(path.read_text())["transforms"], pictures, options.repeats)
        figures = [f"{figure:.0f}" for figure in measured] + ["none"] * (4 - len(measured))
        print(f"{path.stem:<10}" + "".join(f"{figure:>10}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
