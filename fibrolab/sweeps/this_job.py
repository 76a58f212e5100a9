"""The job of a sweep that this process runs: its names, its own command, and what it reports at its end."""

import contextlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from omegaconf import OmegaConf

from fibrolab.errors import FibrolabError, StorageError
from fibrolab.sweeps import jobs
from fibrolab.sweeps.jobs import Result, State

REPEATED = ("seed", "split.seed", "split.fold")  # jobs that differ only in these belong to one arm
ARM = "fibrolab.arm"  # tag of a job's run: its arm in a comparison
JOB = "fibrolab.job"  # tag of a job's run: its number
OUT_OF_MEMORY = ("MemoryError", "out of memory")  # signs in an error
KILLED = "(SIGKILL)"  # sign in the error of ranks of which one was killed; the launcher finds out why
CHOICES = {"model", "data", "experiment"}  # settings that change the name of a run


def tags(name: str) -> dict[str, str]:
    """Return the tags of the run of this job, given the name in its config; none outside a sweep."""
    job = jobs.current()
    return {JOB: str(job.number), ARM: arm(name), **job.tags} if job else {}


def parent() -> str:
    """Return the id of the sweep's run; empty outside a sweep."""
    job = jobs.current()
    return job.parent if job else ""


def begin(run_id: str) -> None:
    """Report the run of this job; until `finish` or `fail`, its result is that it was killed."""
    if job := jobs.current():
        jobs.write_result(job, Result("killed", run_id))


def finish(run_id: str, value: float | None, metrics: Mapping[str, float], pruned: bool) -> None:
    """Report that this job has finished, with the best value of the monitored metric and its epoch."""
    if job := jobs.current():
        jobs.write_result(job, Result("pruned" if pruned else "finished", run_id, value, dict(metrics)))


def fail(error: Exception) -> None:
    """Report the error that ended this job."""
    if job := jobs.current():
        words = next(iter(str(error).splitlines()), "")
        full = "".join(traceback.format_exception(error))  # with its causes, and notes of ranks
        state: State = "killed" if KILLED in full else "failed"
        if any(sign in full for sign in OUT_OF_MEMORY):
            state = "out of memory"
        text = words if isinstance(error, FibrolabError) else f"{type(error).__name__}: {words}"
        begun = jobs.left_in(job.folder) or Result("killed")
        ended = replace(begun, state=state, error=text)
        with contextlib.suppress(StorageError):  # a full disk must not hide the error
            jobs.write_result(job, ended)


def overrides() -> list[str]:
    """Return the overrides of the command; in a sweep, those of this job without `-m`."""
    from hydra.core.hydra_config import HydraConfig

    if job := jobs.current():
        return list(job.overrides)
    words = HydraConfig.get().overrides.task if in_multirun() or composed_in_python() else sys.argv[1:]
    return as_typed(words)


def as_typed(words: Iterable[str]) -> list[str]:
    """Return overrides without the plus signs that `command_line.prepared` puts before the trainer's."""
    return [word[2:] if word.startswith("++trainer.") else word for word in words]


def in_multirun() -> bool:
    """Return whether this process itself runs the jobs of `-m`, as Hydra's own launcher does."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def composed_in_python() -> bool:
    """Return whether the settings come from `fibrolab.api`, not from a command line."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.initialized() and OmegaConf.is_missing(HydraConfig.get().runtime, "output_dir")


def run_name(name: str) -> str:
    """Return a run's name after the settings that distinguish its job, such as `seed=1 single-phantom`.

    MLflow's list of runs shows about the first 20 characters of a name.
    """
    return " ".join([*(label for label in _distinguishing_settings().values() if label not in name), name])


def sweep_name(name: str, own: Iterable[Iterable[str]]) -> str:
    """Return a sweep's name from the settings that it varies: `single-phantom: seed`, `sweep: model, lr`.

    Args:
        name: Name in the config of its first job.
        own: The own overrides of each job.
    """
    settings = dict.fromkeys(_setting(word) for words in own for word in words)
    varied = [_short(setting) for setting in settings]
    base = "sweep" if CHOICES & set(varied) else name  # which hold the name of one job's
    return f"{base}: {', '.join(varied)}" if varied else name


def arm(name: str) -> str:
    """Return the job's arm in a comparison: its distinguishing settings except seed and fold, or `name`."""
    own = " ".join(label for setting, label in _distinguishing_settings().items() if setting not in REPEATED)
    return re.sub(r"[^A-Za-z0-9_.]+", "-", own or name).strip("-")  # a word that Hydra reads without quotes


def comparison_command(arms: Mapping[str, Sequence[str]]) -> str:
    """Return the shell command that compares runs; the user replaces OTHER, if present, by another run.

    Args:
        arms: Run ids by arm.
    """
    if all(len(ids) == 1 for ids in arms.values()):
        compared = [ids[0] for ids in arms.values()]
        runs = f"[{','.join(compared if len(compared) > 1 else [*compared, 'OTHER'])}]"
    else:
        shown = dict(arms) if len(arms) > 1 else {**arms, "OTHER": ["ID"]}
        runs = "{" + ", ".join(f"{name}: [{','.join(ids)}]" for name, ids in shown.items()) + "}"
    paths = [word for word in overrides() if word.startswith(("paths.", "tracking."))]
    python = os.path.relpath(sys.executable)  # works without an activated environment
    return shlex.join([python, "-m", "fibrolab.compare", f"runs={runs}", *paths])


def own_overrides(words: Iterable[str], typed: Iterable[str]) -> tuple[str, ...]:
    """Return those of a job's overrides that the command of the sweep does not hold as they are."""
    shared = {_plain(word) for word in typed}
    return tuple(word for word in words if _plain(word) not in shared)


def _distinguishing_settings() -> dict[str, str]:
    """Return a label per setting that differs between jobs, such as `densenet121` or `lr=0.01`."""
    from hydra.core.hydra_config import HydraConfig

    if (job := jobs.current()) is None:
        return {}
    choices, labels = HydraConfig.get().runtime.choices, {}
    for word in job.own:
        setting, value = _setting(word), word.partition("=")[2]
        if "=" not in word:  # the place of a job in a study
            labels[word] = word
            continue
        labels[setting] = value.rpartition("/")[2] if setting in choices else f"{_short(setting)}={value}"
    return labels


def _setting(word: str) -> str:
    return word.lstrip("+").partition("=")[0]


def _short(setting: str) -> str:
    return setting.partition("@")[0].rpartition(".")[2]


def _plain(word: str) -> str:
    """Return an override without spaces, quotes and plus signs, which Hydra may write differently."""
    return re.sub(r"[\s'\"]|^[+]+", "", word)
