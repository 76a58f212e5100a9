"""Which parameter learns at which rate: slower, the nearer it lies to the input."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from torch.nn import Parameter


def parameter_groups(
    named_parameters: Iterable[tuple[str, Parameter]],
    depths: Mapping[str, int],
    lr: float,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: at depth d of D the rate is lr * layer_decay ** (D - 1 - d).

    The discriminative fine-tuning of Howard and Ruder (ACL 2018, section 3.2), whose factor between two
    layers is 1 / 2.6. Weight decay is the optimizer's, the same for all parameters, biases and norms
    included, as in the papers' Adam.

    Args:
        named_parameters: All that will ever train, also what is frozen in the first epochs: an optimizer
            leaves alone what has no gradient.
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
