"""Agreement of true and predicted areas (Bland and Altman), and calibration of pixel probabilities."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.measures.weighted import ratio
from fibrolab.evaluation.segmentation.images import AREA_PREDICTED, AREA_TRUE, CLASS, UNIT, of_partition

BINS = 10  # of pixel probabilities, of equal width
LIMITS = 1.96  # standard deviations from the mean difference to the limits of agreement


def bland_altman(table: pd.DataFrame, partition: str = keys.TEST) -> pd.DataFrame:
    """Return bias and limits of agreement of the predicted areas of each class.

    Where groups have several images, the limits come from the variance between groups plus that within them
    (Bland and Altman, J Biopharm Stat 17, 2007, section 3).

    Args:
        table: Measures of images, see `images.read`.
        partition: The partition.

    Returns:
        Columns class, unit, n, groups, bias (predicted less true), sd, low and high (limits of agreement).
    """
    rows = of_partition(table, partition)
    found = []
    for name, part in rows.groupby(CLASS, sort=False):
        differences = (part[AREA_PREDICTED] - part[AREA_TRUE]).to_numpy()
        groups = part[keys.GROUP_ID].to_numpy(object)
        bias, sd = float(differences.mean()), _total_sd(differences, groups)
        low, high = bias - LIMITS * sd, bias + LIMITS * sd
        unit = f"{part[UNIT].iloc[0]}\u00b2"
        size = {"n": len(part), "groups": len(np.unique(groups))}
        found.append({"class": name, "unit": unit, **size, "bias": bias, "sd": sd, "low": low, "high": high})
    return pd.DataFrame(found)


def _total_sd(values: np.ndarray, groups: np.ndarray) -> float:
    """Return the SD of one value of a new group, by one-way analysis of variance; NaN of a single value."""
    sizes = pd.Series(values).groupby(groups).size().to_numpy()
    means = pd.Series(values).groupby(groups).mean().to_numpy()
    total, count = len(values), len(sizes)
    if total < 2:
        return math.nan
    within_sum = float(((values - pd.Series(values).groupby(groups).transform("mean")) ** 2).sum())
    if count == total or count == 1:
        return float(values.std(ddof=1))
    within = within_sum / (total - count)
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (count - 1)
    size = (total - (sizes**2).sum() / total) / (count - 1)
    return math.sqrt(within + max(0.0, (between - within) / size))


def binned(probabilities: np.ndarray, true: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Count the pixels of one image by their probability of each class but the background.

    Args:
        probabilities: Of each class at each pixel, (K, H, W).
        true: Class of each pixel, (H, W); below 0 without a label.
        classes: Names of the classes, background first.

    Returns:
        A row of each class and bin with a pixel: class, bin, pixels, the sum of their probabilities, and how
        many of them are of the class.
    """
    known = true >= 0
    rows = []
    for number, name in enumerate(classes[1:], start=1):
        p, hit = probabilities[number][known].astype(np.float64), true[known] == number
        place = np.minimum((p * BINS).astype(int), BINS - 1)
        sums = [np.bincount(place, weights, BINS) for weights in (np.ones(len(p)), p, hit.astype(float))]
        rows += [
            {CLASS: name, "bin": k, "pixels": int(n), "sum": total, "positive": int(positive)}
            for k, (n, total, positive) in enumerate(zip(*sums, strict=True))
            if n
        ]
    return rows


def calibration(counts: pd.DataFrame, partition: str = keys.TEST) -> pd.DataFrame:
    """Return the reliability of the pixel probabilities of each class.

    Args:
        counts: Counts of all images, see `binned`, with their partition.
        partition: The partition.

    Returns:
        A row of each class and bin: class, bin, pixels, probability (the mean), observed (proportion of
        the class) and ece, the expected calibration error of the class: the mean absolute difference of both,
        weighted by pixels.
    """
    part = counts[counts[keys.PARTITION] == partition]
    order = list(part[CLASS].unique())  # that of the classes, as the first image has them
    sums = part.groupby([CLASS, "bin"], sort=False)[["pixels", "sum", "positive"]].sum().reset_index()
    pixels = sums["pixels"].to_numpy(float)
    sums["probability"] = ratio(sums["sum"].to_numpy(float), pixels)
    sums["observed"] = ratio(sums["positive"].to_numpy(float), pixels)
    sums["gap"] = (sums["probability"] - sums["observed"]).abs() * pixels
    totals = sums.groupby(CLASS)[["gap", "pixels"]].transform("sum")
    sums["ece"] = totals["gap"] / totals["pixels"]
    sums = sums.drop(columns=["sum", "positive", "gap"]).sort_values("bin", kind="stable")
    return pd.concat([sums[sums[CLASS] == name] for name in order], ignore_index=True)
