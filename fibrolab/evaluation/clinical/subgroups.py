"""Subgroup analysis: measures by site, scanner, sex and age of the test samples."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.intervals import bootstrap, by_metric, delong, proportions
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import decisions, ranking
from fibrolab.evaluation.measures.weighted import Weights, ratio

COLUMNS = ("variable", "value", "n", "groups", "metric", "estimate", "low", "high", "method", "note")
MOST = 12  # number of values of a variable that have a subgroup each
ENOUGH = 30  # groups; a bootstrap interval of fewer is too narrow (see `bootstrap.resampled`)
OTHER, UNKNOWN = "other", "not known"
AGES: Final = ((0.0, "<40"), (40.0, "40-59"), (60.0, ">=60"))  # lowest age [years] of each half-open band


def table(
    frame: pd.DataFrame,
    manifest: pd.DataFrame,
    classes: Sequence[str],
    ordered: bool,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Estimate accuracy, area and, for stages, the mean absolute error of every subgroup of test samples.

    Kappa is left out: it depends on the stages in a subgroup, so that subgroups are not comparable by it.

    Args:
        frame: Predictions as `predictions.read` returns them.
        manifest: The run's manifest, clinical columns as numbers, index `sample_id`.
        classes: Names of the K classes.
        ordered: Whether they are stages.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.
        level: Nominal coverage.

    Returns:
        Columns `COLUMNS`, a row a variable, value and metric: `accuracy`; `auc` of two classes or `macro_auc`
        of more; `mae` [stages] of more than two ordered classes. A variable with a single value is left
        out. A subgroup of one group has NaN in every metric.

    Raises:
        DataError: No test predictions.
        ConfigError: `resamples` or `level` out of range.
    """
    bootstrap.check(resamples, level)
    test = predictions.select(frame, keys.TEST)
    rows = []
    for variable, values in _variables(test, manifest):
        for value in _in_order(values):
            part = test[(values == value).to_numpy()]
            shared = {"variable": variable, "value": value, "n": len(part)}
            shared |= {"groups": part[keys.GROUP_ID].nunique()}
            for metric, found in _measures(part, classes, ordered, resamples, seed, level):
                numbers = (found.value, found.low, found.high, found.method, found.note)
                rows.append(shared | {"metric": metric} | dict(zip(COLUMNS[5:], numbers, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def commonest(values: pd.Series, most: int = MOST) -> pd.Series:
    """Keep the most frequent texts; replace the others by `other`, and empty ones by `not known`.

    Args:
        values: Text (N,).
        most: Number of known texts that are kept.
    """
    values = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    counts = values[values != ""].value_counts()  # ties in order of appearance
    kept = {*counts.index[:most], ""}
    return values.where(values.isin(kept), OTHER).replace("", UNKNOWN)


def age_bands(years: pd.Series) -> pd.Series:
    """Return the band of `AGES` of each age [years], text (N,)."""
    numbers = pd.to_numeric(years, errors="coerce").to_numpy(np.float64)
    names = np.array([UNKNOWN, *(name for _, name in AGES)], dtype=object)
    place = np.searchsorted([low for low, _ in AGES], numbers, side="right")
    return pd.Series(names[np.where(np.isfinite(numbers), place, 0)], index=years.index)


def _variables(test: pd.DataFrame, manifest: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Yield each variable with more than one value, and its value for every test sample."""
    known = manifest.reindex(test[keys.SAMPLE_ID])
    columns = {name: known[name] for name in (keys.SCANNER, keys.SEX, keys.AGE_YEARS) if name in known}
    for name, values in ({keys.SITE: test[keys.SITE]} | columns).items():
        grouped = age_bands(values) if name == keys.AGE_YEARS else commonest(values)
        if grouped.nunique() > 1:
            yield name, grouped.reset_index(drop=True)


def _in_order(values: pd.Series) -> list[str]:
    """Sort the values by name, ages from young to old, then `other` and `not known`."""
    last = [*(name for _, name in AGES), OTHER, UNKNOWN]
    return sorted(values.unique(), key=lambda value: (last.index(value) + 1 if value in last else 0, value))


def _measures(
    part: pd.DataFrame, classes: Sequence[str], ordered: bool, resamples: int, seed: int, level: float
) -> Iterator[tuple[str, Estimate]]:
    """Yield every metric of one subgroup."""
    y_true, groups = part[keys.Y_TRUE].to_numpy(), part[keys.GROUP_ID].to_numpy()
    probabilities = predictions.probabilities(part)
    names = (
        ["accuracy", "auc"] if len(classes) == 2 else ["accuracy", "macro_auc", *(["mae"] if ordered else [])]
    )
    if len(set(groups)) < 2:
        for name in names:
            yield name, Estimate(math.nan, note="one group only: no estimate for such patients")
        return
    yield "accuracy", _accuracy(part, classes, level)
    if len(classes) == 2:
        yield "auc", delong.estimate(probabilities[:, 1], y_true == 1, groups, level)
        return
    present = np.unique(y_true)
    errors = np.abs(decisions.decide(probabilities) - y_true).astype(np.float64)

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        weights = np.ones((1, len(y_true))) if weights is None else weights
        areas = ranking.auc(y_true, probabilities, weights)[:, present]
        found = {"macro_auc": areas.mean(axis=1)}  # NaN of a resample without one of the classes
        return found | ({"mae": ratio(weights @ errors, weights.sum(axis=1))} if ordered else {})

    for metric, row in bootstrap.resampled(measure, groups, resamples, seed, level).iterrows():
        found = _resampled(row, len(set(groups)))
        word = by_metric.of_present_classes(y_true, classes) if metric == "macro_auc" else ""
        yield str(metric), replace(found, note="; ".join(filter(None, (found.note, word))))


def _accuracy(part: pd.DataFrame, classes: Sequence[str], level: float) -> Estimate:
    """Estimate the accuracy, with a note where the subgroup has one class."""
    y_true = part[keys.Y_TRUE].to_numpy()
    right = decisions.decide(predictions.probabilities(part)) == y_true
    found = proportions.estimate(right, None, part[keys.GROUP_ID].to_numpy(), level)
    if len(set(y_true)) > 1:
        return found
    note = f"one class only: this is the sensitivity of {classes[y_true[0]]}"
    return replace(found, note=f"{found.note}; {note}" if found.note else note)


def _resampled(row: pd.Series, groups: int) -> Estimate:
    found = by_metric.resampled(row, groups == 1, "one class only: not defined")
    few = groups < ENOUGH and math.isfinite(found.low)
    return replace(found, note=f"fewer than {ENOUGH} groups: the interval is too narrow") if few else found


def multiplicity(table: pd.DataFrame, level: float = 0.95) -> str:
    """Warn where one or more of the intervals is expected to miss its value by chance; otherwise empty.

    Args:
        table: As `table` returns it, or the part of it that is shown.
        level: Nominal coverage of its intervals.
    """
    intervals = int(table["low"].notna().sum())
    missing = intervals * (1 - level)
    if missing < 1 - 1e-9:
        return ""
    return (
        f"of {intervals} intervals at {100 * level:g} %, about {missing:.1f} are expected to miss the true "
        "value by chance: a subgroup that differs is a hypothesis, not a finding"
    )
