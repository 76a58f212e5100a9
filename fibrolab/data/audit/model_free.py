"""Baselines: scores reachable without a model, under the run's split and three other protocols."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fibrolab.data.audit import acquisition
from fibrolab.data.audit.evidence import Evidence, codes
from fibrolab.data.audit.finding import ALPHA, Finding, Level, percent
from fibrolab.data.audit.protocols import OUT, Protocol, protocols, whole_groups
from fibrolab.data.survey import THUMBNAIL
from fibrolab.evaluation.intervals.bootstrap import resample_weights
from fibrolab.evaluation.measures.metrics import evaluate

MOST = (
    20_000  # images for what compares all with all or is fitted: more take minutes and hardly move a baseline
)
RESAMPLES = 1000
METRICS = ("accuracy", "balanced_accuracy", "macro_auc")
SCORES = dict[str, dict[str, np.ndarray]]  # protocol -> baseline -> class shares (N, K)
SHORTCUTS: dict[str, tuple[Level, str]] = {
    "size": ("warning", "The size and format of an image alone put"),
    "acquisition": ("warning", "Acquisition alone (size, format, black border, scanner, site) puts"),
    # A note, since grey levels and the size of a compressed file follow the anatomy too.
    "metadata": ("note", "Acquisition, file size and grey levels alone put"),
}
BETTER = 0.05  # of accuracy: less is no shortcut worth a warning
WORTH_SAYING = 0.1  # of accuracy: what a random split adds to a nearest neighbour


def baselines(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Score what needs no network.

    - `majority`: the commonest class. `hash_lookup`: the class of the identical image, else the commonest.
    - `nearest_neighbour`: the class of the nearest 32 x 32 thumbnail (Euclid).
    - `size`: the commonest class of the same width, height, mode and format.
    - `acquisition`: trees on how a picture was taken; `metadata`: on that, file size and grey levels.

    Returns:
        `baselines` (accuracy under the run's split), `protocols` (by protocol and baseline: accuracy,
        balanced accuracy, macro AUC; for the run's split with the 95 % bootstrap interval over groups of the
        accuracy), `baselines_on` (images that the slow ones were measured on), and the findings.
    """
    dealt = protocols(evidence)
    kept = whole_groups(evidence.group, MOST, np.random.default_rng(evidence.seed))
    unlike = list({id(protocol): protocol for protocol in dealt.values()}.values())
    fitted = _fitted(evidence, [_thinned(protocol, kept) for protocol in unlike])
    known = {
        id(protocol): _looked_up(evidence, protocol) | more
        for protocol, more in zip(unlike, fitted, strict=True)
    }
    scores = {name: known[id(protocol)] for name, protocol in dealt.items()}
    table = {
        name: {baseline: _measured(name, share, dealt[name], evidence) for baseline, share in shares.items()}
        for name, shares in scores.items()
    }
    found = {
        "baselines": {baseline: value["accuracy"] for baseline, value in table.get("run", {}).items()},
        "protocols": table,
        "baselines_on": int(kept.sum()),
    }
    return found, list(_findings(table, scores, dealt, evidence))


def lookup(code: np.ndarray, labels: np.ndarray, fold: np.ndarray, num_classes: int) -> np.ndarray:
    """Compute the proportion of each class among the samples of the same code in all other folds.

    Args:
        code: What is looked up, 0 .. C-1 (N,).
        labels: Class of every sample (N,).
        fold: Fold of every sample, `OUT` for one that is never learned from (N,).
        num_classes: K.

    Returns:
        float64 (N, K); the shares in all other folds where the code is new there. Zero for an `OUT` sample.
    """
    known = np.flatnonzero(fold != OUT)
    code, labels, fold, size = code[known], labels[known], fold[known], len(fold)
    num_codes, num_folds = int(code.max()) + 1, int(fold.max()) + 1
    cell = code * num_folds + fold  # (n,)
    held = np.bincount(cell * num_classes + labels, minlength=num_codes * num_folds * num_classes)
    held = held.reshape(num_codes, num_folds, num_classes)
    elsewhere = held.sum(axis=1, keepdims=True) - held  # (C, F, K)
    everywhere = elsewhere.sum(axis=0)  # (F, K)
    counts = elsewhere[code, fold]
    counts = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, everywhere[fold]).astype(float)
    shares = np.zeros((size, num_classes))
    shares[known] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def nearest(points: np.ndarray, fold: np.ndarray, block: int = 512) -> np.ndarray:
    """Find the nearest point (Euclidean distance) that lies in another fold.

    Distances are computed once for all protocols, a block of rows at a time. Grey levels are shifted to
    -128 .. 127: up to 1,024 of them, every sum of products is a whole number of at most 2^24, which float32
    holds exactly, so an identical image is never farther than another.

    Args:
        points: Grey levels, uint8 (N, D).
        fold: Fold of every point under each of P protocols; a negative one is no neighbour (P, N).
        block: Rows compared at once; `block * N * 4` bytes a protocol.

    Returns:
        Row of the neighbour, int64 (P, N); of equals the first. Meaningless where no fold offers one.
    """
    vectors = points.astype(np.float32) - 128
    half_norms = np.einsum("nd,nd->n", vectors, vectors) / 2
    found = np.empty(fold.shape, np.int64)
    for start in range(0, len(vectors), block):
        rows = slice(start, start + block)
        nearness = vectors[rows] @ vectors.T - half_norms  # falls with the distance, row by row
        for protocol, of in enumerate(fold):
            barred = (of[rows, None] == of) | (of < 0)
            found[protocol, rows] = np.where(barred, -np.inf, nearness).argmax(axis=1)
    return found


