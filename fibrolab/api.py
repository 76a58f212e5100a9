"""The commands as Python functions, for notebooks: arguments as on the command line, results as objects.

    from fibrolab import api

    run = api.train("model=hybrid", "data=phantom", "trainer.max_epochs=5")
    run.metrics      # a DataFrame
    run.report       # shown inline by Jupyter
    again = api.open_run(run.run_id)

Faults of the user raise `fibrolab.errors.FibrolabError`. The process keeps its signal handlers, its working
directory, and the state of Hydra if it is in use.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.config import composed
from fibrolab.config import run as perform
from fibrolab.runs import TrainedRun
from fibrolab.runs import open_run as open_run
from fibrolab.runs.inline_page import Page

if TYPE_CHECKING:
    from fibrolab.explanation.maps import Maps


@dataclass(frozen=True)
class Audit:
    """Results of an audit.

    Attributes:
        folder: Folder with the files of the audit.
    """

    folder: Path

    @cached_property
    def found(self) -> dict[str, Any]:
        """Content of `audit.json`: all results of the audit."""
        content = json.loads((self.folder / keys.AUDIT_FILE).read_text(encoding="utf-8"))
        assert isinstance(content, dict)
        return content

    @property
    def verdict(self) -> str:
        """`ok`, `warning` or `fail`."""
        return str(self.found["verdict"])

    @property
    def report(self) -> Page:
        """The audit's page."""
        return Page(self.folder / keys.AUDIT_PAGE)


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison.

    Attributes:
        id: Id of the comparison's run in MLflow.
        folder: Folder with the files of the comparison.
    """

    id: str
    folder: Path

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per difference, with its interval and tests."""
        from fibrolab.reporting.comparison_page import TABLE_FILE

        return pd.read_csv(self.folder / TABLE_FILE)

    @property
    def report(self) -> Page:
        """The comparison's page."""
        from fibrolab.reporting.comparison_page import PAGE_FILE

        return Page(self.folder / PAGE_FILE)


@dataclass(frozen=True)
class Answers:
    """Answers of a trained run to new samples.

    Attributes:
        folder: Folder with the files of the answers.
    """

    folder: Path

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row a sample: probabilities, class, confidence, prediction set, end points, copies, errors."""
        from fibrolab.analyses.answer_files import TABLE_FILES

        return pd.read_parquet(self.folder / TABLE_FILES[-1])

    @cached_property
    def patients(self) -> pd.DataFrame:
        """One row a patient; none if no sample has a patient."""
        from fibrolab.analyses.answer_files import PATIENTS_FILE

        path = self.folder / PATIENTS_FILE
        return pd.read_csv(path, dtype={keys.PATIENT_ID: str}) if path.is_file() else pd.DataFrame()

    @property
    def report(self) -> Page:
        """The page of the answers."""
        from fibrolab.reporting.answers_page import PAGE_FILE

        return Page(self.folder / PAGE_FILE)


@dataclass(frozen=True)
class Monitored:
    """New pictures and answers, compared with the validation of their run.

    Attributes:
        folder: Folder with the files of the comparison.
    """

    folder: Path

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a week and quantity: means, difference with its interval, distance, p values."""
        from fibrolab.analyses.monitoring import TABLE_FILE

        return pd.read_csv(self.folder / TABLE_FILE)

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """The findings: each has a `text`, and says whether it is an `alarm`."""
        from fibrolab.analyses.monitoring import RECORD_FILE

        return list(json.loads((self.folder / RECORD_FILE).read_text(encoding="utf-8"))["findings"])

    @property
    def report(self) -> Page:
        """The page of the comparison."""
        from fibrolab.reporting.monitoring_page import PAGE_FILE

        return Page(self.folder / PAGE_FILE)


@dataclass(frozen=True)
class Markers:
    """Results of scored markers.

    Attributes:
        id: Id of their run in MLflow.
        folder: Folder with their files.
    """

    id: str
    folder: Path

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per marker, end point, cut-off and measure, with its interval."""
        from fibrolab.reporting.markers_page import TABLE_FILE

        return pd.read_csv(self.folder / TABLE_FILE)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """One row per end point and pair of markers, with its interval and test."""
        from fibrolab.reporting.markers_page import DIFFERENCES_FILE

        return pd.read_csv(self.folder / DIFFERENCES_FILE)

    @property
    def report(self) -> Page:
        """The page of the markers."""
        from fibrolab.reporting.markers_page import PAGE_FILE

        return Page(self.folder / PAGE_FILE)


@dataclass(frozen=True)
class StudyResults:
    """Results of a study.

    Attributes:
        folder: Folder with the CSV files of the results.
    """

    folder: Path

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, as `fibrolab.studies.results` lists them."""
        from fibrolab.studies import results

        return results.read(self.folder)


@contextmanager
def _done(command: str, overrides: Sequence[str]) -> Iterator[tuple[Any, DictConfig]]:
    """Run a command, and yield its result and its settings, whose references Hydra still resolves."""
    with composed(command, overrides) as config:
        job = import_module(f"fibrolab.{command}").imported(config)
        yield perform(job, config), config


def train(*overrides: str) -> TrainedRun:
    """Train, evaluate and track one model, like `fibrolab train OVERRIDES`.

    Args:
        overrides: Overrides, such as `"model=hybrid"`.

    Raises:
        FibrolabError: The settings or the data have a fault.
    """
    with composed("train", overrides) as config:
        from fibrolab.cross_validation import train as job

        trained = perform(job, config)
        waits = trained.folder.is_dir()  # in a local database, or for a server that is away
        return open_run(trained.folder if waits else trained.id, config.tracking.uri)


