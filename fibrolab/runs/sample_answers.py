"""Answer new samples with a trained run: probabilities, decisions, copies, typicality, faults by sample.

The command `predict` and everything else that stages new pictures answer by `of`, and so cannot differ.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.cache import PixelStore
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import PATHS, Manifest
from fibrolab.data.progress import within_one
from fibrolab.data.readers import patient_and_date, read_bytes
from fibrolab.data.survey import Take
from fibrolab.errors import ConfigError, DataError, UnreadableImageError
from fibrolab.evaluation import predictions
from fibrolab.runs import answering, nearest_cases, new_input, overlap, typicality
from fibrolab.runs.answering import (
    ANSWERED,
    COPY,
    DIGEST,
    DISAGREEMENT,
    ERROR,
    PIXELS,
    STUDY_DATE,
    TYPICALITY,
    UNLIKE,
    USE,
    Rules,
)
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun

RESEARCH = "use"  # column that says what the answers may be used for
NAMES = (keys.SAMPLE_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE)
# A folder that cannot be made: to make and remove one can take longer than to decode a picture.
NOWHERE = Path(os.devnull) / "none"
T = TypeVar("T")
Networks = Sequence[tuple[Predictor, Mapping[str, PixelStore]]]  # each with its stores by modality


class _Predicted(NamedTuple):
    """Predictions of N samples.

    Attributes:
        each: Probabilities by each network, float64 (networks, N, K).
        typical: Typicality, float64 (N,); NaN where a sample has none.
        nearest: Ids of the nearest training cases, object (N, `nearest_cases.NUMBER`).
        faults: A sentence on each sample that could not be predicted, by its row.
    """

    each: np.ndarray
    typical: np.ndarray
    nearest: np.ndarray
    faults: dict[int, str]

    @classmethod
    def nothing(cls, networks: int, samples: int, classes: int) -> "_Predicted":
        return cls(
            np.full((networks, samples, classes), np.nan),
            np.full(samples, np.nan),
            np.full((samples, nearest_cases.NUMBER), "", object),
            {},
        )


class Drawn(Generic[T]):
    """Pictures for a page, drawn from the pixels of the first samples when these are decoded for an answer.

    Args:
        draw: Function of the pixels, uint8 (H, W) or (H, W, 3), called in several threads.
        most: Number of pictures from which on no further one is drawn.

    Attributes:
        by_sample: The pictures by the id of their sample.
    """

    def __init__(self, draw: Callable[[np.ndarray], T], most: int) -> None:
        self._draw, self._most = draw, most
        self._by_digest = dict[str, T]()
        self.by_sample = dict[str, T]()

    def take(self, digest: str, pixels: np.ndarray) -> None:
        """Draw a picture, unless there are enough (`survey.Take`)."""
        if len(self._by_digest) < self._most and digest not in self._by_digest:
            self._by_digest[digest] = self._draw(pixels)

    def name(self, data: LabelledData) -> None:
        """Find the samples of the pictures that were taken."""
        digests = data.facts[keys.IMAGE]["sha256"]
        pairs = zip(data.manifest.table[keys.SAMPLE_ID], digests, strict=True)
        self.by_sample |= {name: self._by_digest[each] for name, each in pairs if each in self._by_digest}


class _Prepared:
    """Pixels as the networks take them, made from each picture when it is decoded for its survey.

    They are held in memory. Films, and pictures that are cropped to their masks, are left to stores on disk.

    Args:
        networks: Networks that take the pixels.
        cache: Folder of the pixel stores; it is removed soon.
        shown: Modalities of which pictures are drawn, each with the function that draws.

    Attributes:
        stores: Stores of each network by modality. Networks with equal preprocessing share them.
    """

    def __init__(self, networks: Sequence[Predictor], cache: Path, shown: Mapping[str, Take]) -> None:
        self._shown = shown
        self._filled = dict[str, dict[Path, PixelStore]]()
        self.stores = [network.stores(cache, lasting=False) for network in networks]
        for stores in self.stores:
            for name, store in stores.items():
                if _is_held(name, store):
                    stores[name] = self._filled.setdefault(name, {}).setdefault(store.folder, store)

    @property
    def take(self) -> dict[str, Take]:
        """Functions that take the decoded pictures of each modality."""
        return {name: partial(self._take, name) for name in {*self._filled, *self._shown}}

    def _take(self, name: str, digest: str, pixels: np.ndarray) -> None:
        for store in self._filled.get(name, {}).values():
            store.held[digest] = store.processed(pixels)
        if name in self._shown:
            self._shown[name](digest, pixels)


def _is_held(modality: str, store: PixelStore) -> bool:
    """Return whether the pixels of a modality are held in memory."""
    return modality != keys.CLIP and store.preprocess.crop != "mask"


@contextmanager
def _cache(networks: Sequence[Predictor]) -> Iterator[Path]:
    """Yield a temporary folder for what `_Prepared` leaves to the disk, or else `NOWHERE`."""
    if all(_is_held(name, store) for each in networks for name, store in each.stores(NOWHERE).items()):
        yield NOWHERE
        return
    with TemporaryDirectory(prefix="fibrolab-") as made:
        yield Path(made)


def require_cases(run: TrainedRun) -> None:
    """Refuse a run whose first network has no training cases beside it.

    Raises:
        ConfigError: It stored none.
    """
    if run.predictors[0].cases is None:
        raise ConfigError(
            f"{run.name} stored no training cases beside its network, so that nearest_cases=true cannot show "
            "any: their file was deleted, or the network has no head of fibrolab; give nearest_cases=false."
        )


def of(
    manifest: Manifest,
    run: TrainedRun,
    rules: Rules,
    nearest: bool = False,
    drawn: Drawn | None = None,
) -> pd.DataFrame:
    """Return the answers to a part of the samples; those without one have a sentence in `error`.

    Args:
        manifest: The samples.
        run: A run that classifies.
        rules: Its rules of the level of samples.
        nearest: Whether to name the nearest training cases too (`nearest_cases.COLUMNS`); of several networks
            those of the first one.
        drawn: Pictures for a page, to which those of these samples are added.
    """
    total = len(manifest)
    left = {
        name: manifest.table[name].to_numpy(object, copy=True) for name in NAMES if name in manifest.table
    }
    date, digest, copy, error = (np.full(total, "", object) for _ in range(4))
    pixels = np.full((total, len(PIXELS)), np.nan)
    whole = _Predicted.nothing(len(run.predictors), total, len(rules.classes))
    with _cache(run.predictors) as cache, within_one():
        shown = dict.fromkeys(manifest.shown.tolist(), drawn.take) if drawn else {}
        prepared = _Prepared(run.predictors, cache, shown)
        data, faults = new_input.unlabelled(manifest, rules.classes, prepared.take)
        if data is not None:
            if drawn:
                drawn.name(data)
            rows = np.array([row for row in range(total) if row not in faults], np.int64)
            digest[rows] = digests(data.manifest, data.facts)
            copy[rows] = overlap.originals(data, run, (keys.TRAIN, keys.VALIDATION))
            headers = zip(*_headers(data), strict=True)
            left[keys.PATIENT_ID][rows], left[keys.VISIT_ID][rows], date[rows] = headers
            pixels[rows] = data.facts[keys.IMAGE][list(PIXELS.values())].to_numpy(np.float64)
            networks = list(zip(run.predictors, prepared.stores, strict=True))
            part = _predicted(data, networks, cache, nearest)
            whole.each[:, rows], whole.typical[rows], whole.nearest[rows] = part[:3]
            faults |= {int(rows[row]): text for row, text in part.faults.items()}
    error[list(faults)] = list(faults.values())
    found = _decided(whole, rules) | dict(zip(PIXELS, pixels.T, strict=True))
    for name in found:
        found[name] = found[name].astype(object)
        found[name][error != ""] = None
    if nearest:
        found |= dict(zip(nearest_cases.COLUMNS, whole.nearest.T, strict=True))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    right = {COPY: copy, ERROR: error, DIGEST: digest, ANSWERED: now, RESEARCH: USE}
    columns = {**left, STUDY_DATE: date, **found, **right}
    values = np.empty((total, len(columns)), object)
    for number, column in enumerate(columns.values()):
        values[:, number] = column
    return pd.DataFrame(values, range(total), list(columns), dtype=object)


def _decided(predicted: _Predicted, rules: Rules) -> dict[str, np.ndarray]:
    """Return decisions, typicality and the disagreement of several networks, columns (N,) by their name."""
    found, typical = rules.columns(predicted.each.mean(axis=0)), predicted.typical
    found[TYPICALITY] = typical
    found[UNLIKE] = np.where(np.isnan(typical), None, typical <= typicality.RATE)  # type: ignore[call-overload]
    if len(predicted.each) > 1:
        found[DISAGREEMENT] = answering.disagreement(predicted.each)
    return found


def _predicted(data: LabelledData, networks: Networks, cache: Path, nearest: bool) -> _Predicted:
    """Predict samples by each network; if that fails, each half of them apart, down to single samples."""
    total = len(data.manifest)
    try:
        each = [
            _of_network(network, data, cache, stores, nearest and number == 0)
            for number, (network, stores) in enumerate(networks)
        ]
    except (ConfigError, DataError) as fault:
        if total == 1:
            nothing = _Predicted.nothing(len(networks), 1, len(data.classes))
            said = " ".join(str(fault).split()).replace(f"{data.manifest.root}/", "")
            return nothing._replace(faults={0: said})
        half = total // 2
        first, second = (
            _predicted(data.subset(rows), networks, cache, nearest)
            for rows in (np.arange(half), np.arange(half, total))
        )
        return _Predicted(
            np.concatenate([first.each, second.each], axis=1),
            np.concatenate([first.typical, second.typical]),
            np.concatenate([first.nearest, second.nearest]),
            first.faults | {half + row: text for row, text in second.faults.items()},
        )
    chances, typical, cases = zip(*each, strict=True)
    return _Predicted(np.stack(chances), np.mean(typical, axis=0), cases[0], {})


def _of_network(
    network: Predictor, data: LabelledData, cache: Path, stores: Mapping[str, PixelStore], nearest: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities (N, K), typicality (N,), NaN if not known, and cases, in the samples' order."""
    network.require_inputs(data.manifest)
    chances, own = network.probabilities(data, cache, stores=stores)
    chances = predictions.sum_to_one(chances)
    cases = _Predicted.nothing(1, len(chances), 1).nearest
    reference = network.reference
    if nearest and own is not None and network.cases is not None and reference is not None:
        cases = network.cases.nearest(own, reference)
    if reference is None or not reference.can_tell:
        return chances, np.full(len(chances), np.nan), cases
    return chances, reference.typicality(own, data.facts[keys.IMAGE]), cases


