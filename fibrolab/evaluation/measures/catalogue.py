"""The catalogue of metrics: one record for each, which holds everything that the package knows of it.

Scoring, intervals, baselines, comparisons, MLflow and the report read these records, so that adding a metric
takes one record and its test.

Two names derive from a metric that is measured class against the rest: `NAME_CLASS`, such as
`sensitivity_F3`, and, where it is averaged, `macro_NAME` and `weighted_NAME` (by class frequency).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np

from fibrolab.evaluation.measures import decisions, probability_quality, ranking
from fibrolab.evaluation.measures.weighted import Weights, average, ratio
from fibrolab.evaluation.segmentation import image_measures

AVERAGES = ("macro", "weighted")
AGREEMENT = "agreement_with_maps"  # prefix of measures against pseudo-masks, which are no anatomy
SYNONYMS = {"ppv": "precision"}  # name at the threshold of an end point: name in the catalogue

Interval = Literal["proportion", "area", "likelihood ratio", "bootstrap", "none"]
Outcome = tuple[np.ndarray, np.ndarray]  # hits and counted samples, bool (N,) each
Counts = Callable[[np.ndarray, np.ndarray], Outcome]


@dataclass(frozen=True)
class ScoredSamples:
    """A test set and its predictions under R weightings.

    Attributes:
        y_true: Class indices (N,).
        probabilities: One column a class (N, K), rows summing to one.
        weights: One row a resample (R, N).
    """

    y_true: np.ndarray
    probabilities: np.ndarray
    weights: Weights

    @cached_property
    def matrix(self) -> np.ndarray:
        """Confusion matrix of every weighting, float64 (R, K, K)."""
        predicted = decisions.decide(self.probabilities)
        return decisions.confusion_matrix(self.y_true, predicted, self.probabilities.shape[1], self.weights)

    @cached_property
    def rates(self) -> dict[str, np.ndarray]:
        """Rates of each class against the rest by name, float64 (R, K); see `decisions.rates`."""
        return decisions.rates(self.matrix)

    @cached_property
    def support(self) -> np.ndarray:
        """Weight of the samples of each class, float64 (R, K)."""
        return self.matrix.sum(axis=2)

    def macro(self, values: np.ndarray) -> np.ndarray:
        """Average values (R, K) over the classes of the data, (R,); NaN where a weighting lacks one."""
        present = np.unique(self.y_true)
        complete = (self.support[:, present] > 0).all(axis=1)
        return np.where(complete, values[:, present].mean(axis=1), np.nan)

    def weighted(self, values: np.ndarray) -> np.ndarray:
        """Average values (R, K) by class frequency, (R,)."""
        return average(values, self.support)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Name in `metrics.csv`.
        label: Name on pages and figures.
        function: Computes, of `ScoredSamples`, float64 (R,) or, if `by_class`, (R, K) with each class against
            the rest; NaN where the metric is not defined. Of `MASK_METRICS`: of a `MaskPair`, a number.
        interval: Method of the confidence interval: Wilson's for a proportion of samples, DeLong's for an
            area under the ROC curve, Simel's for a likelihood ratio, otherwise the BCa bootstrap's.
        higher_is_better: Which end is the better one.
        baseline: Value that a constant prediction reaches whatever the data; `measured` where it depends on
            the data; None where no baseline is given. If `by_class`, `measured` is that of the macro average.
        by_class: Whether it is measured for each class against the rest.
        averaged: If `by_class`, whether averages over the classes are taken.
        undefined_counts_as_zero: In averages, as in scikit-learn (`zero_division=0`): a model must not raise
            its average by never predicting a class.
        over_classes: Whether it averages over the classes that are present, which its name does not say.
        ordered: Whether it needs ordered classes.
        counts: For a proportion: hits and counted samples of the true and the predicted condition, bool (N,)
            each if `by_class`, otherwise class indices (N,).
        when_empty: For a proportion: why it is undefined when no sample counts.
        note: For `interval="none"`: why there is no interval.
        least: Smallest value that it can have.
        largest: Largest value; None: the number of classes less one.
        percent: Whether pages print it as a percentage.
        of_probabilities: Whether it judges the probabilities themselves rather than decisions or ranks.
        headline: Whether it is one of the headline numbers; if `by_class`, its macro average is.
        compared_from: Smallest number of classes for which arms are compared in it; 0: never. With two
            classes several metrics would repeat the area of the end point.
    """

    name: str
    label: str
    function: Callable[[Any], Any]
    interval: Interval = "bootstrap"
    higher_is_better: bool = True
    baseline: float | Literal["measured"] | None = None
    by_class: bool = False
    averaged: bool = True
    undefined_counts_as_zero: bool = False
    over_classes: bool = False
    ordered: bool = False
    counts: Counts | None = None
    when_empty: str = ""
    note: str = ""
    least: float = 0.0
    largest: float | None = 1.0
    percent: bool = False
    of_probabilities: bool = False
    headline: bool = False
    compared_from: int = 0

    def __post_init__(self) -> None:
        assert (self.interval == "proportion") == (self.counts is not None), f"{self.name}: counts"

    @property
    def overall(self) -> str:
        """Name of the value over all classes: its own or that of its macro average."""
        return f"macro_{self.name}" if self.by_class else self.name

    @property
    def unbounded(self) -> bool:
        """Return whether the largest value depends on the classes, as it does for errors in stages."""
        return self.largest is None or math.isinf(self.largest)

    def limits(self, num_classes: int) -> tuple[float, float]:
        """Return the smallest and the largest value that it can have."""
        return self.least, num_classes - 1.0 if self.largest is None else self.largest


