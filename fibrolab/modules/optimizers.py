"""Optimizers, their parameter groups and learning-rate schedules, by name."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler

from fibrolab import allowed
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
FILLED_IN = {"params", "optimizer", "mode", "T_max", "last_epoch"}  # arguments that the code sets itself


def build_optimizer(
    named_parameters: Iterable[tuple[str, Parameter]],
    settings: Mapping[str, Any],
    depths: Mapping[str, int],
) -> Optimizer:
    """Build the optimizer named by `settings['name']`, with the other settings as its arguments.

    Args:
        named_parameters: All parameters that train in any epoch.
        settings: `name`, `lr`, `layer_decay` (see `parameter_groups`), and arguments of the optimizer.
        depths: Depth of each parameter by name, 0 nearest the input.

    Raises:
        ConfigError: The name or an argument is unknown, or a value is invalid.
    """
    name, arguments = _choice("optimizer", settings, OPTIMIZERS)
    _check("optimizer", name, OPTIMIZERS[name], LAYER_DECAY, {"lr": None} | arguments)
    groups = parameter_groups(named_parameters, depths, arguments["lr"], arguments.pop(LAYER_DECAY, 1.0))
    try:
        return OPTIMIZERS[name](groups, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer={name} does not accept its settings: {error}.") from error


def check(optimizer: Mapping[str, Any], scheduler: Mapping[str, Any], epochs: int) -> None:
    """Refuse settings of optimizer and schedule, by building both for a single weight and trying a step.

    Raises:
        ConfigError: As `build_optimizer` and `build_scheduler`.
    """
    weight = Parameter(torch.zeros(1))
    built = build_optimizer([("weight", weight)], optimizer, {"weight": 0})
    schedule = build_scheduler(built, scheduler, epochs, "min")
    weight.grad = torch.zeros(1)
    name, arguments = "optimizer", optimizer
    try:
        built.step()
        name, arguments = "scheduler", scheduler
        if schedule is not None:
            schedule.step(*[0.0] if isinstance(schedule, lr_scheduler.ReduceLROnPlateau) else [])
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{name}={arguments['name']} does not accept its settings: {error}.") from error


def parameter_groups(
    named_parameters: Iterable[tuple[str, Parameter]],
    depths: Mapping[str, int],
    lr: float,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Return parameter groups with learning rate lr * layer_decay ** (D - 1 - d) at depth d of D.

    This is the discriminative fine-tuning of Howard and Ruder (ACL 2018, section 3.2); their factor between
    two layers is 1 / 2.6. Weight decay is the same for all parameters, including biases and norms, as in the
    papers' Adam.

    Args:
        named_parameters: All parameters that train in any epoch. Those frozen in the first epochs are
            included: an optimizer skips parameters without a gradient.
        depths: Depth of each parameter by name, 0 nearest the input, D - 1 for the head.
        lr: Learning rate of the head.
        layer_decay: Factor from one depth to the next lower one, in (0, 1]; 1 gives a single group.

    Returns:
        Groups of `params` and `lr`, starting with the head.
    """
    if layer_decay == 1:
        return [{"params": [parameter for _, parameter in named_parameters], "lr": lr}]
    head = max(depths.values())
    layers = defaultdict(list)  # by their distance from the head
    for name, parameter in named_parameters:
        layers[head - depths[name]].append(parameter)
    return [{"params": layers[below], "lr": lr * layer_decay**below} for below in sorted(layers)]


def build_scheduler(optimizer: Optimizer, settings: Mapping[str, Any], epochs: int, mode: str) -> Any:
    """Build the schedule named by `settings['name']`, stepped once an epoch; None for a constant rate.

    It starts with a warm-up of w epochs: in epoch e < w the rate is multiplied by (e + 1) / (w + 1) (after
    Goyal et al., arXiv 1706.02677, section 2.2). The schedule itself starts at epoch w.

    Args:
        optimizer: The optimizer whose rates are scheduled.
        settings: `name`, `warmup_epochs`, and arguments of the schedule.
        epochs: Length of the run including the warm-up; a cosine reaches zero at its end.
        mode: `min` or `max`, for a plateau schedule.

    Raises:
        ConfigError: The name or an argument is unknown, a value is out of range, or the warm-up does not
            fit the schedule or the run.
    """
    name, arguments = _choice("scheduler", settings, SCHEDULERS)
    build = SCHEDULERS[name]
    _check("scheduler", name, build, WARMUP, arguments)
    warmup = arguments.pop(WARMUP, 0)
    if warmup:
        _check_warmup(name, warmup, epochs)
    filled: dict[str, dict[str, Any]] = {
        "cosine": {"T_max": max(epochs - warmup, 1)},
        "plateau": {"mode": mode},
    }
    try:
        schedule = None if build is None else build(optimizer, **filled.get(name, {}), **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler={name} does not accept its settings: {error}.") from error
    if not warmup:
        return schedule
    warming = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    if schedule is None:
        return warming
    return lr_scheduler.SequentialLR(optimizer, [warming, schedule], [warmup])


def _choice(kind: str, settings: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in known:
        raise ConfigError(unknown(f"{kind}.name", name, known))
    return str(name), arguments


def _check(
    kind: str, name: str, build: Callable[..., Any] | None, own: str, arguments: Mapping[str, Any]
) -> None:
    """Refuse all faults of the settings at once; `own` is our setting, which torch does not have."""
    known = {own} | (set() if build is None else set(inspect.signature(build).parameters) - FILLED_IN)
    unexpected = sorted(set(arguments) - known)
    found = allowed.faults({kind: arguments})
    faults = [
        f"{kind}={name}: {fault.removeprefix(f'{kind}.')}"
        for setting, fault in found.items()
        if setting.removeprefix(f"{kind}.") in known
    ]
    if unexpected:
        faults.append(
            f"{kind}={name} has no setting {', '.join(unexpected)}; it has {', '.join(sorted(known))}."
        )
    refuse(faults)


def _check_warmup(name: str, warmup: int, epochs: int) -> None:
    if name == "plateau":
        raise ConfigError(
            f"scheduler.warmup_epochs={warmup} cannot be combined with scheduler=plateau, which depends on a "
            "metric and not on the epoch. Use another scheduler, or scheduler.warmup_epochs=0."
        )
    if 1 < epochs <= warmup:  # a trial run of one epoch accepts the settings of the whole run
        raise ConfigError(
            f"scheduler.warmup_epochs={warmup} fills the whole run of trainer.max_epochs={epochs}. "
            "Make the run longer or the warm-up shorter."
        )
