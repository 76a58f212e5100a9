"""Maps that know nothing of the network: a method must do better than these."""

import numpy as np
import torch
from torch import Tensor

CENTRE_WIDTH = 0.25  # standard deviation of the centre-weighted map, as a fraction of the side


def random_map(number: int, size: int, seed: int = 0) -> Tensor:
    """Draw independent uniform heat for every pixel, float32 (number, size, size)."""
    return torch.from_numpy(np.random.default_rng(seed).random((number, size, size), dtype=np.float32))


def centre_map(number: int, size: int) -> Tensor:
    """Return a Gaussian around the middle of the picture, float32 (number, size, size).

    Sonographers centre what they look at, so that the middle of a picture is often right by itself: the
    centre bias of Judd et al., "Learning to predict where humans look", ICCV 2009.
    """
    axis = (torch.arange(size) + 0.5) / size - 0.5
    profile = torch.exp(-0.5 * (axis / CENTRE_WIDTH) ** 2)
    return (profile[:, None] * profile).expand(number, size, size)
