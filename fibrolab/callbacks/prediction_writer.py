"""The callback that writes the predictions of validation and test to `predictions.csv`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import BasePredictionWriter

from fibrolab import keys
from fibrolab.evaluation import predictions


class PredictionWriter(BasePredictionWriter):
    """Write one row per sample and partition, for any number of processes.

    Args:
        path: Path of `predictions.csv`.
        samples: The manifest's table; batches refer to its rows by number.
        labels: Class of every row in the task, int64 (N,).
        fold: Number of the fold.
        partitions: Partition of each dataloader, in order.
    """

    def __init__(
        self, path: Path, samples: pd.DataFrame, labels: np.ndarray, fold: int, partitions: Sequence[str]
    ) -> None:
        interval: Literal["epoch"] = "epoch"
        super().__init__(write_interval=interval)
        self._path, self._samples, self._labels = path, samples, labels
        self._fold, self._partitions = fold, partitions

    def write_on_epoch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch_indices: Any
    ) -> None:
        """Gather the predictions of all ranks and write them on rank 0."""
        loaders = outputs if len(self._partitions) > 1 else [outputs]
        parts = [(_join(batches, keys.INDEX), _join(batches, "probabilities")) for batches in loaders]
        gathered = [parts]
        if dist.is_available() and dist.is_initialized():
            gathered = [None] * trainer.world_size  # type: ignore[list-item]
            dist.all_gather_object(gathered, parts)
        if not trainer.is_global_zero:
            return
        frames = []
        for loader, partition in enumerate(self._partitions):
            rows = np.concatenate([part[loader][0] for part in gathered])
            probabilities = np.concatenate([part[loader][1] for part in gathered])
            first = np.unique(rows, return_index=True)[1]  # some samples occur on several ranks
            frames.append(self._frame(rows[first], probabilities[first], partition))
        predictions.write(pd.concat(frames, ignore_index=True), self._path)

    def _frame(self, rows: np.ndarray, probabilities: np.ndarray, partition: str) -> pd.DataFrame:
        columns = [keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE]
        frame = self._samples.iloc[rows][columns].reset_index(drop=True)
        frame[keys.PARTITION] = partition
        frame[keys.FOLD] = self._fold
        frame[keys.Y_TRUE] = self._labels[rows]
        frame[keys.probability_columns(probabilities.shape[1])] = probabilities
        return frame


def _join(batches: list[dict[str, torch.Tensor]], key: str) -> np.ndarray:
    joined = torch.cat([batch[key] for batch in batches]).cpu().numpy()
    return joined.astype(np.float64) if joined.dtype.kind == "f" else joined
