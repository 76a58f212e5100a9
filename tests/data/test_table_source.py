"""The user's own table: names, labels, roots and ids, and each fault with the row of the spreadsheet."""

import csv
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.data.box import Box
from fibrolab.data.manifest import Manifest
from fibrolab.data.requirements import TRAIN
from fibrolab.data.sources.table import STAGES, load
from fibrolab.errors import DataError, FibrolabError

STEATOSIS = Path(__file__).parents[3] / "shared" / "data" / "steatosis_rois"
HEADER = "sample_id,patient_id,label,image\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "patients.csv"


def loaded(path: Path, content: str, **settings: object) -> Manifest:
    path.write_text(content)
    return load(path=path, **settings)  # type: ignore[arg-type]


def fault(path: Path, content: str, **settings: object) -> str:
    with pytest.raises(FibrolabError) as caught:
        loaded(path, content, **settings)
    return str(caught.value)


@pytest.mark.parametrize("labels", [("F0", "F4"), ("0", "4")])
def test_labels_are_names_or_indices_of_classes(path: Path, labels: tuple[str, str]) -> None:
    found = loaded(path, HEADER + f"a,p,{labels[0]},a.png\nb,q,{labels[1]},b.png\n")
    assert found.labels.tolist() == [0, 4]
    assert found.classes == STAGES
    assert found.name == "patients"
    assert found.groups.tolist() == ["p", "q"]


def test_names_that_are_digits_are_names(path: Path) -> None:
    assert loaded(path, "image,label\na,1\nb,2\n", classes=["1", "2"]).labels.tolist() == [0, 1]


def test_every_wrong_label_is_reported_with_its_row(path: Path) -> None:
    message = fault(path, "image,label\na,F0\nb,4\nc,F5\nd,\ne,f1\nf,F1\n")
    assert "has 3 fault(s)" in message
    assert (
        "row 4: label 'F5' is not one of F0, F1, F2, F3, F4 (or 0 to 4); set others by data.classes"
        in message
    )
    assert "row 6: label 'f1' is not one of" in message
    assert "row 3: label '4' is an index where the other rows give names" in message


