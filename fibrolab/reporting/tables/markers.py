"""The tables of scored markers: areas, cut-offs, comparison, distributions by class, and the cohort."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fibrolab import keys
from fibrolab.evaluation.clinical.comparators import CAVEATS, PUBLISHED
from fibrolab.evaluation.clinical.marker_scores import LOW
from fibrolab.evaluation.comparison.comparison_table import SIGNIFICANT
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.comparison_sentences import amount
from fibrolab.reporting.marker_sentences import CIRCULAR, Scoring
from fibrolab.reporting.tables import comparison, estimates
from fibrolab.reporting.tables.sheet import Cell, Footnotes, Line, Sheet, columns, count, line, probability
from fibrolab.reporting.vocabulary import number, records, sentence, word

MEASURES = ("sensitivity", "specificity", "ppv", "npv")
AUC = "auc"
PREVALENCE = "PPV and NPV hold at the prevalence of these patients."


def areas(scoring: Scoring) -> Sheet:
    """Return a line per marker, with its area at each end point."""
    rows = scoring.table[scoring.table["metric"] == AUC]
    notes = estimates.footnotes(rows)
    lines = []
    for _, own in rows.groupby("marker", sort=False):
        every = list(records(own))
        lines.append(line(_name(scoring, every[0]), *(_area(row, notes) for row in every)))
    caption = (
        f"Area under the ROC curve (AUC) at each end point, with {numbers.percent(scoring.level)} confidence "
        f"interval, on the {scoring.unit}s that have the marker."
    )
    titles = columns("Marker", *map(scoring.end_point, scoring.endpoints))
    return Sheet("markers auc", caption, titles, lines, notes=notes.notes)


def _area(row: Mapping[str, Any], notes: Footnotes) -> Cell:
    cell = estimates.estimated(row, AUC, notes)
    size = f"{count(row['n_positive'])} of {count(row['n'])} positive"
    return replace(cell, small=", ".join(filter(None, (cell.small, size))))


def cutoffs(scoring: Scoring) -> list[Sheet]:
    """Return a table per end point, with a line per marker and cut-off."""
    return [_cutoffs(scoring, name) for name in scoring.endpoints]


def _cutoffs(scoring: Scoring, endpoint: str) -> Sheet:
    rows = scoring.table[(scoring.table["endpoint"] == endpoint) & (scoring.table["rule"] != "")]
    rows = rows[rows["metric"].isin(MEASURES)]
    rows = rows.assign(note=[_without_caveat(row) for row in records(rows)])
    notes = estimates.footnotes(rows, PREVALENCE)
    lines = []
    for _, own in rows.groupby(["marker", "rule"], sort=False):
        measured = {row["metric"]: row for row in records(own)}
        first = next(iter(measured.values()))
        cells = [estimates.estimated(measured.get(metric), metric, notes) for metric in MEASURES]
        rule = vocabulary.RULES.get(first["rule"], first["rule"])
        lines.append(line(_name(scoring, first), rule, _cutoff(first, notes), *cells))
    caption = (
        f"Cut-offs for {scoring.end_point(endpoint)}. The published ones are applied as they are. The others "
        f"are chosen on these {scoring.unit}s, with the range over {scoring.folds} folds below; their "
        "measures are cross-validated: each patient is decided by the cut-off that was chosen without the "
        "patient's fold."
    )
    titles = columns("Marker", "Chosen by", "Cut-off", *map(numbers.title, MEASURES), texts=2)
    return Sheet(f"markers cut-offs {endpoint}", caption, titles, lines, "broad sheet", notes=notes.notes)


def _without_caveat(row: Mapping[str, Any]) -> str:
    """Return the note of a measure without the caveat on its cut-off, which stands beside the cut-off."""
    caveats = _caveat(row).split("; ")
    return "; ".join(text for text in word(row, "note").split("; ") if text not in caveats)


def _caveat(row: Mapping[str, Any]) -> str:
    return CAVEATS[row["marker"]] if row["rule"] == PUBLISHED else ""


def _cutoff(row: Mapping[str, Any], notes: Footnotes) -> Cell:
    """Return a cut-off with its sign, and below it the range over the folds."""
    value, low, high = (number(row, name) for name in ("cutoff", "cutoff_low", "cutoff_high"))
    if math.isnan(value):
        return Cell("–")
    sign = "≤" if row["direction"] == LOW else "≥"
    source = sentence(f"{word(row, 'source')}; {_caveat(row)}") if row["rule"] == PUBLISHED else ""
    below = f"{_digits(low)} to {_digits(high)}" if math.isfinite(low) else ""
    return Cell(f"{sign}{numbers.SPACE}{_digits(value)}", below, notes.marks(source))


def _digits(value: float) -> str:
    """Return a value with three significant digits, or all digits of a larger whole part."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", numbers.MINUS)


