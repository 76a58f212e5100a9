"""Files of Excel and LibreOffice: numbers and dates as they are seen, sheets, merged cells, damaged files."""

import datetime
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.data import spreadsheets, tables
from fibrolab.errors import ConfigError, DataError


def workbook(path: Path, *rows: list[Any], merged: tuple[str, ...] = (), **others: list[list[Any]]) -> Path:
    """Write a workbook with the sheet `first`, and others by name."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "first"
    for row in rows:
        sheet.append(row)
    for cells in merged:
        sheet.merge_cells(cells)
    for name, content in others.items():
        other = book.create_sheet(name)
        for row in content:
            other.append(row)
    book.save(path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "patients.xlsx"


def column(path: Path, *cells: Any) -> list[str]:
    """The cells of a column, read again; a second column keeps empty ones."""
    found = tables.read(workbook(path, ["a", "b"], *([cell, "x"] for cell in cells)))
    return found["a"].tolist()


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (123, "123"),
        (123.0, "123"),
        ("007", "007"),
        (7.9, "7.9"),
        (0.1 + 0.2, "0.3"),
        (-0.5, "-0.5"),
        (999_999_999_999_999, "999999999999999"),
        (1_234_567_890_123_456, "1234567890123456"),
        (1e-7, "1e-07"),
        (True, "true"),
        (None, ""),
        ("n/a", ""),
        (datetime.date(2024, 12, 3), "2024-12-03"),
        (datetime.datetime(2024, 12, 3), "2024-12-03"),
        (datetime.datetime(2024, 12, 3, 14, 30), "2024-12-03 14:30:00"),
        (datetime.time(14, 30), "14:30:00"),
        (" P1\u00a0", "P1"),
    ],
)
def test_a_cell_is_the_text_that_is_seen(path: Path, cell: Any, text: str) -> None:
    assert column(path, cell) == [text]


def test_a_number_that_the_file_cannot_hold_is_a_power_of_ten(path: Path) -> None:
    assert column(path, 2**53, 2**53 + 2, 12345678901234567890) == [
        "9007199254740992",
        "9.00719925474099E+15",
        "1.23456789012346E+19",
    ]


def test_rows_are_numbered_as_in_the_spreadsheet_and_empty_rows_and_columns_are_skipped(path: Path) -> None:
    found = tables.read(
        workbook(path, ["a", None, "b"], [1, None, 2], [None] * 3, [3, None, 4], [None, None])
    )
    assert found.index.tolist() == [2, 4]
    assert list(found) == ["a", "b"]


def test_cells_merged_downwards_have_the_value_that_is_shown_over_them(path: Path) -> None:
    rows = (["patient", "image"], ["P1", "a"], [None, "b"], ["P2", "c"])
    found = tables.read(workbook(path, *rows, merged=("A2:A3",)))
    assert found["patient"].tolist() == ["P1", "P1", "P2"]


def test_a_title_above_the_header_is_reported(path: Path) -> None:
    book = workbook(path, ["Patients of 2023"], ["a", "b"], [1, 2], merged=("A1:B1",))
    with pytest.raises(DataError, match="row 1 must hold the columns' names, with nothing above it"):
        tables.read(book)


def test_the_first_visible_sheet_is_read_unless_one_is_named(path: Path) -> None:
    workbook(path, ["a"], [1], second=[["b"], [2]], third=[["c"], [3]])
    assert list(tables.read(path)) == ["a"]
    assert list(tables.read(path, "third")) == ["c"]
    with pytest.raises(ConfigError, match=r"data.sheet: there is no 'thirt'. It is one of: first, second"):
        tables.read(path, "thirt")
    book = openpyxl.load_workbook(path)
    book["first"].sheet_state = "hidden"
    book.active = 1
    book.save(path)
    assert list(tables.read(path)) == ["b"]
    assert list(tables.read(path, "first")) == ["a"]


def test_a_sheet_of_a_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a\n1\n")
    with pytest.raises(ConfigError, match=r"data.sheet=x: .*table.csv has no sheets"):
        tables.read(tmp_path / "table.csv", "x")


def test_an_empty_sheet_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="row 1: is empty; it must name the columns"):
        tables.read(workbook(path))


SPACE = "urn:oasis:names:tc:opendocument:xmlns"


def open_document(path: Path, *rows: str) -> Path:
    """Write a workbook of LibreOffice with these rows in XML."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr(
            "content.xml",
            f"<office:document-content xmlns:office='{SPACE}:office:1.0' xmlns:table='{SPACE}:table:1.0' "
            f"xmlns:text='{SPACE}:text:1.0'><office:body><office:spreadsheet><table:table table:name='T'>"
            f"{''.join(rows)}</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return path


