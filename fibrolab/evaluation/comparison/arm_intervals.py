"""Intervals of the measures of one arm; for a single training, the same as in the report of the run."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from fibrolab.evaluation.comparison.arms import (
    AT_THRESHOLDS,
    CLASSES,
    END_POINTS,
    Arm,
    Measure,
    Task,
    binary_decisions,
    counted_hits,
    limits,
    measured,
    values_under_weights,
)
from fibrolab.evaluation.comparison.contrasts import WITH_SEEDS
from fibrolab.evaluation.comparison.training_seeds import spread
from fibrolab.evaluation.intervals import bootstrap, by_metric, delong, likelihood_ratios, proportions
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import catalogue

NO_THRESHOLD = "validation gave no threshold: it lacks one of the two sides"
LACKING = "the test part lacks a class that it needs"
EMPTY = "one of the two masks is empty in every image"
OF_RATIOS = "no interval for a mean of ratios: see those of sensitivity and specificity"

Draws = dict[Measure, np.ndarray]  # (S, R), trainings by resamples


def estimates(
    arm: Arm, task: Task, draws: Draws, level: float = 0.95
) -> Iterator[tuple[Measure, np.ndarray, Estimate]]:
    """Yield each measure of an arm, its value by training (S,), and their mean with its interval.

    With one training, a proportion has Wilson's interval, an area DeLong's, a likelihood ratio Simel's, all
    others the BCa bootstrap's, as in the report of the run. The interval of a mean of several trainings is
    computed from the variance over patients and trainings, see `training_seeds`.

    Args:
        arm: The arm, on rows whose scores are known.
        task: Classes and end points.
        draws: As `arms.resampled_values` returns them.
        level: Nominal coverage.
    """
    left_out = {}
    if len(arm.predictions) == 1 and not arm.is_marker and len(np.unique(arm.groups)) > 1:
        left_out = values_under_weights(arm, task, bootstrap.leave_out(arm.groups))
    word = "" if task.unit else by_metric.of_present_classes(arm.labels, task.classes)
    for measure, values in measured(arm, task).items():
        value = float(values.mean())
        if why := _undefined(arm, measure, value, task):
            found = Estimate(value, note=why)
        elif len(values) == 1:
            found = _of_one(arm, measure, value, task, draws[measure][0], left_out.get(measure), level)
        else:
            found = _of_several(arm, measure, values[:, 0], task, draws[measure], level)
        if word and catalogue.over_classes(measure.metric):
            found = replace(found, note="; ".join(filter(None, (found.note, word))))
        yield measure, values[:, 0], found


def _undefined(arm: Arm, measure: Measure, value: float, task: Task) -> str:
    """Return why a measure has no value; empty if it has one, or if the reason is not known."""
    if math.isfinite(value):
        return ""
    if task.unit:
        return EMPTY
    if measure.family == AT_THRESHOLDS and any(each.positive[measure.of] is None for each in arm.predictions):
        return NO_THRESHOLD
    ill = _positive(arm, measure, task)
    if ill.all() or not ill.any():
        return LACKING
    return "not defined in every training" if len(arm.predictions) > 1 else ""


def _positive(arm: Arm, measure: Measure, task: Task) -> np.ndarray:
    """Return the rows with the class or end point; of all classes, those with the first that occurs."""
    if measure.family == CLASSES and measure.of:
        return arm.labels == task.classes.index(measure.of)
    return arm.labels >= task.endpoints[measure.of] if measure.of else arm.labels == arm.labels[0]


def _is_likelihood_ratio(measure: Measure) -> bool:
    metric = catalogue.find(measure.metric)
    return metric is not None and metric.interval == "likelihood ratio"


def _of_one(
    arm: Arm,
    measure: Measure,
    value: float,
    task: Task,
    draws: np.ndarray,
    left_out: np.ndarray | None,
    level: float,
) -> Estimate:
    if measure.metric == "auc":
        prediction = arm.predictions[0]
        if measure.family == END_POINTS:
            scores = prediction.scores[measure.of]
        else:
            assert prediction.probabilities is not None, "a marker predicts no class"
            scores = prediction.probabilities[:, task.classes.index(measure.of)]
        return delong.estimate(scores, _positive(arm, measure, task), arm.groups, level)
    if _is_likelihood_ratio(measure):
        ill, yes = binary_decisions(arm, measure, task)
        assert yes is not None, "handled above"
        result = yes if measure.metric == "lr_plus" else ~yes
        return likelihood_ratios.estimate(result, ill, arm.groups, level)
    if (counts := counted_hits(arm, measure, task)) is not None:
        return proportions.estimate(*counts, arm.groups, level)
    row = bootstrap.summary(value, draws, draws if left_out is None else left_out[0], level)
    return by_metric.resampled(pd.Series(row), left_out is None)


def _of_several(
    arm: Arm, measure: Measure, values: np.ndarray, task: Task, draws: np.ndarray, level: float
) -> Estimate:
    value, groups = float(values.mean()), len(np.unique(arm.groups))
    if _is_likelihood_ratio(measure):
        return Estimate(value, note=OF_RATIOS)
    found = spread([values], [draws], arm.effective_groups)
    if found is None:
        return Estimate(value, note=by_metric.ONE_GROUP if groups < 2 else by_metric.FEW)
    if found.error == 0 and (counts := _agreed(arm, measure, task)) is not None:
        return proportions.estimate(*counts, arm.groups, level)
    low, high, why = found.interval(value, level, limits(measure, task))
    return Estimate(value, low, high, "" if why else WITH_SEEDS, why)


def _agreed(arm: Arm, measure: Measure, task: Task) -> tuple[np.ndarray, np.ndarray] | None:
    """Return hits and counted rows of a proportion for which all trainings agree; None otherwise."""
    each = [counted_hits(arm, measure, task, training) for training in range(len(arm.predictions))]
    known = [counts for counts in each if counts is not None]
    alike = all(
        np.array_equal(of, known[0][1]) and np.array_equal(right[of], known[0][0][of]) for right, of in known
    )
    return known[0] if known and alike else None
