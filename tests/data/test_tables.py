"""Tables as text: separators, encodings, formats, and each fault with the row of the spreadsheet."""

import csv
import gzip
import io
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.data import tables
from fibrolab.data.fault_sentences import rows_named
from fibrolab.errors import DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def read(path: Path, content: str | bytes) -> pd.DataFrame:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tables.read(path)


def rows(path: Path, content: str | bytes) -> dict:
    return read(path, content).to_dict("index")


def fault(path: Path, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(path, content)
    return str(caught.value)


@pytest.mark.parametrize("separator", tables.SEPARATORS)
def test_the_separator_is_the_most_frequent_in_the_header(path: Path, separator: str) -> None:
    content = separator.join(["id", '"a,b;c,d;e"', "z"]) + "\n" + separator.join(["1", "2", "3"])
    assert rows(path, content) == {2: {"id": "1", "a,b;c,d;e": "2", "z": "3"}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_encoding_with_a_byte_order_mark_is_read(path: Path, encoding: str) -> None:
    assert rows(path, "id,name\n1,Müller\n".encode(encoding)) == {2: {"id": "1", "name": "Müller"}}


def test_text_stays_text_without_the_blanks_around_it(path: Path) -> None:
    assert rows(path, "id , age\n001, 1e3 \n") == {2: {"id": "001", "age": "1e3"}}


def test_rows_are_numbered_as_in_a_spreadsheet_with_empty_rows_and_line_breaks(path: Path) -> None:
    found = read(path, 'a,b\n1,"two\nlines"\n\n,\n5,x\n')
    assert found.index.tolist() == [2, 5]
    assert found["b"].tolist() == ["two\nlines", "x"]


@pytest.mark.parametrize("word", sorted(tables.MISSING))
def test_words_for_a_missing_value_are_empty_in_any_case(path: Path, word: str) -> None:
    assert rows(path, f"a,b,c\n1,{word}, {word.upper()}\n") == {2: {"a": "1", "b": "", "c": ""}}


def test_words_for_a_missing_value_are_kept_where_they_are_values(path: Path) -> None:
    path.write_text("a,b,c\nNone,None,-\nn/a,n/a,=x\n")
    with pytest.raises(DataError, match=r"(?s)has 1 fault.*row 3: c '=x' looks like a formula"):
        tables.read(path, values={"c": tables.MISSING})
    path.write_text("a,b,c\nNone,None,-\nn/a,n/a,x\n")
    found = tables.read(path, values={"a": ["none"], "c": tables.MISSING})
    assert found.to_numpy().tolist() == [["None", "", "-"], ["", "", "x"]]


def test_an_empty_column_without_a_name_is_ignored_and_a_filled_one_is_a_fault(path: Path) -> None:
    assert rows(path, "a,,\n1,,\n") == {2: {"a": "1"}}
    assert "column 2 has no name" in fault(path, "a,\n0,1\n")


@pytest.mark.parametrize("name", ["", '""', "Unnamed: 0", "Unnamed: 0.1"])
def test_the_index_that_pandas_or_r_writes_is_passed_over(path: Path, name: str) -> None:
    assert rows(path, f"{name},a\n0,x\n1,y\n") == {2: {"a": "x"}, 3: {"a": "y"}}


def test_two_indices_are_passed_over_and_empty_rows_stay_empty(path: Path) -> None:
    assert rows(path, ",Unnamed: 0,a\n0,7,x\n1,,\n2,9,z\n") == {2: {"a": "x"}, 3: {"a": ""}, 4: {"a": "z"}}


@pytest.mark.parametrize("cells", ["P1,P2", "7,7", "1.5,2.5"])
def test_a_nameless_column_that_may_be_more_than_an_index_is_a_fault(path: Path, cells: str) -> None:
    one, other = cells.split(",")
    assert "column 1 has no name" in fault(path, f",a\n{one},x\n{other},y\n")


def test_columns_that_pandas_named_and_that_hold_more_than_an_index_are_kept(path: Path) -> None:
    assert rows(path, "a,Unnamed: 5\nx,note\n") == {2: {"a": "x", "Unnamed: 5": "note"}}


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=; "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_line_that_tells_excel_the_separator_is_used_and_not_counted(
    path: Path, first: str, encoding: str
) -> None:
    content = f"{first}\r\na;b,c\r\n1;ü\r\n"
    assert rows(path, content.encode(encoding)) == {2: {"a": "1", "b,c": "ü"}}
    assert "row 3 has 1 cell(s)" in fault(path, f"{content}2\r\n")


@pytest.mark.parametrize("separator", ["\t", "|"])
def test_other_separators_can_be_told(path: Path, separator: str) -> None:
    assert rows(path, f"sep={separator}\na{separator}b;c\n1{separator}2\n") == {2: {"a": "1", "b;c": "2"}}


def test_bytes_of_another_encoding_are_reported_by_line_and_byte(path: Path) -> None:
    content = "id,name\n1,Müller\n".encode() + "2,Müller\n".encode("latin-1")
    message = fault(path, content)
    assert f"line 3: byte {content.index(0xFC) + 1} of the file (fc 6c 6c 65) is not UTF-8" in message
    assert "CSV UTF-8" in message


def test_cells_that_look_the_same_are_equal(path: Path) -> None:
    looks = ("Müller", "Mu\u0308ller", " Müller\u00a0", "\u200bMüller", "\u202aMüller\u202c \ufeff")
    content = "name\n" + "".join(f"{look}\n" for look in looks)
    assert set(read(path, content)["name"]) == {"Müller"}
    assert list(read(path, "Mu\u0308ller,b\n1,2\n")) == ["Müller", "b"]


@pytest.mark.parametrize("content", ["\na,b\n1,2\n", ",,\na,b,c\n1,2,3\n"])
def test_a_header_without_names_is_reported(path: Path, content: str) -> None:
    assert "row 1: is empty; it must name the columns" in fault(path, content)


def test_a_line_above_the_header_is_reported(path: Path) -> None:
    message = fault(path, "Patients of 2023;\na;b\n1;2\n")
    assert "row 1 must hold the columns' names, with nothing above it" in message


def test_utf_16_without_its_mark_is_refused(path: Path) -> None:
    assert "holds zero bytes" in fault(path, "id\n1\n".encode("utf-16-le"))


def test_rows_of_another_length_are_reported_together_with_other_faults(path: Path) -> None:
    message = fault(path, "a,b,b\n1,2,3\n1,2\n1,2,3,4\n1,2\n")
    assert "has 3 fault(s)" in message
    assert "rows 3, 5 have 2 cell(s) where the header names 3 columns" in message
    assert "row 4 has 4 cell(s)" in message
    assert "the column name 'b' is repeated" in message


@pytest.mark.parametrize("cell", ['"2\n3,4\n', '"2"x\n', '"' + "x" * 200_000])
def test_unmatched_quotation_marks_are_reported_with_the_row_that_opens_them(path: Path, cell: str) -> None:
    assert "row 3: the quotation marks do not match" in fault(path, f"a,b\n1,2\n1,{cell}")


@pytest.mark.parametrize("cell", ["=1+2", "+cmd", "-q", "@x", "＝1", " =1", "\u200b=1", '"\t=x"', '"\r=x"'])
def test_cells_that_a_spreadsheet_would_run_are_refused(path: Path, cell: str) -> None:
    assert "row 3: b" in (message := fault(path, f"a,b\n1,2\n3,{cell}\n"))
    assert "like a formula" in message


def test_a_column_named_like_a_formula_is_refused(path: Path) -> None:
    assert "row 1: column '=x()' looks like a formula" in fault(path, "=x(),b\n1,2\n")


@pytest.mark.parametrize("cell", ["-5", "+3.5", "-1e-3", "-.5", "+12 %"])
def test_a_number_may_have_a_sign(path: Path, cell: str) -> None:
    assert rows(path, f"a,b\n1,{cell}\n") == {2: {"a": "1", "b": cell}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"a,b\n", "has no row below its header"),
        (b"a,b\n,\n", "has no row below its header"),
        (b"PAR1 and no more", "damaged or incomplete"),
    ],
)
def test_a_file_without_a_table_is_refused(path: Path, content: bytes, words: str) -> None:
    assert words in fault(path, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html><table><tr><th>image</th></tr></table>", "page or document of HTML or XML"),
        (b'\xef\xbb\xbf\n<?xml version="1.0"?><Workbook/>', "open it in a spreadsheet and save it as .xlsx"),
        (gzip.compress(b"image,label\na,F0\n", mtime=0), "is compressed by gzip: unpack it"),
        (b"%PDF-1.7 ", "is a PDF: export the table"),
    ],
)
def test_what_systems_export_under_the_name_of_a_table_is_named(
    path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read(path, content)


def test_a_missing_file_a_folder_and_a_pipe_are_refused_in_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("none.csv", "does not exist"), (".", "is a folder"), ("pipe", "is not a file")):
        with pytest.raises(DataError, match=words):
            tables.read(tmp_path / name)


