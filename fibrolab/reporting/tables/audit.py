"""The tables of an audit's page; a part that was not recorded has no table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fibrolab import keys
from fibrolab.evaluation import baselines as measured_baselines
from fibrolab.reporting import numbers
from fibrolab.reporting.tables.sheet import (
    Cell,
    Column,
    Sheet,
    coefficient,
    columns,
    count,
    line,
    p_value,
    probability,
    proportion,
)

Audit = Mapping[str, Any]
OWN = "run"
PROTOCOLS = {  # ways to split the images, by the audit's name
    OWN: "this split",
    "random": "random, all files",
    "distinct": "random, distinct images",
    "grouped": "groups kept together",
}
RULES = {  # how each baseline predicts the class
    "majority": "always the most frequent class",
    "hash_lookup": "class of the identical training image, if there is one",
    "nearest_neighbour": "class of the most similar thumbnail of 32 × 32 pixels",
    "size": "width, height, colour mode, file format",
    "acquisition": "as image size, with black border, rectangle, scanner and site",
    "metadata": "as acquisition, with file size, brightness, contrast and black area",
}
COPIES = {
    "bytes": Cell("Identical files", "the same bytes"),
    "pixels": Cell("Identical images", "the same pixels, in any file format"),
    "near": Cell("Near copies", "distinct images that are nearly the same, such as neighbouring frames"),
}
FACTS = {
    "size": "image size",
    "rectangle": "size of the rectangle",
    "mode": "colour mode",
    "format": "file format",
    "border": "black border",
    "pixel_aspect": "shape of the pixels",
    "profile": "colour profile",
    "burned_in": "names declared in the pixels",
}
MOST = 12  # lines of a long list that are shown


@dataclass(frozen=True)
class Baseline:
    """An accuracy and its interval; the bounds are NaN where none was computed."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def cell(self) -> Cell:
        """``41.2 %`` and, below it, ``[38.0, 44.1]``."""
        known = math.isfinite(self.low) and math.isfinite(self.high)
        return Cell(
            proportion(self.value), numbers.interval(self.low, self.high, "accuracy") if known else ""
        )


def protocol_baselines(audit: Audit) -> dict[str, dict[str, Baseline]]:
    """Return accuracy by baseline, then by protocol, both by the audit's names."""
    measured = audit.get("protocols") or {OWN: measured_baselines.of_audit(audit)}
    found: dict[str, dict[str, Baseline]] = {}
    for protocol in PROTOCOLS:
        part = measured.get(protocol) or {}
        bounds = {name: value for name, value in part.items() if isinstance(value, Mapping)}
        for name, value in measured_baselines.in_metric(part, "accuracy").items():
            low, high = (
                math.nan if bound is None else float(bound)
                for bound in (bounds.get(name, {}).get(end) for end in ("low", "high"))
            )
            found.setdefault(name, {})[protocol] = Baseline(value, low, high)
    known = [name for name in RULES if name in found]
    return {name: found[name] for name in [*known, *(name for name in found if name not in RULES)]}


def highest(audit: Audit) -> tuple[str, Baseline] | None:
    """Return name and accuracy of the highest baseline on the run's own split."""
    own = {name: row[OWN] for name, row in protocol_baselines(audit).items() if OWN in row}
    best = max(own, key=lambda name: own[name].value, default=None)
    return None if best is None else (numbers.baseline_name(best), own[best])


def baselines(audit: Audit) -> Sheet | None:
    """Return the accuracy of each baseline under each protocol, and its macro AUC on the run's own split."""
    measured, best = protocol_baselines(audit), highest(audit)
    used = [name for name in PROTOCOLS if any(name in row for row in measured.values())]
    if not used:
        return None
    areas = measured_baselines.in_metric(measured_baselines.of_audit(audit), "macro_auc")
    lines = []
    for name, row in measured.items():
        cells = [row[protocol].cell if protocol in row else Cell("–") for protocol in used]
        if areas:  # those of the own split, whose accuracy is in the first column
            cells.insert(1, Cell(numbers.quantity(areas[name], "macro_auc") if name in areas else "–"))
        title = numbers.baseline_name(name)
        strong = best is not None and best[0] == title
        lines.append(line(Cell(title.capitalize(), RULES.get(name, "")), *cells, strong=strong))
    caption = (
        "Accuracy of baselines that do not use the image content as a network does. The highest value in the "
        "column of this split is the accuracy that a network must exceed. The other columns are five-fold "
        "cross-validation of the same images: a decrease from left to right shows how much of the accuracy "
        "comes from recognising copies and patients. Brackets: 95 % confidence interval."
    )
    titles = [PROTOCOLS[name].capitalize() for name in used]
    if areas:
        titles.insert(1, "Macro AUC, this split")
    caption = caption.replace(" %", f"{numbers.SPACE}%")
    return Sheet("baselines", caption, columns("Baseline", *titles), lines, style="sheet broad")


