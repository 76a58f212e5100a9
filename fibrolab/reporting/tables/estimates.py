"""Estimates as cells of a table: value, confidence interval, method, and remarks as footnotes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.intervals import coverage, proportions
from fibrolab.evaluation.patients import SAMPLE
from fibrolab.reporting import numbers
from fibrolab.reporting.tables.sheet import Cell, Footnotes, p_value
from fibrolab.reporting.vocabulary import number, records, sentence, word
from fibrolab.runs.trained_run import Run

METHODS = {  # of confidence intervals
    "percentile": "percentile bootstrap over groups",
    "BCa": "bias-corrected and accelerated bootstrap over groups (Efron 1987)",
    "Wilson": "Wilson score",
    "clustered Wilson": "Wilson score at the effective number of samples (Rao and Scott 1992)",
    "logit DeLong": "DeLong's variance (1988), on the logit scale",
    "clustered Wald": "Wald with the sandwich variance over groups (Mancl and DeRouen 2001)",
    "Clopper-Pearson": "exact binomial (Clopper and Pearson 1934)",
    "log (Simel)": "on the logarithm of the ratio (Simel 1991)",
    "clustered log (Simel)": "on the logarithm of the ratio (Simel 1991), with its variance summed by group",
    "logit clustered DeLong": "Obuchowski's clustered variance (1997), on the logit scale",
    "logit Hanley-McNeil": "Hanley and McNeil's variance (1982), on the logit scale",
}


def estimated(row: Mapping[str, Any] | None, metric: str, notes: Footnotes, value: str = "value") -> Cell:
    """Return an estimate as a cell: the value, its interval below, its method and remarks as marks.

    Args:
        row: Row with the columns low, high, method and note, if known; None: not measured.
        metric: Name of the metric, which determines digits and unit.
        notes: Footnotes that receive the method and the remarks.
        value: Name of the column that holds the value.
    """
    if row is None:
        return Cell("–")
    middle, low, high = (number(row, name) for name in (value, "low", "high"))
    bounded = math.isfinite(middle) and math.isfinite(low) and math.isfinite(high)
    methods = [method(word(row, "method"))] if bounded else []
    text = numbers.interval(low, high, metric) if bounded else ""
    return Cell(numbers.quantity(middle, metric), text, notes.marks(*methods, *remarks(row)))


def footnotes(table: pd.DataFrame | Iterable[Mapping[str, Any]], *general: str) -> Footnotes:
    """Return footnotes in which general remarks, and a method shared by all intervals, need no mark."""
    rows = records(table) if isinstance(table, pd.DataFrame) else table
    used = {method(word(row, "method")) for row in rows if math.isfinite(number(row, "low"))} - {""}
    return Footnotes([*(used if len(used) == 1 else ()), *general])


def method(name: str) -> str:
    """Return a sentence on the method of an interval; empty where there is no interval."""
    if name in ("", "none"):
        return ""
    return f"Confidence interval: {METHODS.get(name, name)}."


def remarks(row: Mapping[str, Any]) -> list[str]:
    """Return the remarks of a row as sentences, so that equal remarks of two cells share a footnote."""
    return [sentence(text) for text in word(row, "note").split("; ")]


def against_chance(row: numbers.Row) -> tuple[str, str]:
    """Return a row's p value in words and a footnote on its test; both empty where it has none."""
    if not math.isfinite(row.p_chance):
        return "", ""
    return f"{p_value(row.p_chance)} against chance", (
        f"p: one-sided t test over groups against the {numbers.quantity(row.chance, row.metric)} reached by "
        "predicting the most frequent class of the training set for every sample."
    )


def above_call_rate(row: numbers.Row) -> tuple[str, str]:
    """Return the p value of a class's sensitivity and a footnote on its test; both empty without one."""
    if not math.isfinite(row.p_chance):
        return "", ""
    return p_value(row.p_chance), (
        "p of a sensitivity: one-sided t test over groups against the proportion of all samples that are "
        "called the class, which calls independent of the truth reach; not corrected for several classes."
    )


def with_coverage_remarks(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Add a remark to the `note` of each interval that is known to be too narrow, and return the table.

    The actual coverage is that of the most similar simulated study, see `coverage.expected`.

    Args:
        run: The run.
        table: Its end points or calibration.
    """
    test = run.scored()
    if test is None or float(run.setting("bootstrap.level", coverage.LEVEL)) != coverage.LEVEL:
        return table
    sizes = test[keys.GROUP_ID].value_counts().to_numpy()
    notes = [filter(None, (word(row, "note"), _coverage_remark(row, sizes))) for row in records(table)]
    return table.assign(note=["; ".join(each) for each in notes])


def _coverage_remark(row: Mapping[str, Any], sizes: np.ndarray) -> str:
    name_of_method = word(row, "method")
    if "measure" in row:
        name = "slope" if str(row["measure"]).startswith("slope_") else row["measure"]
        clustered = row["level"] == SAMPLE and bool((sizes > 1).any())
    elif name_of_method in coverage.FAMILIES:
        name, clustered = row["metric"], "clustered" in name_of_method
    else:  # other measures were simulated for five stages only, not for an end point
        return ""
    effective = proportions.effective_groups(sizes)
    covered = coverage.expected(name, name_of_method, effective, number(row, "value"), clustered)
    if not covered < coverage.LOWEST:  # NaN: no similar study was simulated
        return ""
    proportion = numbers.quantity(covered, "accuracy")
    return f"such intervals contained the true value in {proportion} of simulated studies"
