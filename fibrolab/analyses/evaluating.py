"""Start and end of every run: record its settings; score, draw, report and track its predictions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.analyses import run_files
from fibrolab.config import flat, resolved
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import put, save_json
from fibrolab.tracking import TrackedRun, reopen


def record(tracked: TrackedRun, config: DictConfig, settings: dict[str, Any], known: dict[str, Any]) -> None:
    """Record settings and environment of a run at its start, before anything can fail."""
    write_config(config, tracked.folder)
    save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
    compared = {name: part for name, part in settings.items() if name not in ("paths", "tracking")}
    tracked.log_params(flat(compared))
    versions = {f"version.{name}": version for name, version in known["packages"].items()}
    tracked.tag(
        {"mlflow.source.git.commit": known["git_commit"] or "", "command": known["command"], **versions}
    )


def write_config(config: DictConfig, folder: Path) -> None:
    """Write the settings, every reference resolved."""
    put(folder / keys.CONFIG_FILE, OmegaConf.to_yaml(config, resolve=True).encode())


def evaluate(config: DictConfig) -> str:
    """Score a finished run anew from its files alone, and return its id; `conf/evaluate.yaml`, composed."""
    with reopen(config.tracking.uri, config.run) as tracked:
        TrainedRun(tracked.folder, tracked.id).refuse_other_format()
        conclude(tracked, config)
        run_files.announce(tracked.folder, tracked.id, config.tracking.uri)
    return tracked.id


def conclude(
    tracked: TrackedRun,
    config: DictConfig,
    tested: Callable[[Sequence[str]], Mapping[str, np.ndarray]] | None = None,
    trained: tuple[Sequence[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Score, draw, report and track a run from the files that it has left so far.

    Args:
        tracked: The run.
        config: Settings with `bootstrap`.
        tested: Gives pictures of the test by sample, for the worst mistakes.
        trained: Training images as the network got them, and the class of each.
    """
    metrics = run_files.evaluate(tracked.folder, **resolved(config.bootstrap))
    if tested:
        run_files.draw_mistakes(tracked.folder, tested)
    run_files.draw(tracked.folder, *(trained or ()))
    if (best := tracked.folder / keys.CHECKPOINTS / keys.BEST).is_file():
        from fibrolab.runs import checkpoint  # late: it loads torch, which a run without a network spares

        run = TrainedRun(tracked.folder, tracked.id)
        checkpoint.complete(best, run.table("endpoints"), run.table("calibration"))
    tracked.log_metrics(run_files.flat_metrics(metrics))
    tracked.tag({"bootstrap": f"{config.bootstrap.resamples} resamples, level {config.bootstrap.level}"})
