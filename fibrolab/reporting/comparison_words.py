"""What a comparison amounts to, in words: which arm is better, by how much, or what it would take to know."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fibrolab.evaluation.comparison.arms import AT_THRESHOLDS, CLASSES, END_POINTS, HEADLINE, Arm, Task
from fibrolab.evaluation.comparison.comparison_table import COMPARATORS, FOLDS, SIGNIFICANT
from fibrolab.evaluation.measures import catalogue
from fibrolab.reporting import numbers
from fibrolab.reporting.captions import end_point
from fibrolab.reporting.tables.sheet import p_value, probability
from fibrolab.reporting.vocabulary import records

LEAD = ("accuracy", "macro_auc")  # told in words; of two classes the AUC of their end point
MILLION = 1_000_000


@dataclass(frozen=True)
class Member:
    """What is known of an arm beside its numbers.

    Attributes:
        name: Of the arm.
        kind: Such as `3 trainings`.
        runs: Ids of its runs.
        model: Name of the model; so of data and split.
        data: Of the first run.
        split: Of the first run.
        verdict: Gravest verdict of its runs' audits.
        findings: Sentences of that audit.
    """

    name: str
    kind: str
    runs: tuple[str, ...]
    model: str
    data: str
    split: str
    verdict: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison's page shows.

    Attributes:
        name: Of the comparison.
        table: Columns `comparison.COLUMNS`, of every level.
        arms: The arms of each level, the one that counts most first.
        task: What they were asked.
        members: One a network arm.
        settings: That differ: index the setting, a column an arm.
        witnesses: What a group is: `patients`, or `groups` where no patient is known.
        paired: Whether all answered the same samples.
        resamples: Of the bootstrap.
        level: Coverage of the intervals.
    """

    name: str
    table: pd.DataFrame
    arms: Mapping[str, Sequence[Arm]]
    task: Task
    members: Sequence[Member]
    settings: pd.DataFrame
    witnesses: str
    paired: bool
    resamples: int
    level: float

    def rows(self, level: str, *families: str) -> pd.DataFrame:
        """Rows of some families, arms and differences."""
        return self.table[(self.table["level"] == level) & self.table["family"].isin(families)]

    def tests(self, level: str, family: str) -> int:
        """How many tests a p value of this family is corrected for."""
        return int(self.rows(level, family)["p_holm"].notna().sum())


@dataclass(frozen=True)
class Sentence:
    """One difference in words, and whether the arms can be told apart."""

    text: str
    decided: bool


def verdicts(comparison: Comparison) -> list[Sentence]:
    """A sentence a pair of arms and leading measure, at the level that counts most."""
    return [told(row, comparison) for row in leading(comparison) if row["against"]]


def leading(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """Rows of the measures that are told in words: of the arms, then of their differences."""
    first = next(iter(comparison.arms))
    rows = comparison.rows(first, HEADLINE, END_POINTS)
    two = len(comparison.task.classes) == 2
    lead = rows["metric"].isin(LEAD) | (two & (rows["metric"] == "auc"))
    yield from records(rows[lead])


def told(row: Mapping[str, Any], comparison: Comparison) -> Sentence:
    """One difference in words.

    Args:
        row: Of the table, with an arm to hold it against.
        comparison: That it belongs to.
    """
    what, arm, against = measure(row, comparison.task), row["arm"], row["against"]
    if not math.isfinite(row["p_holm"]):
        why = row["note"] or "the test is not defined"
        return Sentence(f"{what}: {arm} and {against} cannot be compared: {why}.", False)
    chance = _chance(row, comparison.tests(row["level"], row["family"]))
    if row["p_holm"] < SIGNIFICANT:
        metric = catalogue.find(row["metric"])
        assert metric is not None, row["metric"]
        better = (row["value"] > 0) == metric.higher_is_better
        one, other, sign = (arm, against, 1) if better else (against, arm, -1)
        size = difference(row, sign)
        told, plan = f"{what}: {one} is better than {other}: {size}, {chance}", ""
    else:
        told = f"{what}: {arm} and {against} cannot be told apart ({difference(row)}, {chance})"
        plan = needed(row["needed"], comparison.witnesses)
        plan = plan and f"{plan} would tell a difference as large as this"
    return Sentence("; ".join(filter(None, (told, plan, row["note"]))) + ".", row["p_holm"] < SIGNIFICANT)


def _chance(row: Mapping[str, Any], tests: int) -> str:
    """``p = .03, .08 after correction for 3 tests``: the interval beside it is that of the first."""
    if tests < 2:
        return p_value(row["p"])
    alone, corrected = p_value(row["p"]), probability(row["p_holm"])
    both = f"{alone} before and" if probability(row["p"]) == corrected else f"{alone}, {corrected}"
    return f"{both} after correction for {tests} tests"


def measure(row: Mapping[str, Any], task: Task) -> str:
    """A measure in words: ``AUC of F2 or worse``, ``Sensitivity of F3``."""
    title = numbers.title(row["metric"])
    if not row["of"]:
        return title
    if row["family"] in (END_POINTS, AT_THRESHOLDS, COMPARATORS, FOLDS):
        return f"{title} of {end_point(task.classes, task.endpoints[row['of']])}"
    return f"{title} of {row['of']}" if row["family"] == CLASSES else title


def bounded(row: Mapping[str, Any]) -> str:
    """A value with its interval, where it has one: ``86.4 % [84.1, 87.9]``."""
    value = numbers.quantity(row["value"], row["metric"])
    known = math.isfinite(row["low"])
    return f"{value} {numbers.interval(row['low'], row['high'], row['metric'])}" if known else value


def difference(row: Mapping[str, Any], sign: int = 1) -> str:
    """A difference with its interval: ``+5.1 points [1.2, 9.0]``, ``−.012 [−.030, .006]``."""
    low, high = sorted((sign * row["low"], sign * row["high"]))
    bounds = f" {numbers.interval(low, high, row['metric'])}" if math.isfinite(low) else ""
    return f"{amount(sign * row['value'], row['metric'])}{bounds}"


def amount(value: float, metric: str) -> str:
    """A difference with its sign; of percentages in points."""
    text = numbers.quantity(value, metric)
    points = text.removesuffix(f"{numbers.SPACE}%")
    sign = "+" if value > 0 and not points.startswith(numbers.MINUS) else ""
    return f"{sign}{points}{numbers.SPACE}points" if points != text else f"{sign}{text}"


def needed(number: float, witnesses: str) -> str:
    """``about 480 patients``, to two digits since no more is known; empty where no number can be given."""
    if not math.isfinite(number):
        return ""
    if number > MILLION:
        return f"more than a million {witnesses}"
    digits = 2 - len(str(int(number)))
    return f"about {int(round(number, min(digits, 0))):,} {witnesses}"
