"""Runs in MLflow: open a new one, close it with its status, find one that has ended. See `tracked_run`."""

import atexit
import contextlib
import errno
import io
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from filelock import FileLock
from mlflow.entities import Run, RunData, RunInfo
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy import Engine, event

from fibrolab import processes, slurm
from fibrolab.credentials import masked
from fibrolab.errors import ConfigError, FibrolabError, StorageError
from fibrolab.local_runs import local_folder, sqlite_file, waiting_folder
from fibrolab.storage import make_folder
from fibrolab.tracked_run import (
    PARENT,
    Resumed,
    Sent,
    Status,
    TrackedRun,
    all_experiments,
    all_runs,
    as_storage_error,
    terminate,
)
from fibrolab.tracking_address import check_address
from fibrolab.tracking_journal import ERROR, keep_earlier_error

logger = logging.getLogger(__name__)
logging.getLogger("mlflow").setLevel(logging.WARNING)  # hides messages on tables and migrations
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # see `as_storage_error`
SOURCE = "mlflow.source.name"
PROCESS, SWEEP, JOB = "fibrolab.process", "fibrolab.sweep", "fibrolab.slurm_job"
TRAINING = "fibrolab.train"  # source of the runs that can be resumed
STUDY = "fibrolab.study"  # source of the run of a study
KIND = {"mlflow.experimentKind": "custom_model_development"}  # for a UI without a switch to training runs
RESERVE = 2**18  # [bytes], more than the journal of the last writes of a run takes
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's error codes for an unknown id


@contextlib.contextmanager
def track(
    *,
    uri: str,
    experiment: str,
    artifacts: str,
    name: str,
    tags: Mapping[str, Any],
    parent: str = "",
    private: bool = False,
    resumed: Resumed | None = None,
) -> Iterator[TrackedRun]:
    """Open a run, or an unfinished one again.

    It ends FINISHED, FAILED on an error, or KILLED on Ctrl-C, SIGTERM and SIGUSR1.

    Args:
        uri: Tracking database or server.
        experiment: MLflow experiment; created if it does not exist.
        artifacts: Folder for the files of runs in a local database, and of those that wait for a server.
        name: Name of the run.
        tags: Tags of the run.
        parent: Id of the run whose fold, repetition or job this run is; it sets its own status.
        private: Whether the text of an error, which may name patients and files, is kept out of its tags.
        resumed: Run of `unfinished_runs` that is continued; `name` and `tags` are then not used.

    Raises:
        ConfigError: The address or the name of the experiment is none, or another process has resumed the
            run.
        StorageError: The database or the folder of artifacts cannot be opened or written.
    """
    _check_experiment(experiment)
    process = {PROCESS: processes.current()} | ({JOB: job} if (job := slurm.job()) else {})
    owner = {SOURCE: TRAINING, **tags, **process}  # shown in this order
    with as_storage_error(uri):
        client, experiment_id = resumed.place if resumed else _open(uri, str(experiment), artifacts)
        reserve = _reserve(uri)
        try:
            _mark_killed(client, experiment_id)
            if resumed:
                above = None if (sweep := resumed.open_again(uri, process)) == parent else sweep
            else:
                above = None
                words = _as_text(owner | ({PARENT: parent} if parent else {}))
                made = client.create_run(experiment_id, run_name=name, tags=words)
            run = resumed or TrackedRun(client, made, artifacts)
        except BaseException:
            _free(reserve)
            raise
    status: Status = "FAILED"
    try:
        if not resumed:
            run.open()
        yield run
        status = "FINISHED"
    except Exception as error:
        _free(reserve)
        _tag_error(run, error, private)
        raise
    except BaseException:  # Ctrl-C, SIGTERM
        status = "KILLED"
        raise
    finally:
        _free(reserve)
        with keep_earlier_error():
            run.close(status, above)


def _tag_error(run: TrackedRun, error: Exception, private: bool) -> None:
    with keep_earlier_error():
        shown = _sentence_of_ours(error)
        text = "the terminal shows it, since it may name patients or files" if private else str(shown)
        run.tag({ERROR: masked(f"{type(shown).__name__}: {text}")[:5000]})


