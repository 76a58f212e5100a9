"""What an audit found, as the tables of its page: a part that was not recorded has no table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fibrolab import keys
from fibrolab.evaluation import baselines as measured_baselines
from fibrolab.reporting import numbers
from fibrolab.reporting.tables.sheet import Cell, Column, Sheet, coefficient, count, line, probability, share

Audit = Mapping[str, Any]
OWN = "run"
PROTOCOLS = {  # ways to deal the images out, by the audit's name
    OWN: "this split",
    "random": "random, all files",
    "distinct": "random, distinct images",
    "grouped": "groups kept whole",
}
RULES = {  # what each baseline answers by
    "majority": "always the commonest class",
    "hash_lookup": "the class of the identical image, if there is one",
    "nearest_neighbour": "the class of the most alike thumbnail of 32 × 32 pixels",
    "size": "width, height, colour mode, file format",
    "acquisition": "these, and black border, rectangle, scanner, site",
    "metadata": "these, and file size, brightness, contrast, black area",
}
COPIES = {
    "bytes": Cell("Identical files", "the same bytes"),
    "pixels": Cell("Identical images", "the same pixels, in whatever file"),
    "near": Cell("Near copies", "distinct images that hardly differ, such as neighbouring frames"),
}
FACTS = {
    "size": "image size",
    "rectangle": "size of the rectangle",
    "mode": "colour mode",
    "format": "file format",
    "border": "black border",
}
MOST = 12  # lines of a list that may be long


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
        return Cell(share(self.value), numbers.interval(self.low, self.high, "accuracy") if known else "")


def protocol_baselines(audit: Audit) -> dict[str, dict[str, Baseline]]:
    """Accuracy by baseline, then by protocol, both by the audit's names; an old audit knows one protocol."""
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
    """The baseline that scores best on the run's own split, in words, and what it scores."""
    own = {name: row[OWN] for name, row in protocol_baselines(audit).items() if OWN in row}
    best = max(own, key=lambda name: own[name].value, default=None)
    return None if best is None else (numbers.baseline_name(best), own[best])


def baselines(audit: Audit) -> Sheet | None:
    """Accuracy of each baseline under each protocol, and its macro AUC on the run's own split."""
    measured, best = protocol_baselines(audit), highest(audit)
    used = [name for name in PROTOCOLS if any(name in row for row in measured.values())]
    if not used:
        return None
    areas = measured_baselines.in_metric(measured_baselines.of_audit(audit), "macro_auc")
    lines = []
    for name, row in measured.items():
        cells = [row[protocol].cell if protocol in row else Cell("–") for protocol in used]
        if areas:  # of the own split, which then stands first
            cells.insert(1, Cell(numbers.quantity(areas[name], "macro_auc") if name in areas else "–"))
        title = numbers.baseline_name(name)
        strong = best is not None and best[0] == title
        lines.append(line(Cell(title.capitalize(), RULES.get(name, "")), *cells, strong=strong))
    caption = (
        "Accuracy of rules that need no network. Read the column of this split: a network must "
        "beat its highest number. The other columns are five-fold cross-validation of the same images; what "
        "falls there from left to right is recognition of copies and of patients. Brackets: 95 % interval."
    )
    titles = [PROTOCOLS[name].capitalize() for name in used]
    if areas:
        titles.insert(1, "Its macro AUC")
    columns = [Column("Rule", False), *map(Column, titles)]
    return Sheet("baselines", caption.replace(" %", f"{numbers.SPACE}%"), columns, lines, style="sheet broad")


def leak(audit: Audit) -> Sheet | None:
    """What crosses from training into the test, beside what random splits would have let through."""
    measured = audit.get("leakage") or {}
    own = measured.get(OWN) or audit.get("leak")
    if not own:
        return None
    rows = {
        "exact": Cell("Test images with an identical copy in training"),
        "near": Cell("Test images with an identical or near copy in training"),
        "patients": Cell("Patients in more than one partition", "their images cannot test each other"),
        "groups": Cell("Groups in more than one partition", "patients, or clusters of copies"),
        "lookup": Cell("Accuracy of looking an image up", "else the commonest class"),
    }
    if "patients" not in own:  # an old audit counts groups, and knows no share of them
        rows = {name: rows[name] for name in ("exact", "near")}
    others = {"random": "Random, same shares", "literature": "Random, 80:20"}
    used = [name for name in others if measured.get(name)]
    lines = [
        line(title, share(own.get(name)), *(_spread(measured[other].get(name)) for other in used))
        for name, title in rows.items()
    ]
    draws = f" (mean ± SD of {measured['draws']} draws)" if used and "draws" in measured else ""
    caption = (
        "On this split every line but the last should read 0: what crosses can be answered from memory. "
        f"Random splits of the same images{draws} show what would have crossed, had the images been dealt "
        "out one by one. A dash: not known."
    )
    columns = [Column("What crosses", False), Column("This split"), *(Column(others[name]) for name in used)]
    return Sheet("leak", caption, columns, lines)


def _spread(value: Any) -> str:
    """``95.6 ± 0.7 %`` of a mean and an SD."""
    if not value:
        return "–"
    return f"{100 * value['mean']:.1f} ± {share(value['sd'])}"


