"""Predict new samples with a trained run: a part at a time, appended to one file, so that nothing is lost."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.analyses import dicom_answers
from fibrolab.analyses.answer_files import (
    LINES_FILE,
    PATIENTS_FILE,
    RECORD_FILE,
    TABLE_FILES,
    latest,
    lines,
)
from fibrolab.data.build_lock import only_builder
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media
from fibrolab.data.progress import track
from fibrolab.data.readers import read_image
from fibrolab.errors import ConfigError, DataError, StorageError, UnreadableImageError
from fibrolab.explanation import secondary_capture
from fibrolab.reporting import answers_page, html
from fibrolab.runs import answering, nearest_cases, new_input, sample_answers, typicality
from fibrolab.runs.answering import COPY, DIGEST, ERROR, TYPICALITY, UNLIKE, Rules
from fibrolab.runs.sample_answers import RESEARCH, Drawn, of_rows
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.storage import make_folder, put, save_json, unwritable, write_table

PART = 256  # samples between two writes: the most work that is lost when the process is killed
STANDARD_INPUT = "-"

Answer = Callable[[Manifest], pd.DataFrame]


def predict(config: DictConfig) -> str:
    """Predict the samples of `input`, and write the answers to samples and patients.

    A sample that cannot be read has a sentence in the column `error`, and the others go on. If the folder
    has answers of the same run to the same input, only samples without one are predicted.

    Args:
        config: `conf/predict.yaml`, composed.

    Returns:
        The folder of the answers.

    Raises:
        ConfigError: The run is unknown, segments, or has no network; the folder has other answers.
        DataError: The input does not exist or lacks an input of the network; or, when all answers are
            written, some samples have none.
        StorageError: The disk is full, or the folder cannot be written.
    """
    run = open_run(str(config.run), config.tracking.uri, artifacts=config.tracking.artifacts)
    run.refuse_without_classifier()
    network, given = run.predictors[0], _given(config.input)
    manifest = new_input.listed(given, network.record, network.module.inputs, labels=False)
    _refuse(config, run, manifest)
    rules = answering.rules(run, round(1 - config.coverage, 12))
    folder = make_folder(Path(config.folder).absolute())
    with only_builder(folder / "predict.lock", f"answers in {folder}"):
        _start(folder, _record(run, given, rules, config.nearest_cases))
        drawn = Drawn(answers_page.drawn, answers_page.MOST_PICTURES)
        answer = partial(
            sample_answers.of,
            run=run,
            rules=rules[answering.SAMPLE],
            nearest=config.nearest_cases,
            drawn=drawn,
        )
        _complete(folder / LINES_FILE, manifest, answer)
        table, of_patients = _tables(folder, manifest, rules)
        pictures = partial(_picture, drawn.by_sample, _media(manifest, table))
        cases = _neighbours(run, table) if config.nearest_cases else None
        maps = _maps(run, manifest, table) if config.maps else None
        page = answers_page.write(
            folder, str(run.config.name), table, of_patients, rules, pictures, cases, maps
        )
        if config.dicom:
            dicom_answers.write(folder, manifest, table, rules[answering.SAMPLE], run)
    _announce(folder, table, page)
    if failed := int((table[ERROR] != "").sum()):
        raise DataError(
            f"{failed} of {len(table)} samples have no answer: see the column `{ERROR}` of "
            f"{folder / TABLE_FILES[0]}."
        )
    return str(folder)


def _refuse(config: DictConfig, run: TrainedRun, manifest: Manifest) -> None:
    """Refuse samples and settings that the run cannot answer, before the first answer."""
    run.predictors[0].require_columns(manifest)
    if config.dicom:
        secondary_capture.require()
    if config.nearest_cases:
        sample_answers.require_cases(run)
    if config.maps:
        from fibrolab.analyses import sample_maps  # late, since few want what it imports

        sample_maps.method_of(run.predictors[0])


def _given(setting: Any) -> list[str]:
    """Return the paths of `input`: one, several, or those in the lines of the standard input."""
    if setting == STANDARD_INPUT:
        try:
            lines = sys.stdin.read().split("\n")
        except UnicodeDecodeError as fault:
            raise DataError("A path of the standard input is not UTF-8: rename the file.") from fault
        return [line.rstrip("\r") for line in lines if line.strip()]
    return [str(setting)] if isinstance(setting, str | int | float) else list(map(str, setting))


def _record(
    run: TrainedRun, given: Sequence[str], rules: Mapping[str, Rules], nearest: bool
) -> dict[str, Any]:
    """Return what the answers of a folder have in common."""
    return {
        "use": answering.USE,
        "run": run.run_id or str(run.folder),
        "input": [str(Path(each).expanduser().absolute()) for each in given],
        "rules": {level: asdict(each) for level, each in rules.items()},
        "nearest_cases": nearest,
    }


def _start(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a prediction, or refuse a folder with answers of another one."""
    path = folder / RECORD_FILE
    if path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        if known != json.loads(json.dumps(record)):
            raise ConfigError(
                f"{folder} has answers of another run, to another input or with another coverage or "
                "nearest_cases: give another folder."
            )
    elif (folder / LINES_FILE).is_file():
        raise ConfigError(
            f"{folder} has answers without their record {RECORD_FILE}, which says by which run: give another "
            "folder."
        )
    save_json(record, path)


