"""A job of a sweep: the settings that differ between jobs, its own command, and the jobs that have ended."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

REPEATED = ("seed", "split.seed", "split.fold")  # jobs that differ only in these belong to one arm
ENDED = "ended.tsv"  # file in the sweep's folder: arm and run id of each job that has ended


def folder() -> Path | None:
    """Return the folder of the sweep that this job belongs to; None for a single run."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).absolute()


def overrides() -> list[str]:
    """Return the overrides of the command; in a sweep, those of this job without `-m`."""
    from hydra.core.hydra_config import HydraConfig

    words = HydraConfig.get().overrides.task if folder() or composed_in_python() else sys.argv[1:]
    return [word[2:] if word.startswith("++trainer.") else word for word in words]  # as it was typed


def composed_in_python() -> bool:
    """Return whether the settings come from `fibrolab.api`, not from a command line."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.initialized() and OmegaConf.is_missing(HydraConfig.get().runtime, "output_dir")


def run_name(name: str) -> str:
    """Return a run's name after the settings that distinguish its job, such as `seed=1 single-phantom`.

    MLflow's list of runs shows about the first 20 characters of a name.
    """
    return " ".join([*(label for label in _distinguishing_settings().values() if label not in name), name])


def sweep_name(name: str) -> str:
    """Return a sweep's name from the settings that it varies: `single-phantom: seed`, `sweep: model, lr`."""
    varied = [setting.partition("@")[0].rpartition(".")[2] for setting in _distinguishing_settings()]
    base = "sweep" if {"model", "data"} & set(varied) else name  # which hold the name of one job's
    return f"{base}: {', '.join(varied)}" if varied else name


def arm(name: str) -> str:
    """Return the job's arm in a comparison: its distinguishing settings except seed and fold, or `name`."""
    own = " ".join(label for setting, label in _distinguishing_settings().items() if setting not in REPEATED)
    return re.sub(r"[^A-Za-z0-9_.]+", "-", own or name).strip("-")  # a word that Hydra reads without quotes


def record_end(name: str, run_id: str) -> dict[str, list[str]]:
    """Record that a run has ended.

    Args:
        name: Name in its config, without the distinguishing settings.
        run_id: Id of the run.

    Returns:
        Ids of this run and of the jobs of its sweep that have ended, by arm.
    """
    arms: dict[str, list[str]] = {}
    lines = [f"{arm(name)}\t{run_id}\n"]
    if sweep := folder():
        with (sweep / ENDED).open("a+", encoding="utf-8") as file:  # one write per process
            file.writelines(lines)
            file.seek(0)
            lines = file.readlines()
    for line in lines:
        arm_name, _, ended_id = line.rstrip("\n").partition("\t")
        arms.setdefault(arm_name, []).append(ended_id)
    return arms


def comparison_command(arms: Mapping[str, Sequence[str]]) -> str:
    """Return the shell command that compares runs; the user replaces OTHER, if present, by another run.

    Args:
        arms: Run ids by arm, as returned by `record_end`.
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


def _distinguishing_settings() -> dict[str, str]:
    """Return a label per setting that differs between jobs, such as `densenet121` or `lr=0.01`."""
    from hydra.core.hydra_config import HydraConfig

    if not folder():
        return {}
    choices, shared = HydraConfig.get().runtime.choices, {_plain(word) for word in sys.argv[1:]}
    labels = {}
    for word in overrides():
        setting, _, value = word.lstrip("+").partition("=")
        if _plain(word) not in shared:
            short = setting.partition("@")[0].rpartition(".")[2]
            labels[setting] = value.rpartition("/")[2] if setting in choices else f"{short}={value}"
    return labels


def _plain(word: str) -> str:
    """Return an override without spaces, quotes and plus signs, which Hydra may write differently."""
    return re.sub(r"[\s'\"]|^[+]+", "", word)
