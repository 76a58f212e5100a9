"""Masks of films and series: each file is read once for all frames, with the results of single readings."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dicom_case
import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fibrolab import keys
from fibrolab.callbacks import mask_writer
from fibrolab.data import cache, geometry, masks, readers
from fibrolab.data.cache import PixelStore
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.formats import video
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode, decode_labels
from fibrolab.data.splits import Split
from fibrolab.data.survey import survey

FRAMES, HEIGHT, WIDTH, SIDE = 6, 24, 32, 16
LEVELS = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH)).astype(np.uint8)
MAPS = np.kron(np.random.default_rng(1).integers(0, 3, (FRAMES, 3, 4)), np.ones((8, 8), int)).astype(np.uint8)
FILM_UID = "1.2.3"
Files = tuple[list[str], list[str], list[str]]  # image, frame and mask of each sample


def film(folder: Path) -> list[str]:
    """Write one film, and return it as the image of each of its frames."""
    tags = {"NumberOfFrames": FRAMES, "SOPInstanceUID": FILM_UID}
    (folder / "film.dcm").write_bytes(dicom_case.saved(dicom_case.dataset(LEVELS, **tags)))
    return ["film.dcm"] * FRAMES


def in_a_seg(folder: Path, sources: list) -> list[str]:
    """Write one SEG with two segments of each frame."""
    segments = np.stack([levels == number for levels in MAPS for number in (1, 2)])
    dicom_case.seg(folder / "mask.dcm", segments, [1, 2] * FRAMES, sources=sources)
    return ["mask.dcm"] * FRAMES


def film_with_a_seg(folder: Path) -> Files:
    sources = [(FILM_UID, frame + 1) for frame in range(FRAMES) for _ in range(2)]
    return film(folder), list(map(str, range(FRAMES))), in_a_seg(folder, sources)


def series_with_a_seg(folder: Path) -> Files:
    for number, levels in enumerate(LEVELS):
        scan = dicom_case.dataset(levels, SOPInstanceUID=f"1.2.{number}")
        (folder / f"{number}.dcm").write_bytes(dicom_case.saved(scan))
    labels = in_a_seg(folder, [(f"1.2.{number}", None) for number in range(FRAMES) for _ in range(2)])
    return [f"{number}.dcm" for number in range(FRAMES)], [""] * FRAMES, labels


def film_with_slices(folder: Path) -> Files:
    nibabel.save(nibabel.Nifti1Image(MAPS.T, np.eye(4)), folder / "mask.nii.gz")
    return film(folder), list(map(str, range(FRAMES))), ["mask.nii.gz"] * FRAMES


def video_with_slices(folder: Path) -> Files:
    video.write(folder / "film.mkv", LEVELS, 25)
    nibabel.save(nibabel.Nifti1Image(MAPS.T, np.eye(4)), folder / "mask.nii")
    return ["film.mkv"] * FRAMES, list(map(str, range(FRAMES))), ["mask.nii"] * FRAMES


def film_with_pictures(folder: Path) -> Files:
    names = [f"mask{FRAMES - number}.png" for number in range(FRAMES)]  # in another order than the frames
    for name, levels in zip(names, MAPS, strict=True):
        Image.fromarray(levels).save(folder / name)
    return film(folder), list(map(str, range(FRAMES))), names


KINDS = [film_with_a_seg, series_with_a_seg, film_with_slices, video_with_slices, film_with_pictures]


@pytest.fixture(params=KINDS, ids=[kind.__name__ for kind in KINDS])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> LabelledData:
    """Samples of all frames in a shuffled order."""
    write: Callable[[Path], Files] = request.param
    images, frames, labels = write(tmp_path)
    rows = pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"s{number}" for number in range(FRAMES)],
            keys.LABEL: [0, 1] * (FRAMES // 2),
            keys.IMAGE: images,
            keys.FRAME: frames,
            keys.MASK: labels,
        }
    )
    manifest = Manifest(rows.iloc[[3, 0, 5, 1, 4, 2]].reset_index(drop=True), ("a", "b"), "films", tmp_path)
    facts = {keys.IMAGE: survey(manifest.media(), None)}
    parts = np.array([keys.TRAIN] * 4 + [keys.VALIDATION, keys.TEST], object)
    return LabelledData(manifest, facts, manifest.labels, ["a", "b"], Split(parts, 0, 0))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Count how often each file is opened."""
    counted: Counter = Counter()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: counted.update([path.name]) or read(path))
    return counted


