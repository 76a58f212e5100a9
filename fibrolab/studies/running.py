"""The command `study`: run what is missing of a study, gather its results, and print its tables."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fibrolab import explain, keys, tracking
from fibrolab.analyses import checking_published, stacking
from fibrolab.choices import unknown
from fibrolab.config import composed, resolved
from fibrolab.data.build_lock import only_builder
from fibrolab.errors import ConfigError, FibrolabError, TrainingError, listing
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.studies import definition, outlook, page, readme, results, trainings
from fibrolab.studies.definition import SIZES, Arm, Study
from fibrolab.studies.trainings import Data, Place, Training
from fibrolab.sweeps import jobs, launching, multirun, this_job
from fibrolab.sweeps.jobs import Job
from fibrolab.tracked_run import PARENT

STUDY = "fibrolab.paper_study"  # tag of the run of a study: its name and size
KEY = "fibrolab.training_key"  # tag of a run: the key of its training (`trainings.key`)
PLACE = "fibrolab.place"  # tag of a run: its place in the study
SHARED = ("paths.", "tracking.", "bootstrap.level")  # settings of the command that its trainings take too
EXPERIMENT = "tracking.experiment"
PSEUDO_MASKS = ("pseudo_masks=true", "samples=64")

_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """A study at one size, and how far it is.

    Attributes:
        config: `conf/study.yaml`, composed.
        study: The study.
        given: Words of the user for every training.
        places: Places of all trainings.
        composed: Trainings by their places, those that need runs of others with placeholders.
        data: Data of the trainings.
        runs: Finished run of each place.
        failed: Reason why a place has no run.
        logs: Log of the failed training of a place; no result names it.
    """

    config: DictConfig
    study: Study
    given: tuple[str, ...]
    places: list[Place] = field(init=False)
    composed: dict[Place, Training] = field(init=False)
    data: Data = field(default_factory=Data)
    runs: dict[Place, str] = field(default_factory=dict)
    failed: dict[Place, str] = field(default_factory=dict)
    logs: dict[Place, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = trainings.places(self.study, self.size)
        trained = [place for place in self.places if not self.arm(place).stack]
        self.composed = {place: self.training(place) for place in trained}

    @property
    def size(self) -> str:
        """Size of the study."""
        return str(self.config.size)

    @property
    def uri(self) -> str:
        """Tracking database or server."""
        return str(self.config.tracking.uri)

    @property
    def missing(self) -> list[Place]:
        """Places without a finished run."""
        return [place for place in self.places if place not in self.runs]

    def arm(self, place: Place) -> Arm:
        """Return the arm of a place."""
        return self.study.arms[place.arm]

    def training(self, place: Place) -> Training:
        """Compose the training of a place with the runs that have finished."""
        return trainings.compose(self.study, self.size, place, self.given, self.runs)

    def of(self, wave: Sequence[Arm]) -> list[Place]:
        """Return the places of some arms."""
        return [place for place in self.places if self.arm(place) in wave]

    def lacking(self, place: Place) -> list[str]:
        """Return the arms that a place needs and that have no run."""
        return [other for other in self.arm(place).needs if place._replace(arm=other) not in self.runs]

    def key(self, place: Place) -> str:
        """Return the key of a place whose needed runs have finished."""
        arm = self.arm(place)
        if arm.stack:
            needed = [self.runs[place._replace(arm=other)] for other in arm.stack]
            return " ".join([trainings.source(), "stack", *needed, *arm.columns])
        training = self.training(place)
        return trainings.key(training, self.data.of(training))


def run(config: DictConfig, passed: Sequence[str] = ()) -> str:
    """Run a study, or list what would run, check its published numbers, or rebuild its tables.

    Args:
        config: `conf/study.yaml`, composed.
        passed: Settings of every training.

    Returns:
        Folder of the results; with `check` that of the findings.

    Raises:
        ConfigError: The study or a setting has faults; nothing was trained.
        TrainingError: Some trainings did not finish; the tables mark them.
    """
    if not isinstance(config.check, bool):
        checking_published.run(str(config.check), str(config.folder))
        return str(config.folder)
    if config.study is None:
        known = ", ".join(definition.names(Path(config.paths.root)))
        raise ConfigError(f"Name a study, such as study=paper1, or a YAML of your own; there are {known}.")
    if config.size not in SIZES:
        raise ConfigError(unknown("size", config.size, SIZES))
    study = definition.read(str(config.study), Path(config.paths.root))
    if config.check:
        if not (numbers := study.folder / results.PUBLISHED_FILE).is_file():
            raise ConfigError(f"Study {study.name} has no published numbers: there is no file {numbers}.")
        checking_published.run(numbers, str(config.folder))
        return str(config.folder)
    results.published(study)  # refuses numbers of arms that the study does not have
    folder = study.home / "results" / str(config.size)
    if config.rebuild:
        _written(study, str(config.size), results.read(folder), folder)
        return str(folder)
    lock = Path(config.paths.cache) / "studies" / f"{study.name} {config.size}.lock"
    with only_builder(lock, f"results of study {study.name} ({config.size})"):
        return _run(Progress(config, study, (*_shared(config), *passed)), folder)


def _run(progress: Progress, folder: Path) -> str:
    config, study = progress.config, progress.study
    parent = _known_parent(progress)
    if parent:
        _find(progress, parent)
    missing, number = progress.missing, len(progress.places)
    print(f"study    {study.title}\nmissing  {len(missing)} of {number} trainings at size={progress.size}")
    known = results.read(folder) if results.exists(folder) else None
    outlook.announce(study, missing, progress.composed, progress.data, known, bool(config.dry_run))
    if config.dry_run:
        return str(folder)
    if missing:
        parent = _begun(progress, parent)
        with _ended(progress, parent):
            for wave in study.waves():
                _train(progress, parent, wave)
    runs = _opened(progress)
    found = results.gathered(study, progress.places, progress.composed, runs, progress.failed, config)
    found[results.PICTURES] = _pictures(progress, runs, folder / keys.FIGURES)
    results.write(folder, found)
    found = results.read(folder)  # so that pages made now and rebuilt later are the same
    _written(study, progress.size, found, folder)
    with tracking.add_to(progress.uri, parent) as tracked:
        results.write(tracked.folder, found)
        if (folder / keys.FIGURES).is_dir():
            shutil.copytree(folder / keys.FIGURES, tracked.folder / keys.FIGURES, dirs_exist_ok=True)
        page.write(study, progress.size, found, tracked.folder)
    if progress.failed:
        logs = {place: f" See {path}." for place, path in progress.logs.items()}
        lines = [f"{place}: {reason}{logs.get(place, '')}" for place, reason in progress.failed.items()]
        raise TrainingError(f"{len(lines)} of {number} trainings did not finish:\n{listing(lines)}")
    return str(folder)


def _opened(progress: Progress) -> dict[Place, TrainedRun]:
    """Open the finished runs; one whose files were damaged or removed since becomes a hole in the tables."""
    opened = {}
    for place in progress.places:
        if place not in progress.runs:
            continue
        try:
            run = open_run(progress.runs[place], progress.uri)
            _ = run.tested  # reads the predictions and checks them against manifest and split
            opened[place] = run
        except FibrolabError as error:
            _log.warning("%s: %s", place, error)  # with the path, which results do not show
            progress.failed[place] = f"the files of its run {progress.runs[place]} cannot be read."
    return opened


def _pictures(progress: Progress, runs: Mapping[Place, TrainedRun], folder: Path) -> pd.DataFrame:
    """Draw what only the runs and their files can show, and return its table."""
    from fibrolab.studies import study_pictures  # late: it loads torch

    cache = Path(progress.config.paths.cache)
    study, places = progress.study, progress.places
    learnt = [place for place in runs if progress.arm(place).masks_of]  # whose data are of a finished run
    composed = progress.composed | {place: progress.training(place) for place in learnt}
    return study_pictures.draw(folder, study, places, composed, runs, progress.data, cache)


def _written(study: Study, size: str, tables: results.Tables, folder: Path) -> None:
    """Write README and page, and print where they are."""
    print(f"results  {folder}")
    print(f"readme   {readme.write(study, size, tables)}")
    print(f"page     {page.write(study, size, tables, folder)}", flush=True)


def _shared(config: DictConfig) -> list[str]:
    """Return the words of this command that its trainings take too.

    The experiment is always among them: MLflow nests runs of one experiment only.
    """
    words = [
        *this_job.as_typed(HydraConfig.get().overrides.task),
        f"{EXPERIMENT}={config.tracking.experiment}",
    ]
    return [word for word in words if word.lstrip("+").startswith(SHARED)]


def _known_parent(progress: Progress) -> str:
    """Return the run of an earlier call of this study; empty if there is none."""
    experiment = str(progress.config.tracking.experiment)
    known = tracking.tagged(progress.uri, experiment, STUDY, _tag(progress))
    return known[0] if known else ""


def _tag(progress: Progress) -> str:
    return f"{progress.study.name} {progress.size}"


def _begun(progress: Progress, parent: str) -> str:
    """Return the run of the study, marked as running; it is created at the first call."""
    if parent:
        tracking.mark_running(progress.uri, parent)
        return parent
    place = resolved(progress.config)["tracking"]
    name = f"{progress.study.name} ({progress.size})"
    return tracking.begin(**place, name=name, tags={STUDY: _tag(progress)})


@contextlib.contextmanager
def _ended(progress: Progress, parent: str) -> Iterator[None]:
    """Set the final status of the study's run; say how to go on after an interruption."""
    try:
        yield
    except KeyboardInterrupt as stop:
        tracking.mark_ended(progress.uri, parent, "KILLED")
        raise KeyboardInterrupt("the same command goes on with what is missing") from stop
    except BaseException:
        tracking.mark_ended(progress.uri, parent, "FAILED")
        raise
    tracking.mark_ended(progress.uri, parent, "FAILED" if progress.failed else "FINISHED")


