"""Resume an interrupted run: find it, take its settings, and refuse what would make it another training."""

import contextlib
import logging
import re
import shlex
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys, slurm
from fibrolab.allowed import SHOWN
from fibrolab.analyses.run_files import DECIDED_LATER
from fibrolab.callbacks.history import History
from fibrolab.callbacks.stopping_and_resuming import STATE
from fibrolab.command_line import exists, flat
from fibrolab.config import defaults, resolved
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, DataError, listing
from fibrolab.modules.base import INITIAL_WEIGHTS, TrainedModule
from fibrolab.runs import own_samples, trained_run
from fibrolab.runs.checkpoint import UNREADABLE, is_whole
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.sweeps import this_job
from fibrolab.unfinished_runs import UnfinishedRun, newest_unfinished, unfinished

logger = logging.getLogger(__name__)
LAST = "last"  # resume=last: the newest unfinished run of the same settings
MAY_CHANGE = {  # settings that a resumed run may take from the command line, and why
    "trainer.max_epochs": "it may become longer or shorter",
    "callbacks.*.patience": "it may wait longer for a better epoch",
    "callbacks.*.every_minutes": "checkpoints change no weight",
    "trainer.accelerator": "it may go on with another device",
    "trainer.devices": "it may go on with other devices",
    "trainer.num_nodes": "it may go on with other machines",
    "trainer.strategy": "it may go on with other devices",
    "trainer.requeue": "it may go on under Slurm or without",
    "trainer.log_every_n_steps": "curves change no weight",
    "num_workers": "the number of loader processes changes no batch",
    "paths.*": "files may lie elsewhere",
    "tracking.*": "the database may lie elsewhere",
    "data.root": "images may lie elsewhere; their content is compared",
    "data.path": "the table may lie elsewhere; its content is compared",
    "data.mask_root": "masks may lie elsewhere; their content is compared",
    "split.path": "the saved split may lie elsewhere; its partitions are compared",
    "loggers.*": "loggers change no weight",
    "bootstrap.*": "it is used after the training",
    "published*": "it is used after the training",
    "audit.strict": "the audit changes no weight",
}
LENGTH = ("trainer.max_epochs", "callbacks.*.patience")  # of these, those that change the weights
ELSEWHERE = ("uri", "artifacts")  # of `tracking`: always those of this command, by which the run was found
DECIDED = "auto"  # value that leaves a setting to the run, which has decided it
MISSING = "not set"
GLOBAL = ("experiment", "debug")  # groups whose files set settings of other groups
Settings = Mapping[str, Any]


def opened(config: DictConfig) -> tuple[DictConfig, UnfinishedRun | None]:
    """Return the run that a command resumes, with its settings; without one, the command's own settings.

    Args:
        config: `conf/train.yaml`, composed.

    Raises:
        ConfigError: There is no such run, it cannot be resumed, or settings differ that may not change.
    """
    run_id = chosen(config)
    if run_id is None:
        return config, None
    run = unfinished(config.tracking.uri, run_id, config.tracking.artifacts)
    return _continued(config, run), run


def chosen(config: DictConfig) -> str | None:
    """Return the id of the run to resume; None for a new run."""
    given, place = config.resume, config.tracking
    if given is None:
        job = slurm.restarted_job() if config.trainer.get("requeue") else None
        settings = _identifying(config) if job else {}
        return newest_unfinished(place.uri, place.experiment, settings, _may_differ, job) if job else None
    if str(given) == LAST:
        found = newest_unfinished(place.uri, place.experiment, _identifying(config), _may_differ)
        if found is None:
            raise ConfigError(
                f"resume=last: the experiment {place.experiment} has no unfinished run of these settings; "
                "give them as that run had them, or resume=RUN_ID alone."
            )
        return found
    if "/" in str(given) or str(given).endswith(".ckpt") or exists(str(given)):
        raise ConfigError(
            f"resume={given} is a path: give the id of the run, as `train` and the MLflow UI show it "
            "(resume=RUN_ID), or resume=last."
        )
    return str(given)


def _identifying(config: DictConfig) -> dict[str, Any]:
    """Return the settings, by name, that tell whether a run is of the same config."""
    named = flat({name: part for name, part in resolved(config).items() if name not in ("name", "resume")})
    return {
        name: value
        for name, value in named.items()
        if not (may_change(name) or (value == DECIDED and name.endswith(DECIDED_LATER)))
    }


def may_change(name: str) -> bool:
    """Return whether a setting may differ in a resumed run."""
    return any(fnmatchcase(name, pattern) for pattern in MAY_CHANGE)


def changes_length(name: str) -> bool:
    """Return whether a setting that may differ in a resumed run changes how many epochs it trains."""
    return any(fnmatchcase(name, pattern) for pattern in LENGTH)


