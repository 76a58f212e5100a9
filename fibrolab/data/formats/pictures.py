"""Image files: JPEG, PNG, TIFF and others through Pillow; truncated files are refused."""

import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from fibrolab.data.formats import pixel_shape
from fibrolab.data.formats.contract import (
    Clip,
    Header,
    Inspect,
    UnsupportedError,
    require_bits,
    require_scan,
    stacked,
    to_grey,
)
from fibrolab.data.media import Decode, View
from fibrolab.errors import UnreadableImageError

# Formats that scanners, archives and data sets export. Pillow's other plugins are off: EPS runs Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000", "PPM")
GREY_MODES = frozenset({"1", "L", "LA", "La"})
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
LABEL_MODES = ("1", "L", "P")
_ANIMATED = ("GIF", "WEBP", "PNG")
LOSSY = ("JPEG", "MPO", "JPEG2000")
# TIFF tags: interpretation 0 is WhiteIsZero, sample format 2 signed; the subfile type has bits for reduced
# pages (1) and transparency masks (4).
_WIDTH, _HEIGHT, _INTERPRETATION, _BITS, _SAMPLE_FORMAT, _SUBFILE = 256, 257, 262, 258, 339, 254
_SIGNED, _NO_FRAME = 2, 1 | 4
_COMPRESSION, _PLANES, _BY_PLANE = 259, 284, 2
_ORIENTATION = 274  # of EXIF: 1 is upright, 5 to 8 swap width and height
_JPEG_2000 = b"\xff\x4f\xff\x51"  # start of a codestream
_YCBCR = re.compile(rb"colr\x01..\0\0\0\x12", re.DOTALL)  # of a JP2 file: sYCC
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21  # first bytes of the blocks of a GIF
# Markers of the frame header of a JPEG file; Pillow reads the first three, at 8 bits.
_BASELINE, _JPEG_LS, _LOSSLESS = (0xC0, 0xC1, 0xC2), 0xF7, 0xC3

# Warnings about unusual EXIF and palette chunks; a file that cannot be decoded raises an error.
warnings.filterwarnings("ignore", module="PIL")
# A colour profile or a text of more than Pillow's 1 MiB is no reason to refuse the pixels beside it.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def header(content: bytes, path: Path) -> Header:
    """See `readers.Format`."""
    picture = _opened(content, path)
    with _picture_errors(content, path):
        return _facts(picture, _pages(picture))


def opened(content: bytes, path: Path) -> Inspect:
    """See `readers.Format`."""
    picture = _opened(content, path)
    with _picture_errors(content, path):
        pages = _pages(picture)
        facts = _facts(picture, pages)

    def inspect(view: View) -> tuple[Header, np.ndarray]:
        with _picture_errors(content, path):
            return facts, _frame(picture, pages[view.frame_of(len(pages), path)], path, content, view.decode)

    return inspect


def clip(content: bytes, path: Path, view: View) -> Clip:
    """See `readers.Format`: an animated GIF or WebP, or the pages of a TIFF."""
    inspect, facts = opened(content, path), header(content, path)
    frames = (to_grey(inspect(replace(view, frame=number))[1]) for number in range(facts.frames))
    return Clip(stacked(frames, path), facts.fps)


def labels(content: bytes, path: Path) -> np.ndarray:
    """Read a label map, uint8 (H, W): stored levels, palette indices, or 0 and 1 for a bilevel image."""
    picture = _opened(content, path)
    if picture.mode not in LABEL_MODES or picture.format in LOSSY:
        raise UnreadableImageError(
            f"{path}: is not a label map ({picture.format}, mode {picture.mode}); save one 8-bit number "
            "per pixel without loss, such as a grey PNG"
        )
    require_scan(*picture.size, path)
    return np.asarray(_upright(picture)).astype(np.uint8)


def _opened(content: bytes, path: Path) -> Image.Image:
    """Open an image file, or raise an UnreadableImageError or an UnsupportedError."""
    with _picture_errors(content, path):
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    if picture.format == "GIF" and not _is_ended(content):
        raise UnreadableImageError(f"{path}: truncated: the trailer, with which a GIF ends, is missing")
    if picture.format == "JPEG" and _goes_on(content, picture.size):
        raise UnsupportedError("several pictures in JPEG one after the other, a film without a container")
    if picture.format == "PPM" and _another_netpbm(picture, content):
        raise UnsupportedError("several pictures in PGM or PPM one after the other")
    return picture


