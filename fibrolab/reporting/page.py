"""The report: one HTML page that carries its figures and styles and needs no network and no script."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import baselines
from fibrolab.evaluation.patients import to_patients
from fibrolab.reporting import export, findings, html, numbers, summary, vocabulary
from fibrolab.reporting.captions import CAPTIONS, alt
from fibrolab.reporting.html import NOT_RECORDED
from fibrolab.reporting.tables import sections
from fibrolab.reporting.tables.sheet import Footnotes, Sheet
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

LISTED = 50  # left-out files named on the page
KEY_PACKAGES = ("torch", "torchvision", "lightning", "timm", "numpy", "scikit-learn")
TITLES = {  # of the sections, in their order; one that has nothing to show is left out
    "findings": "Read before the numbers",
    "result": "Result on the test set",
    "published": "What a paper reports of this arm",
    "endpoints": "End points",
    "curves": "Curves",
    "classes": "Class by class",
    "patients": "Patient level",
    "probabilities": "Quality of the probabilities",
    "comparators": "Clinical comparators",
    "subgroups": "Subgroups",
    "cohort": "Cohort",
    "mistakes": "Worst mistakes",
    "data": "Data",
    "training": "Training",
    "more": "Further figures",
    "setup": "What was run",
    "environment": "Environment",
    "files": "Beside this page",
}
ALWAYS = ("result", "curves", "classes", "data", "training", "setup", "environment")  # if only to say: absent
BESIDE = {  # what else the folder may hold for a reader
    "model_card.md": "the model card, with what only a person can answer left open",
    "checklist.html": "CLAIM and TRIPOD+AI, filled as far as the run knows",
    "tables": "the tables of this page as CSV and LaTeX",
    "figures": "its figures as PNG and SVG",
}


@dataclass(frozen=True)
class Bar:
    """A value, its interval and its baseline as places [percent] on the scale of the headline."""

    low: float
    high: float
    value: float
    baseline: float | None


@dataclass(frozen=True)
class Headline:
    """The headline numbers of the test set's samples or patients.

    Attributes:
        what: Which of the two.
        rows: Each with its bar, the marks of its footnotes and its p value against chance.
        scale_low: Where the bars' scale starts.
        size: Number of samples or patients, and of the groups that they come from.
        notes: The footnotes, by mark.
        spread: Number of resamples whose mean and SD the rows have; empty where they have none.
    """

    what: str
    rows: list[tuple[numbers.Row, Bar | None, str, str]]
    scale_low: int
    size: tuple[int, int] | None
    notes: list[tuple[str, str]]
    spread: str


def write(run: Path) -> Path:
    """Write the report of a run from the files of its folder, and its tables as files beside it.

    What is missing is said to be not recorded. The figures are taken from the run's ``figures`` folder as
    they are: call `figures.draw_all` first.

    Args:
        run: A run's folder.

    Returns:
        The page, ``report.html`` in that folder.

    Raises:
        DataError: ``run`` is no folder.
        StorageError: The disk is full or the folder cannot be written.
    """
    record = runs.read(run)
    sheets = sections.of(record)
    export.write(sheets, run)
    return put(run / keys.REPORT_FILE, html.render("report.html.j2", _content(record, sheets)))


def _content(run: Run, sheets: Mapping[str, Sequence[Sheet]]) -> dict[str, Any]:
    """Everything that the template shows."""
    figures = html.pictures(run.folder / keys.FIGURES, CAPTIONS, lambda name: alt(name, run))
    shown = {
        "elsewhere": vocabulary.elsewhere(run),
        "findings": findings.of(run),
        "sheets": sheets,
        "more_figures": [
            picture
            for name, picture in figures.items()
            if not name.startswith("audit_") and name not in CAPTIONS
        ],
        "beside": {name: text for name, text in BESIDE.items() if (run.folder / name).exists()},
    }
    return shown | {
        "titles": _titles(shown, figures),
        "name": str(run.setting("name", run.folder.name)),
        "run": run,
        "verdict": findings.verdict(run),
        "audit_page": keys.AUDIT_PAGE if (run.folder / keys.AUDIT_PAGE).is_file() else "",
        "summary": summary.of(run),
        "headlines": _headlines(run),
        "facts": _facts(run),
        "data_facts": _data_facts(run),
        "left_out": [str(text) for text in run.audit.get("left_out") or []],
        "listed": LISTED,
        "figures": figures,
        "command": run.command,
        "environment_facts": _environment_facts(run),
        "level": vocabulary.level(run),
        "packages": run.environment.get("packages") or {},
    }


def _titles(shown: Mapping[str, Any], figures: Mapping[str, html.Picture]) -> dict[str, str]:
    """The sections that the page has, by their anchors."""
    filled = {name for name, sheets in shown["sheets"].items() if sheets}
    if filled & {"calibration", "conformal"}:
        filled.add("probabilities")
    filled |= {name for name in ("subgroups", "mistakes") if name in figures}
    parts = {"findings": "findings", "more": "more_figures", "files": "beside"}
    filled |= {name for name, part in parts.items() if shown[part]}
    filled |= {name for name in ALWAYS if not (name == "training" and shown["elsewhere"])}
    return {name: title for name, title in TITLES.items() if name in filled}


def _bars(rows: list[numbers.Row]) -> tuple[int, list[Bar | None]]:
    """The headline's intervals on one scale: 0 to 1, or from -1 where an agreement below chance needs it."""
    start = -1 if any(number < 0 for row in rows for number in (row.value, row.low, row.baseline)) else 0

    def place(value: float) -> float:
        return round(100 * (value - start) / (1 - start), 2)

    def bar(row: numbers.Row) -> Bar | None:
        if math.isnan(row.value) or math.isnan(row.low):
            return None
        return Bar(
            place(row.low),
            place(row.high),
            place(row.value),
            None if math.isnan(row.baseline) else place(row.baseline),
        )

    return start, [bar(row) for row in rows]


