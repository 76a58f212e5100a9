"""Pseudo-masks: rules that turn the map of a classifier into a mask of the picture that it explains.

Every rule works on the map relative to its largest value, in the pixels of the picture, and has one threshold
t. A map without a positive value has an empty mask.

- `maximum`: pixels with at least t of the largest value.
- `percentile`: pixels above the t-quantile of the map.
- `otsu`: pixels above the threshold that separates the values of the map best (Otsu, IEEE Trans Syst Man
  Cybern 9, 1979); t is found for each picture.
- `random_walker`: pixels with at least (1 + t) / 2 of the largest value are certain, and so are those below
  t / 2; between them the grey levels of the picture decide (Grady, IEEE Trans Pattern Anal 28, 2006).
"""

import cv2
import numpy as np
from skimage.filters import threshold_otsu
from skimage.segmentation import random_walker

from fibrolab.data.formats.contract import to_grey
from fibrolab.evaluation.segmentation.image_measures import MaskPair, iou

MAXIMUM, PERCENTILE, OTSU, WALKER = RULES = ("maximum", "percentile", "otsu", "random_walker")
CANDIDATES = tuple(k / 20 for k in range(1, 20))  # thresholds among which one is chosen by true masks
WALKED = 256  # longest side of the picture in which the random walker works [px]
EDGE, SURE, REST = 130.0, 1, 2  # penalty on edges (scikit-image's default), and labels of the random walker


def mask_of(heat: np.ndarray, picture: np.ndarray, rule: str, threshold: float) -> tuple[np.ndarray, float]:
    """Return the mask of a map.

    Args:
        heat: Map in the pixels of the picture, (H, W); NaN, which no mask holds, where nothing was seen.
        picture: The picture, uint8 (H, W) or (H, W, 3).
        rule: One of `RULES`.
        threshold: Threshold t; not used by `otsu`.

    Returns:
        The mask, bool (H, W), and the level that parts it, as a proportion of the largest value of the map;
        t for `random_walker`, and NaN if the map has no positive value.
    """
    largest = np.nanmax(heat)
    if not largest > 0:
        return np.zeros(heat.shape, bool), np.nan
    relative = heat / largest
    if rule == WALKER:
        return _walked(np.nan_to_num(relative), to_grey(picture), threshold), threshold
    if rule == MAXIMUM:
        return relative >= threshold, threshold  # a comparison with NaN is false
    seen = relative[np.isfinite(relative)]
    if rule == PERCENTILE:
        found = float(np.quantile(seen, threshold))
    else:
        found = float(threshold_otsu(seen)) if seen.min() < seen.max() else 0.0
    return relative > found, found


def chosen_threshold(ious: np.ndarray) -> float:
    """Return the candidate with the highest mean IoU; of equals, the one nearest to the middle.

    Args:
        ious: IoU of each sample at each of the `CANDIDATES`, (N, thresholds).
    """
    means = ious.mean(axis=0)
    best = np.flatnonzero(np.isclose(means, means.max(), rtol=0, atol=1e-9))
    middle = (len(CANDIDATES) - 1) / 2
    return CANDIDATES[int(best[np.abs(best - middle).argmin()])]


def overlaps(heat: np.ndarray, picture: np.ndarray, rule: str, true: np.ndarray) -> list[float]:
    """Return the IoU of the mask of a map with the true mask, at each of the `CANDIDATES`.

    Args:
        heat: As in `mask_of`.
        picture: As in `mask_of`.
        rule: The rule.
        true: Class of each pixel, 1 in the true mask, below 0 without a label, (H, W).
    """
    masks = (mask_of(heat, picture, rule, threshold)[0] for threshold in CANDIDATES)
    return [iou(MaskPair(true == 1, mask, true >= 0)) for mask in masks]


def _walked(relative: np.ndarray, grey: np.ndarray, threshold: float) -> np.ndarray:
    """Let the random walker label the pixels that are not certain, in a picture of limited size."""
    height, width = grey.shape
    shrunk = min(1.0, WALKED / max(height, width))
    size = (max(1, round(width * shrunk)), max(1, round(height * shrunk)))
    small = cv2.resize(relative.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    seeds = np.where(small >= (1 + threshold) / 2, SURE, np.where(small < threshold / 2, REST, 0))
    if {SURE, REST} <= set(np.unique(seeds)) and (seeds == 0).any():
        levels = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float64) / 255
        seeds = random_walker(levels, seeds, beta=EDGE, mode="cg_j", tol=1e-4, prob_tol=0.05)
    else:  # there is nothing to walk to
        seeds = np.where(small >= threshold, SURE, REST)
    enlarged = cv2.resize((seeds == SURE).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(enlarged > 0)
