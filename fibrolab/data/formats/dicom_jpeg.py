"""Frames of DICOM in lossless JPEG, 12-bit JPEG, JPEG-LS and JPEG 2000: stored levels of 2 to 16 bits.

imagecodecs decodes them with libjpeg-turbo, CharLS and OpenJPEG. Of its other decoders of lossless JPEG,
`ljpeg` and `jpegsof3` end the process on some damaged frames, as GDCM does. FFmpeg scales JPEG-LS of 9 to 15
bits without saying so.
"""

from typing import NamedTuple

import imagecodecs
import numpy as np
from pydicom import uid

SYNTAXES = (uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_JPEG_LS = 0xF7  # frame header of JPEG-LS, ITU-T T.87
_FRAME_HEADERS = {*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1
_PROBE = bytes(range(1, 255, 4))  # codes without a marker, see `_require_all_codes`


class FrameHeader(NamedTuple):
    """The frame header of a JPEG codestream (ITU-T T.81, B.2.2).

    Attributes:
        marker: Second byte of its marker: the process, such as 0xC3 for lossless JPEG.
        precision: Bits of a level.
        height: Rows.
        width: Columns.
        samples: Number of components (1 for grey, 3 for colour).
    """

    marker: int
    precision: int
    height: int
    width: int
    samples: int


def decode(frame: bytes, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Decode one frame without conversion of colours.

    Args:
        frame: A JPEG or JPEG-LS codestream.
        shape: What the DICOM header states: (H, W), or (H, W, 3).

    Returns:
        Stored levels, uint8 or uint16 of that shape, and their precision [bits].

    Raises:
        ValueError: The frame is truncated, or not of that shape. It is not decoded then, since a damaged
            header can declare a picture of any size.
        RuntimeError: imagecodecs cannot decode the frame.
    """
    found = frame_header(frame)
    expected = (*shape[:2], shape[2] if len(shape) == 3 else 1)
    if found[2:] != expected:
        raise ValueError(
            "the compressed frame has {1} x {0} pixels of {2} samples".format(*found[2:])
            + ", the DICOM header states {1} x {0} of {2}".format(*expected)
        )
    if frame.rfind(_END) < frame.find(_SCAN):  # without an end, CharLS 2.4.3 searches for minutes
        raise ValueError("the compressed frame ends before its last pixel")
    if found.marker == _JPEG_LS:
        levels = imagecodecs.jpegls_decode(frame)
    else:
        levels = _decode_jpeg(frame, found.samples)
        _require_all_codes(frame, levels, found.samples)
    return levels.reshape(shape), found.precision


def decode_2000(frame: bytes, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Decode one frame in JPEG 2000 to the colours that its encoder was given (ITU-T T.800).

    Args:
        frame: A codestream, without the header of a JP2 file.
        shape: What the DICOM header states: (H, W), or (H, W, 3).

    Returns:
        Stored levels of that shape, signed if the codestream says so, and their precision [bits].

    Raises:
        ValueError: The frame is truncated, or not of that shape.
        RuntimeError: imagecodecs cannot decode the frame.
    """
    samples = int.from_bytes(frame[40:42], "big")
    if samples != (shape[2] if len(shape) == 3 else 1):
        raise ValueError(f"the compressed frame has {samples} samples a pixel, unlike the DICOM header")
    if _END not in frame:  # a last tile without a stated length ends there
        raise ValueError("the compressed frame ends before its last pixel")
    return imagecodecs.jpeg2k_decode(frame).reshape(shape), (frame[42] & 0x7F) + 1


def frame_header(frame: bytes) -> FrameHeader:
    """Return the first frame header of a codestream.

    Raises:
        ValueError: There is none before the pixels.
    """
    position = 2
    while frame[:2] == _START and frame[position : position + 1] == b"\xff":
        marker = frame[position + 1] if position + 1 < len(frame) else _SCAN[1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _FRAME_HEADERS and position + 10 <= len(frame):
            precision, samples = frame[position + 4], frame[position + 9]
            height, width = (int.from_bytes(frame[position + at : position + at + 2], "big") for at in (5, 7))
            return FrameHeader(marker, precision, height, width, samples)
        if marker == _SCAN[1]:
            break
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    raise ValueError("the compressed frame does not begin as JPEG")


def _decode_jpeg(frame: bytes, samples: int) -> np.ndarray:
    """Decode JPEG; naming one colour space for file and result turns its conversion off."""
    space = "RGB" if samples == 3 else "GRAYSCALE"
    levels: np.ndarray = imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space)
    return levels


def _require_all_codes(frame: bytes, levels: np.ndarray, samples: int) -> None:
    """Refuse JPEG that ends before its last pixel, which libjpeg-turbo fills in with a mere warning.

    Further codes before the end of image change only a picture whose own codes do not suffice.
    """
    end = frame.rfind(_END)
    probe = frame[:end] + _PROBE + frame[end:]
    if not np.array_equal(_decode_jpeg(probe, samples), levels):
        raise ValueError("the compressed frame ends before its last pixel")
