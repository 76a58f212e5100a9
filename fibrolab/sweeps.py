"""A job of a sweep: what sets it apart, its command without the others, and the jobs that ended before it."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

REPEATED = ("seed", "split.seed", "split.fold")  # jobs that differ in these alone are of one arm
ENDED = "ended.tsv"  # arm and run id of each job that came to its end, below the folder of the sweep


def folder() -> Path | None:
    """Folder of the sweep that this job belongs to; None for a single run."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).absolute()


def words() -> list[str]:
    """Return the overrides of the command; in a sweep those of this job, without `-m`."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if folder() or composed_in_python() else sys.argv[1:]


def composed_in_python() -> bool:
    """Return whether the settings come from `fibrolab.api`, not from a command line."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.initialized() and OmegaConf.is_missing(HydraConfig.get().runtime, "output_dir")


def named(name: str) -> str:
    """Name a run, with the settings in which its job differs, such as `single-phantom seed=1`."""
    return " ".join([name, *(label for label in _apart().values() if label not in name)])


def arm(name: str) -> str:
    """Name the job's arm in a comparison: its own settings except seed and fold, or the run name."""
    apart = " ".join(label for setting, label in _apart().items() if setting not in REPEATED)
    return re.sub(r"[^A-Za-z0-9_.]+", "-", apart or name).strip("-")  # as Hydra reads it without quotes


def ended(name: str, run_id: str) -> dict[str, list[str]]:
    """Note that a run has come to its end.

    Args:
        name: Of its config, without what sets the job apart.
        run_id: Its id.

    Returns:
        Ids of this run and of the jobs of its sweep that ended before, by arm.
    """
    arms: dict[str, list[str]] = {}
    lines = [f"{arm(name)}\t{run_id}\n"]
    if sweep := folder():
        with (sweep / ENDED).open("a+", encoding="utf-8") as file:  # one line at once, by whichever process
            file.writelines(lines)
            file.seek(0)
            lines = file.readlines()
    for line in lines:
        of, _, ended_id = line.rstrip("\n").partition("\t")
        arms.setdefault(of, []).append(ended_id)
    return arms


def side_by_side(arms: Mapping[str, Sequence[str]]) -> str:
    """Return the command that compares runs, ready for a shell; OTHER stands for a run of the user's.

    Args:
        arms: Run ids by arm, as of `ended`.
    """
    if all(len(ids) == 1 for ids in arms.values()):
        alone = [ids[0] for ids in arms.values()]
        runs = f"[{','.join(alone if len(alone) > 1 else [*alone, 'OTHER'])}]"
    else:
        shown = dict(arms) if len(arms) > 1 else {**arms, "OTHER": ["ID"]}
        runs = "{" + ", ".join(f"{name}: [{','.join(ids)}]" for name, ids in shown.items()) + "}"
    place = [word for word in words() if word.startswith(("paths.", "tracking."))]
    python = os.path.relpath(sys.executable)  # found where the environment is not activated
    return shlex.join([python, "-m", "fibrolab.compare", f"runs={runs}", *place])


def _apart() -> dict[str, str]:
    """Return a label of each setting in which jobs differ, such as `densenet121` or `lr=0.01`."""
    from hydra.core.hydra_config import HydraConfig

    if not folder():
        return {}
    choices, shared = HydraConfig.get().runtime.choices, {_plain(word) for word in sys.argv[1:]}
    labels = {}
    for word in words():
        setting, _, value = word.lstrip("+").partition("=")
        if _plain(word) not in shared:
            short = setting.partition("@")[0].rpartition(".")[2]
            labels[setting] = value.rpartition("/")[2] if setting in choices else f"{short}={value}"
    return labels


def _plain(word: str) -> str:
    """Return an override without blanks and quotes, in which Hydra and the user may differ."""
    return re.sub(r"[\s'\"]", "", word)
