"""Whether the model serves everyone alike: its measures by site, scanner, sex and age of the test samples."""

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
MOST = 12  # values of a variable that are told apart
ENOUGH = 30  # groups; a bootstrap interval of fewer is too narrow (see `bootstrap.resampled`)
OTHER, UNKNOWN = "other", "not known"
AGES: Final = ((0.0, "<40"), (40.0, "40-59"), (60.0, ">=60"))  # lowest age [years] of each band, as half-open


def table(
    frame: pd.DataFrame,
    manifest: pd.DataFrame,
    classes: Sequence[str],
    ordered: bool,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Accuracy, area and, of stages, the mean absolute error of every subgroup of the test samples.

    Kappa is left out: it depends on which stages a subgroup holds, so two subgroups cannot be held beside
    each other by it.

    Args:
        frame: Predictions as `predictions.read` gives them.
        manifest: The run's manifest, clinical columns as numbers, index `sample_id`.
        classes: Names of the K classes.
        ordered: Whether they are stages.
        resamples: Bootstrap resamples of the groups.
        seed: Of the resamples.
        level: Coverage aimed at.

    Returns:
        Columns `COLUMNS`, a row a variable, value and metric: `accuracy`; `auc` of two classes or `macro_auc`
        of more; `mae` [stages] of more than two ordered classes. A variable of a single value is left out. A
        subgroup of one group has NaN throughout.

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
    """Texts of which only the commonest are kept; the rest is `other`, and what is empty `not known`.

    Args:
        values: Text (N,).
        most: How many are kept, of those known.
    """
    values = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    counts = values[values != ""].value_counts()  # of equals the one that came first
    kept = {*counts.index[:most], ""}
    return values.where(values.isin(kept), OTHER).replace("", UNKNOWN)


def age_bands(years: pd.Series) -> pd.Series:
    """The band of `AGES` that each age [years] falls in, text (N,)."""
    numbers = pd.to_numeric(years, errors="coerce").to_numpy(np.float64)
    names = np.array([UNKNOWN, *(name for _, name in AGES)], dtype=object)
    place = np.searchsorted([low for low, _ in AGES], numbers, side="right")
    return pd.Series(names[np.where(np.isfinite(numbers), place, 0)], index=years.index)


def _variables(test: pd.DataFrame, manifest: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Name and value of every test sample, of the variables that take more than one."""
    known = manifest.reindex(test[keys.SAMPLE_ID])
    columns = {name: known[name] for name in (keys.SCANNER, keys.SEX, keys.AGE_YEARS) if name in known}
    for name, values in ({keys.SITE: test[keys.SITE]} | columns).items():
        told = age_bands(values) if name == keys.AGE_YEARS else commonest(values)
        if told.nunique() > 1:
            yield name, told.reset_index(drop=True)


def _in_order(values: pd.Series) -> list[str]:
    """The values by name, ages from young to old, then `other` and `not known`."""
    last = [*(name for _, name in AGES), OTHER, UNKNOWN]
    return sorted(values.unique(), key=lambda value: (last.index(value) + 1 if value in last else 0, value))


def _measures(
    part: pd.DataFrame, classes: Sequence[str], ordered: bool, resamples: int, seed: int, level: float
) -> Iterator[tuple[str, Estimate]]:
    """Every metric of one subgroup."""
    y_true, groups = part[keys.Y_TRUE].to_numpy(), part[keys.GROUP_ID].to_numpy()
    probabilities = predictions.probabilities(part)
    names = (
        ["accuracy", "auc"] if len(classes) == 2 else ["accuracy", "macro_auc", *(["mae"] if ordered else [])]
    )
    if len(set(groups)) < 2:
        for name in names:
            yield name, Estimate(math.nan, note="one group only: nothing can be said of such patients")
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
    """The share of right answers, with a word where the subgroup has one class."""
    y_true = part[keys.Y_TRUE].to_numpy()
    right = decisions.decide(predictions.probabilities(part)) == y_true
    found = proportions.estimate(right, None, part[keys.GROUP_ID].to_numpy(), level)
    if len(set(y_true)) > 1:
        return found
    note = f"one class only: this is the sensitivity of {classes[y_true[0]]}"
    return replace(found, note=f"{found.note}; {note}" if found.note else note)


def _resampled(row: pd.Series, groups: int) -> Estimate:
    found = by_metric.resampled(row, groups == 1, "one class only: there is nothing to tell it from")
    few = groups < ENOUGH and math.isfinite(found.low)
    return replace(found, note=f"fewer than {ENOUGH} groups: the interval is too narrow") if few else found


def multiplicity(table: pd.DataFrame, level: float = 0.95) -> str:
    """What to beware of where one or more of so many intervals misses its value by chance; else empty.

    Args:
        table: As `table` gives it, or the part of it that is shown.
        level: Coverage of its intervals.
    """
    drawn = int(table["low"].notna().sum())
    missing = drawn * (1 - level)
    if missing < 1 - 1e-9:
        return ""
    return (
        f"of {drawn} intervals at {100 * level:g} % about {missing:.1f} miss by chance alone: a subgroup "
        "that stands out is a question, not an answer"
    )
