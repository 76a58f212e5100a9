"""The crop to the mask: pixels outside it never reach the network, and maps return to the original pixels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed
from PIL import Image
from test_geometry import found

from fibrolab import keys
from fibrolab.data import geometry
from fibrolab.data.cache import PixelStore
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media, View
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import read_image
from fibrolab.data.splits import Split
from fibrolab.errors import ConfigError, DataError
from fibrolab.loading import surveyed
from fibrolab.training import settings

SIDE, HEIGHT, WIDTH = 32, 60, 80
LIVER, TEXT = 2, 5
PARTITIONS = np.array([keys.TRAIN, keys.VALIDATION, keys.TEST], object)


def disc(x: int = 40, y: int = 30, radius: int = 18) -> np.ndarray:
    """Return a mask with a disc of liver, and a line of text in a corner; uint8 (H, W)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    mask = np.uint8(LIVER * ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2))
    mask[2:5, 2:20] = TEXT
    return mask


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def clinic(folder: Path, **columns: list) -> LabelledData:
    """Return three pictures of noise with a disc as mask."""
    for number in range(3):
        Image.fromarray(noise(number)).save(folder / f"{number}.png")
        Image.fromarray(disc(30 + 8 * number)).save(folder / f"m{number}.png")
    rows = {
        keys.SAMPLE_ID: ["a", "b", "c"],
        keys.LABEL: [0, 1, 0],
        keys.IMAGE: ["0.png", "1.png", "2.png"],
        keys.MASK: ["m0.png", "m1.png", "m2.png"],
    }
    manifest = Manifest(pd.DataFrame(rows | columns), ("no", "yes"), "discs", folder)
    manifest, facts = surveyed(manifest, folder / "cache", "error")
    return LabelledData(manifest, facts, manifest.labels, ["no", "yes"], Split(PARTITIONS, 0, 0))


def datamodule(data: LabelledData, preprocess: Preprocess) -> FibrosisDataModule:
    store = PixelStore(data.manifest.root / "cache" / "pixels", preprocess)
    return FibrosisDataModule(data=data, stores={keys.IMAGE: store}, batch_size=3, num_workers=0)


def pixels(data: LabelledData, preprocess: Preprocess) -> np.ndarray:
    """Return the network's input of each sample, uint8 (N, H, W)."""
    module = datamodule(data, preprocess)
    module.prepare_data()
    rows = np.arange(3)
    return np.concatenate([module.pixels(keys.IMAGE, rows).read(row, None) for row in rows])


@pytest.mark.parametrize("more", [{}, {"equalize": "both"}, {"denoise": 8.0, "denoise_search": 7}])
def test_pixels_outside_the_mask_change_nothing(tmp_path: Path, more: dict) -> None:
    preprocess = Preprocess(size=SIDE, crop="mask", crop_levels=[LIVER], **more)
    before = pixels(clinic(tmp_path), preprocess)
    for number in range(3):
        inside = disc(30 + 8 * number) == LIVER
        Image.fromarray(np.where(inside, noise(number), noise(9))).save(tmp_path / f"{number}.png")
    data = clinic_again(tmp_path)
    np.testing.assert_array_equal(pixels(data, preprocess), before)
    assert (pixels(data, Preprocess(size=SIDE, **more)) != before).any()


def clinic_again(folder: Path) -> LabelledData:
    """Return the clinic of these files as they are now."""
    kept = {path: path.read_bytes() for path in folder.glob("*.png")}
    data = clinic(folder)
    for path, content in kept.items():
        path.write_bytes(content)
    manifest, facts = surveyed(data.manifest, folder / "cache", "error")
    return LabelledData(manifest, facts, data.labels, data.classes, data.split)


