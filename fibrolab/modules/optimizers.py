"""Optimizers, their parameter groups and learning-rate schedules, by name."""

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler

from fibrolab.choices import refuse, unknown
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
    "step": lr_scheduler.StepLR,
}
LAYER_DECAY, WARMUP = "layer_decay", "warmup_epochs"
FILLED_IN = {"params", "optimizer", "mode", "T_max", "last_epoch"}  # arguments that no setting gives

# Checked here because torch notices these in the middle of a run, or never: integer only, range, description.
RANGES: dict[str, tuple[bool, Callable[[float], bool], str]] = {
    "lr": (False, lambda value: value > 0, "a number above 0, such as 1e-3"),
    "weight_decay": (False, lambda value: value >= 0, "a number from 0"),
    "momentum": (False, lambda value: 0 <= value < 1, "a number from 0 to below 1"),
    LAYER_DECAY: (False, lambda value: 0 < value <= 1, "a number above 0 and up to 1"),
    "gamma": (False, lambda value: 0 < value <= 1, "a number above 0 and up to 1"),
    "factor": (False, lambda value: 0 < value < 1, "a number between 0 and 1"),
    "step_size": (True, lambda value: value >= 1, "a whole number of epochs from 1"),
    "patience": (True, lambda value: value >= 0, "a whole number of epochs from 0"),
    WARMUP: (True, lambda value: value >= 0, "a whole number of epochs from 0"),
}


def build_optimizer(
    named_parameters: Iterable[tuple[str, Parameter]],
    settings: Mapping[str, Any],
    depths: Mapping[str, int],
) -> Optimizer:
    """Build the optimizer `settings['name']` with the other settings as its arguments.

    Args:
        named_parameters: All parameters that train at any time.
        settings: `name`, `lr`, `layer_decay` (see `parameter_groups`), and arguments of the optimizer.
        depths: Depth of each parameter by name, 0 nearest the input.

    Raises:
        ConfigError: Unknown name, unknown argument, or a value that the optimizer refuses.
    """
    name, arguments = _choice("optimizer", settings, OPTIMIZERS)
    _check("optimizer", name, OPTIMIZERS[name], LAYER_DECAY, {"lr": None} | arguments)
    groups = parameter_groups(named_parameters, depths, arguments["lr"], arguments.pop(LAYER_DECAY, 1.0))
    try:
        return OPTIMIZERS[name](groups, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer={name} refuses its settings: {error}.") from error


def parameter_groups(
    named_parameters: Iterable[tuple[str, Parameter]],
    depths: Mapping[str, int],
    lr: float,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Return groups for a torch optimizer: at depth d of D the rate is lr * layer_decay ** (D - 1 - d).

    This is the discriminative fine-tuning of Howard and Ruder (ACL 2018, section 3.2), whose factor between
    two layers is 1 / 2.6. Weight decay is the same for all parameters, biases and norms included, as in the
    papers' Adam.

    Args:
        named_parameters: All parameters that train at any time, including those frozen in the first epochs:
            an optimizer skips parameters without a gradient.
        depths: Depth of each parameter by name, 0 nearest the input, D - 1 the head.
        lr: Rate of the head.
        layer_decay: Factor from one depth to the one below, above 0 and up to 1; at 1 there is one group.

    Returns:
        Groups of `params` and `lr`, the head's first.
    """
    if layer_decay == 1:
        return [{"params": [parameter for _, parameter in named_parameters], "lr": lr}]
    head = max(depths.values())
    layers = defaultdict(list)  # by their distance from the head
    for name, parameter in named_parameters:
        layers[head - depths[name]].append(parameter)
    return [{"params": layers[below], "lr": lr * layer_decay**below} for below in sorted(layers)]


def build_scheduler(optimizer: Optimizer, settings: Mapping[str, Any], epochs: int, mode: str) -> Any:
    """Build the schedule `settings['name']`, stepped once an epoch; return None for a constant rate.

    A warm-up of w epochs comes first: epoch e < w has (e + 1) / (w + 1) of the rate (after Goyal et al.,
    arXiv 1706.02677, section 2.2), and the schedule begins with epoch w.

    Args:
        optimizer: The optimizer whose rates are scheduled.
        settings: `name`, `warmup_epochs`, and arguments of the schedule.
        epochs: Length of the run, warm-up included; a cosine reaches zero at its end.
        mode: `min` or `max`, for a plateau.

    Raises:
        ConfigError: Unknown name or argument, a value out of its range, or a warm-up that does not fit.
    """
    name, arguments = _choice("scheduler", settings, SCHEDULERS)
    build = SCHEDULERS[name]
    _check("scheduler", name, build, WARMUP, arguments)
    warmup = arguments.pop(WARMUP, 0)
    if warmup:
        _check_warmup(name, warmup, epochs)
    ends: dict[str, dict[str, Any]] = {
        "cosine": {"T_max": max(epochs - warmup, 1)},
        "plateau": {"mode": mode},
    }
    schedule = None if build is None else build(optimizer, **ends.get(name, {}), **arguments)
    if not warmup:
        return schedule
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return rise if schedule is None else lr_scheduler.SequentialLR(optimizer, [rise, schedule], [warmup])


def _choice(kind: str, settings: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in known:
        raise ConfigError(unknown(f"{kind}.name", name, known))
    return str(name), arguments


def _check(
    kind: str, name: str, build: Callable[..., Any] | None, own: str, arguments: Mapping[str, Any]
) -> None:
    """Refuse all faults of the settings at once; `own` is the setting that torch does not know."""
    known = {own} | (set() if build is None else set(inspect.signature(build).parameters) - FILLED_IN)
    strange = sorted(set(arguments) - known)
    faults = [
        f"{kind}={name} refuses its settings: {key}={value} is not {RANGES[key][-1]}."
        for key, value in arguments.items()
        if key in RANGES and key in known and not _fits(value, *RANGES[key][:2])
    ]
    if strange:
        faults.append(
            f"{kind}={name} has no setting {', '.join(strange)}; it has {', '.join(sorted(known))}."
        )
    refuse(faults)


def _fits(value: Any, whole: bool, holds: Callable[[float], bool]) -> bool:
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and holds(value)


def _check_warmup(name: str, warmup: int, epochs: int) -> None:
    if name == "plateau":
        raise ConfigError(
            f"scheduler.warmup_epochs={warmup} does not go with scheduler=plateau, which waits for a metric "
            "and counts no epochs. Use another scheduler, or scheduler.warmup_epochs=0."
        )
    if 1 < epochs <= warmup:  # a trial run of one epoch takes what the whole run will take
        raise ConfigError(
            f"scheduler.warmup_epochs={warmup} fills the whole run of trainer.max_epochs={epochs}. "
            "Make the run longer or the warm-up shorter."
        )
