"""`metrics.csv`: every metric of one partition with its interval and its baseline."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import endpoints as end_points
from fibrolab.evaluation import predictions
from fibrolab.evaluation.intervals import by_metric
from fibrolab.evaluation.measures import catalogue


def score(
    frame: pd.DataFrame,
    classes: Sequence[str],
    partition: str = keys.TEST,
    baselines: Mapping[str, float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    ordered: bool = True,
    endpoints: Mapping[str, int] | None = None,
    votes: bool = False,
) -> pd.DataFrame:
    """Score one partition of a run's predictions.

    Args:
        frame: Predictions as `predictions.read` returns them.
        classes: Names of the K classes, in the order of the probability columns.
        partition: `test` or `validation`.
        baselines: Baseline by metric name (see `baselines.majority`); those of other metrics are ignored.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.
        level: Nominal coverage.
        ordered: Whether the classes are stages.
        endpoints: Name and lowest positive class of each end point to be scored too.
        votes: Whether the probabilities are proportions of votes (`patients.VOTE`). Their log loss, Brier
            score and calibration error are left out: a class without a vote has a probability of 0 or of the
            millionth by which ties are broken.

    Returns:
        Index `metric`; the columns of `intervals.table`, and `baseline` (NaN where there is none).

    Raises:
        DataError: No rows of that partition, or another number of classes.
        ConfigError: resamples or level out of range, or end points that the classes do not allow.
    """
    end_points.check(endpoints or {}, classes, ordered)
    predictions.refuse_other_classes(frame, classes)
    chosen = predictions.select(frame, partition)
    probabilities = predictions.probabilities(chosen)
    table = by_metric.table(
        chosen[keys.Y_TRUE].to_numpy(),
        probabilities,
        chosen[keys.GROUP_ID].to_numpy(),
        classes,
        resamples=resamples,
        seed=seed,
        level=level,
        ordered=ordered,
        end_points=endpoints,
    )
    if votes:
        losses = catalogue.of_probabilities()
        table.loc[losses, table.columns.drop(["n_valid", "method", "note"])] = float("nan")
        table.loc[losses, ["method", "note"]] = "", "proportions of votes are not probabilities"
    return table.assign(baseline=pd.Series(baselines or {}, dtype=float).reindex(table.index))
