"""Baselines: scores reachable without a model, under the run's split and three other protocols."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fibrolab.data.audit import acquisition
from fibrolab.data.audit.evidence import Evidence, codes
from fibrolab.data.audit.finding import ALPHA, Finding, Level, percent
from fibrolab.data.audit.protocols import OUT, Protocol, protocols, whole_groups
from fibrolab.evaluation.intervals.bootstrap import resample_weights
from fibrolab.evaluation.measures.metrics import evaluate

# Images used by baselines that compare all pairs or fit a model: more take minutes and hardly change a score.
MOST = 20_000
RESAMPLES = 1000
METRICS = ("accuracy", "balanced_accuracy", "macro_auc")
SHORTCUTS: dict[str, tuple[Level, str]] = {
    "size": ("warning", "The size and format of an image alone put"),
    "acquisition": ("warning", "Acquisition alone (size, format, black border, scanner, site) puts"),
    # A note, since grey levels and the size of a compressed file also depend on the anatomy.
    "metadata": ("note", "Acquisition, file size and grey levels alone put"),
}
BETTER = 0.05  # least gain in accuracy over the commonest class that is reported as a shortcut
RANDOM_GAIN = 0.1  # least gain in accuracy of the nearest neighbour by a random split that is reported


def baselines(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Score the baselines that need no network.

    - `majority`: the commonest class. `hash_lookup`: the class of the identical image, else the commonest.
    - `nearest_neighbour`: the class of the nearest 32 x 32 thumbnail (Euclidean distance).
    - `size`: the commonest class of the same width, height, mode and format.
    - `acquisition`: trees on the variables of the acquisition; `metadata`: also on file size and grey levels.

    Returns:
        `baselines` (accuracy under the run's split), `protocols` (by protocol and baseline: accuracy,
        balanced accuracy, macro AUC; for the run's split also the 95 % bootstrap interval of the accuracy,
        resampling groups), `baselines_on` (number of images for the slow baselines), and the findings.
    """
    by_name = protocols(evidence)
    kept = whole_groups(evidence.group, MOST, np.random.default_rng(evidence.seed))
    distinct = list({id(protocol): protocol for protocol in by_name.values()}.values())
    slow = _slow_baselines(evidence, [_restricted(protocol, kept) for protocol in distinct])
    table: dict[str, dict[str, Any]] = {}
    better: dict[str, bool] = {}
    for protocol, more in zip(distinct, slow, strict=True):
        predictions = _lookup_baselines(evidence, protocol) | more  # of a million samples 40 MB each
        for name in [name for name, other in by_name.items() if other is protocol]:
            table[name] = {
                baseline: _scores(name, probabilities, protocol, evidence)
                for baseline, probabilities in predictions.items()
            }
        if protocol is by_name.get("grouped"):
            better = {name: clearly_better(predictions[name], protocol, evidence) for name in SHORTCUTS}
        del predictions, more
    found = {
        "baselines": {baseline: value["accuracy"] for baseline, value in table.get("run", {}).items()},
        "protocols": {name: table[name] for name in by_name},
        "baselines_on": int(kept.sum()),
    }
    return found, list(_findings(table, better, by_name, evidence))


