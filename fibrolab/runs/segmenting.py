"""Masks of images that have none: a segmenter predicts them into a folder, once for each image."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
from PIL import Image

from fibrolab import keys
from fibrolab.data.geometry import Geometry, shown_parts
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.masks import enlarged
from fibrolab.data.preprocess import Preprocess
from fibrolab.mask_classes import MaskClasses
from fibrolab.storage import put

if TYPE_CHECKING:
    from fibrolab.runs.checkpoint import Predictor


def write(segmenter: "Predictor", data: LabelledData, folder: Path, cache: Path) -> list[str]:
    """Write the predicted mask of every image that has none in the folder yet.

    A mask is a PNG in the pixels of the original picture, with the first grey level of each class; what the
    network does not see is background. Its name is the hash of the image with its frame and rectangle.

    Args:
        segmenter: The network.
        data: The samples; those without an image are left out.
        folder: Folder of this segmenter's masks.
        cache: Folder for preprocessed pixels.

    Returns:
        File name of the mask of each sample that has an image, in their order.

    Raises:
        DataError: An image cannot be read.
        StorageError: The disk is full, or the folder cannot be written.
    """
    rows = np.flatnonzero(data.manifest.present(keys.IMAGE))
    names = [f"{digest}.png" for digest in data.facts[keys.IMAGE]["sha256"].iloc[rows]]
    missing = {
        name: row for name, row in zip(names, rows.tolist(), strict=True) if not (folder / name).is_file()
    }
    if missing:
        chosen = data.subset(np.array(list(missing.values())))
        datamodule = segmenter.datamodule(chosen, cache)
        datamodule.prepare_data()
        writer = _Writer(segmenter, chosen, [folder / name for name in missing])
        loader = datamodule.test_dataloader()
        segmenter.trainer(writer).predict(segmenter.module, loader, return_predictions=False)
    return names


def classes_of(segmenter: "Predictor") -> MaskClasses:
    """Return the classes of the pixels that a segmenter predicts."""
    hparams = segmenter.module.hparams
    return MaskClasses.of(hparams["levels"], hparams["ignore"])


class _Writer(L.Callback):
    """Write the masks of each batch as it is predicted, so that memory does not grow with their number."""

    def __init__(self, segmenter: "Predictor", data: LabelledData, paths: Sequence[Path]) -> None:
        preprocess = Preprocess(**segmenter.record["preprocess"])
        parts = shown_parts(data, keys.IMAGE, preprocess)
        self._places = [Geometry(*map(int, part)) for part in parts.to_numpy().tolist()]
        self._paths, self._levels = paths, classes_of(segmenter).pixels()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: object
    ) -> None:
        rows = outputs[keys.INDEX].cpu().tolist()
        for row, probabilities in zip(rows, outputs["probabilities"].float().cpu().numpy(), strict=True):
            place = self._places[row]
            size = (place.picture_height, place.picture_width)
            classes = enlarged(probabilities, place.box, size).argmax(axis=0)
            content = BytesIO()
            Image.fromarray(self._levels[classes]).save(content, "PNG")
            put(self._paths[row], content.getvalue())
