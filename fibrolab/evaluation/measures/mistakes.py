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
    """Return `mistakes.csv`: the misclassified test samples, the largest errors first.

    Args:
        frame: Predictions as `predictions.read` returns them.
        classes: Names of the K classes.
        ordered: Whether they are stages; then the distance is in stages, otherwise 1.
        most: Largest number of samples listed.

    Returns:
        The columns `COLUMNS`; `probability` is that of the predicted class, `distance` that between the true
        and the predicted class.

    Raises:
        DataError: There are no test rows.
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
