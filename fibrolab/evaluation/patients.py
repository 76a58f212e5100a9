"""From several images or clips of a patient to one answer: their mean, the worst of them, or their vote."""

from typing import Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.evaluation import predictions
from fibrolab.evaluation.measures import decisions, ranking

PATIENTS_FILE = "patients.csv"  # the metrics by patient, with the columns of metrics.csv
ROW = [keys.PARTITION, keys.FOLD, keys.PATIENT_ID, keys.Y_TRUE]  # what one row stands for
MEAN, MAX, VOTE = "mean", "max", "vote"
POOLINGS: Final = (MEAN, MAX, VOTE)
SAMPLE: Final = "sample"
LEVELS: Final = {SAMPLE: "", "patient": MEAN, "patient max": MAX, "patient vote": VOTE}
DOUBT = 1e-6  # share by which a draw is settled: less than any vote


def repeated(frame: pd.DataFrame, partition: str = keys.TEST) -> bool:
    """Whether some patient has several rows of one stage in a partition."""
    rows = frame[(frame[keys.PARTITION] == partition) & (frame[keys.PATIENT_ID] != "")]
    return bool(rows.duplicated(ROW).any())


def at_level(frame: pd.DataFrame, name: str, ordered: bool = True) -> pd.DataFrame:
    """Predictions at one of `LEVELS`: of samples, as they are, or of patients.

    Raises:
        ConfigError: There is no such level.
    """
    if name not in LEVELS:
        refuse([unknown("level", name, LEVELS)])
    return frame if name == SAMPLE else to_patients(frame, LEVELS[name], ordered)


def to_patients(frame: pd.DataFrame, how: str = MEAN, ordered: bool = True) -> pd.DataFrame:
    """One row a patient and stage in place of one a sample.

    A stage belongs to a visit: a patient who changed stage between visits keeps a row for each, but two
    visits in one stage become one row, since predictions name no visit.

    Paper 5 pools clips into patients without saying how. There are three ways:

    - `mean` of the probabilities: each image or clip has the same say;
    - `max`: the sample with the highest expected stage answers for the patient, as a clinic treats the worst
      finding, and one that is wrong suffices; of classes without an order, the one that is surest. Of equals
      the first;
    - `vote`: the share of samples whose most probable class it is. A draw goes to the class with the highest
      mean probability, by a millionth; otherwise the mean has no say, so that patients of equal votes tie.

    Args:
        frame: Predictions as `predictions.read` gives them.
        how: One of `POOLINGS`.
        ordered: Whether the classes are stages.

    Returns:
        Such predictions again: id, group and site are those of the patient's first sample, and samples
        without a patient stay as they are, at the end.

    Raises:
        ConfigError: There is no such pooling.
    """
    if how not in POOLINGS:
        refuse([unknown("pooling", how, POOLINGS)])
    probabilities = keys.probability_columns(predictions.probabilities(frame).shape[1])
    known = frame[keys.PATIENT_ID] != ""
    samples = frame[known].reset_index(drop=True)
    aggregated = dict.fromkeys((keys.SAMPLE_ID, keys.GROUP_ID, keys.SITE), "first")
    aggregated |= dict.fromkeys(probabilities, "mean")
    pooled = samples.groupby(ROW, sort=False, as_index=False).agg(aggregated)
    if how == MAX:
        pooled[probabilities] = _worst(samples, ordered)[probabilities].to_numpy()
    elif how == VOTE:
        pooled[probabilities] = _settled(_votes(samples), pooled[probabilities].to_numpy())
    columns = [*predictions.COLUMNS, *probabilities]
    return pd.concat([pooled[columns], frame.loc[~known, columns]], ignore_index=True)


def _worst(samples: pd.DataFrame, ordered: bool) -> pd.DataFrame:
    """The row that answers for each patient and stage, in the order in which these come first."""
    values = predictions.probabilities(samples)
    finding = ranking.expected_class(values) if ordered else values.max(axis=1)
    return samples.loc[samples.assign(finding=finding).groupby(ROW, sort=False)["finding"].idxmax()]


def _votes(samples: pd.DataFrame) -> np.ndarray:
    """Share of the samples that answer each class, one row a patient and stage, (rows, K)."""
    values = predictions.probabilities(samples)
    decided = pd.get_dummies(pd.Categorical(decisions.decide(values), range(values.shape[1])), dtype=float)
    return decided.groupby([samples[name] for name in ROW], sort=False).mean().to_numpy()


def _settled(votes: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Votes in which no two classes are first, (rows, K)."""
    first = votes == votes.max(axis=1, keepdims=True)
    winner = np.eye(votes.shape[1])[np.where(first, means, -1).argmax(axis=1)]
    drawn = first.sum(axis=1, keepdims=True) > 1
    return np.where(drawn, (1 - DOUBT) * votes + DOUBT * winner, votes)
