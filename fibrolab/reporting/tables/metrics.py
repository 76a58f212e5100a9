"""The tables of `metrics.csv`: headline, classes, further measures, patients, published results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.endpoints import MEASURES
from fibrolab.evaluation.measures import catalogue
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables import estimates
from fibrolab.reporting.tables.sheet import Cell, Footnotes, Line, Sheet, columns, line
from fibrolab.runs.trained_run import Run

AUC = "auc"
OTHER_PATIENTS = "The patients, and often the split, are different: differences are not tested."
BY_THRESHOLD = (*MEASURES, "balanced_accuracy", "ppv", "npv", "lr_plus", "lr_minus", "f1")


def headline(run: Run) -> list[Sheet]:
    """Return the headline metrics by sample and by patient, for the files; the page shows them as a chart."""
    found = []
    levels = {"headline": (run.metrics, run.baselines), "headline by patient": (run.patients, {})}
    for name, (table, baselines) in levels.items():
        if table is None:
            continue
        rows = numbers.headline(table, baselines)
        notes = _footnotes(rows)
        lines = [_headline(row, notes) for row in rows]
        titles = columns("Measure", "Value", "Bootstrap mean ± SD", "Baseline", "Interval is")
        caption = (
            f"Results on the test set, {_size(run, name)}with {vocabulary.level(run)} confidence intervals"
        )
        found.append(Sheet(name, caption, titles, lines, notes=notes.notes))
    return found


BESIDE = {  # samples that are scored beside those of the test set: what their scores say
    "training": "The training samples are predicted without augmentation by the weights that were kept: how "
    "closely the network fits the data that it was trained on, and no estimate of its performance.",
    "validation": "The validation samples chose the epoch and the thresholds: their scores are optimistic.",
}


def training(run: Run) -> list[Sheet]:
    """Return the headline metrics of training and validation samples, if scored, beside the test's."""
    scored = {name: run.tables[name] for name in BESIDE if name in run.tables}
    if not scored:
        return []
    known = {name: {row.metric: row for row in numbers.headline(table)} for name, table in scored.items()}
    if run.metrics is not None:
        known["test"] = {row.metric: row for row in numbers.headline(run.metrics)}
    notes = _footnotes([row for rows in known.values() for row in rows.values()])
    metrics = dict.fromkeys(metric for rows in known.values() for metric in rows)
    caption = " ".join(BESIDE[name] for name in scored)
    titles = columns("Measure", *(f"{name.capitalize()} samples" for name in known))
    lines = [
        line(numbers.title(metric), *(_cell(rows.get(metric), notes) for rows in known.values()))
        for metric in metrics
    ]
    return [Sheet("other samples", caption, titles, lines, style="compact", notes=notes.notes)]


def _headline(row: numbers.Row, notes: Footnotes) -> Line:
    chance, test = estimates.against_chance(row)
    return line(
        row.title,
        _cell(row, notes),
        row.spread_text or "–",
        row.baseline_text or "not known",
        Cell(row.verdict, chance, notes.marks(test)),
    )


def _size(run: Run, name: str) -> str:
    test = run.scored()
    if name != "headline":
        return "one prediction per patient, "
    return "" if test is None else f"{len(test):,} samples of {test[keys.GROUP_ID].nunique():,} groups, "


def by_class(run: Run) -> list[Sheet]:
    """Return each class against the others, then the averages; measures without a value have no column."""
    if run.metrics is None:
        return []
    found = per_class(run.metrics, run.classes)
    measured = numbers.by_class_names()
    kept = [i for i, _ in enumerate(measured) if any(cells[i] for cells in found.values())]
    if not kept:
        return []
    notes = _footnotes([row for cells in found.values() for row in cells if row])
    lines = [line(name, *(_cell_of_class(cells[i], notes) for i in kept)) for name, cells in found.items()]
    titles = columns("Class", *(numbers.title(measured[i]) for i in kept))
    caption = f"Each class against the others, with {vocabulary.level(run)} confidence intervals."
    return [Sheet("classes", caption, titles, lines, style="classes sheet", notes=notes.notes)]


def per_class(metrics: pd.DataFrame, classes: Sequence[str]) -> dict[str, list[numbers.Row | None]]:
    """Return the measures of `numbers.by_class_names` by class, then their averages; None: not measured.

    Args:
        metrics: The table of the metrics, where ``sensitivity_F3`` is that of class F3.
        classes: Names of the classes.
    """
    known = {row.metric: row for row in numbers.rows(metrics, list(metrics["metric"].astype(str)))}
    measured = numbers.by_class_names()
    lines = {name: [known.get(f"{measure}_{name}") for measure in measured] for name in classes}
    for average in catalogue.AVERAGES:
        title = f"{average.capitalize()} average"
        lines[title] = [known.get(f"{average}_{measure}") for measure in measured]
    return lines


def further(run: Run) -> list[Sheet]:
    """Return the measures that no other table of the page shows."""
    if run.metrics is None:
        return []
    calibrated = "calibration" in run.tables  # which shows these before and after temperature scaling
    elsewhere = {f"{measure}_{name}" for measure in BY_THRESHOLD for name in run.endpoints}
    elsewhere |= {*catalogue.of_probabilities()} if calibrated else set()
    rows = [row for row in others(run.metrics, run.classes, run.baselines) if row.metric not in elsewhere]
    notes = _footnotes(rows)
    lines = [line(row.title, _cell(row, notes), row.baseline_text or "–") for row in rows]
    titles = columns("Measure", "Value", "Baseline")
    sheet = Sheet("further measures", "Further measures.", titles, lines, style="compact", notes=notes.notes)
    return [sheet] if lines else []


