"""Predict new samples with a trained run: a part at a time, appended to one file, so that nothing is lost."""

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.data.build_lock import only_builder
from fibrolab.data.input_check import lacking
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import PATHS, Manifest
from fibrolab.data.media import Media
from fibrolab.data.progress import track, within_one
from fibrolab.data.readers import patient_id, read_bytes, read_image
from fibrolab.errors import ConfigError, DataError, StorageError, UnreadableImageError
from fibrolab.evaluation import predictions
from fibrolab.reporting import answers_page
from fibrolab.runs import answering, new_input, overlap, typicality
from fibrolab.runs.answering import COPY, DISAGREEMENT, ERROR, TYPICALITY, UNLIKE, Rules
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.storage import make_folder, put, save_json, unwritable, write_table

LINES_FILE = "answers.jsonl"  # one JSON object a sample, appended part by part
TABLE_FILES = ("answers.csv", "answers.parquet")  # the same as tables, written at the end
PATIENTS_FILE = "patients.csv"
RECORD_FILE = "prediction.json"  # run, input and decision rules
PART = 256  # samples between two writes: the most work that is lost when the process is killed
STANDARD_INPUT = "-"
DIGEST, USE = "input_sha256", "use"
NAMES = (keys.SAMPLE_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE)


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
    run = open_run(str(config.run), config.tracking.uri)
    _refuse_segmenter(run)
    networks, given = run.predictors, _given(config.input)
    inputs = networks[0].module.inputs
    manifest = new_input.listed(given, networks[0].record, inputs, labels=False)
    visual, columns = [name for name in inputs if name != keys.CLINICAL], networks[0].module.clinical_columns
    if faults := lacking(manifest, visual, columns):
        raise ConfigError(" ".join(faults))
    rules = answering.rules(run, round(1 - config.coverage, 12))
    folder = make_folder(Path(config.folder).absolute())
    with only_builder(folder / "predict.lock", f"answers in {folder}"):
        _start(folder, _record(run, given, rules))
        _complete(folder / LINES_FILE, manifest, run, rules[answering.SAMPLE])
        table, of_patients = _tables(folder, manifest, rules)
        pixels = partial(_pixels, _pictures(manifest, table))
        page = answers_page.write(folder, str(run.config.name), table, of_patients, rules, pixels)
    _announce(folder, table, page)
    if failed := int((table[ERROR] != "").sum()):
        raise DataError(
            f"{failed} of {len(table)} samples have no answer: see the column `{ERROR}` of "
            f"{folder / TABLE_FILES[0]}."
        )
    return str(folder)


def _refuse_segmenter(run: TrainedRun) -> None:
    if run.segments:
        raise ConfigError(
            f"{run.name} segments images: its masks of new pictures are written by "
            f"fibrolab.evaluate run={run.run_id} data=table data.path=TABLE."
        )
    if "model" not in run.config or "trainer" not in run.config:
        raise ConfigError(f"{run.name} has no network of its own; name one of `fibrolab.train`.")


def _given(setting: Any) -> list[str]:
    """Return the paths of `input`: one, several, or those in the lines of the standard input."""
    if setting == STANDARD_INPUT:
        return [line for line in sys.stdin.read().splitlines() if line.strip()]
    return [str(setting)] if isinstance(setting, str | int | float) else list(map(str, setting))


def _record(run: TrainedRun, given: Sequence[str], rules: Mapping[str, Rules]) -> dict[str, Any]:
    """Return what the answers of a folder have in common."""
    return {
        "use": answering.USE,
        "run": run.run_id or str(run.folder),
        "input": [str(Path(each).expanduser().absolute()) for each in given],
        "rules": {level: asdict(each) for level, each in rules.items()},
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
                f"{folder} has answers of another run, to another input or with another coverage: give "
                "another folder."
            )
    save_json(record, path)


def _complete(path: Path, manifest: Manifest, run: TrainedRun, rules: Rules) -> None:
    """Append the answer to every sample that has none, part by part."""
    known = _known(path, manifest)
    rows = np.flatnonzero(~known)
    if known.any():
        print(f"known    {known.sum()} of {len(manifest)} samples have answers already")
    try:
        with path.open("ab") as file:
            for _ in track(_appended(file, manifest, rows, run, rules), len(rows), "Predicting"):
                pass
    except OSError as fault:
        raise StorageError(unwritable(path, fault)) from fault


