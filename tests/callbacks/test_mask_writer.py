"""Predicted masks in the pixels of the original pictures, their measures, and the mean training mask."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fibrolab import keys
from fibrolab.callbacks.mask_writer import MaskWriter
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.masks import Reader
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode_labels
from fibrolab.data.splits import Split
from fibrolab.evaluation.segmentation import images
from fibrolab.mask_classes import MaskClasses

SIDE, HEIGHT, WIDTH = 32, 90, 120
CLASSES = MaskClasses.of({"liver": [2, 3], "lesion": [4]}, 255)
TRUE = np.zeros((HEIGHT, WIDTH), np.uint8)
TRUE[30:70, 40:90], TRUE[40:50, 50:60], TRUE[60:64, 70:80] = 2, 4, 255
NO_BASELINE = np.zeros((SIDE, SIDE), np.int64)


def data(folder: Path, **columns: list) -> LabelledData:
    """Return one test image within a black border, and its mask."""
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    grey[20:80, 30:110] = np.random.default_rng(0).integers(90, 120, (60, 80))
    Image.fromarray(grey).save(folder / "a.png")
    Image.fromarray(TRUE).save(folder / "a_mask.png")
    row = {keys.SAMPLE_ID: ["a"], keys.LABEL: [0], keys.IMAGE: ["a.png"], keys.MASK: ["a_mask.png"]}
    manifest = Manifest(pd.DataFrame(row | columns), ("one", "two"), "masks", folder)
    split = Split(np.array([keys.TEST], object), 0, 0)
    return LabelledData(manifest, {}, manifest.labels, ["one", "two"], split, CLASSES)


def written(folder: Path, given: LabelledData, preprocess: Preprocess, seen: np.ndarray) -> np.ndarray:
    """Write the mask of a network that predicts these classes of its input, and return the file's pixels."""
    writer = MaskWriter(folder, given, CLASSES, preprocess, 0, (keys.TEST,), NO_BASELINE)
    probabilities = np.eye(3, dtype=np.float32)[seen].transpose(2, 0, 1)
    answer = {keys.INDEX: torch.tensor([0]), "probabilities": torch.from_numpy(probabilities)[None]}
    trainer: Any = SimpleNamespace(is_global_zero=True)
    module: Any = None
    writer.on_predict_start(trainer, module)
    writer.write_on_batch_end(trainer, module, answer, None, {}, 0, 0)
    writer.on_predict_epoch_end(trainer, module)
    (path,) = pd.read_csv(folder / keys.MASKS_FILE)[keys.MASK]
    return decode_labels((folder / path).read_bytes(), folder / path)


@pytest.mark.parametrize(
    ("crop", "columns"), [("none", {}), ("borders", {}), ("none", {keys.ROI: ["20 10 90 75"]})]
)
def test_a_perfect_prediction_comes_back_within_a_pixel(crop: str, columns: dict, tmp_path: Path) -> None:
    given, preprocess = data(tmp_path, **columns), Preprocess(size=SIDE, crop=crop)
    (mask,) = given.manifest.masks().values()
    found = Reader().labelled(mask)
    seen = CLASSES.table()[preprocess.of_masks().mask(found.labels, found.image)].clip(0)
    mine = written(tmp_path, given, preprocess, seen)
    assert mine.shape == TRUE.shape
    assert set(np.unique(mine)) == {0, 2, 4}
    for level in (2, 4):
        places = [np.argwhere(each == level) for each in (TRUE, mine)]
        step = max(preprocess.crop_box(found.image)[2:]) / SIDE  # pixels of the picture in one of the input
        for end in (np.min, np.max):
            assert np.abs(end(places[0], axis=0) - end(places[1], axis=0)).max() <= np.ceil(step / 2)
    rows = images.read(tmp_path / keys.MASK_MEASURES_FILE)
    network, baseline = (rows[rows[images.OF] == of] for of in (images.NETWORK, images.MEAN_MASK))
    assert (network["dice"] > 0.8).all()
    assert (baseline["dice"] == 0).all()
    assert rows[images.UNIT].unique() == ["px"]
    assert network[images.AREA_TRUE].tolist() == [(TRUE == 2).sum(), (TRUE == 4).sum()]


def test_distances_are_in_millimetres_where_the_spacing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fibrolab.callbacks.mask_writer.spacing", lambda path: (0.5, 0.25))
    written(tmp_path, data(tmp_path), Preprocess(size=SIDE), NO_BASELINE + 1)
    rows = images.read(tmp_path / keys.MASK_MEASURES_FILE)
    assert rows[images.UNIT].unique() == ["mm"]
    assert rows[images.AREA_PREDICTED].max() == ((TRUE != 255).sum()) / 8
