"""The synthetic clinic as data sets: generated once into a cache folder, then read like any other.

Tree of the folder, one for each modality and set of parameters:

    ROOT/phantom-MODALITY-HASH/
        manifest.csv           what a hospital's table holds, and phantom_CHANNEL, the patients' latent scores
        truth.json             the parameters, and the best accuracy that they allow
        images/p0000-0.png     greyscale B-mode, one visit and several views a patient; or p0000-0.dcm
        captures/p0000-0.png   screens of elastography, read by `sources.swe_pairs`
        clips/p0000-0.mp4      breathing clips, read by `sources.clips`
        lesions/p0000-0.png    focal lesions with their rectangles, read by `sources.focal_lesions`

All modalities of one seed and separability show the same patients.

Licence: none needed, no person was scanned. How pictures follow from patients: `fibrolab.phantom`. The
best accuracy that a separability allows: `fibrolab.phantom.truth.best_accuracy`.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.data.sources import clips, focal_lesions, swe_pairs, table
from fibrolab.errors import ConfigError
from fibrolab.phantom.archive import TRUTH_FILE, generate
from fibrolab.phantom.synthetic_cohort import Cohort


def load(
    *,
    root: str | Path,
    patients: int = 200,
    images_per_patient: int = 4,
    size: int = 128,
    separability: float = 1.0,
    seed: int = 0,
    format: str = "png",
    duplicates: float = 0.0,
    leak: float = 0.0,
    shortcut: float = 0.0,
    sliced: bool = False,
) -> Manifest:
    """Load the cohort of these parameters as grey images, generated at the first call.

    Args:
        root: Cache folder; the cohort gets a folder of its own in it.
        patients: Number of patients, stages balanced; at least 15.
        images_per_patient: Views of each.
        size: Side of the pictures [px]; at least 32.
        separability: 0 = the stage leaves no trace, 1 = clear.
        seed: Of everything.
        format: Of the files, `png` or `dicom`.
        duplicates: Share of the pictures that are stored again under another name.
        leak: Share of the patients who also hold a picture of another patient of their stage.
        shortcut: Proportion of the patients whose images reveal the stage by side length and colour mode.
        sliced: Patients are numbered in order of their stage.

    Raises:
        ConfigError: Parameters out of range, all of them at once.
        StorageError: The folder cannot be written, or the disk is full.
    """
    cohort = Cohort(
        patients,
        images_per_patient,
        size,
        separability,
        seed,
        format=format,
        duplicates=duplicates,
        leak=leak,
        shortcut=shortcut,
        sliced=sliced,
    )
    path = _table(root, cohort)
    return _named("phantom", table.load(path=path), path, "image")


def load_swe(
    *,
    root: str | Path,
    patients: int = 175,
    images_per_patient: int = 3,
    size: int = 480,
    separability: float = 0.5,
    seed: int = 0,
    missing: float = 0.0,
) -> Manifest:
    """Load the cohort as screen captures of elastography; `size` is their width [px]. See `load`.

    `missing` is the proportion of the patients whose elastograms were not kept, while images and readings
    were.
    """
    if not 0 <= missing < 1:
        raise ConfigError(f"data.missing={missing} is not a proportion of the patients, from 0 to below 1.")
    cohort = Cohort(patients, images_per_patient, size, separability, seed, modality="capture")
    path = _table(root, cohort)
    manifest = swe_pairs.load(path=path, cache=root)
    return _named("phantom_swe", _bereft(manifest, missing, seed), path, "image", "elastogram", "capture")


def load_clips(
    *,
    root: str | Path,
    patients: int = 110,
    images_per_patient: int = 1,
    size: int = 112,
    frames: int = 30,
    separability: float = 0.5,
    seed: int = 0,
) -> Manifest:
    """Load the cohort as breathing clips of `frames` frames, 15 a second; `images_per_patient` counts clips.

    See `load`; `size` is an even number.
    """
    cohort = Cohort(patients, images_per_patient, size, separability, seed, modality="clip", frames=frames)
    path = _table(root, cohort)
    return _named("phantom_clips", clips.load(path=path), path, "image", "clip")


def load_lesions(
    *,
    root: str | Path,
    patients: int = 300,
    images_per_patient: int = 1,
    size: int = 256,
    seed: int = 0,
) -> Manifest:
    """Load the cohort with one focal lesion a patient, five balanced classes, any stages. See `load`."""
    cohort = Cohort(patients, images_per_patient, size, seed=seed, modality="lesion")
    path = _table(root, cohort)
    return _named("phantom_lesions", focal_lesions.load(path=path), path)


def _bereft(manifest: Manifest, missing: float, seed: int) -> Manifest:
    """Remove the elastograms of a proportion of the patients."""
    patients = manifest.table[keys.PATIENT_ID]
    names = np.random.default_rng(seed).permutation(patients.unique())
    lost = patients.isin(names[: round(missing * len(names))])
    elastograms = manifest.table[keys.ELASTOGRAM].mask(lost, "")
    return replace(manifest, table=manifest.table.assign(**{keys.ELASTOGRAM: elastograms}))


def _named(name: str, manifest: Manifest, path: Path, *seen: str) -> Manifest:
    """Name the manifest after its data set, and add the best possible accuracy for each kind of input."""
    best = json.loads((path.parent / TRUTH_FILE).read_text())["best_accuracy"]
    return replace(manifest, name=name, best_accuracy={channel: best[channel] for channel in seen})


def _table(root: str | Path, cohort: Cohort) -> Path:
    """Return the path of a cohort's table; generate the cohort if it does not exist."""
    folder = Path(root) / f"phantom-{cohort.modality}-{cohort.key()}"
    return generate(folder, cohort) / keys.MANIFEST_FILE
