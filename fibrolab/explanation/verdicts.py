"""Judgement of the tests of maps: what passes, in numbers and in words, and what the report must say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from fibrolab.data.audit.finding import Finding, listed, percent
from fibrolab.evaluation.intervals import bootstrap
from fibrolab.evaluation.measures.weighted import Weights, ratio

COLUMNS: Final = (
    "method", "branch", "test", "measure", "value", "low", "high", "reference", "passed", "sentence",
)  # fmt: skip
VERDICT: Final = "verdict"  # test of the row that sums up a method on a branch
WEIGHTS, LABELS, REPEATED, NETWORKS, DELETION, INSERTION = (
    "randomised weights", "randomised labels", "repeatability", "reproducibility", "deletion", "insertion",
)  # fmt: skip
FAILURES: Final = {  # tests of the method, and the meaning of a failure
    WEIGHTS: "its maps survive random weights",
    LABELS: "its maps do not depend on the labels",
    REPEATED: "its maps change with noise of one grey level",
    NETWORKS: "networks that were trained alike disagree",
    DELETION: "no better than {}",
    INSERTION: "no better than {}",
}
REGIONS, MASKS = "heat by region", "true mask"  # tests of what the network uses
OUTSIDE, TEXT, CALIPERS, BORDER = (
    "outside the sector", "in burned-in text", "at calipers", "at the border",
)  # fmt: skip
# Heat beyond an even map's that is a warning: a hundredth of all heat, or in small regions as much again.
# Less may be certain, as the maps of many pictures are alike at the border, but shows nothing.
EXCESS = 0.01
NOTED = 0.1  # proportion of the heat outside the sector that is mentioned even where it is no warning

Better = Literal["lower", "higher", "not higher", ""]


@dataclass(frozen=True)
class Measured:
    """One measure of the maps of all samples, and the values that it is judged against.

    Attributes:
        test: Name of the test.
        measure: Name of the measure.
        values: Value of each sample (N,); NaN where it is not defined.
        baseline: Value of the reference for each sample (N,).
        against: Name of the reference.
        better: Side of the reference on which maps must lie to pass, with the whole 95 % interval of the mean
            difference. `not higher` fails only if that interval lies above 0. Empty: not judged.
    """

    test: str
    measure: str
    values: np.ndarray
    baseline: np.ndarray
    against: str
    better: Better


@dataclass(frozen=True)
class Judged:
    """A measure with its mean, the 95 % interval of the mean, the mean reference, and the judgement.

    `passed` is None where the measure is not judged, and where one group alone gives no interval.
    """

    measured: Measured
    value: float
    low: float
    high: float
    reference: float
    passed: bool | None

    @property
    def sentence(self) -> str:
        """Return the result in words."""
        word = {True: ": passes", False: ": fails", None: ""}[self.passed]
        named = self.measured
        return (
            f"{named.test}, {named.measure}: {self.value:.2f} [{self.low:.2f}, {self.high:.2f}], "
            f"{named.against} {self.reference:.2f}{word}."
        )


def judge(
    measured: Sequence[Measured], groups: Sequence[str] | np.ndarray, resamples: int = 1000, seed: int = 0
) -> list[Judged]:
    """Judge every measure by bootstrap intervals over groups.

    Args:
        measured: The measures.
        groups: Independent unit of each sample: the patient, or the cluster of copies (N,).
        resamples: Bootstrap resamples of the groups.
        seed: Their seed.
    """
    values = np.array([each.values for each in measured])
    baselines = np.array([each.baseline for each in measured])
    parts = (values, values - baselines, baselines)
    tables = [_means(part, groups, resamples, seed)[["value", "low", "high"]].to_numpy() for part in parts]
    return [
        Judged(each, value, low, high, reference[0], _passes(each.better, gap[1], gap[2]))
        for each, (value, low, high), gap, reference in zip(measured, *tables, strict=True)
    ]


def verdict(label: str, branch: str, results: Sequence[Judged]) -> tuple[bool | None, str]:
    """Return whether a method passes its tests, None if none could be judged, and the verdict in words.

    Args:
        label: Name of the method in text.
        branch: Name of the branch.
        results: All measures of the method on the branch.
    """
    passed = {
        test: [each for each in results if each.measured.test == test and each.passed is not None]
        for test in FAILURES
    }
    passed = {test: each for test, each in passed.items() if each}
    good = [test for test, each in passed.items() if all(result.passed for result in each)]
    bad = []
    for test in passed.keys() - set(good):
        beaten_by = listed(each.measured.against for each in passed[test] if not each.passed)
        bad.append(f"{test} ({FAILURES[test].format(beaten_by)})")
    words = [f"passes {listed(good)}"] if good else []
    words += [f"fails {listed(sorted(bad))}"] if bad else []
    shares = [
        f" {percent(each.value)} of the heat lies {each.measured.measure} "
        f"(an even map: {percent(each.reference)})."
        for each in results
        if each.measured.test == REGIONS and np.isfinite(each.value)
    ]
    sentence = f"{label} of branch {branch}: {'; '.join(words) or 'too few groups to judge it'}."
    return (not bad if passed else None), sentence + "".join(shares)


def table(method: str, label: str, branch: str, results: Sequence[Judged]) -> pd.DataFrame:
    """Return the rows of a method on a branch, the verdict first, with the columns `COLUMNS`."""
    passed, sentence = verdict(label, branch, results)
    rows: list[tuple[Any, ...]] = [(VERDICT, "", *[np.nan] * 4, passed, sentence)]
    for each in results:
        numbers = (each.value, each.low, each.high, each.reference)
        rows.append((each.measured.test, each.measured.measure, *numbers, each.passed, each.sentence))
    return pd.DataFrame([(method, branch, *row) for row in rows], columns=list(COLUMNS))


def findings(label: str, branch: str, results: Sequence[Judged]) -> list[Finding]:
    """Return what a reader of the maps of a method on a branch must know.

    Heat on what is no tissue is a warning where it is more than an even map has there, by at least `EXCESS`:
    such a map is a sign of a shortcut, or of a method that does not work.
    """
    passed, sentence = verdict(label, branch, results)
    found = []
    if passed is False:
        advice = "Its maps are no evidence of what the network uses."
        found.append(Finding("map_fails_its_tests", "warning", f"{sentence.partition('. ')[0]}. {advice}"))
    keys = {
        OUTSIDE: "heat_outside_sector",
        TEXT: "heat_in_text",
        CALIPERS: "heat_at_calipers",
        BORDER: "heat_at_border",
    }
    for each in results:
        name = each.measured.measure
        if each.measured.test != REGIONS:
            continue
        where = f"{percent(each.value)} of the heat of {label} (branch {branch}) lies {name}"
        if each.passed is False and each.value >= each.reference + min(EXCESS, each.reference):
            reason = "more than in an even map, which is a sign of a shortcut"
            even = f"{percent(each.reference)} there"
            found.append(Finding(keys[name], "warning", f"{where}: {reason} ({even})."))
        elif name == OUTSIDE and each.value >= NOTED:
            found.append(Finding(keys[name], "note", f"{where} (an even map: {percent(each.reference)})."))
    return found


def _means(values: np.ndarray, groups: Sequence[str] | np.ndarray, resamples: int, seed: int) -> pd.DataFrame:
    """Return mean and interval of each row of values (M, N), without those that are NaN."""

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        drawn = np.ones((1, values.shape[1])) if weights is None else weights
        found = ratio(drawn @ np.nan_to_num(values).T, drawn @ np.isfinite(values).T)  # (R, M)
        return {str(number): column for number, column in enumerate(found.T)}

    return bootstrap.resampled(measure, groups, resamples, seed)


def _passes(better: Better, low: float, high: float) -> bool | None:
    """Judge the interval of a mean difference to the reference."""
    if not better or not np.isfinite([low, high]).all():
        return None
    return bool({"lower": high < 0, "higher": low > 0, "not higher": low <= 0}[better])
