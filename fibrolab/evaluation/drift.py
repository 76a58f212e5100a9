"""Drift: tests whether new samples are distributed as earlier ones, by groups (patients).

The distance of two distributions of a number is that of Kolmogorov and Smirnov, the largest difference of
their cumulative proportions; of classes it is the total variation, half the sum of the differences of their
proportions. Its p value comes from permutations that exchange whole groups between the earlier and the new
samples (Phipson and Smyth, Stat Appl Genet Mol Biol 9:39, 2010, with the observed one counted), so that
without drift a p value of at most 0.05 is found in at most 5 % of the cases, whatever the distribution and
however alike the samples of a patient are. Holm's correction is for all quantities that are compared at once.
Intervals of the difference of the means come from a bootstrap over groups and are not corrected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fibrolab.evaluation.comparison.hypothesis_tests import holm

ALARM = 0.05  # corrected p value of an alarm: the rate of false alarms of one comparison
PERMUTATIONS = 1999
FEWEST = 5  # groups on each side for a test
BINS = 64  # of the cumulative proportions of a number
BLOCK = 256  # permutations and resamples at once
COLUMNS = ("before", "after", "difference", "low", "high", "distance", "p", "p_holm", "n", "groups")


@dataclass(frozen=True)
class Samples:
    """Samples of one side of a comparison.

    Attributes:
        values: A column for each quantity: numbers, NaN where not known, or names of classes, N rows.
        groups: Independent unit of each sample: the patient, strings (N,).
    """

    values: pd.DataFrame
    groups: np.ndarray


def compare(
    before: Samples,
    after: Samples,
    classes: Mapping[str, Sequence[str]],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare new samples with earlier ones.

    Args:
        before: Earlier samples.
        after: New samples, with the same columns.
        classes: Names of the classes of each quantity that is one; all others are numbers.
        resamples: Bootstrap resamples of the groups.
        level: Nominal coverage of the intervals.
        seed: Seed of permutations and resamples.

    Returns:
        A row a quantity (index `quantity`), and of each class of a quantity one, such as `predicted: F2`, for
        its proportion, which is not tested: means before and after, their difference with its interval, the
        distance, p and corrected p (NaN with fewer than `FEWEST` groups on a side), number of new samples and
        groups.
    """
    sides = [(side, np.unique(side.groups.astype(str), return_inverse=True)) for side in (before, after)]
    sizes = [len(names) for _, (names, _) in sides]
    codes = np.concatenate([code + shift for (_, (_, code)), shift in zip(sides, (0, sizes[0]), strict=True)])
    pooled = pd.concat([before.values, after.values], ignore_index=True)
    is_after = np.arange(len(pooled)) >= len(before.values)
    rng, rows, tests = np.random.default_rng(seed), {}, {}
    for name in pooled:
        for title, values in _numbers(str(name), pooled[name], classes.get(str(name))).items():
            rows[title] = _means(values, codes, is_after, sizes, resamples, level, rng)
        tests[str(name)] = _counts(pooled[name], codes, sum(sizes), classes.get(str(name)))
    found = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=list(COLUMNS))
    for name, (distance, p) in _tested(tests, set(classes), sizes, rng).items():
        if name not in found.index:
            known = pooled[name].notna().to_numpy() & is_after
            sizes_of = {"n": int(known.sum()), "groups": len(np.unique(codes[known]))}
            found.loc[name] = pd.Series(sizes_of, dtype=float).reindex(list(COLUMNS))
        found.loc[name, ["distance", "p"]] = distance, p
    tested = found["p"].notna()
    found.loc[tested, "p_holm"] = holm(found.loc[tested, "p"].to_numpy(np.float64))
    return found.rename_axis("quantity")


