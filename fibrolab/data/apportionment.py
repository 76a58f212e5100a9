"""Stratified assignment of whole groups to parts: the random draw behind every split."""

from collections.abc import Sequence

import numpy as np


def apportion(
    labels: np.ndarray, groups: np.ndarray, proportions: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Assign whole groups to parts so that every part gets its proportion of every class.

    Groups are assigned from the largest to the smallest; groups of similar size (within a factor of two) are
    shuffled, so that seeds differ. Each goes to the part where it increases `sum_ck (n_ck - t_ck)^2 / t_ck`
    least, where part c has `n_ck` samples of class k and should have `t_ck`. For groups of one sample this is
    the method of Sainte-Laguë, and the size of every class in every part is within one sample of its target.

    Args:
        labels: Class of every sample, int64 (N,).
        groups: Group of every sample as 0 .. G-1, int64 (N,).
        proportions: Proportion of the samples in each part; they sum to one.
        rng: Generator of the shuffle.

    Returns:
        Part of every sample, int64 (N,).
    """
    num_groups, num_classes = int(groups.max()) + 1, int(labels.max()) + 1
    counts = np.zeros((num_groups, num_classes))
    np.add.at(counts, (groups, labels), 1)
    target = np.outer(proportions, counts.sum(axis=0))
    weight = np.divide(1, target, out=np.zeros_like(target), where=target > 0)
    octave = np.floor(np.log2(counts.sum(axis=1)))
    order = np.lexsort((rng.permutation(num_groups), -octave))
    assigned = np.zeros_like(target)
    part = np.empty(num_groups, np.int64)
    for group in order:
        new = counts[group]
        increase = ((2 * (assigned - target) + new) * new * weight).sum(axis=1)
        part[group] = increase.argmin()
        assigned[part[group]] += new
    return part[groups]
