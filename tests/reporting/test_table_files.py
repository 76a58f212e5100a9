import csv
import io
from pathlib import Path

import fake_run
import fake_tables
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.errors import StorageError
from fibrolab.reporting import run_page
from fibrolab.reporting.tables import table_files
from fibrolab.reporting.tables.sheet import Cell, Column, Sheet, line
from fibrolab.runs import trained_run as runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    fake_tables.write(folder, pd.read_csv(folder / keys.METRICS_FILE, index_col=0), fake_run.CLASSES)
    table_files.write(run_page.tables(runs.read(folder)), folder)
    return folder


def sheet(*cells: str | Cell) -> Sheet:
    columns = [Column("Name", number=False), *(Column("Value") for _ in cells[1:])]
    return Sheet("a table", "Caption.", columns, [line(*cells)])


def test_every_table_of_the_page_is_written_as_csv_and_latex(folder: Path) -> None:
    shown = [each.file for found in run_page.tables(runs.read(folder)).values() for each in found]
    written = sorted(path.name for path in (folder / table_files.FOLDER).iterdir())
    assert written == sorted(f"{name}{ending}" for name in shown for ending in (".csv", ".tex"))


def test_csv_reads_back_with_a_cell_a_column(folder: Path) -> None:
    for path in (folder / table_files.FOLDER).glob("*.csv"):
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
        assert {len(row) for row in rows} == {len(rows[0])}
    table = pd.read_csv(folder / table_files.FOLDER / "end_points.csv")
    assert table.loc[0, "By sample"] == ".860 [.820, .900]"


@pytest.mark.parametrize(
    ("small", "expected"),
    [("[66.0, 83.1]", "75.5 [66.0, 83.1]"), ("18 positive", "75.5, 18 positive"), ("", "75.5")],
)
def test_an_interval_follows_its_value_and_text_follows_a_comma(small: str, expected: str) -> None:
    rows = list(csv.reader(io.StringIO(table_files.as_csv(sheet("F0", Cell("75.5", small))))))
    assert rows[1] == ["F0", expected]


@pytest.mark.parametrize("name", ["=1+1", "@x", "+1", "-x"])
def test_names_are_not_run_as_formulas(name: str) -> None:
    assert table_files.as_csv(sheet(name, "1")).splitlines()[1] == f"'{name},1"


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_in_a_cell_keeps_the_number_of_cells(text: str) -> None:
    rows = list(csv.reader(io.StringIO(table_files.as_csv(sheet(text, "1")))))
    assert [len(row) for row in rows] == [2, 2]


def test_tables_of_an_earlier_evaluation_are_removed(tmp_path: Path) -> None:
    fake_run.make(tmp_path, n=30)
    stale = tmp_path / table_files.FOLDER / "cohort.tex"
    stale.parent.mkdir()
    stale.touch()
    (stale.parent / "notes.txt").touch()
    assert stale not in table_files.write(run_page.tables(runs.read(tmp_path)), tmp_path)
    assert not stale.exists()
    assert (stale.parent / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    fake_run.make(tmp_path, n=30)
    (tmp_path / table_files.FOLDER).touch()
    sheets = run_page.tables(runs.read(tmp_path))
    with pytest.raises(StorageError, match="tables could not be written"):
        table_files.write(sheets, tmp_path)
