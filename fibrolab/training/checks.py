"""Check the settings of a training run before any data is read."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.callbacks.averaging import build_averaging
from fibrolab.choices import refuse, unknown
from fibrolab.config import arguments, resolved
from fibrolab.data.preprocess import Preprocess
from fibrolab.errors import ConfigError
from fibrolab.evaluation.comparison import published_results
from fibrolab.evaluation.intervals import bootstrap
from fibrolab.losses import LOSSES
from fibrolab.models.branches import INPUT
from fibrolab.models.networks import fault_of_name
from fibrolab.targets import imported
from fibrolab.training import precision, trainer_parts

COUNTS = ("max_epochs", "accumulate_grad_batches", "log_every_n_steps")  # settings of the trainer
TARGETED = ("model", "loss", "data", "split", "sampler")  # groups that may name the user's own classes
TRAINER = tuple(inspect.signature(L.Trainer.__init__).parameters)[1:]
OURS = {  # arguments of the Trainer that a setting outside `trainer` decides
    "callbacks": "use callbacks.NAME._target_=CLASS",
    "logger": "use loggers=NAME, beside MLflow",
    "default_root_dir": "use paths.root",
    "plugins": "precision and checkpoints have settings of their own",
    "enable_model_summary": "the number of parameters is in the report",
    "enable_progress_bar": "there is one on a terminal",
    "num_sanity_val_steps": "settings and files are checked before",
    "use_distributed_sampler": "the samplers of `sampler` split the samples among processes themselves",
    "reload_dataloaders_every_n_epochs": "the loaders draw each epoch anew",
    "enable_checkpointing": "the best and the last epoch are kept",
}
DETERMINISTIC = (True, False, "warn")


def check(config: DictConfig) -> None:
    """Refuse settings of `conf/train.yaml` with which training or evaluation would fail later.

    Raises:
        ConfigError: A number is out of range, a name is unknown, a class cannot be imported, or a file does
            not exist.
    """
    trainer = resolved(config.trainer)
    faults = [
        f"trainer.{name}={trainer[name]} is not a whole number from 1."
        for name in COUNTS
        if not _is_count(trainer[name], least=1)
    ]
    if strange := [name for name in trainer if name not in TRAINER]:
        faults += [unknown("trainer", name, TRAINER) for name in strange]
    if taken := [name for name in trainer if name in OURS]:
        faults += [f"trainer.{name} is set by fibrolab: {OURS[name]}." for name in taken]
    clip = trainer["gradient_clip_val"]
    if clip is not None and (isinstance(clip, bool) or not (isinstance(clip, int | float) and clip > 0)):
        faults.append(f"trainer.gradient_clip_val={clip} is not a norm: give a number above 0, or null.")
    faults += [
        f"callbacks.{name}.patience={entry['patience']}: patience is not a whole number of epochs from 1; "
        f"callbacks.{name}=null trains to the end."
        for name, entry in resolved(config.callbacks).items()
        if isinstance(entry, dict) and "patience" in entry and not _is_count(entry["patience"], least=1)
    ]
    if trainer["deterministic"] not in DETERMINISTIC:
        faults.append(unknown("trainer.deterministic", trainer["deterministic"], map(str, DETERMINISTIC)))
    if config.mode not in ("min", "max"):
        faults.append(f"mode={config.mode} is neither min nor max.")
    if config.resume is not None and not Path(str(config.resume)).is_file():
        faults.append(f"resume={config.resume} is not a file; give the last.ckpt of a run.")
    settings = resolved(config)
    faults += [fault for group in TARGETED for fault in _target_faults(settings[group], group)]
    faults += _name_faults(settings["model"], settings["loss"])
    refuse(faults + published_results.faults(settings["published"]))
    Preprocess(**arguments(config.preprocess))
    precision.check_precision(trainer["precision"], trainer["accelerator"])
    trainer_parts.callbacks(config, Path())
    trainer_parts.loggers(config, Path())
    build_averaging(resolved(config.averaging), trainer["max_epochs"])
    bootstrap.check(**resolved(config.bootstrap))


def _target_faults(settings: Any, where: str) -> Iterator[str]:
    """Yield a sentence on each `_target_`, at any depth, that cannot be imported."""
    if not isinstance(settings, Mapping):
        return
    for name, value in settings.items():
        if name != "_target_":
            yield from _target_faults(value, f"{where}.{name}")
        elif value:
            try:
                imported(value, f"{where}._target_")
            except ConfigError as fault:
                yield str(fault)


def _name_faults(model: Mapping[str, Any], loss: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each unknown name of a backbone or loss; with `_target_`, any name is allowed."""
    for name, branch in (model.get("branches") or {}).items():
        if not isinstance(branch, Mapping) or branch.get("_target_") or branch.get(INPUT) == keys.CLINICAL:
            continue
        backbone = branch.get("name")
        if isinstance(backbone, str) and (fault := fault_of_name(backbone)):
            yield f"model.branches.{name}: {fault}"
    if not loss.get("_target_") and loss["name"] not in LOSSES:
        yield unknown("loss.name", loss["name"], LOSSES)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
