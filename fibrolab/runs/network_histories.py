"""Learning curves of the networks of a run of several trainings, and their mean."""

from collections.abc import Iterable

import pandas as pd

from fibrolab import keys
from fibrolab.runs.trained_run import TrainedRun

NETWORK = [keys.REPEAT, keys.FOLD]


def joined(children: Iterable[tuple[int, int, TrainedRun]]) -> pd.DataFrame:
    """Return the learning curves of all trainings, one row for each epoch of each network.

    Args:
        children: Numbers of repetition and fold, and the run.
    """
    rows = [
        child.history.assign(**{keys.REPEAT: repeat, keys.FOLD: fold}) for repeat, fold, child in children
    ]
    table = pd.concat(rows, ignore_index=True)
    return table[[*NETWORK, *(name for name in table if name not in NETWORK)]]


def mean(histories: pd.DataFrame) -> pd.DataFrame:
    """Average the learning curves over the networks, one row for each epoch that all of them reached.

    In later epochs only some networks train, and their mean would be that of another set of folds.

    Args:
        histories: As `joined` returns it.
    """
    values = histories.drop(columns=NETWORK)
    number = len(histories[NETWORK].drop_duplicates())
    by_epoch = values.groupby("epoch")
    common = by_epoch.size() == number
    return by_epoch.mean(numeric_only=True)[common].reset_index()
