"""Where yes begins: thresholds of an end point's score, chosen on validation and never on test."""

import math
from dataclasses import dataclass

import numpy as np

from fibrolab.choices import refuse, unknown

HALF, YOUDEN, SENSITIVITY, SPECIFICITY = "half", "youden", "sensitivity", "specificity"
RULES = (HALF, YOUDEN, SENSITIVITY, SPECIFICITY)
TARGET = 0.9


@dataclass(frozen=True)
class Threshold:
    """From which score on the answer is yes.

    Attributes:
        value: NaN where validation does not define it.
        rule: One of `RULES`.
        note: Why there is none, or what to beware of; otherwise empty.
    """

    value: float
    rule: str
    note: str = ""

    def is_positive(self, scores: np.ndarray) -> np.ndarray:
        """Whether each score means yes, bool (N,): from the threshold on, or beyond one half.

        An observed score belongs to its own side; one half favours nobody, so a tie is no.
        """
        assert not math.isnan(self.value), "a threshold that validation does not define answers nothing"
        return scores > self.value if self.rule == HALF else scores >= self.value


def chosen(scores: np.ndarray, positive: np.ndarray, rule: str, target: float = TARGET) -> Threshold:
    """The threshold that a rule takes from validation.

    Candidates are the scores of validation themselves, yes meaning `score >= threshold`:

    - `half`: 0.5, whatever the data;
    - `youden`: the largest sensitivity + specificity - 1 (Youden, Cancer 3:32-35, 1950); of equals the
      lowest, which finds most of the diseased, as one screens;
    - `sensitivity`: the highest whose sensitivity reaches the target;
    - `specificity`: the lowest whose specificity reaches the target.

    What is promised holds on validation alone; test tells what is left of it.

    Args:
        scores: Of the validation rows, higher for positive (N,).
        positive: Whether each has reached the end point, bool (N,).
        rule: One of `RULES`.
        target: Sensitivity or specificity aimed at, above 0 and up to 1.

    Returns:
        The threshold; NaN with a note where validation lacks one of the two classes, or where no score of
        it parts off so many negatives.

    Raises:
        ConfigError: An unknown rule, or a target out of range.
    """
    faults = [] if rule in RULES else [unknown("rule", rule, RULES)]
    if not 0 < target <= 1:
        faults.append(f"target={target} is no share to aim at: give one above 0 and up to 1, such as 0.9.")
    refuse(faults)
    if rule == HALF:
        return Threshold(0.5, rule)
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if len(scores) == 0:
        return Threshold(math.nan, rule, "no validation rows to choose it on")
    if positive.all() or not positive.any():
        which = "has" if positive.all() else "lacks"
        return Threshold(math.nan, rule, f"every validation row {which} the end point: nothing to part")
    candidates = np.unique(scores)
    found, alarms = (_at_least(scores[side], candidates) for side in (positive, ~positive))  # counts
    row = _row(rule, found, alarms, int(positive.sum()), int((~positive).sum()), target)
    if row is None:
        kept = f"{100 * target:g} % of the validation rows without the end point"
        return Threshold(math.nan, rule, f"no threshold says no to {kept} and yes to anybody")
    note = "says yes to every validation row" if row == 0 else ""
    return Threshold(float(candidates[row]), rule, note)


def _at_least(scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """How many scores reach each candidate, int64 like `candidates`."""
    return len(scores) - np.searchsorted(np.sort(scores), candidates, side="left")


def _row(
    rule: str, found: np.ndarray, alarms: np.ndarray, positives: int, negatives: int, target: float
) -> int | None:
    """Which candidate the rule takes, of true and false positives (C,) at ascending candidates."""
    if rule == YOUDEN:
        return int((found * negatives - alarms * positives).argmax())  # whole numbers: equals are equal
    if rule == SENSITIVITY:
        return int(np.flatnonzero(found / positives >= target)[-1])  # the lowest candidate finds all
    reached = np.flatnonzero((negatives - alarms) / negatives >= target)
    return int(reached[0]) if len(reached) else None
