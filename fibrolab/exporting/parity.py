"""Parity of an artifact with its run: the largest difference of their answers to the validation samples.

The reference is computed on this machine by the run's own networks, in float32 and along the path of
`predict`; what the run stored in `predictions.csv` may have been computed on another device or in a lower
precision, and is compared apart.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.data import input_check
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.exporting.exported_network import (
    CONFIDENCE,
    PROBABILITIES,
    SCORES,
    Entry,
    ExportedNetwork,
    on_scales,
)
from fibrolab.runs import own_samples
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import Predictor, needed_by
from fibrolab.runs.trained_run import TrainedRun

LARGEST = 1e-4  # difference of an output from which an export is refused
FLOAT32 = "32-true"

Answer = Callable[[Sequence[Tensor]], list[np.ndarray]]  # from the entries of a batch to its outputs


@dataclass(frozen=True)
class Validation:
    """Validation samples of a run, and the answers of its networks to them.

    Attributes:
        data: The N samples.
        cache: Folder of their pixels.
        networks: The run's networks.
        entries: Inputs of the exported network.
        outputs: Names of its outputs.
        reference: Each output of the run, float64 (N, ...).
        stored: Largest difference of the reference from the run's `predictions.csv`; NaN for several
            networks, of which each has predicted other samples.
    """

    data: LabelledData
    cache: Path
    networks: tuple[Predictor, ...]
    entries: tuple[Entry, ...]
    outputs: tuple[str, ...]
    reference: tuple[np.ndarray, ...]
    stored: float

    def batches(self) -> Iterator[tuple[np.ndarray, list[Tensor]]]:
        """Yield the rows (B,) and the entries of each batch."""
        network = self.networks[0]
        datamodule = network.datamodule(self.data, self.cache)
        datamodule.prepare_data()
        clinical = raw_values(self.data.manifest.table, network.module.clinical_columns)
        for batch in datamodule.test_dataloader():
            rows = batch[keys.INDEX].numpy()
            given = {**batch, keys.CLINICAL: torch.from_numpy(clinical[rows])}
            yield rows, [_value(entry, given, len(rows)) for entry in self.entries]

    def answers(self, answer: Answer) -> list[np.ndarray]:
        """Return each output of an artifact, float64 (N, ...), in the order of the samples."""
        parts, order = list[list[np.ndarray]](), list[np.ndarray]()
        for rows, values in self.batches():
            parts.append(answer(values))
            order.append(rows)
        places = np.argsort(np.concatenate(order))
        joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return [values[places].astype(np.float64) for values in joined]

    def difference(self, answer: Answer) -> float:
        """Return the largest absolute difference of any output of an artifact from the run.

        If the network takes several inputs, the first batch is answered with each of them missing too that
        the network does not need.
        """
        network = self.networks[0]
        found = difference(self.answers(answer), self.reference)
        _, values = next(self.batches())
        columns = network.module.clinical_columns
        needed = needed_by(self.networks)
        for lacking in _without_each(self.entries, values, columns, needed):
            found = max(found, difference(answer(lacking)[:1], [self._probabilities(lacking)]))
        return found

    def _probabilities(self, values: Sequence[Tensor]) -> np.ndarray:
        """Return the mean probabilities (B, K) of the run's networks for the samples of a batch."""
        total = np.zeros(0)
        for network in self.networks:
            module = network.classifier.eval()
            batch = {entry.name: value for entry, value in zip(self.entries, values, strict=True)}
            if keys.CLINICAL in batch:
                batch[keys.CLINICAL] = on_scales(batch[keys.CLINICAL], module.clinical_columns)
            with torch.no_grad():
                chances = module.criterion.probabilities(module(batch)).double().numpy()
            total = total + chances if total.size else chances
        return total / len(self.networks)


