"""Sentences on the faults of a table, with row and column; many faults of one kind share a sentence."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import islice

import pandas as pd

from fibrolab.errors import DataError, listing

_NAMED = 6  # most rows named in a sentence
SINGLE = 3  # most cells with a sentence each


def rows_named(rows: Collection[Hashable], kind: str = "row") -> str:
    """Return a phrase that names the first six rows (or another `kind`), and the number of all rows."""
    shown = ", ".join(map(str, islice(rows, _NAMED)))
    more = f", .. ({len(rows):,} in all)" if len(rows) > _NAMED else ""
    return f"{kind}{'s' if len(rows) > 1 else ''} {shown}{more}"


def cell_faults(column: str, cells: pd.Series, verb: str, words: str, kind: str = "row") -> Iterator[str]:
    """Yield a sentence for each of up to three cells, or one sentence for more; none for no cell.

    Args:
        column: Name of the column.
        cells: The faulty cells; the index names the rows.
        verb: The verb between a cell and the words, in the singular: `is`, `looks`.
        words: The fault, and how to correct it.
        kind: The noun for an entry of the index, such as `row` or `sample`.
    """
    if cells.empty:
        return
    shown = [f"{cell:.10g}" if isinstance(cell, float) else f"{cell!r:.60}" for cell in cells.iloc[:SINGLE]]
    if len(cells) > SINGLE:
        plural = "are" if verb == "is" else verb.removesuffix("s")
        yield f"{rows_named(cells.index, kind)}: {column}, such as {shown[0]}, {plural} {words}"
        return
    for row, cell in zip(cells.index, shown, strict=True):
        yield f"{kind} {row}: {column} {cell} {verb} {words}"


def empty_cells(cells: pd.Series, why: str = "") -> Iterator[str]:
    """Yield a sentence on the empty cells of a column and why they must be filled; none if all are filled."""
    rows = cells.index[cells == ""]
    if len(rows):
        yield f"{rows_named(rows)}: {cells.name} is empty{why and f': {why}'}"


def refuse(what: object, faults: Sequence[str], advice: str = "") -> None:
    """Raise all faults of a table in one error; do nothing without faults.

    Args:
        what: The file, or the manifest, with the faults.
        faults: A sentence on each fault.
        advice: How to correct them, if the sentences do not say it.

    Raises:
        DataError: There is a fault.
    """
    if faults:
        raise DataError(f"{what} has {len(faults)} fault(s):\n{listing(faults)}\n{advice}".rstrip())
