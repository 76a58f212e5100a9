"""A study in a database that several processes and machines share: its trials, their states and their table.

A trial that runs belongs to a process. When that process no longer exists, which its identity tells on the
same machine and a missing heartbeat tells on others, the trial is settled: by the result that its child
process has left, or else as failed, and its parameters are queued again once.
"""

import contextlib
import logging
import math
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from fibrolab import processes
from fibrolab.credentials import masked
from fibrolab.errors import ConfigError, StorageError, listing
from fibrolab.storage import full_disk, is_full
from fibrolab.sweeps import jobs
from fibrolab.sweeps.search_space import SearchSpace, Values

logger = logging.getLogger(__name__)
logging.getLogger("optuna").setLevel(logging.WARNING)
logging.getLogger("optuna.storages").setLevel(logging.CRITICAL)  # its errors are raised as sentences

BEAT, SILENT = 20, 120  # [s] between two heartbeats, and without one until a process counts as dead
BUSY = 60  # [s] that a writer waits for another one of an SQLite file
ABSENT = 10  # [s] until a server that does not answer is out of reach
PROCESS, FOLDER, RUN, STATE, ERROR = "process", "folder", "run", "state", "error"  # attributes of a trial
RECORD, FINAL, PRUNER, CLAIM = "fibrolab", "final", "pruner", "concluded by"  # attributes of a study
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
_LOCK = zlib.crc32(b"fibrolab")  # of PostgreSQL: one process at a time asks, or creates tables


@dataclass(frozen=True)
class Goal:
    """A value by which trials are compared: a validation metric or the latency, and its better end."""

    name: str
    mode: str

    @property
    def direction(self) -> StudyDirection:
        """Optuna's word for the better end."""
        return StudyDirection.MAXIMIZE if self.mode == "max" else StudyDirection.MINIMIZE


