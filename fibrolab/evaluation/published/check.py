"""Check a table of published numbers by all rules."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.published import (
    averages,
    contradictions,
    interval_widths,
    several_classes,
    single_numbers,
    two_by_two,
)
from fibrolab.evaluation.published.findings import Finding
from fibrolab.evaluation.published.reported_table import Reported, reported

OTHERS = ("count", "share", "confusion", "p")  # names that rules read beside the catalogue's
Rule = Callable[[Sequence[Reported]], Iterator[Finding]]
RULES: Mapping[str, Rule] = {  # by the name in their findings; `docs/checking.md` says what each asks
    "range": single_numbers.out_of_range,
    "own interval": single_numbers.out_of_own_interval,
    "proportion": single_numbers.impossible_proportions,
    "AUC and pairs": single_numbers.impossible_areas,
    "identity": two_by_two.broken_identities,
    "2 x 2 table": two_by_two.impossible_tables,
    "positives": two_by_two.positives_disagree,
    "confusion matrix": several_classes.wrong_cells,
    "accuracy": several_classes.wrong_errors,
    "unnamed average": several_classes.unnamed_averages,
    "class average": averages.wrong_class_averages,
    "F1": averages.f1_above_its_parts,
    "folds": averages.wrong_fold_summaries,
    "two values": contradictions.two_values,
    "difference": contradictions.wrong_differences,
    "sum": contradictions.wrong_sums,
    "interval and n": interval_widths.implausible_widths,
    "mixed units": interval_widths.mixed_units,
    "copies": contradictions.copied_numbers,
}


def check(table: pd.DataFrame) -> list[Finding]:
    """Return what the rules object to in a table of published numbers, in the order of `RULES`.

    Args:
        table: As `reported_table.read` gives it: a row a number, cells as text. `docs/checking.md` explains
            the columns.

    Raises:
        DataError: Columns or cells that cannot be used; all faults at once.
    """
    rows = reported(table)
    return [finding for rule in RULES.values() for finding in rule(rows)]


def unread(table: pd.DataFrame) -> list[str]:
    """Return the metrics of a table that are not in the catalogue, which only a few rules read.

    Raises:
        DataError: As for `check`.
    """
    names = dict.fromkeys(row.metric for row in reported(table))
    return [
        name for name in names if catalogue.find(name) is None and name not in OTHERS and name[:2] != "p_"
    ]


def unjudged(rows: Sequence[Reported]) -> list[Reported]:
    """Return proportions and AUCs that no rule can hold against a number of samples, for want of sizes."""
    return [
        row
        for row in rows
        if not (row.is_average or row.against or row.value.is_bound)
        and (
            (row.metric in ("accuracy", "share") and not row.of_class and row.n is None)
            or (row.metric in ("sensitivity", "specificity") and row.is_two_by_two and row.positive is None)
            or (row.metric == "auc" and (row.n is None or not row.is_two_by_two))
        )
    ]
