"""Rules on numbers that are printed twice: contradictions, differences, sums, shares, and copies."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from fibrolab.evaluation.published.findings import Finding
from fibrolab.evaluation.published.printed_numbers import SLACK
from fibrolab.evaluation.published.reported_table import Reported, grouped, known

DIGITS = 4  # decimals from which two samples rarely give the same number by chance
ENDS = 3  # decimals from which two intervals rarely agree by chance


def two_values(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find quantities that are printed with two values, or with two intervals or SDs."""
    for _, group in grouped(rows, lambda row: row.quantity):
        reported = set()
        for first, second in combinations(group, 2):
            if not first.value.meets(second.value.low, second.value.high):
                texts = (first.value.text, second.value.text)
                if texts not in reported:
                    reported.add(texts)
                    yield _contradiction(first, second, f"also {second.value.text}")
            for end in ("low", "high", "sd"):
                one, other = getattr(first, end), getattr(second, end)
                if one and other and not one.meets(other.low, other.high):
                    of = {"low": "from", "high": "to", "sd": "with the SD"}[end]
                    yield _contradiction(first, second, f"{of} {one.text}, and {of} {other.text}")


def wrong_differences(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find differences of two arms that are not the difference of the numbers printed for each."""
    plain = known(
        [row for row in rows if not row.against and row.arm],
        lambda row: repr((row.quantity[:1], row.quantity[1:])),
    )
    for row in rows:
        if not row.against or row.metric == "p" or row.metric.startswith("p_"):
            continue
        quantity = (*row.quantity[1:7], "", row.metric)
        one, other = (plain.get(repr(((arm,), quantity))) for arm in (row.arm, row.against))
        if one is None or other is None:
            continue
        low, high = one.low - other.high, one.high - other.low
        if not row.value.meets(low, high):
            yield Finding(
                "difference",
                (row.line, *one.lines, *other.lines),
                f"{row.name} is not the difference of {one.text} and {other.text}.",
                f"{low:.4g} to {high:.4g}",
            )


def wrong_sums(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find counts of classes that do not sum to the whole, and shares that are not their proportion.

    Where the number of classes is not given, some may be missing: then only a sum above the whole is a fault.
    """
    counts = [row for row in rows if row.metric == "count"]
    for test, group in grouped(counts, lambda row: row.test):
        totals = [row for row in group if not row.of_class]
        parts = [row for row in group if row.of_class]
        if not parts:
            continue
        lines = tuple(row.line for row in parts)
        complete = len(parts) >= max(2, parts[0].classes or len(parts) + 1)
        found = sum(round(row.value.value) for row in parts)
        for total in totals:
            if not total.value.holds(found) and (complete or found > total.value.high):
                sentence = f"{total.name} is not the sum of its classes."
                yield Finding("sum", (total.line, *lines), sentence, f"{found}")
        whole = totals[0].value.value if totals else float(found) if complete else 0.0
        for row in (row for row in rows if row.metric == "share" and row.test == test and whole > 0):
            yield from _wrong_share(row, parts, whole)


def _wrong_share(row: Reported, parts: Sequence[Reported], whole: float) -> Iterator[Finding]:
    part = next((part for part in parts if part.of_class == row.of_class), None)
    if part is not None and not row.value.holds(share := part.value.value / whole):
        yield Finding(
            "sum",
            (row.line, part.line),
            f"{row.name} is not {part.value.text} of {whole:g}.",
            f"{share:.4f}",
        )


def copied_numbers(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find one interval for two values, and one value with four decimals for two cohorts."""
    intervals = [
        row for row in rows if row.low and row.high and row.low.decimals >= ENDS and row.high.decimals >= ENDS
    ]
    for _, group in grouped(intervals, lambda row: (*row.samples, row.metric)):
        for first, second in combinations(group, 2):
            same = first.interval == second.interval
            if same and not first.value.meets(second.value.low, second.value.high):
                yield Finding(
                    "copied interval",
                    (first.line, second.line),
                    f"{first.name} and {second.name} have the same interval, {first.interval}.",
                    kind="improbable",
                )
    precise = [
        row
        for row in rows
        if row.value.decimals >= DIGITS and not row.value.is_bound and 0 < row.value.value < 1 and row.arm
    ]
    apart = grouped(precise, lambda row: (row.arm, row.protocol, row.task, row.fold, *row.quantity[5:]))
    for _, group in apart:
        for first, second in combinations(group, 2):
            if first.cohort != second.cohort and abs(first.value.value - second.value.value) < SLACK:
                yield Finding(
                    "copied value",
                    (first.line, second.line),
                    f"{first.name} and {second.name} are the same number for two cohorts.",
                    kind="unclear",
                )


def _contradiction(first: Reported, second: Reported, words: str) -> Finding:
    places = " and ".join(dict.fromkeys(each.where for each in (first, second) if each.where))
    at = f", {places}" if places else ""
    return Finding(
        "two values",
        (first.line, second.line),
        f"{first.name} is printed {words} (line {second.line}{at}).",
    )