def differences(scoring: Scoring) -> Sheet:
    """Return a line per pair of markers and end point."""
    rows = scoring.differences
    used = {comparison.TESTS.get(name, "") for name in rows["method"] if isinstance(name, str)} - {""}
    notes = Footnotes(sorted(used) if len(used) == 1 else [])
    tests = int(rows["p_holm"].notna().sum())
    several = ""
    if tests > 1:
        several = f" Holm's correction is for the {tests} tests of this table; intervals are not corrected."
    caption = (
        f"Differences in AUC, on the {scoring.unit}s that have both markers, with "
        f"{numbers.percent(scoring.level)} confidence intervals.{several}"
    )
    pair = ("Markers", "End point", f"{scoring.unit.capitalize()}s", "AUC, first", "AUC, second")
    titles = columns(*pair, "Difference", "p", "p, Holm", texts=2)
    lines = [_difference(scoring, row, notes) for row in records(rows)]
    empty = "One marker: there is nothing to compare."
    return Sheet("markers differences", caption, titles, lines, "broad sheet", empty, notes.notes)


def _difference(scoring: Scoring, row: Mapping[str, Any], notes: Footnotes) -> Line:
    names = [scoring.label(row["marker"]), scoring.label(row["against"])]
    circular = [row[side] in scoring.circular for side in ("marker", "against")]
    low, high = number(row, "low"), number(row, "high")
    bounds = numbers.interval(low, high, AUC) if math.isfinite(low) else ""
    marks = notes.marks(comparison.TESTS.get(word(row, "method"), ""), *estimates.remarks(row))
    why = [notes.marks(sentence(scoring.circular.get(row[side], ""))) for side in ("marker", "against")]
    return line(
        Cell(f" {numbers.MINUS} ".join(names), CIRCULAR if any(circular) else ""),
        scoring.end_point(row["endpoint"]),
        Cell(count(row["n"]), f"{count(row['n_positive'])} positive"),
        Cell(numbers.quantity(row["auc"], AUC), "", why[0]),
        Cell(numbers.quantity(row["auc_against"], AUC), "", why[1]),
        Cell(amount(row["value"], AUC), bounds, marks),
        probability(row["p"]),
        probability(row["p_holm"]),
        strong=row["p_holm"] < SIGNIFICANT,
    )


def by_class(scoring: Scoring) -> Sheet:
    """Return median and quartiles of each marker by class."""
    lines = []
    for name, own in scoring.by_class.groupby("marker", sort=False):
        cells = [Cell("–" if not row["n"] else _digits(row["median"]), _spread(row)) for row in records(own)]
        lines.append(line(scoring.title(str(name)), *cells))
    caption = f"Markers by class: median and quartiles, and the number of {scoring.unit}s with a value."
    return Sheet("markers by class", caption, columns("Marker", *map(str, scoring.classes)), lines)


def _spread(row: Mapping[str, Any]) -> str:
    return f"{_digits(row['q1'])} to {_digits(row['q3'])}, n = {row['n']:,}" if row["n"] else ""


def cohort(scoring: Scoring) -> Sheet:
    """Return the characteristics of the patients, each counted once."""
    lines = []
    for row in records(scoring.cohort):
        if row["variable"] in ("samples", "samples a patient"):
            continue
        title = Cell(vocabulary.variable(row["variable"]), word(row, "statistic"))
        lines.append(line(title, word(row, keys.TEST) or "–"))
    caption = "Characteristics of the patients, each counted once by the first visit."
    return Sheet("markers cohort", caption, columns("Variable", "All"), lines, "compact")


def _name(scoring: Scoring, row: Mapping[str, Any]) -> Cell:
    return Cell(scoring.label(row["marker"]), CIRCULAR if row["marker"] in scoring.circular else "")
