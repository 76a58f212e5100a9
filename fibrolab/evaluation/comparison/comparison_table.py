"""Table of a comparison: each measure of each arm with its interval, each difference with its test."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fibrolab.evaluation.comparison import fold_by_fold, hypothesis_tests
from fibrolab.evaluation.comparison.arm_intervals import Draws, estimates
from fibrolab.evaluation.comparison.arms import (
    CLASSES,
    Arm,
    Measure,
    Prediction,
    Task,
    is_tested,
    measured,
    resampled_values,
)
from fibrolab.evaluation.comparison.contrasts import contrast
from fibrolab.evaluation.comparison.fold_by_fold import FOLDS

__all__ = ["ANOVA", "COLUMNS", "COMPARATORS", "FOLDS", "SIGNIFICANT", "marker", "pairs", "table"]
COLUMNS = (
    "level", "family", "metric", "of", "arm", "against", "fold", "value", "sd", "low", "high", "method",
    "p", "p_holm", "needed", "n", "groups", "note",
)  # fmt: skip
COMPARATORS, ANOVA = "comparators", "anova"  # families in addition to those of the measures
SIGNIFICANT = 0.05  # corrected p below which two arms differ
ALL = "all"  # as reference: every pair is tested
ALL_PAIRS = 4  # number of networks up to which every pair is tested
AS_MANY = "detecting a difference of this size takes about as many groups as were tested, or more"


def pairs(arms: Sequence[Arm], reference: str = "") -> list[tuple[Arm, Arm]]:
    """Choose the pairs of arms to compare: each with the reference; without one, all of up to four networks.

    Args:
        arms: Networks, then markers; a marker is compared with networks only.
        reference: Name of an arm, or `ALL`; if empty, and with more than four networks, the first.

    Returns:
        Pairs of an arm and the one subtracted from it.
    """
    networks = [arm for arm in arms if not arm.is_marker]
    markers = [arm for arm in arms if arm.is_marker]
    if reference == ALL or (not reference and len(networks) <= ALL_PAIRS):
        of_networks = [(later, earlier) for earlier, later in combinations(networks, 2)]
    else:
        first = next((arm for arm in networks if arm.name == reference), networks[0])
        of_networks = [(arm, first) for arm in networks if arm is not first]
    return of_networks + [(arm, marker) for marker in markers for arm in networks]


def marker(name: str, values: np.ndarray, like: Arm, task: Task) -> Arm:
    """Make an arm from a clinical marker, with its values as score of every end point.

    Args:
        name: Name of the marker, such as `FIB-4`.
        values: Values on the rows of `like`, higher with disease (N,); NaN where not measured.
        like: An arm on the same rows.
        task: Classes and end points.
    """
    prediction = Prediction(dict.fromkeys(task.endpoints, np.asarray(values, np.float64)), {})
    return Arm(name, like.samples, like.labels, like.groups, (prediction,))


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
    """Compare arms in every measure.

    Args:
        arms: At least two; if paired, on the same rows in the same order.
        task: Classes and end points of all.
        which: What a row of an arm is: `sample` or `patient`.
        reference: As for `pairs`.
        paired: Whether they predicted the same rows; otherwise two different cohorts are compared.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.
        level: Nominal coverage of the intervals.

    Returns:
        Columns `COLUMNS`. Rows without `against` are of one arm; the others are differences, arm less
        against, with p uncorrected and p_holm corrected over all differences of the same family (one table on
        the page). Where no difference is found, `needed` patients would detect one of the observed size by a
        test at Bonferroni's level, which is slightly more conservative than Holm's. `sd` is over trainings or
        folds.
    """
    if paired:
        assert all(np.array_equal(arm.samples, arms[0].samples) for arm in arms), "arms on the same rows"
    draws = {
        arm.name: resampled_values(_known(arm), task, resamples, seed if paired else seed + k)
        for k, arm in enumerate(arms)
    }
    rows = [row for arm in arms for row in _rows_of(arm, task, draws[arm.name], level)]
    held = pairs(arms, reference)
    tests = Counter(_family(each, against) for arm, against in held for each in _tested(arm, against, task))
    for arm, against in held:
        both = draws[arm.name], draws[against.name]
        rows += _differences(arm, against, both, task, paired, resamples, seed, level, tests)
    rows += fold_by_fold.rows(arms, held, task, level)
    if len(task.classes) > 2 and not task.unit:
        rows += _analysis_of_variance([arm for arm in arms if not arm.is_marker], task)
    found = pd.DataFrame(rows).assign(level=which).reindex(columns=[*COLUMNS, "unplanned"])
    texts = ["against", "of", "fold", "method", "note", "unplanned"]
    found = found.assign(**{name: found[name].astype(object).fillna("") for name in texts})
    return _corrected(found)[list(COLUMNS)]


def _known(arm: Arm) -> Arm:
    return arm.restricted(arm.known())


def _rows_of(arm: Arm, task: Task, draws: Draws, level: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of the measures of one arm; a marker's are on the rows that have it."""
    arm = _known(arm)
    size = {"arm": arm.name, "n": len(arm.labels), "groups": len(np.unique(arm.groups))}
    for measure, values, found in estimates(arm, task, draws, level):
        sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        family = COMPARATORS if arm.is_marker else measure.family
        yield measure._asdict() | {"family": family, "sd": sd} | vars(found) | size


