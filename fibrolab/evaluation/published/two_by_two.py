"""Rules on a table of two true and two predicted conditions: sensitivity, precision, F1 ... together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from fibrolab.evaluation.published.findings import Finding
from fibrolab.evaluation.published.printed_numbers import SLACK
from fibrolab.evaluation.published.reported_table import TWO, Known, Reported, grouped, known
from fibrolab.evaluation.published.single_numbers import (
    AVERAGED,
    MOST_UNKNOWN,
    OF_ONE_CLASS,
    impossible_proportions,
)

Table = Mapping[str, np.ndarray]  # true positives, ... of many tables at once
MOST_TABLES = 2_000_000  # pairs of true positives and true negatives that are tried
READ = (
    "accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1",
    "lr_plus",
    "lr_minus",
    "balanced_accuracy",
)
READINGS = ("of the positive class", "as the mean over both classes", "as the mean weighted by class size")

# Each formula gives the last metric from those before it, growing or falling in each of them alone.
IDENTITIES: tuple[tuple[tuple[str, ...], str, Callable[..., float]], ...] = (
    (("sensitivity", "specificity"), "lr_plus", lambda se, sp: se / (1 - sp) if sp < 1 else np.inf),
    (("sensitivity", "specificity"), "lr_minus", lambda se, sp: (1 - se) / sp if sp > 0 else np.inf),
    (("sensitivity", "precision"), "f1", lambda se, pr: 2 * se * pr / (se + pr) if se + pr > 0 else 0.0),
    (("sensitivity", "specificity"), "balanced_accuracy", lambda se, sp: (se + sp) / 2),
    (("sensitivity", "specificity", "prevalence"), "accuracy", lambda se, sp, pi: pi * se + (1 - pi) * sp),
    (
        ("sensitivity", "specificity", "prevalence"),
        "precision",
        lambda se, sp, pi: pi * se / d if (d := pi * se + (1 - pi) * (1 - sp)) > 0 else 1.0,
    ),
    (
        ("sensitivity", "specificity", "prevalence"),
        "npv",
        lambda se, sp, pi: (1 - pi) * sp / d if (d := (1 - pi) * sp + pi * (1 - se)) > 0 else 1.0,
    ),
)


def broken_identities(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find metrics that others determine otherwise, such as LR+ from sensitivity and specificity.

    Each printed number stands for a range; the formulas are evaluated at all its ends. Where the numbers of
    samples are given, PPV, NPV and accuracy follow from sensitivity, specificity and prevalence.
    """
    for _, group in _groups(rows):
        yield from _broken_metrics(group).values()