def _may_differ(name: str) -> bool:
    """Return whether a run of the same config may have a setting that the config leaves open."""
    return may_change(name) or name.endswith(DECIDED_LATER)


def _continued(config: DictConfig, run: UnfinishedRun) -> DictConfig:
    """Return the settings of a run with the changes that the command line asks for.

    Raises:
        ConfigError: The run left no settings, another version of fibrolab made it, or settings differ that
            may not change.
    """
    found = trained_run.read(run.folder)
    if not found.config:
        raise ConfigError(f"Run {run.id} was interrupted before it recorded its settings: start it again.")
    if found.environment:
        TrainedRun(run.folder, run.id).refuse_other_format()
    paths = resolved(config)["paths"]
    before, now = flat(_moved(found.config, found.config["paths"], paths)), flat(resolved(config))
    chosen, compared = _given(config)
    differing = {
        name: f"{name} was {before.get(name, MISSING)!s:.{SHOWN}}, is {now.get(name, MISSING)!s:.{SHOWN}}"
        for name in sorted(compared, key=lambda name: (not name.endswith(".name"), name))
        if not _agree(name, before.get(name, MISSING), now.get(name, MISSING))
    }
    if wrong := [text for name, text in differing.items() if not may_change(name)]:
        changed = [text for name, text in differing.items() if may_change(name)]
        also = f"\nThese may change:\n{listing(changed)}" if changed else ""
        raise ConfigError(
            f"resume={run.id}: settings differ from those of the run that may not change:\n{listing(wrong)}"
            f"{also}\nLeave them out, since a resumed run keeps its settings; or start a new run with them."
        )
    continued = OmegaConf.create(_moved(found.config, found.config["paths"], paths))
    for name in sorted(chosen & differing.keys()):
        OmegaConf.update(continued, name, now[name], force_add=True)
    continued.paths = paths
    if continued.batch_size == DECIDED and (found_size := run.params.get("batch_size")):
        continued.batch_size = int(found_size)  # of another size, other samples would be skipped
    for name in ELSEWHERE:
        continued.tracking[name] = config.tracking[name]
    return continued


def _moved(settings: Any, before: Mapping[str, str], now: Mapping[str, str]) -> Any:
    """Return settings in which what lay below a folder of `paths` lies below the present one."""
    if isinstance(settings, dict):
        return {name: _moved(value, before, now) for name, value in settings.items()}
    if not isinstance(settings, str):
        return settings
    above = [name for name in before if name in now and Path(settings).is_relative_to(before[name])]
    if not above or not Path(settings).is_absolute():
        return settings
    nearest = max(above, key=lambda name: len(before[name]))
    return str(Path(now[nearest], Path(settings).relative_to(before[nearest])))


def _given(config: DictConfig) -> tuple[set[str], set[str]]:
    """Return the settings that the command line chooses, and those that it compares with the run.

    It chooses what it names, and what differs from the defaults because of a group (`model=hybrid`). All
    settings of a group that it names are compared.
    """
    from hydra.core.hydra_config import HydraConfig

    now, usual = flat(resolved(config)), flat(resolved(defaults("train")))
    names = now.keys() | usual.keys()
    chosen = {name for name in names if now.get(name, MISSING) != usual.get(name, MISSING)}
    chosen.discard("name")  # it follows from model and data
    compared: set[str] = set()
    if HydraConfig.initialized():
        choices = HydraConfig.get().runtime.choices
        for word in HydraConfig.get().overrides.task:
            key = re.sub(r"^[+~]+", "", word).partition("=")[0]
            group, _, package = key.partition("@")
            if key not in choices:
                chosen.add(key)
            elif group not in GLOBAL:
                prefix = f"{package or group.replace('/', '.')}."
                compared |= {name for name in names if name.startswith(prefix)}
    chosen.discard("resume")
    return chosen, chosen | {name for name in compared if not may_change(name)}


def _agree(name: str, before: Any, now: Any) -> bool:
    decided = now == DECIDED or (now is None and name == "task.classes")
    return decided or before == now


