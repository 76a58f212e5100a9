"""Tracking of runs; the only module that uses MLflow. Runs are opened, filled and closed with a status."""

import atexit
import contextlib
import errno
import io
import logging
import math
import os
import posixpath
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal
from urllib.parse import urlparse
from urllib.request import url2pathname

from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.time import get_current_time_millis
from mlflow.version import VERSION
from sqlalchemy.exc import SQLAlchemyError

from fibrolab import processes, slurm
from fibrolab.credentials import masked
from fibrolab.errors import ConfigError, FibrolabError, StorageError
from fibrolab.storage import full_disk, is_full, make_folder, put
from fibrolab.tracking_address import SERVERS, check_address, sqlite_file

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger

    from fibrolab.unfinished_runs import UnfinishedRun

logger = logging.getLogger(__name__)
logging.getLogger("mlflow").setLevel(logging.WARNING)  # hides messages on tables and migrations
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # see `_as_storage_error`
Status = Literal["FINISHED", "FAILED", "KILLED"]
PARENT, SOURCE, NOTE = "mlflow.parentRunId", "mlflow.source.name", "mlflow.note.content"
CONTEXT = "mlflow.data.context"
LONGEST_NOTE = 8000  # characters that every store of MLflow takes
PROCESS, SWEEP, JOB = "fibrolab.process", "fibrolab.sweep", "fibrolab.slurm_job"
TRAINING = "fibrolab.train"  # source of the runs that can be resumed
KIND = {"mlflow.experimentKind": "custom_model_development"}  # for a UI without a switch to training runs
RESERVE = 2**18  # [bytes], more than the journal of the last writes of a run takes
PAUSE = 1.0  # [s], shortest time between two writes of curves
_DIGEST = 8  # characters of a data set's hash, of which MLflow's list has room for about 20
_BATCH, _METRICS = 100, 1000  # params and metrics that MLflow takes in one call
_SIGNS = {"<": "lt ", ">": "gt ", "≤": "le ", "≥": "ge ", "+": " plus "}
LONGEST_PARAM = 500  # characters of a value that MLflow takes
_LONGEST = 240  # the database allows 250 characters; the rest is for a number
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's error codes for an unknown id


def _curve_logger(**place: Any) -> "MLFlowLogger":
    """Return Lightning's MLflow logger for curves only; Lightning is imported late, for training only."""
    from lightning.pytorch.loggers import MLFlowLogger
    from lightning.pytorch.utilities import rank_zero_only

    class CurveLogger(MLFlowLogger):
        """Lightning's MLflow logger for curves only; it does not log params or set the run's status.

        Lightning would set the run to FINISHED after `fit`, before evaluation and report. Values are written
        at most once per `PAUSE`, and when training ends or fails, because a write takes as long as several
        epochs of a small network.
        """

        def __init__(self, **place: Any) -> None:
            super().__init__(**place)
            self._waiting: list[Metric] = []
            self._written = -math.inf  # [s]

        @rank_zero_only
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            """Buffer the values of a step, and write if `PAUSE` has passed."""
            now, names = get_current_time_millis(), legal(metrics)
            self._waiting += [Metric(names[name], _rounded(x), now, step or 0) for name, x in metrics.items()]
            if time.monotonic() - self._written > PAUSE:
                self._write()

        def _write(self) -> None:
            waiting, self._waiting = self._waiting, []
            with _as_storage_error(place["tracking_uri"]):
                for start in range(0, len(waiting), _METRICS):
                    self.experiment.log_batch(run_id=self.run_id, metrics=waiting[start : start + _METRICS])
            self._written = time.monotonic()

        def log_hyperparams(self, params: Any) -> None:
            """Do nothing: `TrackedRun.log_params` logs them under the names of the command line."""

        @rank_zero_only
        def finalize(self, status: str = "success") -> None:
            """Write the buffered values; the run stays open until `track` closes it."""
            with _keep_earlier_error():
                self._write()

    return CurveLogger(**place)


