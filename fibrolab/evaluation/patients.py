"""From several images or clips of a patient to one answer: the mean of their probabilities."""

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions

PATIENTS_FILE = "patients.csv"  # the metrics by patient, with the columns of metrics.csv
ROW = [keys.PARTITION, keys.FOLD, keys.PATIENT_ID, keys.Y_TRUE]  # what one row stands for


def repeated(frame: pd.DataFrame, partition: str = keys.TEST) -> bool:
    """Whether some patient has several rows of one stage in a partition."""
    rows = frame[(frame[keys.PARTITION] == partition) & (frame[keys.PATIENT_ID] != "")]
    return bool(rows.duplicated(ROW).any())


def to_patients(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a patient and stage in place of one a sample.

    Paper 5 pools clips into patients without saying how; we average the probabilities, so that each image or
    clip has the same say. A stage belongs to a visit: a patient who changed stage between visits keeps a row
    for each, but two visits in one stage become one row, since predictions name no visit.

    Args:
        frame: Predictions as `predictions.read` gives them.

    Returns:
        Such predictions again: id, group and site are those of the patient's first sample, and samples
        without a patient stay as they are, at the end.
    """
    probabilities = keys.probability_columns(predictions.probabilities(frame).shape[1])
    known = frame[keys.PATIENT_ID] != ""
    how = dict.fromkeys((keys.SAMPLE_ID, keys.GROUP_ID, keys.SITE), "first")
    how |= dict.fromkeys(probabilities, "mean")
    pooled = frame[known].groupby(ROW, sort=False, as_index=False).agg(how)
    columns = [*predictions.COLUMNS, *probabilities]
    return pd.concat([pooled[columns], frame.loc[~known, columns]], ignore_index=True)
