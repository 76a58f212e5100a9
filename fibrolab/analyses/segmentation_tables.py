"""The tables of the evaluation of a segmentation, computed from the measures of its images."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from fibrolab import keys
from fibrolab.evaluation.comparison import fold_by_fold, published_results
from fibrolab.evaluation.comparison.arms import Task
from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.patients import PATIENTS_FILE
from fibrolab.evaluation.segmentation import agreement, scores
from fibrolab.evaluation.segmentation.images import AGAINST, MAPS, UNIT, reference
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import as_csv, put_all

NEEDED = (keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.AUDIT_FILE, keys.MASK_MEASURES_FILE)


def write(folder: Path, resamples: int = 1000, level: float = 0.95) -> dict[str, float]:
    """Score `segmentation.csv` and write every table of the evaluation beside it.

    All tables are computed before the first is written.

    Args:
        folder: Folder of the run.
        resamples: Bootstrap resamples of the groups; recorded in the run's `config.yaml`, as is `level`.
        level: Nominal coverage of the intervals.

    Returns:
        The metrics that MLflow tracks: `test/NAME` of every metric over images, `test/patient_NAME` of the
        headline metrics over patients.

    Raises:
        ConfigError: resamples or level out of range, or the run lacks a file.
        DataError: A file of the run is damaged, or no test image was segmented.
    """
    run = TrainedRun(folder)
    run.require(*NEEDED)
    measures = run.mask_measures
    drawn: dict[str, Any] = {"resamples": resamples, "level": level, "seed": int(run.config.seed)}
    images = scores.score(measures, **drawn)
    agrees = reference(measures) == MAPS
    if not agrees and AGAINST in measures and (measures[AGAINST] == MAPS).any():
        images = pd.concat([images, scores.score(measures, **drawn, against=MAPS)])
    tables = {keys.METRICS_FILE: as_csv(images, index=True)}
    patients = _by_patient(measures, drawn)
    if patients is not None:
        tables[PATIENTS_FILE] = as_csv(patients, index=True)
    tables["bland_altman.csv"] = as_csv(agreement.bland_altman(measures))
    counts = pd.read_csv(folder / keys.PIXEL_COUNTS_FILE, dtype={keys.SAMPLE_ID: str})
    tables["pixel_calibration.csv"] = as_csv(agreement.calibration(counts))
    published = published_results.table(run.config.get("published"), run.config.task.name, level)
    tables["published.csv"] = as_csv(published)
    if run.has_several_networks:
        unit = str(measures[UNIT].iloc[0])
        task = Task(tuple(run.classes), ordered=False, endpoints={}, unit=unit)
        sizes = tuple(run.networks[["train", "test"]].mean())
        tables["folds.csv"] = as_csv(fold_by_fold.of_masks(measures, task, sizes, level))
    run.config.bootstrap = {"resamples": resamples, "level": level}
    tables[keys.CONFIG_FILE] = OmegaConf.to_yaml(run.config).encode()
    put_all({folder / name: content for name, content in tables.items()})
    if patients is None:
        (folder / PATIENTS_FILE).unlink(missing_ok=True)
    found = {f"test/{name}": float(value) for name, value in images["value"].items()}
    if patients is not None:
        headline = [catalogue.agreement(name) if agrees else name for name in catalogue.mask_headline()]
        found |= {f"test/patient_{name}": float(patients["value"][name]) for name in headline}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _by_patient(measures: pd.DataFrame, drawn: dict[str, Any]) -> pd.DataFrame | None:
    """Return the metrics over patients; None where no test patient has several images."""
    test = measures[measures[keys.PARTITION] == keys.TEST].drop_duplicates(keys.SAMPLE_ID)
    named = test.loc[test[keys.PATIENT_ID] != "", keys.PATIENT_ID]
    return scores.score(measures, by_patient=True, **drawn) if named.duplicated().any() else None
