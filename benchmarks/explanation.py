"""Maps of many images in batches against one at a time, and memory for 4 times as many images.

    python -m benchmarks.explanation
    python -m benchmarks.explanation --backbone resnet18 --size 224 --images 32

Prints images a second of both, their ratio, and the memory of a process after N and after 4 N images. On a
CPU the ratio depends on how much of a pass is the cost of a call: it is large for small networks and images,
and near 1 where a single image already fills all cores.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.explanation.map_batches import Request, explained
from fibrolab.explanation.maps import MapWriter
from fibrolab.explanation.target_scores import Task
from fibrolab.modules.classifiers import SingleClassifier

CLASSES = ["F0", "F1", "F2", "F3", "F4"]
MIB = 2**20


def classifier(backbone: str, size: int) -> SingleClassifier:
    """Return a classifier with random weights."""
    return SingleClassifier(
        branches={"image": {"name": backbone}},
        head={},
        classes=CLASSES,
        class_counts=[1] * len(CLASSES),
        image_size=size,
        loss={"name": "cross_entropy"},
        optimizer={"name": "SGD", "lr": 0.01},
        scheduler={"name": "constant"},
    ).eval()


def batches(number: int, batch_size: int, size: int) -> Iterator[dict[str, Tensor]]:
    """Yield noise in batches."""
    for first in range(0, number, batch_size):
        rows = torch.arange(first, min(first + batch_size, number))
        images = torch.randint(0, 256, (len(rows), 1, size, size), dtype=torch.uint8)
        yield {keys.IMAGE: images, keys.LABEL: torch.zeros_like(rows), keys.INDEX: rows}


def seconds(module: SingleClassifier, method: str, number: int, batch_size: int, size: int) -> float:
    """Return the time to compute and write maps of images [s]."""
    request = Request((method,), ("image",))
    task = Task(module.criterion, CLASSES)
    with tempfile.TemporaryDirectory() as folder, MapWriter(Path(folder), number) as writer:
        started = time.perf_counter()
        for _ in explained([module], [task], batches(number, batch_size, size), request, writer):
            pass
        return time.perf_counter() - started


def main() -> None:
    """Print both speeds and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", default="test_resnet")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--method", default="gradcam")
    given = parser.parse_args()
    module = classifier(given.backbone, given.size)
    run = (module, given.method, given.images)
    seconds(module, given.method, given.batch_size, given.batch_size, given.size)  # warm up
    together = min(seconds(*run, given.batch_size, given.size) for _ in range(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    seconds(module, given.method, 4 * given.images, given.batch_size, given.size)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    alone = min(seconds(*run, 1, given.size) for _ in range(2))
    threads = torch.get_num_threads()
    print(f"{given.method}, {given.backbone}, {given.size} px, {given.images} images, {threads} threads")
    print(f"batches of {given.batch_size}: {given.images / together:8.1f} images/s")
    print(f"one at a time: {given.images / alone:8.1f} images/s")
    print(f"ratio: {alone / together:.1f}")
    print(
        f"peak memory: {before:.0f} MiB after {given.images}, {after:.0f} MiB after {4 * given.images} images"
    )


if __name__ == "__main__":
    main()
