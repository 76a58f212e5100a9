"""Copies, near copies and equal values link images into clusters."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.data.duplicates import clusters, shared_value_pairs
from fibrolab.data.near_hashes import linked

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
