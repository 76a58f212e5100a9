"""Arms side by side: each measure with its interval, each difference with its test, as one table."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fibrolab.evaluation import roc, shares, significance
from fibrolab.evaluation.arms import (
    AT_THRESHOLDS,
    CLASSES,
    END_POINTS,
    HEADLINE,
    Answer,
    Arm,
    Measure,
    Task,
    drawn,
    hits,
    limits,
    measured,
)
from fibrolab.evaluation.bootstrap import enough, percentiles
from fibrolab.evaluation.contrasts import WITH_SEEDS, contrast
from fibrolab.evaluation.estimate import Estimate
from fibrolab.evaluation.intervals import ALONE, FEW, RESAMPLED
from fibrolab.evaluation.seeds import spread

COLUMNS = (
    "level", "family", "metric", "of", "arm", "against", "value", "sd", "low", "high", "method",
    "p", "p_holm", "needed", "n", "groups", "note",
)  # fmt: skip
COMPARATORS, FOLDS, ANOVA = "comparators", "folds", "anova"  # families beside those of the measures
SIGNIFICANT = 0.05  # corrected p below which two arms are told apart
ALL_PAIRS = 4  # arms up to which every pair is tested
RESAMPLED_T = "corrected resampled t test over folds (Nadeau and Bengio)"


def pairs(arms: Sequence[Arm], reference: str = "") -> list[tuple[Arm, Arm]]:
    """Which arms are held against which: all of up to four, otherwise each against the reference.

    Args:
        arms: Networks, then markers; a marker is held against networks alone.
        reference: Name of an arm; where it is empty, and there are more than four networks, the first.

    Returns:
        An arm and the one that is subtracted from it.
    """
    networks = [arm for arm in arms if not arm.is_marker]
    markers = [arm for arm in arms if arm.is_marker]
    if not reference and len(networks) <= ALL_PAIRS:
        of_networks = [(later, earlier) for earlier, later in combinations(networks, 2)]
    else:
        first = next((arm for arm in networks if arm.name == reference), networks[0])
        of_networks = [(arm, first) for arm in networks if arm is not first]
    return of_networks + [(arm, marker) for marker in markers for arm in networks]


def marker(name: str, values: np.ndarray, like: Arm, task: Task) -> Arm:
    """A measurement as an arm of the end points.

    Args:
        name: Such as `FIB-4`.
        values: Of the rows of the arm `like`, higher where the liver is worse (N,); NaN where not measured.
        like: An arm of the same rows.
        task: What is asked.
    """
    answer = Answer(dict.fromkeys(task.endpoints, np.asarray(values, np.float64)), {})
    return Arm(name, like.samples, like.labels, like.groups, (answer,))


def table(
    arms: Sequence[Arm],
    task: Task,
    which: str,
    reference: str = "",
    paired: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Everything that a comparison says.

    Args:
        arms: At least two; where paired, of the same rows in the same order.
        task: What is asked of all.
        which: `sample` or `patient`: what a row of them is.
        reference: As for `pairs`.
        paired: Whether they answered the same rows; otherwise two different cohorts are compared.
        resamples: Of the groups.
        seed: Of the resamples.
        level: Coverage of the intervals.

    Returns:
        Columns `COLUMNS`. Rows without `against` are of one arm, the others are differences, arm less
        against, with p as it is and p_holm corrected over all differences of the same family (one table on
        the page). `needed` patients would have told two arms apart, given where they are not. `sd` is over
        the seeds, or over the folds.
    """
    if paired:
        assert all(np.array_equal(arm.samples, arms[0].samples) for arm in arms), "arms of the same rows"
    on = [
        drawn(arm, task, resamples, seed if paired else seed + k) if arm.known().all() else None
        for k, arm in enumerate(arms)
    ]
    draws = {arm.name: each for arm, each in zip(arms, on, strict=True)}
    rows: list[dict[str, Any]] = []
    for arm in arms:
        rows += _rows_of(arm, task, draws[arm.name] or drawn(_known(arm), task, resamples, seed), level)
    for arm, against in pairs(arms, reference):
        both = draws[arm.name], draws[against.name]
        rows += _differences(arm, against, both, task, paired, resamples, seed, level)
    rows += _folds(arms, pairs(arms, reference), task, level)
    rows += _analysis_of_variance([arm for arm in arms if not arm.is_marker], task)
    found = pd.DataFrame(rows).assign(level=which)
    texts = ["against", "of", "method", "note"]
    found = found.reindex(columns=list(COLUMNS))
    return _corrected(found.assign(**{name: found[name].fillna("") for name in texts}))