def test_paths_are_relative_to_the_table_unless_a_root_is_given(path: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    content = HEADER + "a,p,F0,sub/a.png\n"
    assert loaded(path, content).media()[0].path == tmp_path / "sub" / "a.png"
    other = loaded(path, content, root=tmp_path / "pictures")
    assert other.media()[0].path == tmp_path / "pictures" / "sub" / "a.png"
    assert "is not a folder" in fault(path, content, root=tmp_path / "none")


def test_a_sample_without_an_id_is_named_by_its_image_frame_and_rectangle(path: Path) -> None:
    content = "image,roi,frame,label\na.png,,,F0\nb.dcm,0 0 5 5,3,F1\nb.dcm,9 0 5 5,3,F2\n"
    found = loaded(path, content)
    assert found.table[keys.SAMPLE_ID].tolist() == ["a.png", "b.dcm#3#0 0 5 5", "b.dcm#3#9 0 5 5"]
    assert found.media()[2].view.box == Box(9, 0, 5, 5)


def test_a_repeated_image_is_reported_with_its_rows(path: Path) -> None:
    message = fault(path, "image,label\na.png,F0\nb.png,F0\na.png,F1\n")
    assert "row 2: sample_id 'a.png' is repeated" in message
    assert "row 4: sample_id 'a.png' is repeated: each row needs its own" in message


def test_the_tables_own_column_names_are_translated(path: Path) -> None:
    content = "file,MRN,stage,frame,note\na.png,7,F0,12,x\nb.png,8,F1,13,y\n"
    columns = {"image": "file", "patient_id": "MRN", "label": "stage", "frame": None, "site": "site"}
    found = loaded(path, content, columns=columns)
    assert found.table[keys.PATIENT_ID].tolist() == ["7", "8"]
    assert found.table["note"].tolist() == ["x", "y"]
    assert keys.FRAME not in found.table


def test_two_columns_can_swap_names(path: Path) -> None:
    columns = {"site": "scanner", "scanner": "site"}
    found = loaded(path, "image,label,site,scanner\na,F0,convex,north\n", columns=columns)
    assert found.table.loc[0, [keys.SITE, keys.SCANNER]].tolist() == ["north", "convex"]


def test_all_settings_that_do_not_fit_the_table_are_reported_at_once(path: Path) -> None:
    columns = {"image": "picture", "label": "stage"}
    message = fault(path, "image,label,stage\na,F0,F1\n", columns=columns)
    assert "whose columns are image, label, stage" in message
    assert "data.columns.image=picture: there is no such column" in message
    assert "data.columns.label=stage: there is a column 'label' too" in message


def test_a_column_with_nearly_our_name_is_not_ignored(path: Path) -> None:
    content = "image,label,Patient ID,LSM (kPa),Site\na.png,F0,7,5.1,north\n"
    columns = {name: name for name in ("image", "label", "patient_id", "lsm_kpa", "scanner")}
    message = fault(path, content, columns=columns | {"site": None})
    assert "column 'Patient ID' is not used: is it patient_id?" in message
    assert """'data.columns.lsm_kpa="LSM (kPa)"', else data.columns.lsm_kpa=null""" in message
    assert "'Site'" not in message
    meant = columns | {"patient_id": "Patient ID", "lsm_kpa": None, "site": None}
    assert loaded(path, content, columns=meant).table[keys.PATIENT_ID].tolist() == ["7"]


def test_the_message_on_a_missing_column_says_how_to_name_it(path: Path) -> None:
    message = fault(path, "file,stage\na,F0\n")
    assert "has no column image (or clip, or elastogram); it has file, stage" in message
    assert "data.columns.image=NAME" in message


def test_a_label_may_be_empty_for_prediction_but_not_for_training(path: Path) -> None:
    found = loaded(path, "image,label\na,F0\nb,\nc,F1\n")
    assert found.labels.tolist() == [0, keys.UNLABELLED, 1]
    with pytest.raises(DataError, match="row 3: label is empty"):
        found.require(TRAIN)
    assert loaded(path, "clip\na.mp4\nb.mp4\n").table[keys.SAMPLE_ID].tolist() == ["a.mp4", "b.mp4"]


def test_faults_of_the_manifest_name_the_rows_of_the_spreadsheet(path: Path) -> None:
    message = fault(
        path, HEADER.replace("image", "image,age_years") + "a,p,F0,x.png,54\n\nb,q,F1,../y.png,1964\n"
    )
    assert "row 4: image '../y.png' leads out of" in message
    assert "row 4: age_years 1964 looks like a year of birth" in message


def test_a_half_filled_patient_is_a_fault_by_row(path: Path) -> None:
    message = fault(path, "image,patient_id,label\na,P1,F0\nb,,F0\nc,P2,F1\nd,,F1\n")
    assert "has 1 fault(s)" in message
    assert "rows 3, 5: patient_id is empty: a split could part these images from others" in message
    assert "Fill the cells (a merged cell fills its first row only)" in message


def test_rows_without_a_patient_may_have_a_group(path: Path) -> None:
    header = "image,patient_id,group_id,label\n"
    assert loaded(path, f"{header}a,P1,,F0\nb,,film,F0\nc,,film,F0\n").groups.tolist() == [
        "P1",
        "film",
        "film",
    ]
    assert "row 4: patient_id is empty" in fault(path, f"{header}a,P1,,F0\nb,,film,F0\nc,,,F0\n")


def test_a_column_without_any_patient_is_as_none(path: Path) -> None:
    found = loaded(path, "image,patient_id,label\na,,F0\nb,,F0\n")
    assert found.groups.tolist() == ["a", "b"]


def test_a_word_for_a_missing_patient_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    message = fault(path, "image,MRN,label\na,NA,F0\nb,P1,F0\nc,-,F0\n", columns={"patient_id": "MRN"})
    assert "has 2 fault(s)" in message
    assert "row 2: patient_id 'NA' is a word for a missing value: fill in the patient" in message
    assert "row 4: patient_id '-' is a word for a missing value" in message
    assert loaded(path, "image,patient_id,label\na,n/a,F0\nb,n/a,F0\n").groups.tolist() == ["a", "b"]
    assert "no patient is known; 'n/a' is taken as missing" in caplog.text


def test_cut_ids_and_wrong_labels_are_reported_together(path: Path) -> None:
    message = fault(path, "image,patient_id,label\na,1.23457E+15,F0\nb,12-Mar,F7\nc,13-45,F0\n")
    assert "has 3 fault(s)" in message
    assert "row 2: patient_id '1.23457E+15' is a number without its last digits: format the column" in message
    assert "row 3: patient_id '12-Mar' is a date" in message
    assert "row 3: label 'F7' is not one of" in message


def test_a_class_may_have_the_name_of_a_missing_value(path: Path) -> None:
    found = loaded(path, "image,label,site\na,none,none\nb,mild,x\n", classes=["none", "mild"])
    assert found.labels.tolist() == [0, 1]
    assert found.table[keys.SITE].tolist() == ["", "x"]
    assert "label 'None' is not one of" in fault(path, "image,label\na,None\n", classes=["none", "mild"])


def test_an_excel_file_gives_the_same_manifest_as_csv(path: Path, tmp_path: Path) -> None:
    content = "image,patient_id,label,lsm_kpa\na,7,F0,7.9\nb,8,F1,12.5\n"
    book = openpyxl.Workbook()
    book.active.append(["see the other sheet"])
    other = book.create_sheet("cases")
    for row in (["image", "patient_id", "label", "lsm_kpa"], ["a", 7, "F0", 7.9], ["b", 8.0, "F1", 12.5]):
        other.append(row)
    book.save(tmp_path / "patients.xlsx")
    found = load(path=tmp_path / "patients.xlsx", sheet="cases")
    pd.testing.assert_frame_equal(found.table, loaded(path, content).table)


def test_an_id_that_excel_cannot_hold_is_a_fault(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["image", "patient_id"], ["a", 12345678901234567], ["b", 12345678901234568], ["c", 7]):
        book.active.append(row)
    book.save(tmp_path / "patients.xlsx")
    with pytest.raises(DataError, match=r"row 2: patient_id '1.23456789012346E\+16' is a number without its"):
        load(path=tmp_path / "patients.xlsx")


def test_parquet_gives_the_same_manifest_as_csv(path: Path, tmp_path: Path) -> None:
    content = HEADER + "a,001,F0,a.png\nb,002,F4,b.png\n"
    from_csv = loaded(path, content)
    pd.read_csv(path, dtype=str).to_parquet(tmp_path / "patients.parquet", index=False)
    from_parquet = load(path=tmp_path / "patients.parquet")
    pd.testing.assert_frame_equal(from_parquet.table, from_csv.table)
    assert from_parquet.hash == from_csv.hash


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        load(path=tmp_path / "none.csv")


@pytest.mark.shared
def test_a_published_table_of_another_task_is_read_as_it_is() -> None:
    if not STEATOSIS.is_dir():
        pytest.skip(f"the published patches are not beside the project ({STEATOSIS})")
    columns = {keys.PATIENT_ID: "patient", keys.FRAME: None}
    found = load(
        path=STEATOSIS / "rois.csv",
        root=STEATOSIS / "images",
        classes=["normal", "fatty"],
        columns=columns,
    )
    assert len(found) == 550
    assert len(set(found.groups)) == 55
    patients = found.table.groupby(keys.PATIENT_ID)[keys.LABEL].first()
    assert patients.value_counts().to_dict() == {0: 17, 1: 38}
    assert all(media.path.is_file() for media in found.media())


WORDS = (
    "|NA|-|P1|007|7.0|1.23457E+15|1234567890123450|12-Mar|2024-12-03|#NAME?|F0|4|7,5|1,234|1.234|1 234,5|>75|"
    "nan|inf|1e999|middle|0 0 5 5|a.png|../x|C:\\x"
)
ODD = st.sampled_from(WORDS.split("|")) | st.text(max_size=6)
COLUMNS = ("image", "patient_id", "group_id", "label", "lsm_kpa", "sex", "frame", "roi", "Unnamed: 0", "note")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True).flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.lists(ODD, min_size=len(names), max_size=len(names)), max_size=5)
        )
    ),
    st.sampled_from(",;\t"),
)
def test_any_cells_give_a_manifest_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: tuple[list[str], list[list[str]]], separator: str
) -> None:
    names, cells = content
    path = tmp_path_factory.getbasetemp() / "any_cells.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([names, *cells])
    manifest, said = None, ""
    try:
        manifest = load(path=path)
    except FibrolabError as error:
        said = str(error)
    assert manifest or "any_cells" in said
    if manifest:
        assert not set(manifest.table[keys.PATIENT_ID]) & {"NA", "-", "1.23457E+15", "#NAME?"}
