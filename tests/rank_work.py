"""Work for ranks in tests: what they are told, and the ways in which one of several can fail."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from fibrolab.errors import TrainingError


def told(note: str) -> dict[str, Any]:
    """Return what this rank knows; rank zero's is the result."""
    print(f"printed by rank {dist.get_rank()}")
    total = torch.tensor([float(dist.get_rank() + 1)])
    dist.all_reduce(total)
    numbers = {"rank": dist.get_rank(), "ranks": dist.get_world_size(), "sum": float(total)}
    return {"note": note, "loader processes": multiprocessing.get_start_method(), **numbers}


def fails(how: str, rank: int) -> None:
    """Fail on one rank, while the others wait for it."""
    if dist.get_rank() == rank:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "left":
            os._exit(3)
        if how == "sentence":
            raise TrainingError("The loss became nan.")
        raise ZeroDivisionError("of the code")
    dist.barrier()


def waits(folder: str) -> None:
    """Write this process's id, and wait for a minute; on SIGTERM leave a file as a checkpoint would be."""
    Path(folder, f"{dist.get_rank()}.pid").write_text(str(os.getpid()))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(folder, f"{dist.get_rank()}.saved").touch()
        raise


if __name__ == "__main__":
    from fibrolab.training import devices, ranks

    place, here = Path(sys.argv[1]), devices.place()
    if here.rank > 0:
        sys.exit(ranks.follow(here))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ranks.leading(here):
            ranks.run(waits, (str(place),), {"devices": 2, "accelerator": "cpu"}, place)
    except KeyboardInterrupt:
        sys.exit(130)