def once(data: LabelledData, *columns: str) -> dict[str, int]:
    return {str(name): 1 for column in columns for name in data.manifest.table[column]}


def test_masks_are_stored_from_one_reading_of_each_file(
    data: LabelledData, tmp_path: Path, reads: Counter
) -> None:
    media = list(data.manifest.masks().values())
    store = PixelStore(tmp_path / "pixels", Preprocess(size=SIDE).of_masks())
    digests = digests_of(data)
    assert {name: n for name, n in reads.items() if "mask" in name} == once(data, keys.MASK)
    reads.clear()
    first = store.build(media, digests, progress=False).first
    assert {k: n for k, n in reads.items() if k != "records.bin"} == once(data, keys.MASK, keys.IMAGE)
    stored = store.open()
    for mask, slot, name in zip(media, first, data.manifest.table[keys.SAMPLE_ID], strict=True):
        labels = decode_labels(mask.path.read_bytes(), mask.path, mask.labelled)
        np.testing.assert_array_equal(labels, MAPS[int(name[1:])])
        np.testing.assert_array_equal(stored[slot], store.preprocess.mask(labels, np.zeros_like(labels)))


def digests_of(data: LabelledData) -> list[str]:
    return masks.digests(list(data.manifest.masks().values()), data.facts[keys.IMAGE]["sha256"].tolist())


def test_pictures_are_cropped_to_masks_from_one_reading_of_each_file(
    data: LabelledData, tmp_path: Path, reads: Counter
) -> None:
    settings = Preprocess(size=SIDE, crop="mask", crop_levels=[1])
    store = PixelStore(tmp_path / "pixels", settings)
    module = FibrosisDataModule(data=data, stores={keys.IMAGE: store}, batch_size=3, num_workers=0)
    digests = module.digests(keys.IMAGE).tolist()
    assert reads == once(data, keys.MASK)
    reads.clear()
    media = data.manifest.media()
    first = store.build(media, digests, progress=False).first
    assert {k: n for k, n in reads.items() if k != "records.bin"} == once(data, keys.MASK, keys.IMAGE)
    reads.clear()
    parts = geometry.shown_parts(data, keys.IMAGE, settings)
    assert reads == once(data, keys.MASK, keys.IMAGE)
    stored = store.open()
    for row, (image, slot) in enumerate(zip(media, first, strict=True)):
        kept = MAPS[int(data.manifest.table[keys.SAMPLE_ID][row][1:])] == 1
        shown = decode(image.path.read_bytes(), image.path, image.view)
        np.testing.assert_array_equal(stored[slot], settings(shown, kept))
        assert parts.iloc[row, 2] == np.flatnonzero(kept.any(axis=0))[0]


def test_the_spacing_of_a_file_is_read_once_for_all_of_its_frames(data: LabelledData, reads: Counter) -> None:
    rows = dict(enumerate(data.manifest.masks().values()))
    assert len(mask_writer._spacings(rows)) == FRAMES
    assert max(reads.values()) == 1


def test_a_long_file_of_masks_is_read_once_for_each_batch(
    tmp_path: Path, reads: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ONE_PASS", 4)
    images, frames, names = film_with_slices(tmp_path)
    columns = {keys.IMAGE: images, keys.FRAME: frames, keys.MASK: names, keys.LABEL: [0] * FRAMES}
    table = pd.DataFrame({keys.SAMPLE_ID: list("abcdef"), **columns})
    manifest = Manifest(table, ("a", "b"), "film", tmp_path)
    media = list(manifest.masks().values())
    digests = masks.digests(media, survey(manifest.media(), None)["sha256"].tolist())
    reads.clear()
    PixelStore(tmp_path / "pixels", Preprocess(size=SIDE).of_masks()).build(media, digests, progress=False)
    assert reads["mask.nii.gz"] == reads["film.dcm"] == 2


def test_labels_of_one_file_are_those_of_single_readings_in_any_order(data: LabelledData) -> None:
    files = readers.Latest()
    for mask in [*data.manifest.masks().values()] * 2:
        together = files(mask.path).labels(mask.labelled)
        np.testing.assert_array_equal(
            together, decode_labels(mask.path.read_bytes(), mask.path, mask.labelled)
        )