def _appended(
    file: BinaryIO, manifest: Manifest, rows: np.ndarray, run: TrainedRun, rules: Rules
) -> Iterator[int]:
    """Answer the samples of these rows part by part, and yield each row when its answer is on the disk."""
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        file.write(_lines(_answers(of_rows(manifest, part), run, rules)))
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
    answered = {row[keys.SAMPLE_ID]: row[DIGEST] for row in _read(path) if not row[ERROR]}
    names = manifest.table[keys.SAMPLE_ID]
    known = names.isin(answered).to_numpy(copy=True)
    digests = _digests(of_rows(manifest, np.flatnonzero(known)))
    known[known] = [digest == answered[name] for digest, name in zip(digests, names[known], strict=True)]
    return known


def _digests(manifest: Manifest) -> list[str]:
    """Return a hash of what each answer is made of: files, frame, rectangles and clinical values."""
    columns = [name for name in manifest.table if name not in (keys.ROW, keys.LABEL)]
    files = [name for name in PATHS if name in manifest.table]
    found = []
    for row in manifest.table[columns].to_dict("records"):
        digest = hashlib.sha256(json.dumps(row, default=str, sort_keys=True).encode())
        for name in files:
            if row[name]:
                root = manifest.root if name != keys.MASK else manifest.mask_root or manifest.root
                digest.update(_file_digest(root / row[name]))
        found.append(digest.hexdigest())
    return found


def _file_digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(read_bytes(path)).digest()
    except UnreadableImageError:
        return b""


def of_rows(manifest: Manifest, rows: np.ndarray) -> Manifest:
    """Return some samples, by their rows int64 (n,)."""
    return replace(manifest, table=manifest.table.iloc[rows].reset_index(drop=True))


def _answers(manifest: Manifest, run: TrainedRun, rules: Rules) -> pd.DataFrame:
    """Return the answers to a part of the samples; those without one have a sentence in `error`."""
    names = [name for name in NAMES if name in manifest.table]
    table = manifest.table[names].reset_index(drop=True).assign(**{DIGEST: "", COPY: "", ERROR: ""})
    each = np.full((len(run.predictors), len(table), len(rules.classes)), np.nan)
    typical = np.full(len(table), np.nan)
    with TemporaryDirectory(prefix="fibrolab-") as cache, within_one():
        data, faults = new_input.unlabelled(manifest, rules.classes, Path(cache))
        if data is not None:
            rows = np.flatnonzero(~np.isin(np.arange(len(table)), list(faults)))
            table.loc[rows, DIGEST] = _digests(data.manifest)
            table.loc[rows, COPY] = overlap.originals(data, run, (keys.TRAIN, keys.VALIDATION))
            table.loc[rows, keys.PATIENT_ID] = _patients(data)
            each[:, rows], typical[rows], more = _predicted(data, run.predictors, Path(cache))
            faults |= {int(rows[row]): text for row, text in more.items()}
    table.loc[list(faults), ERROR] = list(faults.values())
    found = rules.answers(each.mean(axis=0))
    found[TYPICALITY] = typical
    found[UNLIKE] = np.where(np.isnan(typical), None, typical <= typicality.RATE)  # type: ignore[call-overload]
    if len(each) > 1:
        found[DISAGREEMENT] = answering.disagreement(each)
    found = found.astype(object).mask(table[ERROR] != "", None)
    return table[names].join(found).join(table[[COPY, ERROR, DIGEST]]).assign(**{USE: answering.USE})


