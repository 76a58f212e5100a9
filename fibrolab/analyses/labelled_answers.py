"""Score answers of `predict` when their labels have come, with the statistics of the run's own test."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.data.sources import table
from fibrolab.errors import DataError, listing
from fibrolab.evaluation import baselines, endpoints, patients, score
from fibrolab.reporting.monitoring_sentences import Performance
from fibrolab.runs.answering import DIGEST, Rules
from fibrolab.runs.trained_run import TrainedRun

SAMPLE, PATIENT = "sample", "patient"


def scored(
    answers: pd.DataFrame, path: Path, run: TrainedRun, rules: Rules, bootstrap: DictConfig
) -> Performance:
    """Score the answers whose labels a table has.

    Args:
        answers: Answers, with `patient_id` and the probabilities.
        path: Table with `label`, and `sample_id` or `patient_id`.
        run: The run that answered.
        rules: Its rules of the level of samples.
        bootstrap: Settings `resamples` and `level`.

    Raises:
        DataError: The table has faults, contradicts itself, or has no label of any answer.
    """
    by, labels = _labels(path, run)
    if by == keys.SAMPLE_ID and answers[by].duplicated().any():
        twice = answers.loc[answers[by].duplicated(), by].unique()
        raise DataError(
            f"{len(twice)} sample ids have answers to several pictures:\n{listing(list(map(str, twice)))}\n"
            "Give one folder of answers, or a table of labels by patient_id."
        )
    known = answers[by].map(labels)
    rows = answers[known.notna()].reset_index(drop=True)
    if rows.empty:
        raise DataError(
            f"{path} has a label for none of the {len(answers)} answers: its column {by} has other ids."
        )
    frame = _predictions(rows, known.dropna().astype(np.int64).to_numpy(), rules)
    points = dict(run.config.task.get("endpoints") or {})
    train = run.learnt_from.loc[run.learnt_from[keys.PARTITION] == keys.TRAIN, keys.Y_TRUE]
    by_level = {SAMPLE: frame} | ({PATIENT: patients.to_patients(frame)} if patients.repeated(frame) else {})
    tables = []
    for level, each in by_level.items():
        truth = each[keys.Y_TRUE].to_numpy(np.int64)
        found = score.score(
            each,
            rules.classes,
            baselines=baselines.majority(train.to_numpy(np.int64), truth, points),
            resamples=int(bootstrap.resamples),
            seed=int(run.config.seed),
            level=float(bootstrap.level),
            ordered=rules.ordered,
            endpoints=endpoints.of_task(rules.classes, points, rules.ordered),
        )
        tables.append(found.reset_index().assign(level=level))
    before = {SAMPLE: run.metrics} | (
        {PATIENT: run.patient_metrics} if PATIENT in by_level and _has_patients(run) else {}
    )
    return Performance(
        pd.concat(tables, ignore_index=True),
        before,
        len(frame),
        int(frame[keys.GROUP_ID].nunique()),
        len(answers) - len(frame),
    )


def _has_patients(run: TrainedRun) -> bool:
    return (run.folder / patients.PATIENTS_FILE).is_file()


def _labels(path: Path, run: TrainedRun) -> tuple[str, dict[str, int]]:
    """Return the column by which labels are found, and the class under the task of each id."""
    task = run.predictors[0].record["task"]
    names = tuple(map(str, task["of"] or run.predictor.classes))
    found = table.labelled(path, names, needs=[(keys.SAMPLE_ID, keys.PATIENT_ID), (keys.LABEL,)])
    by = keys.SAMPLE_ID if keys.SAMPLE_ID in found else keys.PATIENT_ID
    found = found[(found[keys.LABEL] != keys.UNLABELLED) & (found[by] != "")]
    several = found.groupby(by)[keys.LABEL].nunique()
    if len(torn := several[several > 1].index):
        raise DataError(
            f"{path} has several labels for {len(torn)} ids of {by}:\n{listing(list(map(str, torn)))}\n"
            "Give one label each, or name the samples in a column sample_id."
        )
    labels = found[keys.LABEL].to_numpy(np.int64)
    merged = labels if task["merge"] is None else np.asarray(task["merge"], np.int64)[labels]
    return by, dict(zip(found[by], merged.tolist(), strict=True))


def _predictions(rows: pd.DataFrame, labels: np.ndarray, rules: Rules) -> pd.DataFrame:
    """Return answers in the form of `predictions.csv`; the probabilities are those before the temperature."""
    patient: Any = rows[keys.PATIENT_ID]
    chances = rows[rules.probability_columns].astype(np.float64)
    columns = keys.probability_columns(len(rules.classes))
    frame = pd.DataFrame(
        {
            keys.SAMPLE_ID: rows[keys.SAMPLE_ID],
            keys.GROUP_ID: patient.where(patient != "", rows[DIGEST]),
            keys.PATIENT_ID: patient,
            keys.SITE: rows.get(keys.SITE, ""),
            keys.PARTITION: keys.TEST,
            keys.FOLD: 0,
            keys.Y_TRUE: labels,
        }
    )
    return frame.join(chances.set_axis(columns, axis=1))
