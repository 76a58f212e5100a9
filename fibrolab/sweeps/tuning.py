"""A study from its settings to its result: its trials, then the chosen configuration, tested once."""

import contextlib
import gc
import hashlib
import json
import shlex
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.trial import FrozenTrial

from fibrolab import config as configs
from fibrolab import cross_validation, keys, tracking
from fibrolab.allowed import whole
from fibrolab.analyses import evaluating
from fibrolab.choices import refuse, unknown
from fibrolab.command_line import flat
from fibrolab.credentials import masked, to_environment
from fibrolab.errors import ConfigError, TrainingError
from fibrolab.evaluation.measures import catalogue
from fibrolab.runs import trained_run
from fibrolab.runs.trained_run import open_run
from fibrolab.sweeps import (
    chosen_experiment,
    jobs,
    search_algorithms,
    search_space,
    study_report,
    study_tables,
)
from fibrolab.sweeps.chosen_experiment import Composed
from fibrolab.sweeps.jobs import Job, Result
from fibrolab.sweeps.multirun import RECORDED, RESUME, refuse_launchers
from fibrolab.sweeps.search_space import SearchSpace, Values
from fibrolab.sweeps.shared_study import FINAL, PRUNER, RUN, SILENT, Database, Goal, SharedStudy
from fibrolab.tracking_journal import keep_earlier_error
from fibrolab.training import settings as training_settings
from fibrolab.training import without_validation

IN_A_ROW = 5  # trials that fail one after another until a sweep gives up
SPREAD = 1_000_003  # distance of the samplers' seeds of two seeds
TRIAL = "fibrolab.trial"  # tag of a trial's run: its number
CHOSEN = "fibrolab.chosen_trial"  # tag of the run that tests a trial's settings: the trial's number
# Settings that change no model, and may differ when a study goes on.
LOOSE = ("name", "paths", "tracking", "num_workers", "bootstrap", "published", "loggers", "audit", "sweep",
         "resume", "tuned_by", "predict_train")  # fmt: skip
MOVED = ("data.root", "data.path")
Launch = Callable[[Iterable[Job]], Generator[tuple[Job, Result]]]


@dataclass(frozen=True)
class Sweeper:
    """Settings of `hydra.sweeper`; see `conf/hydra/sweeper/optuna.yaml`."""

    n_trials: int = 20
    study_name: str | None = None
    storage: str = ""
    sampler: str = "tpe"
    pruner: str = "median"
    goals: list[str] | None = None
    params: dict[str, Any] = field(default_factory=dict)

    def faults(self) -> Iterator[str]:
        """Yield a sentence on each setting that is out of range."""
        if not (number := whole(1)).holds(self.n_trials):
            yield f"hydra.sweeper.n_trials={self.n_trials} is not {number.words}."
        if self.sampler not in search_algorithms.NAMES:
            yield unknown("hydra.sweeper.sampler", self.sampler, search_algorithms.NAMES)
        if self.pruner not in search_algorithms.PRUNERS:
            yield unknown("hydra.sweeper.pruner", self.pruner, search_algorithms.PRUNERS)


@dataclass(frozen=True)
class Plan:
    """A study that is about to begin.

    Attributes:
        sweeper: Settings of the sweeper.
        words: Overrides of every trial.
        config: The settings without those of the space.
        space: The parameters.
        goals: The values by which trials are compared.
        folder: Folder of this sweep.
        name: Name of the study.
        configs: Folder of configs for the chosen experiment, and the words that its command needs.
    """

    sweeper: Sweeper
    words: tuple[str, ...]
    config: DictConfig
    space: SearchSpace
    goals: tuple[Goal, ...]
    folder: Path
    name: str
    configs: tuple[Path, str]

    @property
    def prunes(self) -> bool:
        """Return whether trials may end early; with several goals none may."""
        return len(self.goals) == 1 and self.sweeper.pruner != "none"

    @property
    def steps(self) -> int:
        """Largest number of values that a trial reports."""
        folds = self.config.split.folds if self.config.folds == "all" else 0
        return int(folds * self.config.repeats or self.config.trainer.max_epochs or 1)


