"""What checkpoints and MLflow take from a training.

    python -m benchmarks.bookkeeping [model=hybrid tracking.uri=http://... OTHER SETTINGS]

A run of the command is timed: its epochs, all checkpoints (the full state and the best weights), and all
curves that are written to MLflow. Printed is for how long the training waits for both in an epoch, by the
clock and in CPU time of its own thread, and the share of the rest of these epochs and of an epoch of one
minute. A training waits for a copy of its state, and for an earlier write if two copies are not written yet,
which a longer epoch would not; beside it is what the thread that writes takes, and for how long the end of
the training waits for it. A checkpoint grows with the network: AdamW keeps three numbers for each parameter.
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
from fibrolab.training import checkpoint_writing

SETTINGS = ("data.patients=60", "trainer.max_epochs=3", "num_workers=0", "pretrained=false",
            "bootstrap.resamples=20", "callbacks.early_stopping=null")  # fmt: skip
MINUTE = 60.0
seconds, of_cpu = Counter[str](), Counter[str]()


def timed(owner: Any, function: str, name: str) -> None:
    """Add the time of a function to `seconds[name]`, and the CPU time of its thread to `of_cpu[name]`."""
    original: Callable[..., Any] = getattr(owner, function)

    def call(*arguments: Any, **named: Any) -> Any:
        start, cpu = time.perf_counter(), time.thread_time()
        try:
            return original(*arguments, **named)
        finally:
            seconds[name] += time.perf_counter() - start  # type: ignore[assignment]
            of_cpu[name] += time.thread_time() - cpu  # type: ignore[assignment]

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
    timed(checkpoint_writing, "_copied", "a copy")
    timed(checkpoint_writing, "save", "writing")
    timed(checkpoint_writing.RecordedCheckpoints, "teardown", "the end")
    timed(CurveLogger, "log_metrics", "MLflow")
    timed(CurveLogger, "finalize", "MLflow")
    timed(L.Trainer, "fit", "epochs")
    with tempfile.TemporaryDirectory() as root:
        run = api.train(*SETTINGS, *given, f"paths.root={root}")
        size = Path(run.folder, keys.CHECKPOINTS, keys.LAST).stat().st_size
        epochs = len(run.history)
    print(f"{epochs} epochs of {seconds['epochs'] / epochs:.1f} s; a checkpoint has {size / 2**20:.0f} MiB")
    copies, writing = of_cpu["a copy"] / epochs, of_cpu["writing"] / epochs
    print(f"copies take {copies:.3f} s of CPU time an epoch")
    by_clock = seconds["writing"] / epochs
    print(f"beside the training, writing takes {writing:.3f} s of CPU time and {by_clock:.1f} s by the clock")
    print(f"the end of the training waits for {seconds['the end']:.1f} s")
    for name in ("checkpoints", "MLflow"):
        for kind, counted in (("by the clock", seconds), ("CPU time", of_cpu)):
            own, share = counted[name] / epochs, counted[name] / (counted["epochs"] - counted[name])
            print(
                f"{name:12} {kind:12} {own:7.3f} s an epoch {share:7.1%} of the rest of these "
                f"{own / MINUTE:7.2%} of one minute"
            )


if __name__ == "__main__":
    main()
