"""DICOM files: pixels in 8 bits on one scale for all files, and their header.

pydicom reads the files; Pillow and imagecodecs decompress them. "PS3.x" are the parts of the DICOM standard.
"""

import io
import logging
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import get_frame, parse_fragments
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, apply_voi, convert_color_space, pixel_array
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MPEGTransferSyntaxes,
    RLELossless,
)

from fibrolab.data.formats import dicom_identity, dicom_jpeg, dicom_palette, pixel_shape, video
from fibrolab.data.formats.contract import (
    LARGEST_CLIP,
    Clip,
    Header,
    Inspect,
    require_bits,
    require_scan,
    stacked,
    to_grey,
)
from fibrolab.data.media import Decode, View
from fibrolab.errors import UnreadableImageError

GREY = ("MONOCHROME1", "MONOCHROME2")
SUBSAMPLED = "YBR_FULL_422"
COLOUR = ("RGB", "YBR_FULL", SUBSAMPLED, "YBR_RCT", "YBR_ICT")
PLANES = ("by_pixel", "by_plane")  # `Decode.planes` for each planar configuration
PALETTE = "PALETTE COLOR"
# Decoder of each transfer syntax. It is always named, because pydicom would otherwise try all that are
# installed, such as GDCM, which can crash the process: its C++ exceptions do not reach Python
# (https://github.com/tfmoraes/python-gdcm/issues/34). Lossless JPEG, JPEG-LS, JPEG 2000: `dicom_jpeg`.
DECODERS = {
    RLELossless: "pydicom",
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), "pillow"),
}
JPEG_2000 = (JPEG2000Lossless, JPEG2000)
LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless)
NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_IMAGE_PIXEL = (  # attributes of PS3.3, C.7.6.3, that are needed to decode pixels
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
)
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")  # of codestreams: JPEG and JPEG-LS, JPEG 2000
_GREY_SCALE = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")
# Warnings about unusual headers do not concern the user: a file that cannot be decoded raises an error.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def header(content: bytes, path: Path) -> Header:
    """See `readers.Format`."""
    dataset = _dataset(content, path)
    if _is_video(dataset):
        return _video_header(dataset, video.header(_video_stream(dataset), path))
    return _header(dataset)


def opened(content: bytes, path: Path) -> Inspect:
    """See `readers.Format`."""
    dataset = _dataset(content, path)
    if not _is_video(dataset):
        return _Frames(dataset, content, path).inspect
    stream = video.opened(_video_stream(dataset), path)

    def inspect(view: View) -> tuple[Header, np.ndarray]:
        facts, pixels = stream(view)
        return _video_header(dataset, facts), pixels

    return inspect


class _Frames:
    """The frames of one file."""

    def __init__(self, dataset: pydicom.Dataset, content: bytes, path: Path) -> None:
        self._dataset, self._content, self._path = dataset, content, path
        self._header = _header(dataset)
        self._corrected: Decode | None = None  # the corrections that were made in the data set

    def inspect(self, view: View) -> tuple[Header, np.ndarray]:
        """See `contract.Inspect`."""
        if self._corrected != view.decode:
            if self._corrected is not None:
                self._dataset = _dataset(self._content, self._path)
            _correct(self._dataset, view.decode, self._path)
            self._corrected = view.decode
        number = view.frame_of(self._header.frames, self._path)
        return self._header, _frame(self._dataset, number, self._path, view.decode)


def clip(content: bytes, path: Path, view: View) -> Clip:
    """See `readers.Format`."""
    dataset = _dataset(content, path)
    if _is_video(dataset):
        decoded = video.clip(_video_stream(dataset), path)
        return Clip(decoded.frames, _fps(dataset, len(decoded.frames)) or decoded.fps)
    _correct(dataset, view.decode, path)
    count = _frames(dataset)
    frames = (to_grey(_frame(dataset, number, path, view.decode)) for number in range(count))
    return Clip(stacked(frames, path), _fps(dataset, count))