class TrackedRun:
    """One MLflow run and the folder that holds its files.

    Attributes:
        id: MLflow's id of the run.
        is_local: Whether its files are on this machine.
        folder: Its artifact folder if that is local, so that a crash loses nothing; otherwise a temporary
            folder that is uploaded at the end.
    """

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client, self._run = client, run
        self.id: str = run.info.run_id
        folder = _local(run.info.artifact_uri)
        self.is_local = folder is not None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="fibrolab-"))

    @property
    def place(self) -> tuple[MlflowClient, str]:
        """Client of its database or server, and id of its experiment."""
        return self._client, self._run.info.experiment_id

    def curves(self) -> "MLFlowLogger":
        """Return the logger that Lightning writes its metrics to."""
        return _curve_logger(
            experiment_name=self._client.get_experiment(self._run.info.experiment_id).name,
            tracking_uri=self._client.tracking_uri,
            run_id=self.id,
        )

    def log_params(self, settings: Mapping[str, Any]) -> None:
        """Log flat settings, named as on the command line; values are cut at 500 characters."""
        names = legal(settings)
        self._log(
            "params", [Param(names[name], str(value)[:LONGEST_PARAM]) for name, value in settings.items()]
        )

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Log final numbers; NaN is left out, because the database cannot store it."""
        now, names = get_current_time_millis(), legal(values)
        known = {names[name]: _rounded(x) for name, x in values.items() if not math.isnan(x)}
        self._log("metrics", [Metric(name, x, now, 0) for name, x in known.items()])

    def log_data(self, name: str, digest: str, context: str) -> None:
        """Name the data of the run, which MLflow lists and filters by.

        Args:
            name: Name of the data set.
            digest: Hash of its samples; only the first characters are shown.
            context: What the run did with it, such as `training`.
        """
        data = Dataset(name[:500], digest[:_DIGEST], source_type="local", source="{}")
        with _as_storage_error(self._client.tracking_uri):
            self._client.log_inputs(self.id, [DatasetInput(data, [InputTag(CONTEXT, context)])])

    def tag(self, values: Mapping[str, Any]) -> None:
        """Set tags of the run."""
        self._log("tags", [RunTag(name, str(value)) for name, value in values.items()])

    def describe(self, text: str) -> None:
        """Set the description that MLflow shows above the run, as Markdown."""
        self.tag({NOTE: text[:LONGEST_NOTE]})

    def _log(self, kind: str, entries: Sequence[Any]) -> None:
        with _as_storage_error(self._client.tracking_uri):
            for start in range(0, len(entries), _BATCH):
                part: dict[str, Any] = {kind: entries[start : start + _BATCH]}
                self._client.log_batch(self.id, **part)

    def fetch(self) -> None:
        """Download the run's files into its folder unless they are local; ConfigError if they are missing."""
        if not self.is_local:
            self._client.download_artifacts(self.id, "", str(self.folder))
        elif not self.folder.is_dir():
            raise ConfigError(f"The files of run {self.id} are missing from {self.folder}: restore them.")

    def upload(self) -> None:
        """Upload the files to the server unless they are local."""
        if not self.is_local:
            self._client.log_artifacts(self.id, str(self.folder))
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self, status: Status) -> None:
        """Upload the files and set the final status."""
        with _as_storage_error(self._client.tracking_uri):
            self.upload()
            _terminate(self._client, self.id, status)


def _rounded(value: float) -> float:
    """Return a value with six significant digits, which float32 has; MLflow's pages show all digits."""
    return float(f"{value:.6g}")


