"""Sentences on faults of a table: rows, column and fault; many faults of one kind share a sentence."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import islice

import pandas as pd

from fibrolab.errors import DataError, listing

_NAMED = 6  # rows that a sentence names
_SINGLE = 3  # cells that get a sentence each


def rows_named(rows: Collection[Hashable], kind: str = "row") -> str:
    """Return a phrase that names rows (or another `kind`): the first six, and how many there are in all."""
    shown = ", ".join(map(str, islice(rows, _NAMED)))
    more = f", .. ({len(rows):,} in all)" if len(rows) > _NAMED else ""
    return f"{kind}{'s' if len(rows) > 1 else ''} {shown}{more}"


def cell_faults(column: str, cells: pd.Series, verb: str, words: str, kind: str = "row") -> Iterator[str]:
    """Yield a sentence for each of up to three cells, or one sentence for more; none for no cell.

    Args:
        column: Where they stand.
        cells: What stands there; the index names the rows.
        verb: What joins a cell to the words, in the singular: `is`, `looks`.
        words: The fault, and how to correct it.
        kind: What the index counts.
    """
    shown = [f"{cell:.10g}" if isinstance(cell, float) else f"{cell!r:.60}" for cell in cells.iloc[:_SINGLE]]
    if len(cells) > _SINGLE:
        plural = "are" if verb == "is" else verb.removesuffix("s")
        yield f"{rows_named(cells.index, kind)}: {column}, such as {shown[0]}, {plural} {words}"
        return
    for row, cell in zip(cells.index, shown, strict=True):
        yield f"{kind} {row}: {column} {cell} {verb} {words}"


def empty_cells(cells: pd.Series, why: str = "") -> Iterator[str]:
    """Yield a sentence on the empty cells of a column and why they must be filled; none where all are."""
    rows = cells.index[cells == ""]
    if len(rows):
        yield f"{rows_named(rows)}: {cells.name} is empty{why and f': {why}'}"


def refuse(what: object, faults: Sequence[str], advice: str = "") -> None:
    """Raise all faults of a table at once; none, nothing.

    Args:
        what: The file, or the manifest, that has them.
        faults: A sentence each.
        advice: What to do, where the faults do not say it.

    Raises:
        DataError: There is a fault.
    """
    if faults:
        raise DataError(f"{what} has {len(faults)} fault(s):\n{listing(faults)}\n{advice}".rstrip())
