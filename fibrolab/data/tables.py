"""Reading of a user's table, CSV, Excel or Parquet, as text; every fault names its rows."""

import csv
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data import spreadsheets
from fibrolab.data.fault_sentences import cell_faults, refuse, rows_named
from fibrolab.errors import ConfigError, DataError

# Largest file [bytes]: as text in memory, a table takes several times its size, and copies take more.
LARGEST = 256 * 2**20
# Most rows of Parquet, whose file does not state its uncompressed size as text: LARGEST at 50 bytes per row.
MOST_ROWS = 5_000_000
MOST_CELLS = spreadsheets.MOST_CELLS  # of a CSV
SEPARATORS = (",", ";", "\t")
# Words for a missing value in lower case: of R, pandas, SAS and databases, and of people.
MISSING = frozenset(
    {"na", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "none", "."}
    | {"missing", "unknown", "not available", "not known", "?", "-", "--", "---", "‐", "–", "—", "−"}
)
# What some systems export under the name of a table, by its first bytes.
_NO_TABLE = {
    b"<": "is a page or document of HTML or XML: open it in a spreadsheet and save it as .xlsx",
    b"\x1f\x8b": "is compressed by gzip: unpack it",
    b"%PDF": "is a PDF: export the table as .xlsx or CSV UTF-8",
}
_FIRST = 2  # number of the first row below the header, in a spreadsheet
_BATCH = 50_000  # rows converted from Python objects at once, and their cells
_BATCH_CELLS = 2_000_000
_TRIGGERS = tuple("=+-@＝＋－＠")  # some spreadsheets treat the full-width characters like the others
# Blanks and invisible marks, which are often copied together with text.
_UNSEEN = (
    "".join(filter(str.isspace, map(chr, range(0x3001))))
    + "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
)
_FORMULA = "like a formula, which a spreadsheet would run: put a letter before it, or leave the cell empty"
_TOLD = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)  # first line by which Excel is told the separator
_INDEX_NAME = re.compile(r"Unnamed: \d+(\.\d+)*")  # pandas' name for a column without one
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*%?")


def read(
    path: str | Path, sheet: str | None = None, values: Mapping[str, Collection[str]] | None = None
) -> pd.DataFrame:
    """Read a table as text, one row per record.

    CSV is separated by comma, semicolon or tab (the most frequent one in the header, or the one that a first
    line `sep=;` names) and encoded as UTF-8, or as UTF-16 with a byte order mark. Files of Excel and
    LibreOffice (`spreadsheets.read`) and Parquet are recognised by their content; their numbers, dates and
    categories become the text that a CSV would have (7, not 7.0). Text stays text (`001`); it is normalised
    (NFC), without blanks and invisible marks around it, so that cells which look the same, such as `P1 ` and
    `P1`, are equal. Cells with a word for a missing value (`MISSING`, in any case) are empty. Empty rows,
    empty columns without a name, and the index that pandas and R write as a first column without a name
    (different whole numbers) are skipped.

    Args:
        path: The file.
        sheet: Sheet of a file of Excel; None for the first one.
        values: By column, words that are values there although they are among `MISSING`, in any case.

    Returns:
        Strings, empty for missing values; the index is the row's number in a spreadsheet, whose row 1 is the
        header.

    Raises:
        ConfigError: There is no such sheet, or the file has no sheets.
        DataError: No such file, too large, no known format, undecodable bytes, quotation marks that do not
            match, or the faults of its cells, all in one error: columns without a name or with the same one,
            rows of another length than the header, and cells that a spreadsheet would run as a formula.
    """
    path = Path(path).expanduser()
    head = _head(path, sheet)
    if head.startswith(b"PAR1"):
        content = _parquet(path)
    elif head.startswith(spreadsheets.BEGINNINGS):
        content = _workbook(path, sheet)
    else:
        content = _csv(path, _encoding(path, head))
    return _clean(path, content, values or {})


def header(path: str | Path, sheet: str | None = None) -> list[str]:
    """Return the names of the columns of a table, as `read` would; of a CSV, no other row is read.

    Raises:
        ConfigError: There is no such sheet, or the file has no sheets.
        DataError: The file cannot be read, or its first row is empty.
    """
    path = Path(path).expanduser()
    head = _head(path, sheet)
    if head.startswith(b"PAR1"):
        names = _parquet(path).names
    elif head.startswith(spreadsheets.BEGINNINGS):
        names = _workbook(path, sheet).names
    else:
        encoding = _encoding(path, head)
        try:
            with path.open(encoding=encoding, newline="") as file:
                names = _names(path, _rows(path, file))
        except UnicodeError:
            raise DataError(_undecodable(path, encoding)) from None
    return [name for name in map(_tidy, names) if name]


