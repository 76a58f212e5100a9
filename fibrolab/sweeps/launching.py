"""Start the jobs of a sweep, each in a process of its own, and watch them until they end."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fibrolab.allowed import whole
from fibrolab.choices import refuse
from fibrolab.errors import FibrolabError, StorageError, TrainingError, listing
from fibrolab.processes import CORES, ENDING, PARENT, cores, kills_for_memory
from fibrolab.storage import make_folder, writing
from fibrolab.sweeps import jobs as folders
from fibrolab.sweeps import slurm_launching
from fibrolab.sweeps.job_table import JobTable, job_table
from fibrolab.sweeps.jobs import Job, Result, State
from fibrolab.sweeps.launcher_settings import PROGRAM, Launching, Slurm, slurm_faults
from fibrolab.sweeps.template import ForkedJob, Template

NOT_PASSED = ("hydra.mode", "hydra.run.", "hydra.sweep", "hydra/sweep", "hydra.launcher", "hydra/launcher")
POLL = 0.1  # [s] between two looks at the jobs
WARM = ("fibrolab.train", "fibrolab.training.settings", "fibrolab.cross_validation")


def run(jobs: Iterable[Job], settings: Launching) -> Generator[tuple[Job, Result]]:
    """Run jobs, `n_jobs` at a time, and yield each with its result when it has ended.

    A job that fails does not end the others. If this generator is closed or interrupted, it ends the jobs
    that still run: SIGTERM, by which they mark their runs as KILLED, then SIGKILL.

    Args:
        jobs: The jobs; the next one is taken when a place is free.
        settings: Settings of the launcher.

    Raises:
        ConfigError: A setting is out of range, or there are not enough GPUs; no job was started.
    """
    if settings.slurm:
        yield from slurm_launching.run(jobs, settings)
        return
    places, waiting = gpus_of_places(settings), iter(jobs)
    running: list[_Child] = []
    with job_table() as shown, _template(settings, places) as template:
        try:
            while True:
                while places and (job := next(waiting, None)) is not None:
                    try:
                        running.append(_Child(job, places[0], settings, shown, template))
                        places.pop(0)
                    except FibrolabError as error:
                        yield job, shown.ended(job, Result("failed", error=str(error)))
                if not running:
                    return
                for child in [each for each in running if each.has_ended()]:
                    running.remove(child)
                    places.append(child.gpus)
                    yield child.job, shown.ended(child.job, child.result())
                    break  # its place is free for the next job
                else:
                    shown.refresh()
                    time.sleep(POLL)
        finally:
            for child in running:  # all at the same time, politely at first
                child.stop()
            for child in running:
                child.wait()


class _Child:
    """The process of a job."""

    def __init__(
        self,
        job: Job,
        gpus: Sequence[str] | None,
        settings: Launching,
        shown: JobTable,
        template: Template | None,
    ) -> None:
        self.job, self.gpus = job, gpus
        self._kills = kills_for_memory()
        words = [*settings.program, *job.overrides, "hydra.mode=RUN", f"hydra.run.dir={job.folder}"]
        environment = _environment(os.environ, gpus, settings.n_jobs) | {
            folders.VARIABLE: str(folders.write(job)),
            PARENT: str(os.getpid()),
        }
        path = job.folder / folders.LOG_FILE
        self._process: subprocess.Popen | ForkedJob
        with writing(path), path.open("ab") as log:
            own = template and template.start(words[len(PROGRAM) :], environment, path)
            self._process = own or subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        self._latest = time.monotonic() + 60 * (settings.job_timeout or float("inf"))
        self._timeout, self._stopped = settings.job_timeout, False
        self._killed_at = float("inf")
        shown.started(job)

    def has_ended(self) -> bool:
        """Return whether the process has ended; end one that exceeds its time."""
        if self._process.poll() is not None:
            return True
        if not self._stopped and time.monotonic() > self._latest:
            self.stop()
        if time.monotonic() > self._killed_at:
            self.kill()
        return False

    def stop(self) -> None:
        """Ask the process to end; it is killed `ENDING` later."""
        self._stopped, self._killed_at = True, time.monotonic() + ENDING
        self._process.terminate()

    def kill(self) -> None:
        """Kill the process with its loader workers and ranks, and wait until it has ended."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Wait until the process has ended, or kill it at its time."""
        while not self.has_ended():
            time.sleep(POLL)

    def result(self) -> Result:
        """Return the end of the job, from its own words, its exit code, and whether it was stopped."""
        code = self._process.returncode
        assert code is not None, "it has ended"
        found = folders.left_in(self.job.folder) or Result("killed")
        if code == 0 and found.state in ("finished", "pruned"):
            return found
        if found.state in ("failed", "out of memory"):
            return found
        if self._stopped:
            return replace(found, state="timeout", error=f"It took longer than {self._timeout:g} min.")
        if code == -signal.SIGKILL or found.error:  # the error of a rank that was killed
            words = found.error or "It was ended by SIGKILL."
            if kills_for_memory() == self._kills:
                return replace(found, state="killed", error=words)
            words += " The system ended a process because the memory ran out."
            return replace(found, state="out of memory", error=words)
        state: State = "killed" if code in (-signal.SIGTERM, -signal.SIGINT, 130) else "failed"
        return replace(found, state=state, error=folders.last_words(self.job, code))