def impossible_tables(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find numbers of one arm that no whole numbers of true and false answers give together.

    All tables with the given numbers of samples are tried; where the number of positives is not known, all of
    them up to `MOST_UNKNOWN` samples. Numbers that other rules find impossible are left out. Of an end point,
    sensitivity, precision and F1 may be meant of the positive class or as averages over both classes.
    """
    for key, group in _groups(rows):
        size = _size(group)
        if size is None:
            continue
        n, positive = size
        alone = {line for finding in impossible_proportions(group) for line in finding.lines}
        broken = _broken_metrics(group)
        numbers = {
            name: each
            for name, each in _numbers(group).items()
            if name in READ and name not in broken and not alone & set(each.lines)
        }
        if not numbers or (positive is None and (n > MOST_UNKNOWN or key[-1])):
            continue
        tables = _tables(n, positive, numbers)
        if tables is not None:
            yield from _judged(tables, numbers, end_point=key[-1] == "")


def positives_disagree(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find arms that need different numbers of positives among the same samples, of which none is printed."""
    for _, group in grouped(rows, lambda row: row.samples):
        here = [
            row
            for row in group
            if row.classes == TWO
            and not (row.of_class or row.against or row.is_average or row.value.is_bound)
        ]
        sizes = {row.n for row in here if row.n}
        if len(sizes) != 1 or any(row.positive for row in here) or (n := max(sizes)) > MOST_UNKNOWN:
            continue
        possible = {}
        for arm, of_arm in grouped(here, lambda row: row.test):
            if fits := _possible_positives(of_arm, n):
                possible[arm[0]] = (fits, tuple(row.line for row in of_arm))
        if len(possible) > 1 and not set.intersection(*(fits for fits, _ in possible.values())):
            each = "; ".join(f"{arm}: {_listed(fits)}" for arm, (fits, _) in possible.items())
            lines = sum((lines for _, lines in possible.values()), ())
            yield Finding(
                "positives",
                lines,
                f"No number of positives among the {n} samples suits all arms.",
                f"possible numbers of positives of {each}",
            )


def _groups(rows: Sequence[Reported]) -> Iterator[tuple[tuple, list[Reported]]]:
    """Yield the numbers of one arm on one table of two by two."""
    usable = [row for row in rows if row.is_two_by_two and not row.is_average and not row.predicted]
    yield from grouped(usable, lambda row: (*row.test, row.of_class))


def _numbers(group: Sequence[Reported]) -> dict[str, Known]:
    return known(group, lambda row: row.metric)


def _size(group: Sequence[Reported]) -> tuple[int, int | None] | None:
    """Return number of samples and of positives; None where the former is not known or rows disagree."""
    samples = {row.n for row in group if row.n}
    positive = {row.positive for row in group if row.positive}
    if len(samples) != 1 or len(positive) > 1:
        return None
    return samples.pop(), positive.pop() if positive else None


def _broken_metrics(group: Sequence[Reported]) -> dict[str, Finding]:
    """Return a finding for each metric that others determine otherwise."""
    found = {}
    numbers = _numbers(group)
    ranges = {name: (max(each.low, 0.0), each.high) for name, each in numbers.items()}
    for name in ("sensitivity", "specificity", "precision", "npv"):
        if name in ranges:
            ranges[name] = (min(ranges[name][0], 1.0), min(ranges[name][1], 1.0))
    size = _size(group)
    if prevalence := size[1] / size[0] if size and size[1] else None:
        ranges["prevalence"] = (prevalence, prevalence)
    if not group[0].of_class and not set(numbers) & set(OF_ONE_CLASS):
        return {}  # they may be averages over the two classes of an end point
    for given, result, formula in IDENTITIES:
        if result in numbers and all(name in ranges for name in given):
            ends = [formula(*each) for each in product(*(ranges[name] for name in given))]
            low, high = min(ends), max(ends)
            if low - SLACK > numbers[result].high or high + SLACK < numbers[result].low:
                found[result] = _broken(numbers, given, result, low, high, prevalence)
    return found


def _broken(
    numbers: dict[str, Known],
    given: tuple[str, ...],
    result: str,
    low: float,
    high: float,
    prevalence: float | None,
) -> Finding:
    first = numbers[result].row
    known_ones = [name for name in given if name in numbers]
    words = [f"{name} {numbers[name].text}" for name in known_ones]
    if "prevalence" in given:
        words.append(f"{first.positive or 'the'} positives of {first.n or 'n'}, {prevalence:.3f}")
    lines = sum((numbers[name].lines for name in (*known_ones, result)), ())
    return Finding(
        "identity",
        lines,
        f"{first.name} does not follow from {', '.join(words)}.",
        f"{result} from {low:.4g} to {high:.4g}",
    )


def _tables(n: int, positive: int | None, numbers: Mapping[str, Known]) -> Table | None:
    """Return all tables that the printed sensitivity and specificity leave; None if there are too many."""
    parts = []
    total = 0
    for size in range(1, n) if positive is None else (positive,):
        hits = _range(size, numbers.get("sensitivity") if positive else None)
        rejections = _range(n - size, numbers.get("specificity") if positive else None)
        total += len(hits) * len(rejections)
        if total > MOST_TABLES:
            return None
        tp, tn = (each.ravel() for each in np.meshgrid(hits, rejections, indexing="ij"))
        parts.append((tp, size - tp, tn, n - size - tn))
    tp, fn, tn, fp = (np.concatenate(each).astype(np.float64) for each in zip(*parts, strict=True))
    return {"tp": tp, "fn": fn, "tn": tn, "fp": fp}


def _range(size: int, number: Known | None) -> np.ndarray:
    """Return the counts of a class that may give a proportion; all if none does or none is printed."""
    if number is not None:
        low, high = np.ceil((number.low - SLACK) * size), np.floor((number.high + SLACK) * size)
        if max(low, 0) <= min(high, size):
            return np.arange(max(low, 0), min(high, size) + 1)
    return np.arange(size + 1)


def _fits(tables: Table, name: str, number: Known, reading: int = 0) -> np.ndarray:
    """Return which tables give the printed number, under a reading of `READINGS`."""
    if name not in AVERAGED:
        reading = 0
    value = _value(tables, name)
    if reading:
        other = _value(_exchanged(tables), name)
        share = np.full_like(value, 0.5)
        if reading == 2:
            share = (tables["tp"] + tables["fn"]) / np.sum(list(tables.values()), axis=0)
        value = share * value + (1 - share) * other
    return (value >= number.low - SLACK) & (value <= number.high + SLACK)


def _exchanged(tables: Table) -> Table:
    return {"tp": tables["tn"], "fn": tables["fp"], "tn": tables["tp"], "fp": tables["fn"]}


def _value(tables: Table, name: str) -> np.ndarray:
    """Compute a metric of many tables; a proportion of nothing counts as zero, as in scikit-learn."""
    tp, fn, tn, fp = (tables[each] for each in ("tp", "fn", "tn", "fp"))
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "accuracy": lambda: (tp + tn) / (tp + fn + tn + fp),
        "sensitivity": lambda: sensitivity,
        "specificity": lambda: specificity,
        "precision": lambda: _ratio(tp, tp + fp),
        "npv": lambda: _ratio(tn, tn + fn),
        "f1": lambda: _ratio(2 * tp, 2 * tp + fp + fn),
        "lr_plus": lambda: _ratio(sensitivity, 1 - specificity, np.inf),
        "lr_minus": lambda: _ratio(1 - sensitivity, specificity, np.inf),
        "balanced_accuracy": lambda: (sensitivity + specificity) / 2,
    }[name]()


