"""Attention rollout: how far the patches of an image reach the answer of a vision transformer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fibrolab.errors import ConfigError
from fibrolab.models.backbones import Backbone
from fibrolab.models.networks import square_map


def rollout(backbone: Backbone, score: Callable[[], Tensor]) -> Tensor:
    """Multiply the attention of all blocks (Abnar & Zuidema, ACL 2020, equation 1).

    In each block the mean over the heads is mixed half and half with the identity, for the skip connection.
    The map is the row of the class token, or the mean row of the patches where they are averaged. It tells
    where the network looks, for any class: it does not depend on the target.

    Args:
        backbone: A vision transformer with global attention.
        score: Run the model.

    Returns:
        (N, h, w), the sum of each is at most 1.

    Raises:
        ConfigError: The network has no attention over all patches.
    """
    network = backbone.network
    attentions = check_attention(backbone)
    joined: list[Tensor] = []

    def multiply(_: nn.Module, __: tuple[object, ...], output: Tensor) -> None:
        attention = output.detach().float().mean(1)  # (N, heads, L, L) -> (N, L, L)
        mixed = (attention + torch.eye(attention.shape[1], device=attention.device)) / 2
        joined[:] = [mixed @ joined[0] if joined else mixed]

    fused = [each.fused_attn for each in attentions]
    hooks = [each.attn_drop.register_forward_hook(multiply) for each in attentions]
    try:
        for each in attentions:
            each.fused_attn = False  # the fused kernel never forms the matrix of attention
        with torch.no_grad():
            score()
    finally:
        for each, before, hook in zip(attentions, fused, hooks, strict=True):
            each.fused_attn = before
            hook.remove()
    prefix = getattr(network, "num_prefix_tokens", 0)
    by_token = getattr(network, "global_pool", "") == "token"
    row = joined[0][:, 0] if by_token else joined[0][:, prefix:].mean(1)  # (N, L)
    found = square_map(row.unsqueeze(2), network)
    if found is None:
        raise ConfigError(_unfit(backbone.name))
    return found.squeeze(1)


def check_attention(backbone: Backbone) -> list[Any]:
    """Return the attention layers of a vision transformer of timm, from the input to the head.

    Raises:
        ConfigError: The network has no attention over all patches.
    """
    found = [getattr(block, "attn", None) for block in getattr(backbone.network, "blocks", ())]
    if not found or not all(hasattr(each, "fused_attn") and hasattr(each, "attn_drop") for each in found):
        raise ConfigError(_unfit(backbone.name))
    return found


def _unfit(name: str) -> str:
    return (
        f"explain.method=attention_rollout needs a vision transformer whose patches attend to all others, "
        f"such as vit_small, and {name} is none: use gradcam."
    )