class _Content(NamedTuple):
    """Content of a file before it is checked.

    Attributes:
        names: Names of the columns, as given.
        table: The cells, columns numbered from 0, rows as in a spreadsheet.
        faults: Sentences on rows and columns that could not be read.
    """

    names: list[str]
    table: pd.DataFrame
    faults: list[str]


def _head(path: Path, sheet: str | None) -> bytes:
    """Return the first bytes of a file, after checking that it can be read and may have the sheet."""
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not a file" if path.exists() else "does not exist"
            raise DataError(f"{path} {what}; a table is one CSV, Excel or Parquet file.")
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(
                f"{path} has {size / 2**20:,.0f} MiB; tables of up to {LARGEST // 2**20} MiB are read. A "
                "manifest has one row per image, so this would be millions of images: is it the right file? "
                "If so, keep only the columns that are used."
            )
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror}).") from None
    if not head.strip():
        raise DataError(f"{path} is empty; its first line must name the columns.")
    for beginning, words in _NO_TABLE.items():
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(beginning):
            raise DataError(f"{path} {words}.")
    if sheet is not None and not head.startswith(spreadsheets.BEGINNINGS):
        raise ConfigError(f"data.sheet={sheet}: {path} has no sheets, since it is not a file of Excel.")
    return head


def _encoding(path: Path, head: bytes) -> str:
    """Return the encoding of a CSV file from its first bytes."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in head:
        raise DataError(
            f"{path} holds zero bytes, so it is not text in UTF-8 (UTF-16 without its mark?). Save it as "
            "CSV UTF-8."
        )
    return "utf-8-sig"


def _csv(path: Path, encoding: str) -> _Content:
    """Read a CSV file."""
    ragged: defaultdict[int, list[int]] = defaultdict(list)  # rows by the number of their cells
    batches: list[pd.DataFrame] = []
    try:
        with path.open(encoding=encoding, newline="") as file:
            records = _rows(path, file)
            names = _names(path, records)
            for numbers, cells in _batched(records, len(names), ragged):
                _require_moderate(path, (sum(map(len, batches)) + len(cells)) * len(names))
                batches.append(pd.DataFrame(cells, index=numbers, columns=range(len(names)), dtype=str))
    except UnicodeError:
        raise DataError(_undecodable(path, encoding)) from None
    faults = [
        f"{rows_named(rows)} {'has' if len(rows) == 1 else 'have'} {count} cell(s) where the header names "
        f"{len(names)} columns"
        for count, rows in sorted(ragged.items())
    ]
    empty = pd.DataFrame(columns=range(len(names)), dtype=str)
    return _Content(names, pd.concat(batches) if batches else empty, faults)


def _require_moderate(path: Path, cells: int) -> None:
    """Refuse a CSV of more than `MOST_CELLS`, which may be empty ones."""
    if cells > MOST_CELLS:
        raise DataError(
            f"{path} has {cells:,} cells or more; tables of up to {MOST_CELLS:,} are read. Keep only the "
            "columns that are used."
        )


def _rows(path: Path, file: TextIO) -> Iterator[list[str]]:
    """Yield the rows of an open CSV file, the header first."""
    told = _TOLD.fullmatch(first := file.readline())
    separator = told[1] if told else _separator(first)
    file.seek(0)
    if told:  # a spreadsheet does not show this line, and numbers the next one 1
        file.readline()
    yield from _records(path, csv.reader(file, delimiter=separator, strict=True))


def _names(path: Path, rows: Iterator[list[str]]) -> list[str]:
    """Return the first of the rows, which must name the columns."""
    names = next(rows, [])
    if not any(name.strip() for name in names):
        raise DataError(f"{path}, row 1: is empty; it must name the columns.")
    return names


def _separator(header: str) -> str:
    """Return the separator that occurs most often in a header line, outside quotation marks."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _records(path: Path, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield the records of a file; an unclosed quotation mark is reported with the row that opens it."""
    number = 0
    try:
        for number, record in enumerate(reader, start=1):  # noqa: B007 the error states the number
            yield record
    except csv.Error as error:
        raise DataError(
            f'{path}, row {number + 1}: the quotation marks do not match ({error}). A cell that opens with " '
            'must close with it, and a " within such a cell is written twice.'
        ) from None