def _predicted(
    data: LabelledData, networks: Sequence[Predictor], cache: Path
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Predict samples by each network; if that fails, each half of them apart, down to single samples.

    Returns:
        Probabilities, float64 (networks, N, K), and typicality, float64 (N,), NaN where a sample has none;
        and the reason by its row.
    """
    try:
        each = [_of_network(network, data, cache) for network in networks]
    except (ConfigError, DataError) as fault:
        total = len(data.manifest)
        if total == 1:
            nothing = np.full((len(networks), 1, len(data.classes)), np.nan)
            return nothing, np.full(1, np.nan), {0: " ".join(str(fault).split())}
        half = total // 2
        parts = [
            _predicted(data.subset(rows), networks, cache)
            for rows in (np.arange(half), np.arange(half, total))
        ]
        (first, typical, faults), (second, others, more) = parts
        return (
            np.concatenate([first, second], axis=1),
            np.concatenate([typical, others]),
            faults | {half + row: text for row, text in more.items()},
        )
    chances, typical = zip(*each, strict=True)
    return np.stack(chances), np.mean(typical, axis=0), {}


def _of_network(network: Predictor, data: LabelledData, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, K) and typicality (N,) in the order of the samples; NaN if not known."""
    frame, features = network.predict_with_features(data, cache)
    places = pd.Index(frame[keys.SAMPLE_ID]).get_indexer(data.manifest.table[keys.SAMPLE_ID])
    chances = predictions.probabilities(frame)[places]
    if network.reference is None or not network.reference.can_tell:
        return chances, np.full(len(chances), np.nan)
    own = None if features is None else features[places]
    return chances, network.reference.typicality(own, data.facts[keys.IMAGE])


def _patients(data: LabelledData) -> list[str]:
    """Return the patient of each sample: that of the table, or else that of the DICOM header."""
    manifest, formats = data.manifest, data.facts[keys.IMAGE]["format"]
    return [
        given or (patient_id(manifest.root / file) if kind.startswith("DICOM") else "")
        for given, file, kind in zip(manifest.table[keys.PATIENT_ID], manifest.files, formats, strict=True)
    ]


def _lines(answers: pd.DataFrame) -> bytes:
    """Return a JSON object for each answer; what is not known is null."""
    rows = answers.astype(object).where(answers.notna(), None).to_dict("records")
    return "".join(f"{json.dumps(row, ensure_ascii=False, default=_plain)}\n" for row in rows).encode()


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    return value.item()


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the answers of a file.

    Raises:
        DataError: The file is damaged.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as fault:
        raise DataError(f"{path} is damaged ({fault}): remove it, and predict again.") from fault


def _tables(
    folder: Path, manifest: Manifest, rules: Mapping[str, Rules]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the answers as tables; return those to samples and to patients."""
    rows = {row[keys.SAMPLE_ID]: row for row in _read(folder / LINES_FILE)}  # the last one of a sample
    table = pd.DataFrame([rows[name] for name in manifest.table[keys.SAMPLE_ID]])
    numbers = [
        *rules[answering.SAMPLE].probability_columns,
        answering.CONFIDENCE,
        *rules[answering.SAMPLE].endpoints,
    ]
    table[numbers] = table[numbers].astype(np.float64)
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_table(table, folder / TABLE_FILES[0])
    put(folder / TABLE_FILES[1], content.getvalue())
    of_patients = answering.of_patients(table, rules[answering.PATIENT])
    if len(of_patients):
        write_table(of_patients.assign(**{USE: answering.USE}), folder / PATIENTS_FILE)
    return table, of_patients


def _pictures(manifest: Manifest, table: pd.DataFrame) -> dict[str, Media]:
    """Return the picture of each sample that the page shows."""
    rows = np.flatnonzero((table[ERROR] == "").to_numpy())[: answers_page.MOST_PICTURES]
    if not len(rows):
        return {}
    shown = of_rows(manifest, rows)
    return dict(zip(shown.table[keys.SAMPLE_ID], shown.pictures(), strict=True))


def _pixels(pictures: Mapping[str, Media], sample: str) -> np.ndarray | None:
    """Return the picture of a sample as its file stores it; None if it can no longer be read."""
    try:
        return read_image(pictures[sample].path, pictures[sample].view)
    except UnreadableImageError:
        return None


def _announce(folder: Path, table: pd.DataFrame, page: Path) -> None:
    """Print how many samples have which answer, what to distrust, and where the files are."""
    counts = table[answering.PREDICTED].value_counts(sort=False).sort_index()
    print(f"answers  {', '.join(f'{name} {number}' for name, number in counts.items()) or 'none'}")
    if copied := int((table[COPY] != "").sum()):
        print(
            f"warning  {copied} of {len(table)} samples are copies or near copies of images that the run was "
            f"trained or validated on (column {COPY}): the answers to them say nothing about new patients"
        )
    if unlike := int((table[TYPICALITY] <= typicality.RATE).sum()):
        print(
            f"warning  {unlike} of {len(table)} samples are unlike the images that the run was trained on "
            f"(column {UNLIKE}): their answers are not to be relied on"
        )
    print(f"table    {folder / TABLE_FILES[0]}")
    if (folder / PATIENTS_FILE).is_file():
        print(f"patients {folder / PATIENTS_FILE}")
    print(f"page     {page}")
    print(f"use      {answering.USE}: not a medical device, not for decisions on patients")
