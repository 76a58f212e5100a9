"""One run in MLflow: its records and files, on their way to the tracking database or server."""

import contextlib
import io
import itertools
import logging
import math
import os
import shlex
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from mlflow.tracking import MlflowClient
from mlflow.utils.time import get_current_time_millis
from mlflow.version import VERSION
from sqlalchemy.exc import SQLAlchemyError

from fibrolab.credentials import masked
from fibrolab.errors import ConfigError, StorageError
from fibrolab.local_runs import local_folder, sqlite_file
from fibrolab.storage import full_disk, is_full, make_folder
from fibrolab.tracking_address import SERVERS, check_server
from fibrolab.tracking_journal import Journal, Outbox, Record, is_finished, keep_earlier_error
from fibrolab.tracking_names import legal

logger = logging.getLogger(__name__)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # hides each attempt to reach a server
Status = Literal["FINISHED", "FAILED", "KILLED"]
PARENT, NOTE, CONTEXT = "mlflow.parentRunId", "mlflow.note.content", "mlflow.data.context"
LONGEST_NOTE = 8000  # characters that every store of MLflow takes
LONGEST_PARAM = 500  # characters of a value that MLflow takes
BRIEF = 3.0  # [s] until a server that was away a moment ago is still away
# Retries of a request to a server and the time [s] for each; MLflow's own would take minutes.
_LIMITS = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
_OF_RECORDS, _OF_FILES = ("0", "10"), ("2", "60")
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")  # MLflow's error codes for user and password
_DIGEST = 8  # characters of a data set's hash, of which MLflow's list has room for about 20
_ENTITIES: dict[str, tuple[type, int]] = {  # of MLflow, and the number that it takes in one call
    "params": (Param, 100),
    "tags": (RunTag, 100),
    "metrics": (Metric, 1000),
}


class Sent(NamedTuple):
    """Numbers of values and files of an ended run that were sent to its server later."""

    values: int
    files: int


