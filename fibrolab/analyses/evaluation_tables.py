"""The tables of an evaluation, computed from a run's predictions and written beside them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from fibrolab import keys
from fibrolab.data.splits import EXTERNAL
from fibrolab.evaluation import baselines, endpoints, patients, score
from fibrolab.evaluation.clinical import cohort, comparators, subgroups
from fibrolab.evaluation.comparison import fold_by_fold, published_results
from fibrolab.evaluation.comparison.arms import Task
from fibrolab.evaluation.measures import catalogue, mistakes, operating_points
from fibrolab.evaluation.probabilities import calibration, conformal
from fibrolab.runs.trained_run import NEEDED, Run, TrainedRun, best_epoch
from fibrolab.storage import as_csv, put_all

# Scores beside those of the test set.
BESIDE = {keys.TRAIN: "training.csv", keys.VALIDATION: "validation.csv"}
POOLED = {"mean": patients.PATIENTS_FILE, "max": "patients_max.csv", "vote": "patients_vote.csv"}


class Scores(NamedTuple):
    """Results of the test set.

    Attributes:
        samples: Metrics of its images or clips, as `fibrolab.evaluation.score.score` returns them.
        patients: Metrics of its patients, each predicted by the mean of their probabilities; None where no
            patient has several samples of one stage.
        points: Its end points at the thresholds of validation, columns `operating_points.COLUMNS`.
    """

    samples: pd.DataFrame
    patients: pd.DataFrame | None
    points: pd.DataFrame


def write(folder: Path, resamples: int = 1000, level: float = 0.95) -> Scores:
    """Score `predictions.csv` and write every table of the evaluation beside it.

    All tables are computed before the first is written, and either all are written or none: after an error,
    or on a full disk, the tables of the previous evaluation are unchanged.

    Args:
        folder: Folder of the run.
        resamples: Bootstrap resamples of the groups; recorded in the run's `config.yaml`, as is `level`.
        level: Nominal coverage of the intervals.

    Returns:
        The metrics of the test samples and patients.

    Raises:
        ConfigError: resamples or level out of range, or the run lacks a file.
        DataError: A file of the run is damaged, or it has no test predictions.
    """
    run = TrainedRun(folder)
    run.require(*NEEDED)
    task, frame, seed = run.config.task, run.predictions, int(run.config.seed)
    classes, ordered = list(task.classes), bool(task.ordered)
    end_points = dict(task.get("endpoints") or {})
    several = patients.repeated(frame)
    train_labels = run.learnt_from.loc[run.learnt_from[keys.PARTITION] == keys.TRAIN, keys.Y_TRUE]
    majority_class = int(np.bincount(train_labels.to_numpy(np.int64)).argmax())

    def scored(rows: pd.DataFrame, reached: dict[str, float], how: str = "") -> pd.DataFrame:
        found = score.score(
            rows,
            classes,
            baselines=reached,
            resamples=resamples,
            seed=seed,
            level=level,
            ordered=ordered,
            endpoints=end_points,
            votes=how == patients.VOTE,
        )
        return baselines.with_chance_test(found, rows, majority_class, classes)

    reached = baselines.best(_majority(run, end_points), baselines.of_audit(run.audit))
    scores = {keys.METRICS_FILE: scored(frame, reached)}
    for how, name in POOLED.items() if several else ():
        reached = _majority(run, end_points, by_patient=True)
        scores[name] = scored(patients.to_patients(frame, how, ordered), reached, how)
    bootstrap = {"resamples": resamples, "seed": seed, "level": level}
    of_task = endpoints.of_task(classes, end_points, ordered)
    further = _further(run, classes, ordered, of_task, bootstrap, several)
    run.config.bootstrap = {"resamples": resamples, "level": level}
    written = {keys.CONFIG_FILE: OmegaConf.to_yaml(run.config).encode()}
    written |= {name: as_csv(table, index=True) for name, table in scores.items()}
    written |= {f"{name}.csv": as_csv(table) for name, table in further.items()}
    for part, rows in ((keys.TRAIN, run.training_predictions), (keys.VALIDATION, _validated(run))):
        if len(rows):
            beside = score.score(rows, classes, part, None, resamples, seed, level, ordered)
            written[BESIDE[part]] = as_csv(beside, index=True)
    put_all({folder / name: content for name, content in written.items()})
    for name in set(POOLED.values()) - set(scores):
        (folder / name).unlink(missing_ok=True)
    return Scores(scores[keys.METRICS_FILE], scores.get(patients.PATIENTS_FILE), further["endpoints"])


def _further(
    run: TrainedRun,
    classes: Sequence[str],
    ordered: bool,
    end_points: Mapping[str, int],
    bootstrap: Mapping[str, Any],
    several: bool,
) -> dict[str, pd.DataFrame]:
    """Compute the tables beside those of the metrics, by file name without its ending."""
    frame, manifest, level = run.predictions, run.samples, bootstrap["level"]
    levels = ("sample", "patient") if several else ("sample",)
    label_from = str(run.config.data.get("label_from") or "")
    found = {
        "endpoints": operating_points.table(frame, classes, end_points, **bootstrap, levels=levels),
        "calibration": calibration.table(frame, classes, end_points, **bootstrap, levels=levels),
        "conformal": conformal.table(frame, classes, ordered, level=level, levels=levels),
        "comparators": comparators.table(
            frame, manifest, classes, end_points if ordered else {}, level, label_from
        ),
        "cohort": cohort.table(manifest, classes),
        "subgroups": subgroups.table(frame, manifest, classes, ordered, **bootstrap),
        "mistakes": mistakes.table(frame, classes, ordered),
        "published": published_results.table(run.config.get("published"), run.config.task.name, level),
    }
    if run.has_several_networks:
        task = Task(tuple(classes), ordered, end_points)
        sizes = tuple(run.networks[["train", "test"]].mean())
        found["folds"] = fold_by_fold.of_networks(run.network_predictions, task, sizes, level)
    return found


def _validated(run: TrainedRun) -> pd.DataFrame:
    """Return the predictions of the validation samples of one network.

    There are none where folds have their own, and on other data, whose run has those of the training run.
    """
    frame, split = run.predictions, run.config.get("split") or {}
    none = run.has_several_networks or split.get("name") == EXTERNAL["name"]
    return frame[(frame[keys.PARTITION] == keys.VALIDATION) & (not none)]


def _majority(run: TrainedRun, end_points: Mapping[str, int], by_patient: bool = False) -> dict[str, float]:
    """Score the most frequent class, by sample or by patient, since the audit measures samples only."""

    def labels(table: pd.DataFrame, name: str) -> np.ndarray:
        rows = table[table[keys.PARTITION] == name]
        if by_patient:
            alone = rows[keys.PATIENT_ID] == ""
            rows = rows[alone | ~rows.duplicated([keys.PATIENT_ID, keys.Y_TRUE])]
        return rows[keys.Y_TRUE].to_numpy(np.int64)

    train, test = labels(run.learnt_from, keys.TRAIN), labels(run.samples, keys.TEST)
    return baselines.majority(train, test, end_points)


def tracked_metrics(scores: Scores) -> dict[str, float]:
    """Return the metrics that MLflow tracks: `test/NAME`, `test/patient_NAME`.

    These are the headline metrics and the AUC of each end point, since MLflow draws a chart of every metric.
    All others, with intervals and baselines, are in the tables of the run.
    """
    names = (*catalogue.headline(), "auc", *(f"auc_{name}" for name in scores.points["endpoint"].unique()))
    return {
        f"{prefix}{name}": float(metrics["value"][name])
        for prefix, metrics in (("test/", scores.samples), ("test/patient_", scores.patients))
        if metrics is not None
        for name in names
        if name in metrics.index and not math.isnan(metrics["value"][name])
    }


def best_epoch_metrics(run: Run) -> dict[str, float]:
    """Return the validation metrics of the epoch whose weights were kept, as `best/NAME`.

    MLflow's list of runs shows the last epoch's value of a curve, which is another one. Empty for a run
    without learning curves.
    """
    monitor, mode = str(run.setting("monitor")), str(run.setting("mode"))
    row = None if run.history is None else best_epoch(run.history, monitor, mode)
    if row is None:
        return {}
    return {
        f"best/{name.removeprefix('val/')}": value
        for name, value in row.items()
        if name.startswith("val/") and not math.isnan(value)
    }
