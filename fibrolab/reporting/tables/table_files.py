"""Tables as files for a paper, CSV and LaTeX, with the content that the page shows."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from fibrolab.reporting.tables import latex
from fibrolab.reporting.tables.sheet import Cell, Sheet
from fibrolab.storage import put

FOLDER = "tables"
FORMULA = ("=", "+", "-", "@")  # a spreadsheet would run a text that starts with one of these as a formula


def write(sheets: Mapping[str, Sequence[Sheet]], folder: Path) -> list[Path]:
    """Write every table of a run's report into its ``tables`` folder, as ``NAME.csv`` and ``NAME.tex``.

    Files of tables that an earlier evaluation wrote and this one does not have are removed.

    Args:
        sheets: Tables by section, as `run_page.tables` returns them.
        folder: Folder of the run.

    Returns:
        The files written.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    shown = [sheet for of_section in sheets.values() for sheet in of_section]
    written = [path for sheet in shown for path in save(sheet, folder / FOLDER)]
    for path in (folder / FOLDER).glob("*"):
        if path.suffix in (".csv", ".tex") and path not in written:
            path.unlink()
    return written


def save(sheet: Sheet, folder: Path) -> list[Path]:
    """Write one table as CSV and as LaTeX, each whole or not at all.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    path = folder / sheet.file
    # The byte-order mark tells spreadsheets that the file is UTF-8.
    table = put(path.with_suffix(".csv"), as_csv(sheet).encode("utf-8-sig", errors="replace"))
    return [table, put(path.with_suffix(".tex"), latex.table(sheet).encode(errors="replace"))]


def as_csv(sheet: Sheet) -> str:
    """Return a table as CSV with a header; a value and its interval share a cell, notes are left out."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([column.title for column in sheet.columns])
    rows.writerows([[_plain(cell) for cell in line.cells] for line in sheet.lines])
    return text.getvalue()


def _plain(cell: Cell) -> str:
    text = " ".join(cell.joined.split())  # on one line, with plain spaces
    return f"'{text}" if text.startswith(FORMULA) else text
