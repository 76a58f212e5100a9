"""Optimizers and learning-rate schedules by name."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler

from fibrolab.choices import unknown
from fibrolab.errors import ConfigError

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "SGD": torch.optim.SGD,
}
SCHEDULERS: dict[str, type | None] = {
    "constant": None,
    "cosine": lr_scheduler.CosineAnnealingLR,
    "exponential": lr_scheduler.ExponentialLR,
    "plateau": lr_scheduler.ReduceLROnPlateau,
}


def build_optimizer(parameters: Iterable[Parameter], settings: Mapping[str, Any]) -> Optimizer:
    """The optimizer `settings['name']` with the other settings as its arguments.

    Raises:
        ConfigError: Unknown name, unknown argument, or a value that the optimizer refuses.
    """
    name, arguments = _choice("optimizer", settings, OPTIMIZERS)
    build = OPTIMIZERS[name]
    _check_arguments("optimizer", name, build, arguments)
    try:
        return build(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer={name} refuses its settings: {error}.") from error


def build_scheduler(optimizer: Optimizer, settings: Mapping[str, Any], epochs: int, mode: str) -> Any:
    """The schedule `settings['name']`, stepped once an epoch; None for a constant rate.

    Args:
        optimizer: Whose rate falls.
        settings: `name` and arguments.
        epochs: Length of the run; a cosine reaches zero at its end.
        mode: `min` or `max`, for a plateau.

    Raises:
        ConfigError: Unknown name or argument.
    """
    name, arguments = _choice("scheduler", settings, SCHEDULERS)
    build = SCHEDULERS[name]
    if build is None:
        return None
    ends: dict[str, dict[str, Any]] = {"cosine": {"T_max": max(epochs, 1)}, "plateau": {"mode": mode}}
    _check_arguments("scheduler", name, build, arguments)
    return build(optimizer, **ends.get(name, {}), **arguments)


def _choice(kind: str, settings: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in known:
        raise ConfigError(unknown(f"{kind}.name", name, known))
    return str(name), arguments


def _check_arguments(kind: str, name: str, build: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    known = set(inspect.signature(build).parameters) - {"params", "optimizer"}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise ConfigError(
            f"{kind}={name} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