def lookup(code: np.ndarray, labels: np.ndarray, fold: np.ndarray, num_classes: int) -> np.ndarray:
    """Compute the proportion of each class among the samples of the same code in all other folds.

    Args:
        code: Code of every sample, 0 .. C-1 (N,).
        labels: Class of every sample (N,).
        fold: Fold of every sample, `OUT` for one that is not counted (N,).
        num_classes: K.

    Returns:
        float64 (N, K). Where no other fold has the code: the class proportions of all other folds. Zero for
        an `OUT` sample.
    """
    known = np.flatnonzero(fold != OUT)
    code, labels, fold, size = code[known], labels[known], fold[known], len(fold)
    num_codes, num_folds = int(code.max()) + 1, int(fold.max()) + 1
    cell = code * num_folds + fold  # (n,)
    counts = np.bincount(cell * num_classes + labels, minlength=num_codes * num_folds * num_classes)
    counts = counts.reshape(num_codes, num_folds, num_classes)
    other_folds = counts.sum(axis=1, keepdims=True) - counts  # (C, F, K)
    any_code = other_folds.sum(axis=0)  # (F, K)
    of_sample = other_folds[code, fold]
    of_sample = np.where(of_sample.sum(axis=1, keepdims=True) > 0, of_sample, any_code[fold]).astype(float)
    proportions = np.zeros((size, num_classes))
    proportions[known] = of_sample / np.maximum(of_sample.sum(axis=1, keepdims=True), 1)
    return proportions


def nearest(points: np.ndarray, fold: np.ndarray, block: int = 512) -> np.ndarray:
    """Find the nearest point (Euclidean distance) in another fold.

    Distances are computed once for all protocols, a block of rows at a time. Grey levels are shifted to
    -128 .. 127: for up to 1,024 of them, every sum of products is an integer of at most 2^24, which float32
    represents exactly, so an identical image is never farther than another.

    Args:
        points: Grey levels, uint8 (N, D).
        fold: Fold of every point under each of P protocols; a point of negative fold is never a neighbour
            (P, N).
        block: Rows compared at once; takes `block * N * 4` bytes per protocol.

    Returns:
        Row of the neighbour, int64 (P, N); the first of several at equal distance. Without meaning for a
        point that has no neighbour in another fold.
    """
    vectors = points.astype(np.float32) - 128
    half_norms = np.einsum("nd,nd->n", vectors, vectors) / 2
    found = np.empty(fold.shape, np.int64)
    for start in range(0, len(vectors), block):
        rows = slice(start, start + block)
        nearness = vectors[rows] @ vectors.T - half_norms  # within a row, decreases with the distance
        for protocol, folds in enumerate(fold):
            excluded = (folds[rows, None] == folds) | (folds < 0)
            found[protocol, rows] = np.where(excluded, -np.inf, nearness).argmax(axis=1)
    return found


def clearly_better(probabilities: np.ndarray, protocol: Protocol, evidence: Evidence) -> bool:
    """Test whether a baseline beats the commonest class by five percentage points, and by more than chance.

    The percentage points are computed over images. In the test every group counts once, with the mean gain of
    its images over the class that is commonest among groups. (The class that is commonest among images may be
    that of a few large groups, and any guess would gain over it.) By chance, the sum over groups then has a
    mean of at most zero, and `sum / sqrt(sum of squares)` is close to normal for any distribution of the
    gains (self-normalised sums: de la Peña, Lai and Shao, Self-Normalized Processes, 2009). One-sided, at
    `ALPHA`.

    Args:
        probabilities: The baseline's class probabilities (N, K).
        protocol: The folds, and the samples that are scored.
        evidence: The data.
    """
    from scipy.stats import norm

    rows = np.flatnonzero(protocol.scored & (probabilities.sum(axis=1) > 0))
    if not len(rows):
        return False
    labels, groups = evidence.labels[rows], np.unique(evidence.group[rows], return_inverse=True)[1]
    correct = (probabilities[rows].argmax(axis=1) == labels).astype(float)
    better = correct.mean() - np.bincount(labels).max() / len(labels)
    weight = 1 / np.bincount(groups)[groups]
    commonest = np.bincount(labels, weights=weight).argmax()
    gain = np.bincount(groups, weights=weight * (correct - (labels == commonest)))
    return bool(better >= BETTER and gain.sum() > norm.isf(ALPHA) * np.sqrt((gain**2).sum()))


def _restricted(protocol: Protocol, kept: np.ndarray) -> Protocol:
    """Return the protocol for the kept samples alone, bool (N,)."""
    return Protocol(np.where(kept, protocol.fold, OUT), protocol.scored & kept)


