"""The report: one HTML page that carries its figures and styles and needs no network and no script."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.endpoints import MEASURES
from fibrolab.evaluation.patients import to_patients
from fibrolab.reporting import findings, html, tables
from fibrolab.reporting import run as runs
from fibrolab.reporting.html import NOT_RECORDED
from fibrolab.reporting.run import Run
from fibrolab.reporting.sheets import Cell, Column, Sheet, line

LISTED = 50  # left-out files named on the page
KEY_PACKAGES = ("torch", "torchvision", "lightning", "timm", "numpy", "scikit-learn")
CAPTIONS = {
    "confusion_matrix": "Confusion matrix of the test set. Rows are true, columns predicted classes; "
    "percentages are of the true class.",
    "roc": "Receiver operating characteristic of the test set, each class against the others.",
    "curves": "Learning curves by epoch; the grey line marks the epoch with the best monitored metric.",
    "partitions": "Samples of each class in training, validation and test.",
    "samples": "Training samples as the network gets them, after preprocessing and augmentation: of several "
    "modalities the first, of a clip the middle frame.",
}


@dataclass(frozen=True)
class Bar:
    """A value, its interval and its floor as places [percent] on the scale of the headline."""

    low: float
    high: float
    value: float
    floor: float | None


@dataclass(frozen=True)
class Headline:
    """The headline numbers of the test set's samples or patients.

    Attributes:
        what: Which of the two.
        rows: Each with its bar.
        scale_low: Where the bars' scale starts.
        size: Number of samples or patients, and of the groups that they come from.
    """

    what: str
    rows: list[tuple[tables.Row, Bar | None]]
    scale_low: int
    size: tuple[int, int] | None


def write(run: Path) -> Path:
    """Write the report of a run from the files of its folder; what is missing is said to be not recorded.

    The figures are taken from the run's ``figures`` folder as they are: call `figures.draw_all` first.

    Args:
        run: A run's folder.

    Returns:
        The page, ``report.html`` in that folder.

    Raises:
        DataError: ``run`` is no folder.
        StorageError: The disk is full or the folder cannot be written.
    """
    return runs.put(run / keys.REPORT_FILE, html.render("report.html.j2", _content(runs.read(run))))


def _content(run: Run) -> dict[str, Any]:
    """Everything that the template shows."""
    figures = html.pictures(run.folder / keys.FIGURES, CAPTIONS)
    return {
        "name": str(run.setting("name", run.folder.name)),
        "run": run,
        "verdict": findings.verdict(run),
        "audit_page": keys.AUDIT_PAGE if (run.folder / keys.AUDIT_PAGE).is_file() else "",
        "findings": findings.of(run),
        "headlines": _headlines(run),
        "endpoints": _endpoints(run),
        "facts": _facts(run),
        "data_facts": _data_facts(run),
        "partitions": run.partitions,
        "partition_groups": _partition_groups(run),
        "left_out": [str(text) for text in run.audit.get("left_out") or []],
        "listed": LISTED,
        "measures": [tables.title(name) for name in tables.MEASURES],
        "per_class": {} if run.metrics is None else tables.per_class(run.metrics, run.classes),
        "averages": len(tables.AVERAGES),
        "others": []
        if run.metrics is None
        else tables.others(run.metrics, run.classes, run.floors, tuple(run.endpoints)),
        "figures": figures,
        "more_figures": [
            picture
            for name, picture in figures.items()
            if not name.startswith("audit_") and name not in CAPTIONS
        ],
        "command": run.command,
        "environment_facts": _environment_facts(run),
        "level": f"{float(run.setting('bootstrap.level', 0.95)):.0%}".replace("%", f"{tables.SPACE}%"),
        "packages": run.environment.get("packages") or {},
    }


def _bars(rows: list[tables.Row]) -> tuple[int, list[Bar | None]]:
    """The headline's intervals on one scale: 0 to 1, or from -1 where an agreement below chance needs it."""
    start = -1 if any(number < 0 for row in rows for number in (row.value, row.low, row.floor)) else 0

    def place(value: float) -> float:
        return round(100 * (value - start) / (1 - start), 2)

    def bar(row: tables.Row) -> Bar | None:
        if row.value != row.value or row.low != row.low:  # NaN: nothing to draw
            return None
        return Bar(
            place(row.low),
            place(row.high),
            place(row.value),
            None if row.floor != row.floor else place(row.floor),
        )

    return start, [bar(row) for row in rows]


