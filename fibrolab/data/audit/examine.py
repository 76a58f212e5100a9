"""The whole audit: every part of it, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit.confounding import confounding
from fibrolab.data.audit.copies import copies
from fibrolab.data.audit.evidence import Evidence, Thumbnails
from fibrolab.data.audit.finding import ranked, verdict
from fibrolab.data.audit.hygiene import hygiene
from fibrolab.data.audit.label_order import label_order
from fibrolab.data.audit.leakage import leakage
from fibrolab.data.audit.model_free import baselines
from fibrolab.data.audit.pixels import pixels
from fibrolab.data.audit.skipped import skipped
from fibrolab.data.audit.spellings import spellings
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split

VERSION = 13  # raise it when the result for the same data changes: stored audits are then computed again
# Within a level, findings keep this order.
PARTS = (leakage, spellings, copies, confounding, label_order, baselines, pixels, skipped, hygiene)
# The parts in which labels of samples have no part.
WITHOUT_LABELS = (leakage, spellings, copies, pixels, hygiene)
IMAGES = "images"  # the only class of a segmentation


def audit(
    manifest: Manifest,
    surveys: Mapping[str, pd.DataFrame],
    split: Split,
    labels: np.ndarray,
    classes: Sequence[str],
    thumbnails: Thumbnails,
    seed: int = 0,
    of_pixels: bool = False,
) -> dict[str, Any]:
    """Examine data and split before training: can a test score on them be trusted?

    Args:
        manifest: The samples.
        surveys: Survey of the files of each modality, one row per sample; `image` is always there.
        split: The split whose leakage is measured.
        labels: Class of every sample under the task, int64 (N,).
        classes: Names of those classes.
        thumbnails: Reads the thumbnails of some rows.
        seed: Seed of every random draw.
        of_pixels: Whether the task classifies pixels: labels of the samples, where there are some, then have
            no part in it, and neither baselines nor shortcuts are measured by them.

    Returns:
        Content of `audit.json`: `verdict` (`ok`, `warning` or `fail`), `findings` (key, level, sentence; the
        most serious first), `warnings` (sentences of the findings that are not notes), counts, and the
        measurements of the `PARTS`; a proportion that is not defined is None.
    """
    if of_pixels:
        labels, classes = np.zeros(len(manifest), np.int64), (IMAGES,)
    evidence = Evidence(manifest, surveys, split, labels, classes, thumbnails, seed)
    results = [part(evidence) for part in (WITHOUT_LABELS if of_pixels else PARTS)]
    findings = ranked(finding for _, part_findings in results for finding in part_findings)
    found: dict[str, Any] = {
        "verdict": verdict(findings),
        "name": manifest.name,
        "manifest": manifest.hash,
        "of_pixels": of_pixels,
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
    for measurements, _ in results:
        found |= measurements
    found["findings"] = [asdict(finding) for finding in findings]
    found["warnings"] = [finding.sentence for finding in findings if finding.level != "note"]
    return found


def _counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes))
    return {name: int(n) for name, n in zip(classes, counts, strict=True)}
