"""Training without a validation partition (`split.val=0`): refuse what needs one, before training.

The last epoch is then kept, end points are decided at one half, and neither temperature nor
prediction sets are fitted.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from fibrolab.choices import refuse
from fibrolab.config import resolved
from fibrolab.data import splits
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError
from fibrolab.targets import imported

OF_STUDY = "{reason}, and a study chooses its settings on them: set split.val=0.15."
OF_TRAINER = ("val_check_interval", "check_val_every_n_epoch", "limit_val_batches")


def faults(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each setting that needs the validation partition that `split.val=0` leaves out."""
    if splits.lacks_validation(settings["split"]):
        yield from _faults(settings, "split.val=0 leaves no validation samples")


def faults_of_study(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence if a study of Optuna would have no samples to choose its settings on."""
    if splits.lacks_validation(settings["split"]):
        yield OF_STUDY.format(reason="split.val=0 leaves no validation samples")


def check(config: DictConfig, data: LabelledData, is_trial: bool = False) -> None:
    """Refuse settings that need a validation partition, if the data's split has none.

    Args:
        config: `conf/train.yaml`, composed.
        data: The data set and its split.
        is_trial: Whether it is a trial of a study.

    Raises:
        ConfigError: All of them.
    """
    if not data.split.has_validation:
        reason = f"split={config.split.get('name', 'split')} has no validation sample"
        own = [OF_STUDY.format(reason=reason)] if is_trial else []
        refuse([*own, *_faults(resolved(config), reason)])


def _faults(settings: Mapping[str, Any], reason: str) -> Iterator[str]:
    for name, entry in settings["callbacks"].items():
        if isinstance(entry, Mapping) and (monitor := _monitored(f"callbacks.{name}", entry, settings)):
            yield f"{reason}, and callbacks.{name} watches {monitor}: set callbacks.{name}=null."
    if settings["scheduler"].get("name") == "plateau":
        yield (
            f"{reason}, and scheduler=plateau watches {settings['monitor']}: choose scheduler=constant or "
            "scheduler=cosine."
        )
    for name in OF_TRAINER:
        if settings["trainer"].get(name) is not None:
            yield f"{reason}: leave trainer.{name} out."
    if "levels" in settings["task"]:
        yield f"{reason}, and a segmentation chooses its epoch on them: set split.val=0.15."


def _monitored(where: str, entry: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the validation metric that a callback watches; empty if it watches none."""
    try:
        taken = inspect.signature(imported(entry.get("_target_"), where)).parameters
    except (ConfigError, TypeError, ValueError):  # said elsewhere
        return ""
    if "monitor" not in taken:
        return ""
    monitor = str(entry.get("monitor", settings["monitor"]))
    return monitor if monitor.startswith("val/") else ""
