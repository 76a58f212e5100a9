"""What a paper reports of the arm that the run repeats, beside the run: a reference, never a test."""

import math

import pandas as pd

from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.sheet import Column, Footnotes, Sheet, line
from fibrolab.runs.trained_run import Run

OTHERS = "Other patients, and often another split: no difference is tested."


def sheets(run: Run) -> list[Sheet]:
    """One table; none where the run repeats no paper, or answers another task than the paper."""
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
        lines.append(
            line(numbers.title(metric), *(vocabulary.estimated(each, metric, notes) for each in known))
        )
    columns = [Column("Measure", number=False), Column("The paper")]
    columns += [Column(f"Here, {vocabulary.POOLINGS[level]}") for level in ours]
    return [Sheet("published", _caption(run, table), columns, lines, notes=notes.notes)]


def _caption(run: Run, table: pd.DataFrame) -> str:
    first = vocabulary.records(table)[0]
    n, positive = (vocabulary.number(first, name) for name in ("n", "n_positive"))
    of_them = "" if math.isnan(positive) else f", {positive:,.0f} of them positive"
    size = "" if math.isnan(n) else f"Tested there: {n:,.0f}{of_them}."
    told = f"Reported of this arm: {run.setting('published.source', 'a paper')}."
    note = vocabulary.sentence(str(run.setting("published.note", "")))
    return " ".join(filter(None, [told, size, note, OTHERS]))
