"""Throughput of the loader in its second epoch, 224 px, one worker: from the cache, and without it.

    python -m benchmarks.loader

Four loaders read the same 640 x 480 speckle JPEGs in one run, each with paper 1's augmentation and one
persistent worker. All give the same result: batches of normalised floats with three channels.

- `cache`: fibrolab. Grey bytes from the memory map, augmented as bytes; a batch is scaled, normalised and
  repeated to three channels as a whole, as in the network. (The cache is filled without denoising, to save
  time; this does not affect reading.)
- `denoise`: fibrolab without the cache. A scan is read, denoised, equalised and resized before it is
  augmented.
- `torchvision`: ImageFolder with v2 transforms, as in a tutorial: RGB, resized, augmented, normalised.
- `torchvision, grey`: the same with one channel of bytes and batches as in fibrolab, which is fastest.

The ratios are comparable between machines; the images a second are not.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler

from fibrolab import keys
from fibrolab.data.augment import Augment, augmentation_seed, sample_keys
from fibrolab.data.cache import PixelStore, Slots
from fibrolab.data.datasets import PixelDataset, Pixels
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import whole
from fibrolab.data.preprocess import SEGMENTER, Preprocess
from fibrolab.data.readers import read_image
from fibrolab.data.samplers import EpochSampler

CONF = Path(__file__).parents[1] / "conf"
BATCH = 32
MEAN, SD = 0.45, 0.22  # of all three channels


class UncachedDataset(Dataset[dict[str, Any]]):
    """Reads and preprocesses a file at each access; otherwise as `PixelDataset`."""

    def __init__(self, paths: list[Path], preprocess: Preprocess, augment: Augment) -> None:
        self.paths, self.preprocess, self.augment = paths, preprocess, augment
        self.keys = sample_keys(path.name for path in paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        epoch, index, draw = key
        image = self.preprocess(to_grey(read_image(self.paths[index])))
        image = self.augment(image, augmentation_seed(0, epoch, int(self.keys[index]), draw))
        return {"image": torch.from_numpy(image)[None], "label": 0, "index": index}


def write_scans(folder: Path, count: int, size: tuple[int, int] = (480, 640)) -> list[Path]:
    """Write grey speckle as JPEGs of a size (H, W), in one folder per class."""
    generator = np.random.default_rng(0)
    paths = [folder / f"F{i % 5}" / f"{i:05}.jpg" for i in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        speckle = cv2.GaussianBlur(generator.rayleigh(60, size), (0, 0), 1.2)
        Image.fromarray(np.clip(speckle, 0, 255).astype(np.uint8)).save(path, quality=92)
    return paths


def image_folder(folder: Path, grey: bool) -> Dataset[Any]:
    """Return torchvision's data set of the same files with the same augmentation; if grey, of bytes."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    bring_to_size = [v2.Grayscale(1 if grey else 3), v2.Resize((224, 224), antialias=True)]
    augment = [v2.RandomHorizontalFlip(), v2.RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1))]
    scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([MEAN] * 3, [SD] * 3)]
    steps = v2.Compose([v2.ToImage(), *bring_to_size, *augment, *([] if grey else scale)])
    return ImageFolder(str(folder), transform=steps)


def second_epoch(dataset: Dataset[Any], sampler: Any) -> float:
    """Return the images a second of the second epoch, with one persistent worker."""
    loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=1, persistent_workers=True)
    count_images(loader)
    start = time.perf_counter()
    count = count_images(loader)
    return count / (time.perf_counter() - start)


def count_images(loader: Iterable[Any]) -> int:
    return sum(len(ready(batch["image"] if isinstance(batch, dict) else batch[0])) for batch in loader)


def ready(images: torch.Tensor) -> torch.Tensor:
    """Convert a batch of grey bytes (B, 1, H, W) to normalised floats (B, 3, H, W); others are unchanged."""
    if images.dtype == torch.uint8:
        images = images.float().div_(255).sub_(MEAN).div_(SD).expand(-1, 3, -1, -1).contiguous()
    return images


def cached(paths: list[Path], root: Path, augment: Augment, times: int) -> PixelDataset:
    """Return a data set of the files from the pixel store, repeated: a fast loader needs a long epoch."""
    store = PixelStore(root, Preprocess(size=224))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    slots = Slots(*(np.tile(places, times) for places in store.build(whole(paths), digests)))
    count = len(slots.first)
    inputs = {keys.IMAGE: Pixels(store.pixels_path, store.shape, slots)}
    ids = sample_keys(str(i) for i in range(count))
    return PixelDataset(inputs, np.zeros(count, np.int64), np.arange(count), ids, augment)


def main() -> None:
    """Time the four and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--denoised", type=int, default=16, help="files of the slow loader")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = yaml.safe_load((CONF / "preprocess" / "paper1.yaml").read_text())
    preprocess = Preprocess(
        **{name: value for name, value in settings.items() if name not in ("name", SEGMENTER)}
    )
    augment = Augment(yaml.safe_load((CONF / "augment" / "paper1.yaml").read_text())["transforms"])

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scans"
        paths = write_scans(folder, options.files)
        ours = cached(paths, Path(temporary) / "cache", augment, times=-(-8192 // len(paths)))
        slow = UncachedDataset(paths[: options.denoised], preprocess, augment)
        speeds = {
            "cache": second_epoch(ours, EpochSampler(len(ours), seed=0)),
            "denoise": second_epoch(slow, EpochSampler(len(slow), seed=0)),
        }
        for name, grey in (("torchvision", False), ("torchvision, grey", True)):
            dataset = image_folder(folder, grey)
            speeds[name] = second_epoch(dataset, RandomSampler(dataset))  # type: ignore[arg-type]
    for name, speed in speeds.items():
        print(f"{name:18} {speed:8.1f} images/s   cache is {speeds['cache'] / speed:6.1f}x")


if __name__ == "__main__":
    main()