def _local(uri: str) -> Path | None:
    """Return the folder of an address of artifacts; None for one on a server."""
    parts = urlparse(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


@contextlib.contextmanager
def _as_storage_error(uri: str) -> Iterator[None]:
    """Raise errors of the database (locked, read-only, full, no server) as a StorageError of one sentence."""
    try:
        yield
    except (OSError, MlflowException, SQLAlchemyError) as error:
        raise StorageError(_fault_of_storage(error, uri)) from error


def _fault_of_storage(error: Exception, uri: str) -> str:
    """Return a sentence on an error of the database, its server or the folder of artifacts."""
    if is_full(error) and (database := sqlite_file(uri)):
        return (
            f"The tracking database {database} cannot be written: {full_disk(database)}. Free some space, or "
            "set another paths.root."
        )
    kind, place = "server" if uri.startswith(SERVERS) else "database", masked(uri)
    reason = masked(next(iter(str(error).splitlines()), type(error).__name__))
    if "out-of-date database schema" in reason:  # MLflow's words, also for a newer database
        return (
            f"The tracking database {place} was made by another version of MLflow than {VERSION}, which "
            f"is installed: if by an older one, back it up and run `mlflow db upgrade {place}`; if by a "
            "newer one, install that."
        )
    return f"The tracking {kind} {place} cannot be used ({reason}); see tracking.uri and paths.mlruns."


@contextlib.contextmanager
def track(
    *,
    uri: str,
    experiment: str,
    artifacts: str,
    name: str,
    tags: Mapping[str, Any],
    sweep: Path | None = None,
    sweep_name: str = "",
    private: bool = False,
    resumed: "UnfinishedRun | None" = None,
) -> Iterator[TrackedRun]:
    """Open a run, or an unfinished one again.

    It ends FINISHED, FAILED on an error, or KILLED on Ctrl-C, SIGTERM and SIGUSR1.

    Args:
        uri: Tracking database or server.
        experiment: MLflow experiment; created if it does not exist.
        artifacts: Folder for the files of runs in a local database.
        name: Name of the run.
        tags: Tags of the run.
        sweep: Folder of the sweep that the run belongs to; its runs have a common parent run.
        sweep_name: Name of that parent run.
        private: Whether the text of an error, which may name patients and files, is kept out of its tags.
        resumed: Run that is continued; `name`, `tags` and `sweep` are then not used.

    Raises:
        ConfigError: The address or the name of the experiment is none, or another process has resumed the
            run.
        StorageError: The database or the folder of artifacts cannot be opened or written.
    """
    experiment = str(experiment)  # YAML reads 2026 as a number
    if not experiment.strip():
        raise ConfigError("tracking.experiment is empty: give a name, such as tracking.experiment=fibrolab.")
    process = {PROCESS: processes.current()} | ({JOB: job} if (job := slurm.job()) else {})
    owner = {SOURCE: TRAINING, **tags, **process}  # shown in this order
    with _as_storage_error(uri):
        client, experiment_id = resumed.place if resumed else _open(uri, experiment, artifacts)
        reserve = _reserve(uri)
        try:
            _mark_killed(client, experiment_id)
            run: TrackedRun
            if resumed:
                run, parent = resumed, resumed.take(uri, process)
            else:
                parent = _parent(client, experiment_id, sweep, sweep_name, owner) if sweep else None
                words = _as_text(owner | ({PARENT: parent} if parent else {}))
                run = TrackedRun(client, client.create_run(experiment_id, run_name=name, tags=words))
        except BaseException:
            _free(reserve)
            raise
    status: Status = "FAILED"
    try:
        make_folder(run.folder)
        yield run
        status = "FINISHED"
    except Exception as error:
        _free(reserve)
        with _keep_earlier_error():
            run.tag({"error": _shown(error, private)})
        raise
    except BaseException:  # Ctrl-C, SIGTERM
        status = "KILLED"
        raise
    finally:
        _free(reserve)
        with _keep_earlier_error():
            run.close(status)
            if parent:
                _set_parent_status(client, experiment_id, parent)


def _shown(error: BaseException, private: bool) -> str:
    """Return the text of an error for a tag, see `track`."""
    shown = _sentence_of_ours(error)
    text = "the terminal shows it, since it may name patients or files" if private else str(shown)
    return masked(f"{type(shown).__name__}: {text}")[:5000]


def _sentence_of_ours(error: BaseException) -> BaseException:
    """Return the error of ours that a library has wrapped; without one, the error itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, FibrolabError):
        cause = cause.__cause__
    return cause or error


@contextlib.contextmanager
def _keep_earlier_error() -> Iterator[None]:
    """After an earlier error, log an error of the database (full disk, lost server) instead of raising it."""
    failing = sys.exc_info()[0] is not None
    try:
        yield
    except Exception as error:
        if not failing:
            raise
        logger.warning("The run's status could not be recorded (%s).", masked(str(error)))


def _open(uri: str, experiment: str, artifacts: str) -> tuple[MlflowClient, str]:
    """Return client and experiment id; only one process at a time creates the database."""
    check_address(uri)
    place = sqlite_file(uri)
    if place:
        uri = f"sqlite:///{place}"
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_writable(place.parent, place)
    with locked(place):
        if place and not place.exists():
            _create_database(place)
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            location = Path(artifacts).absolute().as_uri() if place else None
            _check_artifacts(location)
            return client, client.create_experiment(experiment, artifact_location=location, tags=KIND)
        _check_artifacts(found.artifact_location)
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return client, found.experiment_id


def locked(place: Path | None) -> contextlib.AbstractContextManager:
    """Return a lock on a local database; a server has none."""
    return FileLock(place.with_suffix(".lock")) if place else contextlib.nullcontext()


def _check_writable(*paths: Path) -> None:
    """Refuse files and folders that exist and cannot be written.

    Raises:
        OSError: The first of them; a StorageError in `_as_storage_error`.
    """
    for path in paths:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write", str(path))


def _check_artifacts(location: str | None) -> None:
    """Refuse a local folder of artifacts that cannot be created or written, before a run is opened.

    Raises:
        StorageError: It cannot.
    """
    if location is None or (folder := _local(location)) is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_writable(folder)
    except OSError as error:
        raise StorageError(
            f"The files of runs go to {folder}, which cannot be created or written ({error.strerror}): make "
            "it a folder, or give another tracking.experiment and tracking.artifacts."
        ) from error


def _create_database(place: Path) -> None:
    """Create MLflow's tables in a new file and move it into place, so that a kill leaves all of them or none.

    MLflow migrates a new database in steps, and refuses one that was left between them.
    """
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)  # of an earlier process that was killed; the caller holds the lock
    new.with_name(f"{new.name}-journal").unlink(missing_ok=True)
    try:
        MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
        new.replace(place)
    finally:
        new.unlink(missing_ok=True)  # only after an error, such as that of a full disk


def _reserve(uri: str) -> IO[bytes]:
    """Take space beside a local database, by which a run that fills the disk can still be marked as failed.

    The file has no name: after `_free`, or when this process ends in any way, its space is free.
    """
    place = sqlite_file(uri)
    if place is None:
        return io.BytesIO()
    reserve = tempfile.TemporaryFile(dir=place.parent)  # noqa: SIM115
    reserve.write(os.urandom(RESERVE))  # zeros would take no space on a disk that compresses
    reserve.flush()
    return reserve


def _free(reserve: IO[bytes]) -> None:
    """Give the space of a reserve back, also while loader workers, which inherited the file, have it open."""
    if not reserve.closed:
        reserve.truncate(0)
        reserve.close()


def _parent(client: MlflowClient, experiment_id: str, sweep: Path, name: str, owner: dict[str, Any]) -> str:
    """Return the parent run of a sweep's jobs; the first job creates it."""
    sweep.mkdir(parents=True, exist_ok=True)
    note = sweep / "parent_run_id"
    with FileLock(note.with_suffix(".lock")):
        if not note.exists():
            tags = _as_text(owner | {SWEEP: sweep.name})
            run = client.create_run(experiment_id, run_name=name or sweep.name, tags=tags)
            put(note, run.info.run_id.encode())
        parent = note.read_text()
    client.update_run(parent, status="RUNNING")
    return parent


def _set_parent_status(client: MlflowClient, experiment_id: str, parent: str) -> None:
    """Set the parent run's status from its children."""
    jobs = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{parent}'")
    states = {job.info.status for job in jobs}
    if "RUNNING" not in states:
        worst = next((state for state in ("KILLED", "FAILED") if state in states), "FINISHED")
        _terminate(client, parent, worst)


def _terminate(client: MlflowClient, run_id: str, status: str) -> None:
    """Set the final status of a run, without MLflow's line on its address, which may hold a password."""
    with contextlib.redirect_stdout(io.StringIO()):
        client.set_terminated(run_id, status)


def _mark_killed(client: MlflowClient, experiment_id: str) -> None:
    """Set runs whose process no longer exists (kill -9, power cut) to KILLED."""
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        if _has_ended(run):
            _terminate(client, run.info.run_id, "KILLED")
            logger.warning(
                "The process of run %s no longer exists; the run is set to KILLED.", run.info.run_name
            )


def _has_ended(run: Run) -> bool:
    """Return whether the run's process certainly no longer exists."""
    process = processes.parsed(run.data.tags.get(PROCESS, ""))
    return process is not None and processes.has_ended(process)


def _as_text(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


@contextlib.contextmanager
def reopen(uri: str, run_id: str) -> Iterator[TrackedRun]:
    """Open a run that has ended, to add files; its status is kept.

    Raises:
        ConfigError: The run does not exist, is still running, or its files are missing.
    """
    client, run = find_run(uri, run_id)
    if run.info.status == "RUNNING" and not _has_ended(run):
        raise ConfigError(f"Run {run_id} is still RUNNING: wait until it ends.")
    tracked = TrackedRun(client, run)
    tracked.fetch()
    yield tracked
    tracked.upload()


def finished(uri: str, run_id: str) -> Path:
    """Return the folder of a finished run, for reading.

    Args:
        uri: Tracking database or server.
        run_id: MLflow's id of the run.

    Returns:
        Folder of its files; for a run on a server, a copy that is deleted when this process ends.

    Raises:
        ConfigError: The run does not exist or did not finish.
    """
    client, run = find_run(uri, run_id)
    if run.info.status != "FINISHED":
        raise ConfigError(
            f"Run {run_id} is {run.info.status}, so its files may be incomplete; name a finished run."
        )
    tracked = TrackedRun(client, run)
    tracked.fetch()
    if not tracked.is_local:
        atexit.register(shutil.rmtree, tracked.folder, ignore_errors=True)
    return tracked.folder


def runs_not_finished(uri: str, experiment: str) -> list[Run]:
    """Return the runs of an experiment that have not finished, the newest first; empty without one.

    Raises:
        ConfigError: There is no such database.
    """
    with _as_storage_error(uri):
        client = open_client(uri)
        found = client.get_experiment_by_name(str(experiment))
        if found is None:
            return []
        return list(client.search_runs([found.experiment_id], "attributes.status != 'FINISHED'"))


def open_client(uri: str) -> MlflowClient:
    """Return the client of a database or server that exists."""
    place = sqlite_file(uri)
    if place and not place.is_file():
        raise ConfigError(f"There is no tracking database {place}; see tracking.uri and paths.root.")
    check_address(uri)
    return MlflowClient(tracking_uri=uri)


def find_run(uri: str, run_id: str) -> tuple[MlflowClient, Run]:
    """Find a run by its id; no database is created."""
    with _as_storage_error(uri):
        client = open_client(uri)
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            raise ConfigError(
                f"There is no run {run_id} in {masked(uri)}; give the whole id, as the MLflow UI and "
                "`train` show it."
            ) from error
    if run.info.lifecycle_stage == "deleted":
        raise ConfigError(f"Run {run_id} was deleted; restore it in the MLflow UI.")
    return client, run


def legal(names: Iterable[str]) -> dict[str, str]:
    """Return a distinct name that MLflow accepts for each parameter or metric.

    Names may contain other characters, because a class may be called `≥F2 (biopsy)`.

    Args:
        names: Names in fibrolab; those that MLflow accepts are kept.

    Returns:
        Accepted name of each. Other characters are spelt out or replaced by underscores; if names would
        become equal, the later ones are numbered.
    """
    found: dict[str, str] = {}
    known = dict.fromkeys(names)
    taken = {name for name in known if _accepted(name) == name}
    for name in known:
        best = spelt = _accepted(name)
        number = 1
        while best != name and best in taken:
            number += 1
            best = f"{spelt} {number}"
        taken.add(best)
        found[name] = best
    return found


def _accepted(name: str) -> str:
    for sign, word in _SIGNS.items():
        name = name.replace(sign, word)
    name = re.sub(r"[^\w. /-]", "_", name)[:_LONGEST]
    return posixpath.normpath(f"/{name}").strip("/ ") or "_"  # neither `..` nor an absolute path
