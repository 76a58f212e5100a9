"""Placement values: the contribution of each row, or group of rows, to an area under a ROC curve."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fibrolab.errors import DataError
from fibrolab.evaluation.intervals.proportions import effective_groups

Groups = Sequence[str] | np.ndarray  # (N,)


def components(scores: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the area of one arm and the contribution of each row to it, by midranks in O(N log N).

    Sun and Xu, IEEE Signal Process Lett 21:1389-1393, 2014. Ranks are integers or halves, so that the
    area is exact to one rounding: 0, 1 and equal arms are recognised.

    Args:
        scores: Finite, higher means more likely positive (N,).
        positive: Truth, bool (N,), with m > 0 positive and n > 0 negative rows.

    Returns:
        The area A; (V10 - A) / m of the positive rows (m,); (V01 - A) / n of the negative rows (n,).
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    won = ranks[positive] - rankdata(scores[positive])  # negatives below each positive
    lost = ranks[~positive] - rankdata(scores[~positive])  # positives below each negative
    m, n = len(won), len(lost)
    area = float(won.sum()) / (m * n)
    return area, (won / n - area) / m, (1.0 - lost / m - area) / n


def by_row(ours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the covariance of M areas of independent rows, (M, M).

    DeLong et al., Biometrics 44:837-845, 1988.

    Args:
        ours: Components of the positive rows (M, m), m > 1.
        others: Components of the negative rows (M, n), n > 1.
    """
    m, n = ours.shape[1], others.shape[1]
    return m / (m - 1) * (ours @ ours.T) + n / (n - 1) * (others @ others.T)


def by_group(
    ours: np.ndarray, others: np.ndarray, groups_of_ours: np.ndarray, groups_of_others: np.ndarray
) -> np.ndarray:
    """Compute the covariance of M areas of independent groups of rows, (M, M).

    Obuchowski, Biometrics 53:567-578, 1997. A variance is never negative: the factors of the squares are at
    least that of the products, so that the sum is at least that of the squared sums of each group.

    Args:
        ours: Components of the positive rows (M, m).
        others: Components of the negative rows (M, n).
        groups_of_ours: Group index of each positive row (m,), at least two groups.
        groups_of_others: Group index of each negative row (n,), at least two groups.
    """
    numbers = np.concatenate([groups_of_ours, groups_of_others])
    units, size = len(np.unique(numbers)), int(numbers.max()) + 1
    p, q = len(np.unique(groups_of_ours)), len(np.unique(groups_of_others))
    a = np.stack([np.bincount(groups_of_ours, row, size) for row in ours])  # (M, groups)
    b = np.stack([np.bincount(groups_of_others, row, size) for row in others])
    products = a @ b.T  # not 0 where a group has rows of both classes
    squares = p / (p - 1) * (a @ a.T) + q / (q - 1) * (b @ b.T)
    return squares + units / (units - 1) * (products + products.T)


def degrees_of_freedom(
    ours: np.ndarray, others: np.ndarray, groups_of_ours: np.ndarray, groups_of_others: np.ndarray
) -> np.ndarray:
    """Compute the degrees of freedom of the variance of each of M areas, float64 (M,).

    Satterthwaite, Biometrics Bull 2:110-114, 1946, of the contributions of positive and negative groups to
    the variance, each with one degree less than its effective number of groups (`effective_groups`). With 10
    to 150 groups of very unequal size, nominal 95 % intervals covered 78 to 86 % by the normal distribution
    and 89 to 94 % by Student's t.

    Args:
        ours: As for `by_group` (M, m).
        others: As for `by_group` (M, n).
        groups_of_ours: As for `by_group` (m,).
        groups_of_others: As for `by_group` (n,).

    Returns:
        Infinite where an area has no variance.
    """
    total, squares = np.zeros(len(ours)), np.zeros(len(ours))
    for components, groups in ((ours, groups_of_ours), (others, groups_of_others)):
        part = (np.stack([np.bincount(groups, row) for row in components]) ** 2).sum(axis=1)
        total += part
        # A group that holds none adds nothing.
        squares += part**2 / (effective_groups(np.bincount(groups)) - 1.0)
    return np.divide(total**2, squares, out=np.full(len(ours), np.inf), where=squares > 0)


def numbered(groups: Groups) -> np.ndarray:
    """Return the group index of each row (N,); by hashing, which is faster than sorting a million names.

    Raises:
        DataError: A row has no group.
    """
    codes, _ = pd.factorize(np.asarray(groups))
    if (codes < 0).any():
        raise DataError(f"{(codes < 0).sum()} of {len(codes)} rows have no group: name the patient of each.")
    return codes


def refuse_not_finite(scores: np.ndarray) -> None:
    """Refuse scores (M, N) that cannot be ordered.

    Raises:
        DataError: A score is not finite.
    """
    wrong = np.argwhere(~np.isfinite(scores))
    if len(wrong):
        arm, row = wrong[0]
        raise DataError(
            f"{len(wrong)} of {scores.size} scores are not finite (the first, {scores[arm, row]}, in row "
            f"{row}): leave these rows out, or correct what wrote them."
        )
