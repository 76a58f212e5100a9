"""Focal lesions: rectangles from a table, cut from real files, lesions of one image kept together."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from fibrolab import keys
from fibrolab.data.box import Box
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.manifest import Manifest
from fibrolab.data.readers import read_image
from fibrolab.data.sources.focal_lesions import CLASSES, CORNERS, SIDES, load, rectangles
from fibrolab.errors import ConfigError, DataError, UnreadableImageError
from fibrolab.loading import surveyed

HEADER = "image,label,patient_id,left,top,width,height"
Load = Callable[..., Manifest]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images of 40 x 30 pixels with different noise."""
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (30, 40), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def loaded(folder: Path) -> Load:
    """Return a function that reads a table of the given lines."""

    def read(*lines: str, **settings: object) -> Manifest:
        (folder / "lesions.csv").write_text("\n".join(lines))
        return load(path=folder / "lesions.csv", **settings)

    return read


def fault(loaded: Load, *lines: str) -> str:
    with pytest.raises(DataError) as caught:
        loaded(*lines)
    return str(caught.value)


def pixels(manifest: Manifest) -> list[np.ndarray]:
    return [read_image(item.path, item.view) for item in manifest.media()]


def test_a_lesion_is_its_rectangle_of_the_image(folder: Path, loaded: Load) -> None:
    manifest = loaded(
        HEADER, "a.png,cyst,p1,5,10,8,6", "b.png,HCC,p2,0,0,40,30", "c.png,non_FLL,p3,39,29,1,1"
    )
    whole = [read_image(folder / f"{name}.png") for name in "abc"]
    one, two, three = pixels(manifest)
    np.testing.assert_array_equal(one, whole[0][10:16, 5:13])
    np.testing.assert_array_equal(two, whole[1])
    np.testing.assert_array_equal(three, whole[2][29:, 39:])
    assert manifest.classes == CLASSES == ("non_FLL", "cyst", "FFS", "haemangioma", "HCC")
    assert manifest.labels.tolist() == [1, 4, 0]


def test_a_lesion_is_cut_from_a_dicom_image_and_converted_to_grey(folder: Path, loaded: Load) -> None:
    shutil.copy(str(get_testdata_file("examples_rgb_color.dcm")), folder / "scan")
    manifest = loaded(HEADER, "scan,FFS,p1,100,60,48,32")
    (item,) = manifest.media()
    assert pixels(manifest)[0].shape == (32, 48, 3)
    np.testing.assert_array_equal(
        to_grey(read_image(item.path, item.view)), to_grey(read_image(folder / "scan"))[60:92, 100:148]
    )


def test_the_task_and_the_data_set_have_the_classes_of_paper_3() -> None:
    config = composed("data=focal_lesions", "data.path=lesions.csv", "task=lesion")
    assert config.data.classes == config.task.classes == list(CLASSES)
    assert config.task.merge == [0, 1, 2, 3, 4]
    assert not config.task.ordered
    assert {*SIDES, *CORNERS, keys.ROI, keys.PATIENT_ID} <= set(config.data.columns)


def test_corners_and_sides_are_the_same_rectangles(loaded: Load) -> None:
    by_sides = loaded(HEADER, "a.png,cyst,p1,5,10,8,6", "b.png,HCC,p2,0,3,4,5")
    by_corners = loaded(
        "image,label,patient_id,x_min,y_min,x_max,y_max", "a.png,cyst,p1,5,10,13,16", "b.png,HCC,p2,0,3,4,8"
    )
    by_roi = loaded("image,label,patient_id,roi", "a.png,cyst,p1,5 10 8 6", "b.png,HCC,p2,0 3 4 5")
    assert by_sides.hash == by_corners.hash == by_roi.hash
    assert by_sides.media() == by_corners.media() == by_roi.media()


sides = st.tuples(st.integers(0, 9999), st.integers(0, 9999), st.integers(1, 9999), st.integers(1, 9999))