def _known(arm: Arm) -> Arm:
    return arm.restricted(arm.known())


def _rows_of(
    arm: Arm, task: Task, draws: dict[Measure, np.ndarray], level: float
) -> Iterator[dict[str, Any]]:
    """The measures of one arm; of a marker, on the rows that have it."""
    arm = _known(arm)
    for measure, values in measured(arm, task).items():
        found = _estimate(arm, measure, values[:, 0], task, draws[measure], level)
        sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        family = COMPARATORS if arm.is_marker else measure.family
        size = {"n": len(arm.labels), "groups": len(np.unique(arm.groups))}
        yield measure._asdict() | {"family": family, "arm": arm.name, "sd": sd} | vars(found) | size


def _estimate(
    arm: Arm, measure: Measure, values: np.ndarray, task: Task, draws: np.ndarray, level: float
) -> Estimate:
    """Of one training a share has Wilson's interval, an end point's AUC DeLong's, all else percentiles."""
    value = float(values.mean())
    if not np.isfinite(value):
        return Estimate(value, note=_why_undefined(arm, measure))
    if len(values) == 1:
        if measure.metric == "auc":
            ill = arm.labels >= task.endpoints[measure.of]
            return roc.estimate(arm.answers[0].scores[measure.of], ill, arm.groups, level)
        if (counts := hits(arm, measure, task)) is not None:
            return shares.estimate(*counts, arm.groups, level)
    means = draws.mean(axis=0)
    valid = means[np.isfinite(means)]
    if not enough(len(valid), len(means)):
        alone = len(np.unique(arm.groups)) < 2
        return Estimate(value, note=ALONE if alone else FEW)
    if found := spread([values], [draws], len(np.unique(arm.groups))) if len(values) > 1 else None:
        low, high = np.clip(found.interval(value, level), *limits(measure))
        return Estimate(value, float(low), float(high), WITH_SEEDS)
    low, high = percentiles(valid, level)
    return Estimate(value, float(low), float(high), RESAMPLED)


def _why_undefined(arm: Arm, measure: Measure) -> str:
    at_threshold = measure.family == AT_THRESHOLDS
    if at_threshold and any(answer.positive[measure.of] is None for answer in arm.answers):
        return "validation gave no threshold: it lacks one of the two sides"
    return "the test lacks a class that it needs"


def _differences(
    arm: Arm,
    against: Arm,
    draws: tuple[dict[Measure, np.ndarray] | None, dict[Measure, np.ndarray] | None],
    task: Task,
    paired: bool,
    resamples: int,
    seed: int,
    level: float,
) -> Iterator[dict[str, Any]]:
    """Of every measure that both have; against a marker, on the rows that have it."""
    rows = arm.known() & against.known() if paired else None
    if rows is not None and not rows.all():
        if not rows.any():
            return
        arm, against, draws = arm.restricted(rows), against.restricted(rows), (None, None)
    ours, theirs = (
        each or drawn(side, task, resamples, seed) for each, side in zip(draws, (arm, against), strict=True)
    )
    values = measured(arm, task), measured(against, task)
    for measure in (each for each in values[0] if each in values[1]):
        both = values[0][measure][:, 0], values[1][measure][:, 0]
        found = contrast(measure, arm, against, both, (ours[measure], theirs[measure]), task, paired, level)
        family = COMPARATORS if against.is_marker else measure.family
        known = vars(found) | {"value": found.difference, "n": len(arm.labels) if paired else math.nan}
        yield measure._asdict() | {"family": family, "arm": arm.name, "against": against.name} | known


