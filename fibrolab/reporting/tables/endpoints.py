"""The tables of end points such as F2 or worse: areas, thresholds chosen on validation, clinical markers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fibrolab.evaluation.endpoints import MEASURES
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables import estimates
from fibrolab.reporting.tables.sheet import Cell, Footnotes, Line, Sheet, columns, count, line, probability
from fibrolab.runs.trained_run import Run

AUC = "auc"
COMPARED = ("sensitivity", "specificity", "ppv", "npv", "lr_plus", "lr_minus")
DECIDED = ("accuracy", "balanced_accuracy", *COMPARED, "f1")
Rows = Mapping[str, Mapping[str, Any]]  # by metric


def sheets(run: Run) -> list[Sheet]:
    """Return the areas at every level, then a table per level of the measures at each threshold.

    Without ``endpoints.csv`` there is one table, at the threshold of one half.
    """
    table = run.tables.get("endpoints")
    if table is None:
        return _at_one_half(run)
    table = estimates.with_coverage_remarks(run, table)
    levels = [name for name in vocabulary.LEVELS if name in set(table["level"])]
    return [*_areas(run, table, levels), *(_decisions(run, table[table["level"] == at], at) for at in levels)]


def _areas(run: Run, table: pd.DataFrame, levels: Sequence[str]) -> list[Sheet]:
    areas = table[table["metric"] == AUC]
    if areas.empty:
        return []
    notes = estimates.footnotes(areas)
    lines = []
    for name, rows in areas.groupby("endpoint", sort=False):
        known = {row["level"]: row for row in vocabulary.records(rows)}
        cells = [estimates.estimated(known.get(level), AUC, notes) for level in levels]
        lines.append(line(vocabulary.end_point_of(run, str(name)), *cells))
    titles = columns("End point", *(vocabulary.POOLINGS[level].capitalize() for level in levels))
    caption = (
        "Area under the ROC curve (AUC) of each end point; its score is the sum of the probabilities of its "
        "stages. Chance is .500."
    )
    return [Sheet("end points", caption, titles, lines, notes=notes.notes)]


def _decisions(run: Run, table: pd.DataFrame, level: str) -> Sheet:
    decided = table[table["metric"] != AUC]
    notes = estimates.footnotes(decided)
    shown = [metric for metric in DECIDED if metric in set(decided["metric"])]
    baselines = {name: _baseline(run, str(name), level) for name in decided["endpoint"].unique()}
    has_baseline = any(baselines.values())
    lines = []
    for (name, rule), rows in decided.groupby(["endpoint", "rule"], sort=False):
        known: Rows = {row["metric"]: row for row in vocabulary.records(rows)}
        threshold = _threshold(next(iter(known.values())), notes)
        baseline = [Cell(baselines[name] or "–")] if has_baseline else []
        cells = [estimates.estimated(known.get(metric), metric, notes) for metric in shown]
        title = Cell(vocabulary.end_point_of(run, str(name)), vocabulary.RULES.get(str(rule), str(rule)))
        lines.append(line(title, threshold, *baseline, *cells))
    caption = (
        f"Classification of end points {vocabulary.LEVELS[level]}, on the test set. The threshold is one "
        "half, or was chosen on the validation set by the rule below the end point's name: maximum of "
        "Youden's index, the highest threshold with a sensitivity of at least 90\u00a0%, or the lowest with "
        "a specificity of at least 90\u00a0%. No threshold was chosen on the test set."
        + (" The baseline is the best accuracy reachable without a model." if has_baseline else "")
    )
    measures = [*(["Baseline"] if has_baseline else []), *map(numbers.title, shown)]
    titles = columns("End point", "Threshold", *measures)
    name = f"end points {vocabulary.POOLINGS[level]}"
    return Sheet(name, caption, titles, lines, "broad sheet", notes=notes.notes)


def _threshold(row: Mapping[str, Any], notes: Footnotes) -> Cell:
    value = vocabulary.number(row, "threshold")
    marks = notes.marks(vocabulary.sentence(vocabulary.word(row, "note"))) if math.isnan(value) else ""
    return Cell(numbers.quantity(value, "threshold"), "", marks)


def _baseline(run: Run, name: str, level: str) -> str:
    """Return the baseline of the accuracy, which is the same for all ways to combine a patient's samples."""
    table, baselines = (run.metrics, run.baselines) if level == "sample" else (run.patients, {})
    metric = "accuracy" if len(run.classes) == 2 else f"accuracy_{name}"  # two classes have one end point
    rows = [] if table is None else numbers.rows(table, [metric], baselines)
    return numbers.quantity(rows[0].baseline, metric) if rows and rows[0].baseline_text else ""