def _headlines(run: Run) -> list[Headline]:
    """Accuracy, macro AUC and kappa of the samples and, where patients have several, of the patients."""
    found = []
    frame = run.scored()
    if run.metrics is not None:
        found.append(_headline(run, "samples", numbers.headline(run.metrics, run.baselines), frame))
    if run.patients is not None:
        pooled = None if frame is None else to_patients(frame)
        found.append(_headline(run, "patients", numbers.headline(run.patients), pooled))
    return found


def _headline(run: Run, what: str, rows: list[numbers.Row], frame: pd.DataFrame | None) -> Headline:
    scale_low, bars = _bars(rows)
    size = None if frame is None else (len(frame), frame[keys.GROUP_ID].nunique())
    notes = Footnotes()
    chances, tests = zip(*map(vocabulary.against_chance, rows), strict=True) if rows else ((), ())
    marks = [
        notes.marks(vocabulary.method(row.method), *vocabulary.remarks(vars(row)), test)
        for row, test in zip(rows, tests, strict=True)
    ]
    spread = f"{run.setting('bootstrap.resamples', 1000):,}" if any(row.spread_text for row in rows) else ""
    return Headline(
        what, list(zip(rows, bars, marks, chances, strict=True)), scale_low, size, notes.notes, spread
    )


def _facts(run: Run) -> dict[str, str]:
    """What was run, in words."""
    trained = None if run.history is None or run.history.empty else int(run.history["epoch"].max()) + 1
    epochs = NOT_RECORDED if trained is None else str(trained)
    if trained is not None and (most := run.setting("trainer.max_epochs")):
        epochs += f" of at most {most}"
    named = {
        "Data": "data.name",
        "Task": "task.name",
        "Model": "model.name",
        "Split": "split.name",
        "Seed": "seed",
    }
    facts = {word: str(run.setting(name, NOT_RECORDED)) for word, name in named.items()}
    if classes := run.classes:
        facts["Task"] += f" ({', '.join(classes)})"
    if earlier := vocabulary.elsewhere(run):
        return {**facts, "Network": earlier}
    return {**facts, "Epochs": epochs}


def _data_facts(run: Run) -> dict[str, str]:
    """What the data set holds, as the audit counted it."""
    words = {
        "Samples": "samples",
        "Distinct files": "files",
        "Groups": "groups",
        "Patients": "patients",
        "Identical copies": "exact_copies",
        "Near copies": "near_copies",
        "Copies with another label": "conflicting_copies",
    }
    if not run.audit:
        return {}
    counts = {word: run.audit.get(name) for word, name in words.items()}
    counts["Patients"] = counts["Patients"] or None  # none named: not known, rather than nought
    facts = {word: f"{count:,}" if isinstance(count, int) else "not known" for word, count in counts.items()}
    leak = {} if vocabulary.elsewhere(run) else run.audit.get("leak") or {}  # this data trained nothing
    for kind, word in (("exact", "identical copy"), ("near", "identical or near copy")):
        if (share := leak.get(kind)) is not None:
            facts[f"Test with {word} in training"] = f"{100 * share:.1f}{numbers.SPACE}%"
    for name, accuracy in baselines.in_metric(run.baselines, "accuracy").items():
        facts[f"Accuracy by {numbers.baseline_name(name)}"] = numbers.quantity(accuracy, "accuracy")
    for seen, accuracy in (run.audit.get("best_accuracy") or {}).items():
        facts[f"Best possible accuracy by {seen}"] = numbers.quantity(accuracy, "accuracy")
    return facts


def _environment_facts(run: Run) -> dict[str, str]:
    """Where and when it ran, and the packages that matter most."""
    known = run.environment
    if not known:
        return {}
    commit = str(known.get("git_commit") or NOT_RECORDED)
    packages = known.get("packages") or {}
    seconds = known.get("seconds")
    return {
        "Git commit": commit + (" with uncommitted changes" if known.get("git_dirty") else ""),
        "Started": str(known.get("started") or NOT_RECORDED),
        "Duration, up to the answers": NOT_RECORDED if seconds is None else _duration(float(seconds)),
        "Device": str(known.get("device") or NOT_RECORDED),
        "Python": str(known.get("python") or NOT_RECORDED),
        "Platform": str(known.get("platform") or NOT_RECORDED),
        "Packages": ", ".join(f"{name} {packages[name]}" for name in KEY_PACKAGES if name in packages)
        or NOT_RECORDED,
    }


def _duration(seconds: float) -> str:
    """Seconds in the two units that a person would use."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
