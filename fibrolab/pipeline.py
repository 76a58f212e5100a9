"""One run on one page: data, audit, fit, predict, evaluate, report, track."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf

from fibrolab import auditing, environment, keys, sweeps
from fibrolab.config import arguments, flat, resolved
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.evaluation import endpoints
from fibrolab.loading import load
from fibrolab.modules.base import Classifier
from fibrolab.runs import checkpoint, run_files
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import put, save_json
from fibrolab.tracking import TrackedRun, reopen, track
from fibrolab.training import checks, fitting, frozen_features
from fibrolab.training.earlier_weights import with_weights_of_runs


class Trained(NamedTuple):
    """The end of a training.

    Attributes:
        id: MLflow's id of the run.
        best: The best value of the monitored metric; None after a fast dev run.
    """

    id: str
    best: float | None


def run(config: DictConfig) -> float | None:
    """Train, and return the best value of the monitored metric, which a sweep compares."""
    return train(config).best


def train(config: DictConfig) -> Trained:
    """Train, evaluate and track one model.

    Args:
        config: `conf/train.yaml`, composed.
    """
    base, config.name = config.name, sweeps.named(config.name)
    settings = resolved(config)
    started, clock = datetime.now(UTC), time.monotonic()
    tags = {"model": config.model.name, "data": config.data.name, "split": config.split.name}
    with track(**settings["tracking"], name=config.name, tags=tags, sweep=sweeps.folder()) as tracked:
        known = environment.describe() | {"started": started.isoformat(timespec="seconds")}
        record(tracked, config, settings, known)
        checks.check(config)
        data = load(config)
        config.task.classes = data.classes  # which task=nominal takes from the data
        endpoints.check(config.task.endpoints, data.classes, config.task.ordered)
        write_config(config, tracked.folder)
        run_files.save_data(tracked.folder, data)
        found = auditing.audited(config, data, tracked.folder)
        tracked.tag({"audit": found["verdict"]})
        auditing.announce(tracked.folder, found)
        auditing.enforce(found, config.audit.strict)
        module = fitting.build_module(with_weights_of_runs(config, data), data)
        datamodule = build_datamodule(config, data, module)
        tracked.log_params(fitting.size(module))
        if config.features.cache:
            frozen_features.cached(
                module,
                datamodule,
                cache=Path(config.paths.cache),
                views=config.features.views,
                accelerator=config.trainer.accelerator,
                precision=config.trainer.precision,
            )
        fitting.refuse_a_lone_sample(module, datamodule)
        fitted = fitting.fit(config, module, datamodule, data, tracked)
        known |= {"device": fitted.device, "seconds": round(time.monotonic() - clock, 1)}
        save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
        conclude(tracked, config, datamodule.test_images, datamodule.training_images())
        arms = sweeps.ended(base, tracked.id)
        run_files.announce(tracked.folder, tracked.id, config.tracking.uri, arms)
    return Trained(tracked.id, fitted.best)


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
    if (best := tracked.folder / keys.CHECKPOINTS / checkpoint.BEST).is_file():
        run = TrainedRun(tracked.folder, tracked.id)
        checkpoint.complete(best, run.table("endpoints"), run.table("calibration"))
    tracked.log_metrics(run_files.flat_metrics(metrics))
    tracked.tag({"bootstrap": f"{config.bootstrap.resamples} resamples, level {config.bootstrap.level}"})


def build_datamodule(config: DictConfig, data: LabelledData, module: Classifier) -> FibrosisDataModule:
    """Return the datamodule over a data set, with each modality that the model takes."""
    return FibrosisDataModule(
        data=data,
        stores=checkpoint.stores(arguments(config.preprocess), module, Path(config.paths.cache)),
        segment=Segment(**resolved(config.segment)),
        transforms=resolved(config.augment)["transforms"],
        sampler=resolved(config.sampler),
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        seed=config.seed,
        clinical=module.clinical_columns,
        augment_on=config.augment_on,
    )


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
