"""The tables of how far the probabilities can be trusted: calibration, and conformal sets of classes."""

import pandas as pd

from fibrolab.reporting import numbers, undercoverage, vocabulary
from fibrolab.reporting.tables.sheet import Cell, Column, Sheet, count, line
from fibrolab.runs.trained_run import Run

PROBABILITIES = ("as predicted", "temperature")
CALIBRATED = {"slope": "Calibration slope", "intercept": "Calibration intercept"}


def calibration(run: Run) -> list[Sheet]:
    """Log loss, Brier score, calibration error and slopes, before and after the temperature."""
    table = run.tables.get("calibration")
    if table is None:
        return []
    table = undercoverage.remarked(run, table)
    levels = [name for name in vocabulary.LEVELS if name in set(table["level"])]
    return [_calibrated(run, table[table["level"] == level], level) for level in levels]


def _calibrated(run: Run, table: pd.DataFrame, level: str) -> Sheet:
    notes = vocabulary.footnotes(table)
    shown = [name for name in PROBABILITIES if name in set(table["probabilities"])]
    lines = []
    for measure, rows in table.groupby("measure", sort=False):
        known = {row["probabilities"]: row for row in vocabulary.records(rows)}
        cells = [vocabulary.estimated(known.get(name), str(measure), notes) for name in shown]
        lines.append(line(_measure(run, str(measure)), *cells))
    caption = (
        f"Quality of the probabilities {vocabulary.LEVELS[level]}, on the test set: lower is better, but for "
        "calibration slopes, which are best at 1, and intercepts, best at 0."
    )
    columns = [Column("Measure", number=False), *(Column(_heading(table, name)) for name in shown)]
    return Sheet(f"calibration {vocabulary.POOLINGS[level]}", caption, columns, lines, notes=notes.notes)


def _measure(run: Run, name: str) -> str:
    for start, words in CALIBRATED.items():
        if name.startswith(f"{start}_"):
            return f"{words}, {vocabulary.endpoint(run, name.removeprefix(f'{start}_'))}"
    return CALIBRATED.get(name, numbers.title(name))


def _heading(table: pd.DataFrame, name: str) -> str:
    """``After a temperature of 1.63, fitted on validation``."""
    if name != "temperature":
        return name.capitalize()
    rows = vocabulary.records(table[table["probabilities"] == name])
    values = [value for row in rows if (value := vocabulary.number(row, "temperature")) == value]
    of = f" of {values[0]:.2f}" if values else ""
    return f"After a temperature{of}, fitted on validation"


def conformal(run: Run) -> list[Sheet]:
    """Coverage and size of the sets of classes, of each stage and over all; a table a level."""
    table = run.tables.get("conformal")
    if table is None:
        return []
    levels = [name for name in vocabulary.LEVELS if name in set(table["level"])]
    return [_sets(table[table["level"] == level], level) for level in levels]


def _sets(table: pd.DataFrame, level: str) -> Sheet:
    notes = vocabulary.footnotes(table)
    lines = []
    for row in vocabulary.records(table):
        promised = numbers.percent(1 - vocabulary.number(row, "alpha"))
        everything = row["stage"] == "all"
        n = vocabulary.number(row, "n")
        lines.append(
            line(
                Cell("All" if everything else row["stage"], promised),
                count(n),
                vocabulary.estimated(row, "accuracy", notes, value="coverage"),
                numbers.quantity(vocabulary.number(row, "mean_size"), "mean_size"),
                numbers.quantity(vocabulary.number(row, "alone"), "accuracy"),
                strong=everything,
            )
        )
    caption = (
        f"Conformal sets {vocabulary.LEVELS[level]}: for each answer the classes that hold the true one with "
        "the promised probability, calibrated on validation. The promise is on all classes together, not on "
        "each."
    )
    titles = ("n", "Coverage", "Classes in a set", "Sets of one class")
    columns = [Column("True class, promise", number=False), *map(Column, titles)]
    return Sheet(f"conformal sets {vocabulary.POOLINGS[level]}", caption, columns, lines, notes=notes.notes)
