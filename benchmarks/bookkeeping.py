"""What checkpoints and MLflow take from a training.

    python -m benchmarks.bookkeeping [model=hybrid tracking.uri=http://... OTHER SETTINGS]

A run of the command is timed: its epochs, all checkpoints (the full state and the best weights: copying from
the network, writing, and waiting for the disk), and all curves that are written to MLflow. Printed is what
both take of an epoch by the clock and in CPU time, and their share of the rest of these epochs and of an
epoch of one minute. A checkpoint grows with the network: AdamW keeps three numbers for each parameter.
"""

import argparse
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from fibrolab import api, keys
from fibrolab.callbacks.curve_logger import CurveLogger

SETTINGS = ("data.patients=60", "trainer.max_epochs=3", "num_workers=0", "pretrained=false",
            "bootstrap.resamples=20", "callbacks.early_stopping=null")  # fmt: skip
MINUTE = 60.0
seconds, of_cpu = Counter[str](), Counter[str]()


def timed(owner: Any, function: str, name: str) -> None:
    """Add the time that a function takes to `seconds[name]`, and its CPU time to `of_cpu[name]`."""
    original: Callable[..., Any] = getattr(owner, function)

    def call(*arguments: Any, **named: Any) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        try:
            return original(*arguments, **named)
        finally:
            seconds[name] += time.perf_counter() - start  # type: ignore[assignment]
            of_cpu[name] += time.process_time() - cpu  # type: ignore[assignment]

    setattr(owner, function, call)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", help="settings of the training, as on its command line")
    given = parser.parse_args().settings
    logging.disable(logging.WARNING)
    timed(L.Trainer, "save_checkpoint", "checkpoints")
    timed(CurveLogger, "log_metrics", "MLflow")
    timed(CurveLogger, "finalize", "MLflow")
    timed(L.Trainer, "fit", "epochs")
    with tempfile.TemporaryDirectory() as root:
        run = api.train(*SETTINGS, *given, f"paths.root={root}")
        size = Path(run.folder, keys.CHECKPOINTS, keys.LAST).stat().st_size
        epochs = len(run.history)
    print(f"{epochs} epochs of {seconds['epochs'] / epochs:.1f} s; a checkpoint has {size / 2**20:.0f} MiB")
    for name in ("checkpoints", "MLflow"):
        for kind, counted in (("by the clock", seconds), ("CPU time", of_cpu)):
            own, share = counted[name] / epochs, counted[name] / (counted["epochs"] - counted[name])
            print(
                f"{name:12} {kind:12} {own:7.3f} s an epoch {share:7.1%} of the rest of these "
                f"{own / MINUTE:7.2%} of one minute"
            )


if __name__ == "__main__":
    main()
