"""The source of clips: one manifest for networks on clips and networks on stills of the same patients."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from fibrolab import keys
from fibrolab.data import splits
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.formats import video
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import MIDDLE, View
from fibrolab.data.readers import decode_clip, read_bytes, read_image
from fibrolab.data.sources.clips import load
from fibrolab.errors import DataError, UnreadableImageError
from fibrolab.loading import surveyed

FRAMES = 9
Load = Callable[..., Manifest]


def film(seed: int = 0) -> np.ndarray:
    """Return frames of coarse noise, uint8 (9, 32, 48), whose brightness increases with their number."""
    noise = np.random.default_rng(seed).integers(0, 60, (FRAMES, 4, 6))
    frames = np.kron(noise, np.ones((1, 8, 8), int)) + 20 * np.arange(FRAMES)[:, None, None]
    return frames.astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for seed, name in enumerate(("a.avi", "b.mp4", "c.mkv")):
        video.write(tmp_path / "clips" / name, film(seed), fps=15)
    shutil.copy(str(get_testdata_file("examples_ybr_color.dcm")), tmp_path / "clips" / "d.dcm")
    Image.fromarray(film(9)[0]).save(tmp_path / "still.png")
    return tmp_path


@pytest.fixture
def loaded(folder: Path) -> Load:
    """Return a function that reads a table of the given lines."""

    def read(*lines: str, **settings: object) -> Manifest:
        (folder / "clips.csv").write_text("\n".join(lines))
        return load(path=folder / "clips.csv", **settings)

    return read


FOUR = (
    "clip,patient_id,label,image",
    "clips/a.avi,p1,F0,still.png",
    "clips/b.mp4,p2,F2,",
    "clips/c.mkv,p2,F2,",
    "clips/d.dcm,p3,F4,",
)


def test_every_row_has_a_clip_and_a_picture(folder: Path, loaded: Load) -> None:
    manifest = loaded(*FOUR)
    assert manifest.modalities == (keys.IMAGE, keys.CLIP)
    stills = manifest.media(keys.IMAGE)
    assert [item.path.name for item in stills] == ["still.png", "b.mp4", "c.mkv", "d.dcm"]
    assert [item.view for item in stills] == [View(), *[View(MIDDLE)] * 3]
    assert manifest.groups.tolist() == ["p1", "p2", "p2", "p3"]
    assert manifest.labels.tolist() == [0, 2, 2, 4]
    assert manifest.table[keys.SAMPLE_ID].tolist() == [
        f"clips/{name}" for name in ("a.avi", "b.mp4", "c.mkv", "d.dcm")
    ]


def test_a_row_without_a_still_uses_the_middle_frame_of_its_clip(loaded: Load) -> None:
    for item, clip in zip(loaded(*FOUR).media()[1:], loaded(*FOUR).media(keys.CLIP)[1:], strict=True):
        frames = decode_clip(read_bytes(clip.path), clip.path).frames
        middle = to_grey(read_image(item.path, item.view)).astype(int)
        assert (
            np.abs(middle - frames[len(frames) // 2]).mean() < 2.5
        )  # luma of RGB and of the film round apart
        assert np.abs(middle - frames[0]).mean() > 4 or "d.dcm" in str(item.path)


def test_clips_of_every_container_are_surveyed_and_sampled(folder: Path, loaded: Load) -> None:
    manifest, facts = surveyed(loaded(*FOUR), folder / "cache", "error")
    assert len(manifest) == 4
    counts = facts[keys.CLIP]["frames"].tolist()
    assert counts == [FRAMES, FRAMES, FRAMES, 30]
    assert facts[keys.CLIP]["fps"].tolist()[:3] == pytest.approx([15] * 3, abs=0.02)
    assert (
        Segment(length=FRAMES).check(manifest.table[keys.SAMPLE_ID], counts, facts[keys.CLIP]["fps"]) is None
    )


def test_the_split_does_not_depend_on_the_stills(loaded: Load) -> None:
    rows = [f"clips/{i}.mp4,p{i // 2},F{i // 2 % 5}" for i in range(200)]
    without = loaded("clip,patient_id,label", *rows)
    stills = loaded("clip,patient_id,label,image", *(f"{row},stills/{i}.png" for i, row in enumerate(rows)))
    assert without.hash == stills.hash
    np.testing.assert_array_equal(splits.holdout(without).partitions, splits.holdout(stills).partitions)


def test_a_clip_with_several_stills_has_a_row_for_each(loaded: Load) -> None:
    manifest = loaded(
        "clip,patient_id,label,image", "a.avi,p1,F0,s1.png", "a.avi,p1,F0,s2.png", "b.avi,p2,F1,s3.png"
    )
    assert manifest.table[keys.SAMPLE_ID].tolist() == ["a.avi#s1.png", "a.avi#s2.png", "b.avi"]
    assert manifest.groups.tolist() == ["p1", "p1", "p2"]


def test_several_frames_of_a_clip_are_several_stills(loaded: Load) -> None:
    manifest = loaded("clip,patient_id,label,frame", "a.avi,p1,F0,0", "a.avi,p1,F0,5", "b.avi,p2,F1,")
    assert manifest.table[keys.SAMPLE_ID].tolist() == ["a.avi#a.avi#0", "a.avi#a.avi#5", "b.avi"]


def test_a_frame_may_be_given_for_the_still_or_for_the_clip_used_instead(loaded: Load) -> None:
    manifest = loaded(
        "clip,patient_id,label,image,frame", "a.avi,p1,F0,s.dcm,3", "b.avi,p2,F0,,5", "c.avi,p3,F0,,"
    )
    assert [item.view.frame for item in manifest.media()] == [3, 5, MIDDLE]
    assert {item.view for item in manifest.media(keys.CLIP)} == {View()}


def test_all_rows_without_clip_or_patient_are_reported_at_once(loaded: Load) -> None:
    with pytest.raises(DataError) as caught:
        loaded("clip,patient_id,label,image", "a.avi,p1,F0,", "b.avi,,F0,", ",p3,F1,s.png")
    assert "has 2 fault(s)" in str(caught.value)
    assert "row 3: patient_id is empty: clips of one patient must stay together" in str(caught.value)
    assert "row 4: clip is empty: every row needs a clip" in str(caught.value)


def test_the_same_clip_and_still_twice_is_a_fault(loaded: Load) -> None:
    with pytest.raises(DataError, match=r"row 3: sample_id 'a\.avi#a\.avi#middle' is repeated"):
        loaded("clip,patient_id,label", "a.avi,p1,F0", "a.avi,p1,F0")


@pytest.mark.parametrize("lacking", ["clip", "patient_id"])
def test_a_missing_column_is_named(loaded: Load, lacking: str) -> None:
    cells = {"clip": "a.avi", "patient_id": "p1", "label": "F0"}
    del cells[lacking]
    with pytest.raises(DataError, match=f"has no column {lacking}"):
        loaded(",".join(cells), ",".join(cells.values()))


def test_a_picture_given_as_a_clip_is_refused_when_it_is_read(loaded: Load) -> None:
    manifest = loaded("clip,patient_id,label", "still.png,p1,F0")
    (picture,) = manifest.media(keys.CLIP)
    with pytest.raises(UnreadableImageError, match=r"still\.png: .*picture"):
        decode_clip(read_bytes(picture.path), picture.path)


def test_clinical_columns_and_other_names_pass_through(folder: Path, loaded: Load) -> None:
    header = "film,MRN,label,lsm_kpa,platelets_1e9_l,operator"
    manifest = loaded(header, "clips/a.avi,001,F0,4.5,210,ann", columns={"clip": "film", "patient_id": "MRN"})
    assert manifest.table[keys.PATIENT_ID].tolist() == ["001"]
    assert manifest.table[keys.LSM_KPA].tolist() == [4.5]
    assert manifest.table["operator"].tolist() == ["ann"]


def test_a_parquet_table_is_read_like_csv(folder: Path, loaded: Load) -> None:
    by_csv = loaded(*FOUR)
    pd.read_csv(folder / "clips.csv").to_parquet(folder / "clips.parquet")
    by_parquet = load(path=folder / "clips.parquet")
    assert by_parquet.hash == by_csv.hash
    assert by_parquet.media() == by_csv.media()