@given(st.lists(sides, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_any_rectangle_is_read_from_either_form(boxes: list, corners: bool, as_floats: bool) -> None:
    rows = [(x, y, x + w, y + h) if corners else (x, y, w, h) for x, y, w, h in boxes]
    table = pd.DataFrame(rows, columns=CORNERS if corners else SIDES, dtype=float if as_floats else int)
    found, faults = rectangles(table.astype(str))
    assert found.tolist() == [str(Box(*box)) for box in boxes]
    assert faults == []


def test_lesions_of_one_image_stay_together_by_patient_or_image(loaded: Load) -> None:
    header = f"{HEADER},group_id"
    manifest = loaded(
        header,
        "a.png,cyst,,1,1,4,4,",
        "a.png,HCC,,9,9,4,4,",
        "b.png,cyst,p1,1,1,4,4,",
        "c.png,cyst,p1,1,1,4,4,",
        "c.png,FFS,p1,9,1,4,4,",
        "d.png,FFS,,9,1,4,4,ward",
    )
    assert manifest.groups.tolist() == ["a.png", "a.png", "p1", "p1", "p1", "ward"]
    assert manifest.table[keys.SAMPLE_ID].is_unique


def test_a_visit_may_have_lesions_of_two_classes(loaded: Load) -> None:
    header = "image,label,patient_id,visit_id,left,top,width,height"
    manifest = loaded(header, "a.png,cyst,p1,v1,1,1,4,4", "a.png,HCC,p1,v1,9,9,4,4")
    assert manifest.labels.tolist() == [1, 4]


def test_all_faults_of_the_rectangles_are_reported_at_once_by_row(loaded: Load) -> None:
    lines = fault(
        loaded,
        HEADER,
        "a.png,cyst,p1,5,10,8,6",
        "a.png,cyst,p1,-5,10,8,6",
        "a.png,cyst,p1,5,10.5,8,6",
        "a.png,cyst,p1,5,10,wide,6",
        "a.png,cyst,p1,5,10,8,",
        "a.png,cyst,p1,5,10,0,6",
    ).splitlines()
    assert lines[0].endswith("has 5 fault(s):")
    assert sorted(lines[1:]) == [
        "  - row 3: left '-5' is not a whole number of pixels from 0",
        "  - row 4: top '10.5' is not a whole number of pixels from 0",
        "  - row 5: width 'wide' is not a whole number of pixels from 0",
        "  - row 6: height '' is not a whole number of pixels from 0",
        "  - row 7: the rectangle 'left 5, top 10, width 0, height 6' holds no pixel",
    ]


def test_corners_in_the_wrong_order_are_reported(loaded: Load) -> None:
    header = "image,label,x_min,y_min,x_max,y_max"
    text = fault(loaded, header, "a.png,cyst,5,10,13,16", "b.png,cyst,13,10,5,16")
    assert "row 3: the rectangle 'x_min 13, y_min 10, x_max 5, y_max 16' holds no pixel" in text


@pytest.mark.parametrize(
    ("header", "cells", "words"),
    [
        ("image,label", "a.png,cyst", "none of them: image, label"),
        ("image,label,left,top,width", "a.png,cyst,1,1,4", "none of them"),
        ("image,label,left,top,width,height,roi", "a.png,cyst,1,1,4,4,1 1 4 4", "several of them"),
        ("image,label,roi", "a.png,cyst,", "row 2: roi is empty: every lesion has a rectangle"),
        ("image,label,roi", "a.png,cyst,1 1 4", "row 2: roi.*'1 1 4' is not a rectangle"),
    ],
)
def test_a_table_must_have_rectangles_in_one_form(loaded: Load, header: str, cells: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        loaded(header, cells)


def test_an_image_of_two_patients_or_with_a_patient_in_some_rows_is_a_fault(loaded: Load) -> None:
    text = fault(
        loaded,
        HEADER,
        "a.png,cyst,p1,1,1,4,4",
        "b.png,cyst,p1,1,1,4,4",
        "a.png,FFS,p2,9,9,4,4",
        "c.png,cyst,p3,1,1,4,4",
        "c.png,cyst,,9,9,4,4",
    )
    assert "rows 2, 4: image 'a.png' has the patients 'p1' and 'p2'" in text
    assert "rows 5, 6: image 'c.png' has the patients 'p3' and ''" in text


def test_the_same_rectangle_twice_is_a_fault(loaded: Load) -> None:
    text = fault(loaded, HEADER, "a.png,cyst,p1,1,1,4,4", "a.png,FFS,p1,1,1,4,4")
    assert "row 3: sample_id 'a.png#1 1 4 4' is repeated" in text


def test_a_rectangle_outside_its_image_is_named_with_its_file_and_can_be_skipped(
    folder: Path, loaded: Load, tmp_path: Path
) -> None:
    manifest = loaded(HEADER, "a.png,cyst,p1,5,10,8,6", "b.png,HCC,p2,35,0,6,5")
    with pytest.raises(UnreadableImageError, match=r"b\.png: the rectangle 35 0 6 5 .* exceeds .* 40 x 30"):
        pixels(manifest)
    with pytest.raises(DataError, match=r"b\.png.*the rectangle 35 0 6 5"):
        surveyed(manifest, tmp_path / "cache", "error")
    kept, _ = surveyed(manifest, tmp_path / "cache", "skip")
    assert kept.table[keys.IMAGE].tolist() == ["a.png"]


def test_settings_give_other_column_names_and_other_classes(loaded: Load) -> None:
    manifest = loaded(
        "file;kind;MRN;x;y;w;h",
        "a.png;benign;007;1;2;3;4",
        "b.png;malignant;008;1;2;3;4",
        classes=("benign", "malignant"),
        columns={
            "image": "file", "label": "kind", "patient_id": "MRN",
            "left": "x", "top": "y", "width": "w", "height": "h",
        },
    )  # fmt: skip
    assert manifest.classes == ("benign", "malignant")
    assert manifest.labels.tolist() == [0, 1]
    assert manifest.groups.tolist() == ["007", "008"]
    assert manifest.table[keys.ROI].tolist() == ["1 2 3 4"] * 2


def test_a_parquet_table_of_numbers_is_read_like_csv(folder: Path, loaded: Load) -> None:
    by_csv = loaded(HEADER, "a.png,cyst,p1,5,10,8,6")
    table = pd.read_csv(folder / "lesions.csv").astype({"left": "float32", "top": "int16"})
    table.to_parquet(folder / "lesions.parquet")
    by_parquet = load(path=folder / "lesions.parquet")
    assert by_parquet.media() == by_csv.media()
    assert by_parquet.hash == by_csv.hash


def test_classes_are_filled_up_with_parts_of_the_same_lesion_in_its_group(loaded: Load) -> None:
    lines = [HEADER, "a.png,cyst,p1,4,5,20,16", "b.png,HCC,p2,0,0,10,10", "c.png,HCC,p3,1,1,9,9"]
    plain, filled = loaded(*lines), loaded(*lines, fill_up=5)
    table = filled.table.set_index(keys.SAMPLE_ID)
    assert filled.table[keys.LABEL].value_counts().to_dict() == {CLASSES.index("cyst"): 5, 4: 5}
    assert filled.table.iloc[:3][keys.ROI].tolist() == plain.table[keys.ROI].tolist()
    assert table.index.is_unique
    assert table.groupby(keys.IMAGE)[keys.GROUP_ID].nunique().eq(1).all()
    for name, row in table.iterrows():
        original = str(name).partition(" copy ")[0]
        whole, part = (Box(*map(int, table.loc[key, keys.ROI].split())) for key in (original, name))
        assert whole.left <= part.left
        assert part.left + part.width <= whole.left + whole.width
        assert whole.top <= part.top
        assert part.top + part.height <= whole.top + whole.height
        assert row[keys.IMAGE] == table.loc[original, keys.IMAGE]
    assert len({str(view) for view in table.loc[table[keys.IMAGE] == "a.png", keys.ROI]}) > 1
    assert len(pixels(filled)) == 10
    with pytest.raises(ConfigError, match="fill_up=0 is not a whole number"):
        loaded(*lines, fill_up=0)
