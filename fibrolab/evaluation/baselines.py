"""Baselines: the scores that are reached without looking at an image, and whether accuracy exceeds them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.endpoints import labels
from fibrolab.evaluation.intervals import proportions
from fibrolab.evaluation.measures import catalogue, decisions
from fibrolab.evaluation.measures.metrics import evaluate

CHANCE = ("chance", "p_chance")  # columns of `with_chance_test`
ROUNDING = 1e-12  # residuals below which groups are equal


def majority(
    train_labels: np.ndarray, test_labels: np.ndarray, endpoints: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Score the constant prediction of the most frequent training class (the first one of a tie).

    Args:
        train_labels: Class indices of the training samples (N,).
        test_labels: Class indices of the test samples (M,).
        endpoints: Name and lowest positive class of each end point.

    Returns:
        Baselines by metric name, as the records in `catalogue` define them, also of metrics that the task
        does not have. Accuracy, balanced accuracy and macro F1 are measured on the test part. A constant
        score does not rank samples: every AUC and Obuchowski's index are 0.5, and kappa is 0. For an end
        point, `accuracy_NAME` is the accuracy of predicting the more frequent of its two classes in training,
        and `auc_NAME` is 0.5.
    """
    train_labels, test_labels = np.asarray(train_labels), np.asarray(test_labels)
    assert len(train_labels) > 0, "no training samples"
    predicted = np.bincount(train_labels).argmax()
    num_classes = max(train_labels.max(), test_labels.max()) + 1
    constant = np.tile(np.arange(num_classes) == predicted, (len(test_labels), 1)).astype(float)
    values = evaluate(test_labels, constant, [str(k) for k in range(num_classes)])
    baselines = {name: float(values[name][0]) for name in catalogue.measured_baselines()}
    baselines |= dict(catalogue.constant_baselines())
    for name, lowest in (endpoints or {}).items():
        binary = majority(labels(train_labels, lowest), labels(test_labels, lowest))
        baselines |= {f"accuracy_{name}": binary["accuracy"], f"auc_{name}": binary["auc"]}
    return baselines


def of_audit(audit: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the baselines that an audit measured under the split of its run.

    Args:
        audit: Content of `audit.json`.

    Returns:
        By baseline, such as `nearest_neighbour`: its accuracy, or a mapping of metrics such as
        `{"accuracy": .71, "macro_auc": .63}`.
    """
    protocols = audit.get("protocols")
    own = protocols.get("run") if isinstance(protocols, Mapping) else None
    found = own or audit.get("baselines")
    return found if isinstance(found, Mapping) else {}


def in_metric(baselines: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Return the value of each baseline in one metric; a baseline that was not measured in it is left out.

    Args:
        baselines: As `of_audit` returns them.
        metric: Name as in `metrics.csv`. With two classes `auc` equals `macro_auc`.
    """
    metric = "macro_auc" if metric == "auc" else metric
    found = {}
    for name, baseline in baselines.items():
        measured = baseline if isinstance(baseline, Mapping) else {"accuracy": baseline}
        value = measured.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            found[str(name)] = float(value)
    return found


def best(constant: Mapping[str, float], audited: Mapping[str, Any]) -> dict[str, float]:
    """Return the best baseline of each metric.

    Args:
        constant: Scores of the constant prediction by metric, as `majority` returns them.
        audited: As `of_audit` returns them.
    """
    found = dict(constant)
    for metric in constant:
        record = catalogue.find(metric)
        better = min if record is not None and not record.higher_is_better else max
        found[metric] = better([constant[metric], *in_metric(audited, metric).values()])
    return found


def with_chance_test(
    table: pd.DataFrame, frame: pd.DataFrame, majority_class: int, classes: Sequence[str]
) -> pd.DataFrame:
    """Add tests against chance, as columns `chance` and `p_chance`.

    Accuracy is tested against that of a constant prediction, the sensitivity of each class against the
    proportion of all samples that are called it (`p_above_call_rate`). The p values are not corrected for
    their number.

    Args:
        table: Index `metric`, as `score.score` returns it.
        frame: The predictions on which it was measured.
        majority_class: Most frequent class of the training part, the constant prediction; a class chosen on
            the test part would bias the test.
        classes: Names of the classes.
    """
    test = predictions.select(frame, keys.TEST)
    truth, groups = test[keys.Y_TRUE].to_numpy(), test[keys.GROUP_ID].to_numpy()
    called = decisions.decide(predictions.probabilities(test))
    constant = truth == majority_class
    known = {"accuracy": (float(constant.mean()), p_superior(called == truth, constant, groups))}
    for number, name in enumerate(classes):
        p = p_above_call_rate(called == number, truth == number, groups)
        known[f"sensitivity_{name}"] = float((called == number).mean()), p
    columns = {name: {metric: each[k] for metric, each in known.items()} for k, name in enumerate(CHANCE)}
    return table.assign(**{name: pd.Series(each).reindex(table.index) for name, each in columns.items()})


def p_above_call_rate(called: np.ndarray, present: np.ndarray, groups: np.ndarray) -> float:
    """Test whether a class is called more often where it is present than among all samples; one-sided p.

    Calls that are independent of the truth reach, as sensitivity, the proportion of all samples that are
    called the class, whatever its size; a constant prediction reaches 1 for one class without any skill. The
    difference of the two proportions is divided by its standard error by group, and compared as in
    `p_superior`.

    Args:
        called: Where the class is predicted, bool (N,).
        present: Where it is true, bool (N,).
        groups: Patient or cluster of each sample (N,).

    Returns:
        NaN where the class is absent, never or always called, or all groups are equal.
    """
    if not present.any():
        return math.nan
    calls = called.astype(float)
    rate, sensitivity = calls.mean(), calls[present].mean()
    influence = present / present.mean() * (calls - sensitivity) - (calls - rate)
    return _p_of_mean(float(sensitivity - rate), influence, groups)


def p_superior(correct: np.ndarray, constant: np.ndarray, groups: np.ndarray) -> float:
    """Test whether one prediction is correct more often than another on the same samples; one-sided p.

    The mean difference over its standard error by group (the ratio estimator), compared with Student's t with
    one degree of freedom fewer than the effective number of groups (`proportions.effective_groups`).

    Args:
        correct: Where the first is correct, bool (N,).
        constant: Where the second is, bool (N,).
        groups: Patient or cluster of each sample (N,).

    Returns:
        NaN where the groups do not differ, or where their effective number is 1.
    """
    gains = correct.astype(float) - constant
    return _p_of_mean(float(gains.mean()), gains - gains.mean(), groups)


def _p_of_mean(mean: float, residuals: np.ndarray, groups: np.ndarray) -> float:
    """Return the one-sided p of a mean above zero, from the residuals of the samples, summed by group."""
    from scipy import stats

    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.bincount(members, residuals)
    effective = proportions.effective_groups(sizes)
    if effective <= 1 or not (np.abs(sums) > ROUNDING).any():
        return math.nan
    error = math.sqrt(len(sizes) / (len(sizes) - 1) * (sums**2).sum()) / len(residuals)
    return float(stats.t.sf(mean / error, effective - 1))
