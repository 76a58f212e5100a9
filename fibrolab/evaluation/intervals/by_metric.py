"""Which interval stands beside which metric: the one that covers best in simulation, see `coverage`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fibrolab.evaluation import endpoints
from fibrolab.evaluation.intervals import bootstrap, coverage, delong, proportions
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import likelihood_ratios, metrics

COLUMNS = (
    "value", "mean", "sd", "low", "high", "n_valid", "method", "note",
    "coverage", "percentile_low", "percentile_high", "bca_low", "bca_high",
)  # fmt: skip
OVER_CLASSES = ("balanced_accuracy", "obuchowski")  # averages whose names do not say so
CORRECTED, RESAMPLED = "BCa", "percentile"  # of what is neither a share nor an area
ROUNDING = 1e-12  # of means of equal numbers, whose last bits depend on their order
FEW = "fewer than nine tenths of the resamples define it: too few groups of a class"
SHRINKING = "no interval: resampling adds to an error that chance alone keeps above 0; see calibration.csv"
AGREEING = "every resample gives the same value: the bootstrap cannot tell how sure it is"
ALONE = "one group only: no interval can be drawn from it"
NOBODY = {  # why a share of the samples is not defined
    "sensitivity": "no positive sample",
    "specificity": "no negative sample",
    "precision": "nobody is called positive",
    "npv": "nobody is called negative",
}


def table(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    ordered: bool = True,
    end_points: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Every metric with its interval: Wilson's of a share, DeLong's of an area, else the BCa bootstrap's.

    Likelihood ratios take Simel's. Samples that come several to a group take the clustered forms of all
    three. Mean and SD over resamples, and both bootstrap intervals, stand beside them.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class (N, K).
        groups: The patient, or the cluster of copies, of every sample (N,).
        classes: The K class names.
        resamples: Bootstrap resamples of the groups.
        seed: Of the resamples.
        level: Coverage aimed at.
        ordered: Whether the classes are stages.
        end_points: Name and lowest positive class of each.

    Returns:
        Index `metric`, columns `COLUMNS`: `method` names what gave low and high, `note` says why something is
        NaN, or what to beware of, and `coverage` how often an interval of this method is known to hold the
        truth (`coverage.expected`; NaN where that is not known, or the level is another).

    Raises:
        ConfigError: resamples or level out of range.
    """
    end_points = end_points or {}
    drawn = bootstrap.intervals(
        y_true, probabilities, groups, classes, resamples, seed, level, ordered, end_points
    )
    decided = metrics.decide(probabilities)
    known = of_shares(y_true, decided, groups, classes, level)
    known |= _ratios(y_true, decided, groups, classes, level)
    known |= _areas(y_true, probabilities, groups, classes, level)
    for name, lowest in end_points.items():
        known |= _end_point(
            name, endpoints.labels(y_true, lowest), endpoints.score(probabilities, lowest), groups, level
        )
    single = len(np.unique(groups)) == 1
    drawn.loc[["ece"], ["low", "high", "bca_low", "bca_high"]] = np.nan
    known["ece"] = Estimate(float(drawn["value"]["ece"]), note=SHRINKING)
    estimates = [known.get(str(name)) or resampled(row, single) for name, row in drawn.iterrows()]
    found = pd.DataFrame(estimates, index=drawn.index)[["low", "high", "method", "note"]]
    if word := of_the_present(y_true, classes):
        metric = found.index.astype(str)
        average = metric.str.startswith(("macro_", "weighted_")) | metric.isin(OVER_CLASSES)
        found.loc[average, "note"] = [f"{note}; {word}" if note else word for note in found["note"][average]]
    found["coverage"] = (
        _covered(found.assign(value=drawn["value"]), groups) if level == coverage.LEVEL else np.nan
    )
    names = {"low": "percentile_low", "high": "percentile_high"}
    return drawn.rename(columns=names).join(found)[list(COLUMNS)]


def of_shares(
    y_true: np.ndarray, decided: np.ndarray, groups: np.ndarray, classes: Sequence[str], level: float
) -> dict[str, Estimate]:
    """Every metric that is a share of samples, by its name in `metrics.shares`, or why it is not defined."""
    found = {}
    for name, (hits, counted) in metrics.shares(y_true, decided, classes).items():
        share = proportions.estimate(hits, counted, groups, level)
        found[name] = share if counted.any() else replace(share, note=NOBODY[name.split("_")[0]])
    return found


def _ratios(
    y_true: np.ndarray, decided: np.ndarray, groups: np.ndarray, classes: Sequence[str], level: float
) -> dict[str, Estimate]:
    return {
        f"lr_{sign}_{name}": likelihood_ratios.estimate(answered, y_true == k, groups, level)
        for k, name in enumerate(classes)
        for sign, answered in (("plus", decided == k), ("minus", decided != k))
    }


def _areas(
    y_true: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, classes: Sequence[str], level: float
) -> dict[str, Estimate]:
    found = {
        f"auc_{name}": delong.estimate(probabilities[:, k], y_true == k, groups, level)
        for k, name in enumerate(classes)
    }
    areas = ("auc", "macro_auc", "weighted_auc")  # of two classes one and the same
    return found | (dict.fromkeys(areas, found[f"auc_{classes[1]}"]) if len(classes) == 2 else {})


def _end_point(
    name: str, positive: np.ndarray, score: np.ndarray, groups: np.ndarray, level: float
) -> dict[str, Estimate]:
    """Of what metrics.csv says of an end point: at one half, a threshold that no data chose."""
    found = of_shares(positive, (score > 0.5).astype(np.int64), groups, ("no", "yes"), level)
    found["auc"] = delong.estimate(score, positive == 1, groups, level)
    return {f"{ours}_{name}": found[theirs] for ours, theirs in endpoints.MEASURES.items()}


def resampled(row: pd.Series, alone: bool, undefined: str = "not defined on these samples") -> Estimate:
    """What a row of `bootstrap.resampled` amounts to: the BCa interval, or why there is none.

    Args:
        row: Value, low, high and bca_low, bca_high of one metric.
        alone: Whether all samples are of one group.
        undefined: Why the value is not defined, where it is not.
    """
    value = float(row["value"])
    if np.isnan(value):
        return Estimate(value, note=undefined)
    if np.isnan(row["low"]):
        return Estimate(value, note=ALONE if alone else FEW)
    if np.isclose(row["low"], row["high"], rtol=ROUNDING, atol=0.0):
        return Estimate(value, note=AGREEING)
    if np.isnan(row["bca_low"]):  # where nearly every resample lies on one side
        return Estimate(value, float(row["low"]), float(row["high"]), RESAMPLED)
    return Estimate(value, float(row["bca_low"]), float(row["bca_high"]), CORRECTED)


def of_the_present(y_true: np.ndarray, classes: Sequence[str]) -> str:
    """A word for averages over classes where they are of fewer than the model answers; otherwise empty."""
    absent = [name for k, name in enumerate(classes) if not (y_true == k).any()]
    return f"no sample of {', '.join(absent)}: of the classes that are present" if absent else ""


def _covered(table: pd.DataFrame, groups: np.ndarray) -> list[float]:
    """What each interval is known to cover; where `shares` took the plain form, no group counts twice.

    Studies are simulated with equal groups: unequal ones are as many as they are worth.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    number = proportions.worth(sizes)
    rows = zip(table.index.astype(str), table["method"], table["value"].astype(float), strict=True)
    return [
        coverage.expected(
            metric, method, number, value, len(sizes) < len(groups) and method != proportions.WILSON
        )
        for metric, method, value in rows
    ]