def _dataset(content: bytes, path: Path) -> pydicom.Dataset:
    """Read a data set whose pixels can be decoded; fill in the transfer syntax where the file lacks it."""
    _require_moderate_size(content, path)
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)  # force: files without preamble
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise UnreadableImageError(
            f"{path}: floating-point pixels have no standard grey range; save integers"
        )
    if "PixelData" not in dataset:
        if b"\xe0\x7f\x10\x00" in content or "Rows" in dataset:  # the first is the tag of pixel data
            raise UnreadableImageError(f"{path}: truncated: the DICOM file ends before or within its pixels")
        kind = getattr(dataset.get("SOPClassUID", ""), "name", "") or "of unknown kind"
        raise UnreadableImageError(f"{path}: a DICOM file without pixel data ({kind})")
    _drop_empty(dataset)
    missing = [name for name in _IMAGE_PIXEL if name not in dataset]
    several = [name for name in ("NumberOfFrames", *_IMAGE_PIXEL) if name in dataset and dataset[name].VM > 1]
    if several:
        raise UnreadableImageError(f"{path}: damaged: the DICOM header repeats {', '.join(several)}")
    if missing:
        raise UnreadableImageError(f"{path}: the DICOM header lacks {', '.join(missing)}")
    _require_numbers(dataset, path)
    dataset.PhotometricInterpretation = str(dataset.PhotometricInterpretation).strip().upper()
    if dataset.SamplesPerPixel != 1 and "PlanarConfiguration" not in dataset:
        dataset.PlanarConfiguration = 0
    require_scan(dataset.Columns, dataset.Rows, path)
    _fill_in_syntax(dataset, path)
    if not _is_video(dataset):
        _require_stated_frames(dataset, path)
    return dataset


def _require_stated_frames(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse a file without pixels, or with those of more frames than its header states.

    Only the first frames would be read; or, if another number is wrong, parts of several as one picture.
    """
    if not dataset.PixelData:
        raise UnreadableImageError(f"{path}: damaged: its pixel data are empty")
    stated, held = _frames(dataset), _held_frames(dataset)
    if held > stated:
        raise UnreadableImageError(
            f"{path}: damaged: it holds the pixels of {held} frames, and the DICOM header states {stated}; "
            "correct NumberOfFrames, or what is wrong of SamplesPerPixel, Rows, Columns and BitsAllocated"
        )


def _held_frames(dataset: pydicom.Dataset) -> int:
    """Return how many frames have their pixels in a file: at least, of compressed ones in several fragments.

    A codestream begins with its own marker; in RLE each frame is one fragment (PS3.5, A.4.2).
    """
    syntax, pixels = dataset.file_meta.TransferSyntaxUID, dataset.PixelData
    if syntax in NATIVE:
        frame = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * (dataset.BitsAllocated // 8)
        return len(pixels) // frame if frame and dataset.BitsAllocated % 8 == 0 else 0
    try:
        fragments = parse_fragments(pixels)[1][1:]  # the first item is the table of offsets
    except ValueError:  # of a truncated file, whose frame says so when it is read
        return 0
    if syntax == RLELossless:
        return sum(pixels[at + 4 : at + 8] != bytes(4) for at in fragments)  # without empty ones
    return sum(pixels[at + 8 : at + 12].startswith(_STARTS) for at in fragments)


def _require_numbers(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse text where the header must give a number, which pydicom hands on as it is."""
    names = ("NumberOfFrames", *_IMAGE_PIXEL[:-1], *(_GREY_SCALE if dataset.SamplesPerPixel == 1 else ()))
    faults = []
    for name in (name for name in names if name in dataset):
        raw = dataset.get_item(name).value
        try:
            value = dataset[name].value
            float((value[0] if isinstance(value, MultiValue) else value) or 0)
        except (TypeError, ValueError):
            shown = raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)
            faults.append(f"{name} ({shown.strip()[:16]!r})")
    if faults:
        raise UnreadableImageError(
            f"{path}: damaged: the DICOM header gives no number as {', '.join(faults)}"
        )


