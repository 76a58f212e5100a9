"""`endpoints.csv`: every end point at thresholds chosen on the validation part, by sample and patient."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import endpoints, patients, predictions
from fibrolab.evaluation.intervals import bootstrap, by_metric, delong, likelihood_ratios
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import decisions, thresholds
from fibrolab.evaluation.measures.thresholds import Threshold
from fibrolab.evaluation.measures.weighted import Weights

COLUMNS = (
    "level", "endpoint", "rule", "threshold", "metric", "value", "low", "high", "method", "note",
)  # fmt: skip
MEASURES = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "lr_plus", "lr_minus", "f1",
)  # fmt: skip
OF_SAMPLES = {  # proportions of samples: name among the metrics of the two classes "no" and "yes"
    "accuracy": "accuracy",
    "sensitivity": "sensitivity_yes",
    "specificity": "specificity_yes",
    "ppv": "precision_yes",
    "npv": "npv_yes",
}
RESAMPLED = ("balanced_accuracy", "f1")  # measures that are neither proportions nor ratios of two


def table(
    frame: pd.DataFrame,
    classes: Sequence[str],
    end_points: Mapping[str, int],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    levels: Sequence[str] = (patients.SAMPLE, "patient"),
) -> pd.DataFrame:
    """Evaluate each end point on the test part: its AUC, and its decisions by every rule of `thresholds`.

    Thresholds are chosen on the validation rows of the same level, never on test rows; in a cross-validation
    each fold has its own. Intervals: of the area
    by DeLong, of proportions by Wilson, of likelihood ratios on the logarithm (all in their clustered forms
    where a group has several rows), of the rest by the BCa bootstrap over groups, for the threshold as it was
    chosen: they do not include its variation over validation parts.

    Args:
        frame: Predictions of validation and test, as `predictions.read` returns them.
        classes: Names of the K classes.
        end_points: Name and lowest positive class of each, as `endpoints.of_task` returns them.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.
        level: Nominal coverage.
        levels: Some of `patients.LEVELS`. Those of patients are left out where no patient has several test
            rows of one stage, since they would repeat those of samples.

    Returns:
        Columns `COLUMNS`; rule is empty and threshold NaN for the AUC. Undefined values are NaN, with the
        reason in `note`.

    Raises:
        DataError: No test rows, or another number of classes.
        ConfigError: An unknown level, or resamples or level out of range.
    """
    bootstrap.check(resamples, level)
    predictions.refuse_other_classes(frame, classes)
    several = patients.repeated(frame)
    rows = [
        {"level": name} | row
        for name in levels
        if name == patients.SAMPLE or several
        for row in _rows(patients.at_level(frame, name), end_points, resamples, seed, level)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Point(NamedTuple):
    """A threshold of an end point, and its decisions on the test rows."""

    threshold: Threshold
    positive: np.ndarray  # bool (N,)
    predicted: np.ndarray  # bool (N,); False, and never used, where the threshold is not defined


def _rows(
    frame: pd.DataFrame, end_points: Mapping[str, int], resamples: int, seed: int, level: float
) -> Iterator[dict[str, object]]:
    """Yield the rows of one level: of each end point the AUC, then every measure by every rule."""
    test = predictions.select(frame, keys.TEST)
    groups = test[keys.GROUP_ID].to_numpy()
    points = {name: _points(frame, test, lowest) for name, lowest in end_points.items()}
    resampled = _resampled_measures(
        [point for of_one in points.values() for point in of_one], groups, resamples, seed, level
    )
    for name, of_one in points.items():
        scores = endpoints.score(predictions.probabilities(test), end_points[name])
        area = delong.estimate(scores, of_one[0].positive, groups, level)
        yield {"endpoint": name, "rule": "", "threshold": math.nan, "metric": "auc"} | area.columns()
        for point in of_one:
            bootstrapped, threshold = next(resampled), point.threshold
            shared = {"endpoint": name, "rule": threshold.rule, "threshold": threshold.value}
            found = bootstrapped | decision_measures(point.predicted, point.positive, groups, level)
            for metric in MEASURES:
                estimate = Estimate(math.nan) if math.isnan(threshold.value) else found[metric]
                yield shared | {"metric": metric} | estimate.columns(threshold.note)


def _points(frame: pd.DataFrame, test: pd.DataFrame, lowest: int) -> list[_Point]:
    """Apply the threshold of every rule to an end point."""

    def score(rows: pd.DataFrame) -> np.ndarray:
        return endpoints.score(predictions.probabilities(rows), lowest)

    positive = (test[keys.Y_TRUE] >= lowest).to_numpy()
    points, scored = [], _Scored.of(frame, score, lowest)
    for rule in thresholds.RULES:
        threshold, decided = scored.decide(rule)
        predicted = np.zeros(len(test), dtype=bool) if decided is None else decided
        points.append(_Point(threshold, positive, predicted))
    return points


def usual_rule(frame: pd.DataFrame) -> str:
    """Return the rule by which a run decides: Youden's index, or one half if it has no validation rows.

    Args:
        frame: Its predictions of validation and test.
    """
    has_validation = (frame[keys.PARTITION] == keys.VALIDATION).any()
    return thresholds.YOUDEN if has_validation else thresholds.HALF


def decide(
    frame: pd.DataFrame, score: Callable[[pd.DataFrame], np.ndarray], lowest: int, rule: str
) -> tuple[Threshold, np.ndarray | None]:
    """Decide on the test rows by thresholds that are chosen on validation, of each fold for its test rows.

    Args:
        frame: Predictions of validation and test.
        score: Function that returns the score of each of some rows.
        lowest: Lowest positive class of the end point.
        rule: One of `thresholds.RULES`.

    Returns:
        The threshold, of several folds their mean, and the decisions, bool (N,); None where a fold has no
        threshold.
    """
    return _Scored.of(frame, score, lowest).decide(rule)


class _Scored(NamedTuple):
    """Scores of an end point, for any number of rules."""

    test: np.ndarray  # of the test rows (N,)
    folds: list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # test positions; validation scores and labels

    @classmethod
    def of(cls, frame: pd.DataFrame, score: Callable[[pd.DataFrame], np.ndarray], lowest: int) -> "_Scored":
        """Score the test rows and the validation rows of each fold; arguments as of `decide`."""
        folds = [
            (rows, score(validation), (validation[keys.Y_TRUE] >= lowest).to_numpy())
            for rows, validation in predictions.by_fold(frame)
        ]
        return cls(score(frame[frame[keys.PARTITION] == keys.TEST]), folds)

    def decide(self, rule: str) -> tuple[Threshold, np.ndarray | None]:
        """Return what `decide` returns."""
        each, decided = [], np.zeros(len(self.test), dtype=bool)
        for rows, validation, positive in self.folds:
            threshold = thresholds.chosen(validation, positive, rule)
            if not math.isnan(threshold.value):
                decided[rows] = threshold.is_positive(self.test[rows])
            each.append(threshold)
        joint = thresholds.joint(each)
        return joint, None if math.isnan(joint.value) else decided


def decision_measures(
    predicted: np.ndarray, positive: np.ndarray, groups: np.ndarray, level: float = 0.95
) -> dict[str, Estimate]:
    """Estimate the measures of a binary decision that need no bootstrap.

    Args:
        predicted: Predicted positive, bool (N,).
        positive: Has the end point, bool (N,).
        groups: Independent unit of each row: patient or cluster (N,).
        level: Nominal coverage.

    Returns:
        Accuracy, sensitivity, specificity, PPV, NPV and both likelihood ratios, by their names in `MEASURES`.
    """
    known = by_metric.of_proportions(
        positive.astype(int), predicted.astype(int), groups, ("no", "yes"), level
    )
    found = {ours: known[theirs] for ours, theirs in OF_SAMPLES.items()}
    for name, result in (("lr_plus", predicted), ("lr_minus", ~predicted)):
        found[name] = likelihood_ratios.estimate(result, positive, groups, level)
    return found


def _resampled_measures(
    points: Sequence[_Point], groups: np.ndarray, resamples: int, seed: int, level: float
) -> Iterator[dict[str, Estimate]]:
    """Yield the measures of each point that need a bootstrap, all from the same resamples."""
    if not points:
        return
    measure = _measure(points)
    one_group = len(np.unique(groups)) == 1
    found = bootstrap.resampled(measure, groups, resamples, seed, level)
    rows = {str(name): row for name, row in found.iterrows()}
    for number, point in enumerate(points):
        yield {
            metric: _resampled(metric, rows[f"{number} {metric}"], point.positive, one_group)
            for metric in RESAMPLED
        }


def _measure(points: Sequence[_Point]) -> Callable[[Weights | None], dict[str, np.ndarray]]:
    """Return a function that computes balanced accuracy and F1 of every point under weights of the rows."""
    n = len(points[0].positive)
    cells = np.zeros((n, len(points), 2, 2))  # true, predicted
    for number, point in enumerate(points):
        cells[np.arange(n), number, point.positive.astype(int), point.predicted.astype(int)] = 1.0

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        weights = np.ones((1, n)) if weights is None else weights
        matrices = (weights @ cells.reshape(n, -1)).reshape(len(weights), len(points), 2, 2)
        values = {}
        for number in range(len(points)):
            rates = {name: found[:, 1] for name, found in decisions.rates(matrices[:, number]).items()}
            values[f"{number} balanced_accuracy"] = (rates["sensitivity"] + rates["specificity"]) / 2
            values[f"{number} f1"] = rates["f1"]
        return values

    return measure


def _resampled(metric: str, row: pd.Series, positive: np.ndarray, one_group: bool) -> Estimate:
    """Return one measure with its interval, or with a note why there is none."""
    every = "every" if positive.all() else "no"
    undefined = f"{every} test row has the end point{', and none is predicted positive' * (metric == 'f1')}"
    return by_metric.resampled(row, one_group, undefined)
