"""Trainings in child processes that are killed at a chosen point, and the files that they leave."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import sleep

import lightning as L
import pytest
import torch
from compose import composed
from drawn import unrendered
from mlflow.tracking import MlflowClient

from fibrolab import keys, storage
from fibrolab.analyses import evaluation_tables
from fibrolab.modules.base import Classifier
from fibrolab.pipeline import run

SMALL = [
    "data.patients=60", "data.images_per_patient=1", "data.size=32", "batch_size=8", "num_workers=0",
    "trainer.max_epochs=4", "trainer.accelerator=cpu", "bootstrap.resamples=20",
    "model.head.dropout=0.3", "optimizer.lr=0.01",
]  # fmt: skip
EVERY_STEP = "callbacks.checkpoint.every_minutes=1e-9"
COMPARED = (keys.HISTORY_FILE, keys.PREDICTIONS_FILE, keys.METRICS_FILE)


Prepare = Callable[[pytest.MonkeyPatch], None]  # what a child process changes before it trains


def in_a_child(root: Path, words: list[str], prepare: Prepare | None = None) -> int:
    """Train in a forked process, which prints into `root/log.txt`; return the status of `os.waitpid`."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, signal.default_int_handler)
            log = os.open(root / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            torch.set_num_threads(1)
            with unrendered(), pytest.MonkeyPatch.context() as patch:
                if prepare:
                    prepare(patch)
                run(composed(*words, f"paths.root={root}"))
            code = 0
        except KeyboardInterrupt as stop:
            print("interrupted", *stop.args, file=sys.stderr)
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def at_step(step: int, number: int = signal.SIGKILL, waits: bool = True) -> Prepare:
    """Send this process a signal as it computes the loss of a batch.

    Args:
        step: Number of the batch, counted from 1.
        number: The signal.
        waits: Whether checkpoints that are being written are completed before.
    """

    def prepare(patch: pytest.MonkeyPatch) -> None:
        original, counted = Classifier.training_step, 0

        def training_step(self: Classifier, *given: object) -> torch.Tensor:
            nonlocal counted
            counted += 1
            if counted == step:
                if waits:
                    self.trainer.strategy.checkpoint_io.teardown()
                os.kill(os.getpid(), number)
            return original(self, *given)  # type: ignore[arg-type]

        patch.setattr(Classifier, "training_step", training_step)

    return prepare


class LeaderKilled(L.Callback):
    """Kill the process that started this rank, once, at the start of a training batch.

    Args:
        step: Number of the batch, counted from 1.
        marker: File by which a resumed training knows that this has been done.
    """

    def __init__(self, step: int, marker: str) -> None:
        self.step, self.marker = step, Path(marker)

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.is_global_zero and trainer.global_step + 1 == self.step and not self.marker.exists():
            self.marker.touch()
            trainer.strategy.checkpoint_io.teardown()  # completes the checkpoint that is being written
            os.kill(os.getppid(), signal.SIGKILL)


def as_bytes(content: storage.Content) -> bytes:
    """Return the content of a file that is to be written."""
    if isinstance(content, bytes):
        return content
    content(file := io.BytesIO())
    return file.getvalue()


def in_write(name: str, time: int = 1, written: float = 0.5, pause: float = 0) -> Prepare:
    """Kill this process while it writes a file for the given time.

    Args:
        name: Name of the file.
        time: Number of the write, counted from 1.
        written: Part of the content that has been written; 1 for a kill after the file has its name.
        pause: Time for which the training goes on meanwhile, before the kill [s].
    """

    def prepare(patch: pytest.MonkeyPatch) -> None:
        original, counted = storage.put_all, 0

        def put_all(files: dict[Path, storage.Content]) -> None:
            nonlocal counted
            found = [path for path in files if path.name == name]
            counted += len(found)
            if found and counted == time:
                (path,) = found
                if written < 1:
                    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                    content = as_bytes(files[path])
                    draft.write_bytes(content[: int(written * len(content))])
                else:
                    original(files)
                sleep(pause)
                os.kill(os.getpid(), signal.SIGKILL)
            original(files)

        for module in (storage, evaluation_tables):
            patch.setattr(module, "put_all", put_all)

    return prepare


def in_upload(files: int) -> Prepare:
    """Kill this process when it has uploaded this many files of its run to a server."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        def log_artifacts(self: MlflowClient, run: str, folder: str) -> None:
            found = sorted(path for path in Path(folder).iterdir() if path.is_file())
            for path in found[:files]:
                self.log_artifact(run, str(path))
            os.kill(os.getpid(), signal.SIGKILL)

        patch.setattr(MlflowClient, "log_artifacts", log_artifacts)

    return prepare


def only_run(root: Path) -> Path:
    """Return the folder of the only run below a root."""
    (config,) = root.glob("mlruns/artifacts/*/artifacts/config.yaml")
    return config.parent


def run_id(root: Path) -> str:
    """Return the id of the only run below a root."""
    return only_run(root).parent.name


def differences(one: Path, other: Path) -> list[str]:
    """Return what differs between two finished runs: bytes of tables, bits of weights and schedules."""
    found = [name for name in COMPARED if (one / name).read_bytes() != (other / name).read_bytes()]
    for kept in (keys.BEST, keys.LAST):
        states = [torch.load(each / keys.CHECKPOINTS / kept, weights_only=True) for each in (one, other)]
        for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            if not _equal(*(state.get(part) for state in states)):
                found.append(f"{part} of {kept}")
    left = [path.name for name in ("*.tmp", keys.PREVIOUS) for path in other.rglob(name)]
    return found + left


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        known = isinstance(other, dict) and one.keys() == other.keys()
        return known and all(_equal(value, other[key]) for key, value in one.items())  # type: ignore[index]
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(_equal, one, other))
    return one == other
