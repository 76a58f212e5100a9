"""Rules on averages: means and SDs over folds, and averages over classes."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fibrolab.evaluation.measures.catalogue import AVERAGES
from fibrolab.evaluation.published.findings import Finding
from fibrolab.evaluation.published.printed_numbers import SLACK
from fibrolab.evaluation.published.reported_table import (
    HIGHEST,
    LOWEST,
    MEAN,
    SUMMARIES,
    TWO,
    Reported,
    class_sizes,
    grouped,
    known,
)

EXTREMES: dict[str, Callable[[Sequence[float]], float]] = {
    MEAN: lambda values: float(np.mean(values)),
    LOWEST: min,
    HIGHEST: max,
}


def wrong_fold_summaries(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find means, SDs and extremes over folds that the printed folds do not give.

    An SD may have been computed with n or with n - 1.
    """
    for _, group in grouped(rows, lambda row: (*row.test[:4], *row.quantity[5:])):
        folds = known([row for row in group if row.fold and row.fold not in SUMMARIES], lambda row: row.fold)
        values = list(folds.values())
        lines = sum((each.lines for each in values), ())
        for row in (row for row in group if row.fold in SUMMARIES and len(values) > 1):
            low, high = ([getattr(each, end) for each in values] for end in ("low", "high"))
            ends = EXTREMES.get(row.fold)
            if ends is not None and not row.value.meets(ends(low), ends(high)):
                yield Finding(
                    "folds",
                    (row.line, *lines),
                    f"{row.name} is not the {row.fold} of its folds.",
                    f"{ends(low):.4g} to {ends(high):.4g}",
                )
            if row.fold == MEAN and row.sd is not None:
                yield from _wrong_sd(row, np.array(low), np.array(high), lines)
        yield from _mean_beyond_extremes(group)


def wrong_class_averages(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find averages over classes, `macro_` and `weighted_`, that the printed classes do not give."""
    for _, group in grouped(rows, lambda row: row.test):
        for row in group:
            mean, _, metric = row.metric.partition("_")
            if mean not in AVERAGES or row.of_class or row.against or row.value.is_bound:
                continue
            parts = known(
                [each for each in group if each.metric == metric and each.of_class and not each.against],
                lambda each: each.of_class,
            )
            if row.classes is None or len(parts) < row.classes:
                continue
            sizes = class_sizes(rows, row)
            if mean == "weighted" and not parts.keys() <= sizes.keys():
                continue
            weights = [float(sizes[name]) if mean == "weighted" else 1.0 for name in parts]
            low, high = (
                float(np.average([getattr(each, end) for each in parts.values()], weights=weights))
                for end in ("low", "high")
            )
            if not row.value.meets(low, high):
                yield Finding(
                    "class average",
                    (row.line, *sum((each.lines for each in parts.values()), ())),
                    f"{row.name} is not the {'mean' if mean == 'macro' else 'weighted mean'} of its classes.",
                    f"{low:.4g} to {high:.4g}",
                )


def f1_above_its_parts(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find average F1 above the mean of average precision and sensitivity, which no class's F1 exceeds."""
    for _, group in grouped(rows, lambda row: row.test):
        whole = [row for row in group if not row.of_class and not row.against and (row.classes or TWO) > TWO]
        numbers = known(whole, lambda row: row.metric)
        for mean in ("", *(f"{name}_" for name in AVERAGES)):
            if not all(f"{mean}{name}" in numbers for name in ("f1", "precision", "sensitivity")):
                continue
            f1, precision, sensitivity = (
                numbers[f"{mean}{name}"] for name in ("f1", "precision", "sensitivity")
            )
            most = (precision.high + sensitivity.high) / 2
            if f1.low > most + SLACK:
                yield Finding(
                    "F1",
                    (*f1.lines, *precision.lines, *sensitivity.lines),
                    f"{f1.row.name} is above the mean of precision {precision.text} and sensitivity "
                    f"{sensitivity.text}, which no average F1 exceeds.",
                    f"at most {most:.4g}",
                )


def _wrong_sd(row: Reported, low: np.ndarray, high: np.ndarray, lines: tuple[int, ...]) -> Iterator[Finding]:
    """Yield a finding if the folds cannot have the printed SD.

    An SD is the length of the centred values, which moves by no more than the values do: by rounding errors
    up to h, at most h times the root of k / (k - 1).
    """
    assert row.sd is not None, "checked by the caller"
    middle, half, k = (low + high) / 2, float((high - low).max()) / 2, len(low)
    for ddof in (1, 0):
        sd = float(middle.std(ddof=ddof))
        margin = half * math.sqrt(k / (k - ddof))
        if row.sd.meets(max(0.0, sd - margin), sd + margin):
            return
    yield Finding(
        "folds",
        (row.line, *lines),
        f"The SD {row.sd.text} of {row.name} is not that of its folds.",
        f"{middle.std(ddof=1):.4g} with n - 1",
    )


def _mean_beyond_extremes(group: Sequence[Reported]) -> Iterator[Finding]:
    """Yield a finding if a mean over folds is not between the lowest and the highest fold."""
    by_fold = known(group, lambda row: row.fold)
    if not all(name in by_fold for name in (MEAN, LOWEST, HIGHEST)):
        return
    mean, low, high = (by_fold[name] for name in (MEAN, LOWEST, HIGHEST))
    if mean.high + SLACK < low.low or mean.low - SLACK > high.high:
        yield Finding(
            "folds",
            (*mean.lines, *low.lines, *high.lines),
            f"{mean.row.name} is not between its lowest fold {low.text} and its highest {high.text}.",
        )
