"""Numbers as people write them: decimal points and commas, and marks between thousands."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from fibrolab.data.fault_sentences import SINGLE, cell_faults

_BLANKS = "[ '’\u00a0\u2009\u202f]"  # between thousands in French, Swiss and scientific numbers
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")  # 1,234 and 1.234: thousands, or three decimals
# Patterns of one reading each, with the mark between thousands and the decimal mark that they show.
_READINGS = tuple(
    (re.compile(rf"[+-]?{pattern}"), group, mark)
    for pattern, group, mark in (
        (rf"[1-9]\d{{0,2}}({_BLANKS}\d{{3}})+", _BLANKS, ""),
        (rf"[1-9]\d{{0,2}}({_BLANKS}\d{{3}})+,\d+", _BLANKS, ","),
        (rf"[1-9]\d{{0,2}}({_BLANKS}\d{{3}})+\.\d+", _BLANKS, "."),
        (r"[1-9]\d{0,2}(\.\d{3})+,\d+|[1-9]\d{0,2}(\.\d{3}){2,}", r"\.", ","),
        (r"[1-9]\d{0,2}(,\d{3})+\.\d+|[1-9]\d{0,2}(,\d{3}){2,}", ",", "."),
        (r"(?![1-9]\d{0,2},\d{3}$)(\d+,\d*|,\d+)", "", ","),
    )
)


class Numbers(NamedTuple):
    """The numbers of one column.

    Attributes:
        values: float64 (N,); NaN for a cell that is empty, no number, or has two readings.
        marks: Decimal marks that numbers with one reading show.
    """

    values: pd.Series
    marks: frozenset[str]


def read(cells: pd.Series) -> Numbers:
    """Read the numbers of a column, each as it must be meant.

    - `7.5` and all that pandas reads as a number; `7,5`, `0,125` and `1234,5`, with a decimal comma.
    - `1 234,5`, `1'234.5`, `1.234,5`, `1,234.5`, `1.234.567`, with marks between thousands.
    - `1,234` is a thousand or one: it is read as 1.234 if other numbers of the column have decimal commas and
      none a decimal point, and not at all otherwise. See `two_readings` for `1.234`.

    Args:
        cells: Text (N,), or numbers, which stay as they are.
    """
    values = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    if pd.api.types.is_numeric_dtype(cells):
        return Numbers(values, frozenset())
    text = _text(cells)
    unread = text[values.isna() & (text != "")]
    found = {cell: reading for cell in unread.unique() if (reading := _reading(cell))}
    marks = {mark for _, mark in found.values() if mark}
    plain = text[values.notna()]
    if (plain.str.contains(".", regex=False) & ~plain.str.fullmatch(_EITHER)).any():
        marks.add(".")
    if marks == {","}:
        either = (cell for cell in unread.unique() if _EITHER.fullmatch(cell))
        found |= {cell: (float(cell.replace(",", ".")), ",") for cell in either}
    if found:
        read_now = unread.map({cell: value for cell, (value, _) in found.items()})
        values = values.fillna(read_now.astype(np.float64))
    return Numbers(values, frozenset(marks))


def two_readings(cells: pd.Series, numbers: Numbers, commas: bool) -> pd.Series:
    """Return which cells are a thousand with its mark or a number with three decimals, bool (N,).

    `1,234` is one of them unless `read` has read it; `1.234` is one if other numbers have decimal commas: in
    this column, or in another and none here has a decimal point.

    Args:
        cells: Text (N,), or numbers, which have one reading.
        numbers: Result of `read` for these cells.
        commas: Whether numbers of any column of the table have decimal commas.
    """
    if pd.api.types.is_numeric_dtype(cells):
        return pd.Series(False, cells.index)
    text = _text(cells)
    either = text.str.fullmatch(_EITHER)
    if "," in numbers.marks or (commas and "." not in numbers.marks):
        return either & (numbers.values.isna() | text.str.contains(".", regex=False))
    return either & numbers.values.isna()


def faults(column: str, cells: pd.Series) -> Iterator[str]:
    """Yield sentences on cells with two readings, and name both; the index of the cells names the rows."""
    several = len(cells) > SINGLE
    for part in [cells] if several else [cells.iloc[[row]] for row in range(len(cells))]:
        if len(part):
            cell = str(part.iloc[0])
            thousand, decimal = re.sub("[.,]", "", cell), cell.replace(",", ".")
            here = "this one" if several else "here"
            yield from cell_faults(
                column,
                part,
                "is",
                f"readable in two ways, {here} as {thousand} or as {decimal}: write no mark between "
                "thousands, and decimals with a point",
            )


def _reading(cell: str) -> tuple[float, str] | None:
    """Return the value of a number with one reading, and the decimal mark that it shows; None for others."""
    for pattern, group, mark in _READINGS:
        if pattern.fullmatch(cell):
            digits = re.sub(group, "", cell) if group else cell
            return float(digits.replace(",", ".")), mark
    return None


def _text(cells: pd.Series) -> pd.Series:
    return cells.astype(object).where(cells.notna(), "").astype(str).str.strip()
