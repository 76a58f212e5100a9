"""Build the callbacks and loggers that the settings `callbacks` and `loggers` name."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.choices import refuse
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.targets import call, imported

TARGET = "_target_"


def callbacks(config: DictConfig, folder: Path) -> list[L.Callback]:
    """Build the callbacks named in `callbacks`, in their order.

    If a callback takes `monitor`, `mode` or the folder of checkpoints and its settings do not give them, they
    are those of the run.

    Args:
        config: `conf/train.yaml`, composed.
        folder: Folder of the run.

    Raises:
        ConfigError: An entry cannot be built; all are listed.
    """
    filled = {
        "monitor": config.monitor,
        "mode": config.mode,
        "dirpath": folder / keys.CHECKPOINTS,
        "enable_version_counter": False,
    }
    built: list[L.Callback] = _build_entries("callbacks", resolved(config)["callbacks"], L.Callback, filled)
    return built


def loggers(config: DictConfig, folder: Path) -> list[Logger]:
    """Build the loggers named in `loggers`; `save_dir` is the run's folder unless settings give another.

    Raises:
        ConfigError: An entry cannot be built, or its package is not installed; all are listed.
    """
    built: list[Logger] = _build_entries("loggers", resolved(config)["loggers"], Logger, {"save_dir": folder})
    return built


def uploads_checkpoints(config: DictConfig) -> bool:
    """Return whether a logger uploads every checkpoint as soon as it is saved (`log_model=all`)."""
    return any(entry and entry.get("log_model") == "all" for entry in resolved(config)["loggers"].values())


def _build_entries(
    group: str, entries: Mapping[str, Any], kind: type, filled: Mapping[str, Any]
) -> list[Any]:
    built, faults = [], []
    for name, settings in entries.items():
        if settings is None:  # switched off
            continue
        try:
            built.append(_build_entry(f"{group}.{name}", settings, kind, filled))
        except ConfigError as fault:
            faults.append(str(fault))
    refuse(faults)
    return built


def _build_entry(where: str, settings: Any, kind: type, filled: Mapping[str, Any]) -> Any:
    if not isinstance(settings, Mapping) or TARGET not in settings:
        raise ConfigError(
            f"{where}={settings} does not name a {kind.__name__}: "
            f"give {where}.{TARGET}=package.module.Name and its settings, or {where}=null to leave it out."
        )
    own = {key: value for key, value in settings.items() if key != TARGET}
    target = imported(settings[TARGET], f"{where}.{TARGET}")
    if not (isinstance(target, type) and issubclass(target, kind)):
        raise ConfigError(
            f"{where}.{TARGET}={settings[TARGET]} is not a {kind.__module__}.{kind.__name__}: subclass it."
        )
    taken = inspect.signature(target).parameters
    own = {key: value for key, value in filled.items() if key in taken} | own
    try:
        return call(target, where, **own)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{where} needs a package that is not installed ({error}): install it, or set {where}=null."
        ) from error
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"{where} does not accept its settings: {error}.") from error
