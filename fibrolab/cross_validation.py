"""Folds and repetitions as one run: each is trained as a child run, then all are pooled and reported."""

import logging
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fibrolab import environment, keys, pipeline, privacy, slurm
from fibrolab.analyses import pooled_run
from fibrolab.analyses.evaluating import announce, conclude
from fibrolab.analyses.run_files import record, write_config
from fibrolab.command_line import flat
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.pipeline import Part, Trained
from fibrolab.runs import network_histories, trained_run
from fibrolab.runs.trained_run import TrainedRun, best_epoch, open_run
from fibrolab.storage import save_json
from fibrolab.sweeps import jobs, launching, this_job
from fibrolab.sweeps.jobs import FOLD, REPEAT
from fibrolab.tracked_run import TrackedRun
from fibrolab.tracking import children, has_tag, track
from fibrolab.training import checks, devices, resuming, trials
from fibrolab.training.fitting import REQUEUE
from fibrolab.unfinished_runs import UnfinishedRun, unfinished

ALL = "all"
NETWORKS = "fibrolab.networks"  # tag of the parent: number of its trainings
logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """Number of the repetition and of the fold of one training."""

    repeat: int
    fold: int

    def label(self, config: DictConfig) -> str:
        """Return its name among the trainings of a run, such as `fold 1` or `repeat 2 fold 1`."""
        repeat = f"repeat {self.repeat}" if config.repeats > 1 else ""
        fold = f"fold {self.fold}" if config.folds == ALL else ""
        return " ".join(filter(None, [repeat, fold]))


def run(config: DictConfig) -> float | None:
    """Train, and return the best value of the monitored metric as the result of a sweep's job."""
    trained = train(config)
    this_job.finish(trained.id, trained.best, trained.metrics, trained.pruned)
    return trained.best


def train(config: DictConfig) -> Trained:
    """Train one model, or with `folds=all` or `repeats` several as children of one run.

    Args:
        config: `conf/train.yaml`, composed. `resume` may name the run of several trainings: those that have
            not finished are trained, with the settings of that run.

    Returns:
        The run; of several trainings the parent, with the mean of their best values.
    """
    run_id = resuming.chosen(config)
    if run_id and has_tag(config.tracking.uri, run_id, NETWORKS):
        config.resume = run_id
        return _train_all(*resuming.opened(config))
    if run_id or (config.folds is None and config.repeats == 1):
        return pipeline.train(config)
    return _train_all(config)


def places(config: DictConfig) -> list[Place]:
    """Return the trainings that the settings ask for, in their order."""
    folds = range(config.split.folds) if config.folds == ALL else [int(config.split.get("fold") or 0)]
    return [Place(repeat, fold) for repeat in range(config.repeats) for fold in folds]


def settings_at(config: DictConfig, place: Place) -> DictConfig:
    """Return the settings of one training.

    Repetition r has the seed `seed + r`. Where `folds=all` tests every sample once, it also draws other
    folds, by `split.seed + r`; any other split is that of the first repetition, which keeps the test part.
    """
    changed = config.copy()
    changed.name = f"{place.label(config)} {config.name}"
    changed.folds, changed.repeats, changed.resume = None, 1, None
    for name, value in _changes(config, place).items():
        OmegaConf.update(changed, name, value)
    return changed


def missing(config: DictConfig, finished: Mapping[Place, str]) -> list[Place]:
    """Return the trainings that the settings ask for and that have not finished."""
    return [place for place in places(config) if place not in finished]


def _changes(config: DictConfig, place: Place) -> dict[str, int]:
    """Return the settings of one training that may differ from those of the run."""
    found = {"seed": config.seed + place.repeat}
    if config.folds == ALL:
        found["split.fold"] = place.fold
    if config.split.get("seed") is not None:
        redrawn = config.folds == ALL and "test" not in config.split
        found["split.seed"] = config.split.seed + (place.repeat if redrawn else 0)
    return found


