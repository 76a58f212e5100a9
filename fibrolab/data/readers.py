"""Reading one file into pixels: strict, and by what the file holds rather than by its suffix.

Three modules of `formats` read what is sent to them from here, and offer the same three functions (`Format`):
`pictures` (JPEG, PNG, TIFF and their like), `dicom` and `video`. Each is imported when the first such file is
met.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from fibrolab.data.media import View
from fibrolab.errors import UnreadableImageError

LARGEST_SCAN = 2**26  # pixels of one picture, 8192 x 8192; a small file can claim, and unpack to, far more
LARGEST_CLIP = 2**28  # pixels of a film held in memory at once: half a minute of 640 x 480 at 30 a second
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1")  # pictures in a film's container
_WHOLE = View()


class Header(NamedTuple):
    """What a file says of its pixels.

    Attributes:
        width: Of the whole picture, upright [px].
        height: Of the whole picture, upright [px].
        mode: How pixels are stored: Pillow's mode, DICOM's photometric interpretation, a film's pixel format.
        format: The format by content, with what it was compressed with, such as `JPEG`,
            `DICOM JPEGBaseline8Bit` or `MP4 h264`.
        frames: Pictures in the file; a film's are counted, since containers only estimate them.
        fps: Frames a second; 0 for one picture and where the file does not tell.
        identity: Names of the DICOM header's fields that still tell who the patient is.
    """

    width: int
    height: int
    mode: str
    format: str
    frames: int = 1
    fps: float = 0.0
    identity: tuple[str, ...] = ()


class Clip(NamedTuple):
    """A film.

    Attributes:
        frames: Grey levels, uint8 (N, H, W), N at least 2.
        fps: Mean number of frames a second; 0 where the file does not tell.
    """

    frames: np.ndarray
    fps: float


class Format(Protocol):
    """What a module that reads one kind of file offers; its errors are made sentences here."""

    def header(self, content: bytes, path: Path) -> Header:
        """What the file says of its pixels."""

    def inspect(self, content: bytes, path: Path, view: View) -> tuple[Header, np.ndarray]:
        """The header and the whole frame that is meant, uint8 (H, W) or (H, W, 3), in one pass."""

    def clip(self, content: bytes, path: Path) -> Clip:
        """All frames in grey, be it one."""


def read_image(path: Path, view: View = _WHOLE) -> np.ndarray:
    """Read a picture as it was stored: grey stays grey, everything else becomes RGB.

    Args:
        path: A picture, a DICOM file or a film.
        view: The frame and the rectangle of it that are meant.

    Returns:
        uint8 pixels, ``(H, W)`` for grey files (any depth, with or without alpha), else ``(H, W, 3)``.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, or does not hold what is meant.
    """
    return decode(read_bytes(path), path, view)


def read_grey(path: Path, view: View = _WHOLE) -> np.ndarray:
    """Read a picture as grey levels, uint8 ``(H, W)``; colour becomes luma. Raises as `read_image`."""
    return to_grey(read_image(path, view))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

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


def decode_clip(content: bytes, path: Path) -> Clip:
    """Decode the bytes of a film; `path` is only named in the errors.

    Raises:
        UnreadableImageError: The film is truncated, changes its size, holds fewer than two frames or more
            pixels than `LARGEST_CLIP`.
    """
    with _faults_named(path):
        clip = _format(content).clip(content, path)
    if len(clip.frames) == 1:
        raise UnreadableImageError(
            f"{path}: holds one frame: a picture, not a clip; give it in the column `image`"
        )
    return clip


def describe(content: bytes, path: Path) -> Header:
    """What a file says of its pixels; only a film is decoded for it, to count its frames."""
    with _faults_named(path):
        return _format(content).header(content, path)


def inspect(content: bytes, path: Path, view: View = _WHOLE) -> tuple[Header, np.ndarray]:
    """`describe` and `decode` in one pass; the header is that of the whole picture, whatever is cut."""
    with _faults_named(path):
        header, pixels = _format(content).inspect(content, path, view)
    return header, view.cut(pixels, path)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Luma of ITU-R BT.601 of uint8 ``(H, W, 3)``; a grey ``(H, W)`` image is handed back as it is.

    Pixels with R = G = B keep their level exactly, so a grey scan saved as RGB reads like the grey one.
    """
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def require_scan(width: int, height: int, path: Path) -> None:
    """Before a decoder makes room for them: that so many pixels may be a scan.

    Raises:
        UnreadableImageError: They are more than `LARGEST_SCAN`.
    """
    if width * height > LARGEST_SCAN:
        raise UnreadableImageError(f"{path}: {width} x {height} pixels are no ultrasound scan")


def stacked(frames: Iterable[np.ndarray], path: Path) -> np.ndarray:
    """Frames (H, W) as one array (N, H, W).

    Raises:
        UnreadableImageError: There is none, or more than fits `LARGEST_CLIP`.
    """
    kept: list[np.ndarray] = []
    for frame in frames:
        kept.append(frame)
        if len(kept) * frame.size > LARGEST_CLIP:
            raise UnreadableImageError(
                f"{path}: more than {len(kept) - 1} frames of {frame.shape[1]} x {frame.shape[0]} pixels; "
                "a clip this long is not held in memory, cut it to the seconds that are meant"
            )
    if not kept:
        raise UnreadableImageError(f"{path}: holds no frame")
    return np.stack(kept)


def _format(content: bytes) -> Format:
    """The module that reads such bytes."""
    if _is_dicom(content):
        from fibrolab.data.formats import dicom

        return dicom
    if _is_film(content):
        from fibrolab.data.formats import video

        return video
    from fibrolab.data.formats import pictures

    return pictures


def _is_dicom(content: bytes) -> bool:
    """With the preamble of PS3.10, or beginning at once with the first elements of group 2 or 8."""
    bare = content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\x00"
    return content[128:132] == b"DICM" or bare


def _is_film(content: bytes) -> bool:
    """MP4 or QuickTime, AVI, Matroska or WebM."""
    box = content[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") and content[8:12] not in _STILL_BRANDS
    riff = content[:4] == b"RIFF" and content[8:12] == b"AVI "
    return box or riff or content[:4] == b"\x1a\x45\xdf\xa3"


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """On damaged bytes decoders raise nearly anything; all of it becomes one sentence."""
    try:
        yield
    except (MemoryError, UnreadableImageError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UnreadableImageError(f"{path}: truncated or damaged ({reason})") from None
