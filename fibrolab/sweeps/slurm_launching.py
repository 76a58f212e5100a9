"""Start the jobs of a sweep as jobs of Slurm, and watch them until they end.

submitit writes the batch script and submits it, several jobs as one array. Within a job of Slurm, `start`
makes way for the command of the training, which thus gets Slurm's signals itself: USR1 before the time limit,
and SIGTERM when the job is cancelled. With `trainer.requeue=true` the training answers the first one by a
checkpoint and the return to the queue, see `fibrolab.slurm`.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from fibrolab import processes
from fibrolab.errors import ConfigError, StorageError
from fibrolab.processes import CORES
from fibrolab.sweeps import jobs as folders
from fibrolab.sweeps.job_table import job_table
from fibrolab.sweeps.jobs import Job, Result
from fibrolab.sweeps.launcher_settings import Launching, Slurm

POLL = 10.0  # [s] between two questions to Slurm, which all users of a cluster share
PATIENCE = 60  # [s] until Slurm's answer
NOTICE = 120  # [s] from the signal to the time limit, at most; enough to end a step and write a checkpoint
CANCELLED = 60.0  # [s] that cancelled jobs have to close their runs
ALIVE = (
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESIZING",
    "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED",
)  # fmt: skip
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED")


def run(jobs: Iterable[Job], settings: Launching) -> Iterator[tuple[Job, Result]]:
    """Run jobs under Slurm, and yield each with its result when it has ended.

    A list of jobs is submitted at once, as an array of which `n_jobs` run at the same time. Of any other
    iterable, the next job is taken when fewer than `n_jobs` wait or run. If this generator is closed or
    interrupted, it cancels the jobs that have not ended. If its process is killed, they go on; the next
    launcher of the same sweep on the same machine cancels what is left of them, and runs what is missing.

    Args:
        jobs: The jobs.
        settings: Settings of the launcher, with those of Slurm.

    Raises:
        ConfigError: Slurm or submitit is not installed here, or Slurm refuses the settings.
    """
    _check_installed()
    places = len(jobs) if isinstance(jobs, Sequence) else settings.n_jobs
    waiting, running = iter(jobs), dict[str, Job]()
    shown_as_started, begun = set[str](), False
    with job_table() as shown:
        try:
            while True:
                if new := list(islice(waiting, places - len(running))):
                    if not begun:
                        _cancel_abandoned(new[0].parent)
                    begun = True
                    running |= _submit(new, settings)
                if not running:
                    return
                states = _states(running)
                for name in running.keys() - shown_as_started:
                    if states.get(name, "PENDING") not in WAITING:
                        shown_as_started.add(name)
                        shown.started(running[name])
                ended = [name for name in running if states.get(name, "PENDING") not in ALIVE]
                for name in ended:
                    job = running.pop(name)
                    yield job, shown.ended(job, _result(job, states[name], settings))
                shown.refresh()
                if not ended:
                    time.sleep(POLL)
        finally:
            _cancel(running)


def start(words: Sequence[str], job: str, log: str) -> None:
    """Make way for the command of a job; called by submitit on the node.

    Args:
        words: The command.
        job: Path of the job's `job.json`.
        log: Path of the file that takes what it prints.
    """
    environment = {name: value for name, value in os.environ.items() if name not in folders.OF_OTHERS}
    environment |= {folders.VARIABLE: job, "PYTHONUNBUFFERED": "1"}
    if given := os.environ.get("SLURM_CPUS_PER_TASK"):
        environment[CORES] = given
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.execvpe(words[0], list(words), environment)


def _check_installed() -> None:
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "hydra/launcher=slurm needs the command sbatch, which is not on this machine: start the sweep "
            "where jobs are submitted, or leave hydra/launcher out."
        )
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "hydra/launcher=slurm needs submitit, which is not installed: run "
            "`pip install 'fibrolab[slurm]'`."
        ) from error


def _submit(jobs: Sequence[Job], settings: Launching) -> dict[str, Job]:
    """Submit jobs as one array; return them by their ids in Slurm."""
    import submitit

    executor = submitit.SlurmExecutor(folder=jobs[0].sweep / "slurm")
    executor.update_parameters(**_parameters(jobs[0].sweep.name, jobs[0].parent, settings))
    tasks = []
    try:
        with executor.batch():
            for job in jobs:
                words = [*settings.program, *job.overrides, "hydra.mode=RUN", f"hydra.run.dir={job.folder}"]
                if settings.slurm and settings.slurm.requeue:
                    words.append("trainer.requeue=true")
                path = folders.write(job)
                tasks.append(executor.submit(start, words, str(path), str(job.folder / folders.LOG_FILE)))
    except submitit.core.utils.FailedJobError as error:
        last = next((line for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
        reason = last.strip().removeprefix("sbatch: error: ")
        raise ConfigError(f"Slurm refuses the jobs ({reason}): correct hydra.launcher.") from error
    except OSError as fault:
        raise StorageError(f"The jobs cannot be submitted to Slurm ({fault}).") from fault
    ids = [task.job_id for task in tasks]
    print(f"slurm    {len(ids)} jobs submitted as {ids[0].partition('_')[0]}", flush=True)
    return dict(zip(ids, jobs, strict=True))


def _parameters(name: str, parent: str, settings: Launching) -> dict[str, Any]:
    """Return what submitit writes into the batch script; the comment names the sweep and its launcher."""
    slurm = settings.slurm or Slurm()
    minutes = settings.job_timeout
    limit = {} if minutes is None else {"time": max(1, round(minutes))}
    notice = NOTICE if minutes is None else min(NOTICE, round(30 * minutes))
    gpus = {"gpus_per_node": settings.gpus_per_job} if settings.gpus_per_job else {}
    memory = {} if slurm.memory_gb is None else {"mem": f"{round(1024 * slurm.memory_gb)}M"}
    return (
        limit
        | gpus
        | memory
        | {
            "job_name": f"fibrolab-{name}",
            "partition": slurm.partition,
            "account": slurm.account,
            "qos": slurm.qos,
            "cpus_per_task": slurm.cpus_per_job,
            "srun_args": [f"--cpus-per-task={slurm.cpus_per_job}"],  # Slurm >= 22.05 does not hand it on
            "array_parallelism": settings.n_jobs,
            "stderr_to_stdout": True,
            "comment": f"{parent} {processes.current()}",
            "additional_parameters": {
                "signal": f"USR1@{notice}",
                "requeue" if slurm.requeue else "no-requeue": True,
            },
        }
    )


def _states(names: Collection[str]) -> dict[str, str]:
    """Return the states of jobs that Slurm still knows; empty if it does not answer.

    Ended jobs are forgotten after `MinJobAge`, by default 5 minutes; then accounting is asked, if there is
    any.
    """
    arrays = ",".join(sorted({name.partition("_")[0] for name in names}))
    found = _asked("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={arrays}")
    if found is None:
        return {}
    if names - found.keys():
        found = (_asked("sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State",
                        f"--jobs={arrays}") or {}) | found  # fmt: skip
    return {name: (found.get(name, "FORGOTTEN").split() or [""])[0] for name in names}


def _asked(*words: str) -> dict[str, str] | None:
    """Return the answer of a command of Slurm, an id and a text in each line; None if it does not answer."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode and "Invalid job id" not in done.stderr:  # it has forgotten all of them
        return None
    pairs = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 1]
    return {name: said.strip() for name, said in pairs}


