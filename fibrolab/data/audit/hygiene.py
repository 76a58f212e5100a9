"""Hygiene: unreadable files, small classes, contradictions, implausible values, personal data."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit.evidence import Evidence, distinct_in
from fibrolab.data.audit.finding import Finding, counted, listed
from fibrolab.data.formats.contract import BURNED_IN

# Names of columns with personal data, which a hospital's table may contain and every run would then log.
_PERSONAL = re.compile(
    r"(patient|first|last|given|family|sur)_?name|^name$|birth|(^|_)(dob|mrn|ssn|address|phone|e?mail)($|_)",
    re.IGNORECASE,
)
MANY_SKIPPED = 0.05  # proportion of unreadable samples from which the others may not represent the data
FEWEST = 5  # groups of a class in the test partition: with fewer, intervals of its sensitivity are too wide


def hygiene(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Count faults that a curator would correct before training."""
    from fibrolab.data.clinical import implausible

    known = evidence.patient >= 0
    labels_each = distinct_in(evidence.labels[known], evidence.patient[known]) if known.any() else np.empty(0)
    found = {
        "left_out": list(evidence.manifest.left_out),
        "small_classes": _small(evidence),
        "patients_with_two_labels": int((labels_each > 1).sum()),
        "implausible": implausible(evidence.manifest.table),
        "identity": _identity(evidence),
        "burned_in": _burned_in(evidence),
        "without_patient": int((~known).sum()),
        "personal_columns": _personal_columns(evidence),
    }
    if evidence.manifest.masks_from:
        found["masks_from"] = evidence.manifest.masks_from
    return found, list(_findings(found, len(known), len(evidence.manifest.skipped), len(evidence.classes)))


def _personal_columns(evidence: Evidence) -> list[str]:
    """Name the columns that seem personal; with hashed ids, none of the user's own columns is logged."""
    if evidence.manifest.ids_key:
        return []
    return [str(name) for name in evidence.manifest.table if _PERSONAL.search(str(name))]


def _small(evidence: Evidence) -> list[dict[str, Any]]:
    """List classes that are absent from a partition or have too few groups in the test partition."""
    small: list[dict[str, Any]] = []
    if evidence.split.fault:
        return small  # the leakage part reports the fault of the split
    rows_of = {partition: evidence.split.rows(partition) for partition in keys.PARTITIONS}
    for label, name in enumerate(evidence.classes):
        for partition, rows in rows_of.items():
            if partition != keys.TEST and not len(rows):
                continue  # external evaluation has a test partition only
            groups = len(np.unique(evidence.group[rows[evidence.labels[rows] == label]]))
            if groups < (FEWEST if partition == keys.TEST else 1):
                small.append({"class": name, "partition": partition, "groups": groups})
    return small


def _identity(evidence: Evidence) -> dict[str, int]:
    """Count the files of any modality that hold each identifying header field; values are not reported."""
    files = pd.concat(evidence.surveys.values()).drop_duplicates("file_sha256")
    fields = Counter(field for fields in files["identity"] if fields for field in str(fields).split(","))
    return dict(sorted(fields.items()))


def burned_in(facts: pd.DataFrame) -> np.ndarray:
    """Return which files of a survey declare in their header that the pixels show who it is, bool (N,)."""
    declaring = [each for each in facts["identity"].unique() if BURNED_IN in str(each).split(",")]
    return facts["identity"].isin(declaring).to_numpy(bool)


def _burned_in(evidence: Evidence) -> dict[str, Any]:
    """Count the files, patients and, where there are several sites, files by site with `burned_in`."""
    rows = {name: burned_in(facts) for name, facts in evidence.surveys.items()}
    files = pd.concat([facts["file_sha256"][rows[name]] for name, facts in evidence.surveys.items()])
    if files.empty:
        return {}
    some = np.logical_or.reduce(list(rows.values()))
    patients, sites = evidence.patient[some], evidence.manifest.table[keys.SITE]
    found: dict[str, Any] = {"files": files.nunique(), "patients": len(np.unique(patients[patients >= 0]))}
    if sites.nunique() > 1:
        samples = pd.Series(some).groupby(sites.to_numpy()).sum()
        found["samples_by_site"] = {str(site): int(number) for site, number in samples.items()}
    return found


def _findings(found: dict[str, Any], samples: int, skipped: int, classes: int) -> Iterator[Finding]:
    fields = [f"{name} in {counted(n, 'file')}" for name, n in found["identity"].items() if name != BURNED_IN]
    if fields:
        yield Finding(
            "identity",
            "warning",
            f"DICOM headers still identify patients: {listed(fields)}. Anonymise the files.",
        )
    if burned := found["burned_in"]:
        of_patients = f" of {counted(burned['patients'], 'patient')}" if burned["patients"] else ""
        of_sites = [f"{site or 'unknown'} {n:,}" for site, n in burned.get("samples_by_site", {}).items()]
        where = f" (samples by site: {listed(of_sites)})" if of_sites else ""
        yield Finding(
            "burned_in",
            "warning",
            f"DICOM headers declare that the pixels show who the patient is ({BURNED_IN}): "
            f"{counted(burned['files'], 'file')}{of_patients}{where}. "
            "Figures, pages and exports show these pixels.",
        )
    if columns := found["personal_columns"]:
        yield Finding(
            "personal_columns",
            "warning",
            f"Columns of the table that seem personal and are logged with every run: {listed(columns)}.",
        )
    if origin := found.get("masks_from"):
        yield Finding(
            "pseudo_masks",
            "warning",
            f"The masks are pseudo-masks, made from {origin}. Measures against them are agreement with the "
            "classifier's maps, not with anatomy.",
        )
    if left_out := found["left_out"]:
        sentence = f"Files left out: {len(left_out):,}. The first: {listed(left_out, most=3)}."
        if skipped >= MANY_SKIPPED * (samples + skipped):
            yield Finding(
                "left_out", "warning", f"{sentence} {skipped:,} of {samples + skipped:,} samples are missing."
            )
        else:
            yield Finding("left_out", "note", sentence)
    if small := found["small_classes"]:
        named = [f"{row['class']} in {row['partition']} ({counted(row['groups'], 'group')})" for row in small]
        what, of = (
            (f"Classes too small for this split: {listed(named)}", "scores of a class")
            if classes > 1
            else (f"Test partition too small: {counted(small[0]['groups'], 'group')}", "its scores")
        )
        yield Finding(
            "small_classes",
            "warning",
            f"{what}. With fewer than {FEWEST} groups in the test partition, {of} are unreliable.",
        )
    if values := found["implausible"]:
        yield Finding(
            "implausible", "warning", f"Implausible clinical values: {len(values)}. The first: {values[0]}"
        )
    if several := found["patients_with_two_labels"]:
        yield Finding(
            "two_labels",
            "warning",
            f"Patients with more than one label: {several}. This is plausible only for visits years apart.",
        )
    if nameless := found["without_patient"]:
        yield Finding(
            "no_patients",
            "warning",
            f"Samples whose patient is not known: {nameless:,} of {samples:,}. Their groups are clusters of "
            "similar images, not patients.",
        )