def _train_all(config: DictConfig, resumed: UnfinishedRun | None = None) -> Trained:
    """Train what is missing, then conclude the parent run."""
    base, config.name = config.name, config.name if resumed else this_job.run_name(config.name)
    started = datetime.now(UTC)
    finished = _finished(config, resumed.id) if resumed else {}
    _refuse_another_length(config, finished)
    settings, ids_key = resolved(config), privacy.ids_key(config)
    tags = {"model": config.model.name, "data": config.data.name, "split": config.split.name}
    tags[NETWORKS] = len(places(config))
    tags |= this_job.tags(base)
    place = settings["tracking"] | {"private": bool(ids_key)}
    above = this_job.parent()
    with (
        slurm.requeued_if_interrupted(config.trainer.get(REQUEUE, False)),
        track(**place, parent=above, name=config.name, tags=tags, resumed=resumed) as tracked,
    ):
        this_job.begin(tracked.id)
        now = environment.describe() | {"started": started.isoformat(timespec="seconds"), "ids_key": ids_key}
        known = resuming.known_again(tracked.folder, now)
        if not known:
            record(tracked, config, settings, known := now)
        checks.check(config)
        if trial := trials.of_this_process():
            return _train_trial(config, tracked, trial, known)
        interrupted = _interrupted(config, tracked.id) if resumed else {}
        _train_missing(config, tracked.id, finished, interrupted, known["command"])
        trained = {each: open_run(finished[each], config.tracking.uri) for each in places(config)}
        best = _pooled(config, tracked, trained, known, log_data=resumed is None)
    return Trained(tracked.id, best.get(config.monitor), best, tracked.folder)