def _rate(name: str) -> Callable[[ScoredSamples], np.ndarray]:
    return lambda samples: samples.rates[name]


def _accuracy(samples: ScoredSamples) -> np.ndarray:
    return ratio(np.trace(samples.matrix, axis1=1, axis2=2), samples.support.sum(axis=1))


def _mean(losses: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[ScoredSamples], np.ndarray]:
    """Return a function that computes the weighted mean of a loss over the samples."""
    return lambda samples: ratio(
        samples.weights @ losses(samples.y_true, samples.probabilities), samples.weights.sum(axis=1)
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        "accuracy",
        "Accuracy",
        _accuracy,
        interval="proportion",
        counts=lambda true, predicted: (true == predicted, np.ones(len(true), dtype=bool)),
        baseline="measured",
        percent=True,
        headline=True,
        compared_from=2,
    ),
    Metric(
        "sensitivity",
        "Sensitivity",
        _rate("sensitivity"),
        interval="proportion",
        counts=lambda present, predicted: (predicted, present),
        when_empty="no positive sample",
        by_class=True,
        percent=True,
    ),
    Metric(
        "specificity",
        "Specificity",
        _rate("specificity"),
        interval="proportion",
        counts=lambda present, predicted: (~predicted, ~present),
        when_empty="no negative sample",
        by_class=True,
        percent=True,
    ),
    Metric(
        "precision",
        "Precision",
        _rate("precision"),
        interval="proportion",
        counts=lambda present, predicted: (present, predicted),
        when_empty="no sample is predicted positive",
        by_class=True,
        undefined_counts_as_zero=True,
        percent=True,
    ),
    Metric(
        "npv",
        "NPV",
        _rate("npv"),
        interval="proportion",
        counts=lambda present, predicted: (~present, ~predicted),
        when_empty="no sample is predicted negative",
        by_class=True,
        undefined_counts_as_zero=True,
        percent=True,
    ),
    Metric("f1", "F1", _rate("f1"), by_class=True, baseline="measured"),
    Metric(
        "auc",
        "AUC",
        lambda samples: ranking.auc(samples.y_true, samples.probabilities, samples.weights),
        interval="area",
        by_class=True,
        baseline=0.5,
        headline=True,
        compared_from=3,
    ),
    Metric(
        "lr_plus",
        "LR+",
        _rate("lr_plus"),
        interval="likelihood ratio",
        by_class=True,
        averaged=False,
        largest=math.inf,
    ),
    Metric(
        "lr_minus",
        "LR\u2212",
        _rate("lr_minus"),
        interval="likelihood ratio",
        higher_is_better=False,
        by_class=True,
        averaged=False,
        largest=math.inf,
    ),
    Metric(
        "balanced_accuracy",
        "Balanced accuracy",
        lambda samples: samples.macro(samples.rates["sensitivity"]),
        over_classes=True,
        baseline="measured",
        percent=True,
        compared_from=2,
    ),
    Metric(
        "qwk",
        "Quadratic weighted kappa",
        lambda samples: decisions.quadratic_weighted_kappa(samples.matrix),
        ordered=True,
        baseline=0.0,
        least=-1.0,
        headline=True,
        compared_from=3,
    ),
    Metric(
        "mae",
        "Mean absolute error, in classes",
        lambda samples: decisions.mean_absolute_error(samples.matrix),
        higher_is_better=False,
        ordered=True,
        largest=None,
        compared_from=3,
    ),
    Metric(
        "obuchowski",
        "Obuchowski index",
        lambda samples: ranking.obuchowski(samples.y_true, samples.probabilities, samples.weights),
        over_classes=True,
        ordered=True,
        baseline=0.5,
    ),
    Metric(
        "log_loss",
        "Log loss",
        _mean(probability_quality.log_losses),
        higher_is_better=False,
        largest=math.inf,
        of_probabilities=True,
    ),
    Metric(
        "brier",
        "Brier score",
        _mean(probability_quality.squared_errors),
        higher_is_better=False,
        largest=2.0,
        of_probabilities=True,
    ),
    Metric(
        "ece",
        "Expected calibration error",
        lambda samples: probability_quality.expected_calibration_error(
            samples.y_true, samples.probabilities, samples.weights
        ),
        interval="none",
        note="no interval: resampling adds to an error that chance alone keeps above 0; see calibration.csv",
        higher_is_better=False,
        of_probabilities=True,
    ),
)


