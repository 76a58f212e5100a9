"""A multirun: the jobs of `-m` as children of one run in MLflow, resumed if needed and compared."""

import gc
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fibrolab import privacy
from fibrolab.errors import ConfigError
from fibrolab.storage import save_json
from fibrolab.sweeps import launching, this_job
from fibrolab.sweeps.jobs import Job, Result
from fibrolab.sweeps.launcher_settings import PROGRAM
from fibrolab.tracked_run import TrackedRun
from fibrolab.tracking import SWEEP, children, track
from fibrolab.training import devices
from fibrolab.unfinished_runs import UnfinishedSweep, unfinished_sweep

JOBS_FILE = "jobs.json"  # in the folder of the sweep's run: the overrides of each job
RECORDED = "versions"  # tag of a run whose settings are recorded completely
RESUME = "resume="
PLACES = ("paths.", "tracking.")  # settings that a resumed sweep may change
LAUNCHERS = ("hydra/launcher", "hydra.launcher.")
Compose = Callable[[Sequence[str]], DictConfig]


def launch(config: DictConfig, compose: Compose, overrides: Sequence[Sequence[str]]) -> list[Result]:
    """Run the jobs of a multirun, or those that are missing of an earlier one, and compare its arms.

    Args:
        config: The command's config with the node `hydra`, without the settings that the sweep varies.
        compose: Function that returns the config of a job, given its overrides.
        overrides: Overrides of each job.

    Returns:
        The result of each job that was run, in their order.

    Raises:
        ConfigError: A setting of the launcher cannot be used, or there is no such sweep to resume.
        TrainingError: A job did not finish.
        KeyboardInterrupt: Ctrl-C or SIGTERM; all jobs have ended.
    """
    gc.enable()
    settings = launching.settings(config.hydra)
    launching.gpus_of_places(settings)
    refuse_launchers(config, compose, overrides)
    sweep = launching.writable(Path(config.hydra.sweep.dir).absolute())
    first = compose(overrides[0])
    place: dict[str, Any] = OmegaConf.to_container(first.tracking, resolve=True)  # type: ignore[assignment]
    typed = this_job.as_typed(config.hydra.overrides.task)
    resumed, jobs = _resumed(place, overrides, sweep) or (None, _new(overrides, typed, sweep))
    name = this_job.sweep_name(str(first.name), [job.own for job in jobs])
    place["private"] = bool(privacy.ids_key(first))
    with track(**place, name=name, tags={SWEEP: sweep.name}, resumed=resumed) as tracked:
        jobs = [replace(job, parent=tracked.id) for job in jobs]
        words = [f"{RESUME}{tracked.id}", *_launcher(config), *_words(typed, PLACES)]
        again = shlex.join(["python", *PROGRAM[1:], *settings.program[len(PROGRAM) :], "-m", *words])
        number = len(jobs)
        if resumed:
            jobs = _missing(jobs, place["uri"], tracked.id)
        else:
            _keep(jobs, tracked)
        print(f"sweep    {tracked.id}, {len(jobs)} of {number} jobs\nresume   {again}", flush=True)
        try:
            ended = list(launching.run(jobs, settings))
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(f"the sweep goes on with `{again}`") from stop
        _compare(place, tracked.id, _words(typed, ("bootstrap.",)))
        launching.refuse_failed(ended)
    return [result for _, result in sorted(ended, key=lambda pair: pair[0].number)]


def _launcher(config: DictConfig) -> list[str]:
    """Return the words by which a resumed sweep has the same launcher, also if an experiment chose it."""
    words = _words(config.hydra.overrides.hydra, LAUNCHERS)
    choice = f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']}"
    return words if choice in (*words, "hydra/launcher=fibrolab") else [choice, *words]


def refuse_launchers(config: DictConfig, compose: Compose, overrides: Iterable[Sequence[str]]) -> None:
    """Refuse what would start jobs in another way than the settings say.

    Args:
        config: The command's config with the node `hydra`.
        compose: Function that returns the config of a job, with that node, given its overrides.
        overrides: Overrides of each job.

    Raises:
        ConfigError: A process of torchrun or srun, batches of jobs, or an experiment with another launcher.
    """
    if devices.place().size > 1:
        raise ConfigError(
            "torchrun and srun start ranks of one training, and -m starts its jobs itself: leave one out."
        )
    if config.hydra.sweeper.get("max_batch_size") is not None:
        raise ConfigError(
            "hydra.sweeper.max_batch_size has no meaning here: set hydra.launcher.n_jobs to the number of "
            "jobs at a time."
        )
    of_experiments = {
        word: words
        for words in overrides
        for word in words
        if word.startswith(("experiment=", "+experiment="))
    }
    for word, words in of_experiments.items():
        own = compose(words).hydra
        name = own.runtime.choices["hydra/launcher"]
        differing = (
            [f"hydra/launcher={name}"] if name != config.hydra.runtime.choices["hydra/launcher"] else []
        )
        differing += [
            f"hydra.launcher.{key}={value}"
            for key, value in own.launcher.items()
            if not key.startswith("_") and value != config.hydra.launcher.get(key)
        ]
        if differing:
            raise ConfigError(
                f"{word} chooses {' '.join(differing)}, which Hydra ignores where -m sweeps over "
                "experiments: put it on the command line."
            )


