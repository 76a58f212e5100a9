"""Heat against regions of the picture: the share of it in a region, and agreement with a true mask.

Each measure has a value for an even map, the region's proportion of the picture, so that a large region is
not taken for a good map.
"""

import numpy as np
import torch
from torch import Tensor

HALF = 0.5  # of a map's maximum: heat above it is the region that the map shows (as in paper 2's masks)


def heat(maps: Tensor) -> Tensor:
    """Return the evidence for the target, float64 (B, H, W): values below 0 speak against it and count as 0.

    Frames (B, T, H, W) are averaged.
    """
    positive = maps.double().clamp(min=0)
    return positive.mean(dim=1) if maps.ndim == 4 else positive


def proportion(region: Tensor) -> np.ndarray:
    """Return the proportion of each picture that a region (B, H, W) fills, (B,); NaN where it is empty."""
    filled = region.double().mean(dim=(1, 2)).numpy()
    return np.where(filled > 0, filled, np.nan)


def energy_inside(maps: Tensor, region: Tensor) -> np.ndarray:
    """Return the proportion of the heat in a region, (B,); NaN without heat, and without region.

    The energy-based pointing game of Wang et al., "Score-CAM", CVPR workshops 2020, section 4.3. Its value
    for an even map is `proportion`.

    Args:
        maps: (B, H, W) or (B, T, H, W).
        region: bool (B, H, W).
    """
    energy = heat(maps)
    total, inside = energy.sum(dim=(1, 2)), (energy * region).sum(dim=(1, 2))
    return torch.where((total > 0) & region.any(2).any(1), inside / total, torch.nan).numpy()


def pointing_hits(maps: Tensor, region: Tensor) -> np.ndarray:
    """Return 1 where the hottest pixel lies in a region, otherwise 0, (B,).

    The pointing game of Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016, without
    its tolerance of 15 px. Of several hottest pixels, the proportion in the region counts. Its expectation
    for an even map is `proportion`. NaN without heat, and without region.
    """
    energy = heat(maps)
    hottest = energy == energy.amax(dim=(1, 2), keepdim=True)
    return energy_inside(torch.where(energy.amax(dim=(1, 2), keepdim=True) > 0, hottest.double(), 0), region)


def iou_at_half(maps: Tensor, region: Tensor) -> np.ndarray:
    """Return the intersection over union of a region and the heat above half of its maximum, (B,).

    Its value for an even map is `proportion`. NaN without heat, and without region.
    """
    energy = heat(maps)
    most = energy.amax(dim=(1, 2), keepdim=True)
    shown = (energy >= HALF * most) & (most > 0)
    union = (shown | region).double().sum(dim=(1, 2))
    value = (shown & region).double().sum(dim=(1, 2)) / union.clamp(min=1)
    defined = (most.flatten() > 0) & region.any(2).any(1)
    return torch.where(defined, value, torch.nan).numpy()


MEASURES = {
    "energy inside": energy_inside,
    "pointing game": pointing_hits,
    "IoU at half of the maximum": iou_at_half,
}