def xml_row(*cells: str, times: int = 1) -> str:
    return f"<table:table-row table:number-rows-repeated='{times}'>{''.join(cells)}</table:table-row>"


def words(cell: str) -> str:
    return f"<table:table-cell office:value-type='string'><text:p>{cell}</text:p></table:table-cell>"


EMPTY = "<table:table-cell/>"


def test_a_file_of_libreoffice_is_read_by_its_content(tmp_path: Path) -> None:
    values = (
        "<table:table-cell office:value-type='float' office:value='123.0'/>"
        "<table:table-cell office:value-type='date' office:date-value='2024-12-03'/>"
    )
    path = open_document(tmp_path / "patients", xml_row(words("id"), words("when")), xml_row(values))
    assert tables.read(path).to_dict("index") == {2: {"id": "123", "when": "2024-12-03"}}


def test_a_cell_in_the_last_row_of_a_sheet_of_libreoffice_is_one_row_more(tmp_path: Path) -> None:
    rows = (xml_row(words("id")), xml_row(words("P1")), xml_row(EMPTY, times=2**20 - 3), xml_row(words("P2")))
    path = open_document(tmp_path / "patients.ods", *rows)
    assert tables.read(path)["id"].to_dict() == {2: "P1", 2**20: "P2"}
    path = open_document(tmp_path / "styled.ods", *rows[:2], xml_row(EMPTY, times=2**20 - 2))
    assert tables.read(path)["id"].to_dict() == {2: "P1"}


def test_a_cell_in_the_last_corner_of_a_sheet_of_libreoffice_is_refused(tmp_path: Path) -> None:
    wide = f"<table:table-cell table:number-columns-repeated='16383'/>{words('x')}"
    path = open_document(
        tmp_path / "far.ods", xml_row(words("id")), xml_row(EMPTY, times=2**20 - 2), xml_row(wide)
    )
    with pytest.raises(DataError, match="reaches to the cell XFD1048576: delete the rows and columns beyond"):
        tables.read(path)


def repeated(cell: str, columns: int, times: int = 1) -> str:
    """Return a row of LibreOffice, or several equal ones, of one cell that is repeated."""
    begin = "<table:table-cell"
    return xml_row(cell.replace(begin, f"{begin} table:number-columns-repeated='{columns}'", 1), times=times)