def test_a_too_large_file_is_refused_without_being_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(512 * 2**20)  # sparse: its zero bytes would be reported if it were read
    with pytest.raises(DataError, match="has 512 MiB; tables of up to 256 MiB are read"):
        tables.read(path)


def test_parquet_becomes_the_text_that_a_csv_would_have(path: Path) -> None:
    table = pd.DataFrame(
        {
            "id": ["001", "NA"],
            "whole": pd.array([7, None], dtype="Int64"),
            "real": [7.0, 2.5],
            "flag": [True, False],
            "kind": pd.Categorical(["x", None]),
        }
    )
    table.to_parquet(path, index=False)
    assert tables.read(path).to_dict("index") == {
        2: {"id": "001", "whole": "7", "real": "7", "flag": "true", "kind": "x"},
        3: {"id": "", "whole": "", "real": "2.5", "flag": "false", "kind": ""},
    }


def test_parquet_has_the_same_faults_as_csv(path: Path) -> None:
    columns = [pa.array(["=x()"]), pa.array(["b"]), pa.array([[1]])]
    pq.write_table(pa.table(columns, names=["a", "a", "c"]), path)
    with pytest.raises(DataError) as caught:
        tables.read(path)
    for words in (
        "row 2: a '=x()' looks like a formula",
        "name 'a' is repeated",
        "column 'c' is of type list",
    ):
        assert words in str(caught.value)