def pool(config: DictConfig, runs: Mapping[Place, str]) -> str:
    """Pool the trainings of all folds, each of which had settings of its own, and report them as one run.

    Args:
        config: Settings that the folds have in common.
        runs: The finished run of each fold.

    Returns:
        The id of the pooled run.

    Raises:
        ConfigError: The trainings have different samples, or a run cannot be opened.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    settings, ids_key = resolved(config), privacy.ids_key(config)
    tags = {"model": config.model.name, "data": config.data.name, "split": config.split.name}
    tags[NETWORKS] = len(runs)
    place = settings["tracking"] | {"private": bool(ids_key)}
    with track(**place, name=config.name, tags=tags) as tracked:
        known = environment.describe() | {"started": started, "ids_key": ids_key}
        record(tracked, config, settings, known)
        trained = {each: open_run(run_id, config.tracking.uri) for each, run_id in runs.items()}
        _pooled(config, tracked, trained, known)
    return tracked.id


def _pooled(
    config: DictConfig,
    tracked: TrackedRun,
    trained: Mapping[Place, TrainedRun],
    known: dict[str, Any],
    log_data: bool = True,
) -> dict[str, float]:
    """Write, score and report the run of several trainings; return the mean metrics of their best epochs."""
    first = next(iter(trained.values()))
    config.model, config.task = first.config.model, first.config.task  # completed with the data
    write_config(config, tracked.folder)
    pooled_run.write(tracked.folder, [(*each, opened) for each, opened in trained.items()])
    if log_data:
        tracked.log_data(first.data_name, first.manifest_hash, "training")
    seconds = sum(float(opened.environment["seconds"]) for opened in trained.values())
    known |= {"device": first.environment["device"], "seconds": round(seconds, 1)}
    save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
    _log_mean_curves(tracked)
    best = _mean_of_best_epochs(config, trained.values())
    evaluated = conclude(tracked, config, scoring="train")
    tracked.log_metrics(
        {f"best/{name.removeprefix('val/')}": best[name] for name in best if name.startswith("val/")}
    )
    tracked.tag({"audit": evaluated.audit["verdict"]})
    announce(evaluated, tracked.id, config.tracking.uri)
    return best


def _log_mean_curves(tracked: TrackedRun) -> None:
    """Log the mean learning curves of the networks; the step of a point is the number of its epoch."""
    histories = trained_run.read(tracked.folder).network_histories
    if histories is None:
        return
    rows = network_histories.mean(histories).assign(step=lambda table: table["epoch"] + 1)
    points = [{str(name): float(value) for name, value in row.dropna().items()} for _, row in rows.iterrows()]
    if isinstance(tracked, UnfinishedRun):  # an earlier process may have logged them
        tracked.add_lost_points(points)
        return
    for point in points:
        epoch = int(point.pop("epoch"))
        del point["step"]
        tracked.add_metrics(point, epoch)
    tracked.deliver()


def _train_missing(
    config: DictConfig,
    parent: str,
    finished: dict[Place, str],
    interrupted: Mapping[Place, str],
    command: str,
) -> None:
    """Train what is missing, and add its run to `finished`; resume what was begun.

    The trainings run one after another in this process, or as jobs of the launcher if that has several.
    """
    total = len(places(config))
    try:
        if launcher := _launching():
            waiting = [
                _job(config, place, parent, command, interrupted.get(place))
                for place in missing(config, finished)
            ]
            _train_as_jobs(waiting, launcher, config, finished)
        for place in missing(config, finished):
            print(f"\n{place.label(config)}: training {places(config).index(place) + 1} of {total}")
            part = Part(
                parent,
                {REPEAT: place.repeat, FOLD: place.fold},
                _command(command, _changes(config, place)),
            )
            settings = settings_at(config, place)
            settings.resume = interrupted.get(place)
            finished[place] = pipeline.train(settings, part).id
    except BaseException:
        logger.warning(
            "%d of %d trainings of run %s have finished; train the others with resume=%s.",
            len(finished), total, parent, parent,
        )  # fmt: skip
        raise


def _train_trial(
    config: DictConfig, tracked: TrackedRun, trial: jobs.Trial, known: Mapping[str, object]
) -> Trained:
    """Train the folds of a trial until all are done or it is pruned; its value is the mean of the folds'."""
    from fibrolab.sweeps.trial_reports import TrialReports  # late: it loads Optuna

    reports, done = TrialReports(trial), list[tuple[Place, Trained]]()
    pruned = False
    for place in places(config):
        part = Part(tracked.id, {REPEAT: place.repeat, FOLD: place.fold}, str(known["command"]))
        done.append((place, pipeline.train(settings_at(config, place), part)))
        value = done[-1][1].best
        if pruned := value is not None and reports.is_pruned(len(done), value):
            break
    trained = [(*place, open_run(one.id, config.tracking.uri)) for place, one in done]
    pooled_run.write_data(tracked.folder, trained)
    save_json(dict(known), tracked.folder / keys.ENVIRONMENT_FILE)
    values = [one.best for _, one in done if one.best is not None]
    best = sum(values) / len(values) if values else None
    metrics = trials.mean([one.metrics for _, one in done])
    if not pruned:
        tracked.log_metrics({f"best/{name.removeprefix('val/')}": value for name, value in metrics.items()})
    tracked.tag({trials.STATE: "pruned" if pruned else "finished"})
    return Trained(tracked.id, best, metrics, tracked.folder, pruned)


def _train_as_jobs(
    waiting: Iterable[jobs.Job], launcher: launching.Launching, config: DictConfig, finished: dict[Place, str]
) -> None:
    """Run trainings as jobs of the launcher, and add the runs of those that finish to `finished`.

    Raises:
        TrainingError: A training did not finish; the others did.
    """
    ended = []
    for job, result in launching.run(waiting, launcher):
        ended.append((job, result))
        if result.state == "finished" and result.run:
            finished[places(config)[job.number]] = result.run
    launching.refuse_failed(ended)


def _launching() -> launching.Launching | None:
    """Return the settings of the launcher if several trainings run at a time; None within another sweep."""
    from hydra.core.hydra_config import HydraConfig

    alone = jobs.current() is None and devices.place().size == 1
    if not alone or not HydraConfig.initialized() or this_job.composed_in_python():
        return None
    settings = launching.settings(HydraConfig.get())
    launching.gpus_of_places(settings)
    return settings if settings.n_jobs > 1 else None