def _folds(
    arms: Sequence[Arm], compared: Sequence[tuple[Arm, Arm]], task: Task, level: float
) -> Iterator[dict[str, Any]]:
    """Fold by fold: mean and SD of each arm, and the corrected resampled t test of each pair."""
    by_fold = {arm.name: _by_fold(arm, task) for arm in arms if arm.folds is not None}
    for arm in arms:
        for measure, values in by_fold.get(arm.name, {}).items():
            size = {"n": len(arm.labels), "groups": len(np.unique(arm.groups))}
            note = "" if np.isfinite(values).all() else "a fold lacks a class that it needs"
            known = {"arm": arm.name, "value": values.mean(), "sd": values.std(ddof=1), "note": note}
            yield measure._asdict() | known | size
    for arm, against in compared:
        if arm.name not in by_fold or against.name not in by_fold or arm.sizes is None:
            continue
        for measure, ours in by_fold[arm.name].items():
            both = measure._asdict() | {"arm": arm.name, "against": against.name}
            if not _same_folds(arm, against):
                yield both | {"note": "the arms were folded differently: no pairs of folds"}
                continue
            test = significance.corrected_resampled_t(
                ours - by_fold[against.name][measure], *arm.sizes, level
            )
            known = {name: getattr(test, name) for name in ("low", "high", "p", "sd", "note")}
            yield both | known | {"value": test.difference, "method": RESAMPLED_T, "n": len(ours)}


def _same_folds(arm: Arm, against: Arm) -> bool:
    """Whether each sample was tested by the same fold in both; folds are numbered by run."""
    if arm.folds is None or against.folds is None or len(arm.folds) != len(against.folds):
        return False
    return bool((arm.folds == against.folds).all())


def _by_fold(arm: Arm, task: Task) -> dict[Measure, np.ndarray]:
    """Headline measures and areas of the end points, a value a fold; NaN where a fold lacks a class."""
    assert arm.folds is not None
    each = [measured(arm.restricted(arm.folds == fold), task) for fold in np.unique(arm.folds)]
    return {
        measure._replace(family=FOLDS): np.array([found[measure][0, 0] for found in each])
        for measure in each[0]
        if measure.family in (HEADLINE, END_POINTS)
    }


def _analysis_of_variance(arms: Sequence[Arm], task: Task) -> Iterator[dict[str, Any]]:
    """Of the sensitivities of all classes in all arms, as paper 1 reports it."""
    cells = {
        arm.name: {
            measure.of: float(values.mean())
            for measure, values in measured(arm, task).items()
            if measure.family == CLASSES
        }
        for arm in arms
    }
    sensitivities = pd.DataFrame(cells)  # stages down, models across
    for between, cell in (("models", sensitivities), ("classes", sensitivities.T)):
        test = significance.anova(cell)
        df = ", ".join(f"{number:.0f}" for number in test.df)
        method = f"one-way ANOVA, F({df})" if df else "one-way ANOVA"
        known = {"value": test.statistic, "p": test.p, "method": method, "note": test.note}
        yield {"family": ANOVA, "metric": "F", "of": between} | known


def _corrected(found: pd.DataFrame) -> pd.DataFrame:
    """Holm's p by family; patients are needed only where it tells no two arms apart."""
    tests = (found["against"] != "") & (found["family"] != ANOVA)
    for _, family in found[tests].groupby("family"):
        found.loc[family.index, "p_holm"] = significance.holm(family["p"].to_numpy(np.float64))
    found.loc[found["p_holm"] < SIGNIFICANT, "needed"] = math.nan
    return found