def _find(progress: Progress, parent: str) -> None:
    """Add the runs of earlier calls that are up to date, wave by wave."""
    by_key = _children(progress, parent, finished=True)
    for wave in progress.study.waves():
        for place in progress.of(wave):
            if progress.lacking(place):
                continue
            with contextlib.suppress(FibrolabError):  # such as maps that were not made yet: `_train` tells it
                if run_id := by_key.get(progress.key(place)):
                    progress.runs[place] = run_id


def _children(progress: Progress, parent: str, finished: bool) -> dict[str, str]:
    """Return the run of each key that has finished; or of each that can be resumed. Of several the newest."""
    return {
        tags[KEY]: run_id
        for run_id, status, tags in tracking.children(progress.uri, parent)
        if KEY in tags and (status == "FINISHED") == finished and (finished or multirun.RECORDED in tags)
    }


def _train(progress: Progress, parent: str, wave: Sequence[Arm]) -> None:
    """Run what is missing of one wave; a failure leaves the others' runs usable."""
    interrupted = _children(progress, parent, finished=False)
    made: dict[int, Job] = {}
    for place in progress.of(wave):
        if place in progress.runs:
            continue
        if lacking := progress.lacking(place):
            progress.failed[place] = f"it needs a run of {', '.join(lacking)}, which did not finish."
            continue
        try:
            if job := _job(progress, place, parent, interrupted):
                made[job.number] = job
        except FibrolabError as error:
            progress.failed[place] = " ".join(str(error).split())
    for job, result in launching.run(made.values(), _launching()) if made else ():
        place = progress.places[job.number]
        if result.state == "finished" and result.run:
            progress.runs[place] = result.run
        else:
            progress.failed[place] = f"{result.state}. {' '.join(result.error.split())}"
            progress.logs[place] = job.folder / jobs.LOG_FILE


