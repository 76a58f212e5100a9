"""The page of an audit: the verdict first, then what it rests on; made from ``audit.json`` alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.reporting import html, numbers
from fibrolab.reporting.findings import VERDICTS, verdict
from fibrolab.reporting.tables import audit as audit_tables
from fibrolab.reporting.tables.sheet import count
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

LISTED = 50  # files and values named on the page
CAPTIONS = {
    "audit_baselines": "Accuracy that needs no network, by the way in which the images are dealt out.",
    "audit_clusters": "Contact sheet of the worst clusters of copies, numbered as in the table below. Under "
    "each picture stand its label, its partition and its sample's name.",
}
# What to do about a finding, by the audit's name of it.
ADVICE = {
    "undrawn": "Choose a split that the groups allow: fewer folds, or smaller parts.",
    "exact_leak": "Remove the copies, or use split=grouped, which keeps those without a patient together.",
    "patients_cross": "Use split=grouped, which keeps each patient in one partition.",
    "groups_cross": "Use split=grouped, which keeps each group in one partition.",
    "val_is_test": "Set a validation part aside from training, and score the test part once.",
    "conflicting_copies": "Look at them below, and correct or remove the wrong label.",
    "near_leak": "Look at them below: two patients who share an image may be one; without patients, use "
    "split=grouped.",
    "copies": "Keep one file of each; scores and intervals otherwise count an image several times.",
    "conflicting_near_copies": "Look at them below: neighbouring frames of one patient have one stage.",
    "confounding": "Bring all classes to one size, format and device, or validate on another site.",
    "size_baseline": "Bring all images to one size and format before they are labelled by class.",
    "acquisition_baseline": "Crop the borders, and balance scanners and sites over the classes.",
    "label_slices": "Ask the source how the labels came about; without an answer, do not rely on them.",
    "personal_columns": "Leave these columns out of the table, or give them another name if they are not.",
    "identity": "Remove these fields from the files before they are shared or logged.",
    "left_out": "Fetch the files again, or accept that they are missing.",
    "small_classes": "Collect more patients, merge classes, or use cross-validation.",
    "implausible": "Compare them with their source; a wrong unit is the commonest cause.",
    "two_labels": "Check that they come from visits years apart; otherwise one label is wrong.",
    "no_patients": "Add patient_id if it can be had: clusters never find all the images of one person.",
}


@dataclass(frozen=True)
class Level:
    """Findings of one gravity."""

    name: str
    sign: str
    title: str
    findings: list[tuple[str, str]]  # a sentence, and what to do about it


LEVELS = {"fail": "Failures", "warning": "Warnings", "note": "Worth knowing"}


def write(folder: Path) -> Path:
    """Write the page of an audit from the files of its folder; what is missing is said to be not recorded.

    The figures are taken from ``figures`` as they are: call `audit_figures.draw` first.

    Args:
        folder: Of an audit or of a run; holds ``audit.json``.

    Returns:
        The page, ``audit.html`` in that folder.

    Raises:
        DataError: ``folder`` is no folder.
        StorageError: The disk is full or the folder cannot be written.
    """
    return put(folder / keys.AUDIT_PAGE, html.render("audit.html.j2", _content(runs.read(folder))))


def _content(run: Run) -> dict[str, Any]:
    """Everything that the template shows."""
    audit = run.audit
    sheets = (
        audit_tables.baselines,
        audit_tables.leak,
        audit_tables.copies,
        audit_tables.clusters,
        audit_tables.confounding,
        audit_tables.order,
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
        "highest": audit_tables.highest(audit),
        "figures": html.pictures(run.folder / keys.FIGURES, CAPTIONS),
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
    """What was audited, in one line."""
    parts = [
        f"{name} {run.setting(f'{name}.name')}" for name in ("task", "split") if run.setting(f"{name}.name")
    ]
    if isinstance(run.audit.get("samples"), int):
        parts = [
            f"{count(run.audit['samples'])} samples in {len(run.audit.get('classes') or {})} classes",
            *parts,
        ]
    return ", ".join(parts)


def levels(audit: Mapping[str, Any]) -> list[Level]:
    """The findings, gravest first; an old audit has warnings only, as sentences."""
    found = audit.get("findings")
    if found is None:
        found = [{"level": "warning", "sentence": text} for text in audit.get("warnings") or []]
    shown = []
    for name, title in LEVELS.items():
        held = [
            (str(each.get("sentence", "")), ADVICE.get(str(each.get("key")), ""))
            for each in found
            if each.get("level") == name
        ]
        if held:
            shown.append(Level(name, VERDICTS[name].sign if name in VERDICTS else "i", title, held))
    return shown


def _facts(audit: Mapping[str, Any]) -> dict[str, str]:
    """What the data set holds."""
    words = {
        "samples": "Samples",
        "files": "Distinct files",
        "images": "Distinct images",
        "near_copies": "Distinct images with a near copy",
        "patients": "Patients",
        "groups": "Groups that must not be parted",
        "conflicting_copies": "Images with two labels",
    }
    known = dict(audit) | {
        "patients": audit.get("patients") or None
    }  # none named: not known, rather than nought
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
    """What the audit depends on."""
    commit = str(run.environment.get("git_commit") or "")
    drawn_from = run.audit.get("manifest") or ""
    if not drawn_from and run.split is not None and "manifest" in run.split:
        drawn_from = str(run.split["manifest"].iloc[0])
    measured = run.audit.get("baselines_on")
    facts = {
        "Manifest (SHA-256)": str(drawn_from),
        "Seed": str(run.setting("seed", "")),
        "Git commit": commit,
        "Images that the baselines were measured on": "" if measured is None else count(measured),
    }
    return {word: text or html.NOT_RECORDED for word, text in facts.items()}