def _batched(
    records: Iterator[list[str]], width: int, ragged: dict[int, list[int]]
) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield row numbers and cells of some records at once; add those of another width to `ragged`."""
    numbers: list[int] = []
    cells: list[list[str]] = []
    most = max(1, min(_BATCH, _BATCH_CELLS // width))
    for number, record in enumerate(records, start=_FIRST):
        if len(record) == width:
            numbers.append(number)
            cells.append(record)
        elif record:  # an empty line is an empty record
            ragged[len(record)].append(number)
        if len(cells) == most:
            yield numbers, cells
            numbers, cells = [], []
    if cells:
        yield numbers, cells


def _undecodable(path: Path, encoding: str) -> str:
    """Return a sentence on the first bytes that are not in the encoding."""
    content = path.read_bytes()
    codec = encoding.removesuffix("-sig")
    try:
        content.decode(codec)
    except UnicodeDecodeError as error:
        line = content[: error.start].decode(codec, "ignore").count("\n") + 1
        found = content[error.start : error.start + 4].hex(" ")
        return (
            f"{path}, line {line}: byte {error.start + 1:,} of the file ({found}) is not {codec.upper()}; it "
            "mixes encodings or was saved in another one. Save it as CSV UTF-8."
        )
    return f"{path} changed while it was read; try again."


def _workbook(path: Path, sheet: str | None) -> _Content:
    """Read one sheet of a file of Excel."""
    rows = iter(spreadsheets.read(path, None if sheet is None else str(sheet), LARGEST))
    names = _names(path, rows)
    filled = {number: row for number, row in enumerate(rows, start=_FIRST) if any(row)}
    table = pd.DataFrame(filled.values(), index=list(filled), columns=range(len(names)), dtype=str)
    return _Content(names, table, [])


def _parquet(path: Path) -> _Content:
    """Read a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            meta = file.metadata
            unpacked = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if unpacked > LARGEST or meta.num_rows > MOST_ROWS:
                raise DataError(
                    f"{path} unpacks to {unpacked / 2**20:,.0f} MiB in {meta.num_rows:,} rows; tables of up "
                    f"to {LARGEST // 2**20} MiB and {MOST_ROWS:,} rows are read: is it the right file?"
                )
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is a Parquet file that is damaged or incomplete ({error}).") from None
    rows = range(_FIRST, _FIRST + table.num_rows)
    cells, faults = {}, []
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        try:
            text = column.cast(pa.string()).to_pandas()  # 7.0 becomes 7, a category its name, a date ISO 8601
            cells[number] = pd.Series(text.to_numpy(object), index=rows).fillna("").astype(str)
        except (pa.ArrowException, UnicodeError):
            faults.append(f"column '{name}' is of type {column.type}, which has no form as text")
            cells[number] = pd.Series("", index=rows)
    return _Content(list(table.column_names), pd.DataFrame(cells, index=rows), faults)


def _clean(path: Path, content: _Content, values: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Return the table with tidy cells and column names, or refuse it with all faults in one error."""
    names = [_tidy(name) for name in content.names]
    used = [number for number, name in enumerate(names) if name or content.table[number].any()]
    table = content.table[used].copy()
    for number in used:
        words = MISSING - {word.casefold() for word in values.get(names[number], ())}
        codes, cells = pd.factorize(table[number])
        tidy = ["" if cell.casefold() in words else cell for cell in map(_tidy, cells)]
        table[number] = pd.Series(np.array(tidy, object)[codes], table.index, str)
    faults = content.faults + _formulas(names, table)
    filled = table != ""
    kept = [
        number
        for number in used
        if (names[number] or filled[number].any()) and not _is_index(number, names[number], table[number])
    ]
    faults += [
        f"column {number + 1} has no name: row 1 must hold the columns' names, with nothing above it"
        for number in kept
        if not names[number]
    ]
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    faults += [f"the column name '{name}' is repeated" for name in repeated]
    refuse(path, faults)
    table = table.loc[filled.any(axis=1), kept]
    if table.empty:
        raise DataError(f"{path} has no row below its header.")
    return table.set_axis([names[number] for number in kept], axis=1).rename_axis(keys.ROW)


def _is_index(number: int, name: str, cells: pd.Series) -> bool:
    """Return whether a column is the index of a table that pandas or R wrote: nothing but row numbers."""
    if not (_INDEX_NAME.fullmatch(name) or (number == 0 and not name)):
        return False
    known = cells[cells != ""]
    return bool(len(known) and known.str.fullmatch(r"\d+").all() and known.is_unique)


def _tidy(cell: str) -> str:
    """Strip blanks and invisible marks from a cell, and write accented letters in one form (NFC)."""
    cell = cell.strip()
    return cell if cell.isascii() else unicodedata.normalize("NFC", cell.strip(_UNSEEN))


def _formulas(names: Sequence[str], table: pd.DataFrame) -> list[str]:
    """Find cells that a spreadsheet would run as a formula when it opens this table or one made from it.

    Their first character decides: owasp.org/www-community/attacks/CSV_Injection.
    """
    faults = [f"row 1: column {name!r} looks {_FORMULA}" for name in names if is_formula(name)]
    for number in map(int, table.columns):
        suspects = table[number][table[number].str.startswith(_TRIGGERS)]
        found = suspects[[is_formula(cell) and cell.casefold() not in MISSING for cell in suspects]]
        faults += cell_faults(names[number], found, "looks", _FORMULA)
    return faults


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet would run a cell as a formula; a number may have a sign."""
    return cell.startswith(_TRIGGERS) and not _NUMBER.fullmatch(cell)
