"""Drift: false alarms at the nominal rate whatever the groups, shifts found, and both distances by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fibrolab.evaluation import drift
from fibrolab.evaluation.drift import ALARM, Samples, compare

CLASSES = ("F0", "F1", "F2")


def drawn(rng: np.random.Generator, groups: int, shift: float = 0, name: str = "g") -> Samples:
    """Return three correlated samples of each group: two numbers, of which one is shifted, and a class."""
    codes = np.repeat(np.arange(groups), 3)
    mean = rng.normal(size=groups)[codes]
    first = mean + 0.3 * rng.normal(size=len(codes)) + shift
    second = rng.exponential(size=groups)[codes] + 0.1 * rng.normal(size=len(codes))
    classes = np.array(CLASSES)[np.digitize(mean, (-0.5, 0.5))]
    values = pd.DataFrame({"first": first, "second": second, "predicted": classes})
    return Samples(values, np.array([f"{name}{code}" for code in codes]))


def test_false_alarms_come_at_the_nominal_rate_and_a_shift_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "PERMUTATIONS", 199)
    rng, studies, shifted = np.random.default_rng(0), 200, 30
    alarms, found = 0, 0
    for _ in range(studies):
        before, after = drawn(rng, 40), drawn(rng, 12)
        alarms += bool((compare(before, after, {"predicted": CLASSES}, 50)["p_holm"] <= ALARM).any())
    for _ in range(shifted):
        before, moved = drawn(rng, 40), drawn(rng, 12, shift=2)
        found += bool(compare(before, moved, {"predicted": CLASSES}, 50).loc["first", "p_holm"] <= ALARM)
    limit = ALARM + 3 * np.sqrt(ALARM * (1 - ALARM) / studies)  # three standard errors
    assert 0 < alarms / studies <= limit
    assert found / shifted > 0.9


def test_distances_are_those_of_kolmogorov_and_smirnov_and_of_total_variation() -> None:
    rng = np.random.default_rng(1)
    before, after = drawn(rng, 12), drawn(rng, 8, shift=0.5)
    table = compare(before, after, {"predicted": CLASSES})
    expected = stats.ks_2samp(before.values["first"], after.values["first"]).statistic
    assert table.loc["first", "distance"] == pytest.approx(expected, abs=0.03)  # 64 bins
    proportions = [
        side.values["predicted"].value_counts(normalize=True).reindex(CLASSES, fill_value=0)
        for side in (before, after)
    ]
    variation = (proportions[0] - proportions[1]).abs().sum() / 2
    assert table.loc["predicted", "distance"] == pytest.approx(variation)
    assert table.loc["predicted: F1", "after"] == proportions[1]["F1"]
    assert np.isnan(table.loc["predicted: F1", "p"])
    difference = after.values["first"].mean() - before.values["first"].mean()
    assert table.loc["first", "difference"] == pytest.approx(difference)
    assert table.loc["first", "low"] < difference < table.loc["first", "high"]
    assert (table.loc["first", "n"], table.loc["first", "groups"]) == (24, 8)


def test_too_few_patients_or_values_are_not_tested() -> None:
    rng = np.random.default_rng(2)
    before, few = drawn(rng, 12), drawn(rng, drift.FEWEST - 1, shift=9)
    assert compare(before, few, {"predicted": CLASSES})["p"].isna().all()
    enough = drawn(rng, 9, shift=9)
    enough.values["second"] = np.nan  # not known, as typicality of a network without a head of ours
    table = compare(before, enough, {"predicted": CLASSES})
    assert np.isnan(table.loc["second", "p"])
    assert table.loc["first", "p_holm"] <= ALARM
