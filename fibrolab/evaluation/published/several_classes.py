"""Rules on tasks of several classes: cells of the confusion matrix, errors, and averages of unnamed kind."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fibrolab.evaluation.published.findings import Finding
from fibrolab.evaluation.published.printed_numbers import SLACK
from fibrolab.evaluation.published.reported_table import (
    HIGHEST,
    LOWEST,
    MEAN,
    POOLED,
    TWO,
    Known,
    Reported,
    class_sizes,
    grouped,
    known,
)

Range = tuple[float, float]
EVERY: Range = (0.0, 1.0)


@dataclass(frozen=True)
class ManyClasses:
    """The numbers of one arm on one set of samples of several classes.

    Attributes:
        rows: Its rows.
        sizes: Number of samples of each class; empty where it is not known.
        whole: Metrics of all classes together, by name.
        by_class: Metrics of a class against the rest, by metric and class.
        cells: Cells of the confusion matrix, by true and predicted class.
    """

    rows: Sequence[Reported]
    sizes: Mapping[str, int]
    whole: Mapping[str, Known]
    by_class: Mapping[tuple[str, str], Known]
    cells: Mapping[tuple[str, str], Known]

    @property
    def n(self) -> int:
        """Number of samples."""
        return sum(self.sizes.values())

    @property
    def is_balanced(self) -> bool:
        """Return whether all classes have as many samples."""
        return len(set(self.sizes.values())) == 1

    def misses(self, of_class: str) -> Range:
        """Return the least and the largest number of samples of a class that are called another one."""
        size = self.sizes[of_class]
        off = [each for (true, called), each in self.cells.items() if true == of_class != called]
        least = sum(round(each.rows[0].value.value) for each in off)
        known_cells = len(off) == len(self.sizes) - 1
        return float(least), float(least if known_cells else size - self.right(of_class))

    def sensitivity(self, of_class: str) -> Range:
        """Return the range of a class's sensitivity that its own number and its cells leave."""
        number = self.by_class.get(("sensitivity", of_class))
        low, high = (number.low, number.high) if number else EVERY
        if self.sizes:
            fewest, most = self.misses(of_class)
            limits = (1 - most / self.sizes[of_class], 1 - fewest / self.sizes[of_class])
            if limits[0] <= high + SLACK and limits[1] >= low - SLACK:
                low, high = max(low, limits[0]), min(high, limits[1])
        return max(low, 0.0), min(high, 1.0)

    def lines(self, *numbers: Known | None) -> tuple[int, ...]:
        """Return the lines of the numbers that are known."""
        return sum((each.lines for each in numbers if each), ())

    def lines_of(self, of_class: str) -> tuple[int, ...]:
        """Return the lines of the cells of a true class."""
        return self.lines(*(each for (true, _), each in self.cells.items() if true == of_class))

    def right(self, of_class: str) -> float:
        """Return the samples of a class that are called it, as printed; 0 where they are not."""
        cell = self.cells.get((of_class, of_class))
        return float(round(cell.rows[0].value.value)) if cell else 0.0


