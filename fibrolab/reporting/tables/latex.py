"""Tables as LaTeX for a paper: a float that fits the text block of an article, upright or rotated."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace

from fibrolab.reporting.tables.sheet import Cell, Column, Sheet

LETTERS = str.maketrans(
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
        "<": "$<$",  # the old encoding OT1 prints other signs for these
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
        "\u00b5": r"$\mu$",
        "\u03b1": r"$\alpha$",
        "\u03c7": r"$\chi$",
        "\u03ba": r"$\kappa$",
    }
)
# Characters per line in an A4 article (345 pt wide), by font size: measured on the tables of a report, in
# Computer Modern.
SIZES = {r"\small": 79, r"\footnotesize": 85, r"\scriptsize": 90}
GAP = 1.2  # characters between two columns
NAME, TITLE = 18, 14  # longest name in the first column, and title of a column, without wrapping [characters]


def table(sheet: Sheet) -> str:
    r"""Return a table as a float that needs ``\usepackage{booktabs}`` and, if rotated, ``rotating``.

    Intervals are below their values, as on the page. The font size is the largest in which the table fits the
    text block, with its names wrapped if necessary; a table that does not fit in any size is rotated.
    """
    lines = _lines(sheet)
    places = range(len(sheet.columns))
    cells = [[row[k] for rows in lines for row in rows] for k in places]
    widths = [max((len(each.text) + len(each.marks) / 2 for each in column), default=0) for column in cells]
    titles = [_broken(column.title, width) for column, width in zip(sheet.columns, widths, strict=True)]
    whole, broken = _size(widths, titles), _size([min(widths[0], NAME), *widths[1:]], titles)
    kind, needs = ("table", "booktabs") if broken else ("sidewaystable", "booktabs,rotating")
    size, gap = whole or broken or list(SIZES)[-1], "3pt" if broken else "2pt"
    columns = "".join("r" if column.number else "l" for column in sheet.columns)
    body = [
        f"% Needs \\usepackage{{{needs}}}; encoded as UTF-8.",
        f"\\begin{{{kind}}}",
        r"  \centering",
        f"  \\caption{{{escaped(sheet.caption)}}}",
        f"  \\label{{tab:{sheet.file.replace('_', '-')}}}",
        f"  \\smallskip{size}\\setlength{{\\tabcolsep}}{{{gap}}}",
        f"  \\begin{{tabular}}{{{columns if whole else 'p{9em}' + columns[1:]}}}",
        r"    \toprule",
        _row([_title(column, title) for column, title in zip(sheet.columns, titles, strict=True)]),
        r"    \midrule",
        *_body(lines if whole else [_folded(rows) for rows in lines], "" if whole else r"\raggedright "),
        r"    \bottomrule",
        r"  \end{tabular}",
        *_notes(sheet),
        f"\\end{{{kind}}}",
    ]
    return "\n".join(body) + "\n"


def escaped(text: str) -> str:
    """Return a text on one line, with all LaTeX commands escaped."""
    line = re.sub(r"[^\S\u00a0]+", " ", text).strip(" ").translate(LETTERS)
    return "".join(letter for letter in line if letter.isprintable())


def _lines(sheet: Sheet) -> list[list[list[Cell]]]:
    """Return each line of a table as one row, or as two if there are texts below its values."""
    stacked = any(cell.small for line in sheet.lines for cell in line.cells[1:])
    found = []
    for line in sheet.lines:
        above = [replace(cell, small="") for cell in line.cells]
        if stacked:
            below = [Cell(cell.small) for cell in line.cells]
            found.append([above, below] if any(cell.text for cell in below) else [above])
        else:  # a text below the name only is set beside it
            beside = ", ".join(filter(None, (line.cells[0].text, line.cells[0].small)))
            found.append([[replace(above[0], text=beside), *above[1:]]])
    return found


def _folded(rows: list[list[Cell]]) -> list[list[Cell]]:
    """Return the rows of a line, with a long name continued in the second row if it is free."""
    start, *rest = textwrap.wrap(rows[0][0].text, NAME) or [""]
    if not rest or len(rows) == 1 or rows[1][0].text:
        return rows
    above, below = replace(rows[0][0], text=start), Cell(" ".join(rest))
    return [[above, *rows[0][1:]], [below, *rows[1][1:]]]


def _broken(title: str, width: float) -> list[str]:
    """Return a title in lines that are no longer than the cells below it."""
    return textwrap.wrap(title, max(int(width), TITLE), break_long_words=False) or [""]


def _size(widths: list[float], titles: list[list[str]]) -> str:
    """Return the largest font size in which the columns fit; empty where they fit in none."""
    letters = sum(max(width, *map(len, title)) + GAP for width, title in zip(widths, titles, strict=True))
    return next((size for size, most in SIZES.items() if letters <= most), "")


def _title(column: Column, lines: list[str]) -> str:
    """Return a column's title; braces keep a `[` in it from being an argument of the line break before."""
    text = r" \\{}".join(escaped(line) for line in lines)
    return text if len(lines) == 1 else f"\\shortstack[{'r' if column.number else 'l'}]{{{text}}}"


def _body(lines: list[list[list[Cell]]], start: str) -> Iterator[str]:
    """Return the rows, with space between lines where any has two."""
    spaced = any(len(rows) > 1 for rows in lines)
    for rows in lines:
        for row in rows:
            texts = [f"{escaped(cell.text)}{_mark(cell.marks)}" for cell in row]
            yield _row([start + texts[0], *texts[1:]])
        if spaced:
            yield r"    \addlinespace[2pt]"


def _notes(sheet: Sheet) -> list[str]:
    if not sheet.notes:
        return []
    notes = [f"    {_mark(mark)}{escaped(text)}\\par" for mark, text in sheet.notes]
    start = r"  \begin{minipage}{\linewidth}\scriptsize\raggedright"
    return [r"  \par\smallskip", start, *notes, r"  \end{minipage}"]


def _mark(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}" if mark else ""


def _row(cells: list[str]) -> str:
    r"""Return a row; `{}` before it, since a `[` or a `*` would be an argument of the last ``\\``."""
    return f"    {{}}{' & '.join(cells)} \\\\"
