"""Masks: label maps that are cut, resized and augmented like their images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fibrolab import keys
from fibrolab.data.cache import PixelStore
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.masks import mean_mask
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode_labels
from fibrolab.data.splits import Split
from fibrolab.data.survey import survey
from fibrolab.errors import ConfigError, DataError, UnreadableImageError
from fibrolab.mask_classes import MaskClasses

SIDE = 32
PARTITIONS = [keys.TRAIN, keys.TRAIN, keys.TRAIN, keys.VALIDATION, keys.TEST, keys.TEST]
TURNS = [{"name": "HorizontalFlip"}, {"name": "Affine", "rotate": [-40, 40], "p": 1.0}]


def levels(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    """Return labels 0, 1, 2 in blocks of eight pixels, with a corner that any flip or rotation changes."""
    coarse = np.random.default_rng(seed).integers(0, 3, (height // 8, width // 8 + 1))
    return np.kron(coarse, np.ones((8, 8), int))[:height, :width].astype(np.uint8)


def clinic(folder: Path, **columns: list) -> LabelledData:
    """Return six images whose grey level is a hundred times the label of the pixel."""
    for i in range(6):
        Image.fromarray(levels(i)).save(folder / f"m{i}.png")
        Image.fromarray(100 * levels(i)).save(folder / f"{i}.png")
    rows = {
        keys.SAMPLE_ID: [f"s{i}" for i in range(6)],
        keys.LABEL: [0, 1] * 3,
        keys.IMAGE: [f"{i}.png" for i in range(6)],
        keys.ROI: [f"{i} 3 {SIDE} {SIDE}" for i in range(6)],
        keys.MASK: [f"m{i}.png" for i in range(6)],
    }
    manifest = Manifest(pd.DataFrame(rows | columns), ("a", "b"), "masks", folder)
    facts = {keys.IMAGE: survey(manifest.media(), folder / "cache")}
    split = Split(np.array(PARTITIONS, object), 0, 0)
    return LabelledData(manifest, facts, manifest.labels, ["a", "b"], split)


def datamodule(data: LabelledData, settings: Preprocess, **more: object) -> FibrosisDataModule:
    root = data.manifest.root / "cache" / "pixels"
    stores = {name: PixelStore(root, settings.of(name)) for name in (keys.IMAGE, keys.MASK)}
    module = FibrosisDataModule(data=data, stores=stores, batch_size=3, num_workers=0, **more)
    module.setup("fit")
    return module


def test_a_mask_is_cut_by_the_rectangle_of_its_image_and_cached(tmp_path: Path) -> None:
    data = clinic(tmp_path)
    module = datamodule(data, Preprocess(size=SIDE))
    (batch,) = module.train_dataloader()
    assert batch[keys.MASK].shape == (3, 1, SIDE, SIDE)
    assert (batch[keys.IMAGE] == 100 * batch[keys.MASK]).all()
    stored = module.stores[keys.MASK].pixels_path.read_bytes()
    datamodule(data, Preprocess(size=SIDE))
    assert module.stores[keys.MASK].pixels_path.read_bytes() == stored
    assert len(stored) == 6 * SIDE**2


def test_a_mask_moves_like_its_image_and_keeps_whole_labels(tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path), Preprocess(size=SIDE), transforms=TURNS)
    (batch,) = module.train_dataloader()
    image, mask = batch[keys.IMAGE].int(), batch[keys.MASK].int()
    assert set(mask.unique().tolist()) <= {0, 1, 2}
    assert (
        (image - 100 * mask).abs() <= 50
    ).float().mean() > 0.9  # except at edges, which are interpolated in the image
    (plain,) = datamodule(clinic(tmp_path), Preprocess(size=SIDE)).train_dataloader()
    assert (plain[keys.MASK] != batch[keys.MASK]).any()


def test_a_mask_is_cropped_and_resized_like_its_image(tmp_path: Path) -> None:
    image, mask = np.zeros((80, 100), np.uint8), np.zeros((80, 100), np.uint8)
    image[20:60, 30:80] = np.random.default_rng(0).integers(90, 120, (40, 50))
    mask[20:60, 30:80] = np.repeat([1, 2], 25)
    settings = Preprocess(size=20, crop="borders")
    assert (settings.of_masks().mask(mask, image) == np.repeat([1, 2], 10)).all()


def test_a_sample_without_a_mask_is_marked(tmp_path: Path) -> None:
    data = clinic(tmp_path, mask=["m0.png", "", "m2.png", "", "m4.png", ""])
    (batch,) = datamodule(data, Preprocess(size=SIDE)).train_dataloader()
    here = batch[keys.INDEX] % 2 == 0
    assert (batch[keys.present(keys.MASK)] == here).all()
    assert not batch[keys.MASK][~here].any()


def test_masks_that_cannot_be_used_are_named_together(tmp_path: Path) -> None:
    data = clinic(tmp_path)
    Image.fromarray(levels(1, 48)).save(tmp_path / "m1.png")
    Image.fromarray(levels(2)).convert("RGB").save(tmp_path / "m2.png")
    with pytest.raises(
        DataError, match=r"(?s)m1.png: the mask has 50 x 48 .* image 1.png 50 x 40.*m2.png: is not"
    ):
        datamodule(data, Preprocess(size=SIDE))
    (tmp_path / "m1.png").unlink()
    (tmp_path / "m3.png").unlink()
    with pytest.raises(
        DataError, match=r"(?s)Masks that cannot be used: 3.*m1.png: there is no.*m2.png: is not.*m3.png"
    ):
        datamodule(data, Preprocess(size=SIDE))
    with pytest.raises(ConfigError, match="augment_on=device does not move masks"):
        datamodule(data, Preprocess(size=SIDE), transforms=TURNS, augment_on="device")


def test_labels_are_read_as_they_are_stored(tmp_path: Path) -> None:
    labels = Image.fromarray(levels(0))
    palette = labels.copy()
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    two = Image.fromarray(levels(0) > 0)
    for name, picture, stored in (
        ("l", labels, levels(0)),
        ("p", palette, levels(0)),
        ("1", two, levels(0) > 0),
    ):
        picture.save(path := tmp_path / f"{name}.png")
        assert (decode_labels(path.read_bytes(), path) == stored).all()
    labels.save(path := tmp_path / "l.jpg")
    with pytest.raises(UnreadableImageError, match=r"is not a label map \(JPEG, mode L\)"):
        decode_labels(path.read_bytes(), path)


def test_masks_have_their_own_cache_and_do_not_change_the_names_of_others() -> None:
    settings = Preprocess(size=SIDE, denoise=10)
    assert settings.of(keys.IMAGE).key() == settings.key() != settings.of(keys.MASK).key()
    assert Preprocess(size=SIDE).of_masks().key() != Preprocess(size=SIDE).key()


def test_the_mean_mask_has_the_classes_of_more_than_half_of_the_masks() -> None:
    masks = [np.array([[2, 2, 4, 255, 0]]), np.array([[3, 0, 4, 2, 4]]), np.array([[0, 0, 2, 255, 2]])]
    classes = MaskClasses.of({"liver": [2, 3], "lesion": [4]}, 255)
    assert mean_mask(masks, classes).tolist() == [[1, 0, 2, 1, 0]]
