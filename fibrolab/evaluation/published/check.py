"""Check a table of published numbers by all rules."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Rule:
    """A rule: the name in its findings, what it asks, and the function that finds its violations."""

    name: str
    asks: str
    function: Callable[[Sequence[Reported]], Iterator[Finding]]


RULES: tuple[Rule, ...] = (
    Rule("range", "Is a number within the range of its metric?", single_numbers.out_of_range),
    Rule("own interval", "Is a number within its own interval?", single_numbers.out_of_own_interval),
    Rule(
        "proportion",
        "Does a whole number of samples give the proportion, as it is rounded?",
        single_numbers.impossible_proportions,
    ),
    Rule(
        "AUC and pairs",
        "Does a number of pairs of positive and negative samples give the AUC?",
        single_numbers.impossible_areas,
    ),
    Rule(
        "identity",
        "Do LR+, LR-, F1, PPV, NPV and accuracy follow from sensitivity and specificity?",
        two_by_two.broken_identities,
    ),
    Rule(
        "2 x 2 table",
        "Do whole numbers of true and false answers give all numbers of an arm?",
        two_by_two.impossible_tables,
    ),
    Rule(
        "positives",
        "Does one number of positives suit all arms, where the paper gives none?",
        two_by_two.positives_disagree,
    ),
    Rule(
        "confusion matrix",
        "Do the cells agree with sizes, sensitivity, precision and specificity of the classes?",
        several_classes.wrong_cells,
    ),
    Rule(
        "accuracy",
        "Do the misses and the false calls of the classes sum to the errors that the accuracy leaves?",
        several_classes.wrong_errors,
    ),
    Rule(
        "unnamed average",
        "Is a sensitivity without a class an average over the classes?",
        several_classes.unnamed_averages,
    ),
    Rule("class average", "Do the classes give the average over them?", averages.wrong_class_averages),
    Rule(
        "F1",
        "Is an average F1 at most the mean of precision and sensitivity?",
        averages.f1_above_its_parts,
    ),
    Rule("folds", "Do the folds give their mean, SD and extremes?", averages.wrong_fold_summaries),
    Rule("two values", "Is a quantity printed with one value?", contradictions.two_values),
    Rule(
        "difference",
        "Is a difference of two arms that of the numbers printed for each?",
        contradictions.wrong_differences,
    ),
    Rule(
        "sum", "Do the classes sum to the whole, and are shares their proportion?", contradictions.wrong_sums
    ),
    Rule(
        "interval and n",
        "Is an interval as wide as the number of samples makes it?",
        interval_widths.implausible_widths,
    ),
    Rule(
        "mixed units",
        "Do the intervals of arms on the same samples fit one number of samples?",
        interval_widths.mixed_units,
    ),
    Rule(
        "copies", "Do two quantities have intervals, or values, of their own?", contradictions.copied_numbers
    ),
)


def check(table: pd.DataFrame) -> list[Finding]:
    """Return what the rules object to in a table of published numbers, in the order of `RULES`.

    Args:
        table: As `reported_table.read` gives it: a row a number, cells as text. `docs/checking.md` explains
            the columns.

    Raises:
        DataError: Columns or cells that cannot be used; all faults at once.
    """
    rows = reported(table)
    return [finding for rule in RULES for finding in rule.function(rows)]


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
