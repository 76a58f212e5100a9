"""The files of a run: written as its stages end, read by evaluation and report."""

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from fibrolab import keys, sweeps
from fibrolab.data import splits
from fibrolab.data.labelled_data import LabelledData
from fibrolab.evaluation import baselines, endpoints, patients, score
from fibrolab.evaluation.clinical import cohort, comparators, subgroups
from fibrolab.evaluation.comparison import published_results
from fibrolab.evaluation.measures import catalogue, mistakes, operating_points, thresholds
from fibrolab.evaluation.probabilities import calibration, conformal
from fibrolab.reporting import numbers, page
from fibrolab.reporting.checklists import documents
from fibrolab.reporting.figures import images as contact_sheets
from fibrolab.reporting.figures import run as figures
from fibrolab.reporting.figures.style import save
from fibrolab.runs import trained_run
from fibrolab.runs.overlap import HASHES
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import as_csv, put_all

Y_TRAINED = "y_true"  # class under the task, beside the manifest's label
SHOWN = 10  # worst mistakes whose pictures stand on the page
TRACKED, TRACKED_RULE = ("sensitivity", "specificity"), thresholds.YOUDEN  # of end points, in MLflow
POOLED = {"mean": patients.PATIENTS_FILE, "max": "patients_max.csv", "vote": "patients_vote.csv"}


def save_data(folder: Path, data: LabelledData) -> None:
    """Manifest and split, before training starts; with the hashes by which a later test knows its copies."""
    hashes = data.facts[keys.IMAGE][list(HASHES)].to_numpy()
    table = data.manifest.table.assign(**{Y_TRAINED: data.labels})
    table[list(HASHES)] = hashes
    table.to_csv(folder / keys.MANIFEST_FILE, index=False)
    splits.write(data.split, data.manifest, folder / keys.SPLIT_FILE)


class Scores(NamedTuple):
    """Results of the test set.

    Attributes:
        samples: Metrics of its images or clips, as `fibrolab.evaluation.score.score` gives them.
        patients: Of its patients, each predicted by the mean of their probabilities; None where no patient
            has several samples of one stage.
        points: Its end points at the thresholds of validation, columns `operating_points.COLUMNS`.
    """

    samples: pd.DataFrame
    patients: pd.DataFrame | None
    points: pd.DataFrame


def evaluate(folder: Path, resamples: int = 1000, level: float = 0.95) -> Scores:
    """Score `predictions.csv` and write every table of the evaluation beside it.

    All is computed before anything is written, and all is written or nothing: a fault, or a full disk, leaves
    the tables of the evaluation before.

    Args:
        folder: Of the run.
        resamples: Bootstrap resamples of the groups; the run's config is told, and so with `level`.
        level: Coverage of the intervals.

    Returns:
        The metrics of the test samples and patients.

    Raises:
        ConfigError: resamples or level out of range, or the run lacks a file.
        DataError: A file of the run is damaged, or it has no test predictions.
    """
    run = TrainedRun(folder)
    run.require(*trained_run.NEEDED)
    task, frame, seed = run.config.task, run.predictions, int(run.config.seed)
    classes, ordered = list(task.classes), bool(task.ordered)
    asked = dict(task.get("endpoints") or {})
    several = patients.repeated(frame)
    learnt = run.samples.loc[run.samples[keys.PARTITION] == keys.TRAIN, Y_TRAINED]
    commonest = int(np.bincount(learnt.to_numpy(np.int64)).argmax())

    def scored(rows: pd.DataFrame, reached: dict[str, float], how: str = "") -> pd.DataFrame:
        found = score.score(
            rows,
            classes,
            baselines=reached,
            resamples=resamples,
            seed=seed,
            level=level,
            ordered=ordered,
            endpoints=asked,
            votes=how == patients.VOTE,
        )
        return baselines.with_chance_test(found, rows, commonest)

    scores = {
        keys.METRICS_FILE: scored(frame, baselines.best(_majority(run, asked), baselines.of_audit(run.audit)))
    }
    for how, name in POOLED.items() if several else ():
        reached = _majority(run, asked, by_patient=True)
        scores[name] = scored(patients.to_patients(frame, how, ordered), reached, how)
    drawn = {"resamples": resamples, "seed": seed, "level": level}
    tables_of = _tables(run, classes, ordered, endpoints.of_task(classes, asked, ordered), drawn, several)
    run.config.bootstrap = {"resamples": resamples, "level": level}
    written = {keys.CONFIG_FILE: OmegaConf.to_yaml(run.config).encode()}
    written |= {name: as_csv(table, index=True) for name, table in scores.items()}
    written |= {f"{name}.csv": as_csv(table) for name, table in tables_of.items()}
    put_all({folder / name: content for name, content in written.items()})
    for name in set(POOLED.values()) - set(scores):
        (folder / name).unlink(missing_ok=True)
    return Scores(scores[keys.METRICS_FILE], scores.get(patients.PATIENTS_FILE), tables_of["endpoints"])


def _tables(
    run: TrainedRun,
    classes: Sequence[str],
    ordered: bool,
    asked: Mapping[str, int],
    drawn: Mapping[str, Any],
    several: bool,
) -> dict[str, pd.DataFrame]:
    """Compute the further tables of an evaluation, by file name."""
    frame, manifest, level = run.predictions, run.samples, drawn["level"]
    levels = ("sample", "patient") if several else ("sample",)
    return {
        "endpoints": operating_points.table(frame, classes, asked, **drawn, levels=levels),
        "calibration": calibration.table(frame, classes, asked, **drawn, levels=levels),
        "conformal": conformal.table(frame, classes, ordered, level=level, levels=levels),
        "comparators": comparators.table(frame, manifest, classes, asked if ordered else {}, level),
        "cohort": cohort.table(manifest, classes),
        "subgroups": subgroups.table(frame, manifest, classes, ordered, **drawn),
        "mistakes": mistakes.table(frame, classes, ordered),
        "published": published_results.table(run.config.get("published"), run.config.task.name, level),
    }