def _sentence_of_ours(error: BaseException) -> BaseException:
    """Return the error of ours that a library has wrapped; without one, the error itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, FibrolabError):
        cause = cause.__cause__
    return cause or error


def _check_experiment(experiment: str) -> None:
    if not str(experiment).strip():
        raise ConfigError("tracking.experiment is empty: give a name, such as tracking.experiment=fibrolab.")


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
            return client, _create_experiment(client, experiment, location)
        _check_artifacts(found.artifact_location)
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return client, found.experiment_id


def _create_experiment(client: MlflowClient, name: str, location: str | None) -> str:
    """Create an experiment and return its id; on a server, another client may have been quicker."""
    try:
        return client.create_experiment(name, artifact_location=location, tags=KIND)
    except MlflowException as error:
        found = client.get_experiment_by_name(name)
        if found is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return found.experiment_id


def locked(place: Path | None) -> contextlib.AbstractContextManager:
    """Return a lock on a local database; a server has none."""
    return FileLock(place.with_suffix(".lock")) if place else contextlib.nullcontext()


def _check_writable(*paths: Path) -> None:
    """Refuse files and folders that exist and cannot be written.

    Raises:
        OSError: The first of them; a StorageError in `as_storage_error`.
    """
    for path in paths:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write", str(path))


def _check_artifacts(location: str | None) -> None:
    """Refuse a local folder of artifacts that cannot be created or written, before a run is opened.

    Raises:
        StorageError: It cannot.
    """
    if location is None or (folder := local_folder(location)) is None:
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

    MLflow migrates a new database in some 70 steps, and refuses one that was left between them.
    """
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)  # of an earlier process that was killed; the caller holds the lock
    try:
        with _unsynced(new.name):
            MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(place)
    finally:
        new.unlink(missing_ok=True)  # only after an error, such as that of a full disk


