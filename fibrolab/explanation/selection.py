"""Choice of the samples whose maps are shown, by rule: the surest of each stage, and the undecided ones."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation import predictions
from fibrolab.evaluation.measures import decisions

RIGHT, WRONG, NEAREST = "surest right", "surest wrong", "nearest to the threshold"
UNDECIDED = 2  # samples nearest to the threshold
PREDICTED, PROBABILITY, DISTANCE = "predicted", "probability", "distance"


class Choice(NamedTuple):
    """A chosen sample, the rule that chose it, and its true class (`keys.UNLABELLED` if not known)."""

    sample_id: str
    rule: str
    y_true: int


class Boundary(NamedTuple):
    """The decision threshold of an end point, whose score sums the probabilities from class `lowest` on."""

    lowest: int
    threshold: float


def outcomes(frame: pd.DataFrame, boundary: Boundary | None = None) -> pd.DataFrame:
    """Return how each sample was predicted, and how far it lies from the decision.

    Args:
        frame: Predictions as `fibrolab.evaluation.predictions.read` returns them, (N, ...).
        boundary: The end point that is decided; by default the most probable class is.

    Returns:
        Columns sample_id, y_true, predicted, probability (of the predicted class) and distance: of the end
        point's score from its threshold, or else between the two highest probabilities.
    """
    probabilities = predictions.probabilities(frame)
    decided = decisions.decide(probabilities)
    if boundary is None:
        second, first = np.sort(probabilities, axis=1)[:, -2:].T
        distance = first - second
    else:
        distance = np.abs(probabilities[:, boundary.lowest :].sum(axis=1) - boundary.threshold)
    found = frame[[keys.SAMPLE_ID, keys.Y_TRUE]].reset_index(drop=True)
    return found.assign(**{PREDICTED: decided, PROBABILITY: probabilities.max(axis=1), DISTANCE: distance})


def shared(arms: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return one prediction for every sample that all arms predicted: the mean of their probabilities.

    Chosen from it, the samples are the same for all arms.

    Args:
        arms: Predictions of each arm.

    Raises:
        DataError: No sample was predicted by all arms.
    """
    tables = [frame.set_index(keys.SAMPLE_ID) for frame in arms]
    common = sorted(set.intersection(*(set(table.index) for table in tables)))
    if not common:
        raise DataError(
            "No sample was predicted by all runs: give runs that were tested on the same samples."
        )
    rows = [table.loc[common] for table in tables]
    names = keys.probability_columns(predictions.probabilities(rows[0]).shape[1])
    mean = rows[0].copy()
    mean[names] = np.mean([table[names].to_numpy() for table in rows], axis=0)
    return mean.reset_index()


def choose(table: pd.DataFrame, undecided: int = UNDECIDED) -> list[Choice]:
    """Choose the samples to show; the same table gives the same samples, whatever the order of its rows.

    Args:
        table: Samples as `outcomes` returns them.
        undecided: Number of samples nearest to the threshold.

    Returns:
        Of each true class the right and the wrong prediction with the highest probability, then the samples
        with the smallest distance, of those not chosen yet. Equal ones are ordered by their id. Of samples
        without a true class only the last rule chooses.
    """
    ordered = table.sort_values(keys.SAMPLE_ID, kind="stable")
    surest = ordered.sort_values(PROBABILITY, ascending=False, kind="stable")
    known = surest[surest[keys.Y_TRUE] >= 0]
    is_right = known[keys.Y_TRUE] == known[PREDICTED]
    chosen = [
        _choice(rows.iloc[0], rule)
        for _, of_class in known.groupby(keys.Y_TRUE, sort=True)
        for rule, mask in ((RIGHT, is_right), (WRONG, ~is_right))
        if len(rows := of_class[mask.loc[of_class.index]])
    ]
    taken = {choice.sample_id for choice in chosen}
    rest = ordered[~ordered[keys.SAMPLE_ID].isin(taken)].sort_values(DISTANCE, kind="stable")
    return chosen + [_choice(row, NEAREST) for _, row in rest.head(undecided).iterrows()]


def surest(table: pd.DataFrame, groups: Mapping[str, str], each: int) -> list[Choice]:
    """Choose the surest right and the surest wrong predictions, each group once.

    Copies of one image and images of one patient are in one group, so that none is shown twice.

    Args:
        table: Samples as `outcomes` returns them.
        groups: Group of each sample.
        each: Number of right and of wrong predictions.

    Returns:
        The right ones, then the wrong ones, each with the highest probability first; fewer where there are
        not so many. Equal ones are ordered by their id.
    """
    ordered = table.sort_values([PROBABILITY, keys.SAMPLE_ID], ascending=[False, True])
    known = ordered[ordered[keys.Y_TRUE] >= 0]
    right = known[keys.Y_TRUE] == known[PREDICTED]
    chosen, taken = list[Choice](), set[str]()
    for rule, rows in ((RIGHT, known[right]), (WRONG, known[~right])):
        of_rule = rows.assign(group=rows[keys.SAMPLE_ID].map(groups)).drop_duplicates("group")
        of_rule = of_rule[~of_rule["group"].isin(taken)].head(each)
        taken |= set(of_rule["group"])
        chosen += [_choice(row, rule) for _, row in of_rule.iterrows()]
    return chosen


def _choice(row: pd.Series, rule: str) -> Choice:
    return Choice(str(row[keys.SAMPLE_ID]), rule, int(row[keys.Y_TRUE]))
