"""Recognition of a file's format by its first bytes: those that are read, and the names of others.

`KINDS` names the modules of this package that read files. The suffix of a name is never asked of a file that
can be opened.
"""

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

NIFTI = (b"n+1\0", b"n+2\0")  # magic of NIfTI 1 and 2 in one file
GZIP = b"\x1f\x8b"
HEAD = 4096  # bytes of a file that suffice to recognise it
_VALUE_TYPES = frozenset(  # of DICOM, PS3.5, table 6.2-1, that a first element can have
    b"AE AS CS DA DS DT IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split()
)
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"crx ")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")  # of MP4 and QuickTime
PACKET = 188  # bytes of MPEG-TS, or 192 with a time before each


def is_dicom(content: bytes) -> bool:
    """Return whether bytes have the preamble of PS3.10, or begin with an element of group 2 or 8.

    The first 132 bytes of a file suffice.
    """
    if content[128:132] == b"DICM":
        return True
    if content[:2] in (b"\x00\x02", b"\x00\x08"):  # big endian, whose value type is stated
        return content[2:3] == b"\x00" and content[4:6] in _VALUE_TYPES
    if content[:2] not in (b"\x02\x00", b"\x08\x00") or content[3:4] != b"\x00":
        return False
    short = int.from_bytes(content[4:8], "little") < 1024  # the length of the value, where no type is
    return len(content) >= 8 and (content[4:6] in _VALUE_TYPES or short)


def is_video(content: bytes) -> bool:
    """Return whether bytes are a film: MP4, QuickTime, AVI, Matroska, MPEG, WMV, MXF, DV, RealMedia, .."""
    if content[4:8] == b"ftyp":
        return content[8:12] not in _STILL_BRANDS
    if content[:4] == b"RIFF":
        return content[8:12] == b"AVI "
    starts = (
        b"\x1a\x45\xdf\xa3",  # Matroska, WebM
        b"\x00\x00\x01\xba",  # MPEG program stream
        b"\x00\x00\x01\xb3",  # MPEG video without a container
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: WMV
        b"FLV\x01",
        b"OggS",
        b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
        b"\x1f\x07\x00\x3f",  # DV of 60 and of 50 Hz
        b"\x1f\x07\x00\xbf",
        b".RMF\x00",
        b"YUV4MPEG2 ",
    )
    return content[4:8] in FIRST_BOXES or content.startswith(starts) or _is_stream(content)


def _is_stream(content: bytes) -> bool:
    """Return whether bytes are an MPEG transport stream: packets that begin with the same byte."""
    return any(content[start::size][:4] == b"G" * 4 for start, size in ((0, PACKET), (4, PACKET + 4)))


def is_picture(content: bytes) -> bool:
    """Return whether bytes are JPEG, PNG, GIF, WebP, TIFF, JPEG 2000, BMP or PPM."""
    starts = (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF8",
        b"II*\x00",
        b"MM\x00*",
        b"II+\x00",
        b"MM\x00+",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        b"\xff\x4f\xff\x51",
    )
    webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    bmp = content[:2] == b"BM" and int.from_bytes(content[14:18], "little") in _BMP_HEADERS
    return content.startswith(starts) or webp or bmp or bool(re.match(rb"P[1-6][\s#]", content))


def is_volume(content: bytes) -> bool:
    """Return whether bytes are NIfTI in one file, plain or compressed, MetaImage or NRRD."""
    return volume_format(content) != ""


def volume_format(content: bytes) -> str:
    """Return `NIfTI`, `MHA` or `NRRD` by the first bytes of a file; empty for another one."""
    head = content[:HEAD]
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, HEAD)
        except zlib.error:
            return ""
    if head[344:348] in NIFTI or head[4:8] in NIFTI:
        return "NIfTI"
    if head.startswith(b"NRRD000"):
        return "NRRD"
    return "MHA" if re.match(rb"(ObjectType|NDims)\s*=", head) else ""


class Kind(NamedTuple):
    """A kind of file that is read.

    Attributes:
        module: The module of `fibrolab.data.formats` that reads it.
        matches: Function that returns whether the first bytes of a file are of this kind.
        suffixes: Usual suffixes of such files: one that cannot be opened or recognised is damaged.
    """

    module: str
    matches: Callable[[bytes], bool]
    suffixes: tuple[str, ...]


_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".pgm", ".ppm")
KINDS = (  # the first that matches reads the file
    Kind("dicom", is_dicom, (".dcm", ".dicom")),
    Kind(
        "video", is_video, (".mp4", ".avi", ".mkv", ".mov", ".mpg", ".mpeg", ".wmv", ".webm", ".m4v", ".mxf")
    ),
    Kind("volumes", is_volume, (".nii", ".mha", ".mhd", ".nrrd", ".nhdr")),
    Kind("pictures", is_picture, _PICTURES),
)
SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.suffixes)
SUPPORTED = (
    "JPEG, PNG, BMP, TIFF, GIF, WebP, JPEG 2000, PPM, DICOM, MP4, AVI, Matroska, MPEG, WMV, MXF, NIfTI, MHA, "
    "NRRD"
)
_FOREIGN = (  # first byte of the magic, magic, name
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftypcrx", "a camera's raw picture (CR3)"),
    (0, b"\x00\x00\x00\x01", "a stream of H.264 or H.265 without the times of its frames"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"\x00\x00\x01\x00", "a Windows icon"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (344, b"ni1\x00", "a NIfTI header without its pixels"),
    (4, b"ni2\x00", "a NIfTI header without its pixels"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"MATLAB", "MATLAB"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!", "RAR"),
    (257, b"ustar", "tar"),
    (0, b"\xd0\xcf\x11\xe0", "a Microsoft document"),
    (0, b"SQLite format 3", "SQLite"),
    (0, b"PAR1", "Parquet"),
    (0, b"ID3", "MP3"),
    (8, b"WAVE", "sound (WAV)"),
)
_ELEMENT = re.compile(rb"[\x02\x08]\x00.\x00(CS|UI|UL|OB|SH|DA|TM|LO)", re.DOTALL)  # of group 2 or 8
_SCALABLE = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE[^>]*>\s*)?<svg", re.DOTALL)


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of a file by its first bytes; None if no module reads it."""
    return next((kind for kind in KINDS if kind.matches(head)), None)


def foreign(head: bytes) -> str:
    """Describe the first bytes of a file that no module reads: its format, or how it begins."""
    if not head:
        return "empty (zero bytes)"
    for start, magic, name in _FOREIGN:
        if head[start : start + len(magic)] == magic:
            return name
    if _SCALABLE.match(head):
        return "SVG"
    if found := _ELEMENT.search(head[:256]):
        return f"DICOM with a damaged beginning (its first element is at byte {found.start()}, not 0 or 132)"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head[:256]):
        if head.lstrip()[:1] != b"<":  # its words may be a patient's name
            return "text"
        return (
            f"text, beginning {head[:24].decode('utf-8', 'replace')!r}"  # such as a page that asks to log in
        )
    return f"of an unknown format, beginning {head[:8].hex(' ')}"
