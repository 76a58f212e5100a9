"""The tables of calibration and of conformal prediction sets."""

import pandas as pd

from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables import estimates
from fibrolab.reporting.tables.sheet import Cell, Sheet, columns, count, line
from fibrolab.runs.trained_run import Run

PROBABILITIES = ("as predicted", "temperature")
CALIBRATED = {"slope": "Calibration slope", "intercept": "Calibration intercept"}


def calibration(run: Run) -> list[Sheet]:
    """Return log loss, Brier score, calibration error and slopes, before and after temperature scaling."""
    table = run.tables.get("calibration")
    if table is None:
        return []
    table = estimates.with_coverage_remarks(run, table)
    levels = [name for name in vocabulary.LEVELS if name in set(table["level"])]
    return [_calibrated(run, table[table["level"] == level], level) for level in levels]


def _calibrated(run: Run, table: pd.DataFrame, level: str) -> Sheet:
    notes = estimates.footnotes(table)
    shown = [name for name in PROBABILITIES if name in set(table["probabilities"])]
    lines = []
    for measure, rows in table.groupby("measure", sort=False):
        known = {row["probabilities"]: row for row in vocabulary.records(rows)}
        cells = [estimates.estimated(known.get(name), str(measure), notes) for name in shown]
        lines.append(line(_measure(run, str(measure)), *cells))
    caption = (
        f"Calibration of the probabilities {vocabulary.LEVELS[level]}, on the test set. Lower values are "
        "better, except that calibration slopes are ideally 1 and calibration intercepts ideally 0."
    )
    titles = columns("Measure", *(_heading(table, name) for name in shown))
    return Sheet(f"calibration {vocabulary.POOLINGS[level]}", caption, titles, lines, notes=notes.notes)


def _measure(run: Run, name: str) -> str:
    for start, words in CALIBRATED.items():
        if name.startswith(f"{start}_"):
            return f"{words}, {vocabulary.end_point_of(run, name.removeprefix(f'{start}_'))}"
    return CALIBRATED.get(name, numbers.title(name))


def _heading(table: pd.DataFrame, name: str) -> str:
    """Return ``Temperature of 1.63, fitted on validation``."""
    if name != "temperature":
        return name.capitalize()
    rows = vocabulary.records(table[table["probabilities"] == name])
    values = [value for row in rows if (value := vocabulary.number(row, "temperature")) == value]
    of = f" of {values[0]:.2f}" if values else ""
    return f"Temperature{of}, fitted on validation"


def conformal(run: Run) -> list[Sheet]:
    """Return coverage and size of the prediction sets, by class and over all classes; a table per level."""
    table = run.tables.get("conformal")
    if table is None:
        return []
    levels = [name for name in vocabulary.LEVELS if name in set(table["level"])]
    return [_sets(table[table["level"] == level], level) for level in levels]


def _sets(table: pd.DataFrame, level: str) -> Sheet:
    notes = estimates.footnotes(table)
    lines = []
    for row in vocabulary.records(table):
        nominal = numbers.percent(1 - vocabulary.number(row, "alpha"))
        everything = row["stage"] == "all"
        n = vocabulary.number(row, "n")
        lines.append(
            line(
                Cell("All" if everything else row["stage"], nominal),
                count(n),
                estimates.estimated(row, "accuracy", notes, value="coverage"),
                numbers.quantity(vocabulary.number(row, "mean_size"), "mean_size"),
                numbers.quantity(vocabulary.number(row, "alone"), "accuracy"),
                strong=everything,
            )
        )
    caption = (
        f"Conformal prediction sets {vocabulary.LEVELS[level]}: for each prediction, the classes that "
        "contain the true class with the nominal probability, calibrated on the validation set. The "
        "guarantee holds over all classes together, not for each class."
    )
    first = "True class, nominal coverage"
    titles = columns(first, "n", "Coverage", "Classes per set", "Sets of one class")
    return Sheet(f"conformal sets {vocabulary.POOLINGS[level]}", caption, titles, lines, notes=notes.notes)