def clearly_better(shares: np.ndarray, protocol: Protocol, evidence: Evidence) -> bool:
    """Test whether a baseline beats the commonest class by five points, and by more than chance.

    The points are those of the images. For the test every group counts once, with the mean gain of its
    images over the class that is commonest among groups: the commonest among images may be that of a few
    large groups, and over it every guess would gain. So under chance the sum over groups has mean zero at
    most, and `sum / sqrt(sum of squares)` is close to normal however the gains are distributed
    (self-normalised sums: de la Peña, Lai and Shao, Self-Normalized Processes, 2009). One-sided, at `ALPHA`.

    Args:
        shares: The baseline's class shares (N, K).
        protocol: Who is scored.
        evidence: The data.
    """
    from scipy.stats import norm

    rows = np.flatnonzero(protocol.scored & (shares.sum(axis=1) > 0))
    if not len(rows):
        return False
    labels, groups = evidence.labels[rows], np.unique(evidence.group[rows], return_inverse=True)[1]
    right = (shares[rows].argmax(axis=1) == labels).astype(float)
    better = right.mean() - np.bincount(labels).max() / len(labels)
    weight = 1 / np.bincount(groups)[groups]
    commonest = np.bincount(labels, weights=weight).argmax()
    gain = np.bincount(groups, weights=weight * (right - (labels == commonest)))
    return bool(better >= BETTER and gain.sum() > norm.isf(ALPHA) * np.sqrt((gain**2).sum()))


def _thinned(protocol: Protocol, kept: np.ndarray) -> Protocol:
    return Protocol(np.where(kept, protocol.fold, OUT), protocol.scored & kept)


def _looked_up(evidence: Evidence, protocol: Protocol) -> dict[str, np.ndarray]:
    size = codes(acquisition.stated(evidence.facts, ("width", "height", "mode", "format")))
    looked = {"majority": np.zeros_like(size), "hash_lookup": evidence.image, "size": size}
    return {
        name: lookup(code, evidence.labels, protocol.fold, len(evidence.classes))
        for name, code in looked.items()
    }


def _fitted(evidence: Evidence, dealt: list[Protocol]) -> list[dict[str, np.ndarray]]:
    """Compute the baselines that compare all pairs or fit a model."""
    if not dealt:
        return []
    rows = np.flatnonzero(np.any([protocol.fold != OUT for protocol in dealt], axis=0))
    folds = np.stack([protocol.fold[rows] for protocol in dealt])  # (P, n)
    neighbour = nearest(_thumbnails(evidence, rows), folds)
    tables = acquisition.tables(evidence)
    scores = []
    for protocol, fold, other in zip(dealt, folds, neighbour, strict=True):
        found = (fold[other] != OUT) & (fold[other] != fold)
        one_hot = np.zeros((len(evidence.labels), len(evidence.classes)))
        one_hot[rows[found], evidence.labels[rows[other[found]]]] = 1
        trees = {name: acquisition.fitted(table, evidence, protocol) for name, table in tables.items()}
        scores.append({"nearest_neighbour": one_hot} | trees)
    return scores


def _thumbnails(evidence: Evidence, rows: np.ndarray) -> np.ndarray:
    """Return thumbnails as vectors, uint8 (n, D)."""
    content = b"".join(evidence.facts["thumbnail"].iloc[rows])
    return np.frombuffer(content, np.uint8).reshape(len(rows), THUMBNAIL**2)


def _measured(name: str, shares: np.ndarray, protocol: Protocol, evidence: Evidence) -> dict[str, Any]:
    """Compute a baseline's metrics under one protocol; under the run's split with an interval of accuracy."""
    scored = protocol.scored & (shares.sum(axis=1) > 0)
    if not scored.any():
        return dict.fromkeys(METRICS)
    truth, answers = evidence.labels[scored], shares[scored]
    values = evaluate(truth, answers, evidence.classes, ordered=False)
    measured: dict[str, Any] = {metric: _number(values[metric][0]) for metric in METRICS}
    if name == "run":
        right = answers.argmax(axis=1) == truth
        measured |= _interval(right, evidence.group[scored], evidence.seed)
    return measured


def _interval(right: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, float | None]:
    """Compute the 95 % percentile bootstrap interval of an accuracy over groups; none for one group."""
    if len(np.unique(groups)) < 2:
        return {"low": None, "high": None}
    draws = [weights @ right / weights.sum(axis=1) for weights in resample_weights(groups, RESAMPLES, seed)]
    low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _findings(
    table: dict[str, Any], scores: SCORES, dealt: dict[str, Protocol], evidence: Evidence
) -> Iterator[Finding]:
    if "grouped" not in dealt:
        return
    accuracy = {baseline: value["accuracy"] for baseline, value in table["grouped"].items()}
    grouped, labels = dealt["grouped"], evidence.labels[dealt["grouped"].scored]
    commonest = percent(np.bincount(labels).max() / len(labels))
    above = {
        baseline: clearly_better(scores["grouped"][baseline], grouped, evidence) for baseline in SHORTCUTS
    }
    above["metadata"] &= not above["acquisition"]  # which it contains
    for baseline, (level, words) in SHORTCUTS.items():
        if above[baseline]:
            yield Finding(
                f"{baseline}_baseline",
                level,
                f"{words} {percent(accuracy[baseline])} of the images into the right class, groups kept "
                f"whole; the commonest class alone is right for {commonest}.",
            )
    random, whole = (table[name]["nearest_neighbour"]["accuracy"] or 0 for name in ("random", "grouped"))
    if random - whole > WORTH_SAYING:
        yield Finding(
            "random_neighbour",
            "note",
            f"The nearest neighbour on thumbnails scores {percent(random)} where all files are assigned at "
            f"random, and {percent(whole)} where groups are kept whole: the difference is "
            "recognition of copies.",
        )
