"""NIfTI, MetaImage (MHA) and NRRD: one picture, a film, or the slices of a volume.

nibabel reads NIfTI, SimpleITK (the extra `itk`) the others. Voxel (i, j, k) is the pixel of column i and row
j in frame k, as for masks in NIfTI; the orientation in the header is not used. Of three axes these formats do
not say whether the third is time or space: its slices are taken as frames. A fourth axis is time.
"""

import gzip
import io
import re
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fibrolab.data.formats import pixel_shape
from fibrolab.data.formats.contract import (
    LARGEST_CLIP,
    Clip,
    Header,
    Inspect,
    UnsupportedError,
    require_scan,
    to_grey,
)
from fibrolab.data.formats.recognition import GZIP, NIFTI, volume_format
from fibrolab.data.media import View
from fibrolab.errors import UnreadableImageError

READERS = {"NRRD": ("NrrdImageIO", ".nrrd"), "MHA": ("MetaImageIO", ".mha")}
# Last bytes of a header, words of one whose pixels are in another file or are text, and of compressed pixels.
_HEADERS = {
    "NRRD": (
        re.compile(rb"\n\r?\n"),
        re.compile(rb"^data ?file:|^encoding:\s*+(?!raw|gz)", re.IGNORECASE | re.MULTILINE),
        re.compile(rb"^encoding:\s*gz", re.IGNORECASE | re.MULTILINE),
    ),
    "MHA": (
        re.compile(rb"^ElementDataFile\s*=[^\n]*\n", re.MULTILINE),
        re.compile(rb"^ElementDataFile\s*=\s*+(?!LOCAL\s)|^BinaryData\s*=\s*False", re.MULTILINE),
        re.compile(rb"^CompressedData\s*=\s*True", re.MULTILINE),
    ),
}
_DEPTHS = {"uint16": 16, "int16": 15}  # bits of the levels of these types; of others: 8
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_INSTALL = "pip install 'fibrolab[itk]'"


def header(content: bytes, path: Path) -> Header:
    """See `readers.Format`."""
    return _read(content, path)[0]


def opened(content: bytes, path: Path) -> Inspect:
    """See `readers.Format`: levels of 8 bits as they are, of 16 with the highest of their depth as 255."""
    facts, frames = _read(content, path)

    def inspect(view: View) -> tuple[Header, np.ndarray]:
        return facts, _to_bytes(frames[view.frame_of(facts.frames, path)], view.decode.bits)

    return inspect


def clip(content: bytes, path: Path, view: View) -> Clip:
    """See `readers.Format`."""
    facts, frames = _read(content, path)
    return Clip(np.stack([to_grey(_to_bytes(frame, view.decode.bits)) for frame in frames]), facts.fps)


def _read(content: bytes, path: Path) -> tuple[Header, np.ndarray]:
    """Return header and levels, (T, H, W) or in RGB (T, H, W, 3)."""
    name, plain = volume_format(content), unpacked(content, path)
    if name == "NIfTI":
        levels, spacing, fps = _of_nifti(plain, path)
    else:
        (levels, spacing), fps = _of_itk(name, plain, path), 0.0
    frames, height, width = levels.shape[:3]
    shape = pixel_shape.height_to_width(spacing[1], spacing[0])
    return Header(width, height, levels.dtype.name, name, frames, fps, pixel_aspect=shape), levels


def unpacked(content: bytes, path: Path) -> bytes:
    """Return the bytes of a file that may be compressed as a whole."""
    if not content.startswith(GZIP):
        return content
    with gzip.open(io.BytesIO(content)) as file:
        plain = file.read(8 * LARGEST_CLIP + 1)
    if len(plain) > 8 * LARGEST_CLIP:
        raise UnreadableImageError(f"{path}: inflates to more than {8 * LARGEST_CLIP / 2**30:.0f} GiB")
    return plain


def _of_nifti(plain: bytes, path: Path) -> tuple[np.ndarray, Sequence[float], float]:
    """Return levels, times the header's slope and rounded, size of a voxel, frame rate; 0 if not stated."""
    import nibabel

    image = (nibabel.Nifti1Image if plain[344:348] in NIFTI else nibabel.Nifti2Image).from_bytes(plain)
    stored = image.get_data_dtype()
    size = [int(side) for side in image.shape[:4]]
    # Colours are a type of their own, or a fifth axis, as SimpleITK writes them.
    channels = len(stored.names) if stored.names else int(np.prod(image.shape[4:]))
    _require_pictures(size, channels, path)
    levels: np.ndarray = np.asanyarray(image.dataobj)
    if stored.names:
        levels = np.stack([levels[name] for name in stored.names], axis=-1)
    if levels.dtype.kind == "f" and stored.kind in "iu":
        levels = np.rint(levels)
    zooms = tuple(map(float, image.header.get_zooms()))
    step = _SECONDS.get(image.header.get_xyzt_units()[1], 0.0) * (zooms[3:4] or (0.0,))[0]
    levels = levels.reshape(*size[:2], -1, *((channels,) if channels > 1 else ()), order="F")
    return np.moveaxis(levels, (0, 1, 2), (2, 1, 0)), zooms, round(1 / step, 3) if step > 0 else 0.0


