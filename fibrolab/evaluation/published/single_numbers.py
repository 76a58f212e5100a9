"""Rules on one number: its possible range, its own interval, and its numbers of samples and of pairs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.published.findings import Finding
from fibrolab.evaluation.published.printed_numbers import SLACK, Printed
from fibrolab.evaluation.published.reported_table import Reported, distinct, grouped

BY_CHANCE = 0.5  # probability of fitting any denominator, above which it is no hint
MOST_TIMES = 5  # rows a sample that are tried
MOST_PREDICTED = 2000  # samples up to which every number of predicted positives is tried
AVERAGED = ("sensitivity", "precision", "f1")  # that papers print as averages over classes
OF_ONE_CLASS = ("specificity", "npv", "lr_plus", "lr_minus")  # beside these, the others are of one class too
MOST_UNKNOWN = 200  # samples up to which every number of positives is tried where the paper gives none


def out_of_range(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find numbers beyond the range of their metric, such as a precision of 1.02."""
    for row in distinct(rows):
        low, high = limits(row)
        if row.against:
            low, high = low - high, high - low
        if not row.value.meets(low, high):
            yield Finding(
                "range",
                (row.line,),
                f"{row.name} is beyond the range of {row.metric}.",
                f"{low:g} to {high:g}",
            )


