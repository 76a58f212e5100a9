"""The tables of end points such as F2 or worse: areas, thresholds chosen on validation, clinical markers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fibrolab.evaluation.endpoints import MEASURES
from fibrolab.reporting import numbers, undercoverage, vocabulary
from fibrolab.reporting.tables.sheet import Cell, Column, Footnotes, Line, Sheet, count, line, probability
from fibrolab.runs.trained_run import Run

AUC = "auc"
COMPARED = ("sensitivity", "specificity", "ppv", "npv", "lr_plus", "lr_minus")
DECIDED = ("accuracy", "balanced_accuracy", *COMPARED, "f1")
Rows = Mapping[str, Mapping[str, Any]]  # by metric


def sheets(run: Run) -> list[Sheet]:
    """Areas at every level, then a table a level of what each threshold gives.

    A run that was scored before there were thresholds has one table, of decisions at one half.
    """
    table = run.tables.get("endpoints")
    if table is None:
        return _at_one_half(run)
    table = undercoverage.remarked(run, table)
    levels = [name for name in vocabulary.LEVELS if name in set(table["level"])]
    return [*_areas(run, table, levels), *(_decisions(run, table[table["level"] == at], at) for at in levels)]


def _areas(run: Run, table: pd.DataFrame, levels: Sequence[str]) -> list[Sheet]:
    areas = table[table["metric"] == AUC]
    if areas.empty:
        return []
    notes = vocabulary.footnotes(areas)
    lines = []
    for name, rows in areas.groupby("endpoint", sort=False):
        known = {row["level"]: row for row in vocabulary.records(rows)}
        cells = [vocabulary.estimated(known.get(level), AUC, notes) for level in levels]
        lines.append(line(vocabulary.endpoint(run, str(name)), *cells))
    columns = [Column("End point", number=False)]
    columns += [Column(vocabulary.POOLINGS[level].capitalize()) for level in levels]
    caption = (
        "Area under the ROC curve of each end point, whose score is the sum of its stages' probabilities. "
        "Chance is .500."
    )
    return [Sheet("end points", caption, columns, lines, notes=notes.notes)]


def _decisions(run: Run, table: pd.DataFrame, level: str) -> Sheet:
    decided = table[table["metric"] != AUC]
    notes = vocabulary.footnotes(decided)
    shown = [metric for metric in DECIDED if metric in set(decided["metric"])]
    baselines = {name: _baseline(run, str(name), level) for name in decided["endpoint"].unique()}
    has_baseline = any(baselines.values())
    lines = []
    for (name, rule), rows in decided.groupby(["endpoint", "rule"], sort=False):
        known: Rows = {row["metric"]: row for row in vocabulary.records(rows)}
        threshold = _threshold(next(iter(known.values())), notes)
        baseline = [Cell(baselines[name] or "–")] if has_baseline else []
        cells = [vocabulary.estimated(known.get(metric), metric, notes) for metric in shown]
        title = Cell(vocabulary.endpoint(run, str(name)), vocabulary.RULES.get(str(rule), str(rule)))
        lines.append(line(title, threshold, *baseline, *cells))
    caption = (
        f"Decisions on end points {vocabulary.LEVELS[level]}, on the test set. Each threshold is one half, "
        "or was chosen on the validation set by the rule under the end point's name: Youden's index, the "
        "highest that keeps a sensitivity of 90\u00a0%, or the lowest that keeps a specificity of "
        "90\u00a0%. None was chosen on the test set."
        + (
            " The baseline is the best accuracy known that needs no look at the liver."
            if has_baseline
            else ""
        )
    )
    columns = [
        Column("End point", number=False),
        Column("Threshold"),
        *([Column("Baseline")] if has_baseline else []),
    ]
    columns += [Column(numbers.title(metric)) for metric in shown]
    name = f"end points {vocabulary.POOLINGS[level]}"
    return Sheet(name, caption, columns, lines, "broad sheet", notes=notes.notes)


def _threshold(row: Mapping[str, Any], notes: Footnotes) -> Cell:
    value = vocabulary.number(row, "threshold")
    marks = notes.marks(vocabulary.sentence(vocabulary.word(row, "note"))) if math.isnan(value) else ""
    return Cell(numbers.quantity(value, "threshold"), "", marks)


def _baseline(run: Run, name: str, level: str) -> str:
    """That of the accuracy; patients have one however they are answered."""
    table, baselines = (run.metrics, run.baselines) if level == "sample" else (run.patients, {})
    metric = "accuracy" if len(run.classes) == 2 else f"accuracy_{name}"  # the only end point of two classes
    rows = [] if table is None else numbers.rows(table, [metric], baselines)
    return numbers.quantity(rows[0].baseline, metric) if rows and rows[0].baseline_text else ""


def _at_one_half(run: Run) -> list[Sheet]:
    """What the metrics say of each end point, of the samples and of the patients."""
    levels = {"by sample": run.metrics, "by patient": run.patients}
    known = {level: table for level, table in levels.items() if table is not None}
    lines = []
    for name in run.endpoints:
        for level, table in known.items():
            rows = numbers.rows(table, [f"{measure}_{name}" for measure in MEASURES])
            if len(rows) == len(MEASURES):
                auc, accuracy, *rest = rows
                cells = [_value(auc), _beside(auc), _value(accuracy), _beside(accuracy), *map(_value, rest)]
                lines.append(
                    line(Cell(vocabulary.endpoint(run, name), level if len(known) > 1 else ""), *cells)
                )
    if not lines:
        return []
    caption = (
        "End points, each answered by the sum of its stages' probabilities: yes where it exceeds one half, a "
        "threshold that no data chose. The baselines are chance and the commonest answer, as no other is "
        "measured by end point."
    )
    titles = ("AUC", "Baseline", "Accuracy", "Baseline", "Sensitivity", "Specificity")
    columns = [Column("End point", number=False), *(Column(title) for title in titles)]
    return [Sheet("end points", caption, columns, lines)]


def _value(row: numbers.Row) -> Cell:
    """A value with its interval below it."""
    return Cell(row.value_text, row.interval_text)


def _beside(row: numbers.Row) -> Cell:
    """A baseline, and where it comes from below it."""
    return (
        Cell(numbers.quantity(row.baseline, row.metric), row.baseline_name)
        if row.baseline_text
        else Cell("–")
    )


def comparators(run: Run) -> list[Sheet]:
    """LSM, APRI and FIB-4 beside the run: a table an end point."""
    table = run.tables.get("comparators")
    if table is None:
        return []
    return [_compared(run, str(name), _once(rows)) for name, rows in table.groupby("endpoint", sort=False)]


def _once(table: pd.DataFrame) -> pd.DataFrame:
    """The run once for all the markers beside which it has the same numbers, at the end."""
    if "beside" not in table:
        return table
    ours = table[table["marker"] == "run"]
    numbers = ours.drop(columns="beside").astype(str).agg(tuple, axis=1)
    same: dict[tuple[object, ...], list[str]] = {}
    for name, rows in numbers.groupby(ours["beside"], sort=False):
        same.setdefault(tuple(rows), []).append(str(name))
    if len(same) == ours["beside"].nunique():
        return table
    joined = {
        names[0]: vocabulary.listed([vocabulary.marker(name) for name in names]) for names in same.values()
    }
    if len(same) == 1:
        joined = dict.fromkeys(joined, "")  # of all: the caption says it
    first = ours[ours["beside"].isin(joined)]
    return pd.concat([table.drop(ours.index), first.assign(beside=first["beside"].map(joined))])


def _compared(run: Run, name: str, table: pd.DataFrame) -> Sheet:
    notes = vocabulary.footnotes(table)
    lines: list[Line] = []
    for kind, rows in table[table["rule"] != ""].groupby(_kinds(table), sort=False):
        lines.append(_marker(table, dict(zip(_kinds(table), kind, strict=True)), rows, notes))
    decided = set(table.loc[table["rule"] != "", "marker"])
    for row in vocabulary.records(table[(table["rule"] == "") & ~table["marker"].isin(decided)]):
        lines.append(_marker(table, row, table.iloc[:0], notes))
    title = vocabulary.endpoint(run, name)
    caption = (
        f"Clinical markers for {title}, on the test patients who have them, and this run on the same "
        "patients. A cut-off is a published one, or was fitted on validation; p is of the paired difference "
        "of the areas, not corrected for there being several."
    )
    titles = ("Patients", "AUC", "p", "Cut-off", *map(numbers.title, COMPARED))
    columns = [Column("Marker", number=False), *map(Column, titles)]
    return Sheet(f"comparators {name}", caption, columns, lines, "broad sheet", notes=notes.notes)


def _kinds(table: pd.DataFrame) -> list[str]:
    """What tells one line from the next: a run beside a marker is measured on that marker's patients."""
    return [name for name in ("marker", "beside", "n", "n_positive", "rule") if name in table]