class TrackedRun:
    """One MLflow run and the folder that holds its files.

    On a server, records and files wait on this machine until it has taken them (`tracking_journal.Journal`).

    Args:
        client: Client of the tracking database or server.
        run: The run.
        artifacts: Folder below which the files of a run wait for a server; None: in a temporary folder, and
            an outage raises an error.

    Attributes:
        id: MLflow's id of the run.
        experiment_id: MLflow's id of its experiment.
        is_local: Whether its files stay on this machine.
        folder: Its artifact folder if that is local; otherwise `artifacts/ID/artifacts`, which outlives a
            crash and is removed when all files have been uploaded.
    """

    def __init__(self, client: MlflowClient, run: Run, artifacts: str | None = None) -> None:
        self._client, self._run = client, run
        self.id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        local, uri = local_folder(run.info.artifact_uri), client.tracking_uri
        self.is_local = local is not None
        self._outbox = Outbox(self._send)
        if artifacts is None:
            self.folder = local or Path(tempfile.mkdtemp(prefix="fibrolab-"))
            return
        beside = Path(artifacts).absolute() / self.id
        self.folder = local or beside / "artifacts"
        if uri.startswith(SERVERS):
            self._outbox = Journal(beside, uri, self._send, lambda: check_server(uri, BRIEF))

    @property
    def tags(self) -> dict[str, str]:
        """Tags with which the run was opened."""
        return dict(self._run.data.tags)

    @property
    def place(self) -> tuple[MlflowClient, str]:
        """Client of its database or server, and id of its experiment."""
        return self._client, self.experiment_id

    def open(self) -> None:
        """Create the folder; refuse a run that another process has open.

        Raises:
            ConfigError: Another process trains or sends the run.
            StorageError: The folder cannot be created.
        """
        make_folder(self.folder)
        self._outbox.open()

    def log_params(self, settings: Mapping[str, Any]) -> None:
        """Log flat settings, named as on the command line; values are cut at 500 characters."""
        names = legal(settings)
        self._log("params", [[names[name], str(value)[:LONGEST_PARAM]] for name, value in settings.items()])

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Log final numbers; NaN is left out, because the database cannot store it."""
        self.add_metrics({name: x for name, x in values.items() if not math.isnan(x)})
        self.deliver()

    def add_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers, which the next `deliver` writes."""
        now, names = get_current_time_millis(), legal(values)
        self._outbox.add("metrics", [[names[name], _rounded(x), now, step] for name, x in values.items()])

    def log_data(self, name: str, digest: str, context: str) -> None:
        """Name the data of the run, which MLflow lists and filters by.

        Args:
            name: Name of the data set.
            digest: Hash of its samples; only the first characters are shown.
            context: What the run did with it, such as `training`.
        """
        self._log("data", [[name[:500], digest[:_DIGEST], context]])

    def tag(self, values: Mapping[str, Any]) -> None:
        """Set tags of the run."""
        self._log("tags", [[name, str(value)] for name, value in values.items()])

    def describe(self, text: str) -> None:
        """Set the description that MLflow shows above the run, as Markdown."""
        self.tag({NOTE: text[:LONGEST_NOTE]})

    def _log(self, kind: str, values: list[list[Any]]) -> None:
        self._outbox.add(kind, values)
        self.deliver()

    def deliver(self) -> None:
        """Write what was recorded; to a server that is away, nothing is written yet.

        Raises:
            StorageError: The database cannot be written.
        """
        self._outbox.deliver()

    def _send(self, records: Iterable[Record]) -> None:
        """Write records in their order; those that MLflow already has change nothing."""
        with as_storage_error(self._client.tracking_uri), _limited(_OF_RECORDS):
            for kind, group in itertools.groupby(records, attrgetter("kind")):
                values = [value for record in group for value in record.values]
                if kind == "files":
                    self.upload()
                elif kind == "status" and values:
                    terminate(self._client, self.id, *values[-1])
                elif kind == "parent" and values:
                    experiment = self.experiment_id or self._client.get_run(self.id).info.experiment_id
                    set_parent_status(self._client, experiment, *values[-1])
                elif kind == "data":
                    _log_data(self._client, self.id, [_dataset(*value) for value in values])
                elif kind in _ENTITIES:
                    entity, most = _ENTITIES[kind]
                    for start in range(0, len(values), most):
                        part: Any = {kind: [entity(*value) for value in values[start : start + most]]}
                        self._client.log_batch(self.id, **part)

    def runs_with(self, tag: str, value: str) -> dict[str, dict[str, str]]:
        """Return the tags of each run of the database, deleted ones too, in which a tag has a value.

        Raises:
            StorageError: The database cannot be read, or its server is away.
        """
        client = self._client
        if client.tracking_uri.startswith(SERVERS):
            check_server(client.tracking_uri, BRIEF)
        with as_storage_error(client.tracking_uri), _limited(_OF_RECORDS):
            wanted, places = f"tags.`{tag}` = '{value}'", all_experiments(client, ViewType.ALL)
            found = all_runs(client, places, wanted, run_view_type=ViewType.ALL)
            return {run.info.run_id: dict(run.data.tags) for run in found}

    def fetch(self) -> None:
        """Download the run's files unless they are here; ConfigError if they are missing."""
        if not self.is_local and not any(self.folder.glob("*")):
            self._client.download_artifacts(self.id, "", str(self.folder))
        elif not self.folder.is_dir():
            raise ConfigError(f"The files of run {self.id} are missing from {self.folder}: restore them.")

    def upload(self) -> None:
        """Upload the files to the server unless they are local, and verify that all of them arrived.

        Raises:
            StorageError: The server lists a file with another size or not at all.
        """
        if self.is_local:
            return
        with _limited(_OF_FILES):
            self._client.log_artifacts(self.id, str(self.folder))
            missing = _not_arrived(self._client, self.id, self.folder)
        if missing:
            raise StorageError(
                f"The tracking server took {missing[0]} of run {self.id} only in part or not at all, of "
                f"{len(missing)} such files: see its log and its disk."
            )

    def close(self, status: Status, parent: str | None = None) -> None:
        """Upload the files, set the final status, and then that of the parent run of a sweep.

        A server that is away does not get them yet: a warning says how they are sent later.

        Raises:
            StorageError: The database cannot be written.
        """
        self._outbox.add("files", [])
        self._outbox.add("status", [[status, get_current_time_millis()]])
        self._outbox.add("parent", [[parent]] if parent else [])
        self._send_or_say_how()

    @contextlib.contextmanager
    def added_to(self) -> Iterator[None]:
        """Open a finished run that waits for its server, to add to it, and then send it as `close` does.

        Raises:
            InUseError: Another process sends the run, or has sent it a moment ago.
        """
        self._outbox.open(new=False)
        try:
            yield
        finally:
            with keep_earlier_error():
                self._outbox.add("files", [])
                self._send_or_say_how()

    def _send_or_say_how(self) -> None:
        if not self._finish() and isinstance(self._outbox, Journal):
            kept = self._outbox.folder
            command = shlex.join(["python", "-m", "fibrolab.sync", f"tracking.artifacts={kept.parent}"])
            fault = self._outbox.fault
            logger.warning("%s The run is kept in %s; send it later with `%s`.", fault, kept, command)

    def send_rest(self) -> Sent:
        """Send what this ended run could not send; a run that was killed gets the status KILLED.

        Raises:
            InUseError: Another process trains or sends the run.
            StorageError: The server does not answer, or refuses something.
        """
        assert isinstance(self._outbox, Journal), "only a server can be away"
        self._outbox.open(new=False)
        records = self._outbox.records()
        values = sum(len(record.values) for record in records)
        if not is_finished(records) and (not records or records[-1].kind != "parent"):  # it was killed
            parent = self.tags.get(PARENT)
            self._outbox.add("files", [])
            self._outbox.add("status", [["KILLED", None]] if self._run.info.status == "RUNNING" else [])
            self._outbox.add("parent", [[parent]] if parent else [])
        files = 0 if self.is_local else sum(path.is_file() for path in self.folder.rglob("*"))
        if not self._finish():
            raise self._outbox.fault
        return Sent(values, files)

    def _finish(self) -> bool:
        """Send everything, then remove what waited; return whether nothing is left."""
        nothing_left = False
        try:
            if self._outbox.deliver(last=True):
                if not self.is_local:
                    shutil.rmtree(self.folder, ignore_errors=True)
                nothing_left = True
        finally:
            self._outbox.close(nothing_left)
        return nothing_left


