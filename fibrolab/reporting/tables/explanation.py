"""The tables of an explanation: the tests of its maps, one table a method and branch."""

from collections.abc import Mapping
from typing import Any

from fibrolab.reporting import vocabulary
from fibrolab.reporting.tables.sheet import Cell, Column, Sheet, coefficient, columns, line
from fibrolab.runs.trained_run import Run

TESTS = "explanation/tests"
VERDICT = "verdict"  # name of the test whose row sums up all tests of a method on a branch
RESULTS = {True: "passed", False: "failed"}
# Of the tests of what the network uses, neither result is a fault of the method.
FOUND = {
    "heat by region": {True: "not more", False: "more"},
    "true mask": {True: "found", False: "not found"},
}


def of_maps(run: Run, labels: Mapping[tuple[str, str], str] | None = None) -> list[Sheet]:
    """Return the tests of the maps of each method and branch.

    Args:
        run: The explained run.
        labels: Title of each method and branch; by default their names.
    """
    table = run.tables.get(TESTS)
    if table is None:
        return []
    titles = [*columns("Test", "Measure", "Value", "Reference", texts=2), Column("Result", False)]
    sheets = []
    for (method, branch), rows in table[table["test"] != VERDICT].groupby(["method", "branch"], sort=False):
        title = (labels or {}).get((str(method), str(branch)), f"{method}, {branch}")
        lines = [_line(row) for row in vocabulary.records(rows)]
        caption = "Each value stands beside that of a reference, which a map without information reaches."
        sheets.append(Sheet(f"Tests of {title}", f"Tests of {title}. {caption}", titles, lines))
    return sheets


def verdicts(run: Run) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the row that sums up the tests of each method and branch; empty if there were none."""
    table = run.tables.get(TESTS)
    rows = [] if table is None else vocabulary.records(table[table["test"] == VERDICT])
    return {(str(row["method"]), str(row["branch"])): row for row in rows}


def passed(row: Mapping[str, Any]) -> bool | None:
    """Return whether a test was passed; None where it was not judged."""
    return {"true": True, "false": False}.get(str(row["passed"]).lower())


def _line(row: Mapping[str, Any]) -> Any:
    value, low, high = (vocabulary.number(row, name) for name in ("value", "low", "high"))
    interval = f"[{coefficient(low)}, {coefficient(high)}]" if low == low and high == high else ""
    words, judged = FOUND.get(str(row["test"]), RESULTS), passed(row)
    result = "–" if judged is None else words[judged]
    return line(
        str(row["test"]).replace("_", " "),
        str(row["measure"]).replace("_", " "),
        Cell(coefficient(value), interval),
        coefficient(vocabulary.number(row, "reference")),
        result,
        strong=result in ("failed", "more"),
    )
