"""Shares of the branches of a fusion in an answer: exact Shapley values."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from math import factorial
from typing import Final

import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.explanation.target_scores import Target
from fibrolab.models.fusion import LateFusion
from fibrolab.modules.base import Classifier

FILE: Final = "contributions.csv"  # one row a sample and branch
MOST_BRANCHES = 12  # 2^n evaluations of fusion and head


def mean_features(module: Classifier, batches: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean features (F,) of each branch over the samples that have its input.

    Args:
        module: The classifier, in evaluation mode.
        batches: Batches of the reference samples on its device.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, float] = {}
    network = _network(module)
    with torch.no_grad():
        for batch in batches:
            for name, features in network.features(batch).items():
                present = batch.get(keys.present(network.input_of(name)))
                rows = len(features) if present is None else int(present.sum())
                counts[name] = counts.get(name, 0) + rows
                sums[name] = sums.get(name, torch.zeros_like(features[0])) + features.sum(0)
    return {name: total / max(counts[name], 1) for name, total in sums.items()}


def shapley_values(
    module: Classifier, batch: Mapping[str, Tensor], target: Target, means: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Share the score of each sample, less that of mean features, among the branches.

    phi_b = sum over the sets S of other branches of |S|! (n - |S| - 1)! / n! (v(S + b) - v(S)) (Shapley,
    1953; as an explanation: Strumbelj & Kononenko, JMLR 11, 2010, equation 6). In v(S), branches outside S
    have the mean features of the reference samples. They do not become absent as for a sample that lacks the
    input, because a network that never saw this in training answers it at random. A branch whose input a
    sample lacks has no share.

    Args:
        module: The classifier, in evaluation mode.
        batch: B samples on its device.
        target: The score.
        means: Features of an average sample, see `mean_features`.

    Returns:
        Values (B,) of each branch; their sum is v(all) - v(none).
    """
    network = _network(module)
    names = list(network.branches)
    assert len(names) <= MOST_BRANCHES, f"{len(names)} branches"
    masks = {name: value for name, value in batch.items() if name.endswith(keys.present(""))}
    with torch.no_grad():
        own = network.features(batch)

        def value(there: frozenset[str]) -> Tensor:
            chosen = {
                keys.features(name): own[name] if name in there else means[name].expand_as(own[name])
                for name in names
            }
            return target(module({**chosen, **masks}))

        sets = [frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size)]
        values = {some: value(some) for some in sets}
    return {
        name: sum(
            (_weight(len(some), len(names)) * (values[some | {name}] - values[some]))
            for some in sets
            if name not in some
        )
        + torch.zeros_like(values[sets[0]])
        for name in names
    }


def _weight(size: int, number: int) -> float:
    return factorial(size) * factorial(number - size - 1) / factorial(number)


def _network(module: Classifier) -> LateFusion:
    assert isinstance(module.network, LateFusion)
    return module.network