def evaluate(*overrides: str) -> TrainedRun:
    """Evaluate a run again, or on other data, like `fibrolab evaluate OVERRIDES`.

    Returns:
        The run `run=ID`; with `data=OTHER`, the new run on the other data. A segmenter writes masks of the
        other data into `folder` instead, and its own run is returned.

    Raises:
        FibrolabError: The settings, the run or the data have a fault.
    """
    with _done("evaluate", overrides) as (run_id, config):
        return open_run(run_id, config.tracking.uri, artifacts=config.tracking.artifacts)


def explain(*overrides: str) -> "Maps":
    """Explain a run by maps, like `fibrolab explain OVERRIDES`.

    Returns:
        The maps of the run's own samples, of several runs those of the first, or of `input=PATH`.

    Raises:
        FibrolabError: The settings, the run or the input have a fault.
    """
    with _done("explain", overrides) as (done, config):
        from fibrolab.explanation import maps

        if config.input is not None:
            return maps.read(Path(done))
        place = config.tracking
        return maps.read(open_run(done.split()[0], place.uri, artifacts=place.artifacts).folder)


def predict(*overrides: str) -> Answers:
    """Predict new samples by a finished run, like `fibrolab predict OVERRIDES`.

    Raises:
        FibrolabError: The settings, the run or the input have a fault, or some samples have no answer; those
            of the others are then in `folder`.
    """
    with _done("predict", overrides) as (folder, _):
        return Answers(Path(folder))


def monitor(*overrides: str) -> Monitored:
    """Compare new answers with the validation of their run, like `fibrolab monitor OVERRIDES`.

    Raises:
        FibrolabError: The settings, the run, the answers or the labels have a fault.
    """
    with _done("monitor", overrides) as (folder, _):
        return Monitored(Path(folder))


def export(*overrides: str) -> str:
    """Write the network of a finished run for other programs, like `fibrolab export OVERRIDES`.

    Returns:
        The artifact: a file or a folder, or the address of a model in MLflow.

    Raises:
        FibrolabError: The settings or the run have a fault, or the artifact does not answer as the run.
    """
    with _done("export", overrides) as (artifact, _):
        return str(artifact)


def register(*overrides: str) -> str:
    """Register the exported model of a finished run in MLflow, like `fibrolab register OVERRIDES`.

    Returns:
        The address of the version in MLflow.

    Raises:
        FibrolabError: The settings or the run have a fault, or the run has no exported model.
    """
    with _done("register", overrides) as (address, _):
        return str(address)


def serve(*overrides: str) -> None:
    """Serve a finished run until the process is interrupted, like `fibrolab serve OVERRIDES`.

    Raises:
        FibrolabError: The settings or the run have a fault, or the server cannot answer at its address.
    """
    with _done("serve", overrides):
        pass


def stack(*overrides: str) -> TrainedRun:
    """Combine runs and clinical values by a regression, like `fibrolab stack OVERRIDES`.

    Raises:
        FibrolabError: The settings or the runs have a fault.
    """
    with _done("stack", overrides) as (run_id, config):
        return open_run(run_id, config.tracking.uri)


def compare(*overrides: str) -> Comparison:
    """Compare runs on the same patients, like `fibrolab compare OVERRIDES`.

    Raises:
        FibrolabError: The settings or the runs have a fault.
    """
    with _done("compare", overrides) as (run_id, config):
        from fibrolab.tracking import finished

        return Comparison(run_id, finished(config.tracking.uri, run_id))


def markers(*overrides: str) -> Markers:
    """Score clinical markers of a table at end points, like `fibrolab markers OVERRIDES`.

    Raises:
        FibrolabError: The settings or the data have a fault.
    """
    with _done("markers", overrides) as (run_id, config):
        from fibrolab.tracking import finished

        return Markers(run_id, finished(config.tracking.uri, run_id))


def audit(*overrides: str) -> Audit:
    """Audit a data set and its split, like `fibrolab audit OVERRIDES`.

    Raises:
        FibrolabError: The settings or the data have a fault, or the verdict is `fail` with
            `audit.strict=true`.
    """
    with _done("audit", overrides) as (_, config):
        return Audit(Path(config.folder).absolute())


def plan(*overrides: str) -> pd.DataFrame:
    """Compute the number of patients that a study needs, like `fibrolab plan OVERRIDES`.

    Returns:
        One row per question: question, patients, positives, negatives, enrol.

    Raises:
        ConfigError: Settings are out of range or contradict each other.
    """
    with _done("plan", overrides) as (requirements, _):
        return pd.DataFrame(requirements)


def study(*overrides: str) -> StudyResults:
    """Run what is missing of a study, like `fibrolab study OVERRIDES`.

    Raises:
        FibrolabError: The study or the settings have a fault, or some trainings did not finish; the results
            of the others are then in its folder.
    """
    from fibrolab.study import divided

    ours, passed = divided(overrides)
    with composed("study", ours) as config:
        from fibrolab.studies.running import run as job

        return StudyResults(Path(perform(lambda given: job(given, passed), config)))


def sync(*overrides: str) -> list[str]:
    """Send runs to their tracking server, which was away when they ended, like `fibrolab sync OVERRIDES`.

    Returns:
        Ids of the runs that were sent.

    Raises:
        StorageError: The server is still away, or refuses something.
    """
    with _done("sync", overrides) as (sent, _):
        return list(sent)
