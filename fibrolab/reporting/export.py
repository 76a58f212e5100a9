"""Tables as files for a paper: CSV to calculate with, LaTeX to print; both as the page shows them."""

import csv
import io
import re
from pathlib import Path

from fibrolab.reporting import run as runs
from fibrolab.reporting import sections
from fibrolab.reporting.sheets import Cell, Sheet

FOLDER = "tables"
BROAD = 6  # columns; more of them are set in small type
FORMULA = ("=", "+", "-", "@")  # what a spreadsheet would run, coming from a name
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",  # the letters of old would print these as marks of Spanish
        ">": "$>$",
        "|": "$|$",
        '"': "{''}",
        "`": "{`}",
        "\u00a0": "~",
        "\u2212": "$-$",
        "\u00b1": r"$\pm$",
        "\u00d7": r"$\times$",
        "\u2265": r"$\geq$",
        "\u2264": r"$\leq$",
        "\u2013": "--",
        "\u2014": "---",
        "\u2026": r"\dots{}",
        "\u00b2": "$^{2}$",
        "\u00b3": "$^{3}$",
        "\u2079": "$^{9}$",
        "\u00b0": r"$^{\circ}$",
        "\u03b1": r"$\alpha$",
        "\u03c7": r"$\chi$",
        "\u03ba": r"$\kappa$",
    }
)


def write(folder: Path) -> list[Path]:
    """Write every table of a run's report into its ``tables`` folder, as ``NAME.csv`` and ``NAME.tex``.

    Tables of an earlier evaluation that there are no more are removed.

    Args:
        folder: Of the run.

    Returns:
        The files written.

    Raises:
        DataError: ``folder`` is no folder.
        StorageError: The disk is full or the folder cannot be written.
    """
    shown = [sheet for sheets in sections.of(runs.read(folder)).values() for sheet in sheets]
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
    place = folder / sheet.file
    # With a byte-order mark: without it, spreadsheets take the dashes of UTF-8 for letters.
    table = runs.put(place.with_suffix(".csv"), as_csv(sheet).encode("utf-8-sig", errors="replace"))
    return [table, runs.put(place.with_suffix(".tex"), as_latex(sheet).encode(errors="replace"))]


def as_csv(sheet: Sheet) -> str:
    """A table as CSV: a header, a row a line, a cell's value and interval together; notes are left out."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([column.title for column in sheet.columns])
    rows.writerows([[_plain(cell) for cell in line.cells] for line in sheet.lines])
    return text.getvalue()


def _plain(cell: Cell) -> str:
    text = " ".join(f"{cell.text} {cell.small}".split())  # on one line, blanks as a keyboard has them
    return f"'{text}" if text.startswith(FORMULA) else text


def as_latex(sheet: Sheet) -> str:
    r"""A table as a LaTeX float that needs ``\usepackage{booktabs}`` and nothing else."""
    columns = "".join("r" if column.number else "l" for column in sheet.columns)
    body = [
        r"% Needs \usepackage{booktabs}; encoded as UTF-8.",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{latex(sheet.caption)}}}",
        f"  \\label{{tab:{sheet.file.replace('_', '-')}}}",
        *([r"  \scriptsize"] if len(columns) > BROAD else []),
        f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        _row([latex(column.title) for column in sheet.columns]),
        r"    \midrule",
        *(_row([_cell(cell) for cell in line.cells]) for line in sheet.lines),
        r"    \bottomrule",
        r"  \end{tabular}",
        *(f"  \\par{{\\footnotesize {_mark(mark)}{latex(text)}}}" for mark, text in sheet.notes),
        r"\end{table}",
    ]
    return "\n".join(body) + "\n"


def latex(text: str) -> str:
    """A text with everything escaped that LaTeX would take for a command; on one line."""
    line = re.sub(r"[^\S\u00a0]+", " ", text).strip(" ").translate(LATEX)
    return "".join(letter for letter in line if letter.isprintable())


def _cell(cell: Cell) -> str:
    return f"{latex(cell.text)}{_mark(cell.marks)} {latex(cell.small)}".strip()


def _mark(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}" if mark else ""


def _row(cells: list[str]) -> str:
    r"""A line; `{}` before it, since a `[` or a `*` there would be an argument of the last ``\\``."""
    return f"    {{}}{' & '.join(cells)} \\\\"
