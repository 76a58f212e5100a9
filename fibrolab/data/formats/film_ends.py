"""Where a film should end by what its container states: decoders read a truncated one as a shorter film.

A stream (MPEG, MPEG-TS, a fragmented MP4, a Matroska of unknown size) that was cut between two frames or
packets states nothing of the frames that are missing.
"""

import struct

from fibrolab.data.formats.recognition import FIRST_BOXES, PACKET

_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"  # of Matroska, RFC 9559
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
# File Properties Object of ASF (Advanced Systems Format specification, 3.2).
_ASF_FILE = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"
_ASF_BROADCAST = 1  # flag of a stream whose size is not known
_MXF_PARTITION = b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02"  # header, SMPTE ST 377-1
_FLV_SIZE = b"\x00\x08filesize\x00"  # in the metadata: name, type of a number


def stated(content: bytes) -> int:
    """Return the number of bytes that a film should have at least; 0 if nothing in it tells."""
    if content[:4] == b"RIFF":
        return _end_of_riff(content)
    if content[:4] == b"\x1a\x45\xdf\xa3":
        return _end_of_matroska(content)
    if content[4:8] in FIRST_BOXES:
        return _end_of_boxes(content)
    if content.startswith(_ASF):
        return _end_of_asf(content)
    if content.startswith(_MXF_PARTITION):
        return _end_of_mxf(content)
    if content[:3] == b"FLV":
        at = content.find(_FLV_SIZE, 0, 2**14)
        return int(_unpacked(">d", content, at + len(_FLV_SIZE))) if at > 0 else 0
    return _end_of_packets(content)


def _end_of_packets(content: bytes) -> int:
    """Return where the last packet of an MPEG transport stream should end (ISO/IEC 13818-1, 2.4.3)."""
    for start, size in ((0, PACKET), (4, PACKET + 4)):
        if content[start::size][:4] == b"G" * 4:
            last = len(content) - len(content) % size
            return last + size if content[last + start : last + start + 1] == b"G" else 0
    return 0


def _end_of_asf(content: bytes) -> int:
    """Return the size of an ASF file that its header states, unless it was broadcast."""
    at = content.find(_ASF_FILE, 0, 2**16)
    size, flags = (int(_unpacked(kind, content, at + step)) for kind, step in (("<Q", 40), ("<I", 88)))
    return 0 if at < 0 or flags & _ASF_BROADCAST else size


def _end_of_mxf(content: bytes) -> int:
    """Return where the header of the last partition ends, whose place a complete header states."""
    length = content[16:17]
    value = 17 + (length[0] & 0x7F if length and length[0] & 0x80 else 0)
    footer = int(_unpacked(">Q", content, value + 24))
    return footer + len(_MXF_PARTITION) + 3 if footer else 0


def _unpacked(kind: str, content: bytes, at: int) -> float:
    """Return a number at a place of a file; 0 beyond its end."""
    part = content[at : at + struct.calcsize(kind)] if at >= 0 else b""
    return float(struct.unpack(kind, part)[0]) if len(part) == struct.calcsize(kind) else 0.0


def _end_of_boxes(content: bytes) -> int:
    """Return where the last outer box of an MP4 should end (ISO/IEC 14496-12, 4.2)."""
    end = 0
    while content[end + 4 : end + 8].isalnum():  # type of the box
        size = int.from_bytes(content[end : end + 4], "big")
        if size == 1:
            size = int.from_bytes(content[end + 8 : end + 16], "big")
        if size < 8:  # 0: to the end of the file
            break
        end += size
    return end


def _end_of_riff(content: bytes) -> int:
    """Return where the last list of an AVI should end; a long one has several."""
    end = 0
    while content[(start := end + end % 2) : start + 4] == b"RIFF":
        end = start + 8 + int.from_bytes(content[start + 4 : start + 8], "little")
    return end


def _end_of_matroska(content: bytes) -> int:
    """Return where the segment after the EBML header should end (RFC 8794)."""
    size, start = _variable_length_integer(content, 4)
    segment = start + size
    if content[segment : segment + 4] != _SEGMENT:
        return segment
    size, start = _variable_length_integer(content, segment + 4)
    return _end_of_elements(content, start) if _is_unknown(size, start - segment - 4) else start + size


def _end_of_elements(content: bytes, at: int) -> int:
    """Return where the last element of a Matroska segment of unknown size should end.

    Such a file was written as a stream, or its writing was interrupted. The clusters in it hold the frames.
    """
    while at < len(content) and content[at] >= 0x10:  # an identifier has at most four bytes
        name = content[at : at + 9 - content[at].bit_length()]
        size, start = _variable_length_integer(content, at + len(name))
        if name != _CLUSTER and _is_unknown(size, start - at - len(name)):
            break
        at = start if name == _CLUSTER else start + size
    return at


def _is_unknown(size: int, length: int) -> bool:
    """Return whether an EBML size of this number of bytes says that it is unknown: all bits are set."""
    return bool(size == 2 ** (7 * length) - 1)


def _variable_length_integer(content: bytes, position: int) -> tuple[int, int]:
    """Read an EBML integer of variable length; return it and where it ends, which may be beyond the file."""
    if position >= len(content):
        return 0, position + 1
    length = 9 - content[position].bit_length()
    value = int.from_bytes(content[position : position + length], "big")
    return value & (2 ** (7 * length) - 1), position + length