def _marker(table: pd.DataFrame, kind: Mapping[str, Any], rows: pd.DataFrame, notes: Footnotes) -> Line:
    """One marker under one rule, with its area, which no rule changes."""
    same = (table["metric"] == AUC) & (table["marker"] == kind["marker"])
    for name in ("beside", "n", "n_positive"):
        if name in table:
            same &= table[name] == kind[name]
    area = next(iter(vocabulary.records(table[same])), None)
    measured = vocabulary.records(rows)
    known, shared = _apart(measured)
    first: Mapping[str, Any] = next(iter(measured), {})
    below = [vocabulary.RULES.get(vocabulary.word(first, "rule"), vocabulary.word(first, "rule"))]
    if kind["marker"] == "run" and vocabulary.word(kind, "beside"):
        names = vocabulary.marker(kind["beside"])
        below.insert(0, f"where {names} {'are' if ' and ' in names else 'is'} known")
    return line(
        Cell(vocabulary.marker(str(kind["marker"])), ", ".join(filter(None, below))),
        _patients(kind),
        vocabulary.estimated(area, AUC, notes),
        probability(None if area is None else vocabulary.number(area, "p_auc")),
        _cutoff(first, shared, notes),
        *(vocabulary.estimated(known.get(metric), metric, notes) for metric in COMPARED),
        strong=kind["marker"] == "run",
    )


def _patients(kind: Mapping[str, Any]) -> Cell:
    n, positive = vocabulary.number(kind, "n"), vocabulary.number(kind, "n_positive")
    return Cell(count(n), "" if math.isnan(positive) else f"{count(positive)} positive")


def _apart(rows: Sequence[Mapping[str, Any]]) -> tuple[Rows, str]:
    """The measures of one cut-off, and apart from them the remarks that all of them bear."""
    told = [vocabulary.word(row, "note").split("; ") for row in rows]
    shared = [text for text in (told[0] if told else []) if all(text in texts for texts in told)]
    own = ["; ".join(text for text in texts if text not in shared) for texts in told]
    return {row["metric"]: {**row, "note": note} for row, note in zip(rows, own, strict=True)}, "; ".join(
        shared
    )


def _cutoff(row: Mapping[str, Any], remark: str, notes: Footnotes) -> Cell:
    value = vocabulary.number(row, "cutoff")
    marks = notes.marks(vocabulary.sentence(vocabulary.word(row, "source")), vocabulary.sentence(remark))
    return Cell("–" if math.isnan(value) else f"{value:.3g}", "", marks)
