"""Pooling of several images or clips into one prediction of a patient: mean, maximum or vote."""

from typing import Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.evaluation import predictions
from fibrolab.evaluation.measures import decisions, ranking

PATIENTS_FILE = "patients.csv"  # the metrics by patient, with the columns of metrics.csv
ROW = [keys.PARTITION, keys.FOLD, keys.PATIENT_ID, keys.Y_TRUE]  # keys of a pooled row
MEAN, MAX, VOTE = "mean", "max", "vote"
POOLINGS: Final = (MEAN, MAX, VOTE)
SAMPLE: Final = "sample"
LEVELS: Final = {SAMPLE: "", "patient": MEAN, "patient max": MAX, "patient vote": VOTE}
TIE_BREAK = 1e-6  # probability that breaks a tie: less than any vote


def repeated(frame: pd.DataFrame, partition: str = keys.TEST) -> bool:
    """Return whether some patient has several rows of one stage in a partition."""
    rows = frame[(frame[keys.PARTITION] == partition) & (frame[keys.PATIENT_ID] != "")]
    return bool(rows.duplicated(ROW).any())


def at_level(frame: pd.DataFrame, name: str, ordered: bool = True) -> pd.DataFrame:
    """Return the predictions at one of `LEVELS`: of samples, unchanged, or of patients.

    Raises:
        ConfigError: The level is unknown.
    """
    if name not in LEVELS:
        refuse([unknown("level", name, LEVELS)])
    return frame if name == SAMPLE else to_patients(frame, LEVELS[name], ordered)


def to_patients(frame: pd.DataFrame, how: str = MEAN, ordered: bool = True) -> pd.DataFrame:
    """Pool predictions to one row a patient and stage.

    A stage belongs to a visit: a patient who changed stage between visits keeps a row for each, but two
    visits in one stage become one row, since predictions name no visit.

    Paper 5 pools clips into patients without stating how. There are three ways:

    - `mean` of the probabilities: all images or clips have equal weight;
    - `max`: the prediction of the sample with the highest expected stage, as a clinic treats the worst
      finding (one false alarm suffices); with unordered classes, the most confident sample. The first one of
      a tie;
    - `vote`: for each class the proportion of samples for which it is most probable. A tie goes to the class
      with the highest mean probability, by a millionth; apart from ties the mean has no influence, so that
      patients with equal votes tie.

    Args:
        frame: Predictions as `predictions.read` returns them.
        how: One of `POOLINGS`.
        ordered: Whether the classes are stages.

    Returns:
        Predictions in the same form: id, group and site are those of the patient's first sample; samples
        without a patient follow unchanged.

    Raises:
        ConfigError: The pooling is unknown.
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
        pooled[probabilities] = _without_ties(_votes(samples), pooled[probabilities].to_numpy())
    columns = [*predictions.COLUMNS, *probabilities]
    return pd.concat([pooled[columns], frame.loc[~known, columns]], ignore_index=True)


def _worst(samples: pd.DataFrame, ordered: bool) -> pd.DataFrame:
    """Return the sample with the worst finding of each patient and stage, in order of first appearance."""
    values = predictions.probabilities(samples)
    finding = ranking.expected_class(values) if ordered else values.max(axis=1)
    return samples.loc[samples.assign(finding=finding).groupby(ROW, sort=False)["finding"].idxmax()]


def _votes(samples: pd.DataFrame) -> np.ndarray:
    """Compute the proportion of samples predicted as each class by patient and stage, (rows, K)."""
    values = predictions.probabilities(samples)
    decided = pd.get_dummies(pd.Categorical(decisions.decide(values), range(values.shape[1])), dtype=float)
    return decided.groupby([samples[name] for name in ROW], sort=False).mean().to_numpy()


def _without_ties(votes: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Break ties of the most votes by the mean probability, (rows, K)."""
    first = votes == votes.max(axis=1, keepdims=True)
    winner = np.eye(votes.shape[1])[np.where(first, means, -1).argmax(axis=1)]
    tied = first.sum(axis=1, keepdims=True) > 1
    return np.where(tied, (1 - TIE_BREAK) * votes + TIE_BREAK * winner, votes)
