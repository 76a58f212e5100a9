"""Confidence interval of each metric, by the method with the best coverage in simulations (`coverage`)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fibrolab.evaluation import endpoints
from fibrolab.evaluation.intervals import bootstrap, coverage, delong, likelihood_ratios, proportions
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import catalogue, decisions, metrics
from fibrolab.evaluation.measures.catalogue import AVERAGES

COLUMNS = (
    "value", "mean", "sd", "low", "high", "n_valid", "method", "note",
    "coverage", "percentile_low", "percentile_high", "bca_low", "bca_high",
)  # fmt: skip
CORRECTED, RESAMPLED = "BCa", "percentile"  # methods of metrics that are neither proportions nor areas
ROUNDING = 1e-12  # relative difference of means of equal numbers, which depends on their order
FEW = "fewer than nine tenths of the resamples define it: too few groups of a class"
AGREEING = "every resample gives the same value: the bootstrap cannot estimate its uncertainty"
ONE_GROUP = "one group only: no interval can be drawn from it"


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
    """Compute every metric with the interval of the method that its record in the catalogue names.

    Proportions have Wilson's interval, areas DeLong's, likelihood ratios Simel's, others the BCa bootstrap's;
    where a group has several samples, in the clustered forms. Mean and SD over resamples and both bootstrap
    intervals are given too.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class (N, K).
        groups: The patient, or the cluster of copies, of every sample (N,).
        classes: The K class names.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.
        level: Nominal coverage.
        ordered: Whether the classes are stages.
        end_points: Name and lowest positive class of each.

    Returns:
        Index `metric`, columns `COLUMNS`: `method` names the method of low and high, `note` says why a number
        is NaN or how it is limited, and `coverage` is the simulated coverage of such an interval
        (`coverage.expected`; NaN where it is not known, or for another level).

    Raises:
        ConfigError: resamples or level out of range.
    """
    end_points = end_points or {}
    drawn = bootstrap.intervals(
        y_true, probabilities, groups, classes, resamples, seed, level, ordered, end_points
    )
    known = _by_class(y_true, probabilities, groups, classes, level)
    known |= of_proportions(y_true, decisions.decide(probabilities), groups, classes, level)
    for name, lowest in end_points.items():
        known |= _end_point(
            name, endpoints.labels(y_true, lowest), endpoints.score(probabilities, lowest), groups, level
        )
    single = len(np.unique(groups)) == 1
    for metric in catalogue.METRICS:
        if metric.interval == "none" and metric.name in drawn.index:
            drawn.loc[[metric.name], ["low", "high", "bca_low", "bca_high"]] = np.nan
            known[metric.name] = Estimate(float(drawn["value"][metric.name]), note=metric.note)
    estimates = [known.get(str(name)) or resampled(row, single) for name, row in drawn.iterrows()]
    found = pd.DataFrame(estimates, index=drawn.index)[["low", "high", "method", "note"]]
    if word := of_present_classes(y_true, classes):
        average = [catalogue.over_classes(str(name)) for name in found.index]
        found.loc[average, "note"] = [f"{note}; {word}" if note else word for note in found["note"][average]]
    found["coverage"] = (
        _covered(found.assign(value=drawn["value"]), groups) if level == coverage.LEVEL else np.nan
    )
    names = {"low": "percentile_low", "high": "percentile_high"}
    return drawn.rename(columns=names).join(found)[list(COLUMNS)]


def of_proportions(
    y_true: np.ndarray, y_pred: np.ndarray, groups: np.ndarray, classes: Sequence[str], level: float
) -> dict[str, Estimate]:
    """Estimate every metric that is a proportion of samples; a note says why one is not defined.

    Args:
        y_true: Class indices (N,).
        y_pred: Predicted class (N,).
        groups: The patient, or the cluster of copies, of every sample (N,).
        classes: The K class names.
        level: Nominal coverage.

    Returns:
        Estimates by name, as in `metrics.proportions`.
    """
    found = {}
    for name, (hits, counted) in metrics.proportions(y_true, y_pred, classes).items():
        proportion = proportions.estimate(hits, counted, groups, level)
        metric = catalogue.find(name)
        assert metric is not None, name
        found[name] = proportion if counted.any() else replace(proportion, note=metric.when_empty)
    return found


def _by_class(
    y_true: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, classes: Sequence[str], level: float
) -> dict[str, Estimate]:
    """Estimate likelihood ratios and areas of each class against the rest."""
    y_pred = decisions.decide(probabilities)
    found = {}
    for metric in catalogue.by_class():
        for k, name in enumerate(classes):
            if metric.interval == "likelihood ratio":
                test_result = y_pred == k if metric.higher_is_better else y_pred != k
                estimate = likelihood_ratios.estimate(test_result, y_true == k, groups, level)
            elif metric.interval == "area":
                estimate = delong.estimate(probabilities[:, k], y_true == k, groups, level)
            else:
                continue
            found[f"{metric.name}_{name}"] = estimate
        if metric.interval == "area" and len(classes) == 2:  # all of them are the same area
            area = found[f"{metric.name}_{classes[1]}"]
            found |= dict.fromkeys((metric.name, *(f"{mean}_{metric.name}" for mean in AVERAGES)), area)
    return found


def _end_point(
    name: str, positive: np.ndarray, score: np.ndarray, groups: np.ndarray, level: float
) -> dict[str, Estimate]:
    """Estimate the metrics of an end point at a threshold of one half, which no data chose."""
    found = of_proportions(positive, (score > 0.5).astype(np.int64), groups, ("no", "yes"), level)
    found["auc"] = delong.estimate(score, positive == 1, groups, level)
    return {f"{ours}_{name}": found[theirs] for ours, theirs in endpoints.MEASURES.items()}


def resampled(row: pd.Series, one_group: bool, undefined: str = "not defined on these samples") -> Estimate:
    """Return the BCa interval of a bootstrapped metric, or a note why there is none.

    Args:
        row: Row of `bootstrap.resampled`: value, low, high, bca_low and bca_high of one metric.
        one_group: Whether all samples are of one group.
        undefined: Why the value is not defined, where it is not.
    """
    value = float(row["value"])
    if np.isnan(value):
        return Estimate(value, note=undefined)
    if np.isnan(row["low"]):
        return Estimate(value, note=ONE_GROUP if one_group else FEW)
    if np.isclose(row["low"], row["high"], rtol=ROUNDING, atol=0.0):
        return Estimate(value, note=AGREEING)
    if np.isnan(row["bca_low"]):  # where nearly every resample lies on one side
        return Estimate(value, float(row["low"]), float(row["high"]), RESAMPLED)
    return Estimate(value, float(row["bca_low"]), float(row["bca_high"]), CORRECTED)


def of_present_classes(y_true: np.ndarray, classes: Sequence[str]) -> str:
    """Return a note on the classes that an average leaves out as no sample has them; empty if there are none.

    Args:
        y_true: Class indices (N,).
        classes: Names of the K classes.
    """
    absent = [name for k, name in enumerate(classes) if not (y_true == k).any()]
    return f"no sample of {', '.join(absent)}: averaged over the classes that are present" if absent else ""


def _covered(table: pd.DataFrame, groups: np.ndarray) -> list[float]:
    """Look up the simulated coverage of each interval.

    Studies are simulated with equal groups: unequal ones count by their effective number. Where Wilson's
    plain interval was taken, no group has two counted samples.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    number = proportions.effective_groups(sizes)
    rows = zip(table.index.astype(str), table["method"], table["value"].astype(float), strict=True)
    return [
        coverage.expected(
            metric, method, number, value, len(sizes) < len(groups) and method != proportions.WILSON
        )
        for metric, method, value in rows
    ]