class Resumed(TrackedRun, ABC):
    """A run that `tracking.track` opens again."""

    @abstractmethod
    def take(self, uri: str, process: Mapping[str, Any]) -> str | None:
        """Make this process the one that trains the run; return its parent run if that is a sweep."""

    def open_again(self, uri: str, process: Mapping[str, Any]) -> str | None:
        """Open and take the run; it stays as it is if another process trains or sends it.

        What waits for a server of an earlier end of the run is dropped.
        """
        self.open()
        try:
            parent = self.take(uri, process)
        except BaseException:
            self._outbox.abandon()
            raise
        self._outbox.forget_end()
        return parent


def _all_pages(search: Callable[[str | None], PagedList]) -> list[Any]:
    """Return the results of all pages of a search of MLflow."""
    page = search(None)
    found = list(page)
    while page.token:
        page = search(page.token)
        found += page
    return found


def all_experiments(client: MlflowClient, view: int = ViewType.ACTIVE_ONLY) -> list[str]:
    """Return the ids of all experiments of a database."""
    found = _all_pages(lambda page: client.search_experiments(view, page_token=page))
    return [place.experiment_id for place in found]


def all_runs(client: MlflowClient, experiments: Sequence[str], wanted: str, **named: Any) -> list[Run]:
    """Return all runs of experiments that a filter finds; MLflow gives them in pages of 1,000."""
    return _all_pages(lambda page: client.search_runs(list(experiments), wanted, page_token=page, **named))


def _log_data(client: MlflowClient, run_id: str, data: list[DatasetInput]) -> None:
    """Log data; of two processes that are the first to log them at the same time, MLflow refuses one."""
    try:
        client.log_inputs(run_id, data)
    except (MlflowException, SQLAlchemyError) as error:
        if "datasets" not in str(error):  # the table, in the message on its unique rows
            raise
        client.log_inputs(run_id, data)


def _dataset(name: str, digest: str, context: str) -> DatasetInput:
    data = Dataset(name, digest, source_type="local", source="{}")
    return DatasetInput(data, [InputTag(CONTEXT, context)])


def _not_arrived(client: MlflowClient, run_id: str, folder: Path) -> list[str]:
    """Return the files of a folder that the run lacks on the server, or has there with another size."""
    sizes, folders = dict[str, int | None](), [""]
    while folders:
        for found in client.list_artifacts(run_id, folders.pop()):
            if found.is_dir:
                folders.append(found.path)
            else:
                sizes[found.path] = found.file_size  # None: the store does not tell
    ours = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return sorted(
        name
        for name, path in ours.items()
        if name not in sizes or sizes[name] not in (None, path.stat().st_size)
    )


@contextlib.contextmanager
def _limited(limits: tuple[str, str]) -> Iterator[None]:
    """Limit retries and time of MLflow's requests, unless the user's environment does."""
    ours = {name: limit for name, limit in zip(_LIMITS, limits, strict=True) if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _rounded(value: float) -> float:
    """Return a value with six significant digits, which float32 has; MLflow's pages show all digits."""
    return float(f"{value:.6g}")


@contextlib.contextmanager
def as_storage_error(uri: str) -> Iterator[None]:
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
    if isinstance(error, MlflowException) and error.error_code in _REFUSED:
        return (
            f"The tracking server {place} does not accept this user and password, or none was given: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user who may write there."
        )
    if "out-of-date database schema" in reason:  # MLflow's words, also for a newer database
        return (
            f"The tracking database {place} was made by another version of MLflow than {VERSION}, which "
            f"is installed: if by an older one, back it up and run `mlflow db upgrade {place}`; if by a "
            "newer one, install that."
        )
    return f"The tracking {kind} {place} cannot be used ({reason}); see tracking.uri and paths.mlruns."


def set_parent_status(client: MlflowClient, experiment_id: str, parent: str) -> None:
    """Set the parent run's status from its children."""
    jobs = all_runs(client, [experiment_id], f"tags.`{PARENT}` = '{parent}'")
    states = {job.info.status for job in jobs}
    if "RUNNING" not in states:
        worst = next((state for state in ("KILLED", "FAILED") if state in states), "FINISHED")
        terminate(client, parent, worst)


def terminate(client: MlflowClient, run_id: str, status: str, end: int | None = None) -> None:
    """Set the final status of a run, without MLflow's line on its address, which may hold a password."""
    with contextlib.redirect_stdout(io.StringIO()):
        client.set_terminated(run_id, status, end)
