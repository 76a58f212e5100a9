"""The callback that writes the masks of a segmentation, and measures them while they are in memory."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image

from fibrolab import keys
from fibrolab.data import masks
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import spacing
from fibrolab.evaluation.segmentation import agreement, images
from fibrolab.mask_classes import MaskClasses
from fibrolab.storage import make_folder, write_table

Batch = dict[str, torch.Tensor]
ABOUT = [keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE]


class MaskWriter(BasePredictionWriter):
    """Write the mask of each sample and its measures, batch by batch, for any number of processes.

    A mask is a PNG in the pixels of the original picture, with the first grey level of each class; what the
    network does not see is background. It is measured within the rectangle of the sample, against the true
    mask and beside the baseline, in millimetres if the spacing of all measured pictures is known. Where
    the masks are pseudo-masks, it is measured against them as such, and against true masks if there are some.

    Args:
        folder: Folder of the run.
        data: The samples.
        classes: Classes of the masks.
        preprocess: Preprocessing of the images.
        fold: Number of the fold.
        partitions: Partition of each dataloader, in order.
        baseline: Classes of the mean training mask at the size of the network's input, int64 (h, w).
    """

    def __init__(
        self,
        folder: Path,
        data: LabelledData,
        classes: MaskClasses,
        preprocess: Preprocess,
        fold: int,
        partitions: Sequence[str],
        baseline: np.ndarray,
    ) -> None:
        interval: Literal["batch"] = "batch"
        super().__init__(write_interval=interval)
        self._folder, self._table, self._fold = folder, data.manifest.table, fold
        self._classes, self._preprocess, self._partitions = classes, preprocess, tuple(partitions)
        self._media = data.manifest.masks()
        self._references = _references(data.manifest)
        self._reader, self._reference_reader = masks.Reader(), masks.Reader()
        self._baseline = np.eye(len(classes.names), dtype=np.float32)[baseline].transpose(2, 0, 1)
        rows = np.concatenate([data.split.rows(name) for name in self._partitions])
        spacings = _spacings({row: self._media[row] for row in rows.tolist()})
        self._in_mm = all(spacings.values())
        has_true = not self._references[images.TRUE_MASKS].keys().isdisjoint(rows.tolist())
        self._counted = images.TRUE_MASKS if has_true else images.MAPS  # see `images.reference`
        self._spacings = spacings
        self._rows: tuple[list, list, list] = ([], [], [])  # of the three tables

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make the folder of the masks."""
        make_folder(self._folder / keys.MASKS)

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Batch,
        batch_indices: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write and measure the masks of one batch."""
        partition = self._partitions[dataloader_idx]
        rows = prediction[keys.INDEX].cpu().tolist()
        for row, probabilities in zip(rows, prediction["probabilities"].float().cpu().numpy(), strict=True):
            self._write(row, probabilities, partition)

    def on_predict_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather the tables of all ranks and write them on rank 0."""
        gathered = [self._rows]
        if dist.is_available() and dist.is_initialized():
            gathered = [None] * trainer.world_size  # type: ignore[list-item]
            dist.all_gather_object(gathered, self._rows)
        if trainer.is_global_zero:
            for number, name in enumerate((keys.MASK_MEASURES_FILE, keys.PIXEL_COUNTS_FILE, keys.MASKS_FILE)):
                parts = [pd.DataFrame(rows[number]) for rows in gathered]
                write_table(pd.concat(parts, ignore_index=True), self._folder / name)
        self._rows = ([], [], [])

    def _write(self, row: int, probabilities: np.ndarray, partition: str) -> None:
        mask = self._media[row]
        found = self._reader.labelled(mask)
        seen, size = self._preprocess.crop_box(found.image), found.image.shape
        at_pixels = masks.enlarged(probabilities, seen, size)
        predicted = at_pixels.argmax(axis=0)
        whole = np.zeros(found.size, np.int64)
        found.box.of(whole)[:] = predicted
        path = f"{keys.MASKS}/{row:06d}.png"
        Image.fromarray(self._classes.pixels()[whole]).save(self._folder / path)
        about = {**self._table.loc[row, ABOUT].to_dict(), keys.PARTITION: partition, keys.FOLD: self._fold}
        measured, counted, written = self._rows
        baseline = masks.enlarged(self._baseline, seen, size).argmax(axis=0)
        unit = {images.UNIT: "mm" if self._in_mm else "px"}
        scale = self._spacings[row] if self._in_mm else (1.0, 1.0)
        for against, media in self._references.items():
            if row not in media:
                continue
            reference = found if media[row] == mask else self._reference_reader.labelled(media[row])
            true = np.asarray(self._classes.table()[reference.labels])
            known = {**about, images.AGAINST: against, **unit}
            for of, mask_of in ((images.NETWORK, predicted), (images.MEAN_MASK, baseline)):
                values = images.measured(true, mask_of, self._classes.names, scale or (1.0, 1.0))
                measured.extend({**known, images.OF: of, **each} for each in values)
            if against == self._counted:
                counts = agreement.binned(at_pixels, true, self._classes.names)
                counted.extend({**about, **each} for each in counts)
        image = self._table.loc[row, keys.IMAGE]
        written.append({**about, keys.IMAGE: image, keys.MASK: path})


def _references(manifest: Manifest) -> dict[str, dict[int, Media]]:
    """Return the masks that predictions are measured against, by their kind and the row of the sample."""
    if not manifest.masks_from:
        return {images.TRUE_MASKS: manifest.masks()}
    return {images.TRUE_MASKS: manifest.masks(keys.TRUE_MASK), images.MAPS: manifest.masks()}


def _spacings(media: dict[int, Media]) -> dict[int, tuple[float, float] | None]:
    """Return height and width of a pixel [mm] by the image or by its mask, by the row of the sample.

    It is None where neither states it. A file of several samples is read once.
    """
    of_file = functools.cache(spacing)
    return {row: of_file(_image(mask)) or of_file(mask.path) for row, mask in media.items()}


def _image(mask: Media) -> Path:
    assert mask.labelled is not None, "a mask labels an image"
    return mask.labelled.path
