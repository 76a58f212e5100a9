import csv
import io
import re
from pathlib import Path

import fake_run
import fake_tables
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.errors import StorageError
from fibrolab.reporting import export, sections
from fibrolab.reporting import run as runs
from fibrolab.reporting.sheets import Cell, Column, Sheet, line

EVIL = r"<b>&\input{x} 50%_$#~^{}|[1]*"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    fake_tables.write(folder, pd.read_csv(folder / keys.METRICS_FILE, index_col=0), fake_run.CLASSES)
    export.write(folder)
    return folder


def sheet(*cells: str | Cell, caption: str = "Caption.", notes: tuple[tuple[str, str], ...] = ()) -> Sheet:
    columns = [Column("Name", number=False), *(Column("Value") for _ in cells[1:])]
    return Sheet("a table", caption, columns, [line(*cells)], notes=notes)


def test_every_table_of_the_page_is_there_as_csv_and_as_latex(folder: Path) -> None:
    shown = [each.file for found in sections.of(runs.read(folder)).values() for each in found]
    written = sorted(path.name for path in (folder / export.FOLDER).iterdir())
    assert written == sorted(f"{name}{ending}" for name in shown for ending in (".csv", ".tex"))


def test_every_line_of_latex_has_as_many_cells_as_there_are_columns(folder: Path) -> None:
    for path in (folder / export.FOLDER).glob("*.tex"):
        text = path.read_text()
        columns = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
        body = (
            text.split(r"\toprule")[1].split(r"\bottomrule")[0].replace(r"\midrule", "").strip().splitlines()
        )
        rows = [row for row in body if row.strip()]
        assert len(rows) > 1
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns[0])}
        assert all(row.endswith(r" \\") for row in rows)


def test_every_latex_file_closes_what_it_opens_and_is_plain_latin(folder: Path) -> None:
    for path in (folder / export.FOLDER).glob("*.tex"):
        text = path.read_text()
        assert text.isascii()
        plain = re.sub(r"\\[{}]", "", text)
        assert plain.count("{") == plain.count("}")
        assert re.findall(r"\\begin\{(\w+)\}", text) == list(reversed(re.findall(r"\\end\{(\w+)\}", text)))
        assert plain.count("$") % 2 == 0
        assert text.count(r"\caption{") == text.count(r"\label{tab:") == 1


def test_csv_reads_back_with_a_cell_a_column(folder: Path) -> None:
    for path in (folder / export.FOLDER).glob("*.csv"):
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
        assert {len(row) for row in rows} == {len(rows[0])}
    table = pd.read_csv(folder / export.FOLDER / "end_points.csv")
    assert table.loc[0, "By sample"] == ".860 [.820, .900]"


def test_commands_in_names_are_printed_and_not_obeyed() -> None:
    text = export.as_latex(sheet(EVIL, EVIL, caption=EVIL, notes=(("a", EVIL),)))
    assert r"\input" not in text
    assert text.count(r"\textbackslash{}input\{x\} 50\%\_\$\#\textasciitilde{}") == 4
    assert r"\textasciicircum{}\{\}$|$" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("86.4\u00a0%", r"86.4~\%"),
        ("\u2212.012", "$-$.012"),
        ("54 \u00b1 3", r"54 $\pm$ 3"),
        ("\u2265 90", r"$\geq$ 90"),
        ("41\u201363", "41--63"),
        ("<\u00a0.001", "$<$~.001"),
        ("two\n  lines", "two lines"),
    ],
)
def test_signs_that_old_latex_does_not_know_are_commands(text: str, told: str) -> None:
    assert export.latex(text) == told


def test_a_name_in_brackets_is_no_argument_of_the_line_before_it() -> None:
    rows = [row.strip() for row in export.as_latex(sheet("[x]", "*")).splitlines()]
    assert "{}[x] & * \\\\" in rows


def test_a_cell_holds_value_mark_and_interval() -> None:
    notes = (("a", "Wilson."),)
    text = export.as_latex(sheet("F0", Cell("75.5\u00a0%", "[66.0, 83.1]", "a"), notes=notes))
    assert r"{}F0 & 75.5~\%\textsuperscript{a} [66.0, 83.1] \\" in text
    assert r"\par{\footnotesize \textsuperscript{a}Wilson.}" in text


@pytest.mark.parametrize("name", ["=1+1", "@x", "+1", "-x"])
def test_a_spreadsheet_runs_no_name(name: str) -> None:
    assert export.as_csv(sheet(name, "1")).splitlines()[1] == f"'{name},1"


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_whatever_stands_in_a_cell_a_table_keeps_its_shape(text: str) -> None:
    rows = list(csv.reader(io.StringIO(export.as_csv(sheet(text, "1")))))
    assert [len(row) for row in rows] == [2, 2]
    body = export.as_latex(sheet(text, "1")).split(r"\midrule")[1].split(r"\bottomrule")[0].strip()
    assert "\n" not in body
    assert len(re.findall(r"(?<!\\)&", body)) == 1
    assert not re.search(r"(?<!\\)[#%]", body)


def test_tables_of_an_earlier_evaluation_are_removed(tmp_path: Path) -> None:
    fake_run.make(tmp_path, n=30)
    stale = tmp_path / export.FOLDER / "cohort.tex"
    stale.parent.mkdir()
    stale.touch()
    (stale.parent / "notes.txt").touch()
    assert stale not in export.write(tmp_path)
    assert not stale.exists()
    assert (stale.parent / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    fake_run.make(tmp_path, n=30)
    (tmp_path / export.FOLDER).touch()
    with pytest.raises(StorageError, match=r"headline\.csv could not be written"):
        export.write(tmp_path)
