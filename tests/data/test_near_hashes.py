"""Near pairs of hashes, held against a comparison of all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.near_hashes import archive, hashed, pictures
from fibrolab.data import near_hashes
from fibrolab.data.near_hashes import (
    NEAR_BITS,
    distinct,
    linked,
    linked_by_keys,
    linked_in_tiles,
    near_any,
    near_clusters,
    nearest,
)
from fibrolab.data.survey import perceptual_hash

BITS = 16
WORDS = 4  # of 64 bits, in a hash of 256 bits
hashes_of_16_bits = st.lists(st.integers(0, 2**BITS - 1).map(lambda bits: f"{bits:04x}"), max_size=14)
seeds = st.integers(0, 2**32 - 1)


def distances(codes: np.ndarray) -> np.ndarray:
    """Return the distance of all pairs of codes (K, words), by counting the bits that differ, (K, K)."""
    return np.bitwise_count(codes[:, None] ^ codes).sum(axis=-1, dtype=np.int64)


def components(near: np.ndarray) -> list[int]:
    """Return the smallest row that every row reaches through a matrix of near pairs, bool (K, K)."""
    reached = near | np.eye(len(near), dtype=bool)
    for _ in range(max(1, len(near).bit_length())):
        reached = (reached.astype(np.float32) @ reached) > 0
    return [int(np.flatnonzero(row)[0]) for row in reached]


def smallest_members(cluster: np.ndarray) -> list[int]:
    return [int(np.flatnonzero(cluster == number)[0]) for number in cluster]


def all_near(hashes: list[str], radius: int) -> np.ndarray:
    """Return which pairs are within the radius, by comparing all pairs, bool (N, N); no self-pairs."""
    codes, which = distinct(hashes)
    return (distances(codes)[np.ix_(which, which)] <= radius) & ~np.eye(len(hashes), dtype=bool)


def planted(seed: int) -> list[str]:
    """Return hashes of 256 bits: stills, films whose frames are near each other, chains and repeats."""
    rng = np.random.default_rng(seed)
    views = rng.random((rng.integers(1, 12), 256)) < rng.choice([0.1, 0.5])
    frames = views[rng.integers(0, len(views), 60)] ^ (rng.random((60, 256)) < rng.choice([0.0, 0.04, 0.08]))
    chain = np.arange(256) // 31 < np.arange(9)[:, None]  # each link is 31 bits from the next one
    every = np.concatenate([views, frames, chain])
    chosen = every[rng.integers(0, len(every), 150)]
    return [row.tobytes().hex() for row in np.packbits(chosen, axis=1)]


def test_hashes_at_the_radius_are_near_and_one_bit_beyond_are_not() -> None:
    at_32, at_33 = f"{2**32 - 1:064x}", f"{2**33 - 1:064x}"
    found = near_any(["0" * 64, at_32, at_33], np.eye(3, dtype=bool))
    assert np.argwhere(found).tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]


@settings(max_examples=100, deadline=None)
@given(hashes_of_16_bits, st.integers(0, BITS))
def test_near_clusters_are_the_connected_components_of_near_pairs(hashes: list[str], radius: int) -> None:
    assert smallest_members(near_clusters(hashes, radius)) == components(all_near(hashes, radius))


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(WORDS, 40), st.sampled_from([0, 1, 5, 16, 32, 40]))
def test_clusters_by_any_keys_are_those_of_all_pairs(seed: int, bands: int, radius: int) -> None:
    codes, _ = distinct(planted(seed))
    expected = components(distances(codes) <= radius)
    assert linked_by_keys(codes, radius, max(bands, radius // 8)).root.tolist() == expected
    assert linked_by_keys(codes, radius).root.tolist() == expected


@pytest.mark.parametrize("tile", [1, 7, 2048])
def test_clusters_of_tiles_are_those_of_all_pairs(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_hashes, "TILE", tile)
    codes, _ = distinct(planted(3))
    assert linked_in_tiles(codes, NEAR_BITS).root.tolist() == components(distances(codes) <= NEAR_BITS)


@pytest.mark.parametrize("bands", [4, 5, 7, 33])
def test_two_hashes_at_the_radius_are_linked_wherever_they_differ(bands: int) -> None:
    rng = np.random.default_rng(bands)
    first = rng.integers(0, 2**64, (200, WORDS), np.uint64)
    flips = np.zeros((200, 256), np.uint8)
    for row in flips:
        row[rng.choice(256, NEAR_BITS, replace=False)] = 1
    second = first ^ np.packbits(flips, axis=1).view(np.uint64)
    forest = near_hashes._Forest(np.concatenate([first, second]), NEAR_BITS)
    forest.link_by_keys(bands)  # without the links that neighbours make
    assert forest.root.tolist() == [*range(200), *range(200)]


def test_one_picture_repeated_is_one_cluster() -> None:
    assert near_clusters(["5a" * 32] * 20_000).tolist() == [0] * 20_000
    found = near_any(["5a" * 32] * 3, np.array([[True, False], [True, False], [False, False]]))
    assert found.tolist() == [[True, False]] * 3
    assert near_any(["5a" * 32], np.ones((1, 2), bool)).tolist() == [[False, False]]


def test_a_cluster_whose_pairs_would_not_fit_into_memory_is_one_cluster() -> None:
    rng = np.random.default_rng(0)
    flips = rng.random((6_000, 256)) < 0.04  # some 20 bits apart: eighteen million pairs
    hashes = [row.tobytes().hex() for row in np.packbits(flips, axis=1)]
    assert set(near_clusters([*hashes, "f" * 64])) == {0, 1}


@settings(max_examples=60, deadline=None)
@given(hashes_of_16_bits, st.integers(0, BITS), seeds)
def test_near_any_agrees_with_all_pairs(hashes: list[str], radius: int, seed: int) -> None:
    members = np.random.default_rng(seed).random((len(hashes), 3)) < 0.3
    expected = all_near(hashes, radius).astype(int) @ members > 0
    assert np.array_equal(near_any(hashes, members, radius), expected)


@pytest.mark.parametrize("sets", [1, 64, 70])
@pytest.mark.parametrize("neighbours", [1, 64])
def test_neighbours_in_many_sets_agree_with_all_pairs(
    sets: int, neighbours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_hashes, "NEIGHBOURS", neighbours)
    monkeypatch.setattr(near_hashes, "TILE", 16)
    rng = np.random.default_rng(sets)
    hashes = [one for seed in range(4) for one in planted(seed)]
    members = rng.random((len(hashes), sets)) < rng.choice([0.005, 0.3], sets)
    expected = all_near(hashes, NEAR_BITS).astype(int) @ members > 0
    assert set(expected.ravel().tolist()) == {False, True}
    assert np.array_equal(near_any(hashes, members), expected)
    assert np.array_equal(near_any(hashes, members, clusters=near_clusters(hashes)), expected)


def test_the_number_of_comparisons_grows_less_than_quadratically_with_the_frames_of_an_archive() -> None:
    drawn = pictures(None, 40)
    fewer, more = (distinct(archive(count, drawn, frames=200))[0] for count in (4_000, 16_000))
    compared = [linked_by_keys(codes, NEAR_BITS).compared for codes in (fewer, more)]
    assert compared[1] / compared[0] < (len(more) / len(fewer)) ** 1.75
    assert compared[1] < 0.02 * len(more) ** 2 / 2
    in_tiles = linked_in_tiles(fewer, NEAR_BITS)
    assert np.array_equal(linked_by_keys(fewer, NEAR_BITS).root, in_tiles.root)


def test_the_benchmark_hashes_pictures_as_the_survey_does() -> None:
    drawn = pictures(None, 3)
    assert hashed(drawn.astype(np.float32)) == [perceptual_hash(one) for one in drawn]


def test_where_keys_select_nothing_the_work_is_bounded_by_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    bits = np.zeros((2_000, 256), np.uint8)
    bits[:, ::3] = rng.random((2_000, 86)) < 0.5  # 43 bits apart: many have keys in common, few are near
    codes = np.packbits(bits, axis=1).view(np.uint64)
    found = linked_by_keys(codes, NEAR_BITS, bands=8)
    assert found.root.tolist() == linked_in_tiles(codes, NEAR_BITS).root.tolist()
    assert found.compared < 1.5 * len(codes) ** 2  # half of them are pairs


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.data())
def test_linked_items_are_the_connected_components(num_items: int, data: st.DataObject) -> None:
    item = st.integers(0, num_items - 1)
    pairs = data.draw(st.lists(st.tuples(item, item), max_size=12))
    near = np.zeros((num_items, num_items), bool)
    for one, other in pairs:
        near[one, other] = near[other, one] = True
    found = linked(num_items, np.array(pairs, np.int64).reshape(-1, 2))
    assert smallest_members(found) == components(near)


@settings(max_examples=60, deadline=None)
@given(hashes_of_16_bits, hashes_of_16_bits, st.integers(0, BITS), st.integers(1, 7))
def test_nearest_agrees_with_all_distances(
    hashes: list[str], others: list[str], radius: int, tile: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_hashes, "TILE", tile)
        found = nearest(["", *hashes], others, radius)
    assert found[0] == -1
    for own, at in zip(hashes, found[1:], strict=True):
        apart = [(int(own, 16) ^ int(other, 16)).bit_count() for other in others]
        if min(apart, default=radius + 1) > radius:
            assert at == -1
        else:
            assert apart[at] == min(apart)
