"""Memory of a training loader on 100,000 images: the main process and two persistent workers.

    python -m benchmarks.memory

A pixel store of that many scans is written directly (64 px; `--size 224` needs 5 GB of disk), shuffled,
augmented as in paper 1 and iterated. Printed for each process: its peak resident memory (`VmHWM`), which
counts every page that it held at once, shared or not; and its proportional share at the end (PSS), where a
page that k processes share counts 1/k. The bound is 2 GiB a process. Linux only: it reads /proc.
"""

import argparse
import os
import re
import tempfile
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.utils.data import DataLoader

from fibrolab.data.augment import Augment, sample_keys
from fibrolab.data.datasets import PixelDataset
from fibrolab.data.samplers import build_sampler

AUGMENT = Path(__file__).parents[1] / "conf" / "augment" / "paper1.yaml"
BOUND = 2 * 2**10  # MiB


def write_store(path: Path, count: int, size: int) -> None:
    """Random bytes in the layout of `pixels.u8`, a thousand scans at a time."""
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, count, 1000):
            file.write(generator.bytes(min(1000, count - start) * size * size))


def dataset(path: Path, count: int, size: int) -> PixelDataset:
    everyone = np.arange(count)
    keys = sample_keys(f"F{i % 5}/patient-{i // 4:06}/image-{i:07}.png" for i in everyone)
    augment = Augment(yaml.safe_load(AUGMENT.read_text())["transforms"])
    return PixelDataset(path, (size, size), everyone, everyone % 5, everyone, keys, augment)


def peak_and_share(pid: int) -> tuple[float, float]:
    """Peak resident memory and proportional share of a process [MiB]."""
    proc = Path("/proc") / str(pid)
    return tuple(  # type: ignore[return-value]
        int(re.search(rf"{field}:\s+(\d+) kB", (proc / file).read_text())[1]) / 2**10  # type: ignore[index]
        for file, field in (("status", "VmHWM"), ("smaps_rollup", "Pss"))
    )


def main() -> None:
    """Iterate, then print each process's memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "pixels.u8"
        write_store(path, options.images, options.size)
        data = dataset(path, options.images, options.size)
        sampler = build_sampler("shuffle", data.labels, seed=0)
        loader = DataLoader(data, 64, sampler=sampler, num_workers=2, persistent_workers=True)
        for epoch in range(options.epochs):
            sampler.set_epoch(epoch)
            seen = sum(len(batch["image"]) for batch in loader)
            print(f"epoch {epoch}: {seen} images of {options.size} px")
        workers = [child.pid for child in active_children() if child.pid]
        memory = {"main": peak_and_share(os.getpid())}
        memory |= {f"worker {i}": peak_and_share(pid) for i, pid in enumerate(workers)}
    for name, (peak, share) in memory.items():
        print(f"{name:9} peak {peak:7.0f} MiB   share {share:7.0f} MiB   bound {BOUND} MiB")


if __name__ == "__main__":
    main()