def _is_ended(content: bytes) -> bool:
    """Return whether a GIF has its trailer (GIF89a, 27), without which frames may be missing.

    Pillow reads what is there. A file with a block of another kind is left to it.
    """

    def after_colours(at: int) -> int:
        flags = content[at : at + 1] or b"\0"
        return 3 * 2 ** (1 + (flags[0] & 7)) if flags[0] & 0x80 else 0

    at = 13 + after_colours(10)
    while at < len(content):
        kind = content[at]
        if kind not in (_GIF_IMAGE, _GIF_EXTENSION):
            return True  # the trailer, or unknown
        at += 11 + after_colours(at + 9) if kind == _GIF_IMAGE else 2
        while at < len(content) and content[at]:  # blocks of data, of which the last is empty
            at += 1 + content[at]
        at += 1
    return False


def _another_netpbm(picture: Image.Image, content: bytes) -> bool:
    """Return whether a binary PGM or PPM is followed by another one, as Netpbm allows."""
    bands = len(picture.getbands())
    _, _, offset, args = picture.tile[0]  # type: ignore[attr-defined]
    deep = picture.mode == "I" or (isinstance(args, tuple) and args[-1] > 255)
    end = offset + picture.width * picture.height * bands * (2 if deep else 1)
    return content[1:2] in b"56" and re.match(rb"\s*P[1-6]\s", content[end : end + 16]) is not None


def _goes_on(content: bytes, size: tuple[int, int]) -> bool:
    """Return whether a picture in JPEG is followed by another of its size, and not by a preview."""
    from fibrolab.data.formats import dicom_jpeg

    at = content.find(b"\xff\xd9\xff\xd8\xff")
    if at < 0:
        return False
    try:
        following = dicom_jpeg.frame_header(content[at + 2 :])
    except ValueError:
        return False
    return (following.width, following.height) == size


@contextmanager
def _picture_errors(content: bytes, path: Path) -> Iterator[None]:
    """Turn Pillow's refusals of a file or of one of its frames into UnreadableImageError."""
    try:
        yield
    except Image.UnidentifiedImageError:
        raise UnreadableImageError(f"{path}: {_description(content)}") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{path}: is not an ultrasound image ({error})") from None


def _pages(picture: Image.Image) -> list[int]:
    """Return the numbers of the frames in a file, and open the first one.

    The previews in an MPO file are no frames, nor are reduced pages and masks in a TIFF (subfile types 1, 4),
    nor is the picture that programs show that do not know an animated PNG.
    """
    count = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if count > 1 and getattr(picture, "default_image", False):
        picture.seek(1)
        return list(range(1, count))
    if picture.format != "TIFF" or count == 1:
        return list(range(count))
    pages = []
    for number in range(count):
        picture.seek(number)
        if not picture.tag_v2.get(_SUBFILE, 0) & _NO_FRAME:  # type: ignore[attr-defined]
            pages.append(number)
    pages = pages or list(range(count))
    picture.seek(pages[0])
    return pages


def _facts(picture: Image.Image, pages: Sequence[int]) -> Header:
    sideways = picture.getexif().get(_ORIENTATION, 1) > 4
    tags = getattr(picture, "tag_v2", {})  # of a TIFF, whose size Pillow gives upright
    stored = (tags.get(_WIDTH, picture.size[0]), tags.get(_HEIGHT, picture.size[1]))
    width, height = stored[::-1] if sideways else stored
    return Header(
        width,
        height,
        picture.mode,
        picture.format or "",
        len(pages),
        _fps(picture, pages),
        pixel_aspect=pixel_shape.of_picture(picture, sideways),
        profile_shift=_profile_shift(picture.info.get("icc_profile") or b""),
    )