def _headlines(run: Run) -> list[Headline]:
    """Accuracy, macro AUC and kappa of the samples and, where patients have several, of the patients."""
    found = []
    frame = run.scored()
    if run.metrics is not None:
        found.append(_headline("samples", tables.headline(run.metrics, run.floors), frame))
    if run.patients is not None:
        pooled = None if frame is None else to_patients(frame)
        found.append(_headline("patients", tables.headline(run.patients), pooled))
    return found


def _headline(what: str, rows: list[tables.Row], frame: pd.DataFrame | None) -> Headline:
    scale_low, bars = _bars(rows)
    size = None if frame is None else (len(frame), frame[keys.GROUP_ID].nunique())
    return Headline(what, list(zip(rows, bars, strict=True)), scale_low, size)


def _endpoints(run: Run) -> Sheet | None:
    """What a model of stages says of each end point, of the samples and of the patients."""
    levels = {"by sample": run.metrics, "by patient": run.patients}
    known = {level: table for level, table in levels.items() if table is not None}
    lines = []
    for name, lowest in run.endpoints.items():
        worse = run.classes[lowest:]
        title = f"{worse[0]} or worse" if len(worse) > 1 else worse[0]
        for level, table in known.items():
            rows = tables.rows(table, [f"{measure}_{name}" for measure in MEASURES])
            if len(rows) == len(MEASURES):
                auc, accuracy, *rest = rows
                cells = [_value(auc), _floor(auc), _value(accuracy), _floor(accuracy), *map(_value, rest)]
                lines.append(line(Cell(title, level if len(known) > 1 else ""), *cells))
    if not lines:
        return None
    caption = (
        "End points, each answered by the sum of its stages' probabilities: yes where it exceeds one half, a "
        "threshold that no data chose. The floors are chance and the commonest answer, as no other is "
        "measured by end point."
    )
    titles = ("AUC", "Floor", "Accuracy", "Floor", "Sensitivity", "Specificity")
    columns = [Column("End point", number=False), *(Column(title) for title in titles)]
    return Sheet("end points", caption, columns, lines)


def _value(row: tables.Row) -> Cell:
    """A value with its interval below it."""
    return Cell(row.value_text, row.interval_text)


def _floor(row: tables.Row) -> Cell:
    """A floor, and where it comes from below it."""
    return Cell(tables.quantity(row.floor, row.metric), row.floor_name) if row.floor_text else Cell("–")


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
    for kind, word in (("exact", "identical copy"), ("near", "identical or near copy")):
        if (share := (run.audit.get("leak") or {}).get(kind)) is not None:
            facts[f"Test with {word} in training"] = f"{100 * share:.1f}{tables.SPACE}%"
    for name, accuracy in tables.floor_values(run.floors, "accuracy").items():
        facts[f"Accuracy by {tables.floor_name(name)}"] = tables.quantity(accuracy, "accuracy")
    for seen, accuracy in (run.audit.get("best_accuracy") or {}).items():
        facts[f"Best possible accuracy by {seen}"] = tables.quantity(accuracy, "accuracy")
    return facts


def _partition_groups(run: Run) -> dict[str, int]:
    """Number of groups in each partition."""
    if run.split is None or keys.GROUP_ID not in run.split:
        return {}
    return {
        str(name): int(n) for name, n in run.split.groupby(keys.PARTITION)[keys.GROUP_ID].nunique().items()
    }


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
        "Duration": NOT_RECORDED if seconds is None else _duration(float(seconds)),
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
