"""What an arm decides of each row: what the intervals and tests of its shares and ratios are made of."""

import numpy as np

from fibrolab.evaluation.comparison.arms import AT_THRESHOLDS, CLASSES, HEADLINE, RATES, Arm, Measure, Task
from fibrolab.evaluation.measures import metrics


def decisions(
    arm: Arm, measure: Measure, task: Task, training: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Who is positive, and who is said to be: bool (N,) each; None without a threshold.

    Args:
        arm: The arm.
        measure: Of a class, or of an end point at its threshold.
        task: What is asked.
        training: Which of its answers.
    """
    answer = arm.answers[training]
    if measure.family == AT_THRESHOLDS:
        return arm.labels >= task.endpoints[measure.of], answer.positive[measure.of]
    assert answer.probabilities is not None, "a marker names no class"
    k = task.classes.index(measure.of)
    return arm.labels == k, metrics.decide(answer.probabilities) == k


def hits(arm: Arm, measure: Measure, task: Task, training: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
    """Which rows are right, and which of them count: bool (N,) each; None of what is no share of the rows.

    Args:
        arm: The arm.
        measure: What is counted.
        task: What is asked.
        training: Which of its answers.
    """
    if measure == Measure(HEADLINE, "accuracy"):
        probabilities = arm.answers[training].probabilities
        assert probabilities is not None, "a marker names no class"
        right = metrics.decide(probabilities) == arm.labels
        return right, np.ones_like(right)
    if measure.family not in (CLASSES, AT_THRESHOLDS) or not measure.of:
        return None
    ill, yes = decisions(arm, measure, task, training)
    if yes is None:
        return None
    counted = metrics.shares(ill, yes.astype(int), ("no", "yes"))
    return counted.get(f"{RATES.get(measure.metric, measure.metric)}_yes")