class Composer:
    """Composes the configs of jobs from overrides, as their own commands do.

    Args:
        loader: Hydra's loader of configs.
        master: The config of the sweep, with `hydra`.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master = loader, master

    def whole(self, words: Sequence[str]) -> DictConfig:
        """Compose a config with the node `hydra`."""
        own = self.master.hydra.overrides.hydra
        others = [word for word in own if not word.lstrip("+").startswith(("hydra.sweeper", "hydra/sweeper"))]
        name = self.master.hydra.job.config_name
        found: DictConfig = self.loader.load_configuration(name, [*others, *words], run_mode=RunMode.RUN)
        return found

    def __call__(self, words: Sequence[str]) -> Composed:
        """Compose a config."""
        found = self.whole(words)
        HydraConfig.instance().set_config(found)
        choices = dict(found.hydra.runtime.choices)
        config = found.copy()
        with open_dict(config):
            del config["hydra"]
        return Composed(config, choices)

    def checked(self, words: Sequence[str]) -> DictConfig:
        """Compose a config, and refuse it as its own command would.

        Raises:
            ConfigError: A setting is refused.
        """
        config = self(words).config
        configs.check(config)
        training_settings.check(config)
        return config


def planned(arguments: Sequence[str], master: DictConfig, compose: Composer, name: str = "") -> Plan:
    """Check the settings of a sweep and every bound of its space, before a study is opened.

    Args:
        arguments: Overrides of the command line.
        master: The config of the sweep, with `hydra`.
        compose: Composes the configs of its jobs.
        name: Name of the study, if it is not that of the settings.

    Raises:
        ConfigError: A setting is refused, or the space contradicts the configuration.
    """
    given = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
    assert isinstance(given, dict)
    known = {each.name for each in fields(Sweeper)} | {"_target_"}
    refuse([unknown("hydra.sweeper", name, known - {"_target_"}) for name in given if name not in known])
    sweeper = Sweeper(**{str(key): value for key, value in given.items() if key != "_target_"})
    refuse(list(sweeper.faults()))
    parser = OverridesParser.create()
    swept = [word for word in arguments if parser.parse_override(word).is_sweep_override()]
    fixed = tuple(word for word in arguments if word not in swept)
    space = search_space.parsed(sweeper.params, swept)
    refuse(list(_contradictions(space, fixed)))
    config = compose.checked(fixed)
    goals = tuple(_goals(sweeper.goals, config))
    folds = config.folds == "all"
    refuse(
        [
            *search_algorithms.faults(sweeper.sampler, sweeper.pruner, space, len(goals), folds),
            *_fold_faults(config),
            *_loss_faults(space, goals),
            *_value_faults(config),
            *without_validation.faults_of_study(configs.resolved(config)),
        ]
    )
    points = [[*fixed, *_words(point)] for point in space.corners()]
    refuse_launchers(master, compose.whole, points)
    for words in points:
        compose.checked(words)
    name = name or sweeper.study_name or f"{config.name}-{_digest(space, config, goals)}"
    return Plan(
        sweeper, fixed, config, space, goals, Path(master.hydra.sweep.dir).absolute(), name,
        _place_of_configs(master, config),
    )  # fmt: skip


def _contradictions(space: SearchSpace, fixed: Sequence[str]) -> Iterator[str]:
    named = {word.lstrip("+").partition("=")[0]: word for word in fixed}
    for parameter in space.everything():
        if parameter.name in named:
            yield (
                f"{named[parameter.name].lstrip('+')} fixes a parameter of the space: leave it out, or take "
                f"{parameter.name} out of hydra.sweeper.params."
            )


def _fold_faults(config: DictConfig) -> Iterator[str]:
    if config.folds == "all" and "test" not in config.split:
        yield (
            "folds=all of split=kfold would choose the settings by every sample and then test them on the "
            "same ones: take split=folds_in_training, which keeps a test partition, or sweep.outer_folds=5."
        )


def _value_faults(config: DictConfig) -> Iterator[str]:
    if not str(config.monitor).startswith("val/"):
        yield (
            f"monitor={config.monitor} is not measured on validation samples, by which a study chooses: set "
            "monitor=val/loss, or another metric of val/."
        )
    if config.trainer.fast_dev_run or config.trainer.get("limit_val_batches") == 0:
        yield (
            f"Trials would have no {config.monitor}, by which they are compared and pruned: leave "
            "trainer.fast_dev_run, debug=fast_dev_run and trainer.limit_val_batches=0 out."
        )


def _loss_faults(space: SearchSpace, goals: Sequence[Goal]) -> Iterator[str]:
    losses = [one.name for one in space.everything() if one.name.split(".")[0] == "loss"]
    if losses and any(goal.name.endswith("/loss") for goal in goals):
        yield (
            f"{losses[0]} changes the loss itself, so trials cannot be compared by it: set monitor=val/qwk "
            "mode=max, or another metric."
        )


def _goals(names: Sequence[str] | None, config: DictConfig) -> Iterator[Goal]:
    """Yield the goals with their better ends; the monitored metric if none is named.

    Raises:
        ConfigError: A name is unknown, or the only goal is not the monitored metric.
    """
    if not names:
        names = [config.monitor]
    if len(names) == 1 and names[0] != config.monitor:
        raise ConfigError(
            f"hydra.sweeper.goals=[{names[0]}] is not the monitored metric, by which the best epoch is kept: "
            f"set monitor={names[0]} instead."
        )
    for name in names:
        metric = catalogue.find(name.removeprefix("val/")) if name.startswith("val/") else None
        if name == config.monitor:
            yield Goal(name, config.mode)
        elif name in (keys.LATENCY, "val/loss"):
            yield Goal(name, "min")
        elif metric is not None:
            yield Goal(name, "max" if metric.higher_is_better else "min")
        else:
            known = [keys.LATENCY, "val/loss", *(f"val/{one.overall}" for one in catalogue.METRICS)]
            raise ConfigError(unknown("hydra.sweeper.goals", name, known))


def _identity(config: DictConfig) -> dict[str, str]:
    """Return the settings by which two studies of one space differ, flat."""
    named = flat({name: part for name, part in configs.resolved(config).items() if name not in LOOSE})
    return {name: str(value) for name, value in named.items() if name not in MOVED}


def _digest(space: SearchSpace, config: DictConfig, goals: Sequence[Goal]) -> str:
    content = [space.described(), _identity(config), [[goal.name, goal.mode] for goal in goals]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _place_of_configs(master: DictConfig, config: DictConfig) -> tuple[Path, str]:
    """Return the folder for the chosen experiment, and the words by which its command finds it.

    That is the folder of `--config-dir`, or `conf` below `paths.root`: in a checkout its own `conf`.
    """
    sources = master.hydra.runtime.config_sources
    own = [Path(source.path) for source in sources if source.provider == "command-line"]
    folder = own[0] if own else Path(config.paths.root, "conf").absolute()
    return folder, "" if folder == configs.folder() else f"--config-dir {shlex.quote(str(folder))} "


def _named(values: Values) -> list[tuple[str, str]]:
    return [(key.lstrip("+"), value) for key, value in values.items()]


def _words(values: Values) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


class Tuning:
    """One study, opened.

    Args:
        plan: Its settings.
        launch: Runs jobs and yields each with its result.
        compose: Composes configs.

    Raises:
        ConfigError: A study of this name has another space or other settings.
        StorageError: The database cannot be used.
    """

    def __init__(self, plan: Plan, launch: Launch, compose: Composer) -> None:
        self.plan, self._launch, self._compose = plan, launch, compose
        (self._storage,) = to_environment([plan.sweeper.storage])  # of the children: it shows no password
        self._place = configs.resolved(plan.config)["tracking"]
        self.study = SharedStudy(
            Database(plan.sweeper.storage),
            plan.name,
            plan.goals,
            plan.space,
            _identity(plan.config),
            self._create_run,
        )
        with self.study.database.faults():
            self.study.study.set_user_attr(PRUNER, [plan.sweeper.pruner, plan.steps])

    @property
    def _uri(self) -> str:
        return str(self._place["uri"])

    def _create_run(self) -> str:
        tags = {"model": self.plan.config.model.name, "data": self.plan.config.data.name}
        return tracking.begin(**self._place, name=self.plan.name, tags=tags)

    def announce(self) -> None:
        """Print what goes on and how to follow it."""
        plan, study = self.plan, self.study
        url = masked(study.database.url)
        print(f"study    {plan.name}: {study.done} of {plan.sweeper.n_trials} trials, in {url}")
        print(f"run      {study.run_id}; the same command goes on with this study")
        print(f"browser  {shlex.join(['optuna-dashboard', url])}", flush=True)
        if len(plan.goals) > 1 and plan.sweeper.pruner != "none":
            print("         With several goals no trial is pruned.")

    def run(self) -> str | None:
        """Run the trials that are missing, then conclude the study.

        Returns:
            The run of the chosen configuration; None if another process concludes the study, or if several
            goals leave the choice to the user.

        Raises:
            TrainingError: Several trials failed one after another, or the chosen configuration did.
        """
        tracking.mark_running(self._uri, self.study.run_id)
        try:
            with self.study.beating():
                self._run_trials()
                if self.study.claim():
                    return self._conclude()
            print("Other processes still work on this study; the last of them concludes it. If they were")
            print(f"killed, the same command does so after {SILENT / 60:g} minutes.")
            return None
        except BaseException as error:
            status: Any = "FAILED" if isinstance(error, Exception) else "KILLED"
            with keep_earlier_error():
                tracking.mark_ended(self._uri, self.study.run_id, status)
            with keep_earlier_error():  # on a full disk, the next command settles the trials
                self.study.give_up()
            raise
        finally:
            self.study.release()

    def _run_trials(self) -> None:
        """Run trials until the study has its number of them."""
        in_a_row = 0
        while True:
            begun = False
            # Closing it ends the jobs after an error.
            with contextlib.closing(self._launch(self._jobs())) as ended:
                for job, result in ended:
                    begun = True
                    self.study.tell(job.number, result)
                    in_a_row = 0 if result.state in ("finished", "pruned") else in_a_row + 1
                    if in_a_row == IN_A_ROW:
                        raise TrainingError(
                            f"{IN_A_ROW} trials failed one after another, the last one with: {result.error} "
                            f"See {job.folder / jobs.LOG_FILE}. The study goes on with the same command."
                        )
            if not begun:  # a trial that failed while no other was to begin is replaced
                return

    def _jobs(self) -> Iterator[Job]:
        """Yield the next trial as a job whenever the launcher has a place."""
        plan, sweeper = self.plan, self.plan.sweeper

        def sampler(number: int) -> Any:
            # Of seed and number: a study that goes on, or is shared, repeats no draw.
            return search_algorithms.build(
                sweeper.sampler, plan.space, (plan.config.seed * SPREAD + number) % 2**32
            )

        total = sweeper.n_trials
        if sweeper.sampler == search_algorithms.GRID:
            total = min(total, search_algorithms.size_of_grid(plan.space))
        while asked := self.study.ask(total, sampler, plan.folder):
            trial, values = asked
            own = _words(values)
            yield Job(
                number=trial.number,
                overrides=(*plan.words, *own),
                own=tuple(map(_short, own)),
                sweep=plan.folder,
                parent=self.study.run_id,
                tags={TRIAL: trial.number}
                | {f"param.{key.lstrip('+')}": value for key, value in values.items()},
                trial=jobs.Trial(self._storage, plan.name, trial._trial_id, plan.prunes),
            )

    def _conclude(self) -> str | None:
        """Write the tables and the chosen experiment, and test it once."""
        study, plan = self.study, self.plan
        best = study_tables.front(study)
        if not best:
            raise TrainingError(f"No trial of the study {plan.name} finished, so there is nothing to choose.")
        single = len(plan.goals) == 1
        experiment = self._write_experiment(best[0], plan.name) if single else ""
        with tracking.add_to(self._uri, study.run_id) as tracked:
            page = study_report.write(study, tracked.folder, self._uri, experiment)
            self._write_data(best[0], tracked.folder)
            if single:
                tracked.log_metrics({f"best/{plan.goals[0].name.removeprefix('val/')}": best[0].values[0]})
        if tracked.is_local:
            print(f"page     {page}")
        tracking.mark_ended(self._uri, study.run_id, "FINISHED")
        if not single:
            for trial in best:
                self._write_experiment(trial, f"{plan.name}-{trial.number}")
            print("Choose one of these before you look at its test; training it tests it once.")
            return None
        return self._tested(best[0])

    def _write_data(self, trial: FrozenTrial, folder: Path) -> None:
        """Copy the files by which a later run knows the samples that chose its settings."""
        run = open_run(str(trial.user_attrs[RUN]), self._uri)
        for name in (keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.ENVIRONMENT_FILE):
            shutil.copyfile(run.folder / name, folder / name)

    def _values_of(self, trial: FrozenTrial) -> Values:
        """Return the values of a trial as words, by key."""
        return {
            one.key: str(value) if one.is_choice else repr(value)
            for one in self.plan.space.everything()
            if (value := trial.params.get(one.name)) is not None
        }

    def _write_experiment(self, trial: FrozenTrial, name: str) -> str:
        """Write the settings of a trial, and return the words of the command that trains them."""
        plan, values = self.plan, self._values_of(trial)
        folder, flags = plan.configs
        reached = ", ".join(
            f"{goal.name} {value:.4g}" for goal, value in zip(plan.goals, trial.values, strict=True)
        )
        why = f"Chosen among {self.study.done} trials of the study {plan.name} ({reached})"
        chosen = self._compose([*plan.words, *_words(values)])
        path = chosen_experiment.write(folder, name, chosen, self._compose, self.study.run_id, why, flags)
        print(f"chosen   trial {trial.number}: {' '.join(_words(values))} ({reached})")
        words = f"{flags}experiment={path.stem}"
        print(f"config   {path}; python -m fibrolab.train {words}", flush=True)
        return words

    def _tested(self, trial: FrozenTrial) -> str:
        """Train the chosen configuration once more and test it, unless it was; go on where it was killed."""
        study, known = self.study, self.study.study.user_attrs.get(FINAL)
        runs = self._runs_of(trial)
        before = [run_id for run_id, status in runs if status == "FINISHED"]
        if known and known["trial"] == trial.number:
            before = [str(known["run"])]
        if before:
            print(f"tested   run {before[0]}, before")
            return self._keep_tested(trial, before[0])
        own = [*_words(self._values_of(trial)), f"tuned_by=[{study.run_id}]"]
        job = Job(
            number=len(study.trials),
            overrides=(
                *self.plan.words,
                *own,
                f"name=chosen {self.plan.config.name}",
                *(f"{RESUME}{run_id}" for run_id, _ in runs[-1:]),
            ),
            own=(),
            sweep=self.plan.folder,
            parent=study.run_id,
            tags={CHOSEN: trial.number},
        )
        ((_, result),) = self._launch([job])
        log = job.folder / jobs.LOG_FILE
        if result.state != "finished" or result.run is None:
            raise TrainingError(f"The chosen configuration was not tested: {result.error} See {log}.")
        print("The chosen configuration, trained once more and tested once:")
        evaluating.announce(trained_run.read(tracking.finished(self._uri, result.run)), result.run, self._uri)
        return self._keep_tested(trial, result.run)

    def _runs_of(self, trial: FrozenTrial) -> list[tuple[str, str]]:
        """Return id and status of the runs that test the settings of a trial, also of killed sweeps."""
        return [
            (run_id, status)
            for run_id, status, tags in tracking.children(self._uri, self.study.run_id)
            if tags.get(CHOSEN) == str(trial.number) and RECORDED in tags
        ]

    def _keep_tested(self, trial: FrozenTrial, run_id: str) -> str:
        with self.study.database.faults():
            self.study.study.set_user_attr(FINAL, {"trial": trial.number, "run": run_id})
        return run_id


def _short(word: str) -> str:
    """Return a word for the table of jobs, a number with three digits."""
    key, _, value = word.partition("=")
    with contextlib.suppress(ValueError):
        value = value if value.lstrip("-").isdigit() else f"{float(value):.3g}"
    return f"{key.lstrip('+')}={value}"


def tune(arguments: Sequence[str], master: DictConfig, loader: Any, launch: Launch) -> str | None:
    """Run a study, or go on with it; with `sweep.outer_folds`, one in each of these folds.

    Args:
        arguments: Overrides of the command line.
        master: The config of the sweep, with `hydra`.
        loader: Hydra's loader of configs.
        launch: Runs jobs and yields each with its result.

    Returns:
        The tested run; None where several goals leave the choice to the user, or another process tests.

    Raises:
        FibrolabError: Settings are refused, the database cannot be used, or trainings failed.
    """
    gc.enable()
    compose = Composer(loader, master)
    plan = planned(arguments, master, compose)
    if plan.config.sweep.outer_folds is not None:
        return _nested(arguments, plan, master, compose, launch)
    tuning = Tuning(plan, launch, compose)
    tuning.announce()
    return tuning.run()


def _nested(
    arguments: Sequence[str], plan: Plan, master: DictConfig, compose: Composer, launch: Launch
) -> str | None:
    """Run a nested cross-validation: one study in each outer fold, whose choice is tested on that fold.

    The predictions of all outer folds are pooled. They measure the whole procedure, the search included,
    since no sample took part in choosing the settings by which it is tested (Varma and Simon, BMC
    Bioinformatics 7:91, 2006).
    """
    number = plan.config.sweep.outer_folds
    refuse(list(_outer_faults(plan, number)))
    tested: dict[cross_validation.Place, str] = {}
    for fold in range(number):
        words = [f"split.folds={number}", f"split.fold={fold}"]
        words = ["split=kfold", *words] if plan.config.split.name != "kfold" else words
        inner = planned([*arguments, *words], master, compose, f"{plan.name}-outer-{fold}")
        print(f"\nouter fold {fold + 1} of {number}")
        inner = replace(inner, folder=inner.folder / f"outer-{fold}")
        tuning = Tuning(inner, launch, compose)
        tuning.announce()
        if (run_id := tuning.run()) is not None:
            tested[cross_validation.Place(0, fold)] = run_id
    if len(tested) < number:
        print("Other processes still work on outer folds: the same command pools them afterwards.")
        return None
    config = compose([*plan.words, "split=kfold", f"split.folds={number}", "folds=all"]).config
    config.name = plan.name
    return cross_validation.pool(config, tested)


def _outer_faults(plan: Plan, number: object) -> Iterator[str]:
    if not (allowed := whole(2)).holds(number):
        yield f"sweep.outer_folds={number} is not {allowed.words}."
    if len(plan.goals) > 1:
        yield "sweep.outer_folds needs one goal, by which the settings of each fold are chosen."
    if plan.config.folds is not None or plan.config.repeats != 1:
        yield "sweep.outer_folds trains all folds itself: leave folds and repeats out."
    given = [word for word in plan.words if word.startswith("split") and word != "split=kfold"]
    if others := [
        word for word in given if not word.startswith(("split.seed=", "split.val=", "split.grouped="))
    ]:
        yield f"sweep.outer_folds splits by split=kfold: leave {', '.join(others)} out."