def _numbers(name: str, values: pd.Series, classes: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Return the numbers whose means are compared: the quantity itself, or the proportion of each class."""
    if classes is None:
        return {name: values.to_numpy(np.float64)}
    return {f"{name}: {each}": (values == each).to_numpy(np.float64) for each in classes}


def _means(
    values: np.ndarray,
    codes: np.ndarray,
    is_after: np.ndarray,
    sizes: Sequence[int],
    resamples: int,
    level: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return the means of both sides, and the interval of their difference over resampled groups."""
    known = np.isfinite(values)
    total = np.bincount(codes[known], values[known], minlength=sum(sizes))
    count = np.bincount(codes[known], minlength=sum(sizes)).astype(np.float64)
    sides = [slice(0, sizes[0]), slice(sizes[0], sum(sizes))]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [total[side].sum() / count[side].sum() for side in sides]
        drawn = []
        for side, size in zip(sides, sizes, strict=True):
            weights = rng.multinomial(size, np.full(size, 1 / size), resamples).astype(np.float64)
            drawn.append((weights @ total[side]) / (weights @ count[side]))
    differences = drawn[1] - drawn[0]
    low, high = np.nan, np.nan
    if min(sizes) > 1 and np.isfinite(differences).mean() > 0.9:
        ends = (50 * (1 - level), 50 * (1 + level))
        low, high = np.nanpercentile(differences, ends)
    new = known & is_after
    return {
        "before": means[0], "after": means[1], "difference": means[1] - means[0], "low": low, "high": high,
        "n": int(new.sum()), "groups": len(np.unique(codes[new])),
    }  # fmt: skip


def _counts(values: pd.Series, codes: np.ndarray, groups: int, classes: Sequence[str] | None) -> np.ndarray:
    """Return how many samples of each group are in each class, or in each bin of a number, (groups, B)."""
    if classes is not None:
        places = pd.Index(list(classes)).get_indexer(pd.Index(values))
        known, width = places >= 0, len(classes)
    else:
        numbers = values.to_numpy(np.float64)
        known = np.isfinite(numbers)
        given = numbers[known] if known.any() else np.zeros(1)
        edges = np.unique(np.quantile(given, np.linspace(0, 1, BINS)))
        places, width = np.searchsorted(edges, numbers, side="left"), len(edges) + 1
    cells = codes[known] * width + places[known]
    return np.bincount(cells, minlength=groups * width).reshape(groups, width).astype(np.float64)


def _tested(
    tests: Mapping[str, np.ndarray], nominal: set[str], sizes: Sequence[int], rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Return distance and p value of each quantity from its counts (groups, B); NaN if it is not testable."""
    total = sum(sizes)
    observed = np.zeros((1, total))
    observed[:, sizes[0] :] = 1
    found = {name: float(_distances(observed, counts, name in nominal)[0]) for name, counts in tests.items()}
    as_far = dict.fromkeys(tests, 1)
    for start in range(0, PERMUTATIONS, BLOCK):
        chosen = np.zeros((min(BLOCK, PERMUTATIONS - start), total))
        np.put_along_axis(chosen, np.argsort(rng.random(chosen.shape), axis=1)[:, : sizes[1]], 1, axis=1)
        for name, counts in tests.items():
            distances = _distances(chosen, counts, name in nominal)
            as_far[name] += int((distances >= found[name] - 1e-9).sum())
    results = {}
    for name, counts in tests.items():
        known = counts.sum(axis=1) > 0
        few = min(known[: sizes[0]].sum(), known[sizes[0] :].sum()) < FEWEST
        p = np.nan if few else as_far[name] / (PERMUTATIONS + 1)
        results[name] = (np.nan if few else found[name], p)
    return results


def _distances(chosen: np.ndarray, counts: np.ndarray, is_class: bool) -> np.ndarray:
    """Return the distance between the chosen groups and all others, (R,), for choices (R, groups)."""
    after = chosen @ counts
    before = counts.sum(axis=0) - after
    sums = [np.maximum(side.sum(axis=1, keepdims=True), 1.0) for side in (after, before)]
    differences = after / sums[0] - before / sums[1]
    if is_class:
        return np.asarray(np.abs(differences).sum(axis=1) / 2)
    return np.asarray(np.abs(differences.cumsum(axis=1)).max(axis=1))
