"""Words on pages for the short names in result tables: levels, rules, markers, variables, end points."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import endpoints
from fibrolab.reporting import numbers
from fibrolab.runs.trained_run import Run

WITHOUT_EFFECT: tuple[Any, ...] = ("none", None, False, 0, 0.0, "", [], {})  # values of settings
LEVELS = {  # how the samples of a patient are combined before scoring
    "sample": "by sample",
    "patient": "by patient (mean of the probabilities)",
    "patient max": "by patient (worst sample)",
    "patient vote": "by patient (majority vote of the samples)",
}
POOLINGS = {  # the same, as the title of a column or the end of a table's name
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
    """Return the confidence level of the run's intervals, such as ``95 %``."""
    return numbers.percent(float(run.setting("bootstrap.level", 0.95)))


def variable(name: str) -> str:
    """Return a column's name in words; an unknown name keeps its letters."""
    return VARIABLES.get(name, name[:1].upper() + name[1:].replace("_", " "))


def value(name: str, text: str) -> str:
    """Return a column's value as printed: the age bands ``>=60`` and ``40-59`` as ``≥60`` and ``40–59``."""
    return text.replace(">=", "≥").replace("-", "–") if name == keys.AGE_YEARS else text


def marker(name: str) -> str:
    """Return the name of a clinical marker, or of the run itself, in words."""
    return MARKERS.get(name, name)


def end_point(classes: Sequence[str], lowest: int) -> str:
    """Return an end point in words: ``F2 or worse``, or the class itself where no class is worse."""
    return f"{classes[lowest]} or worse" if lowest < len(classes) - 1 else str(classes[lowest])


def end_point_of(run: Run, name: str) -> str:
    """Return an end point of a run in words, such as ``F2 or worse`` for ``ge_F2``.

    The only end point of a binary task has the name of its second class.
    """
    classes, lowest = run.classes, run.endpoints.get(name)
    return name if lowest is None or lowest >= len(classes) else end_point(classes, lowest)


def end_points(run: Run) -> dict[str, int]:
    """Return the lowest positive class of each end point that the run's classes allow."""
    defined = endpoints.of_task(run.classes, run.endpoints)
    return {name: lowest for name, lowest in defined.items() if 0 < lowest < len(run.classes)}


def training_run(run: Run) -> str:
    """Name the run and data set that trained the network of an external evaluation; empty for other runs."""
    name, data = run.setting("learnt_from.run"), run.setting("learnt_from.data")
    return f"run {name[:8]}, trained on {data}" if name else ""


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table, each as a mapping from the names of its columns."""
    names = [str(name) for name in table]
    columns = [values.tolist() for _, values in table.items()]  # `to_dict` takes several times longer
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def number(row: Mapping[str, Any], name: str) -> float:
    """Return a number of a row; NaN where it has none."""
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def word(row: Mapping[str, Any], name: str) -> str:
    """Return a text of a row; empty where it has none."""
    value = row.get(name)
    return value if isinstance(value, str) else ""


def sentence(text: str) -> str:
    """Return a remark as a sentence, with a capital at its start and a full stop at its end."""
    text = text.strip()
    return text if not text else text[:1].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def lowered(text: str) -> str:
    """Return a text with a small first letter."""
    return text[:1].lower() + text[1:]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 run`` or ``4,787 images``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def transform(step: Mapping[str, Any]) -> str:
    """Return a random transform with its ranges, given its settings."""
    kept = [f"{word} {value}" for word, value in in_effect(step) if value is not True]
    ranges = {word: value for word, value in step.items() if isinstance(value, list) and len(value) == 2}
    kept += [f"{word.replace('_', ' ')} {low} to {high}" for word, (low, high) in ranges.items()]
    name = str(step.get("name"))
    return f"{name} ({', '.join(kept)})" if kept else name


def in_effect(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the settings of a group that have an effect, without its name and without lists."""
    return [
        (word.replace("_", " "), value)
        for word, value in settings.items()
        if word != "name"
        and not word.startswith("_")
        and not isinstance(value, list | dict)
        and value not in WITHOUT_EFFECT
    ]