@pytest.mark.parametrize(
    ("rows", "words_of_error"),
    [
        ([repeated(words("a"), 30, 900_000)], "has 27,000,000 filled cells or more with 26 MiB of text"),
        (
            [repeated(words("x" * 1000), 30, 900_000)],
            "has 27,000,000 filled cells or more with 25,749 MiB",
        ),
        ([repeated(words("x" * 10_000), 1, 30_000)], "has 30,000 filled cells or more with 286 MiB of text"),
        (
            [repeated(words("a"), 100), repeated(EMPTY, 1, 10**6), xml_row(words("x"))],
            "reaches to the cell CV1000002",
        ),
    ],
)
def test_a_few_bytes_of_libreoffice_that_stand_for_too_many_cells_are_refused_unread(
    tmp_path: Path, rows: list[str], words_of_error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import python_calamine

    path = open_document(tmp_path / "bomb.ods", *rows)
    monkeypatch.setattr(python_calamine.CalamineWorkbook, "from_filelike", None)  # must not be called
    with pytest.raises(DataError, match=words_of_error):
        tables.read(path)


def test_cells_of_all_sheets_of_libreoffice_are_counted_and_repeated_ones_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [xml_row(words("a"), words("b")), repeated(words("7"), 2, 4)]
    path = open_document(tmp_path / "small.ods", *rows, "</table:table><table:table table:name='U'>", *rows)
    assert tables.read(path).to_numpy().tolist() == [["7", "7"]] * 4
    monkeypatch.setattr(spreadsheets, "MOST_FILLED", 20)
    assert len(tables.read(path)) == 4
    monkeypatch.setattr(spreadsheets, "MOST_FILLED", 19)
    with pytest.raises(DataError, match="has 20 filled cells or more"):
        tables.read(path)


@pytest.mark.parametrize("cells", [200, 9_000])
def test_one_long_text_that_many_cells_refer_to_counts_as_often(
    path: Path, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbook(path, ["id", "note"], *([number, "x" * 999] for number in range(cells)))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet, long = "xl/worksheets/sheet1.xml", b"<is><t>" + b"x" * 999 + b"</t></is>"
    assert parts[sheet].count(b't="inlineStr">' + long) == cells
    parts[sheet] = parts[sheet].replace(b't="inlineStr">' + long, b't="s"><v>1</v>')
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    texts = f"<si><t>short</t></si><si><t>{'x' * 999}</t></si>"
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{space}">{texts}</sst>'.encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    monkeypatch.setattr(tables, "LARGEST", 1_000_000)
    if cells == 200:
        assert tables.read(path)["note"].tolist() == ["x" * 999] * cells
    else:
        with pytest.raises(DataError, match="with 9 MiB of text; up to 25,000,000 with 1 MiB are read"):
            tables.read(path)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04and so on", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600]
)
def test_a_damaged_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged, or not a file of a spreadsheet"):
        tables.read(path)


def test_a_document_of_another_kind_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<document/>")
    with pytest.raises(DataError, match="is damaged, or not a file of a spreadsheet"):
        tables.read(path)


@pytest.mark.parametrize("stated", [None, b"", b'<dimension ref="A1:A2"/>'])
def test_a_stray_cell_far_away_is_refused_before_memory_ends(path: Path, stated: bytes | None) -> None:
    """The size that the sheet states is that of its cells, absent, or too small."""
    book = openpyxl.load_workbook(workbook(path, ["a"], [1]))
    book.active["XFD1048576"] = "x"
    book.save(path)
    if stated is not None:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        sheet = "xl/worksheets/sheet1.xml"
        parts[sheet], number = re.subn(rb"<dimension[^>]*>", stated, parts[sheet])
        assert number == 1
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    with pytest.raises(DataError, match="reaches to the cell XFD1048576: delete the rows and columns beyond"):
        tables.read(path)


def test_the_extent_that_a_binary_workbook_states_is_heeded(path: Path) -> None:
    extent = b"\x94\x01\x10" + b"".join(number.to_bytes(4, "little") for number in (0, 2**20 - 1, 0, 701))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.bin", b"\x81\x01\x00" + extent)
    with pytest.raises(DataError, match="reaches to the cell ZZ1048576"):
        tables.read(path)


def test_a_stray_cell_in_the_last_column_is_named_by_its_column(path: Path) -> None:
    book = openpyxl.load_workbook(workbook(path, ["a"], [1]))
    book.active["XFD2"] = "x"
    book.save(path)
    with pytest.raises(DataError, match="column 16384 has no name"):
        tables.read(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook(path, ["a"], *([number] for number in range(5000)))
    monkeypatch.setattr(tables, "LARGEST", path.stat().st_size + 1)
    with pytest.raises(DataError, match="unpacks to"):
        tables.read(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.xlsx"
    return workbook(
        path, ["id", "x"], [1, datetime.date(2024, 1, 1)], ["x", 2.5], merged=("A2:A3",)
    ).read_bytes()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_file_with_wrong_bytes_gives_a_table_or_one_error(
    good: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes of the archive, or of one of its parts, are replaced."""
    path = tmp_path_factory.getbasetemp() / "wrong.xlsx"
    content = bytearray(good)
    archive = zipfile.ZipFile(io.BytesIO(good))
    name = data.draw(st.sampled_from(["", *archive.namelist()]))
    if name:
        content = bytearray(archive.read(name))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    if name:
        with zipfile.ZipFile(path, "w") as changed:
            for part in archive.namelist():
                changed.writestr(part, content if part == name else archive.read(part))
    else:
        path.write_bytes(content)
    found, said = pd.DataFrame(), ""
    try:
        found = tables.read(path)
    except DataError as error:
        said = str(error)
    assert len(found) or str(path) in said
    assert all(isinstance(cell, str) for cell in found.to_numpy().ravel())


def test_columns_are_numbered_as_in_a_spreadsheet() -> None:
    names = {1: "A", 26: "Z", 27: "AA", 16384: "XFD"}
    assert {spreadsheets._number(name): name for name in names.values()} == names
    assert {number: spreadsheets._letters(number) for number in names} == names


def rewritten(path: Path, part: str, change: Callable[[bytes], bytes]) -> Path:
    """Change one part of a workbook; an absent one is empty."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts.get(part, b""))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


SHEET = "xl/worksheets/sheet1.xml"


def test_formulas_that_no_spreadsheet_has_computed_are_refused_and_not_missing_values(path: Path) -> None:
    rows = [["id", "lsm"], *([f"P{number}", "=7+1"] for number in range(2, 10))]
    workbook(path, *rows, plain=[["id"], ["P1"]])
    with pytest.raises(
        DataError, match=r"sheet 'first': the formulas in B2, B3, .*, B7, .. \(8 in all\) have no"
    ):
        tables.read(path)
    assert tables.read(path, "plain")["id"].tolist() == ["P1"]

    def computed(xml: bytes) -> bytes:
        return re.sub(rb"<v\s*/>|<v></v>", b"<v>8</v>", xml)

    assert set(tables.read(rewritten(path, SHEET, computed))["lsm"]) == {"8"}
    text = rewritten(workbook(path, ["id", "note"], ["P1", '=""'], ["P2", 3]), SHEET, empty_text)
    assert tables.read(text)["note"].tolist() == ["", "3"]
    long = workbook(
        path, ["id", "a", "b"], *([number, "x" * 40, 1] for number in range(20_000)), ["z", "", "=1"]
    )
    with pytest.raises(DataError, match="the formulas in C20002 have no values"):  # beyond the first chunk
        tables.read(long)


def empty_text(xml: bytes) -> bytes:
    """Return a sheet whose formula has an empty text as its value, as Excel writes it."""
    changed, number = re.subn(rb'<c r="B2">(<f>.*?</f>)<v\s*/>', rb'<c r="B2" t="str">\1<v></v>', xml)
    assert number == 1
    return changed


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (
            "<t>\u6771\u4eac</t><rPh sb='0' eb='2'><t>\u30c8\u30a6</t></rPh><phoneticPr fontId='1'/>",
            "\u6771\u4eac",
        ),
        ("<r><t>P</t></r><r><rPr><b/></rPr><t xml:space='preserve'> 1</t></r>", "P 1"),
        ("<t>P1_x000D_</t>", "P1"),
        ("<t>A&amp;B &#65; &lt;5</t>", "A&B A <5"),
    ],
)
def test_a_shared_text_is_that_which_is_shown(path: Path, item: str, text: str) -> None:
    """Readings of Chinese letters are not appended, runs of several fonts are joined, and escapes undone."""

    def refer(xml: bytes) -> bytes:
        return re.sub(rb'<c r="B2"[^>]*>.*?</c>', b'<c r="B2" t="s"><v>0</v></c>', xml)

    rewritten(workbook(path, ["a", "b"], [1, 2]), SHEET, refer)
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rewritten(path, "xl/sharedStrings.xml", lambda _: f"<sst xmlns='{space}'><si>{item}</si></sst>".encode())
    assert tables.read(path)["b"].tolist() == [text]


def test_cells_are_read_as_they_are_stored_in_hidden_and_filtered_rows_too(path: Path) -> None:
    book = openpyxl.load_workbook(workbook(path, ["a", "b"], [7, 0.5], [8, datetime.date(2024, 1, 31)]))
    sheet = book.active
    sheet["A2"].number_format, sheet["B2"].number_format = "00000", "0%"
    sheet["A2"].comment = openpyxl.comments.Comment("not sure", "me")
    sheet.row_dimensions[2].hidden = sheet.column_dimensions["B"].hidden = True
    sheet.auto_filter.ref = "A1:B3"
    sheet.auto_filter.add_filter_column(0, ["8"])
    book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    sheet["B3"] = datetime.date(2024, 1, 31)
    book.save(path)
    assert tables.read(path).to_dict("index") == {2: {"a": "7", "b": "0.5"}, 3: {"a": "8", "b": "2024-01-31"}}


def test_notes_blanks_and_groups_of_libreoffice_are_read_as_shown(tmp_path: Path) -> None:
    note = "<office:annotation><text:p>not sure</text:p></office:annotation>"
    cell = (
        f"<table:table-cell office:value-type='string'>{note}<text:p>P<text:s/>1</text:p></table:table-cell>"
    )
    number = "<table:table-cell office:value-type='percentage' office:value='0.5'/>"
    grouped = f"<table:table-row-group>{xml_row(cell, number)}</table:table-row-group>"
    head = f"<table:table-header-rows>{xml_row(words('id'), words('x'))}</table:table-header-rows>"
    path = open_document(
        tmp_path / "notes.ods", head, grouped, xml_row(words("<text:span>P</text:span>2"), words("y"))
    )
    assert tables.read(path).to_numpy().tolist() == [["P 1", "0.5"], ["P2", "y"]]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("<text:p>P1</text:p><text:p>b</text:p>", "P1\nb"),
        ("<text:p>P1<text:line-break/>b</text:p>", "P1\nb"),
        ("<text:p><text:span>P1<text:line-break></text:line-break></text:span>b</text:p>", "P1\nb"),
        ("<text:p>P1</text:p><text:p/><text:p>b</text:p>", "P1\n\nb"),
        ("<text:p>P1<text:tab/>b<text:tab text:tab-ref='1'/>c</text:p>", "P1\tb\tc"),
    ],
)
def test_a_line_break_of_libreoffice_is_that_of_the_same_table_in_excel(
    path: Path, cell: str, text: str
) -> None:
    stated = f"<table:table-cell office:value-type='string'>{cell}</table:table-cell>"
    given = open_document(path.with_suffix(".ods"), xml_row(words("id")), xml_row(stated))
    assert tables.read(given)["id"].tolist() == [text]
    assert tables.read(workbook(path, ["id"], [text]))["id"].tolist() == [text]


def test_damage_beside_the_sheets_of_libreoffice_is_reported(tmp_path: Path) -> None:
    path = open_document(tmp_path / "a.ods", xml_row(words("id")), xml_row(words("P<text:line-break/>1")))
    plain = rewritten(path, "mimetype", lambda kind: kind).read_bytes()
    assert tables.read(path)["id"].tolist() == ["P\n1"]
    path.write_bytes(plain.replace(b"opendocument.spreadsheet", b"opendocument.spreadsheat", 1))
    with pytest.raises(DataError, match="is damaged, or not a file of a spreadsheet"):
        tables.read(path)