def _drop_empty(dataset: pydicom.Dataset) -> None:
    """Remove elements of the group of the image that are empty: many writers leave what they lack so."""
    for tag in [element.tag for element in dataset.group_dataset(0x0028) if element.is_empty]:
        del dataset[tag]


def _require_moderate_size(content: bytes, path: Path) -> None:
    """Refuse a deflated file (PS3.5, A.5) that inflates to more than `LARGEST_CLIP`: pydicom has no limit."""
    stream = io.BytesIO(content)
    stream.seek(132 if content[128:132] == b"DICM" else 0)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag > 0x0002FFFF)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), LARGEST_CLIP + 1)
    if len(inflated) > LARGEST_CLIP:
        raise UnreadableImageError(f"{path}: inflates to more than {LARGEST_CLIP / 2**20:.0f} MiB")


def _fill_in_syntax(dataset: pydicom.Dataset, path: Path) -> None:
    """Set the transfer syntax of uncompressed pixels if the header lacks it."""
    if "TransferSyntaxUID" in dataset.file_meta:
        return
    if dataset["PixelData"].is_undefined_length:
        raise UnreadableImageError(
            f"{path}: compressed pixel data, but the DICOM header does not say how (no TransferSyntaxUID)"
        )
    implicit, little = dataset.original_encoding
    native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native