def _majority(run: TrainedRun, endpoints: Mapping[str, int], by_patient: bool = False) -> dict[str, float]:
    """Return the scores of the most frequent class, by sample or by patient; the audit has samples only."""
    table = run.samples
    if by_patient:
        alone = table[keys.PATIENT_ID] == ""
        table = table[alone | ~table.duplicated([keys.PATIENT_ID, keys.PARTITION, Y_TRAINED])]
    train, test = (
        table.loc[table[keys.PARTITION] == name, Y_TRAINED].to_numpy(np.int64)
        for name in (keys.TRAIN, keys.TEST)
    )
    return baselines.majority(train, test, endpoints)


def draw(folder: Path, images: Sequence[np.ndarray] | None = None, labels: np.ndarray | None = None) -> None:
    """Draw and write figures, tables, model card, checklist and report of a run, from its files.

    Args:
        folder: Of the run.
        images: Training images as the network gets them, uint8 (H, W) or (H, W, 3), for a contact sheet.
        labels: Class of each.
    """
    figures.draw_all(folder)
    if images and labels is not None:
        classes = list(OmegaConf.load(folder / keys.CONFIG_FILE).task.classes)
        sheet = contact_sheets.samples(images, [classes[label] for label in labels])
        save(sheet, folder / keys.FIGURES / "samples.png")
    for write in (documents.write_model_card, documents.write_checklist, page.write):
        write(folder)


def draw_mistakes(folder: Path, images: Callable[[Sequence[str]], Mapping[str, np.ndarray]]) -> None:
    """Draw the images of the worst mistakes, before `draw`, which puts them on the page.

    Args:
        folder: Of the run, evaluated.
        images: Gives pictures by sample, as `FibrosisDataModule.test_images` does.
    """
    ids = {keys.SAMPLE_ID: str}
    table = pd.read_csv(folder / "mistakes.csv", converters=ids).head(SHOWN).set_index(keys.SAMPLE_ID)
    if pictures := images(list(table.index)):
        rows = table.loc[list(pictures)]
        titles = [
            f"true {true}, said {said}, {100 * share:.0f} %"
            for true, said, share in zip(rows["true"], rows["predicted"], rows["probability"], strict=True)
        ]
        sheet = contact_sheets.mistakes(list(pictures.values()), titles)
        save(sheet, folder / keys.FIGURES / "mistakes.png")


def flat_metrics(scores: Scores) -> dict[str, float]:
    """`test/NAME` and `test/patient_NAME`; with `_low`, `_high` and `_baseline` the headline and every AUC.

    Of each end point also `test/sensitivity_ge_F2_youden` and the specificity with `_low` and `_high`, at the
    threshold that validation chose.
    """
    flat = _flat_points(scores.points)
    areas = ["auc", *(f"auc_{name}" for name in scores.points["endpoint"].unique())]
    for prefix, metrics in (("test/", scores.samples), ("test/patient_", scores.patients)):
        if metrics is None:
            continue
        flat |= {f"{prefix}{name}": value for name, value in metrics["value"].items()}
        for name in (*catalogue.headline(), *areas):
            if name in metrics.index:
                for bound in ("low", "high", "baseline"):
                    flat[f"{prefix}{name}_{bound}"] = metrics[bound][name]
    return {name: float(value) for name, value in flat.items() if not math.isnan(value)}


def _flat_points(points: pd.DataFrame) -> dict[str, float]:
    """Return the end points' sensitivity and specificity by the rule that is tracked."""
    flat: dict[str, float] = {}
    for row in points[points["rule"] == TRACKED_RULE].to_dict("records"):
        if row["metric"] in TRACKED:
            prefix = "test/" if row["level"] == patients.SAMPLE else "test/patient_"
            name = f"{prefix}{row['metric']}_{row['endpoint']}_{TRACKED_RULE}"
            flat |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return flat


def announce(folder: Path, run_id: str, uri: str, arms: Mapping[str, Sequence[str]] | None = None) -> None:
    """Close a run on the terminal: the tables, the report, and how to compare runs.

    Args:
        folder: Of the run.
        run_id: Its id.
        uri: Of the tracking database.
        arms: Ids of the runs of its sweep so far, by arm.
    """
    from rich.console import Console

    run = trained_run.read(folder)
    assert run.metrics is not None, "evaluated before it is announced"
    level = float(run.setting("bootstrap.level", 0.95))
    console = Console(soft_wrap=True)
    console.print(numbers.console_table(run.metrics, run.baselines, level))
    if run.patients is not None:
        console.print(numbers.console_table(run.patients, level=level, name="Test, by patient"))
    # By its path, so that it is found where the environment is not activated.
    mlflow = os.path.relpath(Path(sys.executable).with_name("mlflow"))
    for line in (
        f"audit    {run.audit['verdict']}, {folder / keys.AUDIT_PAGE}",
        f"report   {folder / keys.REPORT_FILE}",
        f"run      {run_id}",
        f"compare  {sweeps.side_by_side(arms or {'': [run_id]})}",
        f"mlflow   {mlflow} ui --backend-store-uri {uri}",
    ):
        console.print(line, highlight=False, markup=False)  # a folder may be called [b]
