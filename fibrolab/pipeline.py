"""One training run from data to report: load, audit, fit, predict, evaluate, report, track."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from omegaconf import DictConfig

from fibrolab import auditing, environment, keys, privacy, slurm
from fibrolab.analyses.evaluating import announce, conclude
from fibrolab.analyses.run_files import record, write_config, write_data
from fibrolab.config import resolved
from fibrolab.evaluation import endpoints
from fibrolab.loading import load
from fibrolab.runs.trained_run import best_epoch
from fibrolab.storage import save_json
from fibrolab.sweeps import this_job
from fibrolab.tracking import track
from fibrolab.training import checks, fitting, resuming, tuned_by
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
        best: The best value of the monitored metric; None after a fast dev run.
        metrics: Metrics of the epoch with that value.
    """

    id: str
    best: float | None
    metrics: Mapping[str, float]


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
    tags = {"model": config.model.name, "data": config.data.name, "split": config.split.name}
    tags |= part.tags if part else this_job.tags(base)
    parent = part.parent if part else this_job.parent()
    ids_key = privacy.ids_key(config)
    place = settings["tracking"] | {"private": bool(ids_key)}
    with (
        slurm.requeued_if_interrupted(config.trainer.get(fitting.REQUEUE, False)),
        track(**place, parent=parent, name=config.name, tags=tags, resumed=resumed) as tracked,
        resuming.explained(tracked.id),
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
        data = load(config, ids_key=ids_key)
        resuming.refuse_other_data(data, tracked.folder)
        config.task.classes = data.classes  # for task=nominal, they come from the data
        endpoints.check(config.task.endpoints, data.classes, config.task.ordered)
        write_config(config, tracked.folder)
        tuned_by.refuse_known_tests(config, data)
        known["groups"] = write_data(tracked.folder, data)
        tracked.log_data(data.manifest.name, data.manifest.hash, "training")
        found = auditing.audited(config, data, tracked.folder)
        tracked.tag({"audit": found["verdict"], "test_groups": known["groups"][keys.TEST][:SHOWN]})
        auditing.announce(tracked.folder, found)
        auditing.enforce(found, config.audit.strict)
        built = resuming.without_initial_weights(config) if start else with_weights_of_runs(config, data)
        module = fitting.build_module(built, data)
        if start:
            resuming.load_weights(module, start)
        datamodule = fitting.build_datamodule(config, data, module)
        tracked.log_params(fitting.parameter_counts(module))
        fitted = fitting.train(config, module, datamodule, data, tracked)
        config.batch_size = fitted.batch_size  # that of batch_size=auto
        write_config(config, tracked.folder)
        known |= {"device": fitted.device, "batch_size": fitted.batch_size}
        known["seconds"] = round(time.monotonic() - clock, 1)
        save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
        evaluated = conclude(tracked, config, datamodule.test_images, datamodule.training_images())
        if part is None:
            announce(evaluated, tracked.id, config.tracking.uri)
        best = (
            None if evaluated.history is None else best_epoch(evaluated.history, config.monitor, config.mode)
        )
    return Trained(tracked.id, fitted.best, best or {})
