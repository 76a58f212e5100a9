"""Stratified assignment of whole groups to parts: the random draw behind every split."""

from collections.abc import Sequence

import numpy as np


def apportion(
    labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Assign whole groups to parts so that every part gets its proportion of every class.

    Groups come in order of falling size (in octaves, shuffled within one, so that seeds differ) and each
    goes to the part where it raises `sum_ck (n_ck - t_ck)^2 / t_ck` least, with `n_ck` samples of class
    k in part c and `t_ck` the number it should hold. For groups of one sample this is the method of
    Sainte-Laguë, so a class lands within one sample of its proportion.

    Args:
        labels: Class of every sample, int64 (N,).
        groups: Group of every sample as 0 .. G-1, int64 (N,).
        shares: Proportion of each part; they sum to one.
        rng: Source of the shuffle.

    Returns:
        Part of every sample, int64 (N,).
    """
    num_groups, num_classes = int(groups.max()) + 1, int(labels.max()) + 1
    members = np.zeros((num_groups, num_classes))
    np.add.at(members, (groups, labels), 1)
    target = np.outer(shares, members.sum(axis=0))
    weight = np.divide(1, target, out=np.zeros_like(target), where=target > 0)
    octave = np.floor(np.log2(members.sum(axis=1)))
    order = np.lexsort((rng.permutation(num_groups), -octave))
    held = np.zeros_like(target)
    home = np.empty(num_groups, np.int64)
    for group in order:
        new = members[group]
        rise = ((2 * (held - target) + new) * new * weight).sum(axis=1)
        home[group] = rise.argmin()
        held[home[group]] += new
    return home[groups]
