"""Deletion and insertion curves: whether the pixels that a map calls important change the answer.

Petsiuk, Das and Saenko, "RISE", BMVC 2018, section 4.2: the score while the hottest pixels are removed first,
which should fall fast, and while they are added first to an emptied picture, which should rise fast.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

FRACTIONS = (0.05, 0.15, 0.35, 0.65)  # of the pixels; dense at the start, where a good map acts
BLUR = 1 / 8  # standard deviation of the blur, as a fraction of the side: no texture is left

Score = Callable[[Tensor], Tensor]  # pictures (B, C, [T,] H, W) -> one score of each, (B,)


class Curves:
    """Deletion and insertion on one batch of pictures, for any number of maps.

    A deleted pixel gets the picture's mean over its scan: that of the whole picture would be darkened by the
    screen. The picture into which pixels are inserted is blurred: inserted into a flat one, they would make
    edges which the network never saw (Petsiuk et al. 2018, section 4.2). The three scores that do not depend
    on a map are computed once; a map then costs a forward pass for each of `FRACTIONS`, twice.

    Args:
        score: The network's score of pictures.
        pictures: uint8 (B, C, H, W), or clips (B, C, T, H, W).
        scan: Pixels of the scan, bool (B, H, W).
        seed: Seed of the order of pixels with the same heat.
    """

    def __init__(self, score: Score, pictures: Tensor, scan: Tensor, seed: int = 0) -> None:
        self._score, self._pictures = score, pictures.float()
        inside = scan.to(pictures.device)[(slice(None), *(None,) * (pictures.ndim - 3))]
        axes = tuple(range(2, pictures.ndim))
        count = inside.expand_as(pictures[:, :1]).sum(axes, keepdim=True).clamp(min=1)
        mean = (self._pictures * inside).sum(axes, keepdim=True) / count
        self._mean, self._blurred = mean.expand_as(self._pictures), _blurred(self._pictures)
        self._full, self._emptied, self._unsharp = (
            self._scored(each) for each in (self._pictures, self._mean, self._blurred)
        )
        pixels = int(np.prod(pictures.shape[2:]))
        self._shuffle = torch.from_numpy(np.random.default_rng(seed).permutation(pixels))

    def areas(self, maps: Tensor) -> dict[str, np.ndarray]:
        """Return the area under both curves of each picture, `deletion` and `insertion`, (B,) each.

        The area is the mean score over the proportion of pixels, by the trapezium rule.

        Args:
            maps: Heat of each pixel, (B, H, W) or (B, T, H, W). Ties are broken at random.
        """
        order = self._places(maps)
        deleted, inserted = [self._full], [self._unsharp]
        for fraction in FRACTIONS:
            hot = (order < fraction).to(self._pictures.device)
            deleted.append(self._scored(torch.where(hot, self._mean, self._pictures)))
            inserted.append(self._scored(torch.where(hot, self._pictures, self._blurred)))
        at = (0.0, *FRACTIONS, 1.0)
        return {
            "deletion": np.trapezoid([*deleted, self._emptied], at, axis=0),
            "insertion": np.trapezoid([*inserted, self._full], at, axis=0),
        }

    def _places(self, maps: Tensor) -> Tensor:
        """Return the place of each pixel in the order of heat, (B, 1, ...) in [0, 1), the hottest first."""
        heat = maps.detach().cpu().flatten(1)[:, self._shuffle]
        ranked = self._shuffle[heat.argsort(dim=1, descending=True, stable=True)]  # pixels, hottest first
        places = torch.empty(ranked.shape)
        places.scatter_(1, ranked, torch.arange(ranked.shape[1]).float().expand_as(places) / ranked.shape[1])
        return places.view(len(maps), 1, *maps.shape[1:])

    @torch.no_grad()
    def _scored(self, pictures: Tensor) -> np.ndarray:
        return self._score(pictures).double().cpu().numpy()


def _blurred(pictures: Tensor) -> Tensor:
    """Return pictures (B, C, H, W) or the frames of clips (B, C, T, H, W) blurred."""
    size = pictures.shape[-1]
    frames = pictures.cpu().numpy().reshape(-1, *pictures.shape[-2:])
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), BLUR * size) for frame in frames])
    return torch.from_numpy(blurred).view(pictures.shape).to(pictures.device)
