"""Class activation maps: the feature maps of one layer, weighted by the gradients of a score.

With A^k the k-th feature map of a layer, S the score and g^k = dS / dA^k, each method returns
relu(sum_k w^k * A^k) and differs in the weights w.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fibrolab.errors import ConfigError
from fibrolab.models.backbones import Backbone
from fibrolab.models.networks import map_of_layer

SHOWN_LAYERS = 3  # depth of the layer names that a message lists


class LayerMaps(NamedTuple):
    """Feature maps of a layer, and the gradients of the scores, each (N, C, h, w) or (N, C, t, h, w)."""

    values: Tensor
    gradients: Tensor


def grad_cam(maps: LayerMaps) -> Tensor:
    """Weight each feature map by its mean gradient (Selvaraju et al., ICCV 2017, equations 1 and 2)."""
    weights = maps.gradients.flatten(2).mean(2)  # (N, C)
    return _weighted(maps.values, weights)


def grad_cam_pp(maps: LayerMaps) -> Tensor:
    """Weight by positive gradients, each with its share of the map (Chattopadhay et al., WACV 2018).

    alpha = g^2 / (2 g^2 + sum_ab A_ab g^3) (equation 19, for an exponential of the score), and the weight is
    the sum of alpha relu(g) over the positions (equation 5). The exponential only scales each map.
    """
    values, gradients = maps.values.flatten(2), maps.gradients.flatten(2)  # (N, C, positions)
    below = 2 * gradients**2 + values.sum(2, keepdim=True) * gradients**3
    alpha = torch.where(below == 0, 0.0, gradients**2 / torch.where(below == 0, 1.0, below))
    return _weighted(maps.values, (alpha * gradients.relu()).sum(2))


def layer_cam(maps: LayerMaps) -> Tensor:
    """Weight each position by its own positive gradient (Jiang et al., IEEE TIP 30, 2021, equations 5, 6)."""
    return (maps.gradients.relu() * maps.values).sum(1).relu()


def captured(backbone: Backbone, layer: str | None, score: Callable[[], Tensor], rows: int) -> LayerMaps:
    """Run a network once forward and once backward, and return the maps of one layer.

    Args:
        backbone: The branch's network.
        layer: Name of a layer in it; None for `Backbone.feature_layer`.
        score: Run the model and return the scores (B,).
        rows: Number of images that pass through the backbone, N.

    Raises:
        ConfigError: There is no such layer, it has no spatial map, or it does not run once in a pass.
    """
    name = chosen_layer(backbone, layer)
    module: nn.Module = backbone.network.get_submodule(name)
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[object, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # the graph begins here: nothing before it is stored
        return kept[-1].clone()  # layers after it may work in place

    hook = module.register_forward_hook(keep)
    try:
        scores = score()
    finally:
        hook.remove()
    if len(kept) != 1:
        raise ConfigError(f"explain.layer={name} runs {len(kept)} times in one pass: choose another layer.")
    (gradients,) = torch.autograd.grad(scores.sum(), kept, allow_unused=True)
    if gradients is None:
        gradients = torch.zeros_like(kept[0])
    values, slopes = (map_of_layer(each, module, backbone.network) for each in (kept[0].detach(), gradients))
    if values is None or slopes is None or len(values) != rows:
        raise ConfigError(f"explain.layer={name} has no map of the whole image: choose another layer.")
    return LayerMaps(values.float(), slopes.float())


def chosen_layer(backbone: Backbone, layer: str | None) -> str:
    """Return the name of the layer that class activation maps explain.

    Raises:
        ConfigError: There is no such layer, or it has no spatial map.
    """
    sizes = backbone.map_sizes
    if layer is None:
        if (found := backbone.feature_layer) is not None:
            return found
        raise ConfigError(
            f"{backbone.name} has no spatial feature map at {backbone.image_size} px, which class activation "
            "maps need: use explain.method=integrated_gradients or occlusion."
        )
    if layer in sizes:
        return layer
    known = [name for name in sizes if name.count(".") < SHOWN_LAYERS - 1]
    there = layer in dict(backbone.network.named_modules())
    fault = "is a layer without a spatial map" if there else "is not a layer"
    raise ConfigError(
        f"explain.layer={layer} {fault} of {backbone.name}. Layers with a map, from the input on: "
        f"{', '.join(known)}."
    )


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Return relu(sum_k w^k A^k) of maps (N, C, ...) and weights (N, C)."""
    return torch.einsum("nc...,nc->n...", values, weights).relu()