@lru_cache(maxsize=64)
def _profile_shift(profile: bytes) -> int:
    """Return by how many of 255 levels an ICC profile shows a grey otherwise than sRGB, at most.

    0 without a profile, and of one that is damaged or not of grey or RGB.
    """
    if not profile:
        return 0
    from PIL import ImageCms

    levels = np.arange(256, dtype=np.uint8)
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"GRAY": "L", "RGB": "RGB"}[own.profile.xcolor_space.strip()]
        greys = Image.fromarray(levels[None]).convert(mode)
        shown = ImageCms.profileToProfile(greys, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, KeyError, AttributeError, ValueError):
        return 0
    assert shown is not None, "a new picture is asked for"
    return int(np.abs(np.asarray(shown)[0].astype(int) - levels[:, None]).max())


def _fps(picture: Image.Image, pages: Sequence[int]) -> float:
    """Return the mean frame rate of an animation, whose frames state how long they are shown; else 0."""
    durations = []  # [ms]
    if len(pages) > 1 and picture.format in _ANIMATED:
        for number in pages:
            picture.seek(number)
            if picture.format == "WEBP":  # which states it with its pixels
                picture.load()
            durations.append(picture.info.get("duration", 0))
        picture.seek(pages[0])
    return 1000 * len(pages) / sum(durations) if durations and all(durations) else 0.0


def _frame(picture: Image.Image, number: int, path: Path, content: bytes, corrected: Decode) -> np.ndarray:
    if number != picture.tell():
        picture.seek(number)
    require_scan(*picture.size, path)
    tags = getattr(picture, "tag_v2", {})  # of a TIFF; the transposed copy lacks them
    if corrected.bits and picture.mode not in DEEP_MODES and _is_deep(content):
        raise UnsupportedError("data.decode.bits is for 16 bits of grey, not of colour")
    if _is_signed(tags) and picture.mode not in DEEP_MODES:
        raise UnsupportedError("signed levels of 8 bits have no standard grey range; unsigned ones are read")
    if _is_mixed_up(tags):
        raise UnsupportedError("uncompressed planes of 16-bit colours; save the colours by pixel")
    whole = _with_deep_levels(picture, content)
    stored = _in_colour_space(whole, content, corrected.colour) if corrected.colour else whole
    upright = _upright(stored)
    if picture.mode in DEEP_MODES:
        levels, hidden = np.asarray(upright), picture.info.get("transparency")
        if hidden is not None:  # the level that is transparent, as `_to_bytes` shows it
            levels = np.where(levels == hidden, 0, levels)
        if picture.format == "JPEG2000" and not corrected.bits:  # Pillow moves them to the highest bits
            bits = _precision(content)
            return _from_deep(levels >> (16 - bits), tags, bits, path)
        return _from_deep(levels, tags, corrected.bits, path)
    return _to_bytes(upright)


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as EXIF says; Pillow would copy one that is upright already."""
    return ImageOps.exif_transpose(picture) if picture.getexif().get(_ORIENTATION, 1) != 1 else picture


def _is_signed(tags: Mapping[int, Any]) -> bool:
    """Return whether a TIFF has signed levels, which Pillow reads as unsigned if they have 8 bits."""
    return tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED


def _is_mixed_up(tags: Mapping[int, Any]) -> bool:
    """Return whether a TIFF has planes of 16-bit colours that Pillow reads as those of 8 bits."""
    return tags.get(_PLANES) == _BY_PLANE and max(tags.get(_BITS, (8,))) > 8 and tags.get(_COMPRESSION) == 1


def _with_deep_levels(picture: Image.Image, content: bytes) -> Image.Image:
    """Decode JPEG 2000 of more than 8 bits again, since Pillow turns its highest levels to 0.

    Other pictures are returned as they are.

    Raises:
        UnsupportedError: It has other colours than grey and RGB, or transparency.
    """
    if picture.format != "JPEG2000" or picture.mode in DEEP_MODES or _precision(content) <= 8:
        return picture
    start = content.find(_JPEG_2000)
    if picture.mode not in ("L", "RGB") or _YCBCR.search(content[:start]):
        raise UnsupportedError("JPEG 2000 in YCbCr or with transparency of more than 8 bits")
    from fibrolab.data.formats import dicom_jpeg

    colours = () if picture.mode == "L" else (3,)
    levels, bits = dicom_jpeg.decode_2000(content[start:], (picture.height, picture.width, *colours))
    found = Image.fromarray(_scaled(levels, 2**bits - 1))
    found.info["exif"] = picture.getexif().tobytes()
    return found


def _precision(content: bytes) -> int:
    """Return the bits of a level in JPEG 2000 (ITU-T T.800, A.5.1)."""
    at = content.find(_JPEG_2000) + 42
    return (content[at] & 0x7F) + 1 if at < len(content) else 0


def _is_deep(content: bytes) -> bool:
    """Return whether Pillow reduces the colours of a file from 16 bits to their upper eight."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as unread:
        return any(";16" in str(tile[3]) for tile in getattr(unread, "tile", ()))


