"""A table for pages and files: columns, and lines of cells with formatted numbers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from fibrolab.reporting import numbers


@dataclass(frozen=True)
class Column:
    """A column's title, and whether it contains numbers, which are aligned to the right."""

    title: str
    number: bool = True


def columns(*titles: str, texts: int = 1) -> list[Column]:
    """Return columns by their titles, of which the first `texts` contain words."""
    return [Column(title, number=place >= texts) for place, title in enumerate(titles)]


@dataclass(frozen=True)
class Cell:
    """A text, a small text below it, and the marks of its footnotes, such as ``a, c``."""

    text: str
    small: str = ""
    marks: str = ""

    @property
    def joined(self) -> str:
        """Text and small text in one line: an interval after a blank, words after a comma."""
        return (" " if self.small.startswith("[") else ", ").join(filter(None, (self.text, self.small)))


@dataclass(frozen=True)
class Line:
    """The cells of one line, the first of which is its title; ``strong`` lines are emphasised."""

    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table of a page.

    Attributes:
        name: Name for screen readers and for its files.
        caption: Text above the table.
        columns: As many columns as each line has cells.
        lines: Lines of the body.
        style: Class in the style sheet.
        empty: Sentence that replaces a table without lines.
        notes: Mark and text of each footnote; the mark is empty if the note applies to the whole table.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    lines: Sequence[Line] = field(default_factory=list)
    style: str = ""
    empty: str = ""
    notes: Sequence[tuple[str, str]] = ()

    @property
    def file(self) -> str:
        """Return the name of its files without the ending, such as ``end_points_by_sample``."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")


def line(*cells: str | Cell, strong: bool = False) -> Line:
    """Return a line; a text becomes a cell."""
    return Line(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells), strong)


class Footnotes:
    """The footnotes of one table, each once, with the marks a, b, ... z, aa in the order of the cells.

    Args:
        general: Texts that apply to every cell and therefore need no mark.
    """

    def __init__(self, general: Sequence[str] = ()) -> None:
        self._general = [text for text in dict.fromkeys(general) if text]
        self._marks: dict[str, str] = {}

    def marks(self, *texts: str) -> str:
        """Return the marks of the texts, such as ``a, c``; an empty or general text has none."""
        marked = [text for text in dict.fromkeys(texts) if text and text not in self._general]
        return ", ".join(self._marks.setdefault(text, _letters(len(self._marks))) for text in marked)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Return mark and text of each footnote, the general ones first."""
        return [("", text) for text in self._general] + [(mark, text) for text, mark in self._marks.items()]


def _letters(number: int) -> str:
    """Return the name of a spreadsheet's column: 0 is a, 25 is z, 26 is aa."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def count(value: object) -> str:
    """Return a count, such as ``6,323``; a dash where it is not known."""
    return f"{value:,.0f}" if _known(value) else "–"


def proportion(value: float | None) -> str:
    """Return a proportion as a percentage, such as ``93.8 %``; a dash where it is not known."""
    return numbers.quantity(value, "accuracy") if _known(value) else "–"


def coefficient(value: float | None) -> str:
    """Return a coefficient without its leading zero, such as ``.41``; a dash where it is not known."""
    return f"{value:.2f}".removeprefix("0").replace("-", numbers.MINUS) if _known(value) else "–"


def probability(value: float | None) -> str:
    """Return a p value as clinical journals print it: ``.03``, ``.004``, ``< .001``, ``> .99``."""
    if not _known(value):
        return "–"
    if value < 0.001:
        return f"<{numbers.SPACE}.001"
    if value > 0.99:
        return f">{numbers.SPACE}.99"
    return f"{value:.3f}".removeprefix("0") if value < 0.01 else f"{value:.2f}".removeprefix("0")


def p_value(value: float) -> str:
    """Return a p value in a sentence: ``p = .03``, ``p < .001``."""
    text = probability(value)
    return f"p{numbers.SPACE}{text}" if text[0] in "<>" else f"p{numbers.SPACE}={numbers.SPACE}{text}"


def _known(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
