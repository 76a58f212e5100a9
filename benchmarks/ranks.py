"""Ranks on the CPU: their start and their speed-up.

    python -m benchmarks.ranks [--steps 20] [--batch-size 8] [--size 96]

Printed are the seconds from the call to the first line of the work on two ranks, of which the import of
torch takes a part that is measured too; the ratio of the epochs of one rank of one thread to those of two
ranks of one thread each, on a compute-bound network (ResNet18, SGD); and beside it the ceiling of this
machine, which is what two such trainings reach that exchange nothing. All three are repeated in turns.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fibrolab.training import ranks


def started() -> float:
    """Return the time at which this rank begins its work [s since 1970]."""
    return time.time()


def trained(steps: int, batch_size: int, size: int, exchange: bool = True) -> float:
    """Train a ResNet18 on a part of each batch; return the seconds of the steps after the first.

    Args:
        steps: Number of steps that are timed.
        batch_size: Samples of all ranks together.
        size: Side of an image [px].
        exchange: Whether ranks average their gradients.
    """
    import timm
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    number = dist.get_world_size() if dist.is_initialized() else 1
    network = timm.create_model("resnet18", num_classes=5)
    wrapped = DistributedDataParallel(network) if number > 1 and exchange else network
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    images, labels = torch.rand(batch_size // number, 3, size, size), torch.zeros(batch_size // number).long()
    start = 0.0
    for step in range(steps + 1):
        if step == 1:
            if number > 1:
                dist.barrier()
            start = time.perf_counter()
        torch.nn.functional.cross_entropy(wrapped(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    if number > 1:
        dist.barrier()  # until the slower one has ended
    return time.perf_counter() - start


def _two(work: object, *arguments: object) -> float:
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"devices": 2, "accelerator": "cpu"}
        return float(ranks.run(work, arguments, trainer, Path(folder)))  # type: ignore[arg-type]


def _import_of_torch() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch.distributed"], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()
    imported = _import_of_torch()
    start = time.time()
    beyond = _two(started) - start
    print(f"two ranks begin after {beyond:.1f} s; an import of torch takes {imported:.1f} s of it")
    given = (options.steps, options.batch_size, options.size)
    rounds = [(trained(*given), _two(trained, *given), _two(trained, *given, False)) for _ in range(3)]
    for name, place in (("two ranks", 1), ("two trainings that exchange nothing", 2)):
        ratios = [each[0] / each[place] for each in rounds]
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"one rank of one thread against {name}: {np.median(ratios):.2f} times as long ({shown})")


if __name__ == "__main__":
    main()
