"""The manifest: completed columns, refused tables, and the content of its hash."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.data.box import Box
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media, View
from fibrolab.data.requirements import AUDIT, PREDICT, TRAIN
from fibrolab.errors import DataError

CLASSES = ("F0", "F1", "F2")


def table(**columns: list) -> pd.DataFrame:
    """Return a table of four samples of two patients; columns can be replaced or added."""
    base = {
        keys.SAMPLE_ID: ["a", "b", "c", "d"],
        keys.PATIENT_ID: ["p", "p", "q", "q"],
        keys.VISIT_ID: ["1", "1", "1", "2"],
        keys.LABEL: [0, 0, 1, 2],
        keys.IMAGE: ["a.png", "b.png", "c.png", "d.png"],
    }
    return pd.DataFrame(base | columns)


def manifest(**columns: list) -> Manifest:
    return Manifest(table(**columns), CLASSES, "toy", Path("root"))


def fault(frame: pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        Manifest(frame, CLASSES, "toy", Path("root"))
    return str(caught.value)


def test_every_fault_is_listed_at_once_with_its_rows() -> None:
    message = fault(
        table(
            sample_id=["a", "a", "", "d"],
            label=[0, 2, 7, None],
            image=["a.png", "", "c.png", "d.png"],
            group_id=["g", "g", "h", "i"],
        )
    )
    assert "has 7 fault(s)" in message
    for line in (
        "row 0: sample_id 'a' is repeated: each row needs its own; if none is given, it is the file, "
        "frame and rectangle",
        "row 1: sample_id 'a' is repeated: each row needs its own; if none is given, it is the file, "
        "frame and rectangle",
        "row 2: sample_id is empty",
        "row 1: image is empty",
        "row 2: label 7 is not a class index 0..2",
        "visit '1' of patient 'p' has F0, F2 (rows 0, 1): it can have one",
        "patient 'q' is in the groups 'h', 'i' (rows 2, 3)",
    ):
        assert f"  - {line}\n" in f"{message}\n"


@pytest.mark.parametrize("labels", [[0, 0, 1, 3], [0, 0, 1, -2], [0, 0, 1, 1.5], [0, 0, 1, "F2"]])
def test_a_label_that_is_not_a_class_index_is_refused(labels: list) -> None:
    assert f"row 3: label {labels[3]!r} is not a class index 0..2" in fault(table(label=labels))


def test_a_stage_given_by_name_is_refused_without_a_false_fault_of_the_visit() -> None:
    assert "visit" not in fault(table(label=["F0", "F0", "F1", "F2"]))


def test_a_fault_of_many_rows_is_one_sentence() -> None:
    frame = pd.DataFrame({keys.SAMPLE_ID: ["same"] * 50, keys.LABEL: 0, keys.IMAGE: ""})
    message = fault(frame)
    assert "has 2 fault(s)" in message
    assert "rows 0, 1, 2, 3, 4, 5, .. (50 in all): sample_id, such as 'same', are repeated" in message
    assert "rows 0, 1, 2, 3, 4, 5, .. (50 in all): image is empty" in message


def test_a_long_list_of_faults_is_cut_and_counted() -> None:
    names = [f"s{row}" for row in range(50)]
    message = fault(pd.DataFrame({keys.SAMPLE_ID: names, keys.LABEL: 0, keys.IMAGE: "x.png", "roi": names}))
    assert "50 fault(s)" in message
    assert message.count("is not a rectangle") == 20
    assert message.endswith("and 30 more")


@pytest.mark.parametrize(("stored", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_file_is_found_in_any_unicode_form_of_its_name(tmp_path: Path, stored: str, written: str) -> None:
    there = tmp_path / unicodedata.normalize(stored, "Möller.png")
    there.write_bytes(b"x")
    names = [unicodedata.normalize(written, "Möller.png"), "a.png", "ö.png", "c.png"]
    paths = [item.path for item in Manifest(table(image=names), CLASSES, "toy", tmp_path).media()]
    assert paths == [there, *(tmp_path / name for name in names[1:])]


@pytest.mark.parametrize("labels", [[0, None, 1, 2], [0, keys.UNLABELLED, 1, 2]])
def test_a_sample_without_a_label_is_refused_by_the_jobs_that_need_one(labels: list) -> None:
    found = Manifest(table(label=labels), CLASSES, "toy", Path("root"))
    assert found.labels.tolist() == [0, keys.UNLABELLED, 1, 2]
    found.require(PREDICT)
    with pytest.raises(DataError, match=r"Training needs a label .* of 'toy'; sample b: label is"):
        found.require(TRAIN)
    rows = table(label=labels).rename_axis(keys.ROW)
    with pytest.raises(DataError, match="row 1: label is empty"):
        Manifest(rows, CLASSES, "toy", Path("root")).require(AUDIT)


def test_a_table_without_labels_is_refused_with_the_columns_that_it_has() -> None:
    found = Manifest(table().drop(columns=keys.LABEL), CLASSES, "toy", Path("root"))
    found.require(PREDICT)
    message = "values are sample_id, patient_id, visit_id, image, group_id. .* data.columns.label=NAME"
    with pytest.raises(DataError, match=message):
        found.require(TRAIN)


def test_a_clip_or_an_elastogram_alone_is_a_sample() -> None:
    frame = table(
        image=["a.png", "", "", ""], clip=["", "b.mp4", "c.mp4", ""], elastogram=["", "", "c.png", "d.png"]
    )
    found = Manifest(frame, CLASSES, "toy", Path("root"))
    assert found.files == ["a.png", "b.mp4", "c.mp4", "d.png"]
    assert [str(item.view) for item in found.pictures()] == ["", "frame=middle", "frame=middle", ""]
    assert Manifest(frame.iloc[1:2].drop(columns=keys.IMAGE), CLASSES, "toy", Path()).modalities == (
        keys.CLIP,
    )
    message = fault(frame.assign(clip=["", "b.mp4", "", ""], elastogram=["", "", "", "d.png"]))
    assert "row 2: image and clip and elastogram are empty: a sample needs one of them" in message


def test_a_mask_needs_the_image_that_it_labels() -> None:
    message = fault(
        table(image=["a.png", "", "c.png", "d.png"], clip=["", "b.mp4", "", ""], mask=["m", "m", "", ""])
    )
    assert "row 1: mask without an image: a mask labels the pixels of the image" in message


@pytest.mark.parametrize("column", [keys.SAMPLE_ID, keys.IMAGE])
def test_a_missing_column_is_named(column: str) -> None:
    assert f"lacks the column(s) {column}" in fault(table().drop(columns=column))


def test_a_manifest_without_a_sample_is_refused() -> None:
    assert "holds no sample" in fault(table().iloc[:0])


def test_a_patient_may_change_stage_between_visits_and_share_visit_names_with_others() -> None:
    assert len(manifest(label=[0, 0, 1, 2])) == 4


def test_a_sample_without_group_belongs_to_its_patient_and_without_patient_to_itself() -> None:
    found = manifest(patient_id=["p", "p", None, ""], visit_id=[None] * 4)
    assert found.groups.tolist() == ["p", "p", "c", "d"]
    assert found.table[keys.PATIENT_ID].tolist() == ["p", "p", "", ""]


def test_columns_that_are_absent_or_without_any_value_become_empty_text() -> None:
    bare = table(site=[np.nan] * 4).drop(columns=[keys.PATIENT_ID, keys.VISIT_ID])
    found = Manifest(bare, CLASSES, "toy", Path("root")).table
    for column in (keys.PATIENT_ID, keys.VISIT_ID, keys.SITE, keys.SCANNER):
        assert found[column].tolist() == [""] * 4


def test_ids_that_are_numbers_become_text_and_labels_become_int64() -> None:
    found = manifest(sample_id=[1, 2, 3, 4], label=[0.0, 0.0, 1.0, 2.0])
    assert found.table[keys.SAMPLE_ID].tolist() == ["1", "2", "3", "4"]
    assert found.labels.dtype == np.int64


def test_the_given_table_is_not_changed() -> None:
    given_table = table()
    before = given_table.copy()
    Manifest(given_table, CLASSES, "toy", Path("root"))
    pd.testing.assert_frame_equal(given_table, before)


def test_faults_name_rows_by_the_given_index_and_the_result_is_numbered_from_0() -> None:
    frame = table().set_axis([2, 3, 5, 6])
    assert Manifest(frame, CLASSES, "toy", Path("root")).table.index.tolist() == [0, 1, 2, 3]
    assert "row 5: image is empty" in fault(frame.assign(image=["a.png", "b.png", "", "d.png"]))


def test_ids_that_pandas_turned_into_floats_become_whole_numbers() -> None:
    found = manifest(patient_id=[7.0, 7.0, 12.0, np.nan], frame=[0.0, 3.0, np.nan, np.nan])
    assert found.table[keys.PATIENT_ID].tolist() == ["7", "7", "12", ""]
    assert found.table[keys.FRAME].tolist() == ["0", "3", "", ""]


def test_a_sample_with_an_empty_group_gets_its_patient_as_group() -> None:
    assert manifest(group_id=["g", "g", "", None]).groups.tolist() == ["g", "g", "q", "q"]
    assert "patient 'p' is in the groups 'g', 'p' (rows 0, 1)" in fault(table(group_id=["g", "", "", ""]))


def test_visits_of_unknown_patients_are_not_merged() -> None:
    assert len(manifest(patient_id=[""] * 4, visit_id=["1"] * 4)) == 4


@pytest.mark.parametrize("column", [keys.IMAGE, keys.ELASTOGRAM, keys.CLIP, keys.MASK])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "is absolute"),
        ("C:/a.png", "is absolute"),
        (r"\\server\a.png", "is absolute"),
        ("../a.png", "leads out of"),
        ("a/../../b.png", "leads out of"),
        (r"a\..\b.png", "leads out of"),
        ("a/..", "leads out of"),
        (r"a\b.png", "holds a backslash: write /"),
        ("a\0.png", "holds a zero byte"),
    ],
)
def test_a_path_that_could_leave_the_root_is_refused(column: str, path: str, words: str) -> None:
    assert f"row 2: {column} {path!r} {words}" in fault(table(**{column: ["a", "b", path, "d"]}))


@pytest.mark.parametrize("path", ["a..b/c...png", "..a", "a/.hidden/b", "=a.png", "ä/ö ü.png"])
def test_an_unusual_path_within_the_root_is_accepted(path: str) -> None:
    assert manifest(image=[path, "b", "c", "d"]).media()[0].path == Path("root") / path


def test_an_invalid_frame_or_rectangle_is_refused_with_its_column() -> None:
    message = fault(
        table(
            frame=["0", "middle", "last", ""],
            roi=["", "1 2 3", "", ""],
            elastogram_roi=["", "", "", "0 0 0 5"],
        )
    )
    assert "row 2: frame 'last' is neither a number" in message
    assert "row 1: roi '1 2 3' is not a rectangle" in message
    assert "row 3: elastogram_roi '0 0 0 5' is not a rectangle" in message


def test_clinical_columns_become_numbers_and_their_faults_are_listed_with_the_others() -> None:
    found = manifest(age_years=["54", "54", "", "61"], sex=["f", "F", "", "male"]).table
    np.testing.assert_array_equal(found[keys.AGE_YEARS], [54, 54, np.nan, 61])
    assert found[keys.SEX].tolist() == ["F", "F", "", "M"]
    message = fault(table(label=[0, 0, 9, 2], platelets_1e9_l=["210000", "", "", ""]))
    assert "has 2 fault(s)" in message
    assert "row 0: platelets_1e9_l 210000 looks given per µL: divide by 1000" in message


def test_media_are_files_below_the_root_with_their_views() -> None:
    found = manifest(
        frame=["", "3", "middle", ""],
        roi=["", "", "1 2 3 4", "grey_panel"],
        elastogram=["e"] * 4,
        elastogram_roi=["", "", "", "colour_box"],
    )
    views = [View(), View(3), View("middle", Box(1, 2, 3, 4)), View(None, "grey_panel")]
    assert [media.view for media in found.media()] == views
    assert found.media()[2].path == Path("root/c.png")
    assert found.media(keys.ELASTOGRAM)[3] == Media(Path("root/e"), View(None, "colour_box"))


def test_modalities_are_those_that_every_sample_has() -> None:
    found = manifest(elastogram=["e"] * 4, clip=["a.mp4", "", "", "d.mp4"])
    assert found.modalities == (keys.IMAGE, keys.ELASTOGRAM)
    assert not found.has(keys.CLIP)
    with pytest.raises(DataError, match=r"has no clip for samples b, c; every .* has: image and elastogram"):
        found.media(keys.CLIP)
    with pytest.raises(DataError, match="has no elastogram for samples a, b, c, d"):
        manifest().media(keys.ELASTOGRAM)


def test_a_modality_of_some_samples_is_listed_as_partial_and_returned_for_those_samples() -> None:
    found = manifest(elastogram=["e"] * 4, clip=["a.mp4", None, "", "d.mp4"])
    assert found.partly == (keys.CLIP,)
    assert found.present(keys.CLIP).tolist() == [True, False, False, True]
    assert not found.present(keys.MASK).any()
    media = found.media(keys.CLIP, found.present(keys.CLIP))
    assert [item.path.name for item in media] == ["a.mp4", "d.mp4"]
    with pytest.raises(DataError, match="has no clip for sample c; every sample has:"):
        found.media(keys.CLIP, np.array([True, False, True, True]))


def test_optional_columns_that_are_absent_stay_absent_and_others_stay_as_they_are() -> None:
    found = manifest(note=["x", "", "y", "007"]).table
    assert found["note"].tolist() == ["x", "", "y", "007"]
    assert not {keys.FRAME, keys.ROI, keys.ELASTOGRAM, keys.CLIP, keys.AGE_YEARS, keys.SEX} & set(found)


def test_a_checked_table_passes_unchanged_when_it_is_checked_again() -> None:
    columns = {
        keys.AGE_YEARS: ["54", "", "7e1", "20"],
        keys.SEX: ["f", "", "M", "m"],
        keys.FRAME: [0, 1, 2, 3],
    }
    once = manifest(**columns)
    again = Manifest(once.table, CLASSES, "toy", Path("root"))
    pd.testing.assert_frame_equal(again.table, once.table)


def test_the_hash_stays_that_of_earlier_versions_and_ignores_rectangles_and_measurements() -> None:
    assert manifest().hash.startswith("fa2f1a24cb67de95")
    assert manifest(roi=["1 2 3 4"] * 4, age_years=[54] * 4, image=["x"] * 4).hash == manifest().hash


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["root", "/elsewhere", "."]))
def test_the_hash_depends_neither_on_the_order_of_rows_nor_on_the_root(order: list[int], root: str) -> None:
    moved = Manifest(table().iloc[order], CLASSES, "renamed", Path(root))
    assert moved.hash == manifest().hash


@pytest.mark.parametrize(
    "changed",
    [
        {keys.LABEL: [0, 0, 1, 1]},
        {keys.SAMPLE_ID: ["a", "b", "c", "e"]},
        {keys.VISIT_ID: ["1", "1", "1", "3"]},
        {keys.PATIENT_ID: ["p", "p", "q", "r"], keys.GROUP_ID: ["p", "p", "q", "q"]},
        {keys.GROUP_ID: ["x", "x", "x", "x"]},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_hash_changes_with_everything_that_a_split_depends_on(changed: dict) -> None:
    assert manifest(**changed).hash != manifest().hash


def test_the_hash_changes_with_the_names_of_the_classes() -> None:
    other = Manifest(table(), ("none", "mild", "severe"), "toy", Path("root"))
    assert other.hash != manifest().hash
