"""Taps in time: what makes a convolutional network of pictures see the frames before and after."""

import copy
import sys
from typing import cast

from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from fibrolab.choices import refuse
from fibrolab.models.backbones import Backbone

PLAIN = (nn.Conv2d, Conv2dSame)  # convolutions that use their kernel as it is stored
SIDES = "sides"  # what a convolution gains: beside `conv1.weight` there is `conv1.sides.before.weight`


class SideTaps(nn.Module):
    """The taps of a k x k x 3 kernel beside the centre: one on the frame before, one on the frame after.

    Together with the k x k convolution that stays at the centre they are a convolution over (T, H, W) with
    zeros beyond both ends of the clip. Both begin as zeros.

    Args:
        conv: The convolution at the centre, whose stride, padding and groups the taps share.

    Attributes:
        length: Frames of the clips that are folded into the batch, T; to be set before each pass.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.before, self.after = _silent(conv), _silent(conv)
        self.length = 1

    def forward(self, frames: Tensor) -> Tensor:
        """Return the contribution of neighbouring frames, (B*T, C', H', W') from (B*T, C, H, W)."""
        return _shifted(self.before(frames), self.length, 1) + _shifted(self.after(frames), self.length, -1)


def add_side_taps(backbone: Backbone) -> list[nn.Conv2d]:
    """Give the k x k convolutions of a network of pictures, k > 1, a temporal extent of three frames.

    The 2D kernel becomes the centre tap and the side taps are zeros, so that at first each frame is seen as
    the 2D network sees it. Time stays folded in the batch between the convolutions: everything else of the
    network works unchanged, batch norm with the statistics of all frames. The network keeps the names of its
    weights. A side tap trains when its centre does; where that never happens the convolution stays 2D, since
    zeros that do not learn would only cost time.

    Args:
        backbone: Changed in place.

    Returns:
        The convolutions that have side taps now; these must be told `SideTaps.length`.

    Raises:
        ConfigError: No convolution sees more than its own patch, or none ever trains, or some rewrite their
            kernels at every pass.

    Source:
        Carreira & Zisserman, CVPR 2017, section 2 (2D weights start a 3D network); Arnab et al., ViViT,
        ICCV 2021, section 3.4 (the weights at the centre in time, zeros beside them).
    """
    wide = [m for m in backbone.network.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    backbone.at_epoch(sys.maxsize)  # gradual unfreezing has reached every stage
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
    if all(conv.kernel_size == conv.stride for conv in wide):  # nothing but the patches of a transformer
        return [f"frames: inflated needs convolutions of k x k, and {name} has none. {instead}."]
    if not convs:
        return [
            f"frames: inflated trains convolutions, and those of {name} are frozen. {instead}, or unfreeze "
            "them."
        ]
    if odd := sorted({type(conv).__name__ for conv in convs if type(conv) not in PLAIN}):
        # A standardised kernel has no small beginning: its first step would be as large as the centre.
        return [f"frames: inflated cannot start from the kernels of {name} ({', '.join(odd)}). {instead}."]
    return []


def _silent(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a copy that outputs zeros: same stride, padding and groups, zero weights, no bias."""
    silent = copy.deepcopy(conv)
    silent.bias = None
    nn.init.zeros_(silent.weight)
    return silent


def _shifted(frames: Tensor, length: int, by: int) -> Tensor:
    """Shift each clip of (B*T, C, H, W) by `by` frames, with zeros at its border."""
    clips = frames.unflatten(0, (-1, length))  # (B*T, C, H, W) -> (B, T, C, H, W)
    return F.pad(clips, (0, 0, 0, 0, 0, 0, by, -by)).flatten(0, 1)  # a negative pad crops


def _add_neighbours(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    added: Tensor = output + side_taps(conv)(inputs[0])
    return added
