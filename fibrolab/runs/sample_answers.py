"""Answer new samples with a trained run: probabilities, decisions, copies, typicality, faults by sample.

The command `predict` and everything else that stages new pictures answer by `of`, and so cannot differ.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import PATHS, Manifest
from fibrolab.data.progress import within_one
from fibrolab.data.readers import patient_id, read_bytes
from fibrolab.errors import ConfigError, DataError, UnreadableImageError
from fibrolab.evaluation import predictions
from fibrolab.runs import answering, new_input, overlap, typicality
from fibrolab.runs.answering import COPY, DISAGREEMENT, ERROR, TYPICALITY, UNLIKE, USE, Rules
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun

DIGEST = "input_sha256"
RESEARCH = "use"  # column that says what the answers may be used for
NAMES = (keys.SAMPLE_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE)


def of(manifest: Manifest, run: TrainedRun, rules: Rules) -> pd.DataFrame:
    """Return the answers to a part of the samples; those without one have a sentence in `error`."""
    names = [name for name in NAMES if name in manifest.table]
    table = manifest.table[names].reset_index(drop=True).assign(**{DIGEST: "", COPY: "", ERROR: ""})
    each = np.full((len(run.predictors), len(table), len(rules.classes)), np.nan)
    typical = np.full(len(table), np.nan)
    with TemporaryDirectory(prefix="fibrolab-") as cache, within_one():
        data, faults = new_input.unlabelled(manifest, rules.classes, Path(cache))
        if data is not None:
            rows = np.flatnonzero(~np.isin(np.arange(len(table)), list(faults)))
            table.loc[rows, DIGEST] = digests(data.manifest)
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
    return table[names].join(found).join(table[[COPY, ERROR, DIGEST]]).assign(**{RESEARCH: USE})


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


def digests(manifest: Manifest) -> list[str]:
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