def _headers(data: LabelledData) -> list[tuple[str, str, str]]:
    """Return patient, visit and study date of each sample, of the table or else of the DICOM header.

    The visit of a header is the date of its study: years apart, a patient can have another stage.
    """
    manifest, formats = data.manifest, data.facts[keys.IMAGE]["format"]
    given = zip(manifest.table[keys.PATIENT_ID], manifest.table[keys.VISIT_ID], strict=True)
    found = []
    for (patient, visit), file, kind in zip(given, manifest.files, formats, strict=True):
        own, date = patient_and_date(manifest.root / file) if kind.startswith("DICOM") else ("", "")
        patient = patient or own
        found.append((patient, visit or (date if patient else ""), date))
    return found


def digests(manifest: Manifest, facts: Mapping[str, pd.DataFrame] | None = None) -> list[str]:
    """Return a hash of what each answer is made of: files, frame, rectangles and values of the table.

    The content of a file counts, and not its name: the same picture in another folder has the same hash.

    Args:
        manifest: The samples.
        facts: Their survey, which knows the hashes of files; without it they are read.
    """
    passed_over = (keys.ROW, keys.LABEL, keys.SAMPLE_ID, keys.GROUP_ID, *PATHS)
    cells = {name: manifest.table[name].tolist() for name in manifest.table if name not in passed_over}
    files = {name: manifest.table[name].tolist() for name in PATHS if name in manifest.table}
    known = {name: table["file_sha256"].to_numpy() for name, table in (facts or {}).items()}
    found = []
    for number, values in enumerate(zip(*cells.values(), strict=True)):
        row = dict(zip(cells, values, strict=True))
        digest = hashlib.sha256(json.dumps(row, default=str, sort_keys=True).encode())
        for name, paths in files.items():
            if not paths[number]:
                continue
            digest.update(name.encode())
            if name in known:
                digest.update(bytes.fromhex(known[name][number]))
            else:
                root = manifest.root if name != keys.MASK else manifest.mask_root or manifest.root
                digest.update(_file_digest(root / paths[number]))
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
