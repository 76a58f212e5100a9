"""The report of a run: one HTML page that contains its figures and styles, without network or scripts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import baselines
from fibrolab.evaluation.patients import to_patients
from fibrolab.reporting import explanation_page, html, numbers, run_sentences, vocabulary
from fibrolab.reporting.figures import run as run_figures
from fibrolab.reporting.html import NOT_RECORDED
from fibrolab.reporting.tables import endpoints as endpoint_sheets
from fibrolab.reporting.tables import estimates, table_files
from fibrolab.reporting.tables import explanation as explanation_sheets
from fibrolab.reporting.tables import folds as fold_sheets
from fibrolab.reporting.tables import metrics as metric_sheets
from fibrolab.reporting.tables import population as population_sheets
from fibrolab.reporting.tables import probabilities as probability_sheets
from fibrolab.reporting.tables import segmentation as segmentation_sheets
from fibrolab.reporting.tables.sheet import Footnotes, Sheet
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

LISTED = 50  # left-out files named on the page
KEY_PACKAGES = ("torch", "torchvision", "lightning", "timm", "numpy", "scikit-learn")
TITLES = {  # of the sections, in their order; a section without content is left out
    "findings": "Cautions",
    "result": "Results on the test set",
    "segmentation": "Segmentation",
    "folds": "Results of each training",
    "published": "Published results",
    "endpoints": "End points",
    "curves": "Curves",
    "classes": "Results by class",
    "patients": "Results by patient",
    "probabilities": "Calibration and prediction sets",
    "comparators": "Clinical comparators",
    "subgroups": "Subgroups",
    "cohort": "Cohort",
    "mistakes": "Largest errors",
    "explanation": "Explanation of the predictions",
    "data": "Data",
    "training": "Training",
    "more": "Further figures",
    "setup": "Settings",
    "environment": "Environment",
    "files": "Files of this report",
}
OF_CLASSES = ("curves", "classes")  # sections and tables that a segmentation does not have
ALWAYS = ("result", "curves", "classes", "data", "training", "setup", "environment")  # even if not recorded
TABLES: dict[str, Callable[[Run], list[Sheet]]] = {  # in the order of the page
    "headline": metric_sheets.headline,
    "segmentation": segmentation_sheets.sheets,
    "folds": fold_sheets.sheets,
    "published": metric_sheets.published,
    "endpoints": endpoint_sheets.sheets,
    "classes": metric_sheets.by_class,
    "further": metric_sheets.further,
    "patients": metric_sheets.poolings,
    "calibration": probability_sheets.calibration,
    "conformal": probability_sheets.conformal,
    "comparators": endpoint_sheets.comparators,
    "subgroups": population_sheets.subgroups,
    "cohort": population_sheets.cohort,
    "mistakes": population_sheets.mistakes,
    "explanation": explanation_sheets.of_maps,
    "partitions": metric_sheets.partitions,
    "training": metric_sheets.training,
}
BESIDE = {  # files of the run's folder to which the page links
    "model_card.md": "model card; items that only the authors can complete are left open",
    "checklist.html": "CLAIM and TRIPOD+AI checklists, completed as far as the run's records allow",
    "tables": "the tables of this page as CSV and LaTeX",
    keys.MASKS_FILE: "the predicted masks, by sample",
    "figures": "the figures of this page as PNG and SVG",
    keys.EXPLANATION_PAGE: "heat maps of all methods, their tests, and a gallery",
}


@dataclass(frozen=True)
class Bar:
    """A value, its interval and its baseline as positions [percent] on the scale of the headline."""

    low: float
    high: float
    value: float
    baseline: float | None


@dataclass(frozen=True)
class Headline:
    """The headline numbers of the test set's samples or patients.

    Attributes:
        unit: ``samples`` or ``patients``.
        rows: Each metric with its bar, the marks of its footnotes and its p value against chance.
        scale_low: Lower end of the bars' scale.
        size: Number of samples or patients, and of their groups.
        notes: Mark and text of each footnote.
        resamples: Number of bootstrap resamples from which mean and SD come; empty where there are none.
    """

    unit: str
    rows: list[tuple[numbers.Row, Bar | None, str, str]]
    scale_low: int
    size: tuple[int, int] | None
    notes: list[tuple[str, str]]
    resamples: str


def write(run: Path) -> Path:
    """Write the report of a run from the files of its folder, and its tables as files.

    The page states which parts were not recorded. The figures are read from the run's ``figures`` folder:
    call `figures.run.draw_all` first.

    Args:
        run: Folder of the run.

    Returns:
        The page, ``report.html`` in that folder.

    Raises:
        DataError: ``run`` does not exist or is a file.
        StorageError: The disk is full or the folder cannot be written.
    """
    record = runs.read(run)
    sheets = tables(record)
    table_files.write(sheets, run)
    return put(run / keys.REPORT_FILE, html.render("report.html.j2", _content(record, sheets)))


def tables(run: Run) -> dict[str, list[Sheet]]:
    """Return the tables of each section; an empty list where the run has no data for them."""
    left_out = (*OF_CLASSES, "further", "patients") if _segments(run) else ()
    return {name: [] if name in left_out else sheets(run) for name, sheets in TABLES.items()}


def _segments(run: Run) -> bool:
    return "segmentation" in run.tables


def _content(run: Run, sheets: Mapping[str, Sequence[Sheet]]) -> dict[str, Any]:
    """Return all values that the template shows."""
    figures = html.pictures(
        run.folder / keys.FIGURES, run_figures.caption, lambda name: run_figures.alternative_text(name, run)
    )
    placed = {entry.name for entry in run_figures.FIGURES}
    shown = {
        "training_run": vocabulary.training_run(run),
        "pooling": fold_sheets.pooling(run),
        "findings": run_sentences.cautions(run),
        "sheets": sheets,
        "explained": explanation_page.section(run),
        "more_figures": [
            picture
            for name, picture in figures.items()
            if not name.startswith("audit_") and name not in placed
        ],
        "beside": {name: text for name, text in BESIDE.items() if (run.folder / name).exists()},
    }
    return shown | {
        "titles": _titles(run, shown, figures),
        "name": str(run.setting("name", run.folder.name)),
        "run": run,
        "trial": run_sentences.is_trial(run),
        "verdict": run_sentences.verdict(run),
        "audit_page": keys.AUDIT_PAGE if (run.folder / keys.AUDIT_PAGE).is_file() else "",
        "results": run_sentences.results(run),
        "scored_before": run_sentences.scored_before(run),
        "headlines": _headlines(run),
        "facts": _facts(run),
        "data_facts": _data_facts(run),
        "left_out": [str(text) for text in run.audit.get("left_out") or []],
        "listed": LISTED,
        "figures": {
            section: [
                (entry, figures.get(entry.name)) for entry in run_figures.FIGURES if entry.section == section
            ]
            for section in TITLES
        },
        "command": run.command,
        "environment_facts": _environment_facts(run),
        "level": vocabulary.level(run),
        "packages": run.environment.get("packages") or {},
    }


def _titles(run: Run, shown: Mapping[str, Any], figures: Mapping[str, html.Picture]) -> dict[str, str]:
    """Return the titles of the sections that have content, by their anchors."""
    filled = {name for name, sheets in shown["sheets"].items() if sheets}
    if filled & {"calibration", "conformal"}:
        filled.add("probabilities")
    filled |= {entry.section for entry in run_figures.FIGURES if entry.name in figures}
    parts = {
        "findings": "findings",
        "explanation": "explained",
        "more": "more_figures",
        "files": "beside",
    }
    filled |= {name for name, part in parts.items() if shown[part]}
    filled |= {name for name in ALWAYS if not (name == "training" and shown["training_run"])}
    if _segments(run):
        filled -= set(OF_CLASSES)
    if run.networks is not None and run.network_histories is None:
        filled.discard("training")  # a pooled run whose trainings kept no curves
    return {name: title for name, title in TITLES.items() if name in filled}


def _bars(rows: list[numbers.Row]) -> tuple[int, list[Bar | None]]:
    """Return the headline's intervals on one scale: 0 to 1, or from -1 where a value is negative."""
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
    """Return accuracy, macro AUC and kappa by sample and, where patients have several samples, by patient."""
    found = []
    frame = run.scored()
    if run.metrics is not None:
        found.append(_headline(run, "samples", numbers.headline(run.metrics, run.baselines), frame))
    if run.patients is not None:
        pooled = None if frame is None else to_patients(frame)
        found.append(_headline(run, "patients", numbers.headline(run.patients), pooled))
    return found