def _job(progress: Progress, place: Place, parent: str, interrupted: Mapping[str, str]) -> Job | None:
    """Return the job of a place; None for a regression on other runs, which is done at once.

    Raises:
        FibrolabError: Maps, regression or settings were refused.
    """
    arm = progress.arm(place)
    if arm.masks_of:
        classifier = progress.runs[place._replace(arm=arm.masks_of)]
        with composed("explain", [f"run={classifier}", *PSEUDO_MASKS, *_places(progress.config)]) as settings:
            explain.imported(settings)(settings)
    key = progress.key(place)
    if arm.stack:
        progress.runs[place] = _stack(progress, place, parent, key)
        return None
    resume = [f"{multirun.RESUME}{interrupted[key]}"] if key in interrupted else []
    words = (*progress.training(place).words, *resume)
    number, tags = progress.places.index(place), {KEY: key, PLACE: str(place)}
    return Job(number, words, (str(place),), _folder_of_jobs(), parent, tags)


def _stack(progress: Progress, place: Place, parent: str, key: str) -> str:
    """Combine the out-of-fold predictions of arms and clinical values, as a run of the study."""
    arm = progress.arm(place)
    named = ",".join(f"{other}: [{progress.runs[place._replace(arm=other)]}]" for other in arm.stack)
    words = [f"runs={{{named}}}", f"columns=[{','.join(arm.columns)}]", f"name='{place}'"]
    with composed("stack", [*words, *_places(progress.config)]) as settings:
        run_id = stacking.run(settings)
    with tracking.add_to(progress.uri, run_id) as tracked:
        tracked.tag({KEY: key, PLACE: str(place), PARENT: parent})
    return run_id


def _places(config: DictConfig) -> list[str]:
    """Return the words on places that other commands take too."""
    return [word for word in _shared(config) if not word.lstrip("+").startswith("bootstrap")]


def _launching() -> launching.Launching:
    """Return the settings of the launcher."""
    if this_job.composed_in_python():
        return launching.Launching(warm=launching.WARM)
    return launching.settings(HydraConfig.get())


def _folder_of_jobs() -> Path:
    hydra = HydraConfig.get()
    place = hydra.run.dir if this_job.composed_in_python() else hydra.runtime.output_dir
    return launching.writable(Path(place).absolute() / "trainings")
