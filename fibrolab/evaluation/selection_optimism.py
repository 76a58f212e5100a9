"""The optimism of the best among many trials, each measured on the samples by which the best is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import unknown
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.evaluation.intervals import bootstrap
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.measures.weighted import Weights

FILE = "optimism.json"  # in the folder of a study
LOSS = "log_loss"  # stands for a monitored loss: it is measured in all trials alike, whatever they minimised
Table = tuple[np.ndarray, np.ndarray]  # y_true (N,), probabilities (N, K)


@dataclass(frozen=True)
class Optimism:
    """The best of several trials on validation, and what it would reach on other patients.

    Attributes:
        metric: Name in the catalogue.
        trials: Number of trials.
        groups: Number of independent units in the validation set.
        best: Position of the best trial.
        apparent: Its value on the validation set by which it was chosen.
        corrected: Value corrected for this choice; NaN where too few resamples define it.
        low: Lower end of the interval of the corrected value.
        high: Upper end.
        level: Nominal coverage.
        resamples: Number of bootstrap resamples.
    """

    metric: str
    trials: int
    groups: int
    best: int
    apparent: float
    corrected: float
    low: float
    high: float
    level: float
    resamples: int


def estimate(
    trials: Sequence[pd.DataFrame],
    monitor: str,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Optimism:
    """Correct the value of the best trial for its choice on the same samples.

    Bootstrap bias-corrected cross-validation (BBC-CV): Tsamardinos, Greasidou and Borboudakis, Machine
    Learning 107:1895-1922, 2018, algorithm 5. In each resample of the groups the best trial is chosen on
    those that are drawn and measured on those that are not; the mean is the corrected value, and the
    percentiles are its interval (section 3.3). Nothing is trained again. The choice of the best epoch within
    each trial, by the same samples, is not corrected.

    Args:
        trials: Validation predictions of each finished trial, in the form of `predictions.csv`; other
            partitions are ignored, and several predictions of a sample are averaged.
        monitor: Monitored metric, such as `val/loss` or `val/qwk`.
        resamples: Number of resamples, at least 2.
        seed: Seed of the resamples.
        level: Nominal coverage.

    Raises:
        ConfigError: The metric is not in the catalogue, or resamples or level are out of range.
        DataError: There is no trial, or the trials were validated on different samples.
    """
    bootstrap.check(resamples, level)
    tables, groups = _aligned(trials)
    name = monitor.removeprefix("val/")
    metric = _found(LOSS if name == "loss" else name, tables[0])
    sign = 1.0 if metric.metric.higher_is_better else -1.0
    whole = np.array([metric.values(table)[0] for table in tables])
    if np.isnan(whole).all():
        raise DataError(f"{monitor} is not defined on the validation set of any trial.")
    best = int(np.nanargmax(sign * whole))
    blocks = []
    for weights in bootstrap.resample_weights(groups, resamples, seed):
        others = (weights == 0).astype(np.float64)
        drawn, left = ([metric.values(table, rows) for table in tables] for rows in (weights, others))
        blocks.append(_left_out(drawn, left, sign))
    draws = np.concatenate(blocks)
    valid = draws[np.isfinite(draws)]
    corrected = low = high = float("nan")
    if bootstrap.enough(len(valid), resamples):
        corrected = float(valid.mean())
        low, high = map(float, bootstrap.percentiles(valid, level))
    number = len(set(groups))
    return Optimism(
        metric.name, len(tables), number, best, float(whole[best]), corrected, low, high, level, resamples
    )


@dataclass(frozen=True)
class _Named:
    """A metric of the catalogue, or its average over the classes."""

    name: str
    metric: catalogue.Metric

    def values(self, table: Table, weights: Weights | None = None) -> np.ndarray:
        """Compute it for each weighting (R, N) of the samples, (R,)."""
        rows = np.ones((1, len(table[0]))) if weights is None else weights
        samples = catalogue.ScoredSamples(*table, rows)
        found = self.metric.function(samples)
        if not self.metric.by_class:
            return found
        if self.name == self.metric.name:  # the area of two classes
            return found[:, 1]
        averaged = np.nan_to_num(found) if self.metric.undefined_counts_as_zero else found
        return samples.macro(averaged) if self.name.startswith("macro_") else samples.weighted(averaged)


def _found(name: str, table: Table) -> _Named:
    """Return a metric by its name.

    Raises:
        ConfigError: There is no such metric of all classes together.
    """
    binary = table[1].shape[1] == 2
    known = {metric.name: metric for metric in catalogue.METRICS if not metric.by_class}
    for metric in catalogue.by_class(averaged=True):
        known |= {f"{mean}_{metric.name}": metric for mean in catalogue.AVERAGES}
        known |= {metric.name: metric} if binary and metric.interval == "area" else {}
    if name not in known:
        raise ConfigError(unknown("monitor", f"val/{name}", (f"val/{each}" for each in known)))
    return _Named(name, known[name])


def _aligned(trials: Sequence[pd.DataFrame]) -> tuple[list[Table], np.ndarray]:
    """Return labels and probabilities of each trial in one order of the samples, and their groups.

    Raises:
        DataError: There is no trial, or the trials were validated on different samples.
    """
    if not trials:
        raise DataError("The optimism of a choice needs the predictions of at least one trial.")
    first, tables, groups = None, list[Table](), np.empty(0)
    for number, trial in enumerate(trials):
        rows = predictions.select(trial, keys.VALIDATION)
        columns = keys.probability_columns(predictions.probabilities(rows).shape[1])
        how = {keys.GROUP_ID: "first", keys.Y_TRUE: "first"} | dict.fromkeys(columns, "mean")
        rows = rows.groupby(keys.SAMPLE_ID).agg(how)
        samples = rows[[keys.GROUP_ID, keys.Y_TRUE]]
        if first is None:
            first, groups = samples, rows[keys.GROUP_ID].to_numpy()
        elif not samples.equals(first):
            raise DataError(
                f"Trial {number} of {len(trials)} was validated on other samples than the first one: compare "
                "trials of one study, whose data and split have not changed."
            )
        tables.append((rows[keys.Y_TRUE].to_numpy(), predictions.probabilities(rows)))
    return tables, groups


def _left_out(drawn: Sequence[np.ndarray], left: Sequence[np.ndarray], sign: float) -> np.ndarray:
    """Return the value on what was left out of the trial that is best on what was drawn, by resample.

    Args:
        drawn: Values on the drawn samples, (R,) for each trial.
        left: Values on the others.
        sign: 1 if a higher value is better, otherwise -1.
    """
    quality = np.where(np.isnan(drawn), -np.inf, sign * np.asarray(drawn))  # (T, R)
    found = np.take_along_axis(np.asarray(left), quality.argmax(axis=0)[None], axis=0)[0]
    return np.where(np.isinf(quality.max(axis=0)), np.nan, found)
