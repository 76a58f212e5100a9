"""The synthetic clinic as data sets: generated once into a cache folder, then read like any other data set.

Each modality and set of parameters has its own folder, with the files of that modality:

    ROOT/phantom-MODALITY-HASH/
        manifest.csv           a table as from a hospital, with the patients' latent scores phantom_CHANNEL
        truth.json             the parameters, and the best accuracy that they allow
        images/p0000-0.png     greyscale B-mode, one visit and several views per patient; or p0000-0.dcm
        captures/p0000-0.png   screen captures of elastography, read by `sources.swe_pairs`
        clips/p0000-0.mp4      breathing clips, read by `sources.clips`
        masks/p0000-0.png      label maps of those with true masks: 0 outside the sector, 1 other tissue,
                               2 liver, 3 its capsule, 4 lesion, 5 burned-in text
        lesions/p0000-0.png    focal lesions with their rectangles, read by `sources.focal_lesions`

All modalities of one seed and separability show the same patients.

Licence: none needed, no person was scanned. The package `fibrolab.phantom` draws the images;
`fibrolab.phantom.truth.best_accuracy` computes the best accuracy for a separability.
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
    """Load the cohort of these parameters as grey images; the first call generates it.

    Args:
        root: Cache folder; the cohort gets its own folder in it.
        patients: Number of patients, stages balanced; at least 15.
        images_per_patient: Number of views of each.
        size: Side of the images [px]; at least 32.
        separability: Effect of the stage on images and measurements; 0 = none, 1 = clear.
        seed: Seed of all random draws.
        format: Format of the files, `png` or `dicom`.
        duplicates: Proportion of the images that are stored again under another name.
        leak: Proportion of the patients with a copy of another patient's image, of the same stage.
        shortcut: Proportion of the patients whose images reveal the stage by side length and colour mode.
        sliced: Number the patients in the order of their stage.

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

    `missing` is the proportion of the patients without elastograms; they still have images and readings.
    """
    if not 0 <= missing < 1:
        raise ConfigError(f"data.missing={missing} is not a proportion of the patients, from 0 to below 1.")
    cohort = Cohort(patients, images_per_patient, size, separability, seed, modality="capture")
    path = _table(root, cohort)
    manifest = swe_pairs.load(path=path, cache=root)
    manifest = _without_elastograms(manifest, missing, seed)
    return _named("phantom_swe", manifest, path, "image", "elastogram", "capture")


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
    fill_up: int | None = None,
) -> Manifest:
    """Load the cohort with one focal lesion per patient, five balanced classes, any stages. See `load`.

    `fill_up` is that of `fibrolab.data.sources.focal_lesions.load`.
    """
    cohort = Cohort(patients, images_per_patient, size, seed=seed, modality="lesion")
    path = _table(root, cohort)
    return _named("phantom_lesions", focal_lesions.load(path=path, fill_up=fill_up), path)


def load_masks(
    *,
    root: str | Path,
    patients: int = 200,
    images_per_patient: int = 2,
    size: int = 128,
    separability: float = 1.0,
    seed: int = 0,
    marker: float = 0.0,
) -> Manifest:
    """Load the cohort as grey images with the true mask of each. See `load`.

    `marker` is the proportion of the patients for whom the burned-in name of the preset reveals the stage.
    """
    cohort = Cohort(patients, images_per_patient, size, separability, seed, modality="masked", marker=marker)
    path = _table(root, cohort)
    return _named("phantom_masks", table.load(path=path), path, "image")


def _without_elastograms(manifest: Manifest, missing: float, seed: int) -> Manifest:
    """Remove the elastograms of a proportion of the patients."""
    patients = manifest.table[keys.PATIENT_ID]
    names = np.random.default_rng(seed).permutation(patients.unique())
    lost = patients.isin(names[: round(missing * len(names))])
    elastograms = manifest.table[keys.ELASTOGRAM].mask(lost, "")
    return replace(manifest, table=manifest.table.assign(**{keys.ELASTOGRAM: elastograms}))


def _named(name: str, manifest: Manifest, path: Path, *inputs: str) -> Manifest:
    """Name the manifest after its data set, and add the best possible accuracy for each kind of input."""
    best = json.loads((path.parent / TRUTH_FILE).read_text())["best_accuracy"]
    return replace(manifest, name=name, best_accuracy={kind: best[kind] for kind in inputs})


def _table(root: str | Path, cohort: Cohort) -> Path:
    """Return the path of a cohort's table; generate the cohort if it does not exist."""
    folder = Path(root) / f"phantom-{cohort.modality}-{cohort.key()}"
    return generate(folder, cohort) / keys.MANIFEST_FILE
