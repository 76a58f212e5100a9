"""Whether something beats chance, where the images of one person are no independent witnesses."""

import numpy as np

from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.audit.findings import ALPHA
from fibrolab.data.audit.protocols import Protocol

BETTER = 0.05  # of accuracy: less is no shortcut worth a warning


def clearly_better(shares: np.ndarray, protocol: Protocol, evidence: Evidence) -> bool:
    """Whether a baseline beats always answering the commonest class by five points, and by more than chance.

    The points are those of the images. For the test every group counts once, with the mean gain of its
    images over the class that is commonest among groups: the commonest among images may be that of a few
    large groups, and over it every guess would gain. So under chance the sum over groups has mean zero at
    most, and `sum / sqrt(sum of squares)` is close to normal however the gains are distributed
    (self-normalised sums: de la Peña, Lai and Shao, Self-Normalized Processes, 2009). One-sided, at `ALPHA`.

    Args:
        shares: The baseline's class shares (N, K).
        protocol: Who is scored.
        evidence: The data.
    """
    from scipy.stats import norm

    rows = np.flatnonzero(protocol.scored & (shares.sum(axis=1) > 0))
    if not len(rows):
        return False
    labels, groups = evidence.labels[rows], np.unique(evidence.group[rows], return_inverse=True)[1]
    right = (shares[rows].argmax(axis=1) == labels).astype(float)
    better = right.mean() - np.bincount(labels).max() / len(labels)
    weight = 1 / np.bincount(groups)[groups]
    commonest = np.bincount(labels, weights=weight).argmax()
    gain = np.bincount(groups, weights=weight * (right - (labels == commonest)))
    return bool(better >= BETTER and gain.sum() > norm.isf(ALPHA) * np.sqrt((gain**2).sum()))
