"""Which part of a network trains: stages from the input to the head, held still in whole or in part.

A parameter that is held still asks for no gradient, and autograd keeps no activations in front of the first
layer that does: a frozen bottom costs a forward pass in evaluation, and no machinery is needed for that.
"""

from collections.abc import Iterator
from typing import Any

from timm.models import group_parameters
from torch import nn

from fibrolab.choices import unknown

NONE, ALL, GRADUAL = "none", "all", "gradual"


def stages(network: nn.Module) -> list[list[str]]:
    """Names of the parameters, a list for each stage, from the input to the head.

    The stages of a network of timm are those by which timm itself lets learning rates decay; of any other,
    its children, which must stand in the order in which they run.
    """
    if (matcher := _timm_matcher(network)) is not None:
        groups = group_parameters(network, matcher)
        return [groups[depth] for depth in sorted(groups)]
    children = network.named_children()
    found = [[f"{name}.{key}" for key, _ in child.named_parameters()] for name, child in children]
    return [names for names in found if names]


def _timm_matcher(network: nn.Module) -> Any:
    """What tells timm the stage of a parameter; None for the few networks that have none."""
    try:
        return network.group_matcher(coarse=True)  # type: ignore[operator]
    except (AttributeError, AssertionError):  # not of timm, or, as RDNet, without coarse stages
        return None


def depths(network: nn.Module) -> dict[str, int]:
    """Number of the stage of every parameter, 0 nearest the input."""
    return {name: depth for depth, stage in enumerate(stages(network)) for name in stage}


def layers(network: nn.Module) -> list[str]:
    """The last layer of each stage, from the input to the head: what one would freeze up to."""
    everything = dict(network.named_parameters())
    return [_whole_layer(stage[-1], everything.keys() - set(stage)) for stage in stages(network)]


def _whole_layer(parameter: str, others: set[str]) -> str:
    """The largest layer with `parameter` and with none of the `others`."""
    paths = list(_layers_of(parameter))
    return next((path for path in paths if not any(key.startswith(f"{path}.") for key in others)), paths[-1])


def _layers_of(parameter: str) -> Iterator[str]:
    """The layers that a parameter stands in, from the largest to its own."""
    return (parameter[:end] for end, mark in enumerate(parameter) if mark == ".")


def fault_of_freezing(network: nn.Module, freeze: str) -> str | None:
    """What is wrong with the setting, if anything, with the nearest names of layers."""
    paths = {path for name, _ in network.named_parameters() for path in _layers_of(name)}
    if freeze in (NONE, ALL, GRADUAL) or freeze in paths:
        return None
    return unknown("freeze", freeze, (NONE, ALL, GRADUAL, *layers(network)))


def held(network: nn.Module, freeze: str, epoch: int = 0, thaw_every: int = 1) -> set[str]:
    """Names of the parameters that do not train in an epoch; a pure function of it.

    Args:
        network: Whose parameters.
        freeze: ``none``, ``all``, ``gradual`` or the name of a layer: everything up to and with it. Gradual
            is Howard & Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018,
            section 3.3: at epoch 0 nothing of the network trains, then it thaws from the head down.
        epoch: From 0.
        thaw_every: Epochs from one stage to the next.
    """
    found = stages(network)
    names = [name for stage in found for name in stage]
    if freeze == NONE:
        return set()
    if freeze == ALL:
        return set(names)
    if freeze == GRADUAL:
        cold = max(len(found) - epoch // thaw_every, 0)
        return {name for stage in found[:cold] for name in stage}
    last = max(place for place, name in enumerate(names) if name.startswith(f"{freeze}."))
    return set(names[: last + 1])


def hold(network: nn.Module, names: set[str]) -> None:
    """Let these parameters ask for no gradient, and all others for one."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in names)


def resting(network: nn.Module) -> Iterator[nn.Module]:
    """The layers in which nothing trains: their batch norm and dropout are to stay in evaluation.

    A layer without parameters, such as a dropout, goes with what stands before it.
    """
    rests = False
    for module in network.modules():
        trains = [parameter.requires_grad for parameter in module.parameters()]
        if trains:
            rests = not any(trains)
        if rests:
            yield module
