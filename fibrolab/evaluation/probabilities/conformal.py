"""Conformal prediction sets: the stages that cannot be ruled out at a given error rate.

Split conformal prediction by cumulative probability. Every set starts at the most probable class and grows:
for stages to the more probable neighbour, so that it never has a gap (Lu, Angelopoulos and Pomerantz,
MICCAI 2022, LNCS 13438:545-554), for unordered classes to the next most probable one (adaptive
prediction sets of Romano, Sesia and Candès, NeurIPS 2020, without their randomisation). The score of a class
is the probability mass of the set before the class joins; a set holds the classes whose score is within a
threshold fitted on validation. Every set therefore holds the most probable class, and a smaller alpha only
adds classes.

Patients are exchangeable, images of one patient are not. Each validation group therefore has a weight of
one, divided among its rows (hierarchical conformal prediction of Lee, Barber and Willett, arXiv:2306.06342,
section 3): for one row of a new group the coverage is at least 1 - alpha, for groups of any size and
without random selection. With one row a group it is the usual quantile of rank ceil((n + 1)(1 - alpha)).

The guarantee is marginal, over patients like those of validation: not for each stage, nor for another
hospital. Where validation also chose the epoch, as in early stopping, it holds only approximately.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.evaluation import patients, predictions
from fibrolab.evaluation.intervals import proportions
from fibrolab.evaluation.intervals.estimate import Estimate

COLUMNS = ("level", "alpha", "stage", "n", "coverage", "low", "high", "mean_size", "alone", "note")
ALL = "all"  # the row over every stage
ALPHAS = (0.1, 0.2)
ROUNDING = 1e-9  # weights such as 1/3 + 1/3 + 1/3 may miss a whole number by a few bits

NO_VALIDATION = "no validation predictions to fit the sets on"


def mass_before(probabilities: np.ndarray, ordered: bool = True) -> np.ndarray:
    """Compute the probability mass of the set before each class joins, float64 (N, K); 0 for the first.

    Args:
        probabilities: One column a class (N, K).
        ordered: Whether the classes are stages; then a set grows to neighbours only. In a tie the lower stage
            joins first, as in `decisions.decide`.
    """
    order = _to_neighbours(probabilities) if ordered else np.argsort(-probabilities, axis=1, kind="stable")
    mass = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1)
    before = np.concatenate([np.zeros((len(mass), 1)), mass[:, :-1]], axis=1)
    scores = np.empty_like(before)
    np.put_along_axis(scores, order, before, axis=1)
    return scores


def threshold(scores: np.ndarray, groups: Sequence[str] | np.ndarray, alpha: float) -> float:
    """Fit the threshold that bounds the true class's score in a new group with probability 1 - alpha or more.

    Args:
        scores: Score of the true class of each validation row (N,), N at least 1.
        groups: Group of each row (N,); each has a weight of one, divided among its rows.
        alpha: Error rate.

    Returns:
        The lowest of the scores up to which the M groups have at least (M + 1)(1 - alpha) of their weight;
        infinite where there are too few groups.

    Raises:
        ConfigError: alpha is not between 0 and 1.
    """
    _check(alpha)
    codes, names = pd.factorize(np.asarray(groups))
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum((1.0 / np.bincount(codes))[codes][order])
    needed = (len(names) + 1) * (1.0 - alpha) - ROUNDING
    rank = int(np.searchsorted(reached, needed))
    return float(scores[order][rank]) if rank < len(reached) else math.inf


def prediction_sets(frame: pd.DataFrame, alpha: float = ALPHAS[0], ordered: bool = True) -> np.ndarray:
    """Compute the prediction set of each test row, bool (N, K); the threshold is fitted on validation.

    In a cross-validation each fold has its own threshold.

    Args:
        frame: Predictions as `predictions.read` returns them; the sets follow the order of the test rows.
        alpha: Error rate.
        ordered: Whether the classes are stages.

    Raises:
        DataError: No validation or no test rows.
        ConfigError: alpha is not between 0 and 1.
    """
    mass = mass_before(predictions.probabilities(predictions.select(frame, keys.TEST)), ordered)
    sets = np.zeros(mass.shape, dtype=bool)
    for rows, own in predictions.by_fold(frame):
        validation = predictions.select(own, keys.VALIDATION)
        limit = threshold(_of_truth(validation, ordered), validation[keys.GROUP_ID].to_numpy(), alpha)
        sets[rows] = mass[rows] <= limit
    return sets


def table(
    frame: pd.DataFrame,
    classes: Sequence[str],
    ordered: bool = True,
    alphas: Sequence[float] = ALPHAS,
    level: float = 0.95,
    levels: Sequence[str] = ("sample", "patient"),
) -> pd.DataFrame:
    """Return `conformal.csv`: coverage and size of the sets of the test rows, over all stages and in each.

    The coverage is a proportion of rows, in which a group of many rows has more weight than in the guarantee.

    Args:
        frame: Predictions as `predictions.read` returns them.
        classes: Names of the K classes.
        ordered: Whether they are stages.
        alphas: Error rates.
        level: Nominal coverage of the intervals (Wilson, clustered where groups have several rows).
        levels: `sample`, `patient` (the mean of a patient's probabilities).

    Returns:
        The columns `COLUMNS`; `note` states where an interval is below 1 - alpha, and why a number is
        missing.

    Raises:
        DataError: No test rows.
        ConfigError: An alpha is not between 0 and 1.
    """
    for alpha in alphas:
        _check(alpha)
    rows = []
    for name in levels:
        pooled = frame if name == "sample" else patients.to_patients(frame)
        for alpha in alphas:
            rows += [(name, alpha, *row) for row in _rows(pooled, classes, ordered, alpha, level)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(
    frame: pd.DataFrame, classes: Sequence[str], ordered: bool, alpha: float, level: float
) -> list[tuple[str, int, float, float, float, float, float, str]]:
    """Return a row over all stages and one a stage, with the columns from `stage` on."""
    test = predictions.select(frame, keys.TEST)
    truth, groups = test[keys.Y_TRUE].to_numpy(), test[keys.GROUP_ID].to_numpy()
    parts = {ALL: np.full(len(test), True)} | {c: truth == k for k, c in enumerate(classes)}
    trained = min(own[keys.GROUP_ID].nunique() for _, own in predictions.by_fold(frame))
    if not trained:
        nan = math.nan
        return [(stage, int(of.sum()), nan, nan, nan, nan, nan, NO_VALIDATION) for stage, of in parts.items()]
    sets = prediction_sets(frame, alpha, ordered)
    hits, sizes = sets[np.arange(len(test)), truth], sets.sum(axis=1)
    few = _too_few(trained, alpha)
    rows = []
    for stage, of in parts.items():
        found = proportions.estimate(hits, of, groups, level)
        size, alone = (sizes[of].mean(), (sizes[of] == 1).mean()) if of.any() else (math.nan, math.nan)
        note = "; ".join(filter(None, (few, found.note, _below(found, alpha, stage))))
        rows.append(
            (stage, int(of.sum()), found.value, found.low, found.high, float(size), float(alone), note)
        )
    return rows


def _below(found: Estimate, alpha: float, stage: str) -> str:
    """Return a note if the whole interval of a coverage is below the nominal coverage; otherwise empty."""
    if not found.high < 1 - alpha:
        return ""
    if stage == ALL:
        return f"below the {100 * (1 - alpha):.6g} % aimed at: the test rows differ from those of validation"
    return f"below {100 * (1 - alpha):.6g} %: the sets aim at it over all stages, not in each"


def _too_few(groups: int, alpha: float) -> str:
    """Return a note if validation has too few groups for any set but that of all classes; otherwise empty."""
    needed = math.ceil((1 - alpha) / alpha - ROUNDING)
    if groups >= needed:
        return ""
    nominal = f"{100 * (1 - alpha):.6g} %"
    return f"{groups} validation groups, where {nominal} needs {needed}: each set holds every class"


def _of_truth(frame: pd.DataFrame, ordered: bool) -> np.ndarray:
    """Compute the scores of the true classes (N,)."""
    return mass_before(predictions.probabilities(frame), ordered)[np.arange(len(frame)), frame[keys.Y_TRUE]]


def _to_neighbours(probabilities: np.ndarray) -> np.ndarray:
    """Return the order in which classes join a set that grows from its mode without gaps, int64 (N, K)."""
    n, k = probabilities.shape
    rows = np.arange(n)
    padded = np.pad(probabilities, ((0, 0), (1, 1)), constant_values=-1.0)  # class j is in column j + 1
    low = high = probabilities.argmax(axis=1)
    order = np.empty((n, k), dtype=np.int64)
    order[:, 0] = low
    for step in range(1, k):
        up = padded[rows, high + 2] > padded[rows, low]
        low, high = np.where(up, low, low - 1), np.where(up, high + 1, high)
        order[:, step] = np.where(up, high, low)
    return order


def _check(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ConfigError(f"conformal.alpha={alpha}; give an error rate between 0 and 1, such as 0.1.")
