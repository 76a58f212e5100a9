"""Check the settings of a training run before any data is read; `settings` does what needs no torch."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.callbacks.averaging import build_averaging
from fibrolab.choices import refuse, refuse_all, unknown
from fibrolab.config import removed_settings_named, resolved
from fibrolab.data import samplers
from fibrolab.data.augment import Augment
from fibrolab.data.augment_batches import BatchAugment
from fibrolab.errors import ConfigError
from fibrolab.losses import LOSSES
from fibrolab.models.branches import INPUT
from fibrolab.models.networks import fault_of_name
from fibrolab.pixel_losses import PIXEL_LOSSES
from fibrolab.targets import imported
from fibrolab.training import batch_size, building, fitting, precision, settings, trainer_parts

TARGETED = ("model", "loss", "sampler")  # groups that may name the user's own classes
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
    "overfit_batches": "it replaces the sampler; use trainer.limit_train_batches and augment=none",
    "limit_test_batches": "every test sample is predicted",
    "limit_predict_batches": "every test sample is predicted",
    "barebones": "every run is recorded and keeps its weights",
}


@removed_settings_named()
def check(config: DictConfig) -> None:
    """Refuse settings of `conf/train.yaml` with which training or evaluation would fail later.

    Raises:
        ConfigError: A number is out of range, a name is unknown, a class cannot be imported, or a file does
            not exist.
    """
    given = resolved(config)
    config = OmegaConf.create(given)  # references are resolved once
    settings.check(config)
    own = (*TRAINER, fitting.REQUEUE)
    faults = [unknown("trainer", name, own) for name in given["trainer"] if name not in own]
    taken = [name for name in given["trainer"] if name in OURS]
    faults += [f"trainer.{name} is set by fibrolab: {OURS[name]}." for name in taken]
    faults += [fault for group in TARGETED for fault in _target_faults(given[group], group)]
    refuse(faults + list(_name_faults(given["model"], given["loss"])))
    transforms, on_device = given["augment"]["transforms"], config.augment_on == "device"
    refuse_all(
        [
            lambda: precision.check_precision(config.trainer.precision, config.trainer.accelerator),
            lambda: batch_size.check_auto(config.batch_size, config.trainer.accelerator),
            lambda: trainer_parts.callbacks(config, Path()),
            lambda: trainer_parts.loggers(config, Path()),
            lambda: build_averaging(given["averaging"], config.trainer.max_epochs),
            lambda: fitting.check_trainer(config),
            lambda: building.check_module(config),
            lambda: samplers.check(**{"name": "", **given["sampler"]}),
            lambda: (BatchAugment if on_device and transforms else Augment)(transforms),
        ]
    )


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
    known = {**LOSSES, **PIXEL_LOSSES}
    if not loss.get("name"):
        yield "loss.name is missing: give that of a loss, or beside loss._target_ any name."
    elif not loss.get("_target_") and loss["name"] not in known:
        yield unknown("loss.name", loss["name"], known)
