"""The end of every run: score, draw, report and track its predictions, and announce the result."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.analyses import evaluation_tables, ledger, segmentation_tables
from fibrolab.config import resolved
from fibrolab.credentials import masked
from fibrolab.reporting import numbers, run_outputs, run_summary
from fibrolab.runs import trained_run
from fibrolab.runs.trained_run import Run, TrainedRun
from fibrolab.sweeps import this_job
from fibrolab.tracked_run import TrackedRun
from fibrolab.tracking import reopen


def evaluate(config: DictConfig) -> str:
    """Score a finished run again from its files alone, and return its id.

    Args:
        config: `conf/evaluate.yaml`, composed.
    """
    with reopen(config.tracking.uri, config.run, config.tracking.artifacts) as tracked:
        TrainedRun(tracked.folder, tracked.id).refuse_other_format()
        announce(conclude(tracked, config, scoring="evaluate"), tracked.id, config.tracking.uri)
    return tracked.id


def conclude(
    tracked: TrackedRun,
    config: DictConfig,
    test_images: Callable[[Sequence[str]], Mapping[str, Any]] | None = None,
    training: tuple[Sequence[np.ndarray], np.ndarray] | None = None,
    *,
    scoring: ledger.Kind | None,
) -> Run:
    """Score, draw, report and track a run from the files that it has written so far, and return it.

    Args:
        tracked: The run.
        config: Settings with `bootstrap`.
        test_images: Return the test images of some samples, by sample_id, to show the largest errors; of a
            segmentation `FibrosisDataModule.labelled_images`.
        training: Training images as the network receives them, and the class of each.
        scoring: Kind of the entry in the ledger of test sets; None for a part of a run that has one itself.
    """
    if scoring:
        ledger.enter(tracked, scoring)
    segments, bootstrap = TrainedRun(tracked.folder).segments, resolved(config.bootstrap)
    if segments:
        metrics = segmentation_tables.write(tracked.folder, **bootstrap)
    else:
        metrics = evaluation_tables.tracked_metrics(evaluation_tables.write(tracked.folder, **bootstrap))
    if test_images:
        draw = run_outputs.draw_masks if segments else run_outputs.draw_mistakes
        draw(tracked.folder, test_images)
    run_outputs.write(tracked.folder, *(training or ()))
    path = tracked.folder / keys.CHECKPOINTS / keys.BEST
    if path.is_file() and not segments:  # which has neither thresholds nor temperature
        from fibrolab.runs import checkpoint  # late: it loads torch, which a run without a network spares

        evaluated = TrainedRun(tracked.folder, tracked.id)
        checkpoint.complete(path, evaluated.table("endpoints"), evaluated.table("calibration"))
    run = trained_run.read(tracked.folder)
    tracked.log_metrics(metrics | evaluation_tables.best_epoch_metrics(run))
    tracked.describe(run_summary.markdown(run))
    tracked.tag({"bootstrap": f"{config.bootstrap.resamples} resamples, level {config.bootstrap.level}"})
    return run


def announce(run: Run, run_id: str, uri: str, arms: Mapping[str, Sequence[str]] | None = None) -> None:
    """Print the headline tables of an evaluated run, its report, and the command that compares it.

    Args:
        run: The run, as `conclude` returns it.
        run_id: Id of the run.
        uri: Tracking database or server.
        arms: Ids of the finished runs of its sweep, by arm.
    """
    from rich.console import Console

    assert run.metrics is not None, "evaluated before it is announced"
    level = float(run.setting("bootstrap.level", 0.95))
    console = Console(soft_wrap=True)
    console.print(numbers.console_table(run.metrics, run.baselines, level))
    if run.patients is not None:
        console.print(numbers.console_table(run.patients, level=level, name="Test, by patient"))
    # By its path, so that it is found where the environment is not activated.
    program = os.path.relpath(Path(sys.executable).with_name("mlflow"))
    is_server, place = uri.startswith(("http://", "https://")), masked(uri)
    mlflow = place if is_server else shlex.join([program, "ui", "--backend-store-uri", place])
    compare = () if "segmentation" in run.tables else (this_job.comparison_command(arms or {"": [run_id]}),)
    for line in (
        f"audit    {run.audit['verdict']}, {run.folder / keys.AUDIT_PAGE}",
        f"report   {run.folder / keys.REPORT_FILE}",
        f"run      {run_id}",
        *(f"compare  {command}" for command in compare),  # compares classifiers only
        f"mlflow   {mlflow}",
    ):
        console.print(line, highlight=False, markup=False)  # the name of a folder may look like markup: [b]