@contextlib.contextmanager
def _unsynced(name: str) -> Iterator[None]:
    """Let SQLite not wait for the disk, which MLflow's migrations make it do a thousand times.

    Args:
        name: Name of the database's file; connections to others, such as of a study, are left as they are.
    """

    def set_up(connection: Any, _: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        (_, _, path), *_ = connection.execute("PRAGMA database_list")
        if Path(path).name == name:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("PRAGMA journal_mode=MEMORY")

    event.listen(Engine, "connect", set_up)
    try:
        yield
    finally:
        event.remove(Engine, "connect", set_up)


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


def _mark_killed(client: MlflowClient, experiment_id: str) -> None:
    """Set runs whose process no longer exists (kill -9, power cut) to KILLED."""
    for run in all_runs(client, [experiment_id], "attributes.status = 'RUNNING'"):
        if _has_ended(run):
            terminate(client, run.info.run_id, "KILLED")
            logger.warning(
                "The process of run %s no longer exists; the run is set to KILLED.", run.info.run_name
            )


def _has_ended(run: Run) -> bool:
    """Return whether the run's process certainly no longer exists."""
    process = processes.parsed(run.data.tags.get(PROCESS, ""))
    return process is not None and processes.has_ended(process)


def _as_text(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def children(uri: str, run_id: str) -> list[tuple[str, str, dict[str, str]]]:
    """Return id, status and tags of the child runs of a run, the oldest first.

    They may be in other experiments of MLflow, such as those of a sweep over the arms of two papers.

    Raises:
        ConfigError: The run does not exist.
    """
    client, _ = find_run(uri, run_id)
    with as_storage_error(uri):
        named = f"tags.`{PARENT}` = '{run_id}'"
        found = all_runs(client, all_experiments(client), named, order_by=["attributes.start_time ASC"])
    return [(one.info.run_id, one.info.status, dict(one.data.tags)) for one in found]


def has_tag(uri: str, run_id: str, tag: str) -> bool:
    """Return whether a run has a tag.

    Raises:
        ConfigError: The run does not exist.
    """
    return tag in find_run(uri, run_id)[1].data.tags


def _fetched(client: MlflowClient, run: Run) -> Path:
    """Return the folder of a run's files; of one on a server, a copy that is deleted with this process."""
    tracked = TrackedRun(client, run)
    tracked.fetch()
    if not tracked.is_local:
        atexit.register(shutil.rmtree, tracked.folder, ignore_errors=True)
    return tracked.folder


@contextlib.contextmanager
def reopen(uri: str, run_id: str, artifacts: str = "") -> Iterator[TrackedRun]:
    """Open a run that has ended, to add files; its status is kept.

    Args:
        uri: Tracking database or server.
        run_id: MLflow's id of the run.
        artifacts: Folder below which the files of runs wait for a server. A finished run that waits there is
            opened although the server is away, and sent with what is added to it when the server answers.

    Raises:
        ConfigError: The run does not exist, is still running, or its files are missing.
        InUseError: Another process sends the run.
        StorageError: The server is away, and the run does not wait on this machine.
    """
    if artifacts and waiting_folder(artifacts, run_id):
        waiting = TrackedRun(*_known(uri, run_id), artifacts)
        with waiting.added_to():
            yield waiting
        return
    client, run = find_run(uri, run_id)
    if run.info.status == "RUNNING" and not _has_ended(run):
        raise ConfigError(f"Run {run_id} is still RUNNING: wait until it ends.")
    tracked = TrackedRun(client, run)
    tracked.fetch()
    yield tracked
    tracked.upload()
    if not tracked.is_local:
        shutil.rmtree(tracked.folder, ignore_errors=True)


def _known(uri: str, run_id: str) -> tuple[MlflowClient, Run]:
    """Find a run that waits on this machine; while its server is away, only its id is known."""
    try:
        return find_run(uri, run_id)
    except StorageError:
        info = RunInfo(run_id, "", "", "RUNNING", 0, None, "active", artifact_uri="mlflow-artifacts:/")
        return MlflowClient(tracking_uri=uri), Run(info, RunData())


def begin(*, uri: str, experiment: str, artifacts: str, name: str, tags: Mapping[str, Any]) -> str:
    """Create a run to which several processes add, such as that of a study, and return its id.

    Raises:
        ConfigError: The address or the name of the experiment is none.
        StorageError: The database or the folder of artifacts cannot be opened or written.
    """
    _check_experiment(experiment)
    with as_storage_error(uri):
        client, experiment_id = _open(uri, str(experiment), artifacts)
        words = _as_text({SOURCE: STUDY, **tags, PROCESS: processes.current()})
        return str(client.create_run(experiment_id, run_name=name, tags=words).info.run_id)


def mark_running(uri: str, run_id: str) -> None:
    """Name this process as one that goes on with a run of `begin`."""
    client, _ = find_run(uri, run_id)
    with as_storage_error(uri):
        client.set_tag(run_id, PROCESS, str(processes.current()))
        client.update_run(run_id, status="RUNNING")


def mark_ended(uri: str, run_id: str, status: Status) -> None:
    """Set the final status of a run of `begin`."""
    client, _ = find_run(uri, run_id)
    with as_storage_error(uri):
        terminate(client, run_id, status)


@contextlib.contextmanager
def add_to(uri: str, run_id: str) -> Iterator[TrackedRun]:
    """Open a run of `begin`, to add files, numbers and tags, whatever its status.

    Raises:
        ConfigError: The run does not exist.
        StorageError: The database or the server does not take them.
    """
    tracked = TrackedRun(*find_run(uri, run_id))
    make_folder(tracked.folder)
    yield tracked
    with as_storage_error(uri):
        tracked.upload()
    if not tracked.is_local:
        shutil.rmtree(tracked.folder, ignore_errors=True)


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
    return _fetched(client, run)


def file_of(uri: str, run_id: str, name: str) -> Path:
    """Return one file of a run, for reading; one on a server is fetched into a temporary folder.

    Raises:
        ConfigError: The run does not exist.
        StorageError: The file cannot be fetched.
    """
    client, run = find_run(uri, run_id)
    if folder := local_folder(run.info.artifact_uri):
        return folder / name
    with as_storage_error(uri):
        target = tempfile.mkdtemp(prefix="fibrolab-")
        atexit.register(shutil.rmtree, target, ignore_errors=True)
        return Path(client.download_artifacts(run_id, name, target))


def send_unsent(uri: str, run_id: str, artifacts: str) -> Sent:
    """Send what a run that has ended could not send to its server.

    Args:
        uri: Tracking server.
        run_id: MLflow's id of the run.
        artifacts: Folder below which the run waits.

    Raises:
        ConfigError: The server does not know the run, or it was deleted there.
        InUseError: Another process trains or sends the run.
        StorageError: The server does not answer, or refuses something.
    """
    return TrackedRun(*find_run(uri, run_id), artifacts).send_rest()


def runs_not_finished(uri: str, experiment: str) -> list[Run]:
    """Return the runs of an experiment that did not finish, the newest first.

    Raises:
        ConfigError: There is no such database.
    """
    return _found(uri, experiment, "attributes.status != 'FINISHED'")


def tagged(uri: str, experiment: str, tag: str, value: str) -> list[str]:
    """Return the ids of the runs of an experiment in which a tag has a value, the newest first.

    A database that does not exist yet has none.

    Raises:
        StorageError: The database or the server cannot be read.
    """
    place = sqlite_file(uri)
    if place and not place.is_file():
        return []
    return [run.info.run_id for run in _found(uri, experiment, f"tags.`{tag}` = '{value}'")]


def _found(uri: str, experiment: str, wanted: str) -> list[Run]:
    """Return the runs of an experiment that a filter finds; none if there is no such experiment."""
    with as_storage_error(uri):
        client = _client(uri)
        found = client.get_experiment_by_name(str(experiment))
        return all_runs(client, [found.experiment_id], wanted) if found else []


def _client(uri: str) -> MlflowClient:
    """Return the client of a database or server that exists."""
    place = sqlite_file(uri)
    if place and not place.is_file():
        raise ConfigError(f"There is no tracking database {place}; see tracking.uri and paths.root.")
    check_address(uri)
    return MlflowClient(tracking_uri=uri)


def find_run(uri: str, run_id: str) -> tuple[MlflowClient, Run]:
    """Find a run by its id; no database is created."""
    with as_storage_error(uri):
        client = _client(uri)
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
