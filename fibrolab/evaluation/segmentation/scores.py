"""`metrics.csv` of a segmentation: each metric over images or patients, with interval and baseline."""

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation.intervals import bootstrap, by_metric
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.measures.weighted import Weights, ratio
from fibrolab.evaluation.segmentation.images import CLASS, MAPS, MEAN_MASK, of_partition, reference

UNDEFINED = "not defined in any image: one of the two masks is empty in each"


def score(
    table: pd.DataFrame,
    partition: str = keys.TEST,
    by_patient: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    against: str | None = None,
) -> pd.DataFrame:
    """Average the measures of images, or first those of each patient's images.

    A metric of an image is the mean over the classes but the background in which it is defined; with several
    such classes, each has its own rows too, `NAME_CLASS`. Intervals come from the bootstrap over groups.

    Args:
        table: Measures of images, see `images.read`.
        partition: The partition.
        by_patient: Whether every patient counts the same, whatever the number of images.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.
        level: Nominal coverage.
        against: See `images.of_partition`.

    Returns:
        Index `metric`, of measures against pseudo-masks `agreement_with_maps_NAME`; the columns of
        `intervals.by_metric.table`, and `baseline`: the value of the mean training mask, of the pixels that
        more than half of the training masks hold.

    Raises:
        DataError: The partition has no image.
        ConfigError: resamples or level out of range.
    """
    against = against or reference(table)
    rows = of_partition(table, partition, against=against)
    if rows.empty:
        raise DataError(f"No {partition} image was segmented; did the run reach its test stage?")
    values, groups = _values(rows, by_patient)
    reached = _values(of_partition(table, partition, MEAN_MASK, against), by_patient)[0]

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        given = np.ones((1, len(values))) if weights is None else weights
        return {str(name): _mean(column.to_numpy(), given) for name, column in values.items()}

    drawn = bootstrap.resampled(measure, groups, resamples, seed, level)
    single = len(np.unique(groups)) == 1
    estimates = [by_metric.resampled(row, single, UNDEFINED) for _, row in drawn.iterrows()]
    found = pd.DataFrame(estimates, index=drawn.index)[["low", "high", "method", "note"]]
    found["coverage"] = np.nan  # not simulated
    names = {"low": "percentile_low", "high": "percentile_high"}
    scored = drawn.rename(columns=names).join(found)[list(by_metric.COLUMNS)]
    scored = scored.assign(baseline=reached.mean().reindex(scored.index))
    return scored.rename(index=catalogue.agreement) if against == MAPS else scored


def paired(
    ours: pd.DataFrame, theirs: pd.DataFrame, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Return the differences of two segmentations of the same test images, as `score` returns metrics.

    Args:
        ours: Measures of the images of one run.
        theirs: Those of another run.
        resamples: Bootstrap resamples of the groups, the same for both.
        seed: Seed of the resamples.
        level: Nominal coverage.

    Returns:
        Index as of `score`.

    Raises:
        DataError: The runs were tested on different images, or only one of them against true masks.
    """
    if (against := reference(ours)) != reference(theirs):
        raise DataError(
            "One run was measured against true masks and the other against maps of a classifier: their "
            "scores have different meanings."
        )
    first, second = (of_partition(table, keys.TEST) for table in (ours, theirs))
    (left, groups), (right, _) = _values(first, False), _values(second, False)
    if set(left.index) != set(right.index):
        raise DataError("The runs were tested on different images: use the same data, split and seed.")
    differences = left - right.loc[left.index]

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        given = np.ones((1, len(left))) if weights is None else weights
        return {str(name): _mean(column.to_numpy(), given) for name, column in differences.items()}

    found = bootstrap.resampled(measure, groups, resamples, seed, level)
    return found.rename(index=catalogue.agreement) if against == MAPS else found


def _values(rows: pd.DataFrame, by_patient: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the metrics of each image or patient, one column each, and the group of each."""
    names = [metric.name for metric in catalogue.MASK_METRICS]
    images = rows.groupby(keys.SAMPLE_ID, sort=False)
    values = images[names].mean()  # over the classes in which it is defined
    if rows[CLASS].nunique() > 1:
        values = values.join(_by_class(rows, names))
    groups = images[keys.GROUP_ID].first()
    if not by_patient:
        return values, groups.to_numpy(object)
    patients = images[keys.PATIENT_ID].first()
    units = patients.where(patients != "", patients.index)
    return values.groupby(units).mean(), groups.groupby(units).first().to_numpy(object)


def _by_class(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    wide = rows.pivot(index=keys.SAMPLE_ID, columns=CLASS, values=names)
    wide.columns = pd.Index(["_".join(name) for name in wide.columns.to_flat_index()])
    return wide


def _mean(values: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the weighted means (R,) of values (N,), of which NaN count nothing."""
    known = np.isfinite(values)
    return ratio(weights @ np.where(known, values, 0.0), weights @ known.astype(float))