def _correct(dataset: pydicom.Dataset, decode: Decode, path: Path) -> None:
    """Correct what the header of a colour image states about its colours and planes.

    Raises:
        UnreadableImageError: The colours are called subsampled and are not, and no correction says what they
            are.
    """
    if dataset.SamplesPerPixel != 3:
        return
    native = dataset.file_meta.TransferSyntaxUID in NATIVE
    if decode.planes and native:
        dataset.PlanarConfiguration = PLANES.index(decode.planes)
    photometric = dataset.PhotometricInterpretation
    if photometric == SUBSAMPLED and native:
        samples = 3 * _frames(dataset) * dataset.Rows * dataset.Columns * (dataset.BitsAllocated // 8)
        if len(dataset.PixelData) < samples:
            return
        if not decode.colour:
            raise UnreadableImageError(
                f"{path}: its pixels are not subsampled, as {SUBSAMPLED} says in the DICOM header: set "
                "data.decode.colour=rgb or data.decode.colour=ycbcr, by which the picture looks right"
            )
    if decode.colour and photometric in ("RGB", "YBR_FULL", SUBSAMPLED):
        dataset.PhotometricInterpretation = "YBR_FULL" if decode.colour == "ycbcr" else "RGB"


def _header(dataset: pydicom.Dataset) -> Header:
    count = _frames(dataset)
    return Header(
        width=dataset.Columns,
        height=dataset.Rows,
        mode=dataset.PhotometricInterpretation,
        format=f"DICOM {dataset.file_meta.TransferSyntaxUID.keyword}",
        frames=count,
        fps=_fps(dataset, count) if count > 1 else 0.0,
        identity=dicom_identity.identity(dataset),
        pixel_aspect=pixel_shape.of_dicom(dataset),
    )


def _frames(dataset: pydicom.Dataset) -> int:
    return max(int(dataset.get("NumberOfFrames", None) or 1), 1)


def _fps(dataset: pydicom.Dataset, frames: int) -> float:
    """Return the frame rate of the recording, else that of the recommended display, else 0."""
    step = _rate(dataset, "FrameTime")  # [ms] from one frame to the next
    if step > 0:
        return round(1000 / step, 3)
    duration = float(np.sum(dataset.get("FrameTimeVector", None) or 0))  # [ms]; its first step is 0
    if duration > 0:
        return round(1000 * (frames - 1) / duration, 3)
    return _rate(dataset, "CineRate") or _rate(dataset, "RecommendedDisplayFrameRate")


def _rate(dataset: pydicom.Dataset, name: str) -> float:
    """Return a positive number of the header; 0 without one."""
    try:
        found = _first(dataset.get(name, None)) or 0.0
    except ValueError:
        return 0.0
    return found if found > 0 else 0.0


def _frame(dataset: pydicom.Dataset, number: int, path: Path, decode: Decode) -> np.ndarray:
    """Decode one frame, uint8 (H, W) or (H, W, 3), and none of the others.

    Args:
        dataset: The file.
        number: Number of the frame.
        path: Name of the file.
        decode: Corrections of the header, of which `_correct` has made those of colours and planes.
    """
    _require_known(dataset, path)
    photometric = dataset.PhotometricInterpretation
    levels = _levels(dataset, number, path, corrected=decode.colour is not None)
    if photometric == PALETTE:
        return dicom_palette.colours(levels, dataset)
    used = decode.bits if decode.bits and dataset.BitsAllocated == 16 else dataset.BitsStored
    lowest = -(2 ** (used - 1)) if dataset.PixelRepresentation else 0
    highest = lowest + 2**used - 1
    if used == decode.bits:
        require_bits(levels, lowest, highest, path)
    if photometric in COLOUR:
        return _to_bytes(levels, 0, 2**used - 1)
    grey = _grey(levels, _display(dataset, number), np.array([lowest, highest]))
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _levels(dataset: pydicom.Dataset, number: int, path: Path, corrected: bool = False) -> np.ndarray:
    """Decode the stored levels of one frame, (H, W) or in RGB (H, W, 3)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in dicom_jpeg.SYNTAXES or (syntax == JPEGExtended12Bit and dataset.BitsStored > 8):
        return _jpeg_levels(dataset, number)
    if corrected and syntax in (JPEGBaseline8Bit, JPEGExtended12Bit) and dataset.SamplesPerPixel == 3:
        return _jpeg_levels(dataset, number)  # pydicom would heed the colour space that the JPEG itself names
    if syntax in JPEG_2000:
        return _jpeg_2000_levels(dataset, number, path)
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        found = dicom_jpeg.frame_header(_compressed(dataset, number))
        _require_size(dataset, found.width, found.height, path)
    stored, above = dataset.BitsStored, {}
    unused = dataset.get("HighBit", stored - 1) + 1 - stored if syntax in (*NATIVE, RLELossless) else 0
    if 0 < unused <= dataset.BitsAllocated - stored:  # pydicom takes the lowest bits, whatever HighBit says
        above = {"bits_stored": stored + unused}
    levels = pixel_array(dataset, index=number, decoding_plugin=DECODERS.get(syntax, ""), **above)
    return levels >> unused if above else levels


def _without_overlay(levels: np.ndarray, bits: int) -> np.ndarray:
    """Keep the lowest bits of each level, signed or not: older scanners store overlays in those above.

    Compression with loss keeps no such bits, and may exceed the highest level, which must not become black.
    """
    above = max(0, 8 * levels.itemsize - bits)
    return (levels << above) >> above


def _jpeg_2000_levels(dataset: pydicom.Dataset, number: int, path: Path) -> np.ndarray:
    """Decode the stored levels of one frame in JPEG 2000.

    The codestream is right where it has signed levels and the header calls them unsigned: some scanners write
    such files. Unsigned ones under a header that calls them signed are numbers in two's complement.
    """
    _require_codestream(dataset, number, path)
    colours = () if dataset.SamplesPerPixel == 1 else (dataset.SamplesPerPixel,)
    frame = _compressed(dataset, number)
    levels, precision = dicom_jpeg.decode_2000(frame, (dataset.Rows, dataset.Columns, *colours))
    if colours:
        is_ycbcr = dataset.PhotometricInterpretation in ("YBR_FULL", SUBSAMPLED)
        return convert_color_space(levels, "YBR_FULL", "RGB") if is_ycbcr else levels
    if levels.dtype.kind == "i":
        dataset.PixelRepresentation = 1
    elif dataset.PixelRepresentation:
        return _without_overlay(levels.view(f"i{levels.itemsize}"), min(precision, dataset.BitsStored))
    lossless = dataset.file_meta.TransferSyntaxUID == JPEG2000Lossless
    return _without_overlay(levels, dataset.BitsStored) if lossless else levels


def _jpeg_levels(dataset: pydicom.Dataset, number: int) -> np.ndarray:
    """Decode the stored levels of one frame in lossless JPEG, 12-bit JPEG or JPEG-LS."""
    colours = () if dataset.SamplesPerPixel == 1 else (dataset.SamplesPerPixel,)
    frame = _compressed(dataset, number)
    levels, precision = dicom_jpeg.decode(frame, (dataset.Rows, dataset.Columns, *colours))
    if colours and dataset.PhotometricInterpretation in ("YBR_FULL", "YBR_FULL_422"):
        return convert_color_space(levels, "YBR_FULL", "RGB")
    if dataset.PixelRepresentation:  # the lowest bits hold a number in two's complement
        levels = levels.view(f"i{levels.itemsize}")
    elif dataset.file_meta.TransferSyntaxUID not in LOSSLESS_JPEG:
        return levels
    return _without_overlay(levels, min(precision, dataset.BitsStored))


def _require_known(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse undamaged files of a kind that no decoder reads."""
    photometric, syntax = dataset.PhotometricInterpretation, dataset.file_meta.TransferSyntaxUID
    if photometric not in (*GREY, PALETTE, *COLOUR):
        raise UnreadableImageError(
            f"{path}: the photometric interpretation {photometric!r} is not supported; convert the file to "
            f"one of {', '.join((*GREY, PALETTE, *COLOUR))}"
        )
    if photometric in GREY:
        dicom_palette.refuse_beside_grey(dataset, path)
    if dataset.SamplesPerPixel not in (1, 3):
        raise UnreadableImageError(
            f"{path}: {dataset.SamplesPerPixel} samples per pixel are not supported; convert the file to "
            "grey or RGB"
        )
    if dataset.BitsAllocated not in (1, 8, 16, 32, 64) and syntax in NATIVE:
        raise UnreadableImageError(
            f"{path}: levels of {dataset.BitsAllocated} bits are not supported; convert the file to 8 or 16"
        )
    if dataset.BitsAllocated == 1 and syntax == RLELossless:
        raise UnreadableImageError(
            f"{path}: pixels of 1 bit in RLE are not supported; convert the file to an uncompressed one"
        )
    if syntax not in (*NATIVE, *DECODERS, *JPEG_2000, *dicom_jpeg.SYNTAXES):
        raise UnreadableImageError(
            f"{path}: the transfer syntax '{syntax.name}' is not supported; convert the file to an "
            "uncompressed one"
        )


def _require_codestream(dataset: pydicom.Dataset, number: int, path: Path) -> None:
    """Refuse JPEG 2000 with the header of a JP2 file, which PS3.5, A.4.4 forbids."""
    frame = _compressed(dataset, number)
    if frame[:4] != b"\xff\x4f\xff\x51":
        raise UnreadableImageError(
            f"{path}: frame {number} does not begin as JPEG 2000; it is damaged, or a JP2 file (DICOM allows "
            "no JP2 header). Export the file again"
        )
    right, bottom, left, top = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
    _require_size(dataset, right - left, bottom - top, path)


def _require_size(dataset: pydicom.Dataset, width: int, height: int, path: Path) -> None:
    """Refuse a compressed frame of another size than the header's, which can unpack to any size."""
    if (width, height) != (dataset.Columns, dataset.Rows):
        raise UnreadableImageError(
            f"{path}: damaged: the compressed frame has {width} x {height} pixels, the DICOM header states "
            f"{dataset.Columns} x {dataset.Rows}"
        )


def _compressed(dataset: pydicom.Dataset, number: int) -> bytes:
    """Return the bytes of one compressed frame."""
    return get_frame(dataset.PixelData, number, number_of_frames=_frames(dataset))


def _display(dataset: pydicom.Dataset, number: int) -> pydicom.Dataset:
    """Return the display attributes of one frame, which may have its own (PS3.3, C.7.6.16)."""
    display = dataset.group_dataset(0x0028)
    shared = dataset.get("SharedFunctionalGroupsSequence", None) or []
    own = dataset.get("PerFrameFunctionalGroupsSequence", None) or []
    for group in (*shared, *own[number : number + 1]):
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name, None) or []:
                display.update(item)
    _drop_empty(display)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        if name in display and not all(display[name][0].get(part) for part in ("LUTDescriptor", "LUTData")):
            del display[name]  # a table without content is an empty element too
    return display