def out_of_own_interval(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find numbers outside the interval that is printed with them, and intervals whose ends are exchanged."""
    for row in distinct(rows):
        if row.low is None or row.high is None:
            continue
        interval = f"{row.low.text} to {row.high.text}"
        if row.low.low > row.high.high:
            sentence = f"The interval {interval} of {row.name} ends below its beginning."
        elif row.value.high < row.low.low or row.value.low > row.high.high:
            sentence = f"{row.name} is not in its own interval, {interval}."
        else:
            continue
        yield Finding("own interval", (row.line,), sentence)


def impossible_proportions(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find proportions that no whole number of samples gives, at the printed precision.

    Brown and Heathers's GRIM test of means (Soc Psychol Personal Sci 8:363-369, 2017) for proportions.
    Sensitivity and precision of an end point without specificity, NPV or likelihood ratios may be averages
    over both classes; they are left to `two_by_two`.
    """
    exchanged = _exchanged(rows)
    of_one_class = {row.test for row in rows if row.metric in OF_ONE_CLASS}
    for row in distinct(rows):
        if row.value.is_bound or row.is_average or row.against:
            continue
        if row.metric in AVERAGED and not row.of_class and row.test not in of_one_class:
            continue
        of = denominator(row)
        if of is not None:
            if not _counts(row.value, of):
                yield _no_count(row, of, row.line in exchanged)
        elif (
            row.is_two_by_two
            and row.metric in ("precision", "npv")
            and 0 < (row.n or 0) <= MOST_PREDICTED
            and not any(_counts(row.value, predicted) for predicted in range(1, (row.n or 0) + 1))
        ):
            sentence = f"{row.name} is no proportion of 1 to {row.n} samples at the printed precision."
            yield Finding("proportion", (row.line,), sentence)


def impossible_areas(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find AUCs that no number of correctly ordered pairs gives; a tied pair counts half."""
    for row in distinct(rows):
        if (
            row.metric != "auc"
            or row.value.is_bound
            or row.is_average
            or not row.is_two_by_two
            or row.n is None
        ):
            continue
        if row.positive is not None:
            pairs = row.positive * (row.n - row.positive)
            if not _counts(row.value, 2 * pairs):
                yield Finding(
                    "AUC and pairs",
                    (row.line,),
                    f"{row.name} is not the proportion of any number of the {pairs} pairs of {row.positive} "
                    f"positive and {row.n - row.positive} negative samples, ties counting half.",
                    nearest(row.value, 2 * pairs, of=pairs),
                )
        elif row.n <= MOST_UNKNOWN and not any(
            _counts(row.value, 2 * positive * (row.n - positive)) for positive in range(1, row.n // 2 + 1)
        ):
            yield Finding(
                "AUC and pairs",
                (row.line,),
                f"{row.name} is possible for no number of positives among {row.n} samples.",
                f"nearest with {row.n // 2} positives: "
                + nearest(row.value, 2 * (pairs := row.n // 2 * (row.n - row.n // 2)), of=pairs),
            )


def limits(row: Reported) -> tuple[float, float]:
    """Return the smallest and the largest possible value of the metric of a row."""
    if row.metric in ("count", "confusion"):
        return 0.0, math.inf
    if row.metric in ("share", "p") or row.metric.startswith("p_"):
        return 0.0, 1.0
    metric = catalogue.find(row.metric)
    if metric is None:
        return -math.inf, math.inf
    return metric.limits(row.classes or 100)


def denominator(row: Reported) -> int | None:
    """Return the number of samples of which the number of a row is a proportion; None if it is not known."""
    if row.n is None:
        return None
    if (row.metric == "accuracy" and not row.of_class) or row.metric == "share":
        return row.n
    if row.is_two_by_two and row.positive is not None:
        return {"sensitivity": row.positive, "specificity": row.n - row.positive}.get(row.metric)
    return None


def nearest(value: Printed, denominators: int, of: int | None = None) -> str:
    """Return the two proportions around a number, as text.

    Args:
        value: The printed number.
        denominators: Equal steps from 0 to 1.
        of: Denominator to print, where a step is a fraction of a sample.
    """
    below = math.floor(value.value * denominators + SLACK)
    of = of or denominators
    steps = [step for step in (below, below + 1) if 0 <= step <= denominators]
    return " or ".join(
        f"{step * of / denominators:g}/{of} = {step / denominators:.{value.decimals + 1}f}" for step in steps
    )


def _counts(value: Printed, of: int) -> bool:
    """Return whether a whole number of `of` gives the printed number."""
    return math.floor(value.high * of + SLACK * of) >= math.ceil(value.low * of - SLACK * of)


def _no_count(row: Reported, of: int, exchanged: bool) -> Finding:
    hints = [nearest(row.value, of)]
    most = 2 * row.value.high - row.value.value  # what is cut off is up to a whole unit of the last digit
    if _counts(replace(row.value, low=row.value.value, high=most), of):
        hints.append(
            f"{math.ceil(row.value.value * of - SLACK * of)}/{of} if it was cut off instead of rounded"
        )
    step = row.value.high - row.value.low
    tried = [times for times in range(2, MOST_TIMES + 1) if step * times * of < BY_CHANCE]
    times = next((times for times in tried if _counts(row.value, times * of)), None)
    if times:
        hints.append(f"{round(row.value.value * times * of)}/{times * of} with {times} rows a sample")
    if exchanged:
        assert row.n is not None, "of the finding"
        other = row.n - of
        hints.append(
            f"{round(row.value.value * other)}/{other}: with the classes exchanged, sensitivity and "
            "specificity are possible"
        )
    return Finding(
        "proportion",
        (row.line,),
        f"{row.name} is not the proportion of any whole number of {of} samples.",
        "; ".join(hints),
    )


def _exchanged(rows: Sequence[Reported]) -> set[int]:
    """Return the lines of sensitivities and specificities that are possible with the classes exchanged."""
    lines: set[int] = set()
    for _, group in grouped(rows, lambda row: (*row.test, row.of_class)):
        both = [row for row in group if row.metric in ("sensitivity", "specificity") and denominator(row)]
        others = [(row, (row.n or 0) - (denominator(row) or 0)) for row in both]
        chance = math.prod((row.value.high - row.value.low) * other for row, other in others)
        if (
            {row.metric for row in both} == {"sensitivity", "specificity"}
            and chance < BY_CHANCE**2 / 10
            and all(_counts(row.value, other) for row, other in others)
        ):
            lines |= {row.line for row in both}
    return lines