def known_again(folder: Path, now: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded environment of a run with that in which it is resumed; empty if none was recorded.

    Args:
        folder: The run's folder.
        now: The present environment, as `environment.describe` returns it.
    """
    before = trained_run.read(folder).environment
    return before | {"resumed": [*before.get("resumed", []), now]} if before else {}


def checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint from which a run goes on; None if it was interrupted before the first one.

    If the last one is damaged, the one before it takes its place, and the steps since then are repeated.

    Args:
        folder: The run's folder; unfinished files of the process that was killed are removed from it.

    Raises:
        DataError: No checkpoint can be read, or the best weights so far are damaged.
        ConfigError: Another version of fibrolab wrote it.
    """
    for draft in folder.rglob(".*.tmp"):
        draft.unlink(missing_ok=True)
    last, previous = (folder / keys.CHECKPOINTS / name for name in (keys.LAST, keys.PREVIOUS))
    present = [path for path in (last, previous) if path.is_file()]
    if not present:
        return None
    readable = next((path for path in present if _is_readable(path)), None)
    if readable is None:
        raise DataError(
            f"No checkpoint can be read; damaged: {', '.join(map(str, present))}. Restore one, or "
            "delete what is damaged, so that this run begins from the start."
        )
    best = folder / keys.CHECKPOINTS / keys.BEST
    if best.is_file() and not is_whole(best):
        raise DataError(f"The best weights so far, {best}, are damaged. Restore them, or start a new run.")
    if readable == previous:
        if last.is_file():  # it is missing after a kill where the file system has no hard links
            logger.warning("%s is damaged: the run goes on from the checkpoint before it.", last)
        previous.replace(last)
    return last


def _is_readable(path: Path) -> bool:
    """Return whether a checkpoint is undamaged.

    Raises:
        ConfigError: It is, but another version of fibrolab wrote it.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE:
        return False
    if not is_whole(path):
        return False
    if not (isinstance(found, Mapping) and {STATE, "optimizer_states"} <= found.keys()):
        raise ConfigError(
            f"{path} does not hold the state of a training of this version of fibrolab: start a new run, or "
            "delete it, so that this run begins from the start."
        )
    return True


def discard_previous(folder: Path) -> None:
    """Remove the checkpoint before the last one from the folder of a run that has ended."""
    (folder / keys.CHECKPOINTS / keys.PREVIOUS).unlink(missing_ok=True)


def progress(run_id: str, start: Path | None) -> str:
    """Return a sentence on where a run goes on."""
    if start is None:
        return f"Run {run_id} begins from the start: it was interrupted before its first checkpoint."
    found = torch.load(start, map_location="cpu", weights_only=True, mmap=True)
    ended = not found[STATE]["within_epoch"]
    done = f"after epoch {found['epoch'] + 1}" if ended else f"within epoch {found['epoch'] + 1}"
    return f"Run {run_id} goes on {done}, step {found['global_step']}."


def finished_epochs(start: Path) -> list[dict[str, float]]:
    """Return the rows of `history.csv` at a checkpoint."""
    found = torch.load(start, map_location="cpu", weights_only=True, mmap=True)
    return list(found["callbacks"].get(History.__name__, {"rows": []})["rows"])


def refuse_other_data(data: LabelledData, folder: Path) -> None:
    """Refuse data that differ from those with which a run was started.

    Args:
        data: The data as they are now.
        folder: The run's folder; if it has no manifest and split yet, all data are accepted.

    Raises:
        DataError: Samples were added or removed, are in another order, or have another image, elastogram,
            clip, mask, clinical value, class, group or partition.
    """
    if not all((folder / name).is_file() for name in (keys.MANIFEST_FILE, keys.SPLIT_FILE)):
        return
    before = TrainedRun(folder).samples
    faults = own_samples.changes(data, before)
    names = data.manifest.table[keys.SAMPLE_ID]
    if not faults and (moved := names[names.to_numpy() != before.index.to_numpy()].tolist()):
        faults = [f"{sample}: in another row, by which samples are drawn" for sample in moved]
    if faults:
        raise DataError(
            f"The data changed since this run was started, in {len(faults)} ways:\n{listing(faults)}\n"
            "Restore the data, or start a new run."
        )


def without_initial_weights(config: DictConfig) -> DictConfig:
    """Return a copy of the settings whose branches start from random weights, which a checkpoint replaces."""
    config = config.copy()
    for branch in config.model.get("branches", {}).values():
        if isinstance(branch, DictConfig):
            branch.update({name: value for name, value in INITIAL_WEIGHTS.items() if name in branch})
    return config


def load_weights(module: TrainedModule, start: Path) -> None:
    """Load the weights of a checkpoint as they were trained, not their average.

    Features of frozen branches are computed with them before the training is resumed.
    """
    found = torch.load(start, map_location="cpu", weights_only=True)
    module.load_state_dict(found.get("current_model_state", found["state_dict"]))


@contextlib.contextmanager
def explained(run_id: str) -> Iterator[None]:
    """Let an interruption say which command continues the run."""
    try:
        yield
    except KeyboardInterrupt as stop:
        places = [word for word in this_job.overrides() if word.startswith(("paths.", "tracking."))]
        command = shlex.join(["python", "-m", "fibrolab.train", f"resume={run_id}", *places])
        raise KeyboardInterrupt(f"the run goes on with `{command}`") from stop
