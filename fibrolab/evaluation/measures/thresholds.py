"""Decision thresholds of an end point's score, chosen on the validation part and never on the test part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fibrolab.choices import refuse, unknown

HALF, YOUDEN, SENSITIVITY, SPECIFICITY = "half", "youden", "sensitivity", "specificity"
RULES = (HALF, YOUDEN, SENSITIVITY, SPECIFICITY)
TARGET = 0.9


@dataclass(frozen=True)
class Threshold:
    """Decision threshold: a score at or above it is positive.

    Attributes:
        value: Threshold; NaN where the validation part does not define it.
        rule: One of `RULES`.
        note: Why there is none, or how it is limited; otherwise empty.
    """

    value: float
    rule: str
    note: str = ""

    def is_positive(self, scores: np.ndarray) -> np.ndarray:
        """Return where scores are positive, bool (N,): at or above the threshold, or above one half.

        A threshold that is an observed score counts as positive; a tie with one half counts as negative.
        """
        assert not math.isnan(self.value), "the validation part defines no threshold"
        return scores > self.value if self.rule == HALF else scores >= self.value


def chosen(scores: np.ndarray, positive: np.ndarray, rule: str, target: float = TARGET) -> Threshold:
    """Choose a threshold on the validation part.

    Candidates are the validation scores themselves; `score >= threshold` is positive:

    - `half`: 0.5, whatever the data;
    - `youden`: the largest sensitivity + specificity - 1 (Youden, Cancer 3:32-35, 1950); of equal
      ones the lowest, which finds most of the diseased, as in screening;
    - `sensitivity`: the highest whose sensitivity reaches the target;
    - `specificity`: the lowest whose specificity reaches the target.

    The target is met on the validation part; the test part shows what remains of it.

    Args:
        scores: Scores of the validation rows, higher for positive (N,).
        positive: Whether each row has the end point, bool (N,).
        rule: One of `RULES`.
        target: Sensitivity or specificity aimed at, above 0 and up to 1.

    Returns:
        The threshold; NaN with a note where validation lacks one of the two classes, or where no score
        reaches the specificity.

    Raises:
        ConfigError: An unknown rule, or a target out of range.
    """
    faults = [] if rule in RULES else [unknown("rule", rule, RULES)]
    if not 0 < target <= 1:
        faults.append(
            f"target={target} cannot be reached: give a proportion above 0 and up to 1, such as 0.9."
        )
    refuse(faults)
    if rule == HALF:
        return Threshold(0.5, rule)
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if len(scores) == 0:
        return Threshold(math.nan, rule, "no validation rows to choose it on")
    if positive.all() or not positive.any():
        which = "has" if positive.all() else "lacks"
        return Threshold(math.nan, rule, f"every validation row {which} the end point: nothing to separate")
    candidates = np.unique(scores)
    found, alarms = (_at_least(scores[side], candidates) for side in (positive, ~positive))  # counts
    row = _row(rule, found, alarms, int(positive.sum()), int((~positive).sum()), target)
    if row is None:
        kept = f"{100 * target:g} % of the validation rows without the end point"
        return Threshold(math.nan, rule, f"no threshold is negative for {kept} and positive for any row")
    note = "every validation row is predicted positive" if row == 0 else ""
    return Threshold(float(candidates[row]), rule, note)


def joint(each: Sequence[Threshold]) -> Threshold:
    """Return the threshold to print for decisions that were made by those of several folds: their mean."""
    first, *others = each
    if not others or first.rule == HALF:
        return first
    undefined = [one for one in each if math.isnan(one.value)]
    if undefined:
        return Threshold(
            math.nan, first.rule, f"in {len(undefined)} of {len(each)} folds: {undefined[0].note}"
        )
    mean = sum(one.value for one in each) / len(each)
    return Threshold(
        mean, first.rule, f"mean of {len(each)} thresholds, each fitted on validation of its fold"
    )


def _at_least(scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Count the scores at or above each candidate, int64 like `candidates`."""
    return len(scores) - np.searchsorted(np.sort(scores), candidates, side="left")


def _row(
    rule: str, found: np.ndarray, alarms: np.ndarray, positives: int, negatives: int, target: float
) -> int | None:
    """Return the index of the chosen candidate, given true and false positives (C,) of all candidates."""
    if rule == YOUDEN:
        return int((found * negatives - alarms * positives).argmax())  # integers, so that ties are exact
    if rule == SENSITIVITY:
        return int(np.flatnonzero(found / positives >= target)[-1])  # the lowest candidate finds all
    reached = np.flatnonzero((negatives - alarms) / negatives >= target)
    return int(reached[0]) if len(reached) else None
