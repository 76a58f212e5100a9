"""The level that is set applies to every interval of every table, curve and test."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_arms import BINARY, STAGES, TASK, predictions_of

from fibrolab import keys
from fibrolab.evaluation import predictions, score
from fibrolab.evaluation.clinical import comparators, net_benefit, subgroups
from fibrolab.evaluation.comparison import comparison_table, hypothesis_tests
from fibrolab.evaluation.comparison.arms import arm_from_runs
from fibrolab.evaluation.intervals import roc_curves
from fibrolab.evaluation.measures import operating_points
from fibrolab.evaluation.probabilities import calibration, conformal, recalibration

DRAWS = 200
FRAME = predictions_of(1.2, 0, n=120, per_patient=2)
OTHER = predictions_of(0.9, 1, n=120, per_patient=2)
PAIR = predictions_of(1.2, 0, n=120, per_patient=2, classes=BINARY.classes)
TEST = predictions.select(FRAME, keys.TEST)
SCORES = predictions.probabilities(TEST)[:, 2:].sum(axis=1)
ILL, GROUPS = (TEST[keys.Y_TRUE] >= 2).to_numpy(), TEST[keys.GROUP_ID].to_numpy()


def manifest(frame: pd.DataFrame) -> pd.DataFrame:
    """Stiffness that follows the stage, and two scanners."""
    random = np.random.default_rng(2)
    known = frame[[keys.SAMPLE_ID, keys.PATIENT_ID]].set_index(keys.SAMPLE_ID)
    stiffness = np.exp(1.5 + 0.3 * frame[keys.Y_TRUE].to_numpy() + 0.5 * random.normal(size=len(frame)))
    return known.assign(
        **{keys.LSM_KPA: stiffness, keys.SCANNER: np.where(random.random(len(frame)) < 0.5, "a", "b")}
    )


def compared(
    first: list[pd.DataFrame], second: list[pd.DataFrame], level: float, **how: bool
) -> pd.DataFrame:
    arms = [arm_from_runs(name, frames, TASK) for name, frames in (("a", first), ("b", second))]
    return comparison_table.table(arms, TASK, "sample", resamples=DRAWS, level=level, **how)


def folded(level: float) -> pd.DataFrame:
    arms = []
    for name, frame in (("a", FRAME), ("b", OTHER)):
        home = np.arange(len(frame)) % 3
        rows = (frame[keys.PARTITION] == keys.TEST).to_numpy()
        folds = [frame[~rows | (home == fold)] for fold in range(3)]
        arms.append(replace(arm_from_runs(name, folds, TASK, folds=True), sizes=(80.0, 40.0)))
    found = comparison_table.table(arms, TASK, "sample", resamples=DRAWS, level=level)
    return found[found["family"] == comparison_table.FOLDS]


def ends(*found: object) -> pd.DataFrame:
    return pd.DataFrame([{"low": each.low, "high": each.high} for each in found])


TABLES: dict[str, Callable[[float], pd.DataFrame]] = {
    "metrics": lambda level: score.score(
        FRAME, STAGES, resamples=DRAWS, level=level, endpoints=TASK.endpoints
    ),
    "end points": lambda level: operating_points.table(FRAME, STAGES, TASK.endpoints, DRAWS, level=level),
    "calibration": lambda level: calibration.table(FRAME, STAGES, TASK.endpoints, DRAWS, level=level),
    "conformal": lambda level: conformal.table(FRAME, STAGES, level=level),
    "comparators": lambda level: comparators.table(
        FRAME, manifest(FRAME), STAGES, TASK.endpoints, level=level
    ),
    "subgroups": lambda level: subgroups.table(FRAME, manifest(FRAME), STAGES, True, DRAWS, level=level),
    "subgroups of two classes": lambda level: subgroups.table(
        PAIR, manifest(PAIR), BINARY.classes, True, DRAWS, level=level
    ),
    "two arms": lambda level: compared([FRAME], [OTHER], level),
    "two arms of one row a patient": lambda level: compared(
        [predictions_of(1.2, 0)], [predictions_of(0.9, 1)], level
    ),
    "two cohorts": lambda level: compared([FRAME], [predictions_of(0.9, 1, cohort=1)], level, paired=False),
    "trainings": lambda level: compared([FRAME, OTHER], [predictions_of(1.5, 2, per_patient=2)], level),
    "folds": folded,
    "reliability": lambda level: pd.DataFrame(vars(calibration.reliability(SCORES, ILL, GROUPS, 4, level))),
    "decision": lambda level: ends(net_benefit.curve(SCORES, ILL, GROUPS, DRAWS, level=level)).explode(
        ["low", "high"]
    ),
    "curves": lambda level: ends(
        roc_curves.roc_band(SCORES, ILL, GROUPS, DRAWS, level=level),
        roc_curves.pr_band(SCORES, ILL, GROUPS, DRAWS, level=level),
    ).explode(["low", "high"]),
    "recalibration": lambda level: ends(*recalibration.recalibration(SCORES, ILL, GROUPS, level)),
    "McNemar": lambda level: ends(hypothesis_tests.mcnemar(SCORES > 0.5, SCORES > 0.8, level=level)),
}
STEPS = {"curves"}  # at some points of which every resample has the same value


@pytest.mark.parametrize("name", TABLES)
def test_an_interval_of_a_lower_level_is_within_that_of_a_higher(name):
    wide, narrow = (TABLES[name](level)[["low", "high"]].astype(float) for level in (0.95, 0.7))
    known = wide["low"].notna()
    assert known.sum() > 0
    assert narrow["low"].notna()[known].all()
    wide, narrow = wide[known], narrow[known]
    assert (wide["low"] <= narrow["low"]).all()
    assert (narrow["high"] <= wide["high"]).all()
    shorter = narrow["high"] - narrow["low"] < wide["high"] - wide["low"]
    assert shorter.any() if name in STEPS else shorter.all()
