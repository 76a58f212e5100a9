"""Circular reference standards: a marker is held against a label that was made from it.

Such a marker agrees with the label by construction (incorporation bias; Whiting et al., Ann Intern Med
155:529-536, 2011, QUADAS-2), and so does every marker that is computed from the same values.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fibrolab.evaluation.clinical.markers import MARKERS
from fibrolab.evaluation.intervals import delong

PERFECT = 0.9995  # area from which it is printed as 1.000; below 1 where rounded values tie at the cut-off
FEW = 10  # rows of a class, below which a perfect separation may be chance


def stated(columns: Sequence[str], label_from: str) -> str:
    """Return why a marker is circular by what the user states; empty if it is not.

    Args:
        columns: Columns that the marker is computed from.
        label_from: Marker of `markers.MARKERS` or column that the label was made from; empty: not stated.
    """
    made_of = MARKERS[label_from].needs if label_from in MARKERS else (label_from,)
    return f"circular: the label was made from {label_from}" if set(columns) & set(made_of) else ""


def detected(scores: np.ndarray, endpoints: Mapping[str, np.ndarray]) -> str:
    """Return why a marker is circular by its numbers; empty if it is not.

    A marker that separates an end point perfectly, in either direction, is suspect at all end points.

    Args:
        scores: Scores (N,); NaN where the marker is not known.
        endpoints: Whether each row has the end point, bool (N,), by its name.
    """
    known = np.isfinite(scores)
    for name, positive in endpoints.items():
        area = delong.areas(scores[known], positive[known])
        value, fewest = float(area.values[0]), min(area.n_positive, area.n_negative)
        if value >= PERFECT or value <= 1 - PERFECT:
            chance = "; with so few patients also by chance" if fewest < FEW else ""
            reason = f"its AUC of {value:.3f} for {name} is that of a label made from it"
            return f"probably circular: {reason}{chance}"
    return ""
