"""The files of a run: written as its stages end, read by evaluation and report."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from fibrolab import keys
from fibrolab.data import splits
from fibrolab.data.manifest import Manifest
from fibrolab.evaluation import patients, predictions, score
from fibrolab.evaluation.floors import majority
from fibrolab.reporting import figures, page, tables
from fibrolab.reporting import run as runs
from fibrolab.reporting.run import put

HEADLINE = ("accuracy", "macro_auc", "qwk")
Y_TRAINED = "y_true"  # class under the task, beside the manifest's label


def save_data(folder: Path, manifest: Manifest, split: splits.Split, labels: np.ndarray) -> None:
    """Manifest and split, before training starts."""
    manifest.table.assign(**{Y_TRAINED: labels}).to_csv(folder / keys.MANIFEST_FILE, index=False)
    splits.write(split, manifest, folder / keys.SPLIT_FILE)


def save_json(content: dict[str, Any], path: Path) -> None:
    """Whole or not at all."""
    put(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


class Scores(NamedTuple):
    """The metrics of the test set, as `fibrolab.evaluation.score.score` gives them.

    Attributes:
        samples: Of its images or clips.
        patients: Of its patients, each answered by the mean of their probabilities; None where no patient
            has several samples of one stage.
    """

    samples: pd.DataFrame
    patients: pd.DataFrame | None


def evaluate(folder: Path, resamples: int = 1000, level: float = 0.95) -> Scores:
    """Score the test rows of `predictions.csv` and write `metrics.csv` and, of patients, `patients.csv`.

    Args:
        folder: Of the run.
        resamples: Bootstrap resamples of the groups.
        level: Coverage of the intervals.

    Returns:
        What was written.
    """
    config = OmegaConf.load(folder / keys.CONFIG_FILE)
    endpoints = dict(config.task.get("endpoints") or {})  # runs of old have none

    def scored(frame: pd.DataFrame, floors: dict[str, float], name: str) -> pd.DataFrame:
        table = score.score(
            frame,
            list(config.task.classes),
            floors=floors,
            n_resamples=resamples,
            seed=config.seed,
            level=level,
            ordered=config.task.ordered,
            endpoints=endpoints,
        )
        score.write(table, folder / name)
        return table

    frame = predictions.read(folder / keys.PREDICTIONS_FILE)
    samples = scored(frame, _floors(folder, endpoints), keys.METRICS_FILE)
    if not patients.repeated(frame):
        (folder / patients.PATIENTS_FILE).unlink(missing_ok=True)
        return Scores(samples, None)
    floors = _majority(folder, endpoints, by_patient=True)
    return Scores(samples, scored(patients.to_patients(frame), floors, patients.PATIENTS_FILE))


def _floors(folder: Path, endpoints: Mapping[str, int]) -> dict[str, float]:
    """Of each metric the highest that the audit reached without looking at the liver."""
    floors = _majority(folder, endpoints)
    found = json.loads((folder / keys.AUDIT_FILE).read_text())
    for measured in tables.floors_of(found).values():
        for metric, value in measured.items() if isinstance(measured, dict) else ():
            if metric in floors and value is not None:
                floors[metric] = max(floors[metric], value)
    return floors


def _majority(folder: Path, endpoints: Mapping[str, int], by_patient: bool = False) -> dict[str, float]:
    """What the commonest class reaches, of samples or of patients; the audit knows samples alone."""
    names = [keys.SAMPLE_ID, keys.PATIENT_ID, Y_TRAINED]
    table = pd.read_csv(folder / keys.MANIFEST_FILE, usecols=names, dtype=str, keep_default_na=False)
    split = pd.read_csv(folder / keys.SPLIT_FILE, usecols=[keys.PARTITION])
    table = table.assign(**{keys.PARTITION: split[keys.PARTITION]})
    if by_patient:
        alone = table[keys.PATIENT_ID] == ""
        table = table[alone | ~table.duplicated([keys.PATIENT_ID, keys.PARTITION, Y_TRAINED])]
    train, test = (
        table.loc[table[keys.PARTITION] == name, Y_TRAINED].to_numpy(np.int64)
        for name in (keys.TRAIN, keys.TEST)
    )
    return majority(train, test, endpoints)


def draw(folder: Path, images: Sequence[np.ndarray] | None = None, labels: np.ndarray | None = None) -> None:
    """Figures and report page of a run, from its files.

    Args:
        folder: Of the run.
        images: Training images as the network gets them, uint8 (H, W) or (H, W, 3), for a contact sheet.
        labels: Class of each.
    """
    figures.draw_all(folder)
    if images and labels is not None:
        classes = list(OmegaConf.load(folder / keys.CONFIG_FILE).task.classes)
        sheet = figures.samples(images, [classes[label] for label in labels])
        figures.save(sheet, folder / keys.FIGURES / "samples.png")
    page.write(folder)


def flat_metrics(scores: Scores) -> dict[str, float]:
    """`test/NAME` and `test/patient_NAME`, with `_low`, `_high` and `_floor` for those of the headline."""
    flat: dict[str, float] = {}
    for prefix, metrics in (("test/", scores.samples), ("test/patient_", scores.patients)):
        if metrics is None:
            continue
        flat |= {f"{prefix}{name}": value for name, value in metrics["value"].items()}
        for name in HEADLINE:
            if name in metrics.index:
                for bound in ("low", "high", "floor"):
                    flat[f"{prefix}{name}_{bound}"] = metrics[bound][name]
    return {name: float(value) for name, value in flat.items() if not math.isnan(value)}


def announce(folder: Path, run_id: str, uri: str) -> None:
    """Close a run on the terminal: the tables, the report, and how to compare runs."""
    from rich.console import Console

    run = runs.read(folder)
    assert run.metrics is not None, "evaluated before it is announced"
    level = float(run.setting("bootstrap.level", 0.95))
    console = Console(soft_wrap=True)
    console.print(tables.console_table(run.metrics, run.floors, level))
    if run.patients is not None:
        console.print(tables.console_table(run.patients, level=level, name="Test, by patient"))
    console.print(f"audit    {run.audit['verdict']}, {folder / keys.AUDIT_PAGE}", highlight=False)
    console.print(f"report   {folder / keys.REPORT_FILE}", highlight=False)
    console.print(f"run      {run_id}", highlight=False)
    # By its path, so that it is found where the environment is not activated.
    mlflow = os.path.relpath(Path(sys.executable).with_name("mlflow"))
    console.print(f"compare  {mlflow} ui --backend-store-uri {uri}", highlight=False)
