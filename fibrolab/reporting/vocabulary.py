"""What the tables of an evaluation mean by their short names, in words; and an estimate as a cell."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.reporting import captions, numbers
from fibrolab.reporting.tables.sheet import Cell, Footnotes, p_value
from fibrolab.runs.trained_run import Run

LEVELS = {  # how samples become what is scored
    "sample": "by sample",
    "patient": "by patient (mean of the probabilities)",
    "patient max": "by patient (the sample that looks worst)",
    "patient vote": "by patient (vote of the samples)",
}
POOLINGS = {  # the same as the title of a column, or as the end of a table's name
    "sample": "by sample",
    "patient": "by patient, mean",
    "patient max": "by patient, worst sample",
    "patient vote": "by patient, vote",
}
RULES = {  # how a threshold is chosen
    "half": "one half",
    "youden": "Youden's index",
    "sensitivity": "sensitivity of 90\u00a0%",
    "specificity": "specificity of 90\u00a0%",
    "published": "published",
    "fitted": "fitted on validation",
}
METHODS = {  # how an interval is had
    "percentile": "percentiles of a bootstrap over groups",
    "BCa": "bias-corrected and accelerated bootstrap over groups (Efron 1987)",
    "Wilson": "Wilson's score interval",
    "clustered Wilson": "Wilson's score interval at the effective number of samples (Rao and Scott 1992)",
    "logit DeLong": "DeLong's variance (1988), on the logit scale",
    "clustered Wald": "Wald's interval at the sandwich variance over groups (Mancl and DeRouen 2001)",
    "Clopper-Pearson": "exact binomial (Clopper and Pearson 1934)",
    "log (Simel)": "on the logarithm of the ratio (Simel 1991)",
    "clustered log (Simel)": "on the logarithm of the ratio (Simel 1991), its variance summed by group",
    "logit clustered DeLong": "Obuchowski's clustered variance (1997), on the logit scale",
    "logit Hanley-McNeil": "Hanley and McNeil's variance (1982), on the logit scale",
}
MARKERS = {"run": "This run", "lsm": "LSM", "apri": "APRI", "fib4": "FIB-4"}
VARIABLES = {  # columns of a manifest, with their units
    "site": "Site",
    "scanner": "Scanner",
    "sex": "Sex",
    "age": "Age [years]",
    "age_years": "Age [years]",
    "lsm_kpa": "LSM [kPa]",
    "ast_u_l": "AST [U/L]",
    "ast_uln_u_l": "Upper limit of AST [U/L]",
    "alt_u_l": "ALT [U/L]",
    "platelets_1e9_l": "Platelets [10⁹/L]",
    "apri": "APRI",
    "fib4": "FIB-4",
}


def level(run: Run) -> str:
    """Coverage of the run's intervals, such as ``95 %``."""
    return numbers.percent(float(run.setting("bootstrap.level", 0.95)))


def variable(name: str) -> str:
    """A column in words; a name that is not known keeps its letters."""
    return VARIABLES.get(name, name[:1].upper() + name[1:].replace("_", " "))


def value(name: str, text: str) -> str:
    """A value of a column as it is printed: the age bands ``>=60`` and ``40-59`` as ``≥60`` and ``40–59``."""
    return text.replace(">=", "≥").replace("-", "–") if name == keys.AGE_YEARS else text


def marker(name: str) -> str:
    """A clinical marker, or the run itself, in words."""
    return MARKERS.get(name, name)


def method(name: str) -> str:
    """A sentence on how an interval is had; empty where there is none."""
    if name in ("", "none"):
        return ""
    return f"Interval: {METHODS.get(name, name)}."


def against_chance(row: numbers.Row) -> tuple[str, str]:
    """The p value of a row in words, and a footnote on what it is of; both empty where it has none."""
    if not math.isfinite(row.p_chance):
        return "", ""
    return f"{p_value(row.p_chance)} against chance", (
        f"p: one-sided t test over groups against the {numbers.quantity(row.chance, row.metric)} of giving "
        "every sample the commonest class of training."
    )


def endpoint(run: Run, name: str) -> str:
    """``ge_F2`` as ``F2 or worse``; the only end point of a binary task is its second class."""
    classes, lowest = run.classes, run.endpoints.get(name)
    return name if lowest is None or lowest >= len(classes) else captions.end_point(classes, lowest)


def elsewhere(run: Run) -> str:
    """Whose network answered the data of another site; empty of a run that trained its own."""
    name, data = run.setting("learnt_from.run"), run.setting("learnt_from.data")
    return f"run {name[:8]}, which learnt from {data}" if name else ""


def footnotes(table: pd.DataFrame | Iterable[Mapping[str, Any]], *general: str) -> Footnotes:
    """Footnotes that tell what is general once, and so the method where every interval has the same."""
    rows = records(table) if isinstance(table, pd.DataFrame) else table
    used = {method(word(row, "method")) for row in rows if math.isfinite(number(row, "low"))} - {""}
    return Footnotes([*(used if len(used) == 1 else ()), *general])


def estimated(row: Mapping[str, Any] | None, metric: str, notes: Footnotes, value: str = "value") -> Cell:
    """A row of a table of estimates as a cell: the value, its interval below, its method and note as marks.

    Args:
        row: With the columns low, high, method and note, as far as they are known; None: nothing measured.
        metric: What it is, for its digits and its unit.
        notes: Where the method and the note are told.
        value: Name of the column that holds the value.
    """
    if row is None:
        return Cell("–")
    middle, low, high = (number(row, name) for name in (value, "low", "high"))
    bounded = math.isfinite(middle) and math.isfinite(low) and math.isfinite(high)
    told = [method(word(row, "method"))] if bounded else []
    text = numbers.interval(low, high, metric) if bounded else ""
    return Cell(numbers.quantity(middle, metric), text, notes.marks(*told, *remarks(row)))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def number(row: Mapping[str, Any], name: str) -> float:
    """A number of a row; NaN where it has none."""
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def word(row: Mapping[str, Any], name: str) -> str:
    """A text of a row; empty where it has none."""
    value = row.get(name)
    return value if isinstance(value, str) else ""


def remarks(row: Mapping[str, Any]) -> list[str]:
    """The remarks of a row as sentences, each alone, so that two cells that share one share its footnote."""
    return [sentence(text) for text in word(row, "note").split("; ")]


def sentence(text: str) -> str:
    """A remark as a sentence: a capital at its start, a full stop at its end."""
    text = text.strip()
    return text if not text else text[:1].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