def _of_itk(name: str, plain: bytes, path: Path) -> tuple[np.ndarray, Sequence[float]]:
    """Return levels and size of a voxel of MetaImage or NRRD, which SimpleITK reads from a file only."""
    try:
        import SimpleITK as itk  # noqa: N813
    except ImportError:
        raise UnreadableImageError(f"{path}: is {name}, which SimpleITK reads: {_INSTALL}") from None
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    pixels, is_compressed = _pixels(name, plain, path)
    reader_name, suffix = READERS[name]
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(plain)
        file.flush()
        reader = itk.ImageFileReader()
        reader.SetImageIO(reader_name)
        reader.SetFileName(file.name)
        try:
            reader.ReadImageInformation()
            size, channels = list(reader.GetSize()), reader.GetNumberOfComponents()
            _require_pictures(size, channels, path)
            component = itk.Image([1, 1], reader.GetPixelID(), channels).GetSizeOfPixelComponent()
            _require_whole(pixels, int(np.prod(size)) * channels * component, is_compressed, path)
            levels: np.ndarray = itk.GetArrayFromImage(reader.Execute())
        except RuntimeError:  # its words name the temporary file and lines of its source
            raise ValueError(f"SimpleITK does not read it as {name}") from None
    return levels.reshape(-1, size[1], size[0], *((channels,) if channels > 1 else ())), reader.GetSpacing()


def _pixels(name: str, plain: bytes, path: Path) -> tuple[bytes, bool]:
    """Return the bytes after a header, and whether they are compressed.

    Raises:
        UnreadableImageError: The header ends nowhere, or its pixels are in another file or are text.
    """
    end, elsewhere, compressed = _HEADERS[name]
    found = end.search(plain)
    stated = plain[: found.end() if found else 2**16]
    if elsewhere.search(stated):
        raise UnreadableImageError(
            f"{path}: is a header of {name} whose pixels are in another file or are text; save it as one "
            "binary file"
        )
    if found is None:
        raise UnreadableImageError(f"{path}: truncated: the file ends within its header")
    return plain[found.end() :], compressed.search(stated) is not None


def _require_whole(pixels: bytes, held: int, is_compressed: bool, path: Path) -> None:
    """Refuse a truncated file, whose last pixels SimpleITK may fill in.

    Args:
        pixels: Bytes after the header.
        held: Number of bytes of all pixels.
        is_compressed: Whether the bytes are compressed by zlib.
        path: The file.
    """
    if is_compressed:
        pixels = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(pixels, held)
    if len(pixels) < held:
        raise UnreadableImageError(f"{path}: truncated: it holds {len(pixels)} of {held} bytes of pixels")


def _require_pictures(size: Sequence[int], channels: int, path: Path) -> None:
    """Refuse what is neither a picture nor a film nor a volume, before its pixels are read."""
    named = " x ".join(map(str, size))
    if len(size) < 2 or len(size) > 4 or (len(size) == 4 and size[2] > 1):
        raise UnsupportedError(f"{named} pixels are neither a picture nor a film nor a volume")
    require_scan(size[0], size[1], path)
    if np.prod(size, dtype=float) > LARGEST_CLIP:
        raise UnreadableImageError(f"{path}: {named} pixels do not fit in memory")
    if channels not in (1, 3):
        raise UnsupportedError(f"{channels} values per pixel are neither grey nor RGB")


def _to_bytes(levels: np.ndarray, bits: int | None) -> np.ndarray:
    """Convert the levels of one frame to uint8.

    Raises:
        UnsupportedError: Levels are below 0, above the depth or no whole numbers: these have no grey range.
    """
    if levels.dtype == np.uint8:
        return np.ascontiguousarray(levels)
    top = 2 ** (bits or _DEPTHS.get(levels.dtype.name, 8)) - 1
    low, high = levels.min(), levels.max()
    if not (low >= 0 and high <= top and (levels == np.rint(levels)).all()):
        setting = ", see data.decode.bits" if low >= 0 else ""
        raise UnsupportedError(
            f"{levels.dtype.name} levels reach from {low:g} to {high:g}, and whole numbers from 0 to {top} "
            f"are read{setting}"
        )
    return np.rint(levels * (255 / top)).astype(np.uint8)
