"""Side taps: temporal weights by which 2D convolutions also read the previous and the next frame."""

import copy
import sys
from typing import cast

from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from fibrolab.choices import refuse
from fibrolab.models.backbones import Backbone

PLAIN = (nn.Conv2d, Conv2dSame)  # convolutions that use their kernel as it is stored
SIDES = "sides"  # name of the submodule: `conv1.weight` is joined by `conv1.sides.before.weight`


class SideTaps(nn.Module):
    """The outer temporal taps of a k x k x 3 kernel: one for the previous frame, one for the next.

    With the k x k convolution as the central tap, they form a convolution over (T, H, W) with zero padding in
    time. Both are initialised with zeros.

    Args:
        conv: The central convolution; the taps have the same stride, padding and groups.

    Attributes:
        length: Frames per clip in the batch (B*T, C, H, W), T; to be set before each forward pass.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.before, self.after = _zero_copy(conv), _zero_copy(conv)
        self.length = 1

    def forward(self, frames: Tensor) -> Tensor:
        """Return the contribution of the neighbouring frames, (B*T, C', H', W') from (B*T, C, H, W)."""
        return _shifted(self.before(frames), self.length, 1) + _shifted(self.after(frames), self.length, -1)


def add_side_taps(backbone: Backbone) -> list[nn.Conv2d]:
    """Extend the k x k convolutions of an image network, k > 1, to three frames in time.

    The 2D kernel becomes the central tap and the side taps are zeros, so that the initial output equals that
    of the 2D network on each frame. Between convolutions the frames stay in the batch axis, so all other
    layers work unchanged; batch norm uses the statistics of all frames. The weights keep their names. A side
    tap trains whenever its central tap does. A convolution that never trains stays 2D: its side taps would
    remain zero and only cost time.

    Args:
        backbone: The image network; changed in place.

    Returns:
        The convolutions with side taps; the caller must set `SideTaps.length` of each.

    Raises:
        ConfigError: No convolution has overlapping patches, none ever trains, or some recompute their
            kernels in every forward pass.

    Source:
        Carreira & Zisserman, CVPR 2017, section 2 (initialise a 3D network from 2D weights); Arnab et al.,
        ViViT, ICCV 2021, section 3.4 (weights in the central frame, zeros in the others).
    """
    wide = [m for m in backbone.network.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    backbone.at_epoch(sys.maxsize)  # an epoch at which gradual unfreezing has reached every stage
    convs = [conv for conv in wide if conv.weight.requires_grad]
    refuse(_faults(backbone.name, wide, convs))
    for conv in convs:
        conv.add_module(SIDES, SideTaps(conv))
        conv.register_forward_hook(_add_neighbours)
    backbone.at_epoch(0)
    return convs


def side_taps(conv: nn.Module) -> SideTaps:
    """Return the side taps of a convolution that `add_side_taps` returned."""
    return cast(SideTaps, conv.get_submodule(SIDES))


def _faults(name: str, wide: list[nn.Conv2d], convs: list[nn.Conv2d]) -> list[str]:
    instead = "Use frames=lstm or frames=average"
    if all(conv.kernel_size == conv.stride for conv in wide):  # only the patch embedding of a transformer
        return [f"frames: inflated needs k x k convolutions, and {name} has none. {instead}."]
    if not convs:
        return [
            f"frames: inflated trains convolutions, and those of {name} are frozen. {instead}, or unfreeze "
            "them."
        ]
    if odd := sorted({type(conv).__name__ for conv in convs if type(conv) not in PLAIN}):
        # Weight standardisation rescales kernels: after one step, a side tap would be as large as the centre.
        return [f"frames: inflated cannot extend the kernels of {name} ({', '.join(odd)}). {instead}."]
    return []


def _zero_copy(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a copy that outputs zeros: same stride, padding and groups, zero weights, no bias."""
    tap = copy.deepcopy(conv)
    tap.bias = None
    nn.init.zeros_(tap.weight)
    return tap


def _shifted(frames: Tensor, length: int, by: int) -> Tensor:
    """Shift each clip of (B*T, C, H, W) by `by` frames in time; fill with zeros."""
    clips = frames.unflatten(0, (-1, length))  # (B*T, C, H, W) -> (B, T, C, H, W)
    return F.pad(clips, (0, 0, 0, 0, 0, 0, by, -by)).flatten(0, 1)  # a negative pad crops


def _add_neighbours(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    added: Tensor = output + side_taps(conv)(inputs[0])
    return added
