"""Store the training samples of a network beside its checkpoint: their features and small pictures.

The features recognise samples unlike them (`typicality`); the pictures show the cases that are nearest to a
new sample (`nearest_cases`); statistics of the validation pictures tell drift (`validation_pictures`).
"""

from pathlib import Path

import numpy as np

from fibrolab import keys
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.runs import checkpoint, nearest_cases, typicality, validation_pictures

MOST = 500  # pictures of a partition, evenly over it: each costs the network one more prediction


def write(folder: Path, data: LabelledData, datamodule: FibrosisDataModule, cache: Path) -> None:
    """Write the reference of a run's network (`typicality.Reference`), and its cases if it has features.

    A segmenter has none, and a fast dev run no checkpoint.

    Args:
        folder: Folder of the run.
        data: The samples and their split.
        datamodule: The datamodule of the training, which may know features of frozen branches.
        cache: Folder of preprocessed pixels.

    Raises:
        StorageError: The disk is full.
    """
    path = folder / keys.CHECKPOINTS / keys.BEST
    if data.masks is not None or not path.is_file():
        return
    each = [_distinct(data, data.split.rows(name)) for name in (keys.TRAIN, keys.VALIDATION)]
    rows = np.concatenate(each)
    chosen = data.subset(rows)
    network = checkpoint.load(path)
    _, features = network.probabilities(chosen, cache, datamodule.features_of(rows))
    numbers = np.arange(len(chosen.manifest))
    learnt, validation = np.split(numbers, [len(each[0])])
    found = typicality.fit(features, chosen.facts[keys.IMAGE], learnt, validation)
    found.save(typicality.beside(path))
    if len(validation):
        own = None if features is None else features[validation]
        _validation(path, found, chosen.subset(validation), own)
    if features is not None:
        _cases(network, chosen.subset(learnt), cache).save(nearest_cases.beside(path))


def _validation(
    path: Path, reference: typicality.Reference, data: LabelledData, features: np.ndarray | None
) -> None:
    """Write the statistics of the validation pictures, with which new ones are compared."""
    facts = data.facts[keys.IMAGE]
    typical = np.full(len(facts), np.nan)
    if reference.can_tell:
        typical = reference.of_validation(features, facts)
    names = data.manifest.table[keys.SAMPLE_ID].tolist()
    validation_pictures.write(validation_pictures.beside(path), names, facts, typical)


def _cases(network: checkpoint.Predictor, learnt: LabelledData, cache: Path) -> nearest_cases.Cases:
    """Return the training samples with their pictures as the network takes them."""
    manifest = learnt.manifest
    names = manifest.table[keys.SAMPLE_ID].tolist()
    datamodule = network.datamodule(network.masked(learnt, cache), cache)
    datamodule.prepare_data()
    return nearest_cases.collected(
        names,
        manifest.groups.tolist(),
        [manifest.classes[label] for label in manifest.labels],
        datamodule.test_images(names),
        manifest.name,
        bool(manifest.ids_key),
    )


def _distinct(data: LabelledData, rows: np.ndarray) -> np.ndarray:
    """Return rows of different pictures, `MOST` of them; copies would be each other's nearest samples."""
    pixels = data.facts[keys.IMAGE]["pixels"].iloc[rows]
    found = rows[~(pixels.duplicated() & (pixels != "")).to_numpy()]
    return found[np.linspace(0, len(found) - 1, min(len(found), MOST)).round().astype(np.int64)]