def others(
    metrics: pd.DataFrame, classes: Sequence[str], baselines: Mapping[str, Any] | None = None
) -> list[numbers.Row]:
    """Return the metrics outside headline and classes; baselines as in `numbers.rows`."""
    by_class = numbers.by_class_names()
    shown = {*catalogue.headline(), *numbers.headline_names(metrics)}
    shown |= {f"{measure}_{name}" for measure in by_class for name in classes}
    shown |= {f"{average}_{measure}" for average in catalogue.AVERAGES for measure in by_class}
    return numbers.rows(
        metrics, [name for name in metrics["metric"].astype(str) if name not in shown], baselines
    )


def poolings(run: Run) -> list[Sheet]:
    """Return results by sample beside those by patient, for each way to combine a patient's samples."""
    levels: dict[str, pd.DataFrame | None] = {
        "sample": run.metrics,
        "patient": run.patients,
        "patient max": run.tables.get("patients_max"),
        "patient vote": run.tables.get("patients_vote"),
    }
    known = {name: table for name, table in levels.items() if table is not None}
    if len(known) < 2:
        return []
    pooled = catalogue.overall()
    rows = {name: {row.metric: row for row in numbers.rows(table, pooled)} for name, table in known.items()}
    shown = [metric for metric in pooled if any(metric in found for found in rows.values())]
    if AUC in shown:  # two classes, whose areas are equal
        shown = [metric for metric in shown if metric == AUC or not metric.endswith(AUC)]
    notes = _footnotes([row for found in rows.values() for row in found.values()])
    lines = [
        line(numbers.title(metric), *(_cell(found.get(metric), notes) for found in rows.values()))
        for metric in shown
    ]
    caption = (
        "Results by sample and by patient. The prediction for a patient is the mean of the probabilities of "
        "the samples, the most severe prediction of a sample, or the majority vote of the samples."
    )
    titles = columns("Measure", *(vocabulary.POOLINGS[name].capitalize() for name in known))
    return [Sheet("patient level", caption, titles, lines, notes=notes.notes)]


def partitions(run: Run) -> list[Sheet]:
    """Return samples by class and partition, their totals and the number of groups."""
    counts = run.partitions
    if not counts:
        return []
    classes = list(next(iter(counts.values())))
    lines = [line(name, *(_count(part.get(name)) for part in counts.values())) for name in classes]
    lines.append(line("All", *(_count(sum(part.values())) for part in counts.values()), strong=True))
    if groups := _groups(run):
        lines.append(line("Groups", *(_count(groups.get(name)) for name in counts)))
    titles = columns("Class", *map(str.capitalize, counts))
    return [Sheet("partitions", "Samples by class and partition.", titles, lines, style="compact")]


def _groups(run: Run) -> Mapping[str, int]:
    """Return the number of groups in each partition."""
    if run.split is None or keys.GROUP_ID not in run.split:
        return {}
    sizes = run.split.groupby(keys.PARTITION)[keys.GROUP_ID].nunique()
    return {str(name): int(size) for name, size in sizes.items()}


def _count(number: int | None) -> str:
    return f"{number or 0:,}"


def _footnotes(rows: list[numbers.Row]) -> Footnotes:
    return estimates.footnotes([vars(row) for row in rows])


def _cell(row: numbers.Row | None, notes: Footnotes) -> Cell:
    return estimates.estimated(None if row is None else vars(row), row.metric if row else "", notes)


def _cell_of_class(row: numbers.Row | None, notes: Footnotes) -> Cell:
    """Return the cell of a class, of a sensitivity with its p below the interval."""
    cell = _cell(row, notes)
    p, test = estimates.above_call_rate(row) if row else ("", "")
    if not p:
        return cell
    small = ", ".join(filter(None, (cell.small, p)))
    marks = ", ".join(filter(None, (cell.marks, notes.marks(test))))
    return Cell(cell.text, small, marks)


def published(run: Run) -> list[Sheet]:
    """Return published results beside those of the run, for reference and without a test.

    There is no table if the run reproduces no paper, or predicts another task than the paper.
    """
    table = run.tables.get("published")
    if table is None:
        return []
    levels = {"sample": run.metrics, "patient": run.patients}
    ours = {
        level: {row.metric: vars(row) for row in numbers.rows(found, list(table["metric"]))}
        for level, found in levels.items()
        if found is not None
    }
    notes = Footnotes()
    lines = []
    for row in vocabulary.records(table):
        metric = str(row["metric"])
        known = [row, *(found.get(metric) for found in ours.values())]
        cells = [estimates.estimated(each, metric, notes) for each in known]
        lines.append(line(numbers.title(metric), *cells))
    titles = columns("Measure", "Published", *(f"This run, {vocabulary.POOLINGS[level]}" for level in ours))
    return [Sheet("published", _published_caption(run, table), titles, lines, notes=notes.notes)]


def _published_caption(run: Run, table: pd.DataFrame) -> str:
    first = vocabulary.records(table)[0]
    n, positive = (vocabulary.number(first, name) for name in ("n", "n_positive"))
    cases = "" if math.isnan(positive) else f", {positive:,.0f} of them positive"
    size = "" if math.isnan(n) else f"Published test set: {n:,.0f}{cases}."
    source = f"Published results for this arm: {run.setting('published.source', 'a paper')}."
    note = vocabulary.sentence(str(run.setting("published.note", "")))
    return " ".join(filter(None, [source, size, note, OTHER_PATIENTS]))
