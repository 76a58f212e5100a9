"""The tables of a comparison: arms with confidence intervals, differences with tests."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fibrolab.evaluation.comparison.arms import AT_THRESHOLDS, CLASSES, END_POINTS, HEADLINE
from fibrolab.evaluation.comparison.comparison_table import ANOVA, COMPARATORS, FOLDS, SIGNIFICANT
from fibrolab.evaluation.comparison.fold_by_fold import RESAMPLED_T
from fibrolab.evaluation.comparison.training_seeds import POWER
from fibrolab.evaluation.intervals.sample_size import CAVEAT
from fibrolab.reporting import numbers
from fibrolab.reporting.comparison_sentences import Comparison, amount, measure, needed
from fibrolab.reporting.figures.style import shortened
from fibrolab.reporting.tables import estimates
from fibrolab.reporting.tables.estimates import remarks
from fibrolab.reporting.tables.sheet import Cell, Footnotes, Line, Sheet, columns, line, probability
from fibrolab.reporting.vocabulary import end_point, records, sentence

LETTERS = 60  # longest text [letters] shown of a setting's value
MANY = 4  # measures of an arm; a table with more takes the whole width of the screen
SECTIONS = {
    HEADLINE: (HEADLINE,),
    "endpoints": (END_POINTS, AT_THRESHOLDS, COMPARATORS),
    CLASSES: (CLASSES,),
    FOLDS: (FOLDS,),
}
TITLES = {
    HEADLINE: "Main measures",
    END_POINTS: "AUC of the end points",
    AT_THRESHOLDS: "End points at thresholds",
    COMPARATORS: "Networks and clinical markers",
    CLASSES: "Measures by class",
    FOLDS: "Fold by fold",
}
REMARKS = {
    AT_THRESHOLDS: " The threshold of each training maximises Youden's index on its validation set, or is "
    "one half without one.",
    COMPARATORS: " On the patients for whom the marker is known.",
    CLASSES: " The predicted class is the most probable one.",
    FOLDS: " Mean and SD over the folds.",
}
BY_PART = {CLASSES: "Class", AT_THRESHOLDS: "End point"}  # one line per arm and part
TESTS = {
    "mid-p McNemar": "McNemar's mid-p test (Fagerland 2013); confidence interval of Bonett and Price (2012).",
    "DeLong": "Confidence interval and test: DeLong (1988), paired.",
    "clustered DeLong (Obuchowski)": "Confidence interval and test: Obuchowski's clustered covariance "
    "(1997), paired.",
    "unpaired DeLong": "Confidence interval and test: DeLong's variance in each cohort, Welch-Satterthwaite "
    "t.",
    "paired bootstrap": "Confidence interval and test: Student's t with the variance over bootstrap "
    "resamples of groups, the same resamples in both arms.",
    "t over patients and trainings": "Confidence interval and test: Student's t with the variance over "
    "bootstrap resamples of groups and the variance between trainings (Obuchowski and Rockette 1995).",
    RESAMPLED_T: "Confidence interval and test: corrected resampled t test over folds (Nadeau and Bengio "
    "2003).",
    "bootstrap of each cohort": "Confidence interval and test: Student's t with the variance over bootstrap "
    "resamples of the groups of each cohort.",
}


def of(comparison: Comparison) -> dict[str, dict[str, list[Sheet]]]:
    """Return the tables by section of the page, then by level, the primary level first."""
    found: dict[str, dict[str, list[Sheet]]] = {}
    for section, families in SECTIONS.items():
        for level in comparison.arms:
            sheets = [
                make(comparison, level, family)
                for family in families
                for make in (LAYOUTS.get(family, arms), differences)
            ]
            if section == CLASSES:
                sheets.append(variance(comparison, level))
            if shown := [sheet for sheet in sheets if sheet.lines]:
                found.setdefault(section, {})[level] = shown
    return found


def _by(level: str) -> str:
    return f"by {level}"


def _notes(rows: pd.DataFrame) -> Footnotes:
    """Return footnotes; a method that all rows share applies to the whole table."""
    used = {_method(name) for name in rows["method"] if name}
    return Footnotes([*used] if len(used) == 1 else [])


def _method(name: str) -> str:
    return TESTS.get(name) or estimates.method(name)


def arms(comparison: Comparison, level: str, family: str) -> Sheet:
    """Return a line per arm and a column per measure."""
    rows = comparison.rows(level, family)
    rows = rows[rows["against"] == ""]
    measures = list(dict.fromkeys(zip(rows["metric"], rows["of"], strict=True)))
    notes = _notes(rows)
    lines = []
    for arm, own in rows.groupby("arm", sort=False):
        cells = {(row["metric"], row["of"]): _cell(row, notes) for row in records(own)}
        lines.append(
            line(Cell(str(arm), _size(own, level)), *(cells.get(key, Cell("–")) for key in measures))
        )
    titles = [
        measure({"metric": metric, "of": of, "family": family}, comparison.task) for metric, of in measures
    ]
    return Sheet(
        f"{TITLES[family]} {_by(level)}",
        _caption(comparison, level, family),
        columns("Arm", *titles),
        lines,
        style="broad sheet" if len(titles) > MANY else "",
        notes=notes.notes,
    )


def parts(comparison: Comparison, level: str, family: str) -> Sheet:
    """Return a line per arm and class or end point, and a column per measure."""
    rows = comparison.rows(level, family)
    rows = rows[rows["against"] == ""].assign(rate=rows["metric"].str.removeprefix("macro_"))
    rates, notes = list(dict.fromkeys(rows["rate"])), _notes(rows)
    lines = []
    for part in rows["of"].unique():
        for arm, own in rows[rows["of"] == part].groupby("arm", sort=False):
            cells = {row["rate"]: _cell(row, notes) for row in records(own)}
            known = [cells.get(rate, Cell("–")) for rate in rates]
            lines.append(line(_part(part, comparison, family), str(arm), *known))
    titles = [measure({"metric": rate, "of": "", "family": family}, comparison.task) for rate in rates]
    return Sheet(
        f"{TITLES[family]} {_by(level)}",
        _caption(comparison, level, family),
        columns(BY_PART[family], "Arm", *titles, texts=2),
        lines,
        style="broad sheet",
        notes=notes.notes,
    )


def _part(name: str, comparison: Comparison, family: str) -> Cell:
    if not name:
        return Cell("Macro average")
    task = comparison.task
    return Cell(end_point(task.classes, task.endpoints[name]) if family == AT_THRESHOLDS else name)


def folds(comparison: Comparison, level: str, family: str = FOLDS) -> Sheet:
    """Return a line per arm and fold and one for its mean with SD, and a column per measure."""
    rows = comparison.rows(level, family)
    rows = rows[rows["against"] == ""]
    measures, notes = list(dict.fromkeys(zip(rows["metric"], rows["of"], strict=True))), _notes(rows)
    lines = []
    for (arm, fold), own in rows.groupby(["arm", "fold"], sort=False):
        cells = {(row["metric"], row["of"]): _cell(row, notes) for row in records(own)}
        which = Cell(f"fold {fold}", f"{int(own['n'].iloc[0]):,} {level}s") if fold else Cell("mean")
        lines.append(line(str(arm), which, *(cells[key] for key in measures), strong=not fold))
    titles = [
        measure({"metric": metric, "of": of, "family": family}, comparison.task) for metric, of in measures
    ]
    shown, caption = columns("Arm", "Fold", *titles, texts=2), _caption(comparison, level, family)
    return Sheet(f"{TITLES[family]} {_by(level)}", caption, shown, lines, "broad sheet", notes=notes.notes)


def _caption(comparison: Comparison, level: str, family: str) -> str:
    bounded = "" if family == FOLDS else f", with {numbers.percent(comparison.level)} confidence intervals"
    return f"{TITLES[family]}, {_by(level)}{bounded}.{REMARKS.get(family, '')}"


def _size(rows: pd.DataFrame, level: str) -> str:
    """Return the sample size: ``120 samples, 30 groups``."""
    return f"{int(rows['n'].iloc[0]):,} {level}s, {int(rows['groups'].iloc[0]):,} groups"


# Of the arms of a family; the others have a line per arm.
LAYOUTS = {CLASSES: parts, AT_THRESHOLDS: parts, FOLDS: folds}


def _cell(row: Mapping[str, Any], notes: Footnotes) -> Cell:
    bounded = math.isfinite(row["low"])
    small = numbers.interval(row["low"], row["high"], row["metric"]) if bounded else ""
    if math.isfinite(row["sd"]):
        small += f" SD {numbers.quantity(row['sd'], row['metric'])}"
    marks = notes.marks(_method(row["method"]) if bounded else "", *remarks(row))
    return Cell(numbers.quantity(row["value"], row["metric"]), small.strip(), marks)


def differences(comparison: Comparison, level: str, family: str) -> Sheet:
    """Return a line per pair of arms and measure."""
    rows = comparison.rows(level, family)
    rows = rows[rows["against"] != ""]
    notes = _notes(rows)
    tests = int(rows["p"].notna().sum())
    several = ""
    if tests > 1:
        several = f" Holm's correction is for the {tests} tests of this table; intervals are not corrected."
    planned = bool(rows["needed"].notna().any())
    lines = [_difference(row, comparison, notes, planned) for row in records(rows)]
    needs = [f"{comparison.units.capitalize()} needed"] if planned else []
    return Sheet(
        f"Differences {TITLES[family]} {_by(level)}",
        f"{TITLES[family]}, {_by(level)}: differences, with {numbers.percent(comparison.level)} confidence "
        f"intervals.{several}",
        columns("Difference", "Measure", "Value", "p", "p, Holm", *needs, texts=2),
        lines,
        notes=[*notes.notes, *([("", _plan(tests)), ("", CAVEAT)] if planned else [])],
    )


def _plan(tests: int) -> str:
    level = f"{SIGNIFICANT:.2f}".removeprefix("0")
    divided = ", divided by the number of tests (slightly more conservative than Holm)" if tests > 1 else ""
    return (
        f"Number needed for a power of {numbers.percent(POWER)} at a significance level of {level}{divided}."
    )


def _difference(row: Mapping[str, Any], comparison: Comparison, notes: Footnotes, planned: bool) -> Line:
    pair = f"{row['arm']} {numbers.MINUS} {row['against']}"
    size = f"{int(row['n']):,} rows" if row["family"] == COMPARATORS else ""
    bounded = math.isfinite(row["low"])
    small = numbers.interval(row["low"], row["high"], row["metric"]) if bounded else ""
    if math.isfinite(row["sd"]):
        small += f" SD {numbers.quantity(row['sd'], row['metric'])} over folds"
    marks = notes.marks(_method(row["method"]), *remarks(row))
    cells = [
        Cell(pair, size),
        Cell(measure(row, comparison.task)),
        Cell(amount(row["value"], row["metric"]), small, marks),
        Cell(probability(row["p"])),
        Cell(probability(row["p_holm"])),
    ]
    if planned:
        cells.append(Cell(needed(row["needed"], "").removeprefix("about ").strip() or "–"))
    return Line(tuple(cells), strong=row["p_holm"] < SIGNIFICANT)


def variance(comparison: Comparison, level: str) -> Sheet:
    """Return the one-way analysis of variance of the sensitivities, as paper 1 reports it."""
    rows = comparison.rows(level, ANOVA)
    return of_variance(rows, f"Analysis of variance {_by(level)}", _by(level))


def of_variance(rows: pd.DataFrame, title: str, by: str) -> Sheet:
    """Return the one-way analysis of variance of the sensitivities in rows of a comparison's table."""
    notes = Footnotes([sentence(note) for note in rows["note"].unique() if len(rows) and note])
    lines = []
    for row in records(rows):
        degrees = row["method"].partition("F(")[2].removesuffix(")") or "–"
        statistic = f"{row['value']:.2f}" if math.isfinite(row["value"]) else numbers.UNDEFINED
        lines.append(line(f"between {row['of']}", degrees, statistic, probability(row["p"])))
    titles = columns("Sensitivities", "Degrees of freedom", "F", "p")
    caption = f"One-way analysis of variance of the sensitivities, {by}, as reported by some papers."
    return Sheet(title, caption, titles, lines, "compact", notes=notes.notes)


def settings(comparison: Comparison) -> Sheet:
    """Return the settings that differ between arms."""
    titles = columns("Setting", *map(str, comparison.settings), texts=1 + comparison.settings.shape[1])
    lines = [
        line(str(name), *(shortened(str(value), LETTERS) for value in row))
        for name, row in zip(comparison.settings.index, comparison.settings.to_numpy(), strict=True)
    ]
    empty = "All arms have the same settings."
    return Sheet("Settings that differ", "Settings that differ between the arms.", titles, lines, empty=empty)


def members(comparison: Comparison) -> Sheet:
    """Return the runs of each arm, with model, data and split."""
    lines = []
    for each in comparison.members:
        trained = (each.model, each.data, each.split, each.verdict)
        lines.append(line(Cell(each.name, each.kind), *trained, Cell("", " ".join(each.runs))))
    titles = columns("Arm", "Model", "Data", "Split", "Audit", "Runs", texts=6)
    return Sheet("Runs compared", "Runs of each arm.", titles, lines)
