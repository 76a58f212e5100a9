"""The tables of the study population: cohort, subgroups, and the samples with the largest errors."""

from collections.abc import Mapping

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.clinical.subgroups import multiplicity
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables import estimates
from fibrolab.reporting.tables.sheet import Cell, Footnotes, Sheet, columns, count, line, probability
from fibrolab.runs.trained_run import Run

MISTAKES = 30  # lines of the table; `mistakes.csv` of the run contains all errors


def cohort(run: Run) -> list[Sheet]:
    """Return the characteristics of training, validation and test sets, with tests of a difference."""
    table = run.tables.get("cohort")
    if table is None:
        return []
    trained_by = vocabulary.training_run(run)
    more = f" The training and validation sets are those of {trained_by}." if trained_by else ""
    return [characteristics(table, "cohort", more)]


def characteristics(
    table: pd.DataFrame, title: str, more: str = "", beside: Mapping[str, Mapping[str, str]] | None = None
) -> Sheet:
    """Return a table of characteristics.

    Args:
        table: `cohort.csv` of a run.
        title: Title of the sheet.
        more: Further sentences of its caption.
        beside: Titles of further columns, with their text by variable.
    """
    notes, beside = Footnotes(), beside or {}
    lines = []
    for row, again in zip(vocabulary.records(table), table["variable"].duplicated(), strict=True):
        remarks = [vocabulary.sentence(vocabulary.word(row, name)) for name in ("test_name", "note")]
        cells = [Cell(vocabulary.word(row, part) or "–") for part in keys.PARTITIONS]
        p = vocabulary.number(row, "p")
        text = "" if again and p != p else probability(p)  # one test applies to all values of a variable
        name = Cell(vocabulary.variable(row["variable"]), vocabulary.word(row, "statistic"))
        further = [known.get(str(row["variable"]), "") for known in beside.values()]
        lines.append(line(name, *cells, Cell(text, "", notes.marks(*remarks)), *further))
    caption = (
        "Characteristics of the training, validation and test sets; p compares training with test and is not "
        f"corrected for multiple tests.{more}"
    )
    titles = columns("Variable", *map(str.capitalize, keys.PARTITIONS), "p", *beside)
    return Sheet(title, caption, titles, lines, "broad sheet" if beside else "", notes=notes.notes)


def subgroups(run: Run) -> list[Sheet]:
    """Return the measures by site, scanner, sex and age."""
    table = run.tables.get("subgroups")
    if table is None:
        return []
    remark = vocabulary.sentence(multiplicity(table, float(run.setting("bootstrap.level", 0.95))))
    notes = estimates.footnotes(table, remark)
    metrics = list(dict.fromkeys(table["metric"]))
    lines = []
    for (name, value), rows in table.groupby(["variable", "value"], sort=False):
        known = {row["metric"]: row for row in vocabulary.records(rows)}
        first = next(iter(known.values()))
        sizes = [vocabulary.number(first, column) for column in ("n", "groups")]
        cells = [
            estimates.estimated(known.get(metric), metric, notes, value="estimate") for metric in metrics
        ]
        title = Cell(vocabulary.value(str(name), str(value)), vocabulary.variable(str(name)))
        lines.append(line(title, *map(count, sizes), *cells))
    caption = (
        "Performance in subgroups of the test set. Overlapping intervals do not show that subgroups are "
        "equal."
    )
    titles = columns("Subgroup", "Samples", "Groups", *map(numbers.title, metrics))
    return [Sheet("subgroups", caption, titles, lines, notes=notes.notes)]


def mistakes(run: Run) -> list[Sheet]:
    """Return the test samples with the largest errors, the most confident first."""
    table = run.tables.get("mistakes")
    if table is None:
        return []
    lines = []
    for row in vocabulary.records(table.head(MISTAKES)):
        confidence, distance = (vocabulary.number(row, name) for name in ("probability", "distance"))
        lines.append(
            line(
                Cell(row[keys.SAMPLE_ID], vocabulary.word(row, keys.PATIENT_ID)),
                row["true"],
                row["predicted"],
                numbers.quantity(confidence, "accuracy"),
                count(distance),
            )
        )
    rest = f" The first {MISTAKES} of {len(table):,}." if len(table) > MISTAKES else ""
    caption = f"Largest errors on the test set, with the probability of the predicted class.{rest}"
    titles = columns("Sample, patient", "True", "Predicted", "Probability", "Classes apart", texts=3)
    return [Sheet("mistakes", caption, titles, lines)]
