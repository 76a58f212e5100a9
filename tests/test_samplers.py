"""Samplers: the order of an epoch, the count of repeats, and the shares of the ranks."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.data import samplers
from fibrolab.data.samplers import EpochSampler, build_sampler
from fibrolab.errors import ConfigError


def keys_of_rank(monkeypatch: pytest.MonkeyPatch, sampler: EpochSampler, rank: int, ranks: int) -> list:
    monkeypatch.setattr(samplers, "_rank", lambda: (rank, ranks))
    assert len(sampler) == len(list(sampler))
    return list(sampler)


@given(st.integers(0, 60), st.integers(0, 2**32), st.integers(0, 50))
def test_shuffling_yields_every_sample_once_in_an_order_fixed_by_seed_and_epoch(
    n: int, seed: int, epoch: int
) -> None:
    sampler, twin = EpochSampler(n, seed=seed), EpochSampler(n, seed=seed)
    list(sampler)  # what was iterated before must not matter
    for each in (sampler, twin):
        each.set_epoch(epoch)
    assert list(sampler) == list(twin) == list(sampler)
    assert sorted(sampler) == [(epoch, i, 0) for i in range(n)]


def test_epochs_and_seeds_differ() -> None:
    orders = set()
    for seed in range(3):
        sampler = EpochSampler(50, seed=seed)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            orders.add(tuple(index for _, index, _ in sampler))
    assert len(orders) == 9


def test_sequential_keeps_the_order_of_the_dataset() -> None:
    assert list(build_sampler("sequential", np.zeros(3), seed=4)) == [(0, 0, 0), (0, 1, 0), (0, 2, 0)]


def test_the_weighted_sampler_makes_rare_classes_as_frequent_as_common_ones() -> None:
    labels = np.repeat([0, 1, 2], [8000, 1500, 500])
    drawn = labels[[index for _, index, _ in build_sampler("weighted", labels, seed=0)]]
    assert len(drawn) == 10_000
    # Binomial with p = 1/3: standard deviation 47.
    assert np.abs(np.bincount(drawn) - 10_000 / 3).max() < 5 * 47


def test_a_sample_of_weight_zero_is_never_drawn() -> None:
    sampler = EpochSampler(4, seed=0, weights=np.array([0.0, 1.0, 0.0, 3.0]))
    assert {index for epoch in range(20) for _, index, _ in (sampler.set_epoch(epoch) or sampler)} == {1, 3}


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_draws_count_the_repeats_of_an_index_in_order(order: list[int]) -> None:
    seen: Counter[int] = Counter()
    expected = []
    for index in order:
        expected.append(seen[index])
        seen[index] += 1
    assert samplers._repeats(np.array(order)).tolist() == expected


def test_no_key_comes_twice_in_an_epoch_even_when_samples_do() -> None:
    keys = list(build_sampler("weighted", np.repeat([0, 1], [95, 5]), seed=1))
    assert len(set(keys)) == len(keys) == 100
    assert max(draw for _, _, draw in keys) > 3


@pytest.mark.parametrize("name", samplers.SAMPLERS)
@pytest.mark.parametrize("ranks", [1, 2, 3, 7, 30])
def test_ranks_share_the_order_that_one_process_would_see(
    monkeypatch: pytest.MonkeyPatch, name: str, ranks: int
) -> None:
    labels = np.repeat([0, 1], [15, 5])
    sampler = build_sampler(name, labels, seed=3)
    sampler.set_epoch(2)
    alone = keys_of_rank(monkeypatch, sampler, 0, 1)
    shares = [keys_of_rank(monkeypatch, sampler, rank, ranks) for rank in range(ranks)]
    assert {len(share) for share in shares} == {-(-20 // ranks)}
    together = [key for keys in zip(*shares, strict=True) for key in keys]
    assert together[:20] == alone
    assert [index for _, index, _ in together[20:]] == [index for _, index, _ in alone[: len(together) - 20]]
    assert len(set(together)) == len(together)  # padding repeats samples, but as new draws


def test_an_unknown_sampler_is_named_with_what_is_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"'weigthed'.*shuffle, sequential, weighted.*did you mean 'weighted'"
    ):
        build_sampler("weigthed", np.zeros(3), seed=0)
