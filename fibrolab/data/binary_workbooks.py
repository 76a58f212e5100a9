"""Text and extent of the binary workbooks of Excel (.xls, .xlsb), counted before they take memory.

A text stands once in the file, and any number of cells may refer to it. [MS-CFB], [MS-XLS] and [MS-XLSB] are
the specifications by Microsoft. Workbooks older than Excel 97 share no text.
"""

import math
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np

from fibrolab.data.sheet_contents import Content, matches

COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # first bytes of an .xls
_NO_SECTOR = 0xFFFFFFFA  # lowest of the numbers that stand for no sector ([MS-CFB], 2.1)
# Kinds of records in an .xls ([MS-XLS], 2.3), and flags of its texts (2.5.293).
_BEGIN, _SHARED, _CONTINUED, _ENCRYPTED, _REFERENCE, _SEVERAL = 0x809, 0xFC, 0x3C, 0x2F, 0xFD, 0xBD
_CELLS = (_REFERENCE, _SEVERAL, 0x203, 0x27E, 0x06, 0x204, 0x205)
_WIDE, _EXTENDED, _RICH = 1, 4, 8
# Cell of an .xlsb with the number of its text: kind 7 of 12 bytes ([MS-XLSB], 2.4.305).
_XLSB_REFERENCE = re.compile(rb"\x07\x0c.{8}(.{4})", re.DOTALL)
_XLSB_TEXT, _XLSB_TEXTS = 19, "xl/sharedstrings.bin"


def of_xls(content: bytes) -> Content | None:
    """Return what the sheets of an .xls hold: None if it is encrypted, nothing if it is damaged."""
    try:
        return _counted(_records(_stream(content)))
    except (struct.error, IndexError, ValueError):
        return Content(0, 0)


def shared_text(archive: zipfile.ZipFile) -> int:
    """Return the characters of the shared texts of an .xlsb, each as often as a cell refers to it."""
    names = archive.namelist()
    shared = next((name for name in names if name.lower() == _XLSB_TEXTS), None)
    if shared is None:
        return 0
    try:
        lengths = np.array(list(_xlsb_lengths(archive.read(shared))), np.int64)
    except (IndexError, struct.error):  # of a damaged part, which is not read
        return 0
    total = 0
    for name in names:
        if name.startswith("xl/worksheets/") and name.endswith(".bin"):
            found = b"".join(each[1] for each in matches(archive, name, _XLSB_REFERENCE))
            numbers = np.frombuffer(found, "<u4")
            total += int(lengths[numbers[numbers < len(lengths)]].sum())
    return total


def _xlsb_lengths(part: bytes) -> Iterator[int]:
    """Yield the number of characters of each shared text of an .xlsb, in records of kind, size, content."""

    def number(at: int) -> tuple[int, int]:
        """Return a number, of seven bits a byte, and where it ends ([MS-XLSB], 2.1.4)."""
        value = shift = 0
        while True:
            value |= (part[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if part[at - 1] < 0x80:
                return value, at

    at = 0
    while at + 2 < len(part):
        kind, at = number(at)
        size, at = number(at)
        if kind == _XLSB_TEXT:
            yield struct.unpack_from("<I", part, at + 1)[0] if size >= 5 else 0
        at += size


def _stream(content: bytes) -> bytes:
    """Return the stream of the workbook; empty if it is so short that it has no sectors of its own.

    Raises:
        struct.error, IndexError, ValueError: The file is damaged.
    """
    size = 1 << struct.unpack_from("<H", content, 30)[0]
    directory, _, least, _, _, more, several = struct.unpack_from("<7I", content, 48)
    sectors = list(struct.unpack_from("<109I", content, 76))

    def sector(place: int) -> bytes:
        return content[(place + 1) * size : (place + 2) * size]

    for _ in range(min(several, len(content) // size)):  # sectors that go on with the list
        *others, more = struct.unpack(f"<{size // 4}I", sector(more))
        sectors += others
    following = np.frombuffer(b"".join(sector(each) for each in sectors if each < _NO_SECTOR), "<u4")

    def chain(place: int) -> bytes:
        found: list[bytes] = []
        while place < _NO_SECTOR and len(found) <= len(following):
            found.append(sector(place))
            place = int(following[place])
        return b"".join(found)

    entries = chain(directory)
    for at in range(0, len(entries) - 127, 128):
        length, start, extent = struct.unpack_from("<H50xII", entries, at + 64)
        name = entries[at : at + max(length - 2, 0)].decode("utf-16-le", "replace")
        if name.lower() in ("workbook", "book") and extent >= least:
            return chain(start)[:extent]
    return b""


def _records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each record of an .xls."""
    at = 0
    while at + 4 <= len(stream):
        kind, size = struct.unpack_from("<HH", stream, at)
        yield kind, stream[at + 4 : at + 4 + size]
        at += 4 + size


def _counted(records: Iterator[tuple[int, bytes]]) -> Content | None:
    """Count the cells of all sheets, their extent, and the text of those that refer to a shared one."""
    parts: list[bytes] = []
    lengths: list[int] = []
    cells = text = area = before = 0
    corner = last = 0, 0  # columns and rows of this sheet, and of the largest one
    for kind, content in records:
        if kind == _ENCRYPTED:
            return None
        if kind == _SHARED or (kind == _CONTINUED and before in (_SHARED, _CONTINUED) and parts):
            parts.append(content)
        elif kind == _BEGIN:
            area, last, corner = area + math.prod(corner), max(last, corner, key=math.prod), (0, 0)
        elif kind in _CELLS:
            row, first = struct.unpack_from("<HH", content)
            end = struct.unpack("<H", content[-2:])[0] if kind == _SEVERAL else first
            corner = max(corner[0], end + 1), max(corner[1], row + 1)
            cells += end + 1 - first
            if kind == _REFERENCE:
                lengths = lengths or _lengths(parts)
                number = struct.unpack_from("<I", content, 6)[0]
                text += lengths[number] if number < len(lengths) else 0
        before = kind
    return Content(cells, text, area + math.prod(corner), max(last, corner, key=math.prod))


def _lengths(parts: Sequence[bytes]) -> list[int]:
    """Return the number of characters of each shared text of an .xls, whose records may part a text."""
    shared, starts = b"".join(parts), [0]
    for part in parts:
        starts.append(starts[-1] + len(part))
    lengths, at, ends = list[int](), 8, starts[1:]
    while at + 3 <= len(shared):
        left, flags = struct.unpack_from("<HB", shared, at)
        lengths.append(left)
        at, runs, phonetic = at + 3, 0, 0
        if flags & _RICH:
            (runs,), at = struct.unpack_from("<H", shared, at), at + 2
        if flags & _EXTENDED:
            (phonetic,), at = struct.unpack_from("<I", shared, at), at + 4
        while left:
            while ends and ends[0] <= at:
                flags, at = (shared[at], at + 1) if ends.pop(0) == at else (flags, at)
            width = 1 + (flags & _WIDE)
            here = min(left, max(1, ((ends[0] if ends else len(shared)) - at) // width))
            left, at = left - here, at + here * width
        at += 4 * runs + phonetic
    return lengths
