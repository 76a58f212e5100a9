"""Runs of trainings that did not finish: find one to resume, and take it over from its ended process."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fibrolab import processes, slurm
from fibrolab.errors import ConfigError, StorageError
from fibrolab.local_runs import sqlite_file
from fibrolab.tracked_run import LONGEST_PARAM, PARENT, Resumed, as_storage_error
from fibrolab.tracking import JOB, PROCESS, SOURCE, SWEEP, TRAINING, find_run, locked, runs_not_finished
from fibrolab.tracking_journal import ERROR
from fibrolab.tracking_names import legal

SETTLED = 2.0  # [s], after which a server shows which of two processes has taken a run


class UnfinishedRun(Resumed):
    """A run that `track` may open again."""

    is_sweep = False  # whether it is the parent of a sweep

    @property
    def params(self) -> dict[str, str]:
        """Its parameters in MLflow, and those that wait for a server, as after a kill during an outage."""
        waiting = (record.values for record in self._outbox.records() if record.kind == "params")
        return self._run.data.params | {name: value for values in waiting for name, value in values}

    def take(self, uri: str, process: Mapping[str, Any]) -> str | None:
        """Make this process the one that trains the run; return its parent run if that is a sweep.

        Raises:
            ConfigError: Another process trains it, or was faster; or it has finished.
        """
        client, _ = self.place
        place = sqlite_file(uri)
        with locked(place):
            tags = _resumable(client.get_run(self.id), self.is_sweep)
            for name, value in process.items():
                client.set_tag(self.id, name, str(value))
            client.update_run(self.id, status="RUNNING")
        if place is None:
            time.sleep(SETTLED)
            run = client.get_run(self.id)
            if run.data.tags.get(PROCESS) != str(process[PROCESS]):
                _resumable(run, self.is_sweep)
        if ERROR in tags:
            client.delete_tag(self.id, ERROR)
        parent = tags.get(PARENT)
        if parent is None or SWEEP not in client.get_run(parent).data.tags:
            return None  # the run of several folds sets its own status
        client.update_run(parent, status="RUNNING")
        return parent

    def add_lost_points(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Record the points of curves that the ended process had measured and not written yet.

        Args:
            epochs: Rows of `history.csv`; nothing is added while the server is away.
        """
        client, _ = self.place
        names = {name for row in epochs for name in row} - {"epoch", "step"}
        with contextlib.suppress(StorageError):
            self.deliver()
            for name, accepted in legal(sorted(names)).items():
                with as_storage_error(client.tracking_uri):
                    known = {point.step for point in client.get_metric_history(self.id, accepted)}
                for row in epochs:
                    step = int(row["step"]) - 1  # as Lightning counts them
                    if name in row and step not in known:
                        self.add_metrics({name: row[name]}, step)
        self.deliver()


class UnfinishedSweep(UnfinishedRun):
    """The parent run of a sweep with jobs that are missing."""

    is_sweep = True


def unfinished_sweep(uri: str, run_id: str, artifacts: str) -> UnfinishedSweep:
    """Return the parent run of a sweep that did not finish, with its files.

    Raises:
        ConfigError: See `unfinished`; or the run is none of a sweep.
    """
    client, run = find_run(uri, run_id)
    _resumable(run, is_sweep=True)
    tracked = UnfinishedSweep(client, run, artifacts)
    tracked.fetch()
    return tracked


def unfinished(uri: str, run_id: str, artifacts: str) -> UnfinishedRun:
    """Return a run of a training that did not finish, with its files.

    Args:
        uri: Tracking database or server.
        run_id: MLflow's id of the run.
        artifacts: Folder below which its files wait for a server.

    Raises:
        ConfigError: The run does not exist, has finished, is being trained, is no training, or its files are
            missing.
    """
    client, run = find_run(uri, run_id)
    _resumable(run)
    tracked = UnfinishedRun(client, run, artifacts)
    tracked.fetch()
    return tracked


def newest_unfinished(
    uri: str,
    experiment: str,
    settings: Mapping[str, Any],
    may_differ: Callable[[str], bool],
    job: str | None = None,
) -> str | None:
    """Return the id of the newest run that did not finish and has exactly these settings; None without one.

    Args:
        uri: Tracking database or server.
        experiment: MLflow experiment that is searched.
        settings: Flat settings, as given to `TrackedRun.log_params`.
        may_differ: Whether a run may have a setting that is not among them.
        job: Slurm job that must have started the run; None for any.

    Raises:
        ConfigError: There is no such database.
    """
    names = legal(settings)
    wanted = {names[name]: str(value)[:LONGEST_PARAM] for name, value in settings.items()}
    for run in runs_not_finished(uri, experiment):
        tags = run.data.tags
        if tags.get(SOURCE) != TRAINING or SWEEP in tags or _trained_by(run):
            continue
        if any("." in name and not may_differ(name) for name in run.data.params.keys() - wanted.keys()):
            continue  # such as an argument of Lightning's Trainer that no config names
        if job in (None, tags.get(JOB, "").partition(" ")[0]) and wanted.items() <= run.data.params.items():
            return str(run.info.run_id)
    return None


def _resumable(run: Any, is_sweep: bool = False) -> dict[str, str]:
    """Return the tags of a run of MLflow, or refuse it.

    Raises:
        ConfigError: It cannot be resumed.
    """
    run_id, tags = run.info.run_id, dict(run.data.tags)
    if SWEEP in tags and not is_sweep:
        raise ConfigError(
            f"Run {run_id} is the parent of a sweep: resume all that is missing of it with "
            f"`-m resume={run_id}`, or give the id of one of its runs."
        )
    if SWEEP not in tags and is_sweep:
        raise ConfigError(f"Run {run_id} is no sweep: resume it without -m.")
    if tags.get(SOURCE) != TRAINING:
        raise ConfigError(f"Run {run_id} is no training: give the id of a run of `fibrolab.train`.")
    if run.info.status == "FINISHED" and is_sweep:
        raise ConfigError(f"All jobs of the sweep {run_id} have finished, so there is nothing to resume.")
    if run.info.status == "FINISHED":
        raise ConfigError(
            f"Run {run_id} has finished, so there is nothing to resume. To train its weights further in a "
            f"new run, set model.branches.NAME.weights=run:{run_id}; `fibrolab.evaluate` scores it again."
        )
    if process := _trained_by(run):
        raise ConfigError(
            f"Run {run_id} is being trained by process {process.pid} on {process.host}: wait until it ends. "
            f"If that machine no longer exists, delete the run's tag {PROCESS} in the MLflow UI."
        )
    return tags


def _trained_by(run: Any) -> processes.Process | None:
    """Return the process that trains a run, unless it certainly no longer exists."""
    if run.info.status != "RUNNING" or slurm.has_restarted(run.data.tags.get(JOB, "")):
        return None
    process = processes.parsed(run.data.tags.get(PROCESS, ""))
    return None if process is None or processes.has_ended(process) else process
