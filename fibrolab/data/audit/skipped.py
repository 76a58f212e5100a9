"""Skipped samples: whether the files that could not be read go with the class."""

from typing import Any

import numpy as np

from fibrolab import keys
from fibrolab.data.audit.confounding import STRONG, conditional_p, contingency, cramers_v
from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.audit.finding import ALPHA, Finding, counted, percent


def skipped(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Count skipped samples by class, and test their association with it, on one sample of each patient.

    Samples of unknown patients count each, since no cluster is known of a file that cannot be read. The
    classes are those of the data, whatever the task merges.
    """
    manifest = evidence.manifest
    if not len(manifest.skipped):
        return {"skipped": {}}, []
    labels = np.concatenate([manifest.labels, manifest.skipped[keys.LABEL].to_numpy(np.int64)])
    patients = np.concatenate([table[keys.PATIENT_ID] for table in (manifest.table, manifest.skipped)])
    missing = np.arange(len(labels)) >= len(manifest)
    known = np.flatnonzero(labels != keys.UNLABELLED)
    of_class = {
        name: {
            "samples": int((labels == label).sum()),
            "skipped": int((missing & (labels == label)).sum()),
        }
        for label, name in enumerate(manifest.classes)
    }
    found: dict[str, Any] = {"classes": of_class}
    rows = _independent(patients[known], evidence.seed)
    table = contingency(labels[known][rows], missing[known][rows]) if len(rows) else np.zeros((0, 0))
    if min(table.shape) > 1:
        found |= {
            "v": cramers_v(table),
            "p": conditional_p(table, np.random.default_rng(evidence.seed)),
            "n": int(table.sum()),
        }
    return {"skipped": found}, _findings(found)


def _independent(patients: np.ndarray, seed: int) -> np.ndarray:
    """Return one random row of each patient, and all rows without a patient, int64 (U,)."""
    units = np.where(patients == "", np.arange(len(patients)).astype(str), patients.astype(object) + " ")
    order = np.random.default_rng(seed).permutation(len(patients))
    return np.sort(order[np.unique(units[order].astype(str), return_index=True)[1]])


def _findings(found: dict[str, Any]) -> list[Finding]:
    if found.get("p", 1) > ALPHA or found.get("v", 0) < STRONG:
        return []
    parts = [
        f"{percent(counts['skipped'] / counts['samples'])} of {name}"
        for name, counts in found["classes"].items()
        if counts["samples"]
    ]
    sentence = (
        f"The samples skipped as unreadable go with the class: {', '.join(parts)} (Cramér's V "
        f"{found['v']:.2f} on {counted(found['n'], 'independent sample')}). Scores describe what is left."
    )
    return [Finding("skipped_by_class", "warning", sentence)]