def _new(overrides: Sequence[Sequence[str]], typed: Sequence[str], sweep: Path) -> list[Job]:
    lists = [tuple(this_job.as_typed(words)) for words in overrides]
    return [
        Job(number, words, this_job.own_overrides(words, typed), sweep, "")
        for number, words in enumerate(lists)
    ]


def _keep(jobs: Sequence[Job], tracked: TrackedRun) -> None:
    """Write the list of jobs into the sweep's run, from which it is resumed."""
    kept = [{"number": job.number, "overrides": job.overrides, "own": job.own} for job in jobs]
    save_json({"jobs": kept}, tracked.folder / JOBS_FILE)
    tracked.upload()


def _resumed(
    place: dict[str, Any], overrides: Sequence[Sequence[str]], sweep: Path
) -> tuple[UnfinishedSweep, list[Job]] | None:
    """Return the sweep that is resumed, and all of its jobs; None for a new sweep.

    Raises:
        ConfigError: There is no such sweep, it has finished, or other settings are given.
    """
    if not (chosen := _words(overrides[0], (RESUME,))) or chosen[0] == f"{RESUME}null":
        return None
    changed = _words(overrides[0], PLACES)
    others = [word for words in overrides for word in words if word not in (*chosen, *changed)]
    if others:
        raise ConfigError(
            f"-m {chosen[0]} with {', '.join(this_job.as_typed(others))}: a resumed sweep keeps its jobs and "
            "their settings; give only its id, paths.* and tracking.*."
        )
    run = unfinished_sweep(place["uri"], chosen[0].removeprefix(RESUME), place["artifacts"])
    path = run.folder / JOBS_FILE
    if not path.is_file():
        raise ConfigError(f"Sweep {run.id} was interrupted before it recorded its jobs: start it again.")
    kept = json.loads(path.read_text(encoding="utf-8"))["jobs"]
    return run, [
        Job(job["number"], _replaced(job["overrides"], changed), tuple(job["own"]), sweep, run.id)
        for job in kept
    ]


def _replaced(words: Sequence[str], changed: Sequence[str]) -> tuple[str, ...]:
    names = {word.partition("=")[0] for word in changed}
    return (*(word for word in words if word.partition("=")[0] not in names), *changed)


def _missing(jobs: Sequence[Job], uri: str, parent: str) -> list[Job]:
    """Return the jobs that have not finished; those that were interrupted resume their runs."""
    finished, begun = set[int](), dict[int, str]()
    for run_id, status, tags in children(uri, parent):
        number = int(tags.get(this_job.JOB, -1))
        if status == "FINISHED":
            finished.add(number)
        elif RECORDED in tags:
            begun[number] = run_id
    return [
        replace(job, overrides=(*job.overrides, f"{RESUME}{begun[job.number]}"))
        if job.number in begun
        else job
        for job in jobs
        if job.number not in finished
    ]


def _compare(place: dict[str, Any], parent: str, words: Sequence[str]) -> None:
    """Compare the arms of a sweep on their test samples; print the command, and why it could not be done."""
    arms: dict[str, dict[str, str]] = {}
    for run_id, status, tags in children(place["uri"], parent):
        if status == "FINISHED" and this_job.ARM in tags:
            arms.setdefault(tags[this_job.ARM], {})[tags[this_job.JOB]] = run_id
    if not arms:
        return
    ids = {arm: list(runs.values()) for arm, runs in arms.items()}
    command = this_job.comparison_command(ids)
    print(f"compare  {command}", flush=True)
    if len(arms) == 1:
        return
    experiment = f"tracking.experiment={place['experiment']}"
    words = [sys.executable, *shlex.split(command)[1:], experiment, *words]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"The arms were not compared: {last.removeprefix('error: ')}")


def _words(words: Sequence[str], beginnings: tuple[str, ...]) -> list[str]:
    return [word for word in words if word.lstrip("+").startswith(beginnings)]
