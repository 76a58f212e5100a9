"""Reading of one file into pixels, in the format of its content (not its suffix); damaged files are refused.

`KINDS` names the modules of `formats`, each a `contract.Format`: `pictures` (JPEG, PNG, TIFF and similar
formats), `dicom` and `video`. Each is imported when the first such file is read.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fibrolab.data.formats.contract import Clip, Format, Header
from fibrolab.data.media import View
from fibrolab.errors import UnreadableImageError

_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1")  # images in a video container
_WHOLE = View()


def read_image(path: Path, view: View = _WHOLE) -> np.ndarray:
    """Read an image as it was stored: grey stays grey, everything else becomes RGB.

    Args:
        path: An image, DICOM or video file.
        view: The frame and the rectangle that are used.

    Returns:
        uint8 pixels, ``(H, W)`` for grey files (any depth, with or without alpha), else ``(H, W, 3)``.

    Raises:
        UnreadableImageError: the file is missing, empty or truncated, or lacks the frame or rectangle.
    """
    return decode(read_bytes(path), path, view)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        UnreadableImageError: the file cannot be opened, or is empty.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UnreadableImageError(f"{path}: cannot be opened ({error.strerror})") from None
    if not content:
        raise UnreadableImageError(f"{path}: the file is empty (zero bytes)")
    return content


def decode(content: bytes, path: Path, view: View = _WHOLE) -> np.ndarray:
    """Decode the bytes of a file, see `read_image`; `path` is only named in the errors."""
    return inspect(content, path, view)[1]


def decode_labels(content: bytes, path: Path) -> np.ndarray:
    """Decode a label map, uint8 (H, W): the numbers as the file stores them; `path` is only named in errors.

    Raises:
        UnreadableImageError: The file is damaged, neither an image file nor DICOM SEG nor NIfTI, compressed
            with loss, or has more than one 8-bit number per pixel.
    """
    from fibrolab.data.formats import label_maps, pictures

    with _unreadable_errors(path):
        if is_dicom(content):
            return label_maps.of_dicom(content, path)
        if label_maps.is_nifti(content):
            return label_maps.of_nifti(content, path)
        return pictures.labels(content, path)


def spacing(path: Path) -> tuple[float, float] | None:
    """Return height and width of a pixel [mm] as a DICOM or NIfTI file states them; None of other files.

    Raises:
        UnreadableImageError: The file cannot be opened, or is damaged.
    """
    from fibrolab.data.formats import label_maps

    content = read_bytes(path)
    with _unreadable_errors(path):
        if is_dicom(content):
            return label_maps.spacing_of_dicom(content)
        return label_maps.spacing_of_nifti(content) if label_maps.is_nifti(content) else None


def decode_clip(content: bytes, path: Path) -> Clip:
    """Decode the bytes of a clip; `path` is only named in the errors.

    Raises:
        UnreadableImageError: The clip is truncated, changes its size, has fewer than two frames or more
            pixels than `LARGEST_CLIP`.
    """
    with _unreadable_errors(path):
        clip = _format(content).clip(content, path)
    if len(clip.frames) == 1:
        raise UnreadableImageError(
            f"{path}: holds one frame: a picture, not a clip; give it in the column `image`"
        )
    return clip


def describe(content: bytes, path: Path) -> Header:
    """Return the header of a file; of all formats, only a video is decoded, to count its frames."""
    with _unreadable_errors(path):
        return _format(content).header(content, path)


def inspect(content: bytes, path: Path, view: View = _WHOLE) -> tuple[Header, np.ndarray]:
    """Return header and decoded pixels in one pass; the header describes the whole image, not the cut."""
    with _unreadable_errors(path):
        header, pixels = _format(content).inspect(content, path, view)
    return header, view.cut(pixels, path)


def is_dicom(content: bytes) -> bool:
    """Return whether bytes have the preamble of PS3.10, or begin with the first elements of group 2 or 8.

    The first 132 bytes of a file suffice.
    """
    without_preamble = content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\x00"
    return content[128:132] == b"DICM" or without_preamble


def _is_video(content: bytes) -> bool:
    """Return whether bytes are MP4 or QuickTime, AVI, Matroska or WebM."""
    box = content[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") and content[8:12] not in _STILL_BRANDS
    riff = content[:4] == b"RIFF" and content[8:12] == b"AVI "
    return box or riff or content[:4] == b"\x1a\x45\xdf\xa3"


def _may_be_picture(_: bytes) -> bool:
    """Return True: a file of no other kind is a picture, or damaged."""
    return True


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        module: The module of `fibrolab.data.formats` that reads it.
        matches: Function that returns whether the bytes of a file are of this kind.
        still_suffixes: Suffixes of such files in a folder of images.
    """

    module: str
    matches: Callable[[bytes], bool]
    still_suffixes: tuple[str, ...] = ()


_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".pgm", ".ppm")
KINDS = (  # the first that matches reads the file
    Kind("dicom", is_dicom, (".dcm", ".dicom")),
    Kind("video", _is_video),
    Kind("pictures", _may_be_picture, _PICTURES),
)


def _format(content: bytes) -> Format:
    """Return the module that reads files with these bytes."""
    module = next(kind.module for kind in KINDS if kind.matches(content))
    found: Format = importlib.import_module(f"fibrolab.data.formats.{module}")
    return found


@contextmanager
def _unreadable_errors(path: Path) -> Iterator[None]:
    """Turn a decoder's exceptions, which are of many types for damaged bytes, into UnreadableImageError."""
    try:
        yield
    except UnreadableImageError:
        raise
    except Exception as error:
        if type(error) is MemoryError:  # FFmpeg's subclass of it means a damaged size, not a full memory
            raise
        reason = " ".join(str(error).split())
        raise UnreadableImageError(f"{path}: truncated or damaged ({reason})") from None