def _ratio(a: np.ndarray, b: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    return np.divide(a, b, out=np.full_like(a, otherwise), where=b > SLACK)


def _judged(tables: Table, numbers: Mapping[str, Known], end_point: bool) -> Iterator[Finding]:
    """Yield the findings on the numbers of one arm, given all tables that may be true."""
    fitting = {name: _fits(tables, name, each) for name, each in numbers.items()}
    alone = {name: fits for name, fits in fitting.items() if fits.any()}
    together = not alone or np.logical_and.reduce(list(alone.values())).any()
    if together and len(alone) == len(numbers):
        return
    if end_point and (found := _reading(tables, numbers)):
        yield found
        return
    place = _place(next(iter(numbers.values())).rows[0])
    for name in numbers.keys() - alone.keys():
        text = f"{name} {numbers[name].text} is given by no table of true and false answers ({place})."
        yield Finding("2 x 2 table", numbers[name].lines, text, _closest(tables, name, numbers[name]))
    if not together:
        yield _contradictory(tables, numbers, alone, place)


def _contradictory(
    tables: Table, numbers: Mapping[str, Known], alone: Mapping[str, np.ndarray], place: str
) -> Finding:
    """Return the finding on numbers of which each is possible alone, but not all together."""
    hints = []
    for name in alone:
        rest = np.logical_and.reduce([fits for other, fits in alone.items() if other != name])
        if rest.any():
            values = _value({key: cells[rest] for key, cells in tables.items()}, name)
            hints.append(f"without {name} {numbers[name].text} it would be {_span(values)}")
    listed = ", ".join(f"{name} {numbers[name].text}" for name in alone)
    return Finding(
        "2 x 2 table",
        sum((numbers[name].lines for name in alone), ()),
        f"{listed}: no table of true and false answers gives these together ({place}).",
        "; ".join(hints) or "no single number explains it",
    )


def _closest(tables: Table, name: str, number: Known) -> str:
    values = _value(tables, name)
    middle = (number.low + number.high) / 2
    return f"nearest: {values[np.argmin(np.abs(values - middle))]:.4g}"


def _reading(tables: Table, numbers: Mapping[str, Known]) -> Finding | None:
    """Return the finding that numbers are possible as averages over both classes only."""
    if set(numbers) & set(OF_ONE_CLASS) or not set(numbers) & set(AVERAGED):
        return None
    for reading in (1, 2):
        fits = np.logical_and.reduce([_fits(tables, name, each, reading) for name, each in numbers.items()])
        if fits.any():
            rows = [row for each in numbers.values() for row in each.rows]
            positives = np.unique((tables["tp"] + tables["fn"])[fits]).astype(int).tolist()
            right = np.unique((tables["tp"] + tables["tn"])[fits]).astype(int).tolist()
            listed = ", ".join(f"{name} {each.text}" for name, each in numbers.items())
            return Finding(
                "averaging",
                tuple(row.line for row in rows),
                f"{listed} are possible {READINGS[reading]}, not {READINGS[0]} ({_place(rows[0])}).",
                f"{_listed(positives)} positives, {_listed(right)} samples right",
                kind="unclear",
            )
    return None


def _possible_positives(rows: Sequence[Reported], n: int) -> set[int]:
    """Return the numbers of positives with which all numbers of one arm are possible, under some reading."""
    areas = [row.value for row in rows if row.metric == "auc"]
    possible = {
        size
        for size in range(1, n)
        if all(
            np.floor((area.high + SLACK) * 2 * size * (n - size))
            >= np.ceil((area.low - SLACK) * 2 * size * (n - size))
            for area in areas
        )
    }
    numbers = {name: each for name, each in _numbers(rows).items() if name in READ}
    if not numbers:
        return possible
    tables = _tables(n, None, {})
    if tables is None:
        return possible
    found: set[int] = set()
    one_class = not set(numbers).isdisjoint(OF_ONE_CLASS)
    for reading in range(1 if one_class else len(READINGS)):
        fits = np.logical_and.reduce([_fits(tables, name, each, reading) for name, each in numbers.items()])
        found |= set(np.unique((tables["tp"] + tables["fn"])[fits]).astype(int).tolist())
    return possible & found


def _place(row: Reported) -> str:
    return ", ".join(
        each
        for each in (row.arm, row.task, row.cohort, row.fold and f"fold {row.fold}", row.of_class)
        if each
    )


def _span(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if high - low < SLACK else f"{low:.4g} to {high:.4g}"


def _listed(numbers: Sequence[int] | set[int]) -> str:
    ordered = sorted(numbers)
    if len(ordered) > 6:
        return f"{ordered[0]} to {ordered[-1]}"
    return " or ".join(map(str, ordered))