def _at_one_half(run: Run) -> list[Sheet]:
    """Return the measures of each end point at one half, by sample and by patient."""
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
                    line(Cell(vocabulary.end_point_of(run, name), level if len(known) > 1 else ""), *cells)
                )
    if not lines:
        return []
    caption = (
        "End points, predicted positive where the sum of the probabilities of their stages exceeds one half, "
        "a threshold that does not depend on data. The baselines are chance and the most frequent class, as "
        "no other baseline is measured by end point."
    )
    measures = ("AUC", "Baseline", "Accuracy", "Baseline", "Sensitivity", "Specificity")
    return [Sheet("end points", caption, columns("End point", *measures), lines)]


def _value(row: numbers.Row) -> Cell:
    """Return a value with its interval below."""
    return Cell(row.value_text, row.interval_text)


def _beside(row: numbers.Row) -> Cell:
    """Return a baseline with its name below."""
    return (
        Cell(numbers.quantity(row.baseline, row.metric), row.baseline_name)
        if row.baseline_text
        else Cell("–")
    )


def comparators(run: Run) -> list[Sheet]:
    """Return LSM, APRI and FIB-4 beside the run, a table per end point."""
    table = run.tables.get("comparators")
    if table is None:
        return []
    return [_compared(run, str(name), _once(rows)) for name, rows in table.groupby("endpoint", sort=False)]


def _once(table: pd.DataFrame) -> pd.DataFrame:
    """Merge the run's rows beside several markers where their numbers are the same, and put them last."""
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
        joined = dict.fromkeys(joined, "")  # the same for all markers, as the caption states
    first = ours[ours["beside"].isin(joined)]
    return pd.concat([table.drop(ours.index), first.assign(beside=first["beside"].map(joined))])


def _compared(run: Run, name: str, table: pd.DataFrame) -> Sheet:
    notes = estimates.footnotes(table)
    lines: list[Line] = []
    for kind, rows in table[table["rule"] != ""].groupby(_kinds(table), sort=False):
        lines.append(_marker(table, dict(zip(_kinds(table), kind, strict=True)), rows, notes))
    decided = set(table.loc[table["rule"] != "", "marker"])
    for row in vocabulary.records(table[(table["rule"] == "") & ~table["marker"].isin(decided)]):
        lines.append(_marker(table, row, table.iloc[:0], notes))
    title = vocabulary.end_point_of(run, name)
    caption = (
        f"Clinical markers for {title}, on the test patients for whom they are known, and this run on the "
        "same patients. Cut-offs are published ones or were fitted on the validation set; p is for the "
        "paired difference in AUC and is not corrected for multiple tests."
    )
    titles = columns("Marker", "Patients", "AUC", "p", "Cut-off", *map(numbers.title, COMPARED))
    return Sheet(f"comparators {name}", caption, titles, lines, "broad sheet", notes=notes.notes)


def _kinds(table: pd.DataFrame) -> list[str]:
    """Return the columns that identify a line: the run is scored on the patients of each marker."""
    return [name for name in ("marker", "beside", "n", "n_positive", "rule") if name in table]


def _marker(table: pd.DataFrame, kind: Mapping[str, Any], rows: pd.DataFrame, notes: Footnotes) -> Line:
    """Return the line of one marker under one rule, with its AUC, which does not depend on the rule."""
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
        estimates.estimated(area, AUC, notes),
        probability(None if area is None else vocabulary.number(area, "p_auc")),
        _cutoff(first, shared, notes),
        *(estimates.estimated(known.get(metric), metric, notes) for metric in COMPARED),
        strong=kind["marker"] == "run",
    )


def _patients(kind: Mapping[str, Any]) -> Cell:
    n, positive = vocabulary.number(kind, "n"), vocabulary.number(kind, "n_positive")
    return Cell(count(n), "" if math.isnan(positive) else f"{count(positive)} positive")


def _apart(rows: Sequence[Mapping[str, Any]]) -> tuple[Rows, str]:
    """Return the measures of one cut-off, and separately the remarks common to all of them."""
    notes = [vocabulary.word(row, "note").split("; ") for row in rows]
    shared = [text for text in (notes[0] if notes else []) if all(text in texts for texts in notes)]
    own = ["; ".join(text for text in texts if text not in shared) for texts in notes]
    return {row["metric"]: {**row, "note": note} for row, note in zip(rows, own, strict=True)}, "; ".join(
        shared
    )


def _cutoff(row: Mapping[str, Any], remark: str, notes: Footnotes) -> Cell:
    value = vocabulary.number(row, "cutoff")
    marks = notes.marks(vocabulary.sentence(vocabulary.word(row, "source")), vocabulary.sentence(remark))
    return Cell("–" if math.isnan(value) else f"{value:.3g}", "", marks)
