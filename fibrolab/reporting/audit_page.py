"""The page of an audit, made from ``audit.json`` alone: the verdict, then the findings and their tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.reporting import html, numbers
from fibrolab.reporting.run_sentences import VERDICT_TEXTS, verdict
from fibrolab.reporting.tables import audit as audit_tables
from fibrolab.reporting.tables.sheet import count
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

LISTED = 50  # files and values named on the page
CAPTIONS = {
    "audit_baselines": "Accuracy of the baselines, by the way in which the images are split.",
    "audit_clusters": "Contact sheet of clusters of copies, numbered as in the table below, with the label, "
    "partition and name of each sample.",
}
# Recommendations by the audit's key of a finding.
ADVICE = {
    "undrawn": "Choose a split that the groups allow: fewer folds, or smaller partitions.",
    "exact_leak": "Remove the copies, or use split=grouped, which keeps copies in one partition.",
    "patients_cross": "Use split=grouped, which keeps each patient in one partition.",
    "parted_spellings": "Write each patient's id in one way; where they are different people, write ids that "
    "differ in more than this.",
    "groups_cross": "Use split=grouped, which keeps each group in one partition.",
    "val_is_test": "Set aside a validation set from the training data, and score the test set once.",
    "conflicting_copies": "Inspect the images below, and correct or remove the wrong label.",
    "near_leak": "Inspect the images below: two patients who share an image may be one patient; where no "
    "patient is known, use split=grouped.",
    "spellings": "Write each patient's id in one way, or make sure that they are different people.",
    "copies": "Keep one file of each image; otherwise scores and intervals count an image several times.",
    "conflicting_near_copies": "Inspect the images below: neighbouring frames of one patient have one stage.",
    "confounding": "Bring all classes to one size, format and device, or validate on data of another site.",
    "size_baseline": "Bring all images to one size and format before they are sorted by class.",
    "acquisition_baseline": "Crop the borders, and balance scanners and sites over the classes.",
    "label_slices": "Ask the source how the labels were assigned; without an explanation, do not rely on "
    "them.",
    "personal_columns": "Remove these columns from the table, or rename them if they hold no personal data.",
    "identity": "Remove these fields from the files before they are shared or logged.",
    "burned_in": "Black out the text in the files before anything is shared; preprocess.crop=borders keeps "
    "it from the network only.",
    "pixel_aspect": "Export the pictures with square pixels and in one shape, which a network could learn "
    "instead of the liver.",
    "colour_profile": "Convert all files to sRGB or to grey of gamma 2.2, or remove a profile that is wrong.",
    "transparent": "Remove the channel of transparency, if the pictures look right without it.",
    "low_range": "Set data.decode.bits to the number of bits that the files use, such as 12, or export them "
    "again with their full range.",
    "flat": "Inspect them, and obtain the files again or leave them out; if their levels lie in the lowest "
    "bits of 16, set data.decode.bits=8.",
    "saturated": "Inspect them, and obtain the files again or leave them out.",
    "impossible_colours": "Set data.decode.colour=ycbcr if grey looks red and cyan, or "
    "data.decode.colour=rgb if black looks green; where only some files are so, correct their headers.",
    "tiled_planes": "Set data.decode.planes=by_plane for uncompressed DICOM, or correct the planar "
    "configuration in the headers; export other files again.",
    "skipped_by_class": "Obtain the files again, or find out why those of one class are unreadable: the "
    "classes may differ in more than the liver.",
    "left_out": "Convert the files or obtain them again, or accept that they are missing.",
    "pseudo_masks": "Report them as agreement with the classifier, or draw true masks of some test images.",
    "small_classes": "Include more patients, merge classes, or use cross-validation.",
    "implausible": "Compare the values with their source; a wrong unit is the most frequent cause.",
    "two_labels": "Verify that they come from visits years apart; otherwise one label is wrong.",
    "no_patients": "Add patient_id if it can be obtained: clusters never contain all images of a patient.",
}


@dataclass(frozen=True)
class Level:
    """Findings of one level of severity."""

    name: str
    sign: str
    title: str
    findings: list[tuple[str, str]]  # a sentence and its recommendation


LEVELS = {"fail": "Failures", "warning": "Warnings", "note": "Notes"}


def write(folder: Path) -> Path:
    """Write the page of an audit from the files of its folder; it states which parts were not recorded.

    The figures are read from ``figures``: call `figures.audit.draw` first.

    Args:
        folder: Folder of an audit or of a run, with ``audit.json``.

    Returns:
        The page, ``audit.html`` in that folder.

    Raises:
        DataError: ``folder`` does not exist or is a file.
        StorageError: The disk is full or the folder cannot be written.
    """
    return put(folder / keys.AUDIT_PAGE, html.render("audit.html.j2", _content(runs.read(folder))))


def _content(run: Run) -> dict[str, Any]:
    """Return all values that the template shows."""
    audit = run.audit
    sheets = (
        audit_tables.baselines,
        audit_tables.leak,
        audit_tables.copies,
        audit_tables.clusters,
        audit_tables.confounding,
        audit_tables.order,
        audit_tables.skipped,
        audit_tables.hygiene,
        audit_tables.partitions,
    )
    return {
        "name": str(audit.get("name") or run.setting("data.name", run.folder.name)),
        "lead": _lead(run),
        "verdict": verdict(run),
        "faults": run.faults,
        "levels": levels(audit),
        "facts": _facts(audit),
        "of_pixels": bool(audit.get("of_pixels")),
        "highest": audit_tables.highest(audit),
        "figures": html.pictures(run.folder / keys.FIGURES, lambda name: CAPTIONS.get(name, name)),
        "lists": {
            title: [str(text) for text in audit.get(name) or []]
            for name, title in (("left_out", "Files left out"), ("implausible", "Implausible values"))
        },
        "listed": LISTED,
        "command": run.command,
        "made_of": _made_of(run),
        **{make.__name__: make(audit) for make in sheets},
    }


def _lead(run: Run) -> str:
    """Return size, task and split in one line."""
    parts = [
        f"{name} {run.setting(f'{name}.name')}" for name in ("task", "split") if run.setting(f"{name}.name")
    ]
    if isinstance(run.audit.get("samples"), int):
        classes = f" in {len(run.audit.get('classes') or {})} classes"
        of_pixels = run.audit.get("of_pixels")
        parts = [f"{count(run.audit['samples'])} samples{'' if of_pixels else classes}", *parts]
    return ", ".join(parts)


def levels(audit: Mapping[str, Any]) -> list[Level]:
    """Return the findings by severity; without ``findings``, the warnings of the audit."""
    found = audit.get("findings")
    if found is None:
        found = [{"level": "warning", "sentence": text} for text in audit.get("warnings") or []]
    shown = []
    for name, title in LEVELS.items():
        of_level = [
            (str(each.get("sentence", "")), ADVICE.get(str(each.get("key")), ""))
            for each in found
            if each.get("level") == name
        ]
        if of_level:
            shown.append(
                Level(name, VERDICT_TEXTS[name].sign if name in VERDICT_TEXTS else "i", title, of_level)
            )
    return shown


def _facts(audit: Mapping[str, Any]) -> dict[str, str]:
    """Return the counts of the data set."""
    words = {
        "samples": "Samples",
        "files": "Distinct files",
        "images": "Distinct images",
        "near_copies": "Distinct images with a near copy",
        "patients": "Patients",
        "groups": "Independent groups (patients or clusters)",
        "conflicting_copies": "Images with conflicting labels",
    }
    known = dict(audit) | {"patients": audit.get("patients") or None}  # 0: no patient is known
    if not audit:
        return {}
    facts = {
        word: count(known[name]) if known.get(name) is not None else "not known"
        for name, word in words.items()
    }
    best = audit.get("best_accuracy") or {}
    return facts | {
        f"Best possible accuracy by {seen}": numbers.quantity(value, "accuracy")
        for seen, value in best.items()
    }


def _made_of(run: Run) -> dict[str, str]:
    """Return the versions and inputs on which the audit depends."""
    commit = str(run.environment.get("git_commit") or "")
    drawn_from = run.audit.get("manifest") or ""
    if not drawn_from and run.split is not None and "manifest" in run.split:
        drawn_from = str(run.split["manifest"].iloc[0])
    measured = run.audit.get("baselines_on")
    facts = {
        "Manifest (SHA-256)": str(drawn_from),
        "Seed": str(run.setting("seed", "")),
        "Git commit": commit,
        "Images used for the baselines": "" if measured is None else count(measured),
    }
    if run.audit.get("of_pixels"):
        del facts["Images used for the baselines"]
    return {word: text or html.NOT_RECORDED for word, text in facts.items()}
