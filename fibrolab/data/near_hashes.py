"""Near pairs of perceptual hashes, found without comparing all pairs.

Two hashes within the radius agree in all bits of at least one key, so only hashes with an equal key are
compared. The bits are dealt to bands with tolerances `t` such that the sum of `t + 1` exceeds the radius: by
the pigeonhole principle, two hashes within the radius differ in one band by at most its tolerance. Each band
has `2^(t + 1) - 1` keys of about half of its bits, and for any `t` bits one of these keys omits them all
(Pagh, CoveringLSH, ACM Trans. Algorithms 14, 2018, section 3). The result is that of comparing all pairs.

Most pictures of an archive are frames of films, thousands of which are near each other. They are linked
first, each to its neighbour in the order of the keys; after that, only hashes of different clusters are
compared. More keys of more bits select better and cost more sorting: the number of bands follows from the
number of hashes and their distances. Where no keys select enough, all pairs are compared in tiles, which
bounds the cost.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

NEAR_BITS = 32  # of 256: with a larger radius, different images of one scanner are linked into one cluster
SEED = 0  # of the deal of the bits and of the sample of pairs; no result depends on it
LINKING_TOLERANCE, LINKING_KEYS = 5, 64  # keys by which neighbours are linked first
LARGEST_TOLERANCE = 10  # a band has 2^11 keys
SAMPLED = 2**18  # pairs whose distances are measured to choose the bands
CANDIDATES = 2**20  # pairs compared at once
TILE = 2048  # rows and columns of a tile of all pairs
NEIGHBOURS = 64  # of an image in its cluster, that are looked at before all of the cluster
# Nanoseconds on one core for a hash sorted by a key, a candidate compared and a pair compared in a tile.
# Their ratios choose the bands; nothing else depends on them.
SORTED_NS, COMPARED_NS, TILED_NS = 40, 60, 9
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)


class Clusters(NamedTuple):
    """Clusters of distinct hashes, and the work that finding them took.

    Attributes:
        root: Smallest row of each hash's cluster, int64 (K,).
        compared: Number of pairs whose distance was computed.
    """

    root: np.ndarray
    compared: int


def near_clusters(hashes: Sequence[str], radius: int = NEAR_BITS) -> np.ndarray:
    """Cluster hashes by single linkage of all pairs within the radius; no pair is kept.

    Args:
        hashes: Hexadecimal hashes of equal length (N,).
        radius: Largest distance [bits].

    Returns:
        Cluster numbers from 0 without gaps (N,), int64.
    """
    codes, which = distinct(hashes)
    return np.unique(linked_codes(codes, radius).root, return_inverse=True)[1].astype(np.int64)[which]


def near_any(
    hashes: Sequence[str],
    members: np.ndarray,
    radius: int = NEAR_BITS,
    clusters: np.ndarray | None = None,
) -> np.ndarray:
    """Return for each image whether a set contains another image within the radius, for many sets at once.

    Args:
        hashes: Hexadecimal hashes of equal length (N,).
        members: Whether an image is in each of S sets, bool (N, S).
        radius: Largest distance [bits].
        clusters: `near_clusters` of these hashes, if they are known (N,).

    Returns:
        bool (N, S). An image is not a neighbour of itself.
    """
    if not len(hashes):
        return np.zeros(members.shape, bool)
    codes, which = distinct(hashes)
    order = np.argsort(which, kind="stable")
    starts = np.flatnonzero(np.diff(which[order], prepend=-1))
    held = np.add.reduceat(members[order].astype(np.int32), starts, axis=0)  # members of each hash
    root = linked_codes(codes, radius).root if clusters is None else clusters[order[starts]]
    near = _near_members(codes, root, held > 0, radius)
    return near[which] | (held[which] > members)


def distinct(hashes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct hashes in their order and the number of each hash among them.

    Args:
        hashes: Hexadecimal hashes of equal length (N,).

    Returns:
        Codes, uint64 (K, words), padded by zeros; numbers, int64 (N,).
    """
    if not len(hashes):
        return np.zeros((0, 1), np.uint64), np.zeros(0, np.int64)
    codes = hash_codes(hashes)
    order = np.lexsort(codes.T[::-1])
    new = np.ones(len(codes), bool)
    new[1:] = (codes[order[1:]] != codes[order[:-1]]).any(axis=1)
    which = np.empty(len(codes), np.int64)
    which[order] = np.cumsum(new) - 1
    return codes[order[new]], which


