"""Time and memory of DeLong's test of two arms, and its speed against a loop over all pairs.

python -m benchmarks.delong [--samples 1000000] [--pairs-of 1000]
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np

from fibrolab.evaluation.intervals import delong

PREVALENCE = 0.3
ROWS_A_GROUP = 5


def made_up(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw scores of two correlated arms with ties (2, n), truth (n,) and groups of about five rows (n,)."""
    rng = np.random.default_rng(0)
    positive = rng.random(n) < PREVALENCE
    shared = rng.normal(size=n) + 1.5 * positive
    scores = np.round(shared + 0.5 * rng.normal(size=(2, n)), 4)
    groups = np.char.add("patient ", rng.integers(max(2, n // ROWS_A_GROUP), size=n).astype(str))
    return scores, positive, groups


def measured(n: int, grouped: bool) -> tuple[float, float, float]:
    """Return seconds, and the process's peak memory [MiB] before and after; to be run in a new process."""
    scores, positive, groups = made_up(n)
    delong.areas(scores[:, :1000], positive[:1000])  # first imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    start = time.perf_counter()
    delong.paired(delong.areas(scores, positive, groups if grouped else None))
    seconds = time.perf_counter() - start
    return seconds, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def by_pairs(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute areas (M,) and DeLong covariance (M, M) by a loop over all pairs, as the paper defines them."""
    m, n = int(positive.sum()), int((~positive).sum())
    v10, v01 = np.zeros((len(scores), m)), np.zeros((len(scores), n))
    for arm, row in enumerate(scores):
        others = row[~positive].tolist()
        for i, ours in enumerate(row[positive].tolist()):
            for j, other in enumerate(others):
                won = 1.0 if ours > other else 0.5 if ours == other else 0.0
                v10[arm, i] += won / n
                v01[arm, j] += won / m
    return v10.mean(axis=1), np.cov(v10) / m + np.cov(v01) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--pairs-of", type=int, default=1000, help="samples of the loop over pairs")
    arguments = parser.parse_args()

    for grouped in (False, True):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # a new process has a peak of its own
            seconds, before, peak = pool.apply(measured, (arguments.samples, grouped))
        name = "clustered" if grouped else "by row"
        print(f"two arms, n = {arguments.samples:,}, {name:9s}: {seconds:5.2f} s", end="")
        print(f", process peak {peak:.0f} MiB ({before:.0f} with the data, before the test)")

    scores, positive, _ = made_up(arguments.pairs_of)
    start = time.perf_counter()
    values, covariance = by_pairs(scores, positive)
    theirs = time.perf_counter() - start
    times = []
    for _ in range(20):
        start = time.perf_counter()
        found = delong.areas(scores, positive)
        times.append(time.perf_counter() - start)
    gap = max(np.abs(found.values - values).max(), np.abs(found.covariance - covariance).max())
    print(
        f"n = {arguments.pairs_of:,}: {np.median(times) * 1e3:.2f} ms, by pairs {theirs * 1e3:.0f} ms", end=""
    )
    print(f", ratio {theirs / np.median(times):.0f}; largest difference {gap:.1e}")


if __name__ == "__main__":
    main()
