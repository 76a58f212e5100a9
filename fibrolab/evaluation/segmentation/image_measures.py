"""Measures of one class in one image: overlap, distances of boundaries, areas.

Conventions where a mask is empty (Maier-Hein et al., Metrics Reloaded, Nature Methods 21, 2024):

- IoU and Dice are 1 where neither the true nor the predicted mask has a pixel, and 0 where only one has.
- Sensitivity is not defined without a true pixel, specificity not where every pixel is true.
- Distances are not defined where either mask is empty. They are NaN, never a number.

Pixels without a label count in no overlap and no area, and lie in neither mask.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PERCENTILE = 95  # of the distances, in the robust Hausdorff distance


@dataclass(frozen=True)
class MaskPair:
    """A true and a predicted mask of one class, over the pixels that have a label.

    Attributes:
        true: Pixels of the class, bool (H, W).
        predicted: Pixels predicted as the class, bool (H, W).
        known: Pixels with a label, bool (H, W).
        spacing: Height and width of a pixel, in the unit of the distances.
    """

    true: np.ndarray
    predicted: np.ndarray
    known: np.ndarray
    spacing: tuple[float, float] = (1.0, 1.0)

    @cached_property
    def counts(self) -> tuple[int, int, int, int]:
        """True positive, false positive, false negative and true negative pixels."""
        true, predicted = self.true[self.known], self.predicted[self.known]
        both = int((true & predicted).sum())
        positive, found = int(true.sum()), int(predicted.sum())
        return both, found - both, positive - both, len(true) - positive - found + both

    @cached_property
    def distances(self) -> np.ndarray | None:
        """Distances from each boundary to the other, of both directions; None where a mask is empty."""
        true, predicted = self.true & self.known, self.predicted & self.known
        if not (true.any() and predicted.any()):
            return None
        from scipy import ndimage

        edges = [boundary(true), boundary(predicted)]
        to_edge = [ndimage.distance_transform_edt(~edge, sampling=self.spacing) for edge in edges]
        return np.concatenate([to_edge[1][edges[0]], to_edge[0][edges[1]]])

    @cached_property
    def lengths(self) -> tuple[int, int]:
        """Number of pixels of the boundary of the true and of the predicted mask."""
        return tuple(int(boundary(mask & self.known).sum()) for mask in (self.true, self.predicted))  # type: ignore[return-value]


def boundary(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask with a neighbour, of four, outside it or outside the image, bool (H, W)."""
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask)


def iou(pair: MaskPair) -> float:
    """Return the intersection over the union."""
    both, false, missed, _ = pair.counts
    return both / (both + false + missed) if both + false + missed else 1.0


def dice(pair: MaskPair) -> float:
    """Return twice the intersection over the sum of the areas."""
    both, false, missed, _ = pair.counts
    return 2 * both / (2 * both + false + missed) if both + false + missed else 1.0


def sensitivity(pair: MaskPair) -> float:
    """Return the proportion of the true pixels that are predicted."""
    both, _, missed, _ = pair.counts
    return both / (both + missed) if both + missed else math.nan


def specificity(pair: MaskPair) -> float:
    """Return the proportion of the other pixels that are not predicted."""
    _, false, _, neither = pair.counts
    return neither / (neither + false) if neither + false else math.nan


def hd95(pair: MaskPair) -> float:
    """Return the 95th percentile of the distances between the boundaries: the larger of both directions."""
    if pair.distances is None:
        return math.nan
    first = pair.lengths[0]
    return float(max(np.percentile(part, PERCENTILE) for part in np.split(pair.distances, [first])))


def asd(pair: MaskPair) -> float:
    """Return the average symmetric surface distance: the mean over the pixels of both boundaries."""
    return math.nan if pair.distances is None else float(pair.distances.mean())


def areas(pair: MaskPair) -> tuple[float, float]:
    """Return the true and the predicted area, in squares of the unit of the spacing."""
    both, false, missed, _ = pair.counts
    pixel = pair.spacing[0] * pair.spacing[1]
    return (both + missed) * pixel, (both + false) * pixel
