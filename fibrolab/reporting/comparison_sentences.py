"""The sentences of a comparison: cautions, which arm is better, and the sample size to detect it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fibrolab.evaluation.comparison.arms import AT_THRESHOLDS, CLASSES, END_POINTS, HEADLINE, Arm, Task
from fibrolab.evaluation.comparison.comparison_table import COMPARATORS, FOLDS, SIGNIFICANT
from fibrolab.evaluation.measures import catalogue
from fibrolab.reporting import numbers
from fibrolab.reporting.run_sentences import FAIL, FEW_GROUPS, Caution
from fibrolab.reporting.tables.sheet import p_value, probability
from fibrolab.reporting.vocabulary import end_point, records

# Stated in words, of segmentations the last two; with two classes also the AUC of their end point
OVERLAPS = ("dice", "iou")
LEAD = ("accuracy", "macro_auc", *OVERLAPS, *map(catalogue.agreement, OVERLAPS))
DISTANCES = ("hd95", "asd", *map(catalogue.agreement, ("hd95", "asd")))  # in the unit of the task
MILLION = 1_000_000


@dataclass(frozen=True)
class Member:
    """Description of an arm.

    Attributes:
        name: Name of the arm.
        kind: Number and kind of its runs, such as `3 trainings`.
        runs: Ids of its runs.
        model: Name of the first run's model.
        data: Name of the first run's data.
        split: Name of the first run's split.
        verdict: Most serious verdict of the audits of its runs.
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
    """The content of a comparison's page.

    Attributes:
        name: Name of the comparison.
        table: Results of every level, columns `comparison_table.COLUMNS`.
        arms: The arms of each level, the primary level first.
        task: Classes and end points.
        members: One per network arm.
        settings: Settings that differ; index setting, a column per arm.
        units: Independent units: `patients`, or `groups` where no patient is known.
        paired: Whether all arms predicted the same samples.
        resamples: Number of bootstrap resamples.
        level: Nominal coverage of the intervals.
    """

    name: str
    table: pd.DataFrame
    arms: Mapping[str, Sequence[Arm]]
    task: Task
    members: Sequence[Member]
    settings: pd.DataFrame
    units: str
    paired: bool
    resamples: int
    level: float

    def rows(self, level: str, *families: str) -> pd.DataFrame:
        """Return the rows of some families, of arms and of differences."""
        return self.table[(self.table["level"] == level) & self.table["family"].isin(families)]

    def tests(self, level: str, family: str) -> int:
        """Return the number of tests for which p values of this family are corrected."""
        return int(self.rows(level, family)["p_holm"].notna().sum())


@dataclass(frozen=True)
class Sentence:
    """A sentence on one difference, and whether it is significant."""

    text: str
    significant: bool


def cautions(comparison: Comparison) -> Iterator[Caution]:
    """Yield the cautions that a reader must know before the results, the most serious first."""
    if failed := ", ".join(each.name for each in comparison.members if each.verdict == FAIL):
        text = f"The audit of {failed} failed: this comparison is not valid evidence of performance."
        yield Caution(text, grave=True)
    if not comparison.paired:
        yield Caution(
            "The cohorts are different: a difference may be due to the patients rather than to the arms."
        )
    if comparison.table["metric"].str.startswith(catalogue.AGREEMENT).any():
        yield Caution(f"The test masks are pseudo-masks: every number is {numbers.AGREEMENT}.")
    fewest = min(len(set(arm.groups)) for arms in comparison.arms.values() for arm in arms)
    if fewest < FEW_GROUPS:
        text = f"The test set contains only {fewest} independent units (patients or clusters): bootstrap "
        yield Caution(f"{text}confidence intervals are too narrow with fewer than {FEW_GROUPS}.")
    arms = [arm for arm in next(iter(comparison.arms.values())) if not arm.is_marker]
    if any(len(arm.predictions) > 1 for arm in arms):
        yield Caution(
            "An arm of several trainings is shown by their mean; p includes the variance between trainings."
        )
    if all(len(arm.predictions) == 1 and arm.folds is None for arm in arms):
        yield Caution(
            "Each arm is one training: p refers to these trained networks, not to the methods in general."
        )
    if any(arm.folds is not None for arm in arms) and not comparison.task.unit:
        yield Caution(
            "An arm of folds pools the scores of several networks; if their scales differ, its AUC is lower."
        )


