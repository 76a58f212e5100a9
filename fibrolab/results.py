"""The files of a run: written as its stages end, read by evaluation and report."""

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from fibrolab import keys
from fibrolab.data import splits
from fibrolab.data.manifest import Manifest
from fibrolab.evaluation import predictions, score
from fibrolab.evaluation.floors import majority
from fibrolab.reporting import figures, page, tables
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


def evaluate(folder: Path, resamples: int = 1000, level: float = 0.95) -> pd.DataFrame:
    """Score the test rows of `predictions.csv` and write `metrics.csv`.

    Args:
        folder: Of the run.
        resamples: Bootstrap resamples of the groups.
        level: Coverage of the intervals.

    Returns:
        A row a metric, see `fibrolab.evaluation.score.score`.
    """
    config = OmegaConf.load(folder / keys.CONFIG_FILE)
    frame = predictions.read(folder / keys.PREDICTIONS_FILE)
    table = score.score(
        frame,
        list(config.task.classes),
        floors=_floors(folder),
        n_resamples=resamples,
        seed=config.seed,
        level=level,
        ordered=config.task.ordered,
    )
    score.write(table, folder / keys.METRICS_FILE)
    return table


def _floors(folder: Path) -> dict[str, float]:
    """Of each metric the highest that the audit reached without looking at the liver."""
    labels = pd.read_csv(folder / keys.MANIFEST_FILE, usecols=[Y_TRAINED])[Y_TRAINED].to_numpy()
    partition = pd.read_csv(folder / keys.SPLIT_FILE, usecols=[keys.PARTITION])[keys.PARTITION].to_numpy()
    floors = majority(labels[partition == keys.TRAIN], labels[partition == keys.TEST])
    found = json.loads((folder / keys.AUDIT_FILE).read_text())
    for measured in tables.floors_of(found).values():
        for metric, value in measured.items() if isinstance(measured, dict) else ():
            if metric in floors and value is not None:
                floors[metric] = max(floors[metric], value)
    return floors


def draw(folder: Path, images: Sequence[np.ndarray] | None = None, labels: np.ndarray | None = None) -> None:
    """Figures and report page of a run, from its files.

    Args:
        folder: Of the run.
        images: Training images as the network gets them, uint8 (H, W) or (H, W, 3), for a contact sheet.
        labels: Class of each.
    """
    figures.draw_all(folder)
    if images is not None and labels is not None:
        classes = list(OmegaConf.load(folder / keys.CONFIG_FILE).task.classes)
        sheet = figures.samples(images, [classes[label] for label in labels])
        figures.save(sheet, folder / keys.FIGURES / "samples.png")
    page.write(folder)


def flat_metrics(metrics: pd.DataFrame) -> dict[str, float]:
    """Metrics as `test/NAME`, with `_low`, `_high` and `_floor` for those of the headline."""
    flat = {f"test/{name}": value for name, value in metrics["value"].items()}
    for name in HEADLINE:
        if name in metrics.index:
            flat |= {f"test/{name}_{bound}": metrics.loc[name, bound] for bound in ("low", "high", "floor")}
    return {name: float(value) for name, value in flat.items() if not math.isnan(value)}


def announce(folder: Path, run_id: str, uri: str) -> None:
    """Close a run on the terminal: the table, the report, and how to compare runs."""
    from rich.console import Console

    metrics = pd.read_csv(folder / keys.METRICS_FILE)
    level = OmegaConf.load(folder / keys.CONFIG_FILE).bootstrap.level
    found = json.loads((folder / keys.AUDIT_FILE).read_text())
    console = Console(soft_wrap=True)
    console.print(tables.console_table(metrics, tables.floors_of(found), level))
    console.print(f"audit    {found['verdict']}, {folder / keys.AUDIT_PAGE}", highlight=False)
    console.print(f"report   {folder / keys.REPORT_FILE}", highlight=False)
    console.print(f"run      {run_id}", highlight=False)
    # By its path, so that it is found where the environment is not activated.
    mlflow = os.path.relpath(Path(sys.executable).with_name("mlflow"))
    console.print(f"compare  {mlflow} ui --backend-store-uri {uri}", highlight=False)
