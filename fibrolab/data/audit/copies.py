"""Copies: identical bytes, identical pixels and near copies, and the most serious clusters of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit.evidence import Evidence, distinct_in
from fibrolab.data.audit.finding import Finding, counted

WORST = 12  # clusters listed of each kind
SHOWN = 12  # samples named of each cluster


def copies(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Count copies, and copies with conflicting labels."""
    n, images = len(evidence.labels), len(evidence.first)
    near_sizes = np.bincount(evidence.near_cluster[evidence.first])
    conflicting = distinct_in(evidence.labels, evidence.image) > 1
    of_test = np.unique(evidence.image[evidence.split.rows(keys.TEST)])
    found = {
        "files": int(evidence.facts["file_sha256"].nunique()),
        "exact_copies": n - (int(evidence.bytes.max()) + 1),
        "images": images,
        "pixel_copies": n - images,
        "near_copies": int(near_sizes[near_sizes > 1].sum()),
        "conflicting_copies": int(conflicting.sum()),
        "conflicting_test_copies": int(conflicting[of_test].sum()),
        "copies": {
            "bytes": _summary(evidence.bytes, evidence.labels),
            "pixels": _summary(evidence.image, evidence.labels),
            "near": _summary(evidence.near_cluster[evidence.first], evidence.labels[evidence.first]),
        },
        "clusters": _worst(evidence),
    }
    return found, list(_findings(found, n))


def _summary(cluster: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Count clusters of several members, their members, and those with two labels; list the largest."""
    sizes = np.bincount(cluster)
    several = sizes > 1
    return {
        "clusters": int(several.sum()),
        "members": int(sizes[several].sum()),
        "largest": [int(size) for size in np.sort(sizes[several])[::-1][:5]],
        "conflicts": int((distinct_in(labels, cluster)[several] > 1).sum()),
    }


def _worst(evidence: Evidence) -> list[dict[str, Any]]:
    """List the most serious clusters: those with most labels, then patients, then partitions, then images."""
    all_rows = np.arange(len(evidence.labels))
    kinds = (("identical", evidence.image, all_rows), ("near", evidence.near_cluster, evidence.first))
    worst = [
        _described(kind, rows[cluster[rows] == number], evidence)
        for kind, cluster, rows in kinds
        for number in _ranked(cluster[rows], rows, evidence)[:WORST]
    ]
    return sorted(worst, key=_sort_key)


def _sort_key(cluster: dict[str, Any]) -> tuple[int, ...]:
    """Return a key that sorts the most serious cluster first."""
    return (-len(cluster["labels"]), -cluster["patients"], -len(cluster["partitions"]), -cluster["size"])


def _ranked(cluster: np.ndarray, rows: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Return the numbers of the clusters with several members, the most serious first."""
    partition = np.unique(evidence.split.partitions.astype(str), return_inverse=True)[1]
    sizes = np.bincount(cluster)
    counts = [distinct_in(codes[rows], cluster) for codes in (evidence.labels, evidence.patient, partition)]
    counts = [np.pad(count, (0, len(sizes) - len(count))) for count in counts]
    order = np.lexsort([np.arange(len(sizes)), -sizes, *(-count for count in counts[::-1])])
    return order[sizes[order] > 1]


def _described(kind: str, rows: np.ndarray, evidence: Evidence) -> dict[str, Any]:
    """Describe one cluster; its first listed samples have different labels, so that every label is shown."""
    rank_in_label = pd.Series(evidence.labels[rows]).groupby(evidence.labels[rows]).cumcount().to_numpy()
    shown = rows[np.argsort(rank_in_label, kind="stable")][:SHOWN]
    names = [evidence.classes[label] for label in evidence.labels[rows]]
    patients = evidence.patient[rows]
    partitions = set(evidence.split.partitions[rows])
    return {
        "kind": kind,
        "size": len(rows),
        "labels": {name: names.count(name) for name in evidence.classes if name in names},
        "patients": len(np.unique(patients[patients >= 0])),
        "partitions": [part for part in keys.PARTITIONS if part in partitions],
        "samples": evidence.manifest.table[keys.SAMPLE_ID].iloc[shown].tolist(),
        "sample_labels": [evidence.classes[label] for label in evidence.labels[shown]],
        "sample_partitions": evidence.split.partitions[shown].tolist(),
    }


def _findings(found: dict[str, Any], n: int) -> Iterator[Finding]:
    conflicts, tested = found["conflicting_copies"], found["conflicting_test_copies"]
    if tested:
        yield Finding(
            "conflicting_copies",
            "fail",
            f"Images that carry more than one label: {conflicts}, of which {tested} in the test partition. "
            "At least one label of each is wrong, and a score on them means nothing.",
        )
    elif conflicts:
        yield Finding(
            "conflicting_copies",
            "warning",
            f"Images that carry more than one label: {conflicts}, none of them in the test partition. At "
            "least one label of each is wrong.",
        )
    if found["pixel_copies"]:
        other = found["pixel_copies"] - found["exact_copies"]
        bytes_too = f" ({other} of them in other bytes)" if other else ""
        yield Finding(
            "copies",
            "warning",
            f"Identical copies: {found['pixel_copies']:,} of {n:,} samples{bytes_too}; distinct images: "
            f"{found['images']:,}.",
        )
    near = found["copies"]["near"]
    if near["conflicts"]:
        yield Finding(
            "conflicting_near_copies",
            "warning",
            f"Clusters of near copies that hold more than one label: {near['conflicts']}.",
        )
    if near["clusters"]:
        yield Finding(
            "near_copies",
            "note",
            f"Near copies: {near['members']:,} distinct images in {counted(near['clusters'], 'cluster')}, "
            f"the largest of {near['largest'][0]:,}.",
        )
