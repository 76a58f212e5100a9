"""Copies and near copies, tested against a comparison of all pairs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.data.duplicates import clusters, linked, near_any, near_clusters, nearest, shared_value_pairs

BITS = 16
hashes_of_16_bits = st.lists(st.integers(0, 2**BITS - 1).map(lambda bits: f"{bits:04x}"), max_size=14)
FAR = ["0" * 64, "f" * 64, "0f" * 32, "3c" * 32, "55" * 32]  # at least 64 bits apart


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def roots_by_merging(num_items: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Return the smallest member of every item's component, by following links until nothing changes."""
    root = list(range(num_items))
    for _ in range(num_items):
        for i, j in pairs:
            root[i] = root[j] = min(root[i], root[j])
    return root


def smallest_members(cluster: np.ndarray) -> list[int]:
    return [int(np.flatnonzero(cluster == number)[0]) for number in cluster]


def near_pairs(hashes: list[str], radius: int) -> list[tuple[int, int]]:
    """Return every pair within the radius, by comparing all pairs."""
    numbers = range(len(hashes))
    return [(i, j) for j in numbers for i in range(j) if distance(hashes[i], hashes[j]) <= radius]


def test_hashes_at_the_radius_are_near_and_one_bit_beyond_are_not() -> None:
    at_32, at_33 = f"{2**32 - 1:064x}", f"{2**33 - 1:064x}"
    found = near_any(["0" * 64, at_32, at_33], np.eye(3, dtype=bool))
    assert np.argwhere(found).tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]


@settings(max_examples=100, deadline=None)
@given(hashes_of_16_bits, st.integers(0, BITS), st.integers(1, 7))
def test_near_clusters_are_the_connected_components_of_near_pairs(
    hashes: list[str], radius: int, block: int
) -> None:
    found = near_clusters(hashes, radius, block)
    assert smallest_members(found) == roots_by_merging(len(hashes), near_pairs(hashes, radius))


def test_a_cluster_whose_pairs_would_not_fit_into_memory_is_one_cluster() -> None:
    rng = np.random.default_rng(0)
    flips = rng.random((6_000, 256)) < 0.04  # some 20 bits apart: eighteen million pairs
    hashes = [row.tobytes().hex() for row in np.packbits(flips, axis=1)]
    assert set(near_clusters([*hashes, "f" * 64])) == {0, 1}


@settings(max_examples=60, deadline=None)
@given(hashes_of_16_bits, st.integers(0, BITS), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_near_any_agrees_with_all_pairs(hashes: list[str], radius: int, block: int, seed: int) -> None:
    members = np.random.default_rng(seed).random((len(hashes), 3)) < 0.3
    expected = np.zeros_like(members)
    for i, j in near_pairs(hashes, radius):
        expected[i] |= members[j]
        expected[j] |= members[i]
    assert np.array_equal(near_any(hashes, members, radius, block), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.data())
def test_linked_items_are_the_connected_components(num_items: int, data: st.DataObject) -> None:
    item = st.integers(0, num_items - 1)
    pairs = data.draw(st.lists(st.tuples(item, item), max_size=12))
    found = linked(num_items, np.array(pairs, np.int64).reshape(-1, 2))
    assert smallest_members(found) == roots_by_merging(num_items, pairs)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=12))
def test_items_are_linked_exactly_if_they_have_an_equal_value_that_is_not_empty(values: list[str]) -> None:
    found = linked(len(values), shared_value_pairs(values)) if values else np.array([])
    for i, one in enumerate(values):
        for j, other in enumerate(values):
            assert (found[i] == found[j]) == (i == j or (one == other != ""))


def test_empty_values_link_nothing() -> None:
    assert len(shared_value_pairs(["", "", "", ""])) == 0
    assert len(set(clusters(list("abcde"), FAR, ["", "", "", "", ""]))) == 5


def test_copies_near_copies_and_equal_values_link_into_one_cluster() -> None:
    near_far_1 = f"{int(FAR[1], 16) ^ 0b1011:064x}"
    digests = ["a", "a", "b", "c", "d", "e"]
    hashes = [FAR[1], FAR[1], near_far_1, FAR[2], FAR[3], FAR[4]]
    volumes = ["", "", "7", "7", "8", ""]
    found = clusters(digests, hashes, volumes)  # 0 = 1 by bytes, 1 ~ 2 as near copies, 2 - 3 by volume
    assert smallest_members(found) == [0, 0, 0, 0, 4, 5]


def test_any_number_of_values_can_link_images() -> None:
    found = clusters(list("abcd"), FAR[:4], ["x", "x", "", ""], ["", "y", "y", ""])
    assert smallest_members(found) == [0, 0, 0, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["", "1", "2"])), min_size=1, max_size=12))
def test_clusters_are_the_connected_components_of_all_three_links(items: list[tuple[int, str]]) -> None:
    # Content k has the hash 2^(12 k) - 1, so that neighbours k, k + 1 and k + 2 are near (at most 24 bits).
    digests = [f"{content}" for content, _ in items]
    hashes = [f"{2 ** (12 * content) - 1:064x}" for content, _ in items]
    values = [value for _, value in items]
    pairs = [
        (i, j)
        for j in range(len(items))
        for i in range(j)
        if digests[i] == digests[j] or distance(hashes[i], hashes[j]) <= 32 or (values[i] == values[j] != "")
    ]
    assert smallest_members(clusters(digests, hashes, values)) == roots_by_merging(len(items), pairs)


@given(hashes=hashes_of_16_bits, others=hashes_of_16_bits, radius=st.integers(0, BITS))
def test_nearest_agrees_with_all_distances(hashes: list[str], others: list[str], radius: int) -> None:
    found = nearest(["", *hashes], others, radius)
    assert found[0] == -1
    for own, at in zip(hashes, found[1:], strict=True):
        distances = [distance(own, other) for other in others]
        if min(distances, default=radius + 1) > radius:
            assert at == -1
        else:
            assert distances[at] == min(distances)