def _grey(levels: np.ndarray, dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Convert stored levels to display levels (PS3.3, C.11): rescaled, then through the first window.

    Without a window the whole range of levels that can be `stored`, (2,), becomes 0..255, so that all files
    of a scanner have the same scale.
    """
    if "RescaleSlope" in dataset or "RescaleIntercept" in dataset:  # pydicom asks for both
        dataset.RescaleSlope = dataset.get("RescaleSlope", 1)
        dataset.RescaleIntercept = dataset.get("RescaleIntercept", 0)
    values = apply_modality_lut(levels, dataset)
    if "VOILUTSequence" in dataset:
        depth = dataset.VOILUTSequence[0].LUTDescriptor[2]
        return _to_bytes(apply_voi(values.astype(np.int64), dataset), 0, 2**depth - 1)
    centre, width = _first(dataset.get("WindowCenter", None)), _first(dataset.get("WindowWidth", None))
    if centre is not None and width is not None and 0 < width < np.inf:
        return _windowed(values, centre, width, str(dataset.get("VOILUTFunction", "LINEAR")))
    low, high = sorted(apply_modality_lut(stored, dataset))
    return _to_bytes(values, low, high)


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Apply a window; LINEAR, LINEAR_EXACT and SIGMOID are those of PS3.3, C.11.2.1.2 and .3."""
    if function == "SIGMOID":
        return _to_bytes(np.tanh(2 * (values - centre) / width), -1, 1)  # the logistic without overflow
    if function == "LINEAR":  # by its definition the window is half a level lower, and one level narrower
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return _to_bytes(values, centre - width / 2, centre + width / 2)


def _to_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale values so that `low` is 0 and `high` 255, rounded and clipped."""
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    if not 0 < high - low < np.inf:
        raise ValueError(f"the header gives a display range from {low} to {high}")
    return np.clip(np.rint((values - float(low)) * (255 / (high - low))), 0, 255).astype(np.uint8)


def _first(value: Any) -> float | None:
    """Return the first of several windows, which is the scanner's own; None without a value."""
    values = value if isinstance(value, MultiValue) else [value]
    return float(values[0]) if values and values[0] not in (None, "") else None


def _is_video(dataset: pydicom.Dataset) -> bool:
    """Return whether the pixel data are MPEG-2, H.264 or H.265."""
    return dataset.file_meta.TransferSyntaxUID in MPEGTransferSyntaxes


def _video_stream(dataset: pydicom.Dataset) -> bytes:
    """Return the video stream: all fragments of the only item of the pixel data."""
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def _video_header(dataset: pydicom.Dataset, stream: Header) -> Header:
    """Return the header of a DICOM file with the properties of its video stream."""
    stated = _header(dataset)
    return stated._replace(
        width=stream.width,
        height=stream.height,
        frames=stream.frames,
        fps=_fps(dataset, stream.frames) or stream.fps,
        pixel_aspect=stream.pixel_aspect if stated.pixel_aspect == 1 else stated.pixel_aspect,
    )