def _tested(arm: Arm, against: Arm, task: Task) -> list[Measure]:
    """Return the measures in which two arms are tested against each other."""
    theirs = measured(against, task)
    return [measure for measure in measured(arm, task) if measure in theirs and is_tested(measure, task)]


def _family(measure: Measure, against: Arm) -> str:
    return COMPARATORS if against.is_marker else measure.family


def _differences(
    arm: Arm,
    against: Arm,
    draws: tuple[Draws, Draws],
    task: Task,
    paired: bool,
    resamples: int,
    seed: int,
    level: float,
    tests: Counter[str],
) -> Iterator[dict[str, Any]]:
    """Yield the differences of two arms; against a marker, on the rows that have it."""
    rows = arm.known() & against.known() if paired else None
    if rows is not None and not rows.all():
        if not rows.any():
            return
        arm, against = arm.restricted(rows), against.restricted(rows)
        draws = resampled_values(arm, task, resamples, seed), resampled_values(against, task, resamples, seed)
    ours, theirs = draws
    values = measured(arm, task), measured(against, task)
    for measure in _tested(arm, against, task):
        family = _family(measure, against)
        both = values[0][measure][:, 0], values[1][measure][:, 0]
        found = contrast(
            measure, arm, against, both, (ours[measure], theirs[measure]), task, paired, level,
            SIGNIFICANT / tests[family],
        )  # fmt: skip
        known = vars(found) | {"value": found.difference, "n": len(arm.labels) if paired else math.nan}
        yield measure._asdict() | {"family": family, "arm": arm.name, "against": against.name} | known


def _analysis_of_variance(arms: Sequence[Arm], task: Task) -> Iterator[dict[str, Any]]:
    """Yield the analysis of variance of the sensitivities of all classes in all arms, as in paper 1."""
    cells = {
        arm.name: {
            measure.of: float(values.mean())
            for measure, values in measured(arm, task).items()
            if measure.family == CLASSES and measure.metric == "sensitivity"
        }
        for arm in arms
    }
    sensitivities = pd.DataFrame(cells)  # classes by models
    for between, cell in (("models", sensitivities), ("classes", sensitivities.T)):
        test = hypothesis_tests.anova(cell)
        df = ", ".join(f"{number:.0f}" for number in test.df)
        method = f"one-way ANOVA, F({df})" if df else "one-way ANOVA"
        known = {"value": test.statistic, "p": test.p, "method": method, "note": test.note}
        yield {"family": ANOVA, "metric": "F", "of": between} | known


def _corrected(found: pd.DataFrame) -> pd.DataFrame:
    """Add Holm's p by family; keep the needed patients only where no difference is found."""
    for _, family in found[found["against"] != ""].groupby("family"):
        found.loc[family.index, "p_holm"] = hypothesis_tests.holm(family["p"].to_numpy(np.float64))
    close = found["needed"] <= found["groups"]  # the plan assumes a normal distribution, the test need not
    found.loc[close, "unplanned"] = AS_MANY
    differ = found["p_holm"] < SIGNIFICANT
    found.loc[close | differ, "needed"] = math.nan
    found.loc[differ, "unplanned"] = ""
    notes = zip(found["note"], found["unplanned"], strict=True)
    return found.assign(note=["; ".join(filter(None, texts)) for texts in notes])
