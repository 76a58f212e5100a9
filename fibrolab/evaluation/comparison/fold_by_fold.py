"""Cross-validation by fold: values, mean and SD of a run or an arm, and the test of each pair of arms."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.comparison import hypothesis_tests
from fibrolab.evaluation.comparison.arms import (
    CLASSES,
    END_POINTS,
    HEADLINE,
    Arm,
    Measure,
    Task,
    arm_from_runs,
    limits,
    measured,
)
from fibrolab.evaluation.comparison.mask_arms import arm_of_masks

FOLDS = "folds"  # family of the tests
RESAMPLED_T = "corrected resampled t test over folds (Nadeau and Bengio)"
TESTED = (HEADLINE, END_POINTS)  # families whose measures are tested fold by fold
COLUMNS = ("metric", "of", keys.REPEAT, keys.FOLD, "value", "n", "sd", "low", "high", "method", "note")
SHOWN = ("macro_specificity", "macro_precision", "macro_f1")  # further measures that papers print
OF_CLASSES = ("sensitivity", "specificity", "precision")  # of each class, that papers print of one arm


def rows(
    arms: Sequence[Arm], compared: Sequence[tuple[Arm, Arm]], task: Task, level: float
) -> Iterator[dict[str, Any]]:
    """Yield rows of `comparison_table.table`: of each arm, then of each pair.

    Args:
        arms: Arms; those without folds are left out.
        compared: Pairs of an arm and the one subtracted from it.
        task: Classes and end points.
        level: Nominal coverage of the intervals.
    """
    by_fold = {arm.name: _by_fold(arm, task) for arm in arms if arm.folds is not None}
    for arm in arms:
        for measure, values in by_fold.get(arm.name, {}).items():
            yield from _of_arm(arm, measure._replace(family=FOLDS), values)
    for arm, against in compared:
        if arm.name not in by_fold or against.name not in by_fold or arm.sizes is None:
            continue
        for measure in (each for each in by_fold[arm.name] if each.family in TESTED):
            known = {"arm": arm.name, "against": against.name} | measure._replace(family=FOLDS)._asdict()
            if not _same_folds(arm, against):
                yield known | {"note": "the arms have different folds, which cannot be paired"}
                continue
            gaps = by_fold[arm.name][measure] - by_fold[against.name][measure]
            test = hypothesis_tests.corrected_resampled_t(gaps, *arm.sizes, level)
            found = {name: getattr(test, name) for name in ("low", "high", "p", "sd", "note")}
            yield known | found | {"value": test.difference, "method": RESAMPLED_T, "n": len(gaps)}


def of_networks(
    frame: pd.DataFrame, task: Task, sizes: tuple[float, float], level: float = 0.95
) -> pd.DataFrame:
    """Return `folds.csv`: measures of each network of one run on its own test part, then mean and SD.

    Those of a class have its name in `metric`, as in `metrics.csv`: `sensitivity_F2`.

    Networks that were tested on different samples have the corrected resampled interval of the mean
    (`hypothesis_tests.corrected_resampled_t`). Those with one test part have none: their SD is the variation
    between trainings, without that between patients.

    Args:
        frame: Predictions of every network, with `repeat`; see `predictions.pooled`.
        task: Classes and end points.
        sizes: Mean number of training and of test samples of a network.
        level: Nominal coverage of the interval.

    Returns:
        Columns `COLUMNS`; `repeat` and `fold` are empty in the row of the mean.
    """
    arms = {names: arm_from_runs("", [rows], task) for names, rows in frame.groupby([keys.REPEAT, keys.FOLD])}
    return _of_arms(arms, task, sizes if predictions.is_crossed(frame) else None, level)


def of_masks(
    measures: pd.DataFrame, task: Task, sizes: tuple[float, float], level: float = 0.95
) -> pd.DataFrame:
    """Return `folds.csv` of a cross-validation that segments images; see `of_networks`.

    Args:
        measures: Measures of the test images of all folds, see `segmentation.images.read`.
        task: Classes of the pixels.
        sizes: Mean number of training and of test samples of a network.
        level: Nominal coverage of the interval.
    """
    arms = {(0, fold): arm_of_masks("", [rows], task) for fold, rows in measures.groupby(keys.FOLD)}
    return _of_arms(arms, task, sizes, level)


def _of_arms(
    arms: Mapping[Any, Arm], task: Task, sizes: tuple[float, float] | None, level: float
) -> pd.DataFrame:
    """Return the measures of networks, by repetition and fold, then mean and SD; see `of_networks`.

    Args:
        arms: The test samples of each network, by the numbers of repetition and fold.
        task: Classes and end points.
        sizes: Mean number of training and of test samples; None if the networks share their test samples.
        level: Nominal coverage of the interval.
    """
    each = [measured(arm, task) for arm in arms.values()]
    found = []
    for measure in each[0]:
        of_class = measure.family == CLASSES and measure.of and measure.metric in OF_CLASSES
        if not (of_class or _is_shown(measure)):
            continue
        values = np.array([of_one[measure][0, 0] for of_one in each])
        name = f"{measure.metric}_{measure.of}" if of_class else measure.metric
        known = {"metric": name, "of": "" if of_class else measure.of}
        for (names, arm), value in zip(arms.items(), values, strict=True):
            place = dict(zip((keys.REPEAT, keys.FOLD), names, strict=True))
            found.append(known | place | {"value": value, "n": len(arm.labels)})
        mean = _mean(values, sizes, level)
        bounds = limits(measure, task)  # t knows none
        found.append(known | mean | {end: np.clip(mean[end], *bounds) for end in ("low", "high")})
    return pd.DataFrame(found, columns=list(COLUMNS)).astype({keys.REPEAT: "Int64", keys.FOLD: "Int64"})


def _mean(values: np.ndarray, sizes: tuple[float, float] | None, level: float) -> dict[str, Any]:
    """Return mean and SD of the values of networks, with the corrected interval if their tests differ."""
    note = "" if np.isfinite(values).all() else "a fold lacks a class that it needs, or never predicts it"
    sd = values.std(ddof=1) if len(values) > 1 else np.nan
    found = {"value": values.mean(), "sd": sd, "n": len(values), "low": np.nan, "high": np.nan, "note": note}
    if sizes is None or note:
        return found
    interval = hypothesis_tests.corrected_resampled_t(values, *sizes, level)
    return found | {"low": interval.low, "high": interval.high, "method": RESAMPLED_T}


def _is_shown(measure: Measure) -> bool:
    return measure.family in TESTED or measure.metric in SHOWN


def _of_arm(arm: Arm, measure: Measure, values: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield a row a fold, then their mean and SD."""
    assert arm.folds is not None
    names, sizes = np.unique(arm.folds, return_counts=True)
    known = measure._asdict() | {"arm": arm.name}
    for name, size, value in zip(names, sizes, values, strict=True):
        yield known | {"fold": str(name), "value": value, "n": size}
    note = "" if np.isfinite(values).all() else "a fold lacks a class that it needs"
    size = {"n": len(arm.labels), "groups": len(np.unique(arm.groups))}
    yield known | {"value": values.mean(), "sd": values.std(ddof=1), "note": note} | size


def _by_fold(arm: Arm, task: Task) -> dict[Measure, np.ndarray]:
    """Compute the measures to show, a value a fold; NaN where a fold lacks a class."""
    assert arm.folds is not None
    each = [measured(arm.restricted(arm.folds == fold), task) for fold in np.unique(arm.folds)]
    return {
        measure: np.array([found[measure][0, 0] for found in each])
        for measure in each[0]
        if _is_shown(measure)
    }


def _same_folds(arm: Arm, against: Arm) -> bool:
    """Return whether each sample was tested in the same fold in both arms."""
    assert arm.folds is not None
    assert against.folds is not None
    return np.array_equal(arm.folds, against.folds)