def test_the_input_is_the_box_of_the_mask_and_follows_another_mask(tmp_path: Path) -> None:
    data, preprocess = clinic(tmp_path), Preprocess(size=37, crop="mask", crop_levels=[LIVER])
    before = datamodule(data, preprocess).digests(keys.IMAGE)
    inside = disc(30) == LIVER
    np.testing.assert_array_equal(
        pixels(data, preprocess)[0], np.where(inside, noise(0), 0)[12:49, 12:49]
    )  # 18 pixels on each side of the centre, without scaling
    np.testing.assert_array_equal(
        pixels(data, Preprocess(size=SIDE, crop="mask"))[0],
        Preprocess(size=SIDE)(np.where(disc(30) > 0, noise(0), np.uint8(0))[2:49, 2:49]),
    )
    Image.fromarray(disc(30, radius=12)).save(tmp_path / "m0.png")
    after = datamodule(data, preprocess)
    assert (after.digests(keys.IMAGE) == before).tolist() == [False, True, True]
    assert (pixels(data, preprocess)[0] > 0).sum() > (37**2) * 0.6  # the smaller disc fills the input
    parts = geometry.shown_parts(data, keys.IMAGE, preprocess)
    assert parts.iloc[0].tolist() == [WIDTH, HEIGHT, 18, 18, 25, 25]


@pytest.mark.parametrize("box", [None, "6 4 70 52"])
def test_a_bright_marker_returns_within_a_pixel(tmp_path: Path, box: str | None) -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    spot = np.exp(-((columns - 47.0) ** 2 + (rows - 26.0) ** 2) / 18)
    Image.fromarray((90 + 160 * spot).astype(np.uint8)).save(tmp_path / "scan.png")
    Image.fromarray(disc()).save(tmp_path / "mask.png")
    view = View.parse(box=box or "")
    media = Media(tmp_path / "scan.png", view, mask=tmp_path / "mask.png")
    preprocess = Preprocess(size=56, crop="mask", crop_levels=[LIVER])
    _, place = geometry.picture(media, preprocess)
    assert tuple(place.box) == (22, 12, 37, 37)
    used = view.rectangle(disc(), media.path)
    network_input = preprocess(read_image(media.path, view), preprocess.kept(used.of(disc())))
    np.testing.assert_allclose(found(network_input, place), (47, 26), atol=1)


def test_masks_that_cannot_be_used_are_refused_together(tmp_path: Path) -> None:
    preprocess = Preprocess(size=SIDE, crop="mask", crop_levels=[LIVER])
    with pytest.raises(ConfigError, match=r"needs a mask for every image of 'discs'.*samples a, c.*evaluate"):
        datamodule(clinic(tmp_path, mask=["", "m1.png", ""]), preprocess)
    data = clinic(tmp_path)
    Image.fromarray(np.uint8(disc() == TEXT) * np.uint8(TEXT)).save(tmp_path / "m0.png")
    Image.fromarray(disc()[:50]).save(tmp_path / "m2.png")
    with pytest.raises(DataError, match=r"(?s)2 files.*0.png: preprocess.crop=mask keeps none .*80 x 50"):
        datamodule(data, preprocess).prepare_data()
    (tmp_path / "m1.png").unlink()
    (tmp_path / "m2.png").unlink()
    with pytest.raises(DataError, match=r"(?s)2 masks cannot be opened.*m1.png.*m2.png"):
        datamodule(data, preprocess).prepare_data()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model=unet", "preprocess.crop=mask"], "would show a segmenter the masks that it learns"),
        (["model=video", "data=phantom_clips", "preprocess.crop=mask"], "a mask labels no clip"),
        (["preprocess.segmenter=abc"], "segmenter=abc makes the masks of preprocess.crop=mask: set that too"),
        (["preprocess.crop_levels=[2]"], r"crop_levels is \[2\]; null, or a list of .* with crop=mask"),
        (["preprocess.crop=mask", "preprocess.crop_levels=[2,2]"], "list of different whole numbers"),
    ],
)
def test_settings_against_the_crop_are_refused(words: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        settings.check(composed(f"paths.root={tmp_path}", *words))
