"""The end of a trial of a study: its validation metrics and its latency. Nothing is tested."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.evaluation import endpoints, predictions
from fibrolab.evaluation.measures import metrics
from fibrolab.modules.base import TrainedModule
from fibrolab.runs import file_parsers
from fibrolab.runs.trained_run import best_epoch
from fibrolab.sweeps import jobs

STATE = "fibrolab.trial_state"  # tag of a trial's run
TIMED = 10  # repetitions whose median is the latency


def of_this_process() -> jobs.Trial | None:
    """Return the trial that this process was started for; None if it is none."""
    job = jobs.current()
    return job.trial if job else None


def results(
    config: DictConfig, folder: Path, module: TrainedModule, datamodule: FibrosisDataModule, device: str
) -> dict[str, float]:
    """Return the validation metrics of the best epoch and the latency of a trained trial.

    Args:
        config: Its settings.
        folder: Folder of its run, with its history and the predictions of the validation samples.
        module: The network.
        datamodule: Its data.
        device: Name of the device on which it was trained.
    """
    history = file_parsers.table("epoch")(folder / keys.HISTORY_FILE)
    best = best_epoch(history, config.monitor, config.mode) or {}
    found = {name: value for name, value in best.items() if name.startswith("val/")}
    if datamodule.data.masks is not None:
        return found | {keys.LATENCY: latency(module, datamodule, device)}
    frame = predictions.read(folder / keys.PREDICTIONS_FILE, [keys.VALIDATION])
    truth, scores = frame[keys.Y_TRUE].to_numpy(), predictions.probabilities(frame)
    classes, task = list(map(str, config.task.classes)), config.task
    measured = metrics.evaluate(truth, scores, classes, ordered=task.ordered)
    end_points = endpoints.of_task(classes, dict(task.endpoints or {}), task.ordered)
    measured |= endpoints.evaluate(truth, scores, end_points)
    values = {f"val/{name}": float(value[0]) for name, value in measured.items()}
    return {
        name: value
        for name, value in (values | found | {keys.LATENCY: latency(module, datamodule, device)}).items()
        if np.isfinite(value)
    }


@torch.no_grad()
def latency(module: TrainedModule, datamodule: FibrosisDataModule, device: str) -> float:
    """Return the median time [ms] that the network takes for one image alone."""
    where = torch.device("cuda" if "cuda" in device and torch.cuda.is_available() else "cpu")
    datamodule.use_features({}, list(datamodule.stores))  # frozen branches take their time too
    datamodule.num_workers = 0
    datamodule.setup("predict")
    loader = datamodule.val_dataloader()
    batch = {name: _first(value, where) for name, value in next(iter(loader)).items()}
    module = module.to(where).eval()
    times = []
    for _ in range(TIMED + 1):  # the first one prepares the others
        start = time.perf_counter()
        module(batch)
        if where.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[1:]))


def _first(value: Any, device: torch.device) -> Any:
    return value[:1].to(device) if isinstance(value, torch.Tensor) else value


def discard_networks(folder: Path) -> None:
    """Remove the checkpoints of a trial: the chosen settings are trained once more."""
    shutil.rmtree(folder / keys.CHECKPOINTS, ignore_errors=True)


@contextlib.contextmanager
def without_networks_after_failure(folder: Path) -> Iterator[None]:
    """Remove the checkpoints of a trial that fails: it is not resumed, and they may have filled the disk.

    A trial that is interrupted keeps them, since a job of Slurm may go on in the queue.
    """
    try:
        yield
    except Exception:
        if of_this_process():
            discard_networks(folder)
        raise


def mean(of_folds: list[Mapping[str, float]]) -> dict[str, float]:
    """Average the metrics that all folds of a trial have."""
    common = set.intersection(*(set(each) for each in of_folds)) if of_folds else set()
    return {name: float(np.mean([each[name] for each in of_folds])) for name in sorted(common)}
