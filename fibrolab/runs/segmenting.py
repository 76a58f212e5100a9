"""The callback that writes a segmenter's masks of images that have none, in the pixels of the pictures."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning as L
from PIL import Image

from fibrolab import keys
from fibrolab.data.geometry import Geometry, shown_parts
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.masks import enlarged
from fibrolab.data.preprocess import Preprocess
from fibrolab.mask_classes import MaskClasses
from fibrolab.modules.base import TrainedModule
from fibrolab.storage import put


def classes_of(segmenter: TrainedModule) -> MaskClasses:
    """Return the classes of the pixels that a segmenter predicts."""
    return MaskClasses.of(segmenter.hparams["levels"], segmenter.hparams["ignore"])


class MaskFiles(L.Callback):
    """Write the masks of each batch as it is predicted, so that memory does not grow with their number.

    A mask is a PNG in the pixels of the original picture, with the first grey level of each class; what the
    network does not see is background.

    Args:
        data: The samples, all with an image.
        classes: Classes of the segmenter.
        preprocess: Preprocessing of its images.
        paths: File of each sample's mask, (N,).
    """

    def __init__(
        self, data: LabelledData, classes: MaskClasses, preprocess: Preprocess, paths: Sequence[Path]
    ) -> None:
        parts = shown_parts(data, keys.IMAGE, preprocess)
        self._places = [Geometry(*map(int, part)) for part in parts.to_numpy().tolist()]
        self._paths, self._levels = paths, classes.pixels()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: object
    ) -> None:
        """Write the masks of one batch."""
        rows = outputs[keys.INDEX].cpu().tolist()
        for row, probabilities in zip(rows, outputs["probabilities"].float().cpu().numpy(), strict=True):
            place = self._places[row]
            size = (place.picture_height, place.picture_width)
            classes = enlarged(probabilities, place.box, size).argmax(axis=0)
            content = BytesIO()
            Image.fromarray(self._levels[classes]).save(content, "PNG")
            put(self._paths[row], content.getvalue())