MASK_METRICS: tuple[Metric, ...] = (  # of segmentations: of one class in one image
    Metric("dice", "Dice", image_measures.dice, headline=True),
    Metric("iou", "IoU", image_measures.iou, headline=True),
    Metric("sensitivity", "Sensitivity", image_measures.sensitivity, percent=True),
    Metric("specificity", "Specificity", image_measures.specificity, percent=True),
    Metric(
        "hd95",
        "95 % Hausdorff distance",
        image_measures.hd95,
        higher_is_better=False,
        largest=math.inf,
        headline=True,
    ),
    Metric(
        "asd",
        "Average surface distance",
        image_measures.asd,
        higher_is_better=False,
        largest=math.inf,
    ),
)


def by_class(averaged: bool = False) -> list[Metric]:
    """Return the metrics that are measured for each class against the rest.

    Args:
        averaged: Only those of which averages over the classes are taken.
    """
    return [metric for metric in METRICS if metric.by_class and (metric.averaged or not averaged)]


def headline() -> list[str]:
    """Return the names of the headline numbers, such as `accuracy`, `macro_auc` and `qwk`."""
    return [metric.overall for metric in METRICS if metric.headline]


def agreement(name: str) -> str:
    """Return the name of a metric of `MASK_METRICS` that is measured against pseudo-masks."""
    return f"{AGREEMENT}_{name}"


def mask_headline() -> list[str]:
    """Return the names of the headline numbers of a segmentation."""
    return [metric.name for metric in MASK_METRICS if metric.headline]


def compared(num_classes: int, ordered: bool) -> list[str]:
    """Return the names of the metrics of all classes together that arms are compared in."""
    found = [
        metric
        for metric in METRICS
        if 0 < metric.compared_from <= num_classes and (ordered or not metric.ordered)
    ]
    return [metric.overall for metric in sorted(found, key=lambda metric: metric.compared_from)]


def overall() -> list[str]:
    """Return the names of the metrics of all classes together that judge decisions and ranks.

    Areas come as both averages and as the area of two classes.
    """
    found = []
    for metric in METRICS:
        if metric.interval == "area":
            found += [*(f"{mean}_{metric.name}" for mean in AVERAGES), metric.name]
        elif not (metric.by_class or metric.of_probabilities):
            found.append(metric.name)
    return found


def of_probabilities() -> list[str]:
    """Return the names of the metrics that judge the probabilities themselves."""
    return [metric.name for metric in METRICS if metric.of_probabilities]


@cache  # a report looks up thousands
def find(name: str) -> Metric | None:
    """Find the metric that a name derives from, such as `macro_auc`, `npv_F3` or `auc_ge_F2`.

    Args:
        name: As in `metrics.csv` or, of end points, as in `endpoints.csv`.

    Returns:
        The metric; None of a name that is not in the catalogue.
    """
    for mean in (*AVERAGES, AGREEMENT):
        name = name.removeprefix(f"{mean}_")
    known = {metric.name: metric for metric in (*MASK_METRICS, *METRICS)}
    known |= {synonym: known[plain] for synonym, plain in SYNONYMS.items()}
    fitting = [each for each in known if name == each or name.startswith(f"{each}_")]
    return known[max(fitting, key=len)] if fitting else None


def constant_baselines() -> Iterator[tuple[str, float]]:
    """Yield name and value of each metric that a constant prediction scores the same on any data.

    Of an area these are the area of two classes and both averages of several.
    """
    for metric in METRICS:
        if isinstance(metric.baseline, int | float):
            averages = [f"{mean}_{metric.name}" for mean in AVERAGES] if metric.by_class else []
            for name in (*averages, metric.name):
                yield name, float(metric.baseline)


def measured_baselines() -> list[str]:
    """Return the names of the metrics whose value for a constant prediction depends on the data."""
    return [metric.overall for metric in METRICS if metric.baseline == "measured"]


def over_classes(name: str) -> bool:
    """Return whether a value is an average over the classes that are present."""
    metric = find(name)
    averaged = name.startswith(tuple(f"{mean}_" for mean in AVERAGES))
    return averaged or (metric is not None and metric.over_classes and metric.name == name)
