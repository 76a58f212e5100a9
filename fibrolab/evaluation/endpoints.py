"""Binary end points of a model of ordered stages, such as F2 or worse: sums of its probabilities."""

from collections.abc import Mapping, Sequence

import numpy as np

from fibrolab.choices import refuse
from fibrolab.evaluation.measures import decisions, ranking
from fibrolab.evaluation.measures.weighted import Weights, ratio

# Name in metrics.csv: name among the metrics of the two classes "no" and "yes".
MEASURES = {
    "auc": "auc",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity_yes",
    "specificity": "specificity_yes",
}


def check(endpoints: Mapping[str, int], classes: Sequence[str], ordered: bool = True) -> None:
    """Refuse end points that the classes do not allow.

    Args:
        endpoints: Name and lowest positive class of each, such as `{"ge_F2": 2}`.
        classes: Names of the K classes, in order.
        ordered: Whether the classes are stages.

    Raises:
        ConfigError: The classes have no order, no or every class would be positive, or the end point
            has the name of a class, whose metrics it would overwrite.
    """
    faults = []
    for name, lowest in endpoints.items():
        if not ordered:
            faults.append(
                f"task.endpoints.{name}: the classes {', '.join(classes)} are not stages; leave it out."
            )
        elif lowest not in range(1, len(classes)):
            allowed = f"the number of a class from 1 to {len(classes) - 1}"
            faults.append(
                f"task.endpoints.{name}={lowest} leaves no negative or no positive class: give {allowed}."
            )
        if name in classes:
            faults.append(f"task.endpoints.{name} has the name of a class: call it ge_{name}.")
    refuse(faults)


def of_task(classes: Sequence[str], endpoints: Mapping[str, int], ordered: bool = True) -> dict[str, int]:
    """Return the end points of a task: with two classes the second one, with stages those it names.

    Args:
        classes: Names of the K classes, in order.
        endpoints: End points of the settings: name and lowest positive class.
        ordered: Whether the classes are stages; three or more unordered classes have no end point.
    """
    if len(classes) == 2:
        return {classes[1]: 1}
    return dict(endpoints) if ordered else {}


def labels(y_true: np.ndarray, lowest: int) -> np.ndarray:
    """Return 1 where the class index (N,) is `lowest` or above, otherwise 0, int64 (N,)."""
    return (np.asarray(y_true) >= lowest).astype(np.int64)


def score(probabilities: np.ndarray, lowest: int) -> np.ndarray:
    """Sum the probabilities (N, K) of the classes from `lowest` up, float64 (N,)."""
    return probabilities[:, lowest:].sum(axis=1)


def evaluate(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    endpoints: Mapping[str, int],
    weights: Weights | None = None,
) -> dict[str, np.ndarray]:
    """Compute AUC, accuracy, sensitivity and specificity of every end point.

    A sample is predicted positive where its score exceeds 0.5, even if the most probable single stage is
    below the end point.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class (N, K).
        endpoints: Name and lowest positive class of each.
        weights: One row a resample (R, N); None weights every sample once (R = 1).

    Returns:
        float64 (R,) under `MEASURE_NAME`, such as `auc_ge_F2`; NaN where it is not defined.
    """
    values: dict[str, np.ndarray] = {}
    for name, lowest in endpoints.items():
        truth, scores = labels(y_true, lowest), score(probabilities, lowest)
        matrix = decisions.confusion_matrix(truth, scores > 0.5, 2, weights)
        yes = {x: found[:, 1] for x, found in decisions.rates(matrix).items()}
        values[f"auc_{name}"] = ranking.area(scores, truth == 1, weights)
        values[f"accuracy_{name}"] = ratio(np.trace(matrix, axis1=1, axis2=2), matrix.sum(axis=(1, 2)))
        values |= {f"{x}_{name}": yes[x] for x in ("sensitivity", "specificity")}
    return values
