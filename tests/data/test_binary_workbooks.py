"""Binary workbooks of Excel, written by their specification: text that many cells share is counted first."""

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.data import binary_workbooks, spreadsheets, tables
from fibrolab.data.sheet_contents import Content
from fibrolab.errors import DataError

LARGEST_RECORD = 8224  # bytes
Rows = Sequence[Sequence[int | float]]  # the number of a shared text, or a number with a point


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def shared(texts: Sequence[str]) -> bytes:
    """Return the shared texts of an .xls; a record that goes on with a text says how wide its letters are."""
    parts = [struct.pack("<II", len(texts), len(texts))]
    for text in texts:
        wide = int(not text.isascii())
        if len(parts[-1]) + 5 > LARGEST_RECORD:
            parts.append(b"")
        parts[-1] += struct.pack("<HB", len(text), wide)
        encoded = text.encode("utf-16-le" if wide else "ascii")
        while encoded:
            room = (LARGEST_RECORD - len(parts[-1])) // 2 * 2
            parts[-1] += encoded[:room]
            if encoded := encoded[room:]:
                parts.append(bytes([wide]))
    return b"".join(record(0xFC if k == 0 else 0x3C, part) for k, part in enumerate(parts))


def cell(row: int, column: int, value: int | float) -> bytes:
    place = struct.pack("<HHH", row, column, 15)
    if isinstance(value, int):
        return record(0xFD, place + struct.pack("<I", value))
    return record(0x203, place + struct.pack("<d", value))


def xls(path: Path, texts: Sequence[str], *sheets: Rows, encrypted: bool = False) -> Path:
    """Write a workbook of Excel 97 with these cells ([MS-XLS] in [MS-CFB], sectors of 512 bytes)."""
    begin, end = struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0), record(0x0A, b"")
    bodies = [
        record(0x809, begin.replace(b"\x05\0", b"\x10\0", 1))
        + b"".join(cell(r, c, value) for r, row in enumerate(rows) for c, value in enumerate(row))
        + end
        for rows in sheets
    ]
    names = [f"S{number}".encode() for number in range(len(sheets))]
    head = record(0x809, begin) + (record(0x2F, b"\1\0\1\0" + bytes(50)) if encrypted else b"")
    tail = shared(texts) + end
    at = len(head) + sum(4 + 8 + len(name) for name in names) + len(tail)
    for name, body in zip(names, bodies, strict=True):
        head += record(0x85, struct.pack("<IBBBB", at, 0, 0, len(name), 0) + name)
        at += len(body)
    stream = (head + tail + b"".join(bodies)).ljust(4096, b"\0")
    stream += bytes(-len(stream) % 512)
    sectors = len(stream) // 512  # after them the directory, then the table of sectors
    tables_of = -(-(sectors + 2) // 127)
    chain = [*range(1, sectors), -2, -2, *[-3] * tables_of]
    table = struct.pack(f"<{len(chain)}i", *chain).ljust(512 * tables_of, b"\xff")
    entries = b"".join(
        name.encode("utf-16-le").ljust(64, b"\0")
        + struct.pack("<HBBiii36xii4x", 2 * len(name) + 2, kind, 1, -1, -1, child, start, size)
        for name, kind, child, start, size in (
            ("Root Entry", 5, 1, -2, 0),
            ("Workbook", 2, -1, 0, len(stream)),
        )
    ).ljust(512, b"\0")
    numbers = struct.pack("<7i", sectors, 0, 4096, -2, 0, -2, 0)
    places = [*range(sectors + 1, sectors + 1 + tables_of)]
    assert tables_of <= 109, "the header lists them"
    header = (
        binary_workbooks.COMPOUND
        + struct.pack("<16xHHHHH6xII", 0x3E, 3, 0xFFFE, 9, 6, 0, tables_of)
        + numbers
        + struct.pack("<109i", *places, *[-1] * (109 - tables_of))
    )
    assert len(header) == 512
    path.write_bytes(header + stream + entries + table)
    return path


def number(value: int) -> bytes:
    """Return a number in seven bits a byte."""
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def part(kind: int, content: bytes = b"") -> bytes:
    return number(kind) + number(len(content)) + content


def wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def xlsb(path: Path, texts: Sequence[str], rows: Rows) -> Path:
    """Write a binary workbook of Excel 2007 with these cells ([MS-XLSB])."""
    extent = struct.pack("<4I", 0, len(rows) - 1, 0, len(rows[0]) - 1)
    sheet = part(0x81) + part(0x94, extent) + part(0x91)
    for r, row in enumerate(rows):
        sheet += part(0, struct.pack("<I21x", r))
        for c, value in enumerate(row):
            assert isinstance(value, int)
            sheet += part(7, struct.pack("<III", c, 0, value))
    bundle = struct.pack("<II", 0, 1) + wide("rId1") + wide("S")
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "xl/workbook.bin", part(0x83) + part(0x8F) + part(0x9C, bundle) + part(0x90) + part(0x84)
        )
        archive.writestr(
            "xl/_rels/workbook.bin.rels",
            f'<Relationships xmlns="{space}"><Relationship Id="rId1" Type="{kind}" '
            'Target="worksheets/sheet1.bin"/></Relationships>',
        )
        archive.writestr("xl/worksheets/sheet1.bin", sheet + part(0x92) + part(0x82))
        begin = part(0x9F, struct.pack("<II", len(texts), len(texts)))
        archive.writestr(
            "xl/sharedStrings.bin", begin + b"".join(part(19, b"\0" + wide(t)) for t in texts) + part(0xA0)
        )
    return path