def leak(audit: Audit) -> Sheet | None:
    """Return leakage between training and test sets, beside that of random splits of the same images."""
    measured = audit.get("leakage") or {}
    own = measured.get(OWN) or audit.get("leak")
    if not own:
        return None
    rows = {
        "exact": Cell("Test images with an identical copy in training"),
        "near": Cell("Test images with an identical or near copy in training"),
        "patients": Cell("Patients in more than one partition", "their test images are not independent"),
        "groups": Cell("Groups in more than one partition", "patients, or clusters of copies"),
        "lookup": Cell("Accuracy of hash look-up", "otherwise the most frequent class"),
    }
    if "patients" not in own:  # an audit that did not measure the proportions of patients and groups
        rows = {name: rows[name] for name in ("exact", "near")}
    others = {"random": "Random, same sizes", "literature": "Random, 80:20"}
    used = [name for name in others if measured.get(name)]
    lines = [
        line(title, proportion(own.get(name)), *(_spread(measured[other].get(name)) for other in used))
        for name, title in rows.items()
    ]
    draws = f" (mean ± SD of {measured['draws']} draws)" if used and "draws" in measured else ""
    caption = (
        "On this split every line but the last should be 0: images that are in both sets can be recognised "
        f"instead of diagnosed. Random splits of the same images{draws} show the leakage that would have "
        "occurred if images had been assigned one by one. Dash: not known."
    )
    titles = columns("Leakage", "This split", *(others[name] for name in used))
    return Sheet("leak", caption, titles, lines)


def _spread(value: Any) -> str:
    """Return ``95.6 ± 0.7 %`` for a mean and an SD."""
    if not value:
        return "–"
    return f"{100 * value['mean']:.1f} ± {proportion(value['sd'])}"


def copies(audit: Audit) -> Sheet | None:
    """Return the numbers of copies."""
    found = audit.get("copies")
    if not found:
        return None
    lines = []
    for name, title in COPIES.items():
        if part := found.get(name):
            largest = max(part.get("largest") or [0])
            sizes = (part.get("clusters"), part.get("members"), largest, part.get("conflicts"))
            lines.append(line(title, *map(count, sizes)))
    titles = columns("", "Clusters", "Images in them", "Largest", "Conflicting labels", texts=0)
    caption = (
        "A cluster contains images that are copies of each other, and must lie in one partition. Different "
        "labels in a cluster of identical images mean that at least one label is wrong."
    )
    return Sheet("copies", caption, titles, lines)


def clusters(audit: Audit) -> Sheet | None:
    """Return the most serious clusters, in the order and with the numbers of the contact sheet."""
    found = audit.get("clusters")
    if not found:
        return None
    lines = []
    for number, cluster in enumerate(found[:MOST], 1):
        labels = ", ".join(f"{count(n)} × {label}" for label, n in cluster["labels"].items())
        names = ", ".join(map(str, cluster["samples"][:3])) + (", …" if cluster["size"] > 3 else "")
        where = ", ".join(cluster["partitions"])
        patients = count(cluster["patients"]) if cluster["patients"] else "–"
        lines.append(
            line(str(number), cluster["kind"], count(cluster["size"]), labels, patients, where, names)
        )
    titles = {"No.": False, "Kind": False, "Images": True, "Labels": False, "Patients": True}
    titles |= {"Partitions": False, "First samples": False}
    caption = (
        "Clusters of copies, ordered by their numbers of labels, patients, partitions and images "
        f"({min(len(found), MOST)} of {len(found)} shown). Dash: no patient is known."
    )
    shown = [Column(title, number) for title, number in titles.items()]
    return Sheet("clusters", caption, shown, lines, style="broad clusters")


def confounding(audit: Audit) -> Sheet | None:
    """Return the association of the class with image acquisition."""
    found = audit.get("confounding")
    if found is None:
        return None
    strongest = sorted(found.items(), key=lambda item: -(item[1].get("v") or 0))
    lines = [
        line(
            FACTS.get(name, name).capitalize(),
            coefficient(row.get("v")),
            probability(row.get("p")),
            count(row.get("values")),
            count(row.get("n")),
        )
        for name, row in strongest
    ]
    caption = (
        "Association of the class with image acquisition. Cramér's V is 0 if they are independent and 1 if "
        "the class can be read from the property; p is for the hypothesis of independence. Each patient, or "
        "group where no patient is known, counts with one image; properties common to all images are left "
        "out."
    )
    titles = columns("Property", "Cramér's V", "p", "Values", "Images")
    empty = (
        "Size, rectangle, mode, format, border, shape of the pixels, colour profile, scanner and site are "
        "the same in all images: they carry no information on the class."
    )
    return Sheet("confounding", caption, titles, lines, empty=empty)