def copies(audit: Audit) -> Sheet | None:
    """How much is there more than once."""
    found = audit.get("copies")
    if not found:
        return None
    lines = []
    for name, title in COPIES.items():
        if part := found.get(name):
            largest = max(part.get("largest") or [0])
            sizes = (part.get("clusters"), part.get("members"), largest, part.get("conflicts"))
            lines.append(line(title, *map(count, sizes)))
    columns = [
        Column(""),
        Column("Clusters"),
        Column("Images in them"),
        Column("Largest"),
        Column("Two labels"),
    ]
    caption = (
        "A cluster holds images that are alike. All of it must lie in one partition; two labels in one "
        "cluster of identical images mean that one of them is wrong."
    )
    return Sheet("copies", caption, columns, lines)


def clusters(audit: Audit) -> Sheet | None:
    """The worst clusters, in the order and under the numbers of the contact sheet."""
    found = audit.get("clusters")
    if not found:
        return None
    lines = []
    for number, cluster in enumerate(found[:MOST], 1):
        held = ", ".join(f"{count(n)} × {label}" for label, n in cluster["labels"].items())
        names = ", ".join(map(str, cluster["samples"][:3])) + (", …" if cluster["size"] > 3 else "")
        where = ", ".join(cluster["partitions"])
        patients = count(cluster["patients"]) if cluster["patients"] else "–"
        lines.append(line(str(number), cluster["kind"], count(cluster["size"]), held, patients, where, names))
    titles = {"No.": False, "Kind": False, "Images": True, "Labels": False, "Patients": True}
    titles |= {"Partitions": False, "First samples": False}
    caption = (
        "The worst clusters of copies: first those with most labels, then patients, then partitions, then "
        f"images ({min(len(found), MOST)} of {len(found)} shown). A dash: no patient is known."
    )
    columns = [Column(title, number) for title, number in titles.items()]
    return Sheet("clusters", caption, columns, lines, style="broad clusters")


def confounding(audit: Audit) -> Sheet | None:
    """How closely the class goes with how the images were made."""
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
        "Association of the class with how an image was made. Cramér's V is 0 where the two are independent "
        "and 1 where the class can be read off; p is the chance of as much where there is none. Counted on "
        "one image a patient, or a group where no patient is known; what all images share is left out."
    )
    columns = [Column("Fact", False), Column("Cramér's V"), Column("p"), Column("Values"), Column("Images")]
    empty = (
        "Size, rectangle, mode, format, border, scanner and site are alike in all images: nothing to learn "
        "from them."
    )
    return Sheet("confounding", caption, columns, lines, empty=empty)


def order(audit: Audit) -> Sheet | None:
    """Whether the labels come in slices when the files are put in the order of their names."""
    found = audit.get("label_order")
    if found is None:
        return None
    lines = [
        line(
            row["series"],
            count(row["n"]),
            count(row["runs"]),
            Cell(f"{row['expected']:.1f}", f"groups whole: {whole:.1f}" if whole else ""),
            f"{row['z']:.1f}".replace("-", numbers.MINUS),
            probability(row["p"]),
        )
        for row in found[:MOST]
        for whole in [row.get("expected_of_groups")]
    ]
    caption = (
        "Labels in the order of the file names, by series of names that differ in their numbers (#) only. "
        "Far fewer unbroken runs of one label than expected, even with groups kept whole, mean that labels "
        "were dealt out in slices, not case by case (runs test of Wald and Wolfowitz, one-sided)."
    )
    titles = ("Series", "Images", "Runs", "Expected", "z", "p")
    empty = "No series of names is long enough, or of more than one label, to be tested."
    return Sheet(
        "label order", caption, [Column(title, title != "Series") for title in titles], lines, empty=empty
    )


def hygiene(audit: Audit) -> Sheet | None:
    """What a curator would mend."""
    if not any(name in audit for name in ("small_classes", "identity", "implausible")):
        return None
    small = [
        f"{row['class']} in {row['partition']} (groups: {count(row['groups'])})"
        for row in audit.get("small_classes") or []
    ]
    fields = [f"{name} (files: {count(n)})" for name, n in (audit.get("identity") or {}).items()]
    personal = [str(name) for name in audit.get("personal_columns") or []]
    unreadable, odd = audit.get("left_out") or [], audit.get("implausible") or []
    checks = {
        "Files that could not be read": (len(unreadable), "left out; named below" if unreadable else ""),
        "Classes too small for the split": (len(small), ", ".join(small)),
        "Patients with more than one label": (audit.get("patients_with_two_labels"), ""),
        "Samples whose patient is not known": (audit.get("without_patient"), ""),
        "Implausible clinical values": (len(odd), "named below" if odd else ""),
        "DICOM fields that name a person": (len(fields), ", ".join(fields)),
        "Columns that look personal": (len(personal), ", ".join(personal)),
    }
    lines = [
        line(title, count(number), text, strong=bool(number)) for title, (number, text) in checks.items()
    ]
    columns = [Column("Check", False), Column("Found"), Column("Where", number=False)]
    caption = (
        "Every line should read 0; a patient may change stage over years, which the second label then says."
    )
    return Sheet("hygiene", caption, columns, lines)


def partitions(audit: Audit) -> Sheet | None:
    """Images of each class in training, validation and test."""
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
    columns = [Column("Class", False), *(Column(name.capitalize()) for name in found), Column("All")]
    caption = (
        "Images of each class and partition, and the patients or clusters of copies that they come from. The "
        "test column says on how much a score will stand."
    )
    return Sheet("partitions", caption, columns, lines, style="compact")