def _headline(run: Run, unit: str, rows: list[numbers.Row], frame: pd.DataFrame | None) -> Headline:
    scale_low, bars = _bars(rows)
    size = None if frame is None else (len(frame), frame[keys.GROUP_ID].nunique())
    notes = Footnotes()
    chances, tests = zip(*map(estimates.against_chance, rows), strict=True) if rows else ((), ())
    marks = [
        notes.marks(estimates.method(row.method), *estimates.remarks(vars(row)), test)
        for row, test in zip(rows, tests, strict=True)
    ]
    resamples = (
        f"{run.setting('bootstrap.resamples', 1000):,}" if any(row.spread_text for row in rows) else ""
    )
    return Headline(
        unit, list(zip(rows, bars, marks, chances, strict=True)), scale_low, size, notes.notes, resamples
    )


def _facts(run: Run) -> dict[str, str]:
    """Return the main settings in words."""
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
    if trained_by := vocabulary.training_run(run):
        return {**facts, "Network": trained_by}
    if run.networks is not None:
        return {**facts, "Networks": f"{len(run.networks)}, see their table"}
    return {**facts, "Epochs": epochs}


def _data_facts(run: Run) -> dict[str, str]:
    """Return the counts of the data set and the accuracy of its baselines, from the audit."""
    words = {
        "Samples": "samples",
        "Distinct files": "files",
        "Groups": "groups",
        "Patients": "patients",
        "Identical copies": "exact_copies",
        "Near copies": "near_copies",
        "Copies with conflicting labels": "conflicting_copies",
    }
    if not run.audit:
        return {}
    counts = {word: run.audit.get(name) for word, name in words.items()}
    counts["Patients"] = counts["Patients"] or None  # 0: no patient is known
    facts = {word: f"{count:,}" if isinstance(count, int) else "not known" for word, count in counts.items()}
    # In an external evaluation the leak of the audit is not that from the training data.
    leak = {} if vocabulary.training_run(run) else run.audit.get("leak") or {}
    for kind, word in (("exact", "identical copy"), ("near", "identical or near copy")):
        if (proportion := leak.get(kind)) is not None:
            facts[f"Test images with an {word} in training"] = f"{100 * proportion:.1f}{numbers.SPACE}%"
    for name, accuracy in baselines.in_metric(run.baselines, "accuracy").items():
        facts[f"Accuracy by {numbers.baseline_name(name)}"] = numbers.quantity(accuracy, "accuracy")
    for seen, accuracy in (run.audit.get("best_accuracy") or {}).items():
        facts[f"Best possible accuracy by {seen}"] = numbers.quantity(accuracy, "accuracy")
    return facts


def _environment_facts(run: Run) -> dict[str, str]:
    """Return commit, start, duration, device, platform and main packages of the run."""
    known = run.environment
    if not known:
        return {}
    commit = str(known.get("git_commit") or NOT_RECORDED)
    packages = known.get("packages") or {}
    seconds = known.get("seconds")
    return {
        "Git commit": commit + (" with uncommitted changes" if known.get("git_dirty") else ""),
        "Started": str(known.get("started") or NOT_RECORDED),
        "Duration, until the predictions": NOT_RECORDED if seconds is None else _duration(float(seconds)),
        "Device": str(known.get("device") or NOT_RECORDED),
        "Python": str(known.get("python") or NOT_RECORDED),
        "Platform": str(known.get("platform") or NOT_RECORDED),
        "Packages": ", ".join(f"{name} {packages[name]}" for name in KEY_PACKAGES if name in packages)
        or NOT_RECORDED,
    }


def _duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