class Database:
    """The database of studies: an SQLite file, or PostgreSQL.

    Args:
        url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        ConfigError: The address is of another kind, or its driver is not installed.
        StorageError: The database cannot be reached, opened or written.
    """

    def __init__(self, url: str) -> None:
        self.url, self.file = url, _file(url)
        self._lock = FileLock(self.file.with_suffix(".lock")) if self.file else None
        self._engine: Engine | None = None
        with self.faults():
            if self.file:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            else:
                options = {"connect_timeout": ABSENT}
                self._engine = create_engine(
                    url, connect_args=options, poolclass=NullPool, isolation_level="AUTOCOMMIT"
                )
            with self.locked():
                self.storage = self._opened()

    def _opened(self) -> RDBStorage:
        """Open the database; a new SQLite file gets its tables before it gets its name."""
        escaped = self.url.replace("{", "{{").replace("}", "}}")  # Optuna formats addresses
        if self.file and not self.file.exists():
            new = self.file.with_name(f".{self.file.name}.new")
            new.unlink(missing_ok=True)  # of a process that was killed
            new.with_name(f"{new.name}-journal").unlink(missing_ok=True)
            made = RDBStorage(f"sqlite:///{new}")
            made.remove_session()
            made.engine.dispose()
            new.replace(self.file)
        options: dict[str, Any] = {"timeout": BUSY} if self.file else {"connect_timeout": ABSENT}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(
                escaped,
                engine_kwargs={"connect_args": options, "pool_pre_ping": not self.file},
                heartbeat_interval=BEAT,
                grace_period=SILENT,
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time in."""
        if self._lock:
            with self._lock:
                yield
            return
        assert self._engine is not None
        with self._engine.connect() as connection:  # the lock ends with the connection, and so with a process
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})

    @contextlib.contextmanager
    def faults(self) -> Iterator[None]:
        """Raise errors of the database as one sentence without a password.

        Raises:
            ConfigError: Its driver is not installed.
            StorageError: It cannot be reached, opened or written.
        """
        try:
            yield
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise ConfigError(
                f"hydra.sweeper.storage={masked(self.url)} needs a driver that is not installed: "
                "pip install 'fibrolab[postgres]'."
            ) from error
        except (SQLAlchemyError, StorageInternalError, OSError) as error:
            raise StorageError(self._sentence(error)) from error

    def _sentence(self, error: Exception) -> str:
        if self.file and is_full(error, in_flight=True):
            return (
                f"The database of studies {self.file} cannot be written: {full_disk(self.file)}. Free some "
                "space and give the same command again: the study goes on where it stood."
            )
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        reason = masked(
            next(iter(str(getattr(cause, "orig", cause)).strip().splitlines()), "no reason given")
        )
        return (
            f"The database of studies {masked(self.url)} cannot be used ({reason.strip()}); see "
            "hydra.sweeper.storage."
        )


def _file(url: str) -> Path | None:
    """Return the file of an SQLite address; None for PostgreSQL.

    Raises:
        ConfigError: The address is of another kind.
    """
    kind, _, rest = url.partition("://")
    if kind == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return Path(rest[1:]).expanduser().absolute()
    if kind.partition("+")[0] == "postgresql":
        return None
    raise ConfigError(
        f"hydra.sweeper.storage={masked(url)} is no address of a database: give sqlite:///FILE.db or "
        "postgresql://USER:PASSWORD@HOST/NAME."
    )


class SharedStudy:
    """A study whose trials are asked for and told by any number of processes.

    Args:
        database: Where it is.
        name: Its name.
        goals: Values by which trials are compared.
        space: Its parameters.
        settings: The settings that no parameter changes, flat.
        create: Make its run in MLflow and return the id; called once for the study, by one process.

    Raises:
        ConfigError: There is such a study with another space, other settings or goals.
        StorageError: The database cannot be used.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        goals: Sequence[Goal],
        space: SearchSpace,
        settings: Mapping[str, str],
        create: Callable[[], str],
    ) -> None:
        self.database, self.name, self.goals, self.space = database, name, tuple(goals), space
        record = {
            "goals": {goal.name: goal.mode for goal in goals},
            "space": space.described(),
            "settings": dict(settings),
        }
        self._mine: set[int] = set()  # numbers of trials that this process runs
        self._concludes = False
        with database.faults(), database.locked():
            directions = [goal.direction for goal in goals]
            with contextlib.suppress(DuplicatedStudyError):
                optuna.create_study(storage=database.storage, study_name=name, directions=directions)
            self.study = optuna.load_study(study_name=name, storage=database.storage)
            known: dict[str, Any] | None = self.study.user_attrs.get(RECORD)
            if known is None:
                known = record | {RUN: create()}
                self.study.set_user_attr(RECORD, known)
            self._refuse_other(known, record)
        self.run_id = str(known[RUN])

    def _refuse_other(self, known: Mapping[str, Any], record: Mapping[str, Mapping[str, str]]) -> None:
        lines = [
            f"{key}: was {known[part].get(key, 'absent')}, is {now.get(key, 'absent')}"
            for part, now in record.items()
            for key in sorted({*known[part], *now})
            if known[part].get(key) != now.get(key)
        ]
        if lines:
            raise ConfigError(
                f"The study {self.name} has another space or other settings, so its trials cannot be "
                f"compared with new ones:\n{listing(lines)}\nGive another hydra.sweeper.study_name, or the "
                "settings as they were."
            )

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, in the order of their numbers."""
        with self.database.faults():
            return self.study.get_trials(deepcopy=False)

    @property
    def done(self) -> int:
        """Number of trials that have finished or were pruned."""
        return sum(trial.state in DONE for trial in self.trials)

    def ask(
        self, total: int, sampler: Callable[[int], optuna.samplers.BaseSampler], folder: Path
    ) -> tuple[optuna.Trial, Values] | None:
        """Begin the next trial of this process.

        Args:
            total: Number of trials that the study has at its end, finished and pruned ones.
            sampler: Return the sampler of the trial with a number.
            folder: Folder of this sweep, where a trial has a folder with its number.

        Returns:
            The trial, and its values by the key of each parameter; None if enough have ended or are running.

        Raises:
            StorageError: The database cannot be used.
        """
        with self.database.faults(), self.database.locked():
            self._settle()
            trials = self.trials
            if sum(trial.state in (*DONE, TrialState.RUNNING) for trial in trials) >= total:
                return None
            self.study.sampler = sampler(len(trials))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                trial = self.study.ask()
                values = self.space.suggest(trial)
            trial.set_user_attr(FOLDER, str(folder / str(trial.number)))
            trial.set_user_attr(PROCESS, str(processes.current()))
            self.database.storage.record_heartbeat(trial._trial_id)
            self._mine.add(trial.number)
        return trial, values

    def tell(self, number: int, result: jobs.Result) -> None:
        """Record the end of a trial; one that was killed is queued again once.

        Raises:
            StorageError: The database cannot be used.
        """
        with self.database.faults(), self.database.locked():
            self._tell(self.study.get_trials(deepcopy=False)[number], result)
            self._mine.discard(number)

    def _tell(self, trial: FrozenTrial, result: jobs.Result) -> None:
        if trial.state.is_finished():  # another machine took this process for dead
            logger.warning("Trial %d was given up before it ended; its result is left out.", trial.number)
            return
        storage, reached = self.database.storage, result.metrics
        if len(self.goals) == 1:
            reached = {} if result.value is None else {self.goals[0].name: result.value}
        values = {goal.name: float(reached.get(goal.name, math.nan)) for goal in self.goals}
        missing = [name for name, value in values.items() if math.isnan(value)]
        state = TrialState.PRUNED if result.state == "pruned" else TrialState.FAIL
        if result.state == "finished" and not missing:
            state = TrialState.COMPLETE
        error = result.error or ("" if state in DONE else f"the run has no {', '.join(missing)}")
        for name, value in ((RUN, result.run), (STATE, result.state), (ERROR, masked(error))):
            if value:
                storage.set_trial_user_attr(trial._trial_id, name, value)
        if state != TrialState.FAIL:
            reported = list(values.values()) if state == TrialState.COMPLETE else None
            self.study.tell(trial.number, reported, state)
            return
        storage.set_trial_state_values(trial._trial_id, state)
        if result.state == "killed":
            self._queue_again(trial.number)

    def _settle(self) -> None:
        """Settle the trials of processes that no longer exist; the caller holds the lock."""
        self._beat()
        # Optuna's `fail_stale_trials` would fail them before what their jobs left was read.
        silent = self.database.storage._get_stale_trial_ids(self.study._study_id)
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.number in self._mine:
                continue
            owner = processes.parsed(trial.user_attrs.get(PROCESS, ""))
            if owner is None or processes.has_ended(owner) or trial._trial_id in silent:
                self._tell(trial, _left_by(trial, "the process of the trial was killed"))

    def _queue_again(self, number: int) -> None:
        trial = self.study.get_trials()[number]
        trial.user_attrs = {}  # process, folder, run and error are those of the killed one
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            RetryHeartbeatStaleTrialCallback(max_retry=1)(self.study, trial)

    def give_up(self) -> None:
        """Settle the trials that this process still runs, such as after Ctrl-C."""
        for number in sorted(self._mine):
            self.tell(number, _left_by(self.trials[number], "the sweep was interrupted"))

    def claim(self) -> bool:
        """Let this process conclude the study, unless trials still run or another process concludes it."""
        with self.database.faults(), self.database.locked():
            owner, since = self.study.user_attrs.get(CLAIM) or ("", 0.0)
            other = processes.parsed(owner)
            if other in (None, processes.current()) or processes.has_ended(other):
                since = 0.0
            running = self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
            if running or time.time() - since < SILENT:
                return False
            self._concludes = True
            self._beat()
        return True

    def release(self) -> None:
        """Conclude the study no longer."""
        if self._concludes:
            self._concludes = False
            with self.database.faults():
                self.study.set_user_attr(CLAIM, None)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Record heartbeats of this process meanwhile, so that other machines know that it lives."""
        end = threading.Event()

        def beat() -> None:
            while not end.wait(BEAT):
                with contextlib.suppress(SQLAlchemyError, StorageInternalError):  # the next one may pass
                    self._beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def _beat(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.number in self._mine:
                self.database.storage.record_heartbeat(trial._trial_id)
        if self._concludes:
            self.study.set_user_attr(CLAIM, [str(processes.current()), time.time()])


def _left_by(trial: FrozenTrial, error: str) -> jobs.Result:
    """Return the result that the child of a trial has left, or else that it was killed."""
    left = jobs.left_in(Path(trial.user_attrs.get(FOLDER, "/")))
    return left or jobs.Result("killed", error=error)