def wrong_cells(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find cells of a confusion matrix that contradict the size or a metric of a class."""
    for arm in _arms(rows):
        if not arm.sizes:
            continue
        for of_class in (name for name in arm.sizes if arm.lines_of(name)):
            size = arm.sizes[of_class]
            fewest, most = arm.misses(of_class)
            right = arm.right(of_class)
            if fewest + right > size:
                yield Finding(
                    "confusion matrix",
                    arm.lines_of(of_class),
                    f"{arm.rows[0].arm}: {right:g} right and {fewest:g} wrong of {of_class} exceed {size}.",
                )
            number = arm.by_class.get(("sensitivity", of_class))
            limits = ((size - most) / size, (size - fewest) / size)
            if number and not _meet((number.low, number.high), limits):
                yield Finding(
                    "confusion matrix",
                    (*number.lines, *arm.lines_of(of_class)),
                    f"{number.row.name} contradicts {fewest:g} of {size} samples that are called otherwise.",
                    f"{limits[0]:.4f}" if limits[0] == limits[1] else f"at most {limits[1]:.4f}",
                )
        for of_class in arm.sizes:
            yield from _wrong_column(arm, of_class)


def wrong_errors(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find classes whose missed or falsely called samples contradict the errors that the accuracy leaves.

    Each error is a miss of one class and a false call of another: the misses of all classes, and their false
    calls, both sum to the errors, and no class is falsely called more often than others are missed.
    """
    for arm in _arms(rows):
        accuracy = arm.whole.get("accuracy")
        if not arm.sizes or accuracy is None:
            continue
        errors = (arm.n * (1 - accuracy.high), arm.n * (1 - accuracy.low))
        misses = {name: _scaled(arm.sensitivity(name), size) for name, size in arm.sizes.items()}
        if any(("sensitivity", name) in arm.by_class or arm.lines_of(name) for name in arm.sizes):
            total = _sum(misses.values())
            if not _meet(total, errors):
                numbers = [arm.by_class.get(("sensitivity", name)) for name in arm.sizes]
                yield Finding(
                    "accuracy",
                    (
                        *accuracy.lines,
                        *arm.lines(*numbers),
                        *(line for name in arm.sizes for line in arm.lines_of(name)),
                    ),
                    f"{accuracy.row.name} is not the mean of the sensitivities, weighted by class size.",
                    f"{1 - total[1] / arm.n:.4g} to {1 - total[0] / arm.n:.4g}",
                )
        yield from _wrong_false_calls(arm, accuracy, errors, misses)


def unnamed_averages(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find sensitivities and specificities without a class that are no average over the classes.

    Weighted by class size, sensitivity is accuracy. Its plain mean is bounded by accuracy and class sizes.
    With equal classes it is accuracy, and the mean specificity is 1 - (1 - accuracy) / (K - 1).
    """
    for arm in _arms(rows):
        accuracy = arm.whole.get("accuracy")
        for metric in ("sensitivity", "specificity"):
            number = arm.whole.get(metric)
            if number is None or number.rows[0].value.is_bound:
                continue
            ranges = _readings(arm, metric, accuracy)
            if ranges is None or any(_meet((number.low, number.high), each) for each in ranges.values()):
                continue
            possible = [f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in ranges.items()]
            fitting = _classes_like(arm, metric, number)
            if fitting:
                possible.insert(0, f"it is that of {' or '.join(fitting)}")
            if metric == "specificity" and (words := _right_outside_a_class(arm, number, accuracy)):
                possible.insert(0, words)
            yield Finding(
                "unnamed average",
                (*number.lines, *arm.lines(accuracy)),
                f"{number.row.name} is no average over the classes, plain or weighted by class size.",
                "; ".join(possible),
            )


def _arms(rows: Sequence[Reported]) -> Iterator[ManyClasses]:
    """Yield the arms with several classes; the mean over folds of equal size is that of the pooled folds."""
    usable = [
        row
        for row in rows
        if (row.classes or 0) > TWO and row.arm and not row.against and row.fold not in (LOWEST, HIGHEST)
    ]
    for _, group in grouped(usable, lambda row: (*row.test[:4], POOLED if row.fold == MEAN else row.fold)):
        of = replace(group[0], fold=POOLED if group[0].fold == MEAN else group[0].fold)
        counted = of.fold != POOLED or any(row.metric == "count" and row.fold == POOLED for row in rows)
        matrix = known(
            [row for row in group if row.predicted and counted],
            lambda row: f"{row.of_class}\0{row.predicted}",
        )
        cells = {(true, called): each for key, each in matrix.items() for true, called in [key.split("\0")]}
        single = known(
            [row for row in group if row.of_class and not row.predicted],
            lambda row: f"{row.metric}\0{row.of_class}",
        )
        yield ManyClasses(
            group,
            class_sizes(rows, of),
            known([row for row in group if not row.of_class], lambda row: row.metric),
            {(metric, name): each for key, each in single.items() for metric, name in [key.split("\0")]},
            cells,
        )


def _wrong_column(arm: ManyClasses, of_class: str) -> Iterator[Finding]:
    """Yield findings on precision and specificity of a class from what is known to be called it."""
    column = [each for (true, called), each in arm.cells.items() if true != called == of_class]
    false_calls = sum(each.rows[0].value.value for each in column)
    right = arm.sizes[of_class] * arm.sensitivity(of_class)[1]
    limits = {
        "precision": right / (right + false_calls) if right + false_calls else 1.0,
        "specificity": 1 - false_calls / (arm.n - arm.sizes[of_class]),
    }
    for metric, most in limits.items():
        number = arm.by_class.get((metric, of_class))
        if number and column and number.low > most + SLACK:
            yield Finding(
                "confusion matrix",
                (*number.lines, *arm.lines(*column)),
                f"{number.row.name} contradicts {false_calls:g} samples that are falsely called {of_class}.",
                f"at most {most:.4f}",
            )


def _wrong_false_calls(
    arm: ManyClasses, accuracy: Known, errors: Range, misses: Mapping[str, Range]
) -> Iterator[Finding]:
    """Yield findings on the specificities of the classes."""
    false_calls = {
        name: _scaled((number.low, min(number.high, 1.0)), arm.n - size)
        for name, size in arm.sizes.items()
        if (number := arm.by_class.get(("specificity", name)))
    }
    if len(false_calls) == len(arm.sizes) and not _meet(_sum(false_calls.values()), errors):
        numbers = [arm.by_class[("specificity", name)] for name in false_calls]
        low, high = _sum(false_calls.values())
        yield Finding(
            "accuracy",
            (*accuracy.lines, *arm.lines(*numbers)),
            f"The specificities of {arm.rows[0].arm}'s classes leave {low:.4g} to {high:.4g} false calls, "
            f"but its accuracy {accuracy.text} leaves {errors[0]:.4g} to {errors[1]:.4g} errors.",
            _as_precision(arm),
        )
        return
    for name, (fewest, most) in false_calls.items():
        others = errors[1] - misses[name][0]
        if fewest > others + SLACK:
            number = arm.by_class[("specificity", name)]
            yield Finding(
                "accuracy",
                (*number.lines, *accuracy.lines),
                f"{number.row.name} needs {fewest:.4g} to {most:.4g} false calls, but the other classes have "
                f"at most {others:.4g} errors.",
                f"at least {1 - others / (arm.n - arm.sizes[name]):.4g}",
            )


def _as_precision(arm: ManyClasses) -> str:
    """Return that the specificities are possible as precisions, if the samples called each class sum to n."""
    low = high = 0.0
    for name, size in arm.sizes.items():
        number, sensitivity = arm.by_class[("specificity", name)], arm.sensitivity(name)
        low += size * sensitivity[0] / min(number.high, 1.0)
        high += size * sensitivity[1] / max(number.low, SLACK)
    if not _meet((low, high), (arm.n, arm.n)):
        return ""
    return (
        f"as precisions they are possible: {low:.4g} to {high:.4g} samples would be called one of the classes"
    )


def _readings(arm: ManyClasses, metric: str, accuracy: Known | None) -> dict[str, Range] | None:
    """Return the range of each kind of average; None where nothing limits one of them."""
    if metric == "specificity":
        if not (arm.sizes and arm.is_balanced and accuracy):
            return None
        k = len(arm.sizes)
        mean = (1 - (1 - accuracy.low) / (k - 1), 1 - (1 - accuracy.high) / (k - 1))
        return {"mean over the classes": mean}
    if not arm.sizes:
        return None
    ranges = {name: arm.sensitivity(name) for name in arm.sizes}
    weighted = (accuracy.low, accuracy.high) if accuracy else _weighted(ranges, arm.sizes)
    low, high = (sum(each[end] for each in ranges.values()) / len(ranges) for end in (0, 1))
    if accuracy:
        least, most = (_extreme_mean(ranges, arm.sizes, accuracy, end) for end in ("least", "most"))
        low, high = max(low, least), min(high, most)
    return {"mean over the classes": (low, high), "weighted mean": weighted}


def _extreme_mean(ranges: Mapping[str, Range], sizes: Mapping[str, int], accuracy: Known, end: str) -> float:
    """Return the least or the largest plain mean of sensitivities under an accuracy.

    From the lowest sensitivities, the right answers that the accuracy allows go to the smallest classes
    first, where each raises the mean most, or to the largest ones first.
    """
    n = sum(sizes.values())
    limit = (accuracy.high if end == "most" else accuracy.low) * n
    left = limit - sum(sizes[name] * low for name, (low, _) in ranges.items())
    total = sum(low for low, _ in ranges.values())
    for name in sorted(ranges, key=lambda name: sizes[name], reverse=end == "least"):
        low, high = ranges[name]
        more = min(max(left, 0.0), sizes[name] * (high - low))
        total, left = total + more / sizes[name], left - more
    return total / len(ranges)


def _classes_like(arm: ManyClasses, metric: str, number: Known) -> list[str]:
    """Return the classes whose own number agrees with one that names no class, by their row or their cell."""
    found = [
        f"{name} ({each.text}, line {each.row.line})"
        for (of, name), each in arm.by_class.items()
        if of == metric and _meet((each.low, each.high), (number.low, number.high)) and _same_sd(each, number)
    ]
    for name, size in arm.sizes.items():
        right = arm.right(name)
        if metric == "sensitivity" and right and number.low - SLACK <= right / size <= number.high + SLACK:
            found.append(f"{name} ({right:g}/{size})")
    return found


def _right_outside_a_class(arm: ManyClasses, number: Known, accuracy: Known | None) -> str:
    """Return that a specificity is the proportion of right answers outside the class of a sensitivity.

    A true specificity of one class of several also counts samples that are confused among the other classes.
    """
    sensitivity = arm.whole.get("sensitivity")
    if accuracy is None or sensitivity is None:
        return ""
    for size in sorted(set(arm.sizes.values())):
        rest = arm.n - size
        low = (accuracy.low * arm.n - sensitivity.high * size) / rest
        high = (accuracy.high * arm.n - sensitivity.low * size) / rest
        if _meet((low, high), (number.low, number.high)):
            return (
                f"it is the proportion of right answers among the {rest} samples outside a class of {size}, "
                f"which has the sensitivity {sensitivity.text}"
            )
    return ""


def _same_sd(one: Known, other: Known) -> bool:
    """Return whether the SDs over folds, where both are printed, can be equal."""
    first, second = (next((row.sd for row in each.rows if row.sd), None) for each in (one, other))
    return first is None or second is None or first.meets(second.low, second.high)


def _weighted(ranges: Mapping[str, Range], sizes: Mapping[str, int]) -> Range:
    n = sum(sizes.values())
    low, high = (sum(sizes[name] * each[end] for name, each in ranges.items()) / n for end in (0, 1))
    return low, high


def _scaled(sensitivity: Range, size: int) -> Range:
    """Return the number of samples that a rate leaves out."""
    return size * (1 - sensitivity[1]), size * (1 - sensitivity[0])


def _sum(ranges: Iterable[Range]) -> Range:
    parts = list(ranges)
    return sum(low for low, _ in parts), sum(high for _, high in parts)


def _meet(one: Range, other: Range) -> bool:
    return one[0] <= other[1] + SLACK and other[0] <= one[1] + SLACK