def order(audit: Audit) -> Sheet | None:
    """Return the test for blocks of equal labels among files in the order of their names."""
    found = audit.get("label_order")
    if found is None:
        return None
    lines = [
        line(
            row["series"],
            count(row["n"]),
            count(row["runs"]),
            Cell(f"{row['expected']:.1f}", f"groups kept together: {whole:.1f}" if whole else ""),
            f"{row['z']:.1f}".replace("-", numbers.MINUS),
            probability(row["p"]),
        )
        for row in found[:MOST]
        for whole in [row.get("expected_of_groups")]
    ]
    caption = (
        "Labels in the order of the file names, by series of names that differ only in their numbers (#). "
        "Far fewer runs of equal labels than expected, even if groups are kept together, suggest that labels "
        "were assigned in blocks, not case by case (Wald-Wolfowitz runs test, one-sided)."
    )
    titles = columns("Series", "Images", "Runs", "Expected", "z", "p")
    empty = "No series of file names is long enough and has more than one label."
    return Sheet("label order", caption, titles, lines, empty=empty)


def skipped(audit: Audit) -> Sheet | None:
    """Return the samples that were skipped as unreadable, by class; None without any."""
    found = audit.get("skipped")
    if not found:
        return None
    lines = [
        line(
            name,
            count(row["samples"]),
            count(row["skipped"]),
            proportion(row["skipped"] / row["samples"] if row["samples"] else None),
        )
        for name, row in found["classes"].items()
    ]
    caption = "Samples skipped as unreadable, by class."
    if found.get("p") is not None:
        caption += (
            f" Association with the class, on one sample of each known patient (n = {count(found['n'])}): "
            f"Cramér's V {coefficient(found['v'])}, {p_value(found['p'])}."
        )
    return Sheet("skipped", caption, columns("Class", "Samples", "Skipped", "Proportion"), lines)


def hygiene(audit: Audit) -> Sheet | None:
    """Return problems of files, labels and privacy to be corrected."""
    if not any(name in audit for name in ("small_classes", "identity", "implausible")):
        return None
    small = [
        f"{row['class']} in {row['partition']} (groups: {count(row['groups'])})"
        for row in audit.get("small_classes") or []
    ]
    fields = [f"{name} (files: {count(n)})" for name, n in (audit.get("identity") or {}).items()]
    personal = [str(name) for name in audit.get("personal_columns") or []]
    unreadable, odd = audit.get("left_out") or [], audit.get("implausible") or []
    spelt = audit.get("spellings") or {}
    ways = [" = ".join(map(str, ids)) for ids in spelt.get("examples") or []]
    checks = {
        "Files left out": (len(unreadable), "listed below" if unreadable else ""),
        "Classes too small for the split": (len(small), ", ".join(small)),
        "Patients with more than one label": (audit.get("patients_with_two_labels"), ""),
        "Patients whose id is spelt in several ways": (len(spelt) and spelt["patients"], ", ".join(ways)),
        "Samples of unknown patients": (audit.get("without_patient"), ""),
        "Implausible clinical values": (len(odd), "listed below" if odd else ""),
        "DICOM fields with personal data": (len(fields), ", ".join(fields)),
        "Columns that may contain personal data": (len(personal), ", ".join(personal)),
    }
    lines = [
        line(title, count(number), text, strong=bool(number)) for title, (number, text) in checks.items()
    ]
    titles = [*columns("Check", "Number"), Column("Details", number=False)]
    caption = "Every line should be 0, except that the stage of a patient may change between visits."
    return Sheet("hygiene", caption, titles, lines)


def partitions(audit: Audit) -> Sheet | None:
    """Return the number of images of each class in training, validation and test."""
    found = {
        name: audit["partitions"][name]
        for name in keys.PARTITIONS
        if (audit.get("partitions") or {}).get(name)
    }
    if not found:
        return None
    classes = list(next(iter(found.values())))
    rows = {name: [counts.get(name, 0) for counts in found.values()] for name in classes}
    rows["All"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines = [
        line(name, *map(count, cells), count(sum(cells)), strong=name == "All")
        for name, cells in rows.items()
    ]
    if groups := audit.get("partition_groups"):
        lines.append(line("Groups", *(count(groups.get(name)) for name in found), count(audit.get("groups"))))
    caption = (
        "Images by class and partition, and the number of groups (patients or clusters of copies). "
        "The groups of the test column, rather than its images, determine the precision of a score."
    )
    titles = columns("Class", *map(str.capitalize, found), "All")
    return Sheet("partitions", caption, titles, lines, style="compact")