def _result(job: Job, state: str, settings: Launching) -> Result:
    """Return the end of a job, from its own words and from Slurm's."""
    said = folders.left_in(job.folder)
    if said and said.state != "killed":
        return said
    found, cancelled = said or Result("killed"), state.startswith(("CANCELLED", "PREEMPTED"))
    if state == "TIMEOUT" or (said and not cancelled):  # it has obeyed the signal before the limit
        limit = f" of {settings.job_timeout:g} min" if settings.job_timeout else ""
        return replace(found, state="timeout", error=f"It reached its time limit{limit}.")
    if state == "OUT_OF_MEMORY":
        words = "Slurm ended it: it took more memory than it asked for."
        return replace(found, state="out of memory", error=words)
    if cancelled:
        return replace(found, error=f"Slurm says {state}.")
    return replace(found, state="failed", error=f"{folders.last_words(job, 1)} Slurm says {state}.")


def _cancel_abandoned(parent: str) -> None:
    """Cancel the jobs of a sweep whose launcher was killed, and wait until they have closed their runs."""
    known = _asked("squeue", "--me", "--noheader", "--array", "--format=%i|%k") or {}
    left = []
    for name, comment in known.items():
        sweep, _, launcher = comment.partition(" ")
        owner = processes.parsed(launcher)
        if sweep == parent and owner and processes.has_ended(owner):
            left.append(name)
    if left:
        number = f"{len(left)} jobs of a launcher that was killed"
        print(f"slurm    {number} are cancelled, and go on as new ones", flush=True)
        _cancel(left)


def _cancel(running: Collection[str]) -> None:
    """Cancel jobs, and wait until those that run have closed their runs."""
    if not running:
        return
    subprocess.run(["scancel", *running], capture_output=True, timeout=PATIENCE, check=False)
    latest = time.monotonic() + CANCELLED
    while time.monotonic() < latest and any(state in ALIVE for state in _states(running).values()):
        time.sleep(min(POLL, 1.0))