def _complete(path: Path, manifest: Manifest, answer: Answer) -> None:
    """Append the answer to every sample that has none, part by part."""
    known = _known(path, manifest)
    rows = np.flatnonzero(~known)
    if known.any():
        print(f"known    {known.sum()} of {len(manifest)} samples have answers already")
    try:
        with path.open("ab") as file:
            for _ in track(_appended(file, manifest, rows, answer), len(rows), "Predicting"):
                pass
    except OSError as fault:
        raise StorageError(unwritable(path, fault)) from fault


def _appended(file: BinaryIO, manifest: Manifest, rows: np.ndarray, answer: Answer) -> Iterator[int]:
    """Answer the samples of these rows part by part, and yield each row when its answer is on the disk."""
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        file.write(_lines(answer(of_rows(manifest, part))))
        file.flush()
        os.fsync(file.fileno())
        yield from part.tolist()


def _known(path: Path, manifest: Manifest) -> np.ndarray:
    """Return which samples have an answer and are unchanged since, bool (N,); cut off half a line."""
    if not path.is_file():
        return np.zeros(len(manifest), bool)
    content = path.read_bytes()
    if whole := content.rfind(b"\n") + 1 - len(content):
        os.truncate(path, len(content) + whole)
    answered = {row[keys.SAMPLE_ID]: row[DIGEST] for row in lines(path) if not row[ERROR]}
    names = manifest.table[keys.SAMPLE_ID]
    known = names.isin(answered).to_numpy(copy=True)
    digests = sample_answers.digests(of_rows(manifest, np.flatnonzero(known)))
    known[known] = [digest == answered[name] for digest, name in zip(digests, names[known], strict=True)]
    return known


def _lines(answers: pd.DataFrame) -> bytes:
    """Return a JSON object for each answer; what is not known is null."""
    rows = answers.astype(object).where(answers.notna(), None).to_dict("records")
    return "".join(f"{json.dumps(row, ensure_ascii=False, default=_plain)}\n" for row in rows).encode()


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    return value.item()


