"""Tables as the audit's page shows them: columns, and lines of cells that are text already."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from fibrolab.reporting import tables


@dataclass(frozen=True)
class Column:
    """A column's title, and whether numbers stand in it, which are set to the right."""

    title: str
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """A text and what stands below it in small letters."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Line:
    """The cells of one line, the first of which names it; ``strong`` where the eye should go."""

    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
        name: What a screen reader calls it.
        caption: How to read it.
        columns: As many as every line has cells.
        lines: The body.
        style: A class of the style sheet.
        empty: What is said in place of a table without lines.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    lines: Sequence[Line] = field(default_factory=list)
    style: str = ""
    empty: str = ""


def line(*cells: str | Cell, strong: bool = False) -> Line:
    """A line of texts."""
    return Line(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells), strong)


def count(value: object) -> str:
    """A number of things, such as ``6,323``; a dash where it is not known."""
    return f"{value:,}" if isinstance(value, int) else "–"


def share(value: float | None) -> str:
    """A share of one as a percentage, such as ``93.8 %``; a dash where it is not known."""
    return tables.quantity(value, "accuracy") if _known(value) else "–"


def coefficient(value: float | None) -> str:
    """A coefficient without its leading zero, such as ``.41``; a dash where it is not known."""
    return f"{value:.2f}".removeprefix("0").replace("-", tables.MINUS) if _known(value) else "–"


def probability(value: float | None) -> str:
    """A p value as clinical journals print it: ``.03``, ``.004``, ``< .001``, ``> .99``."""
    if not _known(value):
        return "–"
    if value < 0.001:
        return f"<{tables.SPACE}.001"
    if value > 0.99:
        return f">{tables.SPACE}.99"
    return f"{value:.3f}".removeprefix("0") if value < 0.01 else f"{value:.2f}".removeprefix("0")


def _known(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