def nearest(hashes: Sequence[str], others: Sequence[str] | np.ndarray, radius: int = NEAR_BITS) -> np.ndarray:
    """Return the nearest of other images within the radius, for each image, int64 (N,); -1 if there is none.

    Args:
        hashes: Hexadecimal hashes of equal length (N,); empty ones have no neighbour.
        others: Hashes of the other images (M,), none empty, or their `hash_codes`.
        radius: Largest distance [bits].
    """
    found = np.full(len(hashes), -1, np.int64)
    given = np.array([row for row, each in enumerate(hashes) if each], np.int64)
    if not len(given) or not len(others):
        return found
    ours = hash_codes([each for each in hashes if each])
    theirs = others if isinstance(others, np.ndarray) else hash_codes(others)
    least = np.full(len(given), radius + 1, np.int64)
    for start in range(0, len(given), TILE):
        rows = slice(start, start + TILE)
        for begin in range(0, len(theirs), TILE):
            distances = _all_distances(ours[rows], theirs[begin : begin + TILE])
            best = distances.argmin(axis=1)
            smallest = distances[np.arange(len(best)), best]
            closer = smallest < least[rows]
            least[rows][closer] = smallest[closer]
            found[given[rows][closer]] = begin + best[closer]
    return found


def hash_codes(hashes: Sequence[str]) -> np.ndarray:
    """Return hexadecimal hashes of equal length (N,), N at least 1, as uint64 (N, words), padded by zeros."""
    given = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    padded = np.zeros((len(given), -(-given.shape[1] // 8) * 8), np.uint8)
    padded[:, : given.shape[1]] = given
    return padded.view(">u8").astype(np.uint64)


def linked_codes(codes: np.ndarray, radius: int) -> Clusters:
    """Cluster distinct codes, uint64 (K, words), by the cheapest way for their number and distances."""
    if _cost_of_all(len(codes)) <= LINKING_KEYS * SORTED_NS * len(codes):
        return linked_in_tiles(codes, radius)
    return linked_by_keys(codes, radius)


def linked_in_tiles(codes: np.ndarray, radius: int) -> Clusters:
    """Cluster distinct codes, uint64 (K, words), by comparing all pairs."""
    forest = _Forest(codes, radius)
    forest.link_all()
    return Clusters(forest.root, forest.compared)


def linked_by_keys(codes: np.ndarray, radius: int, bands: int | None = None) -> Clusters:
    """Cluster distinct codes, uint64 (K, words), by comparing those with equal keys.

    Args:
        codes: The codes.
        radius: Largest distance [bits].
        bands: Number of bands, from one in 64 bits to `radius + 1`; by default the cheapest, or all pairs if
            comparing them costs less.
    """
    forest = _Forest(codes, radius)
    forest.link_neighbours()
    if bands := forest.cheapest_bands() if bands is None else bands:
        forest.link_by_keys(bands)
    else:
        forest.link_all()
    return Clusters(forest.root, forest.compared)


def linked(num_items: int, pairs: np.ndarray) -> np.ndarray:
    """Return the number of every item's connected component, int64 (N,).

    Args:
        num_items: N.
        pairs: Linked items (P, 2).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(num_items, num_items))
    return connected_components(graph, directed=False)[1].astype(np.int64)


class _Forest:
    """Clusters of codes while they are linked.

    Args:
        codes: Distinct codes, uint64 (K, words).
        radius: Largest distance [bits].
    """

    def __init__(self, codes: np.ndarray, radius: int) -> None:
        self.codes, self.radius = codes, radius
        self.root = np.arange(len(codes))
        self.compared = 0

    def link_neighbours(self) -> None:
        """Link hashes that are next to each other in the order of some of the keys."""
        bands = max(_fewest_bands(self.codes), self.radius // (LINKING_TOLERANCE + 1) + 1)
        keys = [*_keys(self.codes, self.radius, bands)]
        for words, mask in keys[:: max(1, len(keys) // LINKING_KEYS)]:
            items, same = _sorted(words, mask)
            self._compare(items[:-1][same], items[1:][same])

    def link_by_keys(self, bands: int) -> None:
        """Link all hashes within the radius that are in different clusters and have a key in common."""
        order = np.argsort(self.root, kind="stable")  # makes a cluster a run among equal keys
        spent, allowed = 0.0, _cost_of_all(len(self.codes))
        for words, mask in _keys(self.codes[order], self.radius, bands):
            items, same = _sorted(words, mask)
            shared = np.flatnonzero(np.append(same, False) | np.append(False, same))
            items = order[items[shared]]
            ends, counts = _other_clusters(self.root[items], ~np.append(False, same)[shared])
            spent += COMPARED_NS * float(counts.sum())
            if spent > allowed:
                return self.link_all()
            for left, right in _expanded(ends, counts):
                self._compare(items[left], items[right])

    def link_all(self) -> None:
        """Link all hashes within the radius, by comparing all pairs in tiles."""
        count = len(self.codes)
        for start in range(0, count, TILE):
            rows = np.arange(start, min(start + TILE, count))
            for other in range(start, count, TILE):
                columns = np.arange(other, min(other + TILE, count))
                self.compared += len(rows) * len(columns)
                near = _near(self.codes[rows], self.codes[columns], self.radius)
                if near.any():
                    self._link_tile(rows, columns, near)

    def cheapest_bands(self) -> int:
        """Return the number of bands whose keys cost least; 0 if comparing all pairs costs less."""
        count, bits = len(self.codes), 64 * self.codes.shape[1]
        one, other = np.random.default_rng(SEED).integers(0, count, (2, SAMPLED))
        apart = self.root[one] != self.root[other]
        differing = _distances(self.codes, one[apart], other[apart]) / bits
        costs = {0: _cost_of_all(count)}
        fewest = max(_fewest_bands(self.codes), self.radius // (LARGEST_TOLERANCE + 1) + 1)
        for bands in range(fewest, max(fewest, self.radius + 1) + 1):
            number = sum(2 ** (tolerance + 1) - 1 for tolerance in _tolerances(self.radius, bands))
            # A key has half of the bits of a band, so a bit that differs is in it with probability 1 / 2.
            found = ((1 - differing / 2) ** (bits / bands)).sum() / SAMPLED * count**2 / 2
            costs[bands] = number * (SORTED_NS * count + COMPARED_NS * found)
        return min(costs, key=lambda bands: costs[bands])

    def _compare(self, left: np.ndarray, right: np.ndarray) -> None:
        """Link the pairs (P,), (P,) that are in different clusters and within the radius."""
        apart = self.root[left] != self.root[right]
        left, right = left[apart], right[apart]
        self.compared += len(left)
        near = _distances(self.codes, left, right) <= self.radius
        self._join(left[near], right[near])

    def _join(self, left: np.ndarray, right: np.ndarray) -> None:
        """Join the clusters of near pairs (P,), (P,)."""
        if not len(left):
            return
        touched, places = np.unique(self.root[np.stack([left, right])], return_inverse=True)
        component = linked(len(touched), places.reshape(2, -1).T)
        smallest = np.unique(component, return_index=True)[1]
        joined = np.arange(len(self.root))
        joined[touched] = touched[smallest[component]]
        self.root = joined[self.root]

    def _link_tile(self, rows: np.ndarray, columns: np.ndarray, near: np.ndarray) -> None:
        """Link each row and column of a tile to its first near one in another cluster, until there is none.

        A round at least halves the number of clusters that still have links to make (Borůvka, 1926).
        """
        while (missing := near & (self.root[rows][:, None] != self.root[columns])).any():
            row, column = missing.any(axis=1), missing.any(axis=0)
            self._join(
                np.append(rows[row], rows[missing[:, column].argmax(axis=0)]),
                np.append(columns[missing[row].argmax(axis=1)], columns[column]),
            )


def _cost_of_all(count: int) -> float:
    """Return the cost of comparing all pairs [ns]."""
    return TILED_NS * count**2 / 2


def _fewest_bands(codes: np.ndarray) -> int:
    """Return the smallest number of bands that fit into words of 64 bits."""
    return codes.shape[1]


def _tolerances(radius: int, bands: int) -> list[int]:
    """Divide a radius among bands: the sum of `tolerance + 1` is `radius + 1`; -1 has no keys."""
    return [(radius + 1) * (band + 1) // bands - (radius + 1) * band // bands - 1 for band in range(bands)]


def _keys(codes: np.ndarray, radius: int, bands: int) -> Iterator[tuple[np.ndarray, np.uint64]]:
    """Yield keys: the words that hold a band's bits, uint64 (K,), and the mask of the bits that are used.

    Args:
        codes: uint64 (K, words).
        radius: Two codes within it have one of the keys in common.
        bands: Number of bands, of at most 64 bits each.
    """
    rng = np.random.default_rng(SEED)
    frequent = _bits(codes[:: max(1, len(codes) // 4096)]).mean(axis=0)
    # Bits that are equal in most hashes, such as those of a sector's corners, are spread over all bands.
    order = np.lexsort((rng.permutation(len(frequent)), -frequent * (1 - frequent)))
    for band, tolerance in enumerate(_tolerances(radius, bands)):
        chosen = order[band::bands]
        words = _words(codes, chosen)
        several = 2 ** (tolerance + 1)
        if several == 1:
            continue
        vectors = 1 + rng.permutation(max(several - 1, len(chosen)))[: len(chosen)] % (several - 1)
        for key in range(1, several):
            used = np.flatnonzero(np.bitwise_count(vectors & key) % 2)
            yield words, np.bitwise_or.reduce(np.uint64(1) << used.astype(np.uint64), initial=np.uint64(0))


def _bits(codes: np.ndarray) -> np.ndarray:
    """Return codes (K, words) as bits, uint8 (K, 64 * words)."""
    return np.unpackbits(np.ascontiguousarray(codes).view(np.uint8), axis=1, bitorder="little")


def _words(codes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Gather some bits of every code into one word, uint64 (K,)."""
    words = np.zeros(len(codes), np.uint64)
    for place, bit in enumerate(chosen.tolist()):
        words |= (codes[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)) << np.uint64(place)
    return words


def _sorted(words: np.ndarray, mask: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """Sort hashes by a key.

    Returns:
        Rows in order of the key, then of their number, int64 (K,); whether each has the key of the next one,
        bool (K - 1,). Different keys rarely count as equal, which costs a comparison and changes no result.
    """
    low = np.uint64(2 ** max(1, (len(words) - 1).bit_length()) - 1)
    keys = (words & mask) * _SPREAD
    keys &= ~low
    keys |= np.arange(len(words), dtype=np.uint64)
    keys.sort()  # sorting numbers is several times as fast as sorting indices
    return (keys & low).astype(np.int64), (keys[1:] ^ keys[:-1]) <= low


def _other_clusters(root: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find for each hash those that have its key and come after the run of its cluster.

    Args:
        root: Cluster of every hash, in order of the key (n,).
        first: Whether a hash is the first one with its key, bool (n,).

    Returns:
        Position of the first such hash, and their number, int64 (n,).
    """
    ends = _run_ends(first | (np.diff(root, prepend=-1) != 0))
    return ends, _run_ends(first) - ends


def _run_ends(first: np.ndarray) -> np.ndarray:
    """Return for each position the end of its run, given which positions begin one, bool (n,); int64 (n,)."""
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=len(first))
    return np.repeat(starts + sizes, sizes)


def _expanded(starts: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs (P,), (P,) of each position and the `counts` positions from `starts` on, in parts."""
    active = np.flatnonzero(counts)
    total = np.cumsum(counts[active])
    cuts = np.searchsorted(total, np.arange(CANDIDATES, total[-1] if len(total) else 0, CANDIDATES))
    for part in np.split(active, np.unique(cuts)):
        count = counts[part]
        left = np.repeat(part, count)
        yield left, np.arange(len(left)) + np.repeat(starts[part] - np.cumsum(count) + count, count)


def _distances(codes: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the Hamming distances of pairs of rows, int64 (P,)."""
    differing = np.take(codes, left, axis=0)
    differing ^= np.take(codes, right, axis=0)
    distances = np.zeros(len(left), np.int64)
    for counts in np.bitwise_count(differing).T:  # several times as fast as a sum along the short axis
        distances += counts
    return distances


def _near(rows: np.ndarray, columns: np.ndarray, radius: int) -> np.ndarray:
    """Return which pairs of codes (n, words), (m, words) are within the radius, bool (n, m)."""
    one, other = _signs(rows), _signs(columns)
    return one @ other.T >= one.shape[1] - 2 * radius


def _all_distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the Hamming distances of all pairs of codes (n, words), (m, words), float32 (n, m)."""
    one, other = _signs(rows), _signs(columns)
    return (one.shape[1] - one @ other.T) / 2


def _signs(codes: np.ndarray) -> np.ndarray:
    """Return the bits of codes as -1 and 1, float32 (n, bits): the distance is then `(bits - a @ b) / 2`."""
    return 2 * _bits(codes).astype(np.float32) - 1


def _near_members(codes: np.ndarray, root: np.ndarray, members: np.ndarray, radius: int) -> np.ndarray:
    """Return for each distinct code whether a set contains another one within the radius.

    Images are compared within their cluster, and only while one may still find the other in some set.

    Args:
        codes: Distinct codes, uint64 (K, words).
        root: Cluster of each code, int64 (K,).
        members: bool (K, S).
        radius: Largest distance [bits].

    Returns:
        bool (K, S).
    """
    order = np.argsort(root, kind="stable")
    codes, root = codes[order], root[order]
    padded = np.zeros((len(codes), -(-members.shape[1] // 64) * 64), np.uint8)
    padded[:, : members.shape[1]] = members[order]
    held = np.packbits(padded, axis=1).view(np.uint64)
    starts = np.flatnonzero(np.diff(root, prepend=-1))
    sizes = np.diff(starts, append=len(root))
    wanted = np.repeat(np.bitwise_or.reduceat(held, starts, axis=0), sizes, axis=0)  # sets that can be found
    found = np.zeros_like(held)
    for step in range(1, min(NEIGHBOURS + 1, int(sizes.max(initial=0)))):
        left = np.flatnonzero(root[step:] == root[:-step])
        right = left + step
        useful = (wanted[left] & ~found[left] & held[right]) | (wanted[right] & ~found[right] & held[left])
        useful_rows = useful.any(axis=1)
        left, right = left[useful_rows], right[useful_rows]
        near = _distances(codes, left, right) <= radius
        left, right = left[near], right[near]
        found[left] |= held[right]  # each row is once in `left` and once in `right`
        found[right] |= held[left]
    for start, size in zip(starts[sizes > NEIGHBOURS + 1], sizes[sizes > NEIGHBOURS + 1], strict=True):
        cluster = slice(start, start + size)
        _complete(codes[cluster], held[cluster], found[cluster], radius)
    result = np.zeros(members.shape, bool)
    result[order] = np.unpackbits(found.view(np.uint8), axis=1)[:, : members.shape[1]]
    return result


def _complete(codes: np.ndarray, held: np.ndarray, found: np.ndarray, radius: int) -> None:
    """Complete `found` in one cluster, by comparing the rows that miss a set with its members, in tiles."""
    wanted = np.bitwise_or.reduce(held, axis=0)
    rows = np.flatnonzero((wanted & ~found).any(axis=1))
    for start in range(0, len(rows), TILE):
        part = rows[start : start + TILE]
        missing = np.bitwise_or.reduce(wanted & ~found[part], axis=0)
        columns = np.flatnonzero((held & missing).any(axis=1))
        for begin in range(0, len(columns), TILE):
            others = columns[begin : begin + TILE]
            near = _near(codes[part], codes[others], radius) & (part[:, None] != others)
            bits = np.unpackbits(held[others].view(np.uint8), axis=1).astype(np.float32)
            sets = np.packbits(near.astype(np.float32) @ bits > 0, axis=1)
            found[part] |= sets.view(np.uint64)