def _lookup_baselines(evidence: Evidence, protocol: Protocol) -> dict[str, np.ndarray]:
    """Compute the baselines that look up a code in the other folds."""
    size = codes(acquisition.joined(evidence.facts, ("width", "height", "mode", "format")))
    code_of = {"majority": np.zeros_like(size), "hash_lookup": evidence.image, "size": size}
    return {
        name: lookup(code, evidence.labels, protocol.fold, len(evidence.classes))
        for name, code in code_of.items()
    }


def _slow_baselines(evidence: Evidence, distinct: list[Protocol]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the baselines that compare all pairs or fit a model, for each protocol."""
    if not distinct:
        return
    rows = np.flatnonzero(np.any([protocol.fold != OUT for protocol in distinct], axis=0))
    folds = np.stack([protocol.fold[rows] for protocol in distinct])  # (P, n)
    neighbours = nearest(evidence.thumbnails(rows), folds)
    tables = acquisition.tables(evidence)
    for protocol, fold, neighbour in zip(distinct, folds, neighbours, strict=True):
        found = (fold[neighbour] != OUT) & (fold[neighbour] != fold)
        one_hot = np.zeros((len(evidence.labels), len(evidence.classes)))
        one_hot[rows[found], evidence.labels[rows[neighbour[found]]]] = 1
        trees = {
            name: acquisition.tree_probabilities(table, evidence, protocol) for name, table in tables.items()
        }
        yield {"nearest_neighbour": one_hot} | trees


def _scores(name: str, probabilities: np.ndarray, protocol: Protocol, evidence: Evidence) -> dict[str, Any]:
    """Compute a baseline's metrics under one protocol; under the run's split with an interval of accuracy."""
    scored = protocol.scored & (probabilities.sum(axis=1) > 0)
    if not scored.any():
        return dict.fromkeys(METRICS)
    truth, predicted = evidence.labels[scored], probabilities[scored]
    values = evaluate(truth, predicted, evidence.classes, ordered=False)
    scores: dict[str, Any] = {metric: _number(values[metric][0]) for metric in METRICS}
    if name == "run":
        correct = predicted.argmax(axis=1) == truth
        scores |= _interval(correct, evidence.group[scored], evidence.seed)
    return scores


def _interval(correct: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, float | None]:
    """Compute the 95 % percentile bootstrap interval of an accuracy over groups; none for one group."""
    if len(np.unique(groups)) < 2:
        return {"low": None, "high": None}
    draws = [weights @ correct / weights.sum(axis=1) for weights in resample_weights(groups, RESAMPLES, seed)]
    low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _number(value: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if np.isnan(value) else float(value)


def _findings(
    table: dict[str, Any], better: dict[str, bool], by_name: dict[str, Protocol], evidence: Evidence
) -> Iterator[Finding]:
    if "grouped" not in by_name:
        return
    accuracy = {baseline: value["accuracy"] for baseline, value in table["grouped"].items()}
    labels = evidence.labels[by_name["grouped"].scored]
    commonest = percent(np.bincount(labels).max() / len(labels))
    better["metadata"] &= not better["acquisition"]  # its variables include those of the acquisition
    for baseline, (level, words) in SHORTCUTS.items():
        if better[baseline]:
            yield Finding(
                f"{baseline}_baseline",
                level,
                f"{words} {percent(accuracy[baseline])} of the images into the right class, groups kept "
                f"whole; the commonest class alone is right for {commonest}.",
            )
    random, whole = (table[name]["nearest_neighbour"]["accuracy"] or 0 for name in ("random", "grouped"))
    if random - whole > RANDOM_GAIN:
        yield Finding(
            "random_neighbour",
            "note",
            f"The nearest neighbour on thumbnails scores {percent(random)} where all files are assigned at "
            f"random, and {percent(whole)} where groups are kept whole: the difference is "
            "recognition of copies.",
        )
