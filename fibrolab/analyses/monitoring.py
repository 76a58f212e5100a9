"""Monitor a run in use: compare the answers of `predict` with its validation, week by week."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, ListConfig

from fibrolab import keys
from fibrolab.analyses import answer_files, labelled_answers
from fibrolab.choices import refuse
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import drift
from fibrolab.reporting import monitoring_page as pages
from fibrolab.reporting.monitoring_sentences import WHOLE, Finding, Monitoring, findings
from fibrolab.runs import answering, typicality, validation_pictures
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.storage import make_folder, save_json, write_table

TABLE_FILE, RECORD_FILE, PERFORMANCE_FILE = "drift.csv", "monitoring.json", "performance.csv"
WEEK = "week"
SET_SIZE = "set_size"  # number of classes in the prediction set


def monitor(config: DictConfig) -> str:
    """Compare new pictures and answers with the validation of their run, and write page and tables.

    Args:
        config: `conf/monitor.yaml`, composed.

    Returns:
        The folder of the page.

    Raises:
        ConfigError: The run is unknown, segments or has no validation; folders without answers, or with those
            of another run.
        DataError: A file is damaged, no answer is left, or the labels have faults.
        StorageError: The disk is full, or the folder cannot be written.
    """
    run = open_run(str(config.run), config.tracking.uri, artifacts=config.tracking.artifacts)
    run.refuse_without_classifier()
    folders = [Path(each).expanduser().absolute() for each in _listed(config.predictions)]
    rules = answering.rules(run, _alpha(run, folders))[answering.SAMPLE]
    answers, notes = _answers(folders)
    before = validation_pictures.answers(run, rules)
    dated = answering.STUDY_DATE if (answers[answering.STUDY_DATE] != "").all() else answering.ANSWERED
    answers[WEEK] = weeks(answers[dated])
    table = _compared(before, answers, run, rules, config)
    performance = None
    if config.labels is not None:
        performance = labelled_answers.scored(answers, Path(config.labels), run, rules, config.bootstrap)
    folder = make_folder(Path(config.folder).absolute())
    write_table(table, folder / TABLE_FILE)
    if performance is not None:
        write_table(performance.table, folder / PERFORMANCE_FILE)
    content = Monitoring(
        name=str(run.config.name),
        run=run.run_id or str(run.folder),
        table=table,
        classes=rules.classes,
        endpoints=rules.endpoints,
        samples=len(answers),
        groups=int(_groups(answers).nunique()),
        without_patient=int((answers[keys.PATIENT_ID] == "").sum()),
        dated=dated,
        notes=[*notes, *_notes(answers, before, run)],
        level=float(config.bootstrap.level),
        validation=len(before),
        validation_groups=int(before[keys.GROUP_ID].nunique()),
        performance=performance,
    )
    page = pages.write(folder, content)
    found = findings(content)
    save_json(_record(content, folders, found), folder / RECORD_FILE)
    for each in found:
        print(f"{'ALARM' if each.alarm else 'finding':<8} {each.text}")
    print(f"table    {folder / TABLE_FILE}\npage     {page}")
    return str(folder)


def weeks(dates: pd.Series) -> pd.Series:
    """Return the ISO week of dates, such as `2026-W05`."""
    calendar = pd.to_datetime(dates.str[:10]).dt.isocalendar()
    return calendar["year"].astype(str) + "-W" + calendar["week"].astype(str).str.zfill(2)


def _listed(given: Any) -> list[str]:
    return list(map(str, given)) if isinstance(given, list | ListConfig) else [str(given)]


def _alpha(run: TrainedRun, folders: Sequence[Path]) -> float:
    """Return the error rate of the prediction sets, which all answers must share; refuse those of others."""
    records = {folder: answer_files.record(folder) for folder in folders}
    name = run.run_id or str(run.folder)
    refuse([
        f"{folder} has answers of run {record.get('run')}, not of {name}."
        for folder, record in records.items() if record.get("run") != name
    ])  # fmt: skip
    found = {record["rules"][answering.SAMPLE]["alpha"] for record in records.values()}
    if len(found) > 1:
        raise ConfigError(
            f"The answers have prediction sets of different coverage ({', '.join(map(str, sorted(found)))} "
            "missed): monitor them apart."
        )
    return float(found.pop())


def _answers(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """Return the answers of all folders, each picture once, and sentences on those that are left out."""
    rows = [
        row for folder in folders for row in answer_files.latest(folder / answer_files.LINES_FILE).values()
    ]
    table = pd.DataFrame(rows)
    if lacking := [
        name for name in (answering.ANSWERED, answering.STUDY_DATE, *answering.PIXELS) if name not in table
    ]:
        raise DataError(
            f"The answers have no {', '.join(lacking)}, as those of an earlier version: predict again."
        )
    failed = table[answering.ERROR] != ""
    repeated = ~failed & table.duplicated(answering.DIGEST)
    copies = ~failed & ~repeated & (table[answering.COPY] != "")
    notes = []
    if failed.any():
        notes.append(f"{failed.sum()} of {len(table)} samples had no answer.")
    if repeated.any():
        notes.append(f"{repeated.sum()} answers to the same picture are counted once.")
    if copies.any():
        notes.append(
            f"{copies.sum()} samples are copies of pictures that the run was trained or validated on, and "
            "are left out."
        )
    left = table[~failed & ~repeated & ~copies].reset_index(drop=True)
    if left.empty:
        raise DataError(f"No answer is left to compare: {' '.join(notes) or 'the folders are empty.'}")
    return left, notes


def _notes(answers: pd.DataFrame, before: pd.DataFrame, run: TrainedRun) -> list[str]:
    """Return what limits the comparison."""
    notes = []
    if run.has_several_networks:
        notes.append(
            "The run has several networks, which answer by their mean, and each validation sample was "
            "predicted by one of them: answers, confidence and typicality are not comparable, and only size "
            "and grey levels are compared. Monitor the run of one network for the others."
        )
    if before["width"].isna().all():
        notes.append(
            "The run stored no statistics of its validation pictures, so that size and grey levels are not "
            "compared: train it again."
        )
    if answers[answering.TYPICALITY].isna().all():
        notes.append("Typicality is not compared: the run has too few validation samples.")
    return notes


def _groups(answers: pd.DataFrame) -> pd.Series:
    """Return the patient of each answer; a picture without one is its own group."""
    alone = "picture " + answers[answering.DIGEST]
    return ("patient " + answers[keys.PATIENT_ID]).where(answers[keys.PATIENT_ID] != "", alone)


def _samples(frame: pd.DataFrame, groups: pd.Series, several: bool, rules: answering.Rules) -> drift.Samples:
    """Return the quantities that are compared, see `monitoring_page.QUANTITIES`."""
    values = frame[list(answering.PIXELS)].astype(np.float64)
    if not several:
        sizes = frame[answering.SET].map(lambda names: float(len(rules.members(names))))
        numbers = frame[[answering.TYPICALITY, answering.CONFIDENCE]].astype(np.float64)
        values = values.join(numbers)
        values[answering.UNLIKE] = (numbers[answering.TYPICALITY] <= typicality.RATE).where(
            numbers[answering.TYPICALITY].notna()
        )
        values[answering.UNLIKE] = values[answering.UNLIKE].astype(np.float64)
        values[SET_SIZE] = sizes.where(sizes > 0)
        values[answering.PREDICTED] = frame[answering.PREDICTED]
    return drift.Samples(values, groups.to_numpy())


def _compared(
    before: pd.DataFrame, answers: pd.DataFrame, run: TrainedRun, rules: answering.Rules, config: DictConfig
) -> pd.DataFrame:
    """Compare all answers, then those of each week, with validation."""
    several = run.has_several_networks
    reference = _samples(before, before[keys.GROUP_ID], several, rules)
    parts = {WHOLE: answers} | {str(week): part for week, part in answers.groupby(WEEK)}
    if len(parts) == 2:
        parts.pop(WHOLE)  # the only week
    tables = []
    for week, part in parts.items():
        new = _samples(part.reset_index(drop=True), _groups(part), several, rules)
        found = drift.compare(
            reference,
            new,
            {} if several else {answering.PREDICTED: rules.classes},
            int(config.bootstrap.resamples),
            float(config.bootstrap.level),
            int(run.config.seed),
        )
        tables.append(found.reset_index().assign(**{WEEK: week}))
    table = pd.concat(tables, ignore_index=True)
    return table[[WEEK, *(name for name in table if name != WEEK)]]


def _record(content: Monitoring, folders: Sequence[Path], found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "use": answering.USE,
        "run": content.run,
        "predictions": list(map(str, folders)),
        "samples": content.samples,
        "groups": content.groups,
        "dated": content.dated,
        "alarm_level": drift.ALARM,
        "findings": [{"alarm": each.alarm, "text": each.text} for each in found],
    }
