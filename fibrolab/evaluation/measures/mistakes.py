"""Misclassified test samples, sorted by distance from the true class and by confidence."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.measures import decisions

COLUMNS = (keys.SAMPLE_ID, keys.PATIENT_ID, "true", "predicted", "probability", "distance")
LISTED = 50


def table(
    frame: pd.DataFrame, classes: Sequence[str], ordered: bool = True, most: int = LISTED
) -> pd.DataFrame:
    """Make `mistakes.csv`, the misclassified test samples to look at.

    Args:
        frame: Predictions as `predictions.read` gives them.
        classes: Names of the K classes.
        ordered: Whether they are stages; then the distance is in stages, otherwise 1.
        most: Largest number of samples listed.

    Returns:
        The columns `COLUMNS`: names of the true and the predicted class, the probability of the latter, and
        the distance between them.

    Raises:
        DataError: No test rows.
    """
    test = predictions.select(frame, keys.TEST)
    probabilities, true = predictions.probabilities(test), test[keys.Y_TRUE].to_numpy()
    decided, names = decisions.decide(probabilities), np.asarray(classes, dtype=object)
    found = test[[keys.SAMPLE_ID, keys.PATIENT_ID]].assign(
        true=names[true],
        predicted=names[decided],
        probability=probabilities[np.arange(len(test)), decided],
        distance=np.abs(decided - true) if ordered else (decided != true).astype(np.int64),
    )
    wrong = found[decided != true].sort_values(["distance", "probability"], ascending=False, kind="stable")
    return wrong.head(most).reset_index(drop=True)[list(COLUMNS)]
