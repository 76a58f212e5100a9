"""Words for the answer to a sample or a patient, on the page and in DICOM objects."""

from collections.abc import Mapping
from typing import Any

from fibrolab.runs.answering import CONFIDENCE, COPY, DISAGREEMENT, POSITIVE, SET, UNLIKE, Rules


def lines(row: Mapping[str, Any], rules: Rules) -> list[str]:
    """Return confidence, prediction set and end points of an answer, a line each."""
    found = [f"confidence {row[CONFIDENCE]:.2f}", *([f"set {row[SET]}"] if row[SET] else [])]
    for point in rules.endpoints:
        decided = ""
        if point in rules.thresholds:
            decided = " positive" if row[point + POSITIVE] else " negative"
        found.append(f"{point} {row[point]:.2f}{decided}")
    return found


def doubts(row: Mapping[str, Any]) -> list[str]:
    """Return the reasons not to rely on an answer."""
    found = [f"copy of {row[COPY]} of the run"] if row.get(COPY) else []
    if row.get(UNLIKE):
        found.append("unlike the run's training images")
    if row.get(DISAGREEMENT):
        found.append(f"{row[DISAGREEMENT]:.0%} of the networks disagree")
    return found
