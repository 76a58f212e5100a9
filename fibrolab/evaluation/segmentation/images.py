"""`segmentation.csv`: the measures of each class in each image, from which all tables are computed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.segmentation.image_measures import MaskPair, areas

NETWORK, MEAN_MASK = "network", "mean_mask"  # of what a row measures the masks
TRUE_MASKS, MAPS = "true_masks", "maps"  # against what they are measured: pseudo-masks are maps
CLASS, OF, UNIT, AGAINST = "class", "of", "unit", "against"
AREA_TRUE, AREA_PREDICTED = "area_true", "area_predicted"
_TEXT = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE, keys.PARTITION, OF, CLASS, UNIT)
_COLUMNS = (*_TEXT, keys.FOLD, AREA_TRUE, AREA_PREDICTED)


def measured(
    true: np.ndarray, predicted: np.ndarray, classes: Sequence[str], spacing: tuple[float, float]
) -> list[dict[str, Any]]:
    """Measure every class but the background in one image.

    Args:
        true: Class of each pixel, (H, W); below 0 without a label.
        predicted: Predicted class of each pixel, (H, W).
        classes: Names of the classes, background first.
        spacing: Height and width of a pixel [mm], or (1, 1) for distances in pixels.

    Returns:
        A row of each class: its name, the metrics of `catalogue.MASK_METRICS`, and both areas.
    """
    rows = []
    for number, name in enumerate(classes[1:], start=1):
        pair = MaskPair(true == number, predicted == number, true >= 0, spacing)
        values = {metric.name: metric.function(pair) for metric in catalogue.MASK_METRICS}
        area_true, area_predicted = areas(pair)
        rows.append({CLASS: name, **values, AREA_TRUE: area_true, AREA_PREDICTED: area_predicted})
    return rows


def read(path: Path) -> pd.DataFrame:
    """Read the measures of the images of a run.

    Raises:
        DataError: The file is damaged, lacks a column or holds no row.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())}): train again.") from error
    wanted = (*_COLUMNS, *(metric.name for metric in catalogue.MASK_METRICS))
    if missing := [name for name in wanted if name not in table]:
        raise DataError(f"{path} lacks the column(s) {', '.join(missing)}: train again.")
    if table.empty:
        raise DataError(f"{path} holds no image: did the run reach its test stage?")
    return table.fillna(dict.fromkeys(_TEXT, ""))


def reference(table: pd.DataFrame) -> str:
    """Return against what images are measured: `TRUE_MASKS` where there are some, else `MAPS`."""
    return MAPS if AGAINST in table and (table[AGAINST] == MAPS).all() else TRUE_MASKS


def of_partition(
    table: pd.DataFrame, partition: str, of: str = NETWORK, against: str | None = None
) -> pd.DataFrame:
    """Return the rows of one partition.

    Args:
        table: Measures of images, see `read`.
        partition: The partition.
        of: `NETWORK`, or `MEAN_MASK` for the baseline.
        against: `TRUE_MASKS` or `MAPS`; None for the `reference`.
    """
    wanted = (table[keys.PARTITION] == partition) & (table[OF] == of)
    if AGAINST in table:
        wanted &= table[AGAINST] == (against or reference(table))
    return table[wanted].reset_index(drop=True)
