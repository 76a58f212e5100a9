"""One training run from data to report: load, audit, fit, predict, evaluate, report, track."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from fibrolab import auditing, early_audit, environment, keys, privacy, slurm
from fibrolab.analyses.evaluating import announce, conclude
from fibrolab.analyses.run_files import record, write_config, write_data
from fibrolab.config import resolved
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.evaluation import endpoints
from fibrolab.loading import load
from fibrolab.modules.base import TrainedModule
from fibrolab.runs.trained_run import Run, best_epoch
from fibrolab.storage import save_json
from fibrolab.sweeps import this_job
from fibrolab.tracked_run import TrackedRun
from fibrolab.tracking import track
from fibrolab.training import (
    building,
    carried_segmenter,
    checks,
    fitting,
    reference_samples,
    resuming,
    trials,
    tuned_by,
    without_validation,
)
from fibrolab.training.initial_weights import decide_pretrained, with_weights_of_runs

SHOWN = 12  # digits of a hash in MLflow's tags


class Part(NamedTuple):
    """Place of a training among those of one run.

    Attributes:
        parent: Id of that run.
        tags: Tags that identify the training, such as its fold.
        command: Command that repeats this training alone.
    """

    parent: str
    tags: Mapping[str, int]
    command: str


class Trained(NamedTuple):
    """Result of a training.

    Attributes:
        id: Id of the run in MLflow.
        best: The best value of the monitored metric; None after a fast dev run and without validation.
        metrics: Metrics of the epoch with that value; of a trial of a study, its validation metrics.
        folder: Folder of its files; of a run that was sent to a server it no longer exists.
        pruned: Whether it is a trial that was ended early.
    """

    id: str
    best: float | None
    metrics: Mapping[str, float]
    folder: Path
    pruned: bool = False


def run(config: DictConfig) -> float | None:
    """Train, and return the best value of the monitored metric."""
    return train(config).best


def train(config: DictConfig, part: Part | None = None) -> Trained:
    """Train, evaluate and track one model.

    Args:
        config: `conf/train.yaml`, composed.
        part: Place of the training among the folds and repetitions of one run, which then reports.
    """
    config, resumed = resuming.opened(config)
    base = config.name
    if resumed is None:
        config.name = this_job.run_name(base)
    settings = resolved(config)
    started, clock = datetime.now(UTC), time.monotonic()
    tags = {name: config[name].name for name in ("model", "data", "split")}
    own, parent = (part.tags, part.parent) if part else (this_job.tags(base), this_job.parent())
    trial = trials.of_this_process()
    ids_key = privacy.ids_key(config)
    place = settings["tracking"] | {"private": bool(ids_key)}
    with (
        slurm.requeued_if_interrupted(config.trainer.get(fitting.REQUEUE, False)),
        track(**place, parent=parent, name=config.name, tags=tags | dict(own), resumed=resumed) as tracked,
        resuming.explained(tracked.id),
        trials.without_networks_after_failure(tracked.folder),
    ):
        if part is None:
            this_job.begin(tracked.id)
        known = environment.describe() | {"started": started.isoformat(timespec="seconds")}
        known |= {"ids_key": ids_key} | ({"command": part.command} if part else {})
        if before := resuming.known_again(tracked.folder, known):
            known = before
        else:
            record(tracked, config, settings, known)
        start = resuming.checkpoint(tracked.folder)
        if resumed:
            print(resuming.progress(tracked.id, start), flush=True)
            resumed.add_lost_points(resuming.finished_epochs(start) if start else [])
        checks.check(config)
        if start is None:
            tracked.log_params(decide_pretrained(config))
        data = _loaded(config, ids_key, tracked.folder, trial is not None)
        write_config(config, tracked.folder)
        tuned_by.refuse_known_tests(config, data)
        known["groups"] = write_data(tracked.folder, data)
        tracked.log_data(data.manifest.name, data.manifest.hash, "training")
        tracked.tag({"test_groups": known["groups"][keys.TEST][:SHOWN]})
        if trial is None:  # whose chosen settings are trained once more, with an audit
            _audit(config, data, tracked)
        carried_segmenter.carry(config, data, tracked.folder)
        built = resuming.without_initial_weights(config) if start else with_weights_of_runs(config, data)
        module = building.build_module(built, data)
        if start:
            resuming.load_weights(module, start)
        datamodule = fitting.build_datamodule(config, data, module, tests=trial is None)
        tracked.log_params(fitting.parameter_counts(module))
        reports = None if part else trial  # of folds, the mean is reported
        fitted = fitting.train(config, module, datamodule, data, tracked, reports)
        _record_fit(config, tracked, fitted, known, seconds=time.monotonic() - clock)
        if trial:
            return _end_trial(config, tracked, module, datamodule, fitted)
        reference_samples.write(tracked.folder, data, datamodule, Path(config.paths.cache))
        images = datamodule.shown_images, datamodule.training_images()
        evaluated = conclude(tracked, config, *images, scoring=None if part else "train")
        resuming.discard_previous(tracked.folder)
        if part is None:
            announce(evaluated, tracked.id, config.tracking.uri)
    return Trained(tracked.id, fitted.best, _of_best_epoch(config, evaluated), tracked.folder)


def _loaded(config: DictConfig, ids_key: str, folder: Path, is_trial: bool) -> LabelledData:
    """Load the data, complete the settings with their classes, and refuse data that these do not fit."""
    early_audit.wait()
    data = load(config, ids_key=ids_key)
    resuming.refuse_other_data(data, folder)
    without_validation.check(config, data, is_trial)
    config.task.classes = data.targets  # for task=nominal, they come from the data
    endpoints.check(config.task.endpoints, data.classes, config.task.ordered)
    return data


def _record_fit(
    config: DictConfig, tracked: TrackedRun, fitted: fitting.Fitted, known: dict[str, Any], seconds: float
) -> None:
    """Add device, batch size and duration of the training to the run's records."""
    config.batch_size = fitted.batch_size  # that of batch_size=auto
    write_config(config, tracked.folder)
    known |= {"device": fitted.device, "batch_size": fitted.batch_size, "seconds": round(seconds, 1)}
    save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)


def _of_best_epoch(config: DictConfig, run: Run) -> Mapping[str, float]:
    """Return the metrics of the epoch with the best monitored value; none after a fast dev run."""
    found = None if run.history is None else best_epoch(run.history, config.monitor, config.mode)
    return found or {}


def _audit(config: DictConfig, data: LabelledData, tracked: TrackedRun) -> None:
    """Audit the data and its split.

    Raises:
        AuditError: The verdict is `fail` under `audit.strict=true`.
    """
    found = auditing.audited(config, data, tracked.folder)
    tracked.tag({"audit": found["verdict"]})
    auditing.announce(tracked.folder, found)
    auditing.enforce(found, config.audit.strict)


def _end_trial(
    config: DictConfig,
    tracked: TrackedRun,
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    fitted: fitting.Fitted,
) -> Trained:
    """End a trial of a study: measure it on the validation samples, and discard its networks."""
    metrics: dict[str, float] = {}
    if not fitted.pruned:
        metrics = trials.results(config, tracked.folder, module, datamodule, fitted.device)
        tracked.log_metrics({f"best/{name.removeprefix('val/')}": value for name, value in metrics.items()})
    tracked.tag({trials.STATE: "pruned" if fitted.pruned else "finished"})
    trials.discard_networks(tracked.folder)
    return Trained(tracked.id, fitted.best, metrics, tracked.folder, fitted.pruned)
