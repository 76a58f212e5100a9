"""Store the training samples of a network beside its checkpoint, to recognise samples unlike them."""

from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.runs import checkpoint, typicality

MOST = 5000  # samples of a partition, evenly over it


def write(folder: Path, data: LabelledData, cache: Path) -> None:
    """Write the reference of a run's network (`typicality.Reference`).

    A segmenter has none, and a fast dev run no checkpoint.

    Args:
        folder: Folder of the run.
        data: The samples and their split.
        cache: Folder of preprocessed pixels.

    Raises:
        StorageError: The disk is full.
    """
    path = folder / keys.CHECKPOINTS / keys.BEST
    if data.masks is not None or not path.is_file():
        return
    rows = {name: data.split.rows(name) for name in (keys.TRAIN, keys.VALIDATION)}
    each = [found[_spread(len(found))] for found in rows.values()]
    chosen = data.subset(np.concatenate(each))
    frame, features = checkpoint.load(path).predict_with_features(chosen, cache)
    if features is not None:
        features = features[
            pd.Index(frame[keys.SAMPLE_ID]).get_indexer(chosen.manifest.table[keys.SAMPLE_ID])
        ]
    numbers = np.arange(len(chosen.manifest))
    learnt, validation = np.split(numbers, [len(each[0])])
    found = typicality.fit(features, chosen.facts[keys.IMAGE], learnt, validation)
    found.save(typicality.beside(path))


def _spread(total: int) -> np.ndarray:
    return np.linspace(0, total - 1, min(total, MOST)).round().astype(np.int64)
