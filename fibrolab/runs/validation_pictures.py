"""Statistics of the validation pictures beside a checkpoint, and the run's answers to its validation samples.

They are what new pictures and answers are compared with.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation import predictions
from fibrolab.runs import typicality
from fibrolab.runs.answering import PIXELS, TYPICALITY, UNLIKE, Rules
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import write_table

ENDING = ".validation.csv"  # of the file beside a checkpoint, instead of `.ckpt`


def beside(checkpoint: Path) -> Path:
    """Return the path of the statistics of a checkpoint's validation pictures."""
    return checkpoint.with_name(checkpoint.stem + ENDING)


def write(path: Path, samples: list[str], facts: pd.DataFrame, typical: np.ndarray) -> None:
    """Write the statistics of validation pictures.

    Args:
        path: The file (`beside`).
        samples: Ids of M samples.
        facts: Survey of their images.
        typical: Typicality of each among the others, float64 (M,); NaN if it is not known.

    Raises:
        StorageError: The disk is full.
    """
    table = facts[list(PIXELS.values())].set_axis(list(PIXELS), axis=1).reset_index(drop=True)
    table.insert(0, keys.SAMPLE_ID, samples)
    write_table(table.assign(**{TYPICALITY: typical}), path)


def answers(run: TrainedRun, rules: Rules) -> pd.DataFrame:
    """Return the run's answers to its validation samples, as `sample_answers.of` gives them to new ones.

    Args:
        run: A run that classifies.
        rules: Its rules of the level of samples.

    Returns:
        One row a validation sample: sample and group id, the columns of `Rules.answers`, statistics of the
        picture, typicality; NaN where none is stored.

    Raises:
        DataError: A file of statistics is damaged.
    """
    frame = predictions.select(run.predictions, keys.VALIDATION)
    found = frame[[keys.SAMPLE_ID, keys.GROUP_ID]].join(rules.answers(predictions.probabilities(frame)))
    files = [path for network in run.predictors if (path := beside(network.path)).is_file()]
    columns = [*PIXELS, TYPICALITY]
    stored = [_read(path).set_index(keys.SAMPLE_ID)[columns] for path in files]
    known = pd.concat(stored) if stored else pd.DataFrame(columns=columns, dtype=float)
    known = known[~known.index.duplicated()].reindex(found[keys.SAMPLE_ID]).reset_index(drop=True)
    found = found.join(known.astype(np.float64))
    found[UNLIKE] = (found[TYPICALITY] <= typicality.RATE).astype(float).where(found[TYPICALITY].notna())
    return found


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={keys.SAMPLE_ID: str}, keep_default_na=False, na_values={"": [""]})
        values = table[[*PIXELS, TYPICALITY]].apply(pd.to_numeric)
        return table[[keys.SAMPLE_ID]].join(values)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}): train the run again, or delete the file.") from error
