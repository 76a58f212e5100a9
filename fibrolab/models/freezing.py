"""Freeze a network, or its stages from the input up to a layer.

Frozen parameters require no gradient. Autograd stores no activations before the first layer that requires
one, so frozen first stages cost only their forward pass.
"""

from collections.abc import Iterator
from typing import Any

from timm.models import group_parameters
from torch import nn

from fibrolab.choices import unknown

NONE, ALL, GRADUAL = "none", "all", "gradual"


def stages(network: nn.Module) -> list[list[str]]:
    """Return the names of the parameters of each stage, from the input to the head.

    The stages of a timm network are those that timm uses for layer-wise learning rates. For any other network
    they are its children, which must be registered in the order in which they run.
    """
    if (matcher := _timm_matcher(network)) is not None:
        groups = group_parameters(network, matcher)
        return [groups[depth] for depth in sorted(groups)]
    children = network.named_children()
    found = [[f"{name}.{key}" for key, _ in child.named_parameters()] for name, child in children]
    return [names for names in found if names]


def _timm_matcher(network: nn.Module) -> Any:
    """Return the matcher by which timm assigns parameters to stages; None for networks without one."""
    try:
        return network.group_matcher(coarse=True)  # type: ignore[operator]
    except (AttributeError, AssertionError):  # not a timm network, or without coarse stages, such as RDNet
        return None


def depths(network: nn.Module) -> dict[str, int]:
    """Return the stage number of every parameter, 0 nearest the input."""
    return {name: depth for depth, stage in enumerate(stages(network)) for name in stage}


def layers(network: nn.Module) -> list[str]:
    """Return the last layer of each stage, from the input to the head: the layers to freeze up to."""
    everything = dict(network.named_parameters())
    return [_whole_layer(stage[-1], everything.keys() - set(stage)) for stage in stages(network)]


def _whole_layer(parameter: str, others: set[str]) -> str:
    """Return the largest layer that contains `parameter` and none of the `others`."""
    paths = list(_layers_of(parameter))
    return next((path for path in paths if not any(key.startswith(f"{path}.") for key in others)), paths[-1])


def _layers_of(parameter: str) -> Iterator[str]:
    """Yield the layers that contain a parameter, from the largest to its own."""
    return (parameter[:end] for end, mark in enumerate(parameter) if mark == ".")


def fault_of_freezing(network: nn.Module, freeze: str) -> str | None:
    """Return a sentence on an unknown `freeze` setting with the nearest layer names; None if it is valid."""
    paths = {path for name, _ in network.named_parameters() for path in _layers_of(name)}
    if freeze in (NONE, ALL, GRADUAL) or freeze in paths:
        return None
    return unknown("freeze", freeze, (NONE, ALL, GRADUAL, *layers(network)))


def frozen_parameters(network: nn.Module, freeze: str, epoch: int = 0, unfreeze_every: int = 1) -> set[str]:
    """Return the names of the parameters that are frozen in an epoch; a pure function of the epoch.

    Args:
        network: The network.
        freeze: ``none``, ``all``, ``gradual``, or the name of a layer to freeze everything up to and
            including it. ``gradual`` follows Howard & Ruder, "Universal Language Model Fine-tuning for Text
            Classification", ACL 2018, section 3.3: at epoch 0 the whole network is frozen, then stages are
            unfrozen from the head down.
        epoch: Number of the epoch, from 0.
        unfreeze_every: Epochs from one stage to the next.
    """
    found = stages(network)
    names = [name for stage in found for name in stage]
    if freeze == NONE:
        return set()
    if freeze == ALL:
        return set(names)
    if freeze == GRADUAL:
        frozen = max(len(found) - epoch // unfreeze_every, 0)
        return {name for stage in found[:frozen] for name in stage}
    last = max(place for place, name in enumerate(names) if name.startswith(f"{freeze}."))
    return set(names[: last + 1])


def freeze_parameters(network: nn.Module, names: set[str]) -> None:
    """Freeze the named parameters and unfreeze all others."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in names)


def frozen_layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers in which no parameter trains; they stay in evaluation mode (batch norm, dropout).

    A layer without parameters, such as dropout, counts as frozen if the layer before it is.
    """
    is_frozen = False
    for module in network.modules():
        trains = [parameter.requires_grad for parameter in module.parameters()]
        if trains:
            is_frozen = not any(trains)
        if is_frozen:
            yield module
