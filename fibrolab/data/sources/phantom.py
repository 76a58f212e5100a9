"""The synthetic clinic as a data set: drawn once into a cache folder, then read like any other.

Tree of the folder, one for each set of parameters:

    ROOT/phantom-HASH/
        manifest.csv         columns of `fibrolab.keys`; phantom_score, the patient's latent fibrosis score
        images/p0000-0.png   greyscale B-mode, one visit and several views a patient

Licence: none needed, no person was scanned. How images follow from patients: `fibrolab.data.phantom`. The
best accuracy that a separability allows: `fibrolab.data.phantom.truth.best_accuracy`.
"""

from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.data.phantom.clinic import Cohort, generate
from fibrolab.data.phantom.truth import CLASSES


def load(
    *,
    root: str | Path,
    patients: int = 200,
    images_per_patient: int = 4,
    size: int = 128,
    separability: float = 1.0,
    seed: int = 0,
) -> Manifest:
    """The cohort of these parameters, drawn at the first call.

    Args:
        root: Cache folder; the cohort gets a folder of its own in it.
        patients: Number of patients, stages balanced; at least 15.
        images_per_patient: Views of each.
        size: Side of the pictures [px]; at least 32.
        separability: 0 = the stage leaves no trace, 1 = clear.
        seed: Of everything.

    Raises:
        ConfigError: Parameters out of range, all of them at once.
        StorageError: The folder cannot be written, or the disk is full.
    """
    cohort = Cohort(patients, images_per_patient, size, separability, seed)
    folder = generate(Path(root) / f"phantom-{cohort.key()}", cohort)
    table = pd.read_csv(folder / keys.MANIFEST_FILE)
    return Manifest(table, CLASSES, "phantom", folder)