TEXTS = ("id", "note", "P1", "x" * 30_000)
ROWS = [[0, 1], *[[2, 3]] * 40]


@pytest.mark.parametrize("write", [xls, xlsb])
def test_one_long_text_that_many_cells_of_a_binary_workbook_share_counts_as_often(
    tmp_path: Path, write: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    import python_calamine

    path = write(tmp_path / "table", TEXTS, ROWS)
    assert path.stat().st_size < 50_000
    assert tables.read(path)["note"].tolist() == ["x" * 30_000] * 40
    monkeypatch.setattr(tables, "LARGEST", 1_000_000)
    monkeypatch.setattr(python_calamine.CalamineWorkbook, "from_filelike", None)  # must not be called
    with pytest.raises(DataError, match="with 1 MiB of text; up to 25,000,000 with 1 MiB are read"):
        tables.read(path)


LETTERS = st.sampled_from(["a", "ä", "肝"])
WORDS = st.builds(
    lambda letter, times: letter * times, LETTERS, st.sampled_from([0, 1, 100, 4100, 8219, 30_000])
)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), texts=st.lists(WORDS, min_size=1, max_size=8))
def test_cells_and_their_text_are_counted_as_they_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, texts: list[str]
) -> None:
    """Texts go on in the next record, at any letter, in letters of one byte or two."""
    values = st.integers(0, len(texts) - 1) | st.just(0.5)
    rows = data.draw(st.lists(st.lists(values, min_size=3, max_size=3), min_size=60, max_size=60))
    path = xls(tmp_path_factory.getbasetemp() / "any.xls", texts, rows, [[0.5]])
    found = binary_workbooks.of_xls(path.read_bytes())
    read = spreadsheets.read(path, None, 2**30)
    numbers = sum(isinstance(value, float) for row in rows for value in row)
    assert found is not None
    assert found.text == sum(len(text) for row in read for text in row) - 3 * numbers
    assert found == Content(181, found.text, 181, (3, 60))


def test_a_stray_cell_of_each_of_many_sheets_is_refused_before_memory_ends(tmp_path: Path) -> None:
    far = [*[[]] * 65_535, [0.5] * 256]
    path = xls(tmp_path / "far.xls", ["id"], far, far, far)
    with pytest.raises(DataError, match="has a sheet that reaches to the cell IV65536: delete"):
        tables.read(path)


def test_an_encrypted_workbook_is_named_as_such(tmp_path: Path) -> None:
    path = xls(tmp_path / "secret.xls", TEXTS, ROWS, encrypted=True)
    with pytest.raises(DataError, match="is protected by a password"):
        tables.read(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_wrong_bytes_are_counted_or_not_and_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "wrong.xls"
    content = bytearray((path if path.exists() else xls(path, TEXTS, ROWS)).read_bytes())
    for place in data.draw(st.lists(st.integers(0, 700) | st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    found = binary_workbooks.of_xls(bytes(content))
    assert found is None or found.cells >= 0
