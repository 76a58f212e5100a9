"""The metrics of a classifier, for one weighting of the samples or for a thousand at once.

A bootstrap resample of a test set is the test set with whole-number weights, so that no row is ever copied:
every function takes weights (R, N) and returns R values.

Undefined values are NaN, never 0:

- sensitivity and AUC of a class that is absent, specificity and AUC where no other class is present;
- precision of a class that is never predicted, NPV of a class that is always predicted;
- LR+ of a class without a false positive, LR- of a class without a true negative;
- F1 of a class neither present nor predicted (present and never predicted, it is 0);
- quadratic weighted kappa where truth and prediction are one and the same single class;
- Obuchowski's index where fewer than two classes are present;
- Obuchowski's index and every macro average in a resample that lacks a class of the data: over fewer classes
  they are other quantities, whose spread says nothing about theirs.

Averages run over the classes that are present in the truth. In them, as in scikit-learn
(`zero_division=0`), a class that is never predicted counts with precision 0, and one that is always predicted
with NPV 0: a model must not raise its average by never predicting a class.
"""

from collections.abc import Sequence

import numpy as np

from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.measures.catalogue import Outcome
from fibrolab.evaluation.measures.weighted import Weights


def evaluate(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    weights: Weights | None = None,
    ordered: bool = True,
) -> dict[str, np.ndarray]:
    """Compute every metric of the catalogue on a test set.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class (N, K), rows summing to one; the most probable class is predicted.
        classes: The K class names.
        weights: One row a resample (R, N); None weights every sample once (R = 1).
        ordered: Whether the classes are stages; otherwise metrics that need an order are left out.

    Returns:
        float64 (R,) by name: the metrics of all classes together; `macro_X` and `weighted_X` (by class
        frequency) of those averaged over classes; with two classes `auc` of the second; then `X_CLASS`, each
        class against the rest. `mae` is in stages, `log_loss` in nats.
    """
    y_true = np.asarray(y_true)
    assert probabilities.shape == (len(y_true), len(classes)), "one probability a sample and class"
    assert len(y_true) > 0, "no samples"
    if weights is None:
        weights = np.ones((1, len(y_true)))
    samples = catalogue.ScoredSamples(y_true, probabilities, weights)
    values: dict[str, np.ndarray] = {}
    each: dict[str, np.ndarray] = {}  # (R, K)
    for metric in catalogue.METRICS:
        if metric.ordered and not ordered:
            continue
        found = metric.function(samples)
        if not metric.by_class:
            values[metric.name] = found
            continue
        each[metric.name] = found
        if metric.averaged:
            averaged = np.nan_to_num(found) if metric.undefined_counts_as_zero else found
            values[f"macro_{metric.name}"] = samples.macro(averaged)
            values[f"weighted_{metric.name}"] = samples.weighted(averaged)
    if len(classes) == 2:
        values |= {m.name: each[m.name][:, 1] for m in catalogue.by_class() if m.interval == "area"}
    return values | {
        f"{x}_{name}": found[:, k] for k, name in enumerate(classes) for x, found in each.items()
    }


def proportions(y_true: np.ndarray, y_pred: np.ndarray, classes: Sequence[str]) -> dict[str, Outcome]:
    """Find the hits and the counted samples of each metric that is a proportion of samples.

    An interval of a proportion needs them (`intervals.proportions.estimate`), where `evaluate` gives the
    value alone.

    Args:
        y_true: Class indices (N,).
        y_pred: Predicted class (N,).
        classes: The K class names.

    Returns:
        Hits and counted samples, bool (N,) each, by metric, such as `accuracy` and `npv_CLASS`; the metric is
        the proportion of hits among the counted.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    counting = [(metric, metric.counts) for metric in catalogue.METRICS if metric.counts is not None]
    found = {metric.name: counts(y_true, y_pred) for metric, counts in counting if not metric.by_class}
    for k, name in enumerate(classes):
        for metric, counts in counting:
            if metric.by_class:
                found[f"{metric.name}_{name}"] = counts(y_true == k, y_pred == k)
    return found
