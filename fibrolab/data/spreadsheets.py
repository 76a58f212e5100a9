"""Files of Excel and LibreOffice (.xlsx, .xlsm, .xlsb, .xls, .ods) as the text that a CSV would have."""

import datetime
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from fibrolab.choices import unknown
from fibrolab.data import binary_workbooks, sheet_contents
from fibrolab.errors import ConfigError, DataError

OPEN_DOCUMENT = "content.xml"  # part of an .ods with its sheets
BEGINNINGS = (b"PK\x03\x04", binary_workbooks.COMPOUND)  # zip archive; Microsoft's compound file
MOST_CELLS = 50_000_000  # up to the last row and column; each takes 40 bytes
MOST_FILLED = 25_000_000  # of an .ods or .xls; each takes up to 140 bytes while it is read
_WHOLE = 10**15  # whole numbers below it have all their digits in a spreadsheet
_EXACT = 2**53  # and below it in the file, where they are floating point numbers
# What zipfile raises of damaged, encrypted and unusual archives.
_OF_ARCHIVES = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, NotImplementedError, RuntimeError, ValueError),
)
# A cell of an .xlsx with its column and row. The size that a sheet states may be absent or wrong.
_CELL = re.compile(rb"""<(?:\w+:)?c\s(?:[^>]*?\s)?r=["']([A-Z]{1,3})(\d{1,7})["']""")
_PROTECTED = "{} is protected by a password: save it without one."
# Line breaks and tabs within the text of an .ods, and the parts beside it that say of what kind the file is.
_BREAK = re.compile(rb"<text:(line-break|tab)\b[^>]*?(?:/>|>\s*</text:\1\s*>)")
_BREAKS = {b"line-break": b"\n", b"tab": b"\t"}
_BESIDE = ("mimetype", "META-INF/manifest.xml")
_LONGEST_CELL = 1024  # bytes of such a match at most
_EXTENT = re.compile(rb"\x94\x01\x10.{4}(.{4}).{4}(.{4})", re.DOTALL)  # last row and column of an .xlsb


