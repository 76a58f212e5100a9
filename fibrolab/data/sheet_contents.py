"""The XML of a workbook: cells and text counted before they take memory, and formulas without values.

A few bytes can stand for more cells than fit in memory: an .ods states how often a cell and a row are
repeated, and any number of cells of an .xlsx may refer to one long text.
"""

import math
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

_CHUNK = 2**20  # bytes read at once
_LONGEST = 2**15  # bytes of a cell with its formula at most
_CELLS = ("table:table-cell", "table:covered-table-cell")
_SHARED = re.compile(rb"""<(?:\w+:)?c\s[^>]*\bt=["']s["'][^>]*>\s*<(?:\w+:)?v>\s*(\d{1,9})\s*<""")
# A cell with a formula and no value; that of an empty text (`str`) may be one.
_FORMULA = re.compile(
    rb"""<(?:\w+:)?c\s(?=[^>]*\br=["']([A-Z]{1,3}\d{1,7})["'])(?![^>]*\bt=["']str["'])[^>]*>\s*"""
    rb"""<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f\s*>)\s*"""
    rb"""(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v\s*>)?\s*</(?:\w+:)?c\s*>"""
)
_WORKBOOK, _RELATIONS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
_TEXTS = re.compile(rb"<(?:\w+:)?si\b.*?(?:</(?:\w+:)?si\s*>|/>)", re.DOTALL)


class Content(NamedTuple):
    """Numbers that describe the content of a workbook.

    Attributes:
        cells: Number of filled cells.
        text: Characters of their text.
        area: Cells of its sheets up to the last filled row and column of each.
        last: Column and row of the last cell of the largest sheet.
    """

    cells: int
    text: int
    area: int = 0
    last: tuple[int, int] = (0, 0)


def of_open_document(part: IO[bytes], enough: Callable[[Content], bool]) -> Content:
    """Return what `content.xml` of an .ods holds, as far as it is read: until it is `enough`.

    Raises:
        ValueError: It is not well-formed.
    """
    counted = _OpenDocument()
    parser = expat.ParserCreate()  # names with the prefixes that LibreOffice writes, and calamine asks for
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = counted.start, counted.end
    parser.CharacterDataHandler = counted.characters
    try:
        while chunk := part.read(_CHUNK):
            parser.Parse(chunk)
            if enough(counted.content()):
                break
    except expat.ExpatError as error:
        raise ValueError(f"content.xml: {error}") from None
    return counted.content()


class _OpenDocument:
    """Counts cells and text while the XML of an .ods is parsed."""

    def __init__(self) -> None:
        self._cells = self._text = self._area = 0
        self._last = 0, 0  # of the sheets before
        self._rows, self._corner = 0, (0, 0)  # of the sheet
        self._repeated, self._column, self._filled, self._of_row = 1, 0, 0, 0  # of the row
        self._times, self._is_filled, self._of_cell = 1, False, 0  # of the cell

    def start(self, name: str, stated: dict[str, str]) -> None:
        """Begin a row or a cell."""
        if name in _CELLS:
            self._times = _times(stated, "table:number-columns-repeated")
            self._of_cell = len(stated.get("office:string-value", ""))
            self._is_filled = "office:value-type" in stated
        elif name == "table:table-row":
            self._repeated = _times(stated, "table:number-rows-repeated")
            self._column = self._filled = self._of_row = 0

    def characters(self, text: str) -> None:
        """Add text of a cell."""
        self._of_cell += len(text)

    def end(self, name: str) -> None:
        """Count a cell, a row or a sheet."""
        if name in _CELLS:
            self._column += self._times
            if self._is_filled or self._of_cell:
                self._filled += self._times
                self._of_row += self._times * self._of_cell
                self._corner = max(self._corner[0], self._column), self._corner[1]
            self._is_filled, self._of_cell = False, 0
        elif name == "table:table-row":
            self._rows += self._repeated
            if self._filled:
                self._corner = self._corner[0], self._rows
            self._cells += self._repeated * self._filled
            self._text += self._repeated * self._of_row
        elif name == "table:table":
            self._area += math.prod(self._corner)
            self._last = max(self._last, self._corner, key=math.prod)
            self._rows, self._corner = 0, (0, 0)

    def content(self) -> Content:
        """Return what was counted."""
        last = max(self._last, self._corner, key=math.prod)
        return Content(self._cells, self._text, self._area + math.prod(self._corner), last)


def _times(stated: dict[str, str], name: str) -> int:
    """Return a number of repetitions; 1 where none is stated."""
    return max(int(stated[name]), 1) if name in stated else 1


def shared_text(archive: zipfile.ZipFile) -> int:
    """Return the bytes of the shared texts of an .xlsx, each as often as a cell refers to it."""
    names = archive.namelist()
    shared = next((name for name in names if name.lower() == "xl/sharedstrings.xml"), None)
    if shared is None:
        return 0
    lengths = [len(text[0]) for text in _TEXTS.finditer(archive.read(shared))]
    total = 0
    for name in names:
        if name.startswith("xl/worksheets/") and name.endswith(".xml"):
            for found in matches(archive, name, _SHARED):
                number = int(found[1])
                total += lengths[number] if number < len(lengths) else 0
    return total


def uncomputed(archive: zipfile.ZipFile, sheet: str) -> list[str]:
    """Return the cells of a sheet of an .xlsx whose formulas have no value, such as `B2`.

    Programs that write formulas without computing them leave such cells, which are read as empty ones.
    """
    part = _part_of(archive, sheet)
    return [found[1].decode() for found in matches(archive, part, _FORMULA)] if part else []


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str:
    """Return the name of the part of an .xlsx that holds a sheet; empty if it is not told."""
    names = archive.namelist()
    if not {_WORKBOOK, _RELATIONS} <= set(names):
        return ""
    book, relations = (ElementTree.fromstring(archive.read(name)) for name in (_WORKBOOK, _RELATIONS))
    relation = next(
        (
            value
            for node in book.iter()
            if node.tag.endswith("}sheet") and node.get("name") == sheet
            for key, value in node.items()
            if key.endswith("}id")
        ),
        None,
    )
    target = next((str(node.get("Target")) for node in relations if node.get("Id") == relation), "")
    part = target[1:] if target.startswith("/") else f"xl/{target}"
    return part if part in names else ""


def matches(archive: zipfile.ZipFile, name: str, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    """Yield the matches of a pattern in a part, which are shorter than `_LONGEST`."""
    kept = b""
    with archive.open(name) as part:
        while chunk := part.read(_CHUNK):
            text, end = kept + chunk, 0
            for found in pattern.finditer(text):
                yield found
                end = found.end()
            kept = text[max(end, len(text) - _LONGEST) :]
