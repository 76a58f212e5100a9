"""Label order: whether classes come in unbroken runs when files are sorted by name."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from fibrolab.data.audit.evidence import UNKNOWN, Evidence
from fibrolab.data.audit.finding import ALPHA, Finding

SHORTEST = 20  # files in a series: with fewer, the normal approximation of the runs test is poor
FEW = 0.5  # observed runs, as a fraction of those expected with groups kept together, that is suspicious


def label_order(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Apply the runs test to the classes in every series of file names that differ in their numbers alone.

    Folder and class name are removed from file names, which are sorted in natural order (2 before 10). Each
    patient is counted once in a series; without a patient id, each distinct image is. Images of one group
    usually share their class, so `expected_of_groups` counts consecutive images of one group once.
    """
    names = [without_class(PurePath(path).name, evidence.classes) for path in evidence.manifest.files]
    pattern, order = zip(*((re.sub(r"\d+", "#", name), natural(name)) for name in names), strict=True)
    images = len(evidence.first)
    unit = np.where(evidence.patient == UNKNOWN, evidence.image, images + evidence.patient)
    table = pd.DataFrame({"series": pattern, "order": order, "unit": unit, "label": evidence.labels})
    table["group"] = evidence.group
    table = table.sort_values("order", kind="stable").drop_duplicates(["series", "unit"])
    found = [
        {
            "series": series,
            **runs_test(part["label"].to_numpy()),
            "expected_of_groups": expected_runs(part["label"][part["group"].diff() != 0].to_numpy()),
        }
        for series, part in table.groupby("series")
        if len(part) >= SHORTEST and part["label"].nunique() > 1
    ]
    found.sort(key=lambda row: row["z"])
    if evidence.manifest.ids_key:  # file names are not to be written
        found = [row | {"series": f"no. {number}"} for number, row in enumerate(found, 1)]
    return {"label_order": found}, list(_findings(found))


def without_class(name: str, classes: Sequence[str]) -> str:
    """Return a file name in lower case without the class names in it: `F0_07.png` gives `_07.png`.

    A class name that is only a number is kept, since the number may mean something else.
    """
    words = [
        re.escape(word.lower()) for word in sorted(classes, key=len, reverse=True) if not word.isdecimal()
    ]
    if not words:
        return name.lower()
    return re.sub(rf"(?<![a-z0-9])(?:{'|'.join(words)})(?![a-z0-9])", "", name.lower())


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts names in natural order: numbers by value."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))


def expected_runs(labels: np.ndarray) -> float:
    """Compute the mean number of runs of a sequence of classes (N,) over all its orders, see `runs_test`."""
    n, counts = len(labels), np.unique(labels, return_counts=True)[1]
    return float(n + 1 - (counts**2).sum() / n)


def runs_test(labels: np.ndarray) -> dict[str, Any]:
    """Test whether a sequence of classes has fewer runs than by chance (Wald and Wolfowitz).

    For K classes (Barton and David, Biometrika 44:168-178, 1957), with N labels, n_k of each class, S = sum
    of n_k^2 and C = sum of n_k^3: mean N + 1 - S / N and variance
    (S (S + N (N + 1)) - 2 N C - N^3) / (N^2 (N - 1)).

    Args:
        labels: Classes in order, at least two different ones (N,).

    Returns:
        n, runs, expected, z, and the one-sided p value for at most this number of runs, corrected for
        continuity.
    """
    from scipy.stats import norm

    n = len(labels)
    counts = np.unique(labels, return_counts=True)[1].astype(float)
    squares, cubes = (counts**2).sum(), (counts**3).sum()
    runs = 1 + int((labels[1:] != labels[:-1]).sum())
    mean = expected_runs(labels)
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    if variance <= 0:  # every order has the same number of runs
        return {"n": n, "runs": runs, "expected": mean, "z": 0.0, "p": 1.0}
    z, corrected = (runs - mean) / np.sqrt(variance), (runs + 0.5 - mean) / np.sqrt(variance)
    return {"n": n, "runs": runs, "expected": mean, "z": float(z), "p": float(norm.cdf(corrected))}


def _findings(found: list[dict[str, Any]]) -> Iterator[Finding]:
    suspicious = [
        row
        for row in found
        if row["p"] <= ALPHA / len(found) and row["runs"] <= FEW * row["expected_of_groups"]
    ]
    if suspicious:
        worst = suspicious[0]
        others = f"; {len(suspicious) - 1} more series likewise" if len(suspicious) > 1 else ""
        yield Finding(
            "label_slices",
            "warning",
            f"In the order of their names the {worst['n']:,} images of the series {worst['series']} come in "
            f"{worst['runs']} unbroken runs of one class, where {worst['expected']:.0f} are expected{others}:"
            " the labels may have been assigned in slices.",
        )