def test_parquet_that_unpacks_to_too_many_rows_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 9)
    pd.DataFrame({"a": range(10)}).to_parquet(path)
    with pytest.raises(DataError, match="in 10 rows; tables of up to 256 MiB and 9 rows are read"):
        tables.read(path)


def test_rows_beyond_a_batch_are_read_and_numbered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BATCH", 3)
    found = read(path, "a\n" + "".join(f"{i}\n" for i in range(7)))
    assert found["a"].tolist() == [str(i) for i in range(7)]
    assert found.index.tolist() == list(range(2, 9))


def test_many_rows_are_named_by_the_first_six_and_their_number() -> None:
    assert rows_named([4]) == "row 4"
    assert rows_named(range(2, 1002)) == "rows 2, 3, 4, 5, 6, 7, .. (1,000 in all)"


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
    lambda cell: (
        cell == tables._tidy(cell)
        and cell.casefold() not in tables.MISSING
        and not cell.startswith(tables._TRIGGERS)
    )
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), st.sampled_from(tables.SEPARATORS))
def test_a_written_table_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, cells: list, separator: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([("a", "b"), *cells])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    assert read(path, text.getvalue()).to_numpy().tolist() == [list(pair) for pair in cells]


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=60).map(str.encode),
        st.text('ab01,;\t"=-. \r\n\u200b', max_size=60).map(lambda text: text.encode("utf-16")),
        st.text('ab01,;\t"=-.|\n', max_size=40).map(lambda text: f"sep=;\n{text}".encode()),
    )
)
def test_any_bytes_give_a_table_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    found, said = pd.DataFrame(), ""
    try:
        found = read(path, content)
    except DataError as error:
        said = str(error)
    assert len(found) or str(path) in said
    assert found.index.is_unique
    assert all(isinstance(cell, str) for cell in found.to_numpy().ravel())


def test_a_csv_of_too_many_cells_is_refused_before_they_take_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_BATCH", 10)
    monkeypatch.setattr(tables, "MOST_CELLS", 99)
    assert len(read(path, "a,b,c\n" + "1,2,3\n" * 33)) == 33
    with pytest.raises(DataError, match=r"has 120 cells or more; tables of up to 99 are read"):
        read(path, "a,b,c\n" + "1,2,3\n" * 40_000)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa,b\n1,2\n3,4\n",  # a mark of UTF-8, as Excel writes it
        b"\xef\xbb\xbfsep=;\na;b\n1;2\n3;4\n",
        b"a,b\r1,2\r3,4\r",  # of old Macs
        b"a,b\r\n1,2\n3,4\r\n",
        b"a,b,\n1,2,\n3,4,\n",
        b"a,b\n1,2\n,\n\n3,4\n,\n,\n",  # blank rows between and below
    ],
)
def test_the_forms_of_one_csv_are_one_table(path: Path, content: bytes) -> None:
    found = read(path, content)
    assert list(found) == ["a", "b"]
    assert found.to_numpy().tolist() == [["1", "2"], ["3", "4"]]
