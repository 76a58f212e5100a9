"""Ranks on the CPU: their start, their speed-up, and what they cost where there is one.

    python -m benchmarks.ranks [--steps 8] [--batch-size 16] [--size 224] [--rounds 5]
                               [--only one_rank|two_ranks]

Printed are the seconds from the call to the first line of the work on two ranks, of which the import of
torch takes a part that is measured too; the ratio of the epochs of one rank of one thread to those of two
ranks of one thread each, on a compute-bound network (ResNet18, SGD); and beside it the ceiling of this
machine, which is what two such trainings reach that exchange nothing. All three are repeated in turns.
The ratio of their CPU times does not depend on what two busy cores take from each other. With `--size 96
--batch-size 8` the ranks are not bound by computing: 45 MB of gradients are averaged, and 11 million weights
changed by each rank, for .1 s of computing.

For a single rank, Lightning's Trainer with the callbacks that would ask other ranks in a step (is a loss
infinite, is a checkpoint due) is timed in turns with the same Trainer without them, in CPU time of the
thread that trains: steps of a tiny network, in which they weigh most, and of the ResNet18. Beside it is the
time of the questions alone, two in a step; the rest is that Lightning calls two more callbacks.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from fibrolab.training import ranks

T = TypeVar("T")


def alone(name: str, steps: int, batch_size: int, size: int, asks: bool) -> tuple[float, float]:
    """Train one epoch on one rank; return the CPU time of its steps between the first and last [s].

    The second number is that of the two questions to other ranks in a step [s].

    Args:
        name: Network of the single branch, in timm's names.
        steps: Number of steps after the first.
        batch_size: Samples of a batch.
        size: Side of an image [px].
        asks: Whether the callbacks that would ask other ranks take part.
    """
    import lightning as L  # late, as torch: ranks whose start is timed import this module
    import torch

    from fibrolab import keys
    from fibrolab.callbacks.stopping_and_resuming import FiniteLoss, LastCheckpoint
    from fibrolab.modules.classifiers import SingleClassifier
    from fibrolab.training.rank_strategy import environment

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = SingleClassifier(
        branches={"image": {"name": name}}, head={}, classes=list("01234"), class_counts=[1] * 5,
        image_size=size, loss={"name": "cross_entropy"}, optimizer={"name": "SGD", "lr": 1e-3},
        scheduler={"name": "constant"},
    )  # fmt: skip
    images = torch.zeros(1, size, size, dtype=torch.uint8)
    rows = [{keys.IMAGE: images, keys.LABEL: k % 5, keys.INDEX: k} for k in range(batch_size * (steps + 2))]
    times: dict[int, float] = {}  # CPU time of this thread at the start of each step
    clock = L.pytorch.callbacks.LambdaCallback(
        on_train_batch_start=lambda trainer, *_: times.update({trainer.global_step: time.thread_time()})
    )
    with tempfile.TemporaryDirectory() as folder:
        asking: list[L.Callback] = [FiniteLoss(), LastCheckpoint(Path(folder))] if asks else []
        trainer = L.Trainer(
            accelerator="cpu", devices=1, max_epochs=1, logger=False, callbacks=[clock, *asking],
            plugins=[*environment()], enable_checkpointing=asks, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(rows, batch_size))  # type: ignore[arg-type]
    start = time.thread_time()
    for _ in range(2000):
        trainer.strategy.reduce_boolean_decision(False, all=False)
    return times[steps + 1] - times[1], (time.thread_time() - start) / 1000


def one_rank(steps: int, batch_size: int, size: int, rounds: int) -> None:
    """Time a single rank with and without the questions to others, in turns, and print the ratios."""
    from fibrolab.runs.checkpoint import silence_warnings

    silence_warnings()
    for name, side in (("test_resnet", 32), ("resnet18", size)):
        pairs, questions = [], 0.0
        for k in range(rounds + 1):  # the first one is a warm-up
            first = bool(k % 2)
            taken = {asks: alone(name, steps, batch_size, side, asks) for asks in (first, not first)}
            pairs.append([1000 * taken[asks][0] / steps for asks in (True, False)])
            questions = 1000 * taken[True][1]
        ratios = [asking / plain for asking, plain in pairs[1:]]
        asking, plain = np.median(pairs[1:], axis=0)
        shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(
            f"one rank, {name}, {side} px: {np.median(ratios):.3f} times the CPU time of a training without "
            f"questions to other ranks ({shown}): {asking:.2f} against {plain:.2f} ms a step; the questions "
            f"alone take {questions:.4f} ms"
        )


def started() -> float:
    """Return the time at which this rank begins its work [s since 1970]."""
    return time.time()


def trained(steps: int, batch_size: int, size: int, exchange: bool = True) -> tuple[float, float]:
    """Train a ResNet18 on a part of each batch; return the seconds of the steps after the first, and CPU s.

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
    start = busy = 0.0
    for step in range(steps + 1):
        if step == 1:
            if number > 1:
                dist.barrier()
            start, busy = time.perf_counter(), time.process_time()
        torch.nn.functional.cross_entropy(wrapped(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    busy = time.process_time() - busy
    if number > 1:
        dist.barrier()  # until the slower one has ended
    return time.perf_counter() - start, busy


def _two(work: Callable[..., T], *arguments: object) -> T:
    with tempfile.TemporaryDirectory() as folder:
        return ranks.run(work, arguments, {"devices": 2, "accelerator": "cpu"}, Path(folder))


def _import_of_torch() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch.distributed"], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["one_rank", "two_ranks"])
    options = parser.parse_args()
    given = (options.steps, options.batch_size, options.size, options.rounds)
    if options.only != "two_ranks":
        one_rank(*given)
    if options.only != "one_rank":
        two_ranks(*given)


def two_ranks(steps: int, batch_size: int, size: int, rounds: int) -> None:
    """Time the start of two ranks, and their steps beside those of one rank and of the ceiling; print."""
    imported = _import_of_torch()
    start = time.time()
    beyond = _two(started) - start
    print(f"two ranks begin after {beyond:.1f} s; an import of torch takes {imported:.1f} s of it")
    given = steps, batch_size, size
    timed = [(trained(*given), _two(trained, *given), _two(trained, *given, False)) for _ in range(rounds)]
    for name, place in (("two ranks", 1), ("two trainings that exchange nothing", 2)):
        walls, busy = np.array([np.divide(each[0], each[place]) for each in timed]).T
        shown = ", ".join(f"{ratio:.2f}" for ratio in walls)
        print(
            f"one rank of one thread against {name}: {np.median(walls):.2f} times as long ({shown}); "
            f"{np.median(busy):.2f} times the CPU time of each"
        )


if __name__ == "__main__":
    main()
