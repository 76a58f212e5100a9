"""Weights of a network for images in a network for video: kernels gain an axis of time."""

import re

from torch import Tensor, nn

from fibrolab.errors import WeightsError
from fibrolab.models.weights import Adapter, State

IMAGE, VIDEO = 4, 5  # axes of a kernel: (out, in, h, w), (out, in, t, h, w)
# From a ResNet18 of timm or torchvision to torchvision's 3D networks, which wrap a convolution with its norm.
NAMES = (
    (re.compile(r"^conv1\."), "stem.0."),
    (re.compile(r"^bn1\."), "stem.1."),
    (re.compile(r"^(layer\d\.\d)\.conv(\d)\."), r"\1.conv\2.0."),
    (re.compile(r"^(layer\d\.\d)\.bn(\d)\."), r"\1.conv\2.1."),
)


def central(kernel: Tensor, length: int) -> Tensor:
    """Return a kernel (O, I, h, w) as (O, I, length, h, w), at the centre in time with zeros beside it.

    The convolution then does with every frame what the kernel does with an image. Central frame
    initialisation of Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021, section 3.4; a copy in
    every frame, divided by their number, as in Carreira & Zisserman, "Quo Vadis, Action Recognition?", CVPR
    2017, would blur what moves.
    """
    through_time = kernel.new_zeros(*kernel.shape[:2], length, *kernel.shape[2:])
    through_time[:, :, length // 2] = kernel
    return through_time


def inflated(network: nn.Module) -> Adapter:
    """Return the function that inflates weights of a 2D ResNet18 for its 3D counterpart `network`.

    Other weights are returned unchanged.
    """
    wanted = network.state_dict()

    def adapt(state: State) -> State:
        if not _of_images(state):
            return state
        adapted = {_renamed(key): tensor for key, tensor in state.items()}
        for key, kernel in adapted.items():
            if kernel.ndim == IMAGE and key in wanted and wanted[key].ndim == VIDEO:
                adapted[key] = central(kernel, wanted[key].shape[2])
        return adapted

    return adapt


def images_refused(state: State) -> State:
    """Return the weights unchanged.

    Raises:
        WeightsError: They are those of a network for images, which r2plus1d_18 has no place for.
    """
    if _of_images(state):
        raise WeightsError(
            "weights: r2plus1d_18 parts every kernel into one of space and one of time, so weights of a "
            "network for images do not fit. Give weights of an r2plus1d_18, or use r3d_18 or mc3_18."
        )
    return state


def _of_images(state: State) -> bool:
    axes = {tensor.ndim for tensor in state.values()}
    return IMAGE in axes and VIDEO not in axes


def _renamed(key: str) -> str:
    for pattern, name in NAMES:
        renamed, times = pattern.subn(name, key)
        if times:
            return renamed
    return key
