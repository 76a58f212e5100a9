"""The networks of a run behind a queue: one thread answers one request after the other.

A network is one: requests that arrive together wait for it in the order of their arrival, each with a folder
and a table of its own, so that no answer can belong to another request.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.data.readers import decode_clip, describe, read_bytes, read_image
from fibrolab.errors import DataError
from fibrolab.reporting.vocabulary import end_point
from fibrolab.runs import answering, nearest_cases, sample_answers
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.serving import map_layers
from fibrolab.serving.uploads import Uploads

T = TypeVar("T")
Row = dict[str, Any]
MOST_FRAMES = 24  # of a film that are shown, evenly over it


@dataclass(frozen=True)
class Staged:
    """Answers to the samples of one request, to their patients where these are known, and nearest cases.

    Attributes:
        cases: Class and picture (`data:` address, empty without one) of the nearest training cases by id.
    """

    samples: list[Row]
    patients: list[Row]
    cases: Row = field(default_factory=dict)


class Staging:
    """Answers of one run.

    Args:
        run: A finished run that classifies.
        coverage: Of the prediction sets.
        nearest: Whether the nearest training cases are shown beside each sample.

    Raises:
        ConfigError: The run has no network, segments, or has no training cases to show.
    """

    def __init__(self, run: TrainedRun, coverage: float, nearest: bool = False) -> None:
        run.refuse_without_classifier()
        self._worker = ThreadPoolExecutor(1, "fibrolab-network")
        # Loaded in the thread that predicts. If two threads have used OpenMP, it counts more threads than
        # cores and lets those of each layer sleep: a ResNet-18 then takes up to twice as long a picture.
        self._worker.submit(lambda: run.predictors).result()
        if nearest:
            sample_answers.require_cases(run)
        self.cases = run.predictors[0].cases if nearest else None
        self.run = run
        self.coverage = coverage
        self.rules: dict[str, Rules] = answering.rules(run, round(1 - coverage, 12))
        self.waiting = 0

    @property
    def network(self) -> Predictor:
        """The first network of the run, whose inputs are those of all."""
        return self.run.predictors[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.rules[answering.SAMPLE].classes

    @property
    def visual(self) -> list[str]:
        """Modalities of which a sample has a file."""
        return self.network.module.modalities

    @cached_property
    def end_points(self) -> dict[str, str]:
        """Name of each end point, and what is positive in it."""
        found = self.rules[answering.SAMPLE].endpoints
        return {name: end_point(self.classes, lowest) for name, lowest in found.items()}

    async def answers(self, uploads: Uploads) -> Staged:
        """Stage the samples of a request as `predict` does; `error` says why one has no answer.

        Raises:
            FibrolabError: The files do not suit the network, or none of the samples can be answered.
        """
        return await self._queued(lambda: self._answered(uploads))

    async def map_layer(self, uploads: Uploads) -> dict[str, Any]:
        """Return the map of the only sample of a request as a layer over its picture (`map_layers`).

        Raises:
            FibrolabError: The file does not suit the network, or the network has no map.
        """
        return await self._queued(lambda: map_layers.of_sample(_only(self._listed(uploads)), self.run))

    async def pictures(self, uploads: Uploads) -> dict[str, Any]:
        """Return the file of a request as pictures that a browser shows: one, or frames of a film.

        Raises:
            UnreadableImageError: The file cannot be read.
        """
        return await asyncio.to_thread(self._pictures, uploads)

    async def _queued(self, work: Callable[[], T]) -> T:
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            self.waiting -= 1

    def _listed(self, uploads: Uploads) -> Manifest:
        return uploads.manifest(self.network)

    def _answered(self, uploads: Uploads) -> Staged:
        nearest = self.cases is not None
        table = sample_answers.of(self._listed(uploads), self.run, self.rules[answering.SAMPLE], nearest)
        if (table[answering.ERROR] != "").all():
            raise DataError(" ".join(table[answering.ERROR]))
        samples, patients = plain_rows(table), list[Row]()
        if (table[keys.PATIENT_ID] != "").any():
            patients = plain_rows(answering.of_patients(table, self.rules[answering.PATIENT]))
        return Staged(samples, patients, self._shown(samples))

    def _shown(self, samples: Sequence[Row]) -> Row:
        """Return class and picture of the training cases that answers name."""
        if self.cases is None:
            return {}
        names = {row[column] for row in samples for column in nearest_cases.COLUMNS} - {""}
        return {
            name: {"stage": stage, "picture": map_layers.encoded(picture, "jpeg") if picture else ""}
            for name, (stage, picture) in self.cases.shown(sorted(names)).items()
        }

    def _pictures(self, uploads: Uploads) -> dict[str, Any]:
        (path, *_) = uploads.files
        frames = describe(read_bytes(path), path).frames
        if frames < 2:
            pixels = [read_image(path)]
        else:
            film = decode_clip(read_bytes(path), path).frames
            shown = np.linspace(0, len(film) - 1, min(len(film), MOST_FRAMES)).round().astype(int)
            pixels = list(film[np.unique(shown)])
        return {"frames": frames, "pictures": [map_layers.address(each) for each in pixels]}


def _only(manifest: Manifest) -> Manifest:
    """Return a manifest of one sample.

    Raises:
        DataError: It has several.
    """
    if len(manifest) != 1:
        raise DataError(f"A map is drawn of one sample, and the request has {len(manifest)}: send one.")
    return manifest


def plain_rows(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table with numbers of Python, and None where a value is not known."""
    names = [str(name) for name in table]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in table.to_numpy(object).tolist()]


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
