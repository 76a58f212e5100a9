"""Arms of a comparison of segmentations, whose measures are means over images or patients."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.comparison.arms import CLASSES, HEADLINE, Arm, Measure, Prediction, Task
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.segmentation.images import MAPS, of_partition, reference
from fibrolab.evaluation.segmentation.scores import values_of


def arm_of_masks(
    name: str, tables: Sequence[pd.DataFrame], task: Task, by_patient: bool = False, folds: bool = False
) -> Arm:
    """Make an arm from the measures of the test images of its runs.

    Args:
        name: Name of the arm.
        tables: Measures of the images of its runs, see `segmentation.images.read`: those of seeds all on the
            same test images, those of folds each on its own.
        task: Classes of the pixels, background first.
        by_patient: Whether a row is a patient, with the mean over the images, instead of an image.
        folds: Whether the tables are the folds of one cross-validation.

    Returns:
        The arm, rows sorted by their name.
    """
    against_maps = any(reference(table) == MAPS for table in tables)
    each = [_rows(table, by_patient).assign(**{keys.FOLD: fold}) for fold, table in enumerate(tables)]
    if folds:
        each = [pd.concat(each)]
    each = [rows.sort_index() for rows in each]
    first = each[0]
    return Arm(
        name,
        first.index.to_numpy(object),
        np.zeros(len(first), np.int64),
        first[keys.GROUP_ID].to_numpy(object),
        tuple(Prediction({}, {}, of_rows=_measures(rows, task, against_maps)) for rows in each),
        first[keys.FOLD].to_numpy(np.int64) if folds else None,
    )


def _rows(table: pd.DataFrame, by_patient: bool) -> pd.DataFrame:
    """Return the metrics of each test image or patient with its group."""
    values, groups = values_of(of_partition(table, keys.TEST), by_patient)
    return values.assign(**{keys.GROUP_ID: groups})


def _measures(rows: pd.DataFrame, task: Task, against_maps: bool) -> dict[Measure, np.ndarray]:
    """Return the headline metrics over all classes, and every metric of each class but the background."""

    def named(metric: str) -> str:
        return catalogue.agreement(metric) if against_maps else metric

    found = {Measure(HEADLINE, named(name)): rows[name].to_numpy() for name in catalogue.mask_headline()}
    several = len(task.classes) > 2
    for of in task.classes[1:]:
        for metric in catalogue.MASK_METRICS:
            column = f"{metric.name}_{of}" if several else metric.name
            found[Measure(CLASSES, named(metric.name), of)] = rows[column].to_numpy()
    return found
