"""Convert weights of 2D image networks for 3D video networks: kernels gain a time axis."""

import re

from torch import Tensor, nn

from fibrolab.errors import WeightsError
from fibrolab.models.weights import Adapter, State

IMAGE, VIDEO = 4, 5  # axes of a kernel: (out, in, h, w), (out, in, t, h, w)
# Names in a ResNet18 (timm, torchvision) -> names in torchvision's 3D networks, which wrap conv and norm.
NAMES = (
    (re.compile(r"^conv1\."), "stem.0."),
    (re.compile(r"^bn1\."), "stem.1."),
    (re.compile(r"^(layer\d\.\d)\.conv(\d)\."), r"\1.conv\2.0."),
    (re.compile(r"^(layer\d\.\d)\.bn(\d)\."), r"\1.conv\2.1."),
)


def central_frame_kernel(kernel: Tensor, length: int) -> Tensor:
    """Return a kernel (O, I, h, w) as (O, I, length, h, w): the kernel at the central frame, zeros elsewhere.

    The 3D convolution then filters every frame exactly as the 2D kernel filters an image. This is the central
    frame initialisation of Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021, section 3.4. The
    alternative, copies in all frames divided by their number (Carreira & Zisserman, "Quo Vadis, Action
    Recognition?", CVPR 2017), would blur motion.
    """
    through_time = kernel.new_zeros(*kernel.shape[:2], length, *kernel.shape[2:])
    through_time[:, :, length // 2] = kernel
    return through_time


def inflation_adapter(network: nn.Module) -> Adapter:
    """Return the function that inflates weights of a 2D ResNet18 for its 3D counterpart `network`.

    The function returns all other weights unchanged.
    """
    wanted = network.state_dict()

    def adapt(state: State) -> State:
        if not _is_2d(state):
            return state
        adapted = {_renamed(key): tensor for key, tensor in state.items()}
        for key, kernel in adapted.items():
            if kernel.ndim == IMAGE and key in wanted and wanted[key].ndim == VIDEO:
                adapted[key] = central_frame_kernel(kernel, wanted[key].shape[2])
        return adapted

    return adapt


def refuse_image_weights(state: State) -> State:
    """Return the weights of an r2plus1d_18 unchanged.

    Raises:
        WeightsError: The weights are those of an image network, which r2plus1d_18 cannot load.
    """
    if _is_2d(state):
        raise WeightsError(
            "weights: r2plus1d_18 factorises every kernel into one over space and one over time, so weights "
            "of an image network do not fit. Give weights of an r2plus1d_18, or use r3d_18 or mc3_18."
        )
    return state


def _is_2d(state: State) -> bool:
    axes = {tensor.ndim for tensor in state.values()}
    return IMAGE in axes and VIDEO not in axes


def _renamed(key: str) -> str:
    for pattern, name in NAMES:
        renamed, times = pattern.subn(name, key)
        if times:
            return renamed
    return key
