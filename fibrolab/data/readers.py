"""Reading one picture file into bytes: strict, and by what the file holds rather than by its suffix."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fibrolab.errors import UnreadableImageError

# What scanners, archives and data sets export. Pillow's other plugins stay out: EPS would run Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000", "PPM")
GREY_MODES = frozenset({"1", "L", "LA", "La"})
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
DEEPEST = 65535


def read_image(path: Path) -> np.ndarray:
    """Read a picture as it was stored: grey stays grey, everything else becomes RGB.

    Returns:
        uint8 pixels, ``(H, W)`` for grey files (1, 8 or 16 bits, with or without alpha), else ``(H, W, 3)``.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated or not one whole picture.
    """
    return decode(read_bytes(path), path)


def read_grey(path: Path) -> np.ndarray:
    """Read a picture as grey levels, uint8 ``(H, W)``; colour becomes luma. Raises as `read_image`."""
    return to_grey(read_image(path))


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


def decode(content: bytes, path: Path) -> np.ndarray:
    """Decode the bytes of a picture file, see `read_image`; `path` is only named in the errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF and palette chunks; what cannot be decoded raises
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                frames = getattr(picture, "n_frames", 1)
                if frames > 1:
                    raise UnreadableImageError(f"{path}: holds {frames} frames; an image file must hold one")
                return _to_bytes(ImageOps.exif_transpose(picture))
    except (MemoryError, UnreadableImageError):
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImageError(f"{path}: {_what_it_is(content)}") from None
    except Exception as error:  # on damaged bytes Pillow's plugins raise nearly anything
        raise UnreadableImageError(f"{path}: truncated or damaged ({error})") from None


def to_grey(image: np.ndarray) -> np.ndarray:
    """Luma of ITU-R BT.601 of uint8 ``(H, W, 3)``; a grey ``(H, W)`` image is handed back as it is.

    Pixels with R = G = B keep their level exactly, so a grey scan saved as RGB reads like the grey one.
    """
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def _to_bytes(picture: Image.Image) -> np.ndarray:
    """Pixels of any Pillow mode as uint8; what is transparent shows the black of a scanner's screen."""
    if picture.mode in DEEP_MODES:
        return _from_deep(np.asarray(picture))
    if picture.mode == "F":
        raise ValueError(
            "floating-point pixels have no agreed grey range; save the picture with 8 or 16 bits"
        )
    grey = picture.mode in GREY_MODES
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    return np.asarray(picture.convert("L" if grey else "RGB"))


def _from_deep(levels: np.ndarray) -> np.ndarray:
    """16-bit levels scaled so that 65535 becomes 255: one scale for all files, never one for each."""
    if levels.min() < 0 or levels.max() > DEEPEST:
        raise ValueError(f"levels reach from {levels.min()} to {levels.max()}; 0 to {DEEPEST} is readable")
    return ((levels.astype(np.uint32) * 255 + DEEPEST // 2) // DEEPEST).astype(np.uint8)


def _what_it_is(content: bytes) -> str:
    """Why no plugin knows these bytes, as far as their beginning tells."""
    head = content[:256]
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return "truncated: the picture's header is not whole"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return f"not an image but text, beginning {head[:24].decode('utf-8', 'replace')!r}"
    return f"not an image in a format that is read here ({', '.join(FORMATS)})"
