"""Rules on 95 % intervals: whether they are as wide as their number of samples makes them."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fibrolab.evaluation.intervals import delong, proportions
from fibrolab.evaluation.intervals.sample_size import auc_component
from fibrolab.evaluation.published.findings import Finding
from fibrolab.evaluation.published.reported_table import Reported, distinct, grouped
from fibrolab.evaluation.published.single_numbers import denominator

Z = 1.959964  # normal quantile of 95 % intervals
NARROW, WIDE = 0.8, 1.3  # of the narrowest and the widest usual interval; beyond, an interval is reported
MIXED = 3.5  # ratio of the sizes that two intervals imply from which they have different independent units
FEW = 5  # misses, or misordered samples of the smaller class, below which widths vary too much to judge


def implausible_widths(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find intervals that are much narrower or wider than the usual methods give for the numbers of samples.

    A proportion is held against Wald's, Wilson's and Clopper and Pearson's interval, an AUC against those of
    normal, exponential and uniform scores, on the plain and on the logit scale. An interval may be too narrow
    because dependent samples, such as the images of one patient, were taken for independent ones.
    """
    for row in distinct(rows):
        usual = _usual_widths(row)
        if usual is None:
            continue
        least, most = _printed_width(row)
        if most < NARROW * usual[0]:
            words = "narrower"
        elif least > WIDE * usual[1]:
            words = "wider"
        else:
            continue
        yield Finding(
            "interval and n",
            (row.line,),
            f"The interval {row.interval} of {row.name} is {words} than {_sizes(row)} give "
            f"({usual[0]:.3f} to {usual[1]:.3f} wide).",
            f"such an interval fits about {_implied(row, usual):,.0f} independent samples",
            kind="improbable",
        )


def mixed_units(rows: Sequence[Reported]) -> Iterator[Finding]:
    """Find arms on the same samples whose intervals fit very different numbers of independent samples.

    A test of their difference would mix units, such as images and patients.
    """
    judged = [(row, usual) for row in distinct(rows) if row.metric == "auc" and (usual := _usual_widths(row))]
    for _, pairs in grouped([row for row, _ in judged], lambda row: row.samples):
        implied = {row: _implied(row, usual) for row, usual in judged if row in pairs}
        few, many = min(implied, key=implied.__getitem__), max(implied, key=implied.__getitem__)
        if few.arm != many.arm and implied[many] > MIXED * implied[few]:
            listed = ", ".join(
                f"{row.arm} {implied[row]:,.0f}" for row in sorted(implied, key=implied.__getitem__)
            )
            yield Finding(
                "mixed units",
                tuple(row.line for row in implied),
                "The intervals of the arms fit very different numbers of independent samples, though all are "
                f"of {_sizes(few)} ({few.task}, {few.cohort}).",
                f"about {listed}",
                kind="improbable",
            )


def _usual_widths(row: Reported) -> tuple[float, float] | None:
    """Return the narrowest and the widest usual interval; None where there is none to compare with."""
    if (
        row.low is None
        or row.high is None
        or row.is_average
        or row.against
        or row.value.is_bound
        or row.n is None
    ):
        return None
    if not row.low.low <= row.value.value <= row.high.high or row.high.value <= row.low.value:
        return None
    if row.metric == "auc" and row.is_two_by_two and row.positive is not None:
        return _of_area(row.value.value, row.positive, row.n - row.positive)
    of = denominator(row)
    return _of_proportion(row.value.value, of) if of is not None else None


def _of_proportion(value: float, n: int) -> tuple[float, float] | None:
    from scipy.stats import beta

    hits = value * n
    if min(hits, n - hits) < FEW:
        return None
    wald = 2 * Z * math.sqrt(value * (1 - value) / n)
    low, high = proportions.wilson(hits, n)
    exact = beta.ppf(0.975, hits + 1, n - hits) - beta.ppf(0.025, hits, n - hits + 1)
    widths = (wald, high - low, float(exact))
    return min(widths), max(widths)


def _of_area(value: float, positive: int, negative: int) -> tuple[float, float] | None:
    if not 0.5 < value < 1 or min(positive, negative) * (1 - value) < FEW / 2:
        return None
    component = auc_component(value, value)
    left = math.sqrt(2 * (1 - value))  # of uniform scores on two intervals that overlap by this proportion
    uniform = left**3 / 3 - (left**2 / 2) ** 2
    each = 1 / positive + 1 / negative
    variances = (
        delong.hanley_mcneil(value, positive, negative),
        delong.hanley_mcneil(value, negative, positive),
        component * each,
        uniform * each,
    )
    widths = []
    for variance in variances:
        margin = Z * math.sqrt(variance)
        widths.append(min(1.0, value + margin) - max(0.0, value - margin))
        low, high = delong.interval(value, variance, 0.95)
        widths.append(high - low)
    return min(widths), max(widths)


def _printed_width(row: Reported) -> tuple[float, float]:
    assert row.low is not None, "judged"
    assert row.high is not None, "judged"
    return row.high.low - row.low.high, row.high.high - row.low.low


def _implied(row: Reported, usual: tuple[float, float]) -> float:
    """Return the number of samples for which the printed interval is usual; widths fall as 1 / root n."""
    assert row.n, "judged"
    width = sum(_printed_width(row)) / 2
    return float(row.n * np.prod(usual) / width**2)


def _sizes(row: Reported) -> str:
    if row.positive is None:
        return f"{row.n} samples"
    return f"{row.positive} positive of {row.n} samples"
