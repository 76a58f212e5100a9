"""The whole audit: every part of it, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit.confounding import confounding
from fibrolab.data.audit.copies import copies
from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.audit.finding import ranked, verdict
from fibrolab.data.audit.hygiene import hygiene
from fibrolab.data.audit.leakage import leakage
from fibrolab.data.audit.model_free import baselines
from fibrolab.data.audit.series import label_order
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split

VERSION = 8  # raise it when an audit of the same data would find otherwise: kept ones are then made anew
PARTS = (
    leakage,
    copies,
    confounding,
    label_order,
    baselines,
    hygiene,
)  # within a level, findings keep this order


def audit(
    manifest: Manifest,
    surveys: Mapping[str, pd.DataFrame],
    split: Split,
    labels: np.ndarray,
    classes: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """Say what a test score on this data and this split is worth, before anything is trained.

    Args:
        manifest: The samples.
        surveys: Survey of the files of each modality, row by row; `image` always.
        split: Whose leak is measured.
        labels: Class of every sample under the task, int64 (N,).
        classes: Names of those classes.
        seed: Of every draw.

    Returns:
        What `audit.json` holds: `verdict` (`ok`, `warning` or `fail`), `findings` (key, level, sentence;
        gravest first), `warnings` (their sentences without the notes), counts, and what the `PARTS` measured;
        a proportion that is not defined is None.
    """
    evidence = Evidence(manifest, surveys, split, labels, classes, seed)
    measured = [part(evidence) for part in PARTS]
    findings = ranked(finding for _, found in measured for finding in found)
    found: dict[str, Any] = {
        "verdict": verdict(findings),
        "name": manifest.name,
        "manifest": manifest.hash,
        "samples": len(manifest),
        "groups": len(np.unique(evidence.group)),
        "patients": len(np.unique(evidence.patient[evidence.patient >= 0])),
        "classes": _counts(labels, classes),
        "partitions": {part: _counts(labels[split.rows(part)], classes) for part in keys.PARTITIONS},
        "partition_groups": {
            part: len(np.unique(evidence.group[split.rows(part)])) for part in keys.PARTITIONS
        },
    }
    if list(classes) == list(manifest.classes):
        found["best_accuracy"] = dict(manifest.best_accuracy)
    for values, _ in measured:
        found |= values
    found["findings"] = [asdict(finding) for finding in findings]
    found["warnings"] = [finding.sentence for finding in findings if finding.level != "note"]
    return found


def _counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes))
    return {name: int(n) for name, n in zip(classes, counts, strict=True)}
