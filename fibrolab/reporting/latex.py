r"""A table as LaTeX for a paper: a float that fits the text of an article, upright or turned on its side."""

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
        "\u00b5": r"$\mu$",
        "\u03b1": r"$\alpha$",
        "\u03c7": r"$\chi$",
        "\u03ba": r"$\kappa$",
    }
)
# Letters that fit beside each other in an article of A4 (345 pt wide), by the size of the type: measured on
# the tables of a report, in Computer Modern.
SIZES = {r"\small": 79, r"\footnotesize": 85, r"\scriptsize": 90}
GAP = 1.2  # letters between two columns
NAME, TITLE = 18, 14  # letters of a name in the first column, of a column's title, that are not broken


def table(sheet: Sheet) -> str:
    r"""A table as a float that needs ``\usepackage{booktabs}`` and, where it is turned, ``rotating``.

    What stands below a value on the page, such as its interval, stands below it here too. The type is the
    largest in which the table fits the text, if need be with its names broken; what fits in none is turned.
    """
    lines = _lines(sheet)
    places = range(len(sheet.columns))
    widths = [max((_letters(row[k]) for rows in lines for row in rows), default=0) for k in places]
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
    """A text with everything escaped that LaTeX would take for a command; on one line."""
    line = re.sub(r"[^\S\u00a0]+", " ", text).strip(" ").translate(LETTERS)
    return "".join(letter for letter in line if letter.isprintable())


def _lines(sheet: Sheet) -> list[list[list[Cell]]]:
    """Each line of a table as one row, or as two where something stands below its values."""
    stacked = any(cell.small for line in sheet.lines for cell in line.cells[1:])
    found = []
    for line in sheet.lines:
        above = [replace(cell, small="") for cell in line.cells]
        if stacked:
            below = [Cell(cell.small) for cell in line.cells]
            found.append([above, below] if any(cell.text for cell in below) else [above])
        else:  # what is below a name alone is set beside it
            beside = ", ".join(filter(None, (line.cells[0].text, line.cells[0].small)))
            found.append([[replace(above[0], text=beside), *above[1:]]])
    return found


def _folded(rows: list[list[Cell]]) -> list[list[Cell]]:
    """The rows of a line whose long name goes on in the second of them, if nothing stands there."""
    start, *rest = textwrap.wrap(rows[0][0].text, NAME) or [""]
    if not rest or len(rows) == 1 or rows[1][0].text:
        return rows
    above, below = replace(rows[0][0], text=start), Cell(" ".join(rest))
    return [[above, *rows[0][1:]], [below, *rows[1][1:]]]


def _letters(cell: Cell) -> float:
    return len(cell.text) + len(cell.marks) / 2  # marks are small


def _broken(title: str, width: float) -> list[str]:
    """A title in lines that are no longer than what stands below it."""
    return textwrap.wrap(title, max(int(width), TITLE), break_long_words=False) or [""]


def _size(widths: list[float], titles: list[list[str]]) -> str:
    """The largest type in which the columns fit beside each other; empty where they fit in none."""
    letters = sum(max(width, *map(len, title)) + GAP for width, title in zip(widths, titles, strict=True))
    return next((size for size, most in SIZES.items() if letters <= most), "")


def _title(column: Column, lines: list[str]) -> str:
    """A column's title; braces keep a `[` in it from being an argument of the break before."""
    text = r" \\{}".join(escaped(line) for line in lines)
    return text if len(lines) == 1 else f"\\shortstack[{'r' if column.number else 'l'}]{{{text}}}"


def _body(lines: list[list[list[Cell]]], start: str) -> Iterator[str]:
    """The rows, with some space between lines where any has two."""
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
    told = [f"    {_mark(mark)}{escaped(text)}\\par" for mark, text in sheet.notes]
    start = r"  \begin{minipage}{\linewidth}\scriptsize\raggedright"
    return [r"  \par\smallskip", start, *told, r"  \end{minipage}"]


def _mark(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}" if mark else ""


def _row(cells: list[str]) -> str:
    r"""A line; `{}` before it, since a `[` or a `*` there would be an argument of the last ``\\``."""
    return f"    {{}}{' & '.join(cells)} \\\\"
