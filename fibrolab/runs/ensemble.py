"""The networks of the folds or repetitions of one run, which predict together by their mean probability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.runs.checkpoint import Predictor, temporary_unless


@dataclass(frozen=True)
class Ensemble:
    """Networks that were trained for the same classes.

    Attributes:
        members: Networks, each with its own preprocessing and clinical means.
        thresholds: Decision thresholds of the whole run by level, end point and rule, as of a `Predictor`.
        temperature: Temperature of the whole run by level.
    """

    members: tuple[Predictor, ...]
    thresholds: Mapping[str, Mapping[str, Mapping[str, float]]]
    temperature: Mapping[str, float]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return self.members[0].classes

    def predict(self, data: Manifest | LabelledData, cache: Path | None = None) -> pd.DataFrame:
        """Predict every sample by the mean of the networks' probabilities; see `Predictor.predict`."""
        with temporary_unless(cache) as folder:
            return averaged([member.predict(data, folder) for member in self.members])


def averaged(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average the probabilities of predictions of the same samples, in the order of the first."""
    first, *others = frames
    columns = [name for name in first if name in keys.probability_columns(len(first.columns))]
    order = first[keys.SAMPLE_ID]
    total = first[columns].to_numpy()
    for other in others:
        total = total + other.set_index(keys.SAMPLE_ID).loc[order, columns].to_numpy()
    return first.assign(**dict(zip(columns, (total / len(frames)).T, strict=True)))