def _tables(
    folder: Path, manifest: Manifest, rules: Mapping[str, Rules]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the answers as tables; return those to samples and to patients."""
    rows = latest(folder / LINES_FILE)
    table = pd.DataFrame([rows[name] for name in manifest.table[keys.SAMPLE_ID]])
    numbers = [
        *rules[answering.SAMPLE].probability_columns,
        answering.CONFIDENCE,
        *rules[answering.SAMPLE].endpoints,
        *answering.PIXELS,
    ]
    table[numbers] = table[numbers].astype(np.float64)
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_table(table, folder / TABLE_FILES[0])
    put(folder / TABLE_FILES[1], content.getvalue())
    of_patients = answering.of_patients(table, rules[answering.PATIENT])
    if len(of_patients):
        write_table(of_patients.assign(**{RESEARCH: answering.USE}), folder / PATIENTS_FILE)
    return table, of_patients


def _media(manifest: Manifest, table: pd.DataFrame) -> dict[str, Media]:
    """Return the image file of each sample that the page shows."""
    rows = np.flatnonzero((table[ERROR] == "").to_numpy())[: answers_page.MOST_PICTURES]
    if not len(rows):
        return {}
    shown = of_rows(manifest, rows)
    return dict(zip(shown.table[keys.SAMPLE_ID], shown.pictures(), strict=True))


def _neighbours(run: TrainedRun, table: pd.DataFrame) -> answers_page.Neighbours:
    """Return the training samples that the page shows beside the new ones."""
    cases = run.predictors[0].cases
    assert cases is not None, "require_cases comes first"
    answered = table[table[ERROR] == ""].head(answers_page.MOST_PICTURES)
    names = set(answered[list(nearest_cases.COLUMNS)].to_numpy().ravel().tolist()) - {""}
    return answers_page.Neighbours(cases.shown(sorted(names)), cases.data, cases.hashed)


def _maps(run: TrainedRun, manifest: Manifest, table: pd.DataFrame) -> answers_page.Maps:
    """Return the maps of the samples that the page shows; none of those whose files have changed since."""
    from fibrolab.analyses import sample_maps

    found, method = {}, sample_maps.method_of(run.predictors[0])
    rows = np.flatnonzero((table[ERROR] == "").to_numpy())[: answers_page.MOST_PICTURES]
    for row in track(rows.tolist(), len(rows), "Maps"):
        sample = str(table[keys.SAMPLE_ID].iloc[row])
        try:
            maps = sample_maps.of_sample(of_rows(manifest, np.array([row])), run)
        except DataError:
            continue
        found[sample] = [
            answers_page.overlaid(each.picture, each.heat, method.signed, each.title, sample)
            for each in maps.branches
        ]
    return answers_page.Maps(method.label, method.shows, found, len(rows) - len(found))


def _picture(
    drawn: Mapping[str, html.Picture], media: Mapping[str, Media], sample: str
) -> html.Picture | None:
    """Return the picture of a sample for the page; None if its file cannot be read.

    The file is read only if an earlier process answered the sample.
    """
    if sample in drawn:
        return drawn[sample]
    try:
        return answers_page.drawn(read_image(media[sample].path, media[sample].view))
    except UnreadableImageError:
        return None


def _announce(folder: Path, table: pd.DataFrame, page: Path) -> None:
    """Print how many samples have which answer, what to distrust, and where the files are."""
    counts = table[answering.PREDICTED].value_counts(sort=False).sort_index()
    print(f"answers  {', '.join(f'{name} {number}' for name, number in counts.items()) or 'none'}")
    if copied := int((table[COPY] != "").sum()):
        print(
            f"warning  copies or near copies of images that the run was trained or validated on: {copied} of "
            f"{len(table)} samples (column {COPY}); the answers to them say nothing about new patients"
        )
    if unlike := int((table[TYPICALITY] <= typicality.RATE).sum()):
        print(
            f"warning  unlike the images that the run was trained on: {unlike} of {len(table)} samples "
            f"(column {UNLIKE}); the answers to them are not to be relied on"
        )
    if said := answering.spellings(table):
        print(f"warning  {said}")
    print(f"table    {folder / TABLE_FILES[0]}")
    if (folder / PATIENTS_FILE).is_file():
        print(f"patients {folder / PATIENTS_FILE}")
    print(f"page     {page}")
    print(f"use      {answering.USE}: not a medical device, not for decisions on patients")
