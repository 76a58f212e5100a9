"""Simulated predictions of several networks for the same patients, to test comparisons on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.comparison import comparison_table
from fibrolab.evaluation.comparison.arms import Arm, Task, arm_from_runs

STAGES = ("F0", "F1", "F2", "F3", "F4")
TASK = Task(STAGES, True, {"ge_F2": 2, "ge_F3": 3, "ge_F4": 4})
BINARY = Task(("F0-F1", "F2-F4"), True, {"F2-F4": 1})


def predictions_of(
    skill: float,
    seed: int,
    n: int = 120,
    per_patient: int = 1,
    classes: tuple[str, ...] = STAGES,
    cohort: int = 0,
) -> pd.DataFrame:
    """Predictions of n validation and n test samples; truth and patients depend on the cohort alone."""
    truth = np.random.default_rng(100 + cohort).integers(len(classes), size=2 * n // per_patient)
    owner = np.repeat(np.arange(len(truth)), per_patient)
    truth = truth[owner]
    distance = np.abs(np.arange(len(classes)) - truth[:, None])
    scores = -skill * distance + np.random.default_rng(seed).normal(size=distance.shape) * 1.6
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    columns = {
        keys.SAMPLE_ID: [f"{cohort}s{i:04d}" for i in range(2 * n)],
        keys.GROUP_ID: [f"{cohort}p{i:04d}" for i in owner],
        keys.PATIENT_ID: [f"{cohort}p{i:04d}" for i in owner],
        keys.SITE: "",
        keys.PARTITION: np.repeat([keys.VALIDATION, keys.TEST], n),
        keys.FOLD: 0,
        keys.Y_TRUE: truth,
    }
    named = dict(zip(keys.probability_columns(len(classes)), probabilities.T, strict=True))
    return predictions.validated(pd.DataFrame(columns | named), "made up")


def of_test(frame: pd.DataFrame) -> pd.DataFrame:
    """Its test rows."""
    return predictions.select(frame, keys.TEST)


def decided(frame: pd.DataFrame) -> np.ndarray:
    """The predicted class of each row."""
    return predictions.probabilities(frame).argmax(axis=1)


def score(frame: pd.DataFrame, lowest: int) -> np.ndarray:
    """Probability of the stage `lowest` or worse."""
    return predictions.probabilities(frame)[:, lowest:].sum(axis=1)


def two(
    n: int = 120, per_patient: int = 1, skills: Sequence[float] = (1.0, 1.8)
) -> tuple[list[pd.DataFrame], list[Arm]]:
    """The predictions of two networks, and the arms `a` and `b` of them."""
    frames = [predictions_of(skill, seed, n, per_patient) for seed, skill in enumerate(skills)]
    return frames, [arm_from_runs(name, [frame], TASK) for name, frame in zip("ab", frames, strict=True)]


def compared(arms: Sequence[Arm], task: Task = TASK, resamples: int = 400, **how: Any) -> pd.DataFrame:
    """The table of a comparison by sample."""
    return comparison_table.table(arms, task, "sample", resamples=resamples, **how)


def one(
    table: pd.DataFrame, metric: str, of: str = "", against: str = "a", arm: str = "b", family: str = ""
) -> pd.Series:
    """The only row of a measure; ``against`` is empty for the arm's own value."""
    rows = table[(table["metric"] == metric) & (table["of"] == of) & (table["arm"] == arm)]
    rows = rows[(rows["against"] == against) & (rows["fold"] == "")]
    rows = rows[rows["family"] == family] if family else rows
    assert len(rows) == 1
    return rows.iloc[0]