def _job(config: DictConfig, place: Place, parent: str, command: str, run: str | None) -> jobs.Job:
    """Return one training as a job of the launcher.

    Args:
        config: Settings of the run of all trainings.
        place: Place of the training.
        parent: Id of the run of all trainings.
        command: Command by which that run was started.
        run: Id of the run that the training resumes; None for a new one.
    """
    from hydra.core.hydra_config import HydraConfig

    changes: dict[str, Any] = {
        **_changes(config, place),
        "name": f"{place.label(config)} {config.name}",
        "folds": "null",
        "repeats": 1,
        "resume": run or "null",
    }
    given = [word for word in shlex.split(command) if "=" in word and not word.startswith(("-", "hydra"))]
    given += this_job.as_typed(HydraConfig.get().overrides.task)
    words = {word.lstrip("+").partition("=")[0]: word for word in given}  # of a resumed run, the newer counts
    words |= {name: f"{name}={value}" for name, value in changes.items()}
    return jobs.Job(
        places(config).index(place),
        tuple(words.values()),
        (),
        Path(HydraConfig.get().runtime.output_dir) / "trainings",
        parent,
        {REPEAT: place.repeat, FOLD: place.fold},
    )


def _command(command: str, changes: Mapping[str, int]) -> str:
    """Return the command that repeats one training, given the command of the run."""
    replaced = {"folds", "repeats", *changes}
    words = [word for word in shlex.split(command) if word.lstrip("+").partition("=")[0] not in replaced]
    return shlex.join([*words, *(f"{name}={value}" for name, value in changes.items())])


def _finished(config: DictConfig, parent: str) -> dict[Place, str]:
    """Return the run of each training that has finished; of several the newest."""
    return {
        Place(int(tags[REPEAT]), int(tags[FOLD])): run_id
        for run_id, status, tags in children(config.tracking.uri, parent)
        if status == "FINISHED" and {REPEAT, FOLD} <= set(tags)
    }


def _refuse_another_length(config: DictConfig, finished: Mapping[Place, str]) -> None:
    """Refuse to train what is missing longer or shorter than what has finished: all are pooled as one method.

    Raises:
        ConfigError: `trainer.max_epochs` or the patience of a callback differ.
    """
    now = flat(resolved(config))
    for place, run_id in finished.items():
        before = flat(resolved(open_run(run_id, config.tracking.uri).config))
        differing = [name for name in now if resuming.changes_length(name) and before.get(name) != now[name]]
        if differing:
            done, missing = (
                ", ".join(f"{name}={of.get(name)}" for name in differing) for of in (before, now)
            )
            raise ConfigError(
                f"{place.label(config)} has finished with {done}, and the trainings that are missing would "
                f"have {missing}: all are reported as one method. Resume the run with the former settings, "
                "or start a new one."
            )


def _interrupted(config: DictConfig, parent: str) -> dict[Place, str]:
    """Return the run of each training that was begun and can be resumed; of several the newest."""
    uri, artifacts = config.tracking.uri, config.tracking.artifacts
    return {
        Place(int(tags[REPEAT]), int(tags[FOLD])): run_id
        for run_id, status, tags in children(uri, parent)
        if status != "FINISHED" and {REPEAT, FOLD} <= set(tags)
        if (unfinished(uri, run_id, artifacts).folder / keys.CONFIG_FILE).is_file()
    }


def _mean_of_best_epochs(config: DictConfig, trained: Iterable[TrainedRun]) -> dict[str, float]:
    """Average the metrics of the best epoch of each training; none after a fast dev run, which keeps none."""
    if config.trainer.fast_dev_run:
        return {}
    rows = pd.DataFrame([best_epoch(opened.history, config.monitor, config.mode) or {} for opened in trained])
    return {str(name): float(value) for name, value in rows.mean(skipna=False).items()}
