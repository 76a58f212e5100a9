"""Samplers: the order of an epoch, the count of repeats, and the keys of each rank."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.data import samplers
from fibrolab.data.samplers import (
    EpochSampler,
    FillUpSampler,
    RankSampler,
    build_sampler,
    check_batch_size,
)
from fibrolab.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "sampler").glob("*.yaml"))


def dealt(sampler: EpochSampler, batch_size: int, ranks: int, drop_last: bool = False) -> list[list]:
    """The keys of each rank."""
    parts = [RankSampler(sampler, batch_size, rank, ranks, drop_last) for rank in range(ranks)]
    assert [len(part) for part in parts] == [len(list(part)) for part in parts]
    return [list(part) for part in parts]


@given(st.integers(0, 60), st.integers(0, 2**32), st.integers(0, 50))
def test_shuffling_yields_every_sample_once_in_an_order_determined_by_seed_and_epoch(
    n: int, seed: int, epoch: int
) -> None:
    sampler, twin = EpochSampler(n, seed=seed), EpochSampler(n, seed=seed)
    list(sampler)  # earlier iterations must have no effect
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


def test_no_key_is_repeated_in_an_epoch_even_if_samples_are() -> None:
    keys = list(build_sampler("weighted", np.repeat([0, 1], [95, 5]), seed=1))
    assert len(set(keys)) == len(keys) == 100
    assert max(draw for _, _, draw in keys) > 3


@given(
    st.sampled_from(samplers.SAMPLERS),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 6),
    st.booleans(),
)
def test_the_ranks_together_have_the_batches_of_one_process(
    name: str, n: int, ranks: int, own: int, drop_last: bool
) -> None:
    sampler, size = build_sampler(name, np.arange(n) % 3, seed=3), ranks * own
    sampler.set_epoch(2)
    alone = list(sampler)
    parts = dealt(sampler, size, ranks, drop_last)
    assert len({len(part) for part in parts}) == 1
    whole = len(alone) // size
    for number in range(whole):
        batches = [part[number * own : (number + 1) * own] for part in parts]
        assert [key for batch in batches for key in batch] == alone[number * size : (number + 1) * size]
    last = [part[whole * own :] for part in parts]
    if drop_last:
        assert not any(last)
        return
    real = [[key[:3] for key in batch if len(key) == 3 or key[3] > 0] for batch in last]
    assert [key for batch in real for key in batch] == alone[whole * size :]  # each sample once
    assert max(map(len, real)) - min(map(len, real)) <= 1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 6))
def test_the_mean_over_ranks_of_a_padded_batch_is_the_mean_over_its_samples(
    losses: list[float], ranks: int, own: int
) -> None:
    size = ranks * own
    batch = [
        part[len(losses) // size * own :]
        for part in dealt(EpochSampler(len(losses), shuffle=False), size, ranks)
    ]
    if any(batch):
        means = [
            np.mean([losses[key[1]] * (key[3] if len(key) > 3 else 1) for key in part]) for part in batch
        ]
        assert np.mean(means) == pytest.approx(np.mean(losses[len(losses) // size * size :]), abs=1e-9)
        assert min(map(len, batch)) >= min(own, 2)  # batch norm cannot train on a single sample


def test_a_batch_that_cannot_be_dealt_out_is_refused_with_the_nearest_sizes() -> None:
    check_batch_size(30, 3)
    with pytest.raises(ConfigError, match=r"batch_size=32 is of all 3 ranks together .* choose 30 or 33\."):
        check_batch_size(32, 3)
    with pytest.raises(ConfigError, match=r"choose 4\."):
        check_batch_size(3, 4)


class_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(class_lists, st.none() | st.integers(1, 40), st.integers(1, 4), st.integers(0, 9))
def test_filling_up_draws_all_samples_of_a_class_equally_often_or_once_more(
    labels: np.ndarray, per_class: int | None, times: int, epoch: int
) -> None:
    sampler = build_sampler("fill_up", labels, seed=1, per_class=per_class, times=times)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    drawn = np.bincount([index for _, index, _ in keys], minlength=len(labels))
    counts = np.bincount(labels)
    wanted = counts.max() if per_class is None else per_class
    for label in np.unique(labels):
        of_class = drawn[labels == label]
        assert of_class.sum() == times * max(counts[label], wanted)
        assert of_class.min() >= times
        assert of_class.max() - of_class.min() <= 1
    assert set(keys) == {(epoch, i, draw) for i, count in enumerate(drawn) for draw in range(count)}
    assert keys == list(sampler)


def test_four_folds_of_paper_3_become_480_draws_of_each_lesion() -> None:
    labels = np.repeat(np.arange(5), [120, 120, 62, 120, 43])
    sampler = build_sampler("fill_up", labels, seed=0, per_class=120, times=4)
    drawn = [index for _, index, _ in sampler]
    assert len(sampler) == len(drawn) == 2400  # the number of training images in the paper
    assert np.bincount(labels[drawn]).tolist() == [480] * 5
    assert drawn == [index for _, index, _ in build_sampler("fill_up", labels, seed=0, times=4)]


def test_the_extra_repeats_change_between_epochs_and_reach_all_samples() -> None:
    sampler = FillUpSampler(np.repeat([0, 1], [15, 10]))
    repeated = []
    for epoch in range(12):
        sampler.set_epoch(epoch)
        repeated.append(frozenset(index for _, index, draw in sampler if draw == 1))
    assert {len(indices) for indices in repeated} == {5}
    assert len(set(repeated)) > 6
    assert frozenset.union(*repeated) == set(range(15, 25))


def test_a_filled_epoch_is_well_mixed() -> None:
    labels = np.repeat([0, 1], [300, 30])
    order = np.array([index for _, index, _ in FillUpSampler(labels)])
    places = np.flatnonzero(labels[order] == 1)
    assert abs(places.mean() - 299.5) < 5 * 173 / np.sqrt(
        300
    )  # standard deviation of a position: 600 / sqrt 12
    assert (order[1:] == order[:-1]).sum() < 20  # repeats are apart; about 4.5 are adjacent by chance


@given(class_lists, st.integers(0, 9), st.sampled_from([1, 2, 3]), st.integers(1, 20))
def test_classes_alternate_in_every_batch_of_every_rank(
    labels: np.ndarray, epoch: int, ranks: int, own: int
) -> None:
    sampler = build_sampler("balanced", labels, seed=1)
    sampler.set_epoch(epoch)
    kinds = np.unique(labels)
    for keys in dealt(sampler, ranks * own, ranks):
        drawn = labels[[key[1] for key in keys if len(key) == 3 or key[3] > 0]]
        for begin in range(0, len(drawn), own):
            counts = [np.sum(drawn[begin : begin + own] == kind) for kind in kinds]
            assert max(counts) - min(counts) <= 1
    alone = list(sampler)
    drawn = labels[[index for _, index, _ in alone]]
    assert len({np.sum(drawn == kind) for kind in kinds}) == 1  # equally often in the epoch
    assert len(labels) <= len(alone) < len(labels) + len(kinds)
    assert len(set(alone)) == len(alone)
    assert {key[0] for key in alone} == {epoch}


@given(class_lists, st.integers(1, 12))
def test_balanced_epochs_together_draw_all_samples_of_a_class_equally_often(
    labels: np.ndarray, epochs: int
) -> None:
    sampler = build_sampler("balanced", labels, seed=2)
    drawn = np.zeros(len(labels), int)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        drawn += np.bincount([index for _, index, _ in sampler], minlength=len(labels))
        for kind in np.unique(labels):
            assert np.ptp(drawn[labels == kind]) <= 1


def test_a_balanced_epoch_does_not_depend_on_those_before_it() -> None:
    labels = np.repeat([0, 1, 2], [50, 9, 3])
    through, straight = (build_sampler("balanced", labels, seed=0) for _ in range(2))
    for epoch in range(8):
        through.set_epoch(epoch)
        orders = list(through)
    straight.set_epoch(7)
    assert list(straight) == orders
    assert list(build_sampler("balanced", labels, seed=5)) != list(build_sampler("balanced", labels, seed=0))


def test_an_empty_partition_has_no_balanced_key() -> None:
    assert list(build_sampler("balanced", np.zeros(0, int), seed=0)) == []


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("fill_up", {"times": 0}, r"sampler\.times: 0 is not a whole number from 1\.$"),
        (
            "fill_up",
            {"per_class": -5},
            r"sampler\.per_class: -5 is not .* or null for the size of the largest",
        ),
        ("fill_up", {"per_class": 1.5}, r"sampler\.per_class: 1\.5 is not"),
        ("fill_up", {"times": None}, r"sampler\.times: None is not"),
        ("weighted", {"times": 4}, r"sampler\.times: the sampler weighted has no such setting"),
        ("balanced", {"times": 4}, r"sampler\.times: the sampler balanced has no such setting"),
    ],
)
def test_a_setting_that_a_sampler_cannot_use_is_named(name: str, settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_sampler(name, np.zeros(3, int), seed=0, **settings)


def test_all_faults_of_the_settings_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 settings.*per_class: 0.*times: 0"):
        build_sampler("fill_up", np.zeros(3, int), seed=0, per_class=0, times=0)


def test_an_unknown_sampler_is_named_with_what_is_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"'weigthed'.*sequential, shuffle, weighted.*Did you mean weighted"
    ):
        build_sampler("weigthed", np.zeros(3), seed=0)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_makes_its_sampler(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())
    assert settings["name"] == path.stem
    assert {index for _, index, _ in build_sampler(**settings, labels=np.array([0, 0, 0, 1]), seed=0)} <= set(
        range(4)
    )


class OneAGroup(EpochSampler):
    """A user's sampler: a given number of the first samples of each group."""

    def __init__(self, labels: np.ndarray, groups: np.ndarray, seed: int, each: int = 1) -> None:
        super().__init__(len(labels), seed=seed)
        places = [np.flatnonzero(groups == group)[:each] for group in np.unique(groups)]
        self.chosen = np.concatenate(places)
        self.num_draws = len(self.chosen)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        return generator.permutation(self.chosen)


def test_a_users_sampler_gets_labels_groups_seed_and_its_settings() -> None:
    groups = np.array(["a", "a", "a", "b", "b"], object)
    target = f"{__name__}.OneAGroup"
    sampler = build_sampler("own", np.zeros(5, int), 0, groups=groups, _target_=target, each=2)
    assert sorted(sampler) == [(0, 0, 0), (0, 1, 0), (0, 3, 0), (0, 4, 0)]


def test_a_users_sampler_must_subclass_and_accept_its_settings() -> None:
    with pytest.raises(ConfigError, match=r"sampler: .*OneAGroup does not take these settings .*'every'"):
        build_sampler("own", np.zeros(5, int), 0, _target_=f"{__name__}.OneAGroup", every=2)
    with pytest.raises(
        ConfigError, match=r"_target_=collections.UserDict is not a fibrolab.data.samplers.EpochSampler"
    ):
        build_sampler("own", np.zeros(5, int), 0, _target_="collections.UserDict")
