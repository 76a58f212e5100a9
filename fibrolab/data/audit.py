"""The audit: what a test score on this data and this split is worth, before anything is trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.duplicates import near_pairs
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split


def audit(
    manifest: Manifest, facts: pd.DataFrame, split: Split, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Count copies, measure the leak of this split, and score what needs no model.

    Args:
        manifest: The samples.
        facts: Survey of their image files, row by row.
        split: Whose leak is measured.
        labels: Class of every sample under the task, int64 (N,).
        classes: Names of those classes.

    Returns:
        What `audit.json` holds: counts, copies, leak, floors, a verdict (`ok`, `warning` or `fail`) and a
        sentence on every finding.
    """
    content = np.unique(facts["sha256"].to_numpy(str), return_inverse=True)[1]
    first = np.unique(content, return_index=True)[1]
    pairs = near_pairs(facts["phash"].iloc[first].tolist())
    conflicts = int((pd.Series(labels).groupby(content).nunique() > 1).sum())
    leak = _leak(content, pairs, split)
    found: dict[str, Any] = {
        "name": manifest.name,
        "samples": len(manifest),
        "files": len(first),
        "groups": int(pd.unique(manifest.groups).size),
        "patients": int(manifest.table[keys.PATIENT_ID].replace("", pd.NA).nunique()),
        "classes": _counts(labels, classes),
        "exact_copies": len(manifest) - len(first),
        "near_copies": len(np.unique(pairs)),
        "conflicting_copies": conflicts,
        "left_out": list(manifest.left_out),
        "partitions": {part: _counts(labels[split.rows(part)], classes) for part in keys.PARTITIONS},
        "leak": leak | {"groups": split.crossing},
        "floors": _floors(content, labels, split),
    }
    warnings = _warnings(found, split)
    fatal = conflicts > 0 or leak["exact"] > 0 or split.crossing > 0 or split.val_is_test
    return {"verdict": "fail" if fatal else "warning" if warnings else "ok", **found, "warnings": warnings}


def _counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes))
    return {name: int(n) for name, n in zip(classes, counts, strict=True)}


def _leak(content: np.ndarray, pairs: np.ndarray, split: Split) -> dict[str, float]:
    """Shares of the test images with an identical, and with an identical or near, image in training."""
    seen = np.zeros(content.max() + 1, bool)
    seen[content[split.rows(keys.TRAIN)]] = True
    near = seen.copy()
    np.logical_or.at(near, pairs[:, 0], seen[pairs[:, 1]])
    np.logical_or.at(near, pairs[:, 1], seen[pairs[:, 0]])
    test = content[split.rows(keys.TEST)]
    return {"exact": float(seen[test].mean()), "near": float(near[test].mean())}


def _floors(content: np.ndarray, labels: np.ndarray, split: Split) -> dict[str, float]:
    """Accuracies on the test part without any model: the commonest class, and looking a hash up."""
    train, test = split.rows(keys.TRAIN), split.rows(keys.TEST)
    commonest = int(np.bincount(labels[train]).argmax())
    known = pd.Series(labels[train], index=content[train]).groupby(level=0).first()
    answers = known.reindex(content[test]).fillna(commonest).to_numpy()
    return {
        "majority": float((labels[test] == commonest).mean()),
        "hash_lookup": float((labels[test] == answers).mean()),
    }


def _warnings(found: dict[str, Any], split: Split) -> list[str]:
    """The findings as sentences, the gravest first."""
    leak, floors = found["leak"], found["floors"]
    sentences = [
        (
            leak["exact"] > 0,
            f"{leak['exact']:.1%} of the test images have an identical copy in training: looking the file's "
            f"hash up scores {floors['hash_lookup']:.1%} accuracy without a model. "
            "Scores on this split prove nothing.",
        ),
        (
            split.crossing > 0,
            f"Groups (patients or clusters of copies) that cross partitions: {split.crossing}.",
        ),
        (split.val_is_test, "The epoch was chosen on the test partition (val_is_test): no score tests it."),
        (
            found["conflicting_copies"] > 0,
            f"Images that carry more than one label: {found['conflicting_copies']}.",
        ),
        (
            leak["near"] > leak["exact"],
            f"{leak['near']:.1%} of the test images have an identical or near copy in training.",
        ),
        (
            found["exact_copies"] > 0,
            f"{found['exact_copies']} of {found['samples']} files are identical copies of another: there are "
            f"{found['files']} distinct images.",
        ),
        (found["patients"] == 0, "No patients are known: groups are clusters of alike images, not people."),
        (bool(found["left_out"]), f"Unreadable files left out: {len(found['left_out'])}."),
    ]
    return [sentence for holds, sentence in sentences if holds]
