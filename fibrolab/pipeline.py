"""One training run from data to report: load, audit, fit, predict, evaluate, report, track."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from fibrolab import auditing, environment, keys, privacy, slurm, sweeps
from fibrolab.analyses.evaluating import announce, conclude
from fibrolab.analyses.run_files import record, write_config, write_data
from fibrolab.config import resolved
from fibrolab.evaluation import endpoints
from fibrolab.loading import load
from fibrolab.storage import save_json
from fibrolab.tracking import track
from fibrolab.training import checks, fitting, frozen_features, resuming
from fibrolab.training.initial_weights import decide_pretrained, with_weights_of_runs


class Trained(NamedTuple):
    """Result of a training.

    Attributes:
        id: Id of the run in MLflow.
        best: The best value of the monitored metric; None after a fast dev run.
    """

    id: str
    best: float | None


def run(config: DictConfig) -> float | None:
    """Train, and return the best value of the monitored metric as the result of a sweep's job."""
    return train(config).best


def train(config: DictConfig) -> Trained:
    """Train, evaluate and track one model.

    Args:
        config: `conf/train.yaml`, composed.
    """
    config, resumed = resuming.opened(config)
    base = config.name
    if resumed is None:
        config.name = sweeps.run_name(base)
    settings = resolved(config)
    started, clock = datetime.now(UTC), time.monotonic()
    tags = {"model": config.model.name, "data": config.data.name, "split": config.split.name}
    named = {"name": config.name, "sweep_name": sweeps.sweep_name(base)}
    ids_key = privacy.ids_key(config)
    place = settings["tracking"] | {"private": bool(ids_key)}
    with (
        slurm.requeued_if_interrupted(config.trainer.get(fitting.REQUEUE, False)),
        track(**place, **named, tags=tags, sweep=sweeps.folder(), resumed=resumed) as tracked,
        resuming.explained(tracked.id),
    ):
        known = environment.describe() | {"started": started.isoformat(timespec="seconds")}
        known["ids_key"] = ids_key
        if before := resuming.known_again(tracked.folder, known):
            known = before
        else:
            record(tracked, config, settings, known)
        start = resuming.checkpoint(tracked.folder)
        if resumed:
            print(resuming.progress(tracked.id, start), flush=True)
        checks.check(config)
        if start is None:
            tracked.log_params(decide_pretrained(config))
        data = load(config, ids_key=ids_key)
        resuming.refuse_other_data(data, tracked.folder)
        config.task.classes = data.classes  # for task=nominal, they come from the data
        endpoints.check(config.task.endpoints, data.classes, config.task.ordered)
        write_config(config, tracked.folder)
        write_data(tracked.folder, data)
        tracked.log_data(data.manifest.name, data.manifest.hash, "training")
        found = auditing.audited(config, data, tracked.folder)
        tracked.tag({"audit": found["verdict"]})
        auditing.announce(tracked.folder, found)
        auditing.enforce(found, config.audit.strict)
        built = resuming.without_initial_weights(config) if start else with_weights_of_runs(config, data)
        module = fitting.build_module(built, data)
        if start:
            resuming.load_weights(module, start)
        datamodule = fitting.build_datamodule(config, data, module)
        tracked.log_params(fitting.parameter_counts(module))
        if config.features.cache:
            frozen_features.cache_features(
                module,
                datamodule,
                cache=Path(config.paths.cache),
                views=config.features.views,
                accelerator=config.trainer.accelerator,
                precision=config.trainer.precision,
            )
        fitting.check_single_sample_batches(module, datamodule)
        fitted = fitting.fit(config, module, datamodule, data, tracked)
        known |= {"device": fitted.device, "seconds": round(time.monotonic() - clock, 1)}
        save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
        evaluated = conclude(tracked, config, datamodule.test_images, datamodule.training_images())
        arms = sweeps.record_end(base, tracked.id)
        announce(evaluated, tracked.id, config.tracking.uri, arms)
    return Trained(tracked.id, fitted.best)