def read(path: Path, sheet: str | None, largest: int) -> list[list[str]]:
    """Read one sheet of a workbook.

    Numbers are written with up to 15 digits, as a spreadsheet shows them, and whole ones without a point
    (123, not 123.0); whole numbers that the file cannot hold exactly are written as powers of ten
    (1.23456789012346E+17). Dates are written as 2024-12-03, and with the time of day where there is one.
    Each of the cells that are merged downwards has the value that is shown over them. Formulas have the
    value that was last computed, and none if that is an error.

    Args:
        path: The file.
        sheet: Name of the sheet; None for the first visible one.
        largest: Most bytes of its parts, unpacked.

    Returns:
        The rows from the sheet's row 1 on, each of as many cells.

    Raises:
        ConfigError: No such sheet; the sheets are named.
        DataError: The file is damaged, encrypted, too large, or of another kind.
    """
    import python_calamine as calamine

    _check_size(path, largest)
    try:
        with _opened(path) as file:
            workbook = calamine.CalamineWorkbook.from_filelike(file)
            chosen = _chosen(path, workbook, sheet)
            found = workbook.get_sheet_by_name(chosen)
            _require_near(path, found.total_width, found.total_height)
            rows: list[list[Any]] = found.to_python(skip_empty_area=False)
            merged = found.merged_cell_ranges or []
    except (ConfigError, DataError):
        raise
    except calamine.PasswordError:
        raise DataError(_PROTECTED.format(path)) from None
    except (calamine.CalamineError, OSError) as error:
        raise DataError(_damaged(path, error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how pyo3 raises a failed assertion in Rust
            raise
        raise DataError(_damaged(path, error)) from None
    _require_values(path, chosen)
    for row in rows:
        row[:] = map(_text, row)
    _fill_down(rows, merged)
    return rows


def _opened(path: Path) -> IO[bytes]:
    """Open a workbook; of an .ods, with the line breaks and tabs as characters, since calamine drops them."""
    if not zipfile.is_zipfile(path):
        return path.open("rb")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            content = archive.read(OPEN_DOCUMENT) if OPEN_DOCUMENT in names else b""
            if not _BREAK.search(content):
                return path.open("rb")
            parts = {name: archive.read(name) for name in names if name in _BESIDE}
    except _OF_ARCHIVES as error:
        raise DataError(_damaged(path, error)) from None
    parts[OPEN_DOCUMENT] = _BREAK.sub(lambda found: _BREAKS[found[1]], content)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    file.seek(0)
    return file


def _require_values(path: Path, sheet: str) -> None:
    """Refuse a sheet of an .xlsx with formulas that no spreadsheet has computed: they would be missing."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            cells = sheet_contents.uncomputed(archive, sheet)
    except (*_OF_ARCHIVES, SyntaxError) as error:
        raise DataError(_damaged(path, error)) from None
    if cells:
        named = ", ".join(cells[:6]) + (f", .. ({len(cells):,} in all)" if len(cells) > 6 else "")
        raise DataError(
            f"{path}, sheet '{sheet}': the formulas in {named} have no values, since no spreadsheet has "
            "computed them. Open the file in one, and save it."
        )


def _damaged(path: Path, error: BaseException) -> str:
    reason = " ".join(str(error).split())
    return (
        f"{path} is damaged, or not a file of a spreadsheet ({reason:.120}). Open it there, delete what "
        "lies far beyond the table, and save it again as .xlsx, or as CSV UTF-8."
    )


def _check_size(path: Path, largest: int) -> None:
    """Refuse an archive that unpacks to too much, or whose sheet reaches too far: memory would end."""
    if not zipfile.is_zipfile(path):
        found = binary_workbooks.of_xls(path.read_bytes())
        if found is None:
            raise DataError(_PROTECTED.format(path))
        _require_moderate(path, found, largest)
        return
    reached: list[tuple[int, int]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
            if unpacked <= largest:
                _check_content(path, archive, largest)
                reached = list(_reached(archive))
    except _OF_ARCHIVES as error:
        raise DataError(_damaged(path, error)) from None
    if unpacked > largest:
        raise DataError(
            f"{path} unpacks to {unpacked / 2**20:,.0f} MiB; up to {largest / 2**20:,.0f} MiB are read. Keep "
            "only the sheet and the columns that are used, or save it as CSV UTF-8."
        )
    for column, row in reached:
        _require_near(path, column, row)


def _check_content(path: Path, archive: zipfile.ZipFile, largest: int) -> None:
    """Refuse a workbook whose cells or text would take more memory than there may be, however small it is."""
    if OPEN_DOCUMENT in archive.namelist():
        with archive.open(OPEN_DOCUMENT) as part:
            found = sheet_contents.of_open_document(part, partial(_is_too_much, largest=largest))
    else:
        text = sheet_contents.shared_text(archive) + binary_workbooks.shared_text(archive)
        found = sheet_contents.Content(0, text)
    _require_moderate(path, found, largest)


def _require_moderate(path: Path, found: sheet_contents.Content, largest: int) -> None:
    """Refuse what `_is_too_much`."""
    if not _is_too_much(found, largest):
        return
    if found.area > MOST_CELLS:
        raise _too_far(path, *found.last)
    raise DataError(
        f"{path} has {found.cells:,} filled cells or more with {found.text / 2**20:,.0f} MiB of text; up to "
        f"{MOST_FILLED:,} with {largest / 2**20:,.0f} MiB are read. Keep only the sheet and the columns that "
        "are used, or save it as CSV UTF-8."
    )


def _is_too_much(found: sheet_contents.Content, largest: int) -> bool:
    return found.cells > MOST_FILLED or found.area > MOST_CELLS or found.text > largest


def _require_near(path: Path, column: int, row: int) -> None:
    """Refuse a sheet whose last cell is in this column and row, if it has more than `MOST_CELLS`."""
    if column * row > MOST_CELLS:
        raise _too_far(path, column, row)


def _too_far(path: Path, column: int, row: int) -> DataError:
    return DataError(
        f"{path} has a sheet that reaches to the cell {_letters(column)}{row}: delete the rows and columns "
        "beyond the table, or save the sheet as CSV UTF-8."
    )


def _reached(archive: zipfile.ZipFile) -> Iterator[tuple[int, int]]:
    """Yield the last column and row of each sheet of an .xlsx or .xlsb, by its cells or as it states them."""
    for name in archive.namelist():
        if not name.startswith("xl/worksheets/"):
            continue
        with archive.open(name) as part:
            if name.endswith(".xml"):
                yield _last_cell(part)
            elif match := _EXTENT.search(part.read(4096)):
                row, column = (int.from_bytes(number, "little") + 1 for number in match.groups())
                yield column, row


def _last_cell(part: IO[bytes]) -> tuple[int, int]:
    """Return the largest column and row of the cells of a sheet in XML."""
    columns, last, kept = {b"A"}, 1, b""
    while chunk := part.read(2**20):
        found = _CELL.findall(kept + chunk)
        columns |= {column for column, _ in found}
        last = max([last, *(int(row) for _, row in found)])
        kept = chunk[-_LONGEST_CELL:]
    return max(_number(column.decode()) for column in columns), last


def _number(column: str) -> int:
    """Return the number of a column: A is 1, AA is 27."""
    number = 0
    for letter in column:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _letters(column: int) -> str:
    """Return the letters of a column's number."""
    letters = ""
    while column:
        column, digit = divmod(column - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def _chosen(path: Path, workbook: Any, sheet: str | None) -> str:
    """Return the name of the sheet to read."""
    pages = [page for page in workbook.sheets_metadata if str(page.typ).endswith("WorkSheet")]
    names = [str(page.name) for page in pages]
    if not names:
        raise DataError(f"{path} has no sheet with cells.")
    if sheet is not None and sheet not in names:
        raise ConfigError(f"{path}: {unknown('data.sheet', sheet, names)}")
    shown = [str(page.name) for page in pages if str(page.visible).endswith("Visible")]
    return sheet if sheet is not None else (shown or names)[0]


def _text(cell: Any) -> str:
    """Return a cell as the text that a CSV would have."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int | float):
        return _number_text(cell)
    if isinstance(cell, datetime.datetime):
        at_midnight = cell.time() == datetime.time()
        return cell.date().isoformat() if at_midnight else cell.isoformat(" ")
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)


def _number_text(value: float) -> str:
    if value != value or abs(value) == float("inf"):
        return str(value)
    if value == int(value) and abs(value) < _WHOLE:
        return str(int(value))
    if value == int(value):
        return str(int(value)) if abs(value) <= _EXACT else f"{value:.14E}"
    return f"{value:.15g}"


def _fill_down(rows: list[list[str]], merged: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    """Write the value of cells that are merged downwards into each of them, below the header."""
    for (top, column), (bottom, _) in merged:
        for row in range(max(top + 1, 1), min(bottom + 1, len(rows))):
            if column < len(rows[row]) and rows[row][column] == "" and top > 0:
                rows[row][column] = rows[top][column]