def verdicts(comparison: Comparison) -> list[Sentence]:
    """Return a sentence per pair of arms and leading measure, at the primary level."""
    return [difference_in_words(row, comparison) for row in leading(comparison) if row["against"]]


def leading(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """Yield rows of the leading measures: of the arms, then of their differences."""
    first = next(iter(comparison.arms))
    rows = comparison.rows(first, HEADLINE, END_POINTS)
    two = len(comparison.task.classes) == 2
    lead = rows["metric"].isin(LEAD) | (two & (rows["metric"] == "auc"))
    yield from records(rows[lead])


def difference_in_words(row: Mapping[str, Any], comparison: Comparison) -> Sentence:
    """Return one difference in words.

    Args:
        row: Row of the comparison's table with a second arm.
        comparison: The comparison.
    """
    title, arm, against = measure(row, comparison.task), row["arm"], row["against"]
    if not math.isfinite(row["p_holm"]):
        reason = row["note"] or "the test is not defined"
        return Sentence(f"{title}: {arm} and {against} cannot be compared: {reason}.", False)
    by_chance = chance(row, comparison.tests(row["level"], row["family"]))
    significant = row["p_holm"] < SIGNIFICANT
    if significant:
        metric = catalogue.find(row["metric"])
        assert metric is not None, row["metric"]
        better = (row["value"] > 0) == metric.higher_is_better
        one, other, sign = (arm, against, 1) if better else (against, arm, -1)
        text = f"{title}: {one} was better than {other} (difference {difference(row, sign)}, {by_chance})"
        plan = ""
    else:
        text = f"{title}: {arm} and {against} could not be distinguished"
        text = f"{text} (difference {difference(row)}, {by_chance})"
        plan = needed(row["needed"], comparison.units)
        plan = plan and f"{plan} would be needed to detect a difference of this size"
    return Sentence("; ".join(filter(None, (text, plan, row["note"]))) + ".", significant)


def chance(row: Mapping[str, Any], tests: int) -> str:
    """Return ``p = .03, .08 after correction for 3 tests``; the interval belongs to the uncorrected p."""
    if tests < 2:
        return p_value(row["p"])
    alone, corrected = p_value(row["p"]), probability(row["p_holm"])
    both = f"{alone} before and" if probability(row["p"]) == corrected else f"{alone}, {corrected}"
    return f"{both} after correction for {tests} tests"


def measure(row: Mapping[str, Any], task: Task) -> str:
    """Return a measure in words: ``AUC of F2 or worse``, ``Sensitivity of F3``."""
    title = numbers.title(row["metric"])
    if row["metric"] in DISTANCES:
        title = f"{title} [{task.unit}]"
    if not row["of"]:
        return title
    if row["family"] in (END_POINTS, AT_THRESHOLDS, COMPARATORS, FOLDS):
        return f"{title} of {end_point(task.classes, task.endpoints[row['of']])}"
    return f"{title} of {row['of']}" if row["family"] == CLASSES else title


def bounded(row: Mapping[str, Any]) -> str:
    """Return a value with its interval, if known: ``86.4 % [84.1, 87.9]``."""
    value = numbers.quantity(row["value"], row["metric"])
    known = math.isfinite(row["low"])
    return f"{value} {numbers.interval(row['low'], row['high'], row['metric'])}" if known else value


def difference(row: Mapping[str, Any], sign: int = 1) -> str:
    """Return a difference with its interval: ``+5.1 points [1.2, 9.0]``, ``−.012 [−.030, .006]``."""
    low, high = sorted((sign * row["low"], sign * row["high"]))
    bounds = f" {numbers.interval(low, high, row['metric'])}" if math.isfinite(low) else ""
    return f"{amount(sign * row['value'], row['metric'])}{bounds}"


def amount(value: float, metric: str) -> str:
    """Return a difference with its sign; of percentages, in percentage points."""
    text = numbers.quantity(value, metric)
    points = text.removesuffix(f"{numbers.SPACE}%")
    sign = "+" if value > 0 and not points.startswith(numbers.MINUS) else ""
    return f"{sign}{points}{numbers.SPACE}points" if points != text else f"{sign}{text}"


def needed(number: float, units: str) -> str:
    """Return ``about 480 patients``, to two significant digits; empty where no number can be given."""
    if not math.isfinite(number):
        return ""
    if number > MILLION:
        return f"more than a million {units}"
    digits = 2 - len(str(int(number)))
    return f"about {int(round(number, min(digits, 0))):,} {units}"