def settings(hydra: Any) -> Launching:
    """Return the settings of the launcher of a command; its jobs take the command's other words for Hydra.

    Args:
        hydra: The node `hydra` of the command's config.
    """
    chosen, sources = hydra.launcher, hydra.runtime.config_sources
    places = [source.path for source in sources if source.provider == "command-line"]
    words = [word for place in places for word in ("--config-dir", place)]
    words += [
        word for word in hydra.overrides.hydra if not re.sub(r"^[+~]+", "", word).startswith(NOT_PASSED)
    ]
    slurm = Slurm(**chosen.slurm) if "slurm" in chosen else None
    program = (*PROGRAM, *words)
    return Launching(chosen.n_jobs, chosen.gpus_per_job, chosen.job_timeout, program, slurm, WARM)


def gpus_of_places(settings: Launching) -> list[Sequence[str] | None]:
    """Return the GPUs of each of the jobs that run at the same time; None where there are none at all.

    Raises:
        ConfigError: A setting is out of range, or there are not enough GPUs.
    """
    refuse(faults(settings))
    if settings.slurm:  # which hands out the GPUs of other machines
        return [None] * settings.n_jobs
    gpus = visible_gpus()
    each = min(1, len(gpus)) if settings.gpus_per_job is None else settings.gpus_per_job
    if (needed := settings.n_jobs * each) > len(gpus):
        given = "one GPU each" if settings.gpus_per_job is None else f"gpus_per_job={each}"
        mend = f"lower n_jobs to {len(gpus) // each}" if each <= len(gpus) else "lower gpus_per_job"
        refuse(
            [
                f"hydra.launcher.n_jobs={settings.n_jobs} with {given} needs {needed} GPUs, and "
                f"{len(gpus)} are visible: {mend}, or set hydra.launcher.gpus_per_job=0 for jobs on the CPU."
            ]
        )
    if not gpus:
        return [None] * settings.n_jobs
    return [gpus[place * each : (place + 1) * each] for place in range(settings.n_jobs)]


def faults(settings: Launching) -> list[str]:
    """Return a sentence on each setting that is out of range."""
    found, gpus, limit = [], settings.gpus_per_job, settings.job_timeout
    if not (number := whole(1)).holds(settings.n_jobs):
        found.append(f"hydra.launcher.n_jobs={settings.n_jobs} is not {number.words}.")
    if gpus is not None and not (number := whole(0)).holds(gpus):
        found.append(f"hydra.launcher.gpus_per_job={gpus} is not {number.words}.")
    if limit is not None and (not isinstance(limit, int | float) or isinstance(limit, bool) or not limit > 0):
        found.append(f"hydra.launcher.job_timeout={limit} is not a time in minutes above 0, or null.")
    return found + (slurm_faults(settings.slurm) if settings.slurm else [])


def visible_gpus() -> list[str]:
    """Return the numbers or ids of the GPUs that this process may use, without importing torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    asked = [program, "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    return answer.stdout.split() if answer.returncode == 0 else []


def refuse_failed(ended: Iterable[tuple[Job, Result]]) -> None:
    """Raise an error that names the jobs that failed, and where they say why.

    Raises:
        TrainingError: At least one job neither finished nor was pruned.
    """
    ended = list(ended)
    failed = [(job, result) for job, result in ended if result.state not in ("finished", "pruned")]
    if failed:
        lines = [
            f"{' '.join([f'#{job.number}', *job.own])}: {result.state}. {result.error} "
            f"See {job.folder / folders.LOG_FILE}."
            for job, result in failed
        ]
        raise TrainingError(f"{len(failed)} of {len(ended)} jobs did not finish:\n{listing(lines)}")


def writable(sweep: Path) -> Path:
    """Create the folder of a sweep, and return it.

    Raises:
        StorageError: It cannot be created or written.
    """
    make_folder(sweep)
    if not os.access(sweep, os.W_OK):
        raise StorageError(f"The folder of the sweep {sweep} cannot be written: set another paths.root.")
    return sweep


@contextlib.contextmanager
def _template(settings: Launching, places: Sequence[Sequence[str] | None]) -> Iterator[Template | None]:
    """Start a template for jobs without a GPU, where processes can be forked; end it with its jobs."""
    if not settings.warm or any(places) or not sys.platform.startswith("linux"):
        yield None
        return
    template = Template(settings.warm, _environment(os.environ, places[0], settings.n_jobs))
    try:
        yield template
    finally:
        template.close()


def _environment(ours: Mapping[str, str], gpus: Sequence[str] | None, n_jobs: int) -> dict[str, str]:
    """Return the environment of a job, with its share of GPUs and cores."""
    found = {name: value for name, value in ours.items() if name not in folders.OF_OTHERS}
    found["PYTHONUNBUFFERED"] = "1"
    if gpus is not None:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if n_jobs > 1:
        found[CORES] = str(max(1, cores() // n_jobs))
        found.setdefault("OMP_NUM_THREADS", found[CORES])
    return found