def of_run(
    run: TrainedRun, network: ExportedNetwork, rules: Rules, cache: Path, as_trained: bool = False
) -> Validation:
    """Load the validation samples of a run, and let its networks answer them.

    Args:
        run: The run.
        network: The network that is exported.
        rules: Decision rules of its samples.
        cache: Folder of all caches.
        as_trained: Whether the run's networks answer in the precision of their training, as `predict` does,
            rather than in float32.

    Raises:
        ConfigError: The run has no validation samples.
        DataError: The samples changed since the run, or are missing.
    """
    frame = run.predictions[run.predictions[keys.PARTITION] == keys.VALIDATION]
    samples = frame[keys.SAMPLE_ID].drop_duplicates().tolist()
    if not samples:
        raise ConfigError(
            f"{run.name} has no validation samples, on which an export is compared with its run: train one "
            "with a validation part."
        )
    networks = tuple(each if as_trained else _in_float32(each) for each in run.predictors)
    data = own_samples.chosen(own_samples.reloaded(run, cache), run, samples)
    # Others are predicted in the run itself, but neither by `predict` nor by an artifact.
    data = data.subset(np.flatnonzero(input_check.complete(data.manifest, needed_by(networks))))
    data = networks[0].masked(data, cache)
    names = data.manifest.table[keys.SAMPLE_ID]
    with contextlib.nullcontext() if as_trained else _without_tf32():
        each = [_ordered(network.predict(data, cache), names) for network in networks]
    network.cpu()  # the predictions may have moved its members
    chances = np.mean(each, axis=0)
    answers = rules.answers(chances)
    outputs = {
        PROBABILITIES: chances,
        CONFIDENCE: answers[CONFIDENCE].to_numpy(np.float64),
        SCORES: answers[list(rules.endpoints)].to_numpy(np.float64),
    }
    stored = math.nan if len(networks) > 1 else float(np.abs(_ordered(frame, names) - chances).max())
    reference = tuple(outputs[name] for name in network.outputs)
    return Validation(data, cache, networks, network.entries, network.outputs, reference, stored)


def difference(found: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """Return the largest absolute difference of outputs; infinite where one of the two is not a number."""
    largest = 0.0
    for values, expected in zip(found, reference, strict=True):
        apart = np.abs(np.asarray(values, np.float64) - expected)
        largest = max(largest, float(np.nan_to_num(apart, nan=math.inf, posinf=math.inf).max(initial=0.0)))
    return largest


def refuse_above(found: float, run: TrainedRun, samples: int, largest: float = LARGEST) -> None:
    """Refuse an artifact that does not answer as its run.

    Raises:
        DataError: The largest difference is above `largest`.
    """
    if not found <= largest:
        raise DataError(
            f"The exported network does not answer as {run.name[0].lower()}{run.name[1:]}: on its {samples} "
            f"validation samples an output differs by {found:.2g}, and {largest:g} is allowed. Nothing was "
            "written. Try another format; if the network is your own, look for what depends on its mode, on "
            "chance, or on the size of the batch."
        )


def raw_values(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return clinical values as a table has them, float32 (N, D); sex 0 (F) or 1 (M), NaN if not measured."""
    values = np.full((len(table), len(columns)), np.nan, np.float32)
    for position, name in enumerate(columns):
        if name in table:
            values[:, position] = table[name].map({"F": 0.0, "M": 1.0}) if name == keys.SEX else table[name]
    return values


def _value(entry: Entry, batch: dict[str, Tensor], samples: int) -> Tensor:
    """Return the value of an entry in a batch of the datamodule; a mask that it lacks is true everywhere."""
    return batch[entry.name] if entry.name in batch else entry.blank(samples)


def _without_each(
    entries: Sequence[Entry], values: Sequence[Tensor], columns: Sequence[str], needed: Sequence[str]
) -> Iterator[list[Tensor]]:
    """Yield a batch without each input in turn that is not needed, of the samples that then have another.

    Args:
        entries: Inputs of the exported network.
        values: Their values.
        columns: Clinical columns, in their order.
        needed: Modalities and clinical columns.
    """
    names = [entry.name for entry in entries]
    inputs = [entry.name for entry in entries if entry.dtype != "bool"]
    if len(inputs) < 2:
        return
    missable = [name not in needed for name in columns]
    for removed in inputs:
        if removed in needed or (removed == keys.CLINICAL and not any(missable)):
            continue
        changed = dict(zip(names, (value.clone() for value in values), strict=True))
        if removed == keys.CLINICAL:
            changed[removed][:, missable] = math.nan
        else:
            changed[keys.present(removed)].fill_(False)
        known = [
            ~changed[name].isnan().all(dim=1) if name == keys.CLINICAL else changed[keys.present(name)]
            for name in inputs
        ]
        rows = torch.stack(known).any(dim=0)
        if rows.any():
            yield [changed[name][rows] for name in names]


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Let cuDNN compute convolutions in full float32; its TF32 has errors of about 1e-3."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _in_float32(network: Predictor) -> Predictor:
    return replace(network, record={**network.record, "precision": FLOAT32})


def _ordered(frame: pd.DataFrame, names: pd.Series) -> np.ndarray:
    """Return the probabilities of the samples in this order, float64 (N, K)."""
    places = pd.Index(frame[keys.SAMPLE_ID]).get_indexer(names)
    assert (places >= 0).all(), "every sample is predicted"
    return predictions.probabilities(frame)[places]
