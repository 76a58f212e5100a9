"""What a headline number is worth without looking at a single image."""

from collections.abc import Mapping

import numpy as np

from fibrolab.evaluation.endpoints import labels
from fibrolab.evaluation.measures.metrics import evaluate


def majority(
    train_labels: np.ndarray, test_labels: np.ndarray, endpoints: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Scores of always answering the commonest class of the training part (of equals the first).

    Args:
        train_labels: Class indices of the training samples (N,).
        test_labels: Class indices of the test samples (M,).
        endpoints: Name and lowest positive class of each end point.

    Returns:
        Baselines by metric name. Accuracy, balanced accuracy and macro F1 are those of that answer on the
        test part; a constant score ranks nothing, so every AUC and Obuchowski's index are 0.5 and kappa is
        0. `auc`, `obuchowski` and `qwk` stand there even if the task has no such metric. Of an end point,
        `accuracy_NAME` is that of its own commoner answer, and `auc_NAME` 0.5.
    """
    train_labels, test_labels = np.asarray(train_labels), np.asarray(test_labels)
    assert len(train_labels) > 0, "no training samples"
    answer = np.bincount(train_labels).argmax()
    num_classes = max(train_labels.max(), test_labels.max()) + 1
    constant = np.tile(np.arange(num_classes) == answer, (len(test_labels), 1)).astype(float)
    values = evaluate(test_labels, constant, [str(k) for k in range(num_classes)], ordered=False)
    scored = {name: float(values[name][0]) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    baselines = scored | {"macro_auc": 0.5, "weighted_auc": 0.5, "auc": 0.5, "obuchowski": 0.5, "qwk": 0.0}
    for name, lowest in (endpoints or {}).items():
        of_two = majority(labels(train_labels, lowest), labels(test_labels, lowest))
        baselines |= {f"accuracy_{name}": of_two["accuracy"], f"auc_{name}": of_two["auc"]}
    return baselines