def _in_colour_space(picture: Image.Image, content: bytes, colour: str) -> Image.Image:
    """Return a picture in RGB whose stored colours are in this colour space, `rgb` or `ycbcr`."""
    if picture.mode not in ("RGB", "RGBA"):
        return picture
    exif = picture.getexif()
    picture.load()  # a truncated file raises here
    colours, alpha = picture.convert("RGB"), picture.getchannel("A") if picture.mode == "RGBA" else None
    if picture.format in ("JPEG", "MPO"):  # naming one colour space for file and result turns conversion off
        import imagecodecs

        samples = imagecodecs.jpeg8_decode(content, colorspace="RGB", outcolorspace="RGB")
        colours = Image.fromarray(samples)
    if colour == "ycbcr":
        colours = Image.merge("YCbCr", colours.split()).convert("RGB")
    if alpha:
        colours.putalpha(alpha)
    colours.info["exif"] = exif.tobytes()
    return colours


def _to_bytes(picture: Image.Image) -> np.ndarray:
    """Convert pixels of any Pillow mode to uint8; transparent ones become black, as on a scanner's screen."""
    if picture.mode == "F":
        raise UnsupportedError("floating-point pixels have no standard grey range; 8 and 16 bits are read")
    grey = picture.mode in GREY_MODES
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    mode = "L" if grey else "RGB"
    return np.asarray(picture if picture.mode == mode else picture.convert(mode))


def _from_deep(levels: np.ndarray, tags: Mapping[int, Any], used: int | None, path: Path) -> np.ndarray:
    """Scale levels of 9 to 16 bits, or of those `used`, so that the highest becomes 255 in every file."""
    bits = used or min(max(tags.get(_BITS, (16,))[0], 9), 16) - _is_signed(tags)
    top = 2**bits - 1
    if used:
        require_bits(levels, 0, top, path)
    if levels.min() < 0 or levels.max() > top:
        raise UnsupportedError(f"levels reach from {levels.min()} to {levels.max()}; 0 to {top} is read")
    levels = levels.astype(np.uint32)
    if tags.get(_INTERPRETATION) == 0:  # Pillow inverts 8 bits, but not 16
        levels = top - levels
    return _scaled(levels, top)


def _scaled(levels: np.ndarray, top: int) -> np.ndarray:
    """Scale levels from 0 to `top` to uint8, rounded."""
    return ((levels.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def _description(content: bytes) -> str:
    """Describe a file whose beginning is that of a picture, but which Pillow does not identify."""
    if kind := _other_jpeg(content):
        return f"is {kind}, which is not supported outside DICOM; convert it to PNG"
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None or accepts is None or accepts(content[:16]) is not True:
            continue
        try:
            factory(io.BytesIO(content), "")
        except (SyntaxError, IndexError, TypeError, KeyError, struct.error) as error:
            if "string index" in str(error):  # Pillow looks for the colours of planes that have none
                error = SyntaxError("planes of grey levels")
            elif "mode" not in str(error):
                continue
            return f"a {name} file of a kind that is not supported ({error}); convert it to PNG"
    return "truncated or damaged: the image header is incomplete"


def _other_jpeg(content: bytes) -> str:
    """Return the kind of a JPEG file that Pillow does not read; empty for others and damaged ones."""
    from fibrolab.data.formats import dicom_jpeg

    try:
        found = dicom_jpeg.frame_header(content)
    except ValueError:
        return ""
    if found.marker in _BASELINE and found.precision == 8:
        return ""
    names = {_JPEG_LS: "JPEG-LS", _LOSSLESS: "lossless JPEG"} | dict.fromkeys(_BASELINE, "JPEG")
    return f"{names.get(found.marker, 'hierarchical or arithmetic JPEG')} of {found.precision} bits"
