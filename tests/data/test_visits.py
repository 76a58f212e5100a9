"""One row per patient and visit; a table without pictures; and each disagreement with its rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed
from hypothesis import given, settings
from hypothesis import strategies as st
from small_markers import patients, written

from fibrolab import keys
from fibrolab.data import visits
from fibrolab.data.manifest import Manifest
from fibrolab.data.requirements import MARKERS
from fibrolab.data.sources import table as tables
from fibrolab.errors import DataError
from fibrolab.loading import load_without_pictures

HEADER = "patient_id,visit_id,label,lsm_kpa,spleen\n"
COLUMNS = [keys.LSM_KPA, "spleen"]


def pooled(folder: Path, rows: str, header: str = HEADER) -> pd.DataFrame:
    path = folder / "patients.csv"
    path.write_text(header + rows)
    return visits.table(tables.load(path=path, pictured=False), COLUMNS)


def fault(folder: Path, rows: str, header: str = HEADER) -> str:
    with pytest.raises(DataError) as caught:
        pooled(folder, rows, header)
    return str(caught.value)


def test_rows_of_a_visit_are_one_row_whose_empty_cells_are_filled(tmp_path: Path) -> None:
    found = pooled(tmp_path, "P1,1,F2,,11\nP2,1,F0,4.5,\nP1,1,F2,8.1,11\nP1,2,F3,9.9,\n")
    assert found[keys.PATIENT_ID].tolist() == ["P1", "P2", "P1"]
    assert found[keys.LSM_KPA].tolist() == [8.1, 4.5, 9.9]
    np.testing.assert_array_equal(found["spleen"], [11, np.nan, np.nan])
    assert found[keys.LABEL].tolist() == [2, 0, 3]
    assert found[keys.GROUP_ID].nunique() == 2


def test_rows_of_unknown_patients_are_one_patient_each_unless_others_are_known(tmp_path: Path) -> None:
    found = pooled(tmp_path, ",,F1,5,\n,,F1,5,\n")
    assert found[keys.LSM_KPA].tolist() == [5, 5]
    assert found[keys.GROUP_ID].nunique() == 2
    with pytest.raises(DataError, match=r"row 3: patient_id is empty"):
        pooled(tmp_path, "P1,1,F2,,11\n,,F1,5,\n")


def test_rows_of_a_patient_that_disagree_are_refused_with_their_rows(tmp_path: Path) -> None:
    message = fault(tmp_path, "P1,,F2,8.1,11\nP1,,F3,8.1,12\nP2,1,F0,4,9\nP2,1,F0,5,9\n")
    assert "has 3 fault(s)" in message
    assert "patient 'P1' has label F2 and F3 (rows 2, 3)" in message
    assert "patient 'P1' has spleen 11 and 12 (rows 2, 3)" in message
    assert "patient 'P2' has lsm_kpa 4 and 5 at visit '1' (rows 4, 5)" in message
    assert "name these in visit_id" in message


def test_cells_that_are_no_numbers_are_refused_with_their_rows(tmp_path: Path) -> None:
    message = fault(tmp_path, "P1,,F2,8.1,big\nP2,,F0,4,inf\nP3,,F0,4,\n")
    assert "row 2: spleen 'big' is not a number" in message
    assert "row 3: spleen 'inf' is not a number" in message
    assert "row 4" not in message


CELLS = st.sampled_from(["", "1", "7.5", "x", "1e400", "nan", "1,5", "-3", "=1", "\u200b2", "0"])
ROWS = st.tuples(st.sampled_from(["", "P1", "P2", "7"]), st.sampled_from(["", "1"]), CELLS, CELLS, CELLS)


@settings(max_examples=25)
@given(rows=st.lists(ROWS, min_size=1, max_size=6))
def test_any_cells_are_pooled_or_refused(
    rows: list[tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)
    try:
        found = pooled(tmp_path_factory.getbasetemp(), lines)
    except DataError:
        return
    assert not found.duplicated([keys.PATIENT_ID, keys.VISIT_ID])[found[keys.PATIENT_ID] != ""].any()
    assert not np.isinf(found[COLUMNS]).any(axis=None)


def test_a_table_needs_no_pictures_and_faults_of_pictures_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,frame,patient_id,label,lsm_kpa\n../a.png,x,P1,F1,5\n,,P2,F4,20\n")
    config = composed("data=table", f"data.path={path}", name="markers")
    found = load_without_pictures(config, MARKERS)
    assert isinstance(found, Manifest)
    assert (found.name, len(found), found.modalities) == ("t", 2, ())
    assert found.table[keys.SAMPLE_ID].tolist() == ["row 2", "row 3"]


def test_values_and_labels_are_checked_as_in_a_table_with_pictures(tmp_path: Path) -> None:
    table = patients(10).assign(platelets_1e9_l=210_000)
    with pytest.raises(DataError, match=r"looks? given per µL: divide by 1000"):
        tables.load(path=written(table, tmp_path), pictured=False)
    path = written(patients(10).assign(label=["", *["F1"] * 9]), tmp_path)
    with pytest.raises(DataError, match="needs a label for every sample of 'patients'; row 2"):
        load_without_pictures(composed("data=table", f"data.path={path}", name="markers"), MARKERS)


def test_columns_of_numbers_are_found(tmp_path: Path) -> None:
    table = patients(10).assign(ward="3b", empty="", mixed=["7", *["x"] * 9], patient_id=range(10))
    found = visits.numeric_columns(tables.load(path=written(table, tmp_path), pictured=False))
    assert {"bilirubin", keys.LSM_KPA, keys.AST_U_L} <= set(found)
    assert not {"ward", "empty", "mixed", keys.LABEL, keys.SEX, keys.PATIENT_ID} & set(found)


@settings(max_examples=20)
@given(order=st.permutations(range(12)), repeats=st.lists(st.integers(1, 3), min_size=12, max_size=12))
def test_pictures_and_the_order_of_rows_change_no_patient(order: list[int], repeats: list[int]) -> None:
    table = patients(12).assign(label=np.arange(12) % 5)
    many = table.loc[[row for row in order for _ in range(repeats[row])]].reset_index(drop=True)
    classes = ("F0", "F1", "F2", "F3", "F4")
    one, several = (
        visits.table(
            Manifest(
                rows.assign(sample_id=[f"s{k}" for k in range(len(rows))]),
                classes,
                "t",
                Path(),
                pictured=False,
            ),
            [keys.LSM_KPA, "bilirubin"],
        ).set_index(keys.PATIENT_ID)
        for rows in (table, many)
    )
    columns = [keys.LABEL, keys.LSM_KPA, "bilirubin", keys.GROUP_ID]
    pd.testing.assert_frame_equal(one[columns], several[columns].loc[one.index])
