"""Lossless JPEG and JPEG-LS within DICOM through FFmpeg, as a plugin of pydicom.

Pillow reads neither. GDCM, which pydicom would use, crashes the whole process on some damaged frames, since
its C++ exceptions do not reach Python (https://github.com/tfmoraes/python-gdcm/issues/34). FFmpeg, already a
dependency for videos, refuses frames that it cannot decode.
"""

import av
import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner

from fibrolab.data.formats.contract import LARGEST_SCAN

CODECS = {
    uid.JPEGLossless: "mjpeg",
    uid.JPEGLosslessSV1: "mjpeg",
    uid.JPEGLSLossless: "jpegls",
    uid.JPEGLSNearLossless: "jpegls",
}
DECODER_DEPENDENCIES = {syntax: ("av",) for syntax in CODECS}
LABEL = "ffmpeg"


def is_available(syntax: str) -> bool:
    """Return whether the plugin decodes a transfer syntax; pydicom calls it."""
    return syntax in CODECS


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame, colours interleaved by pixel; pydicom calls it.

    Args:
        src: An encoded frame.
        runner: pydicom's properties of the frame; the layout of the decoded pixels is set in it.

    Raises:
        ValueError: The frame is not one complete image of the size stated in the header.
        av.FFmpegError: The frame is damaged, or JPEG-LS in colours that are interleaved by sample.
    """
    context = av.CodecContext.create(CODECS[runner.transfer_syntax], "r")
    assert isinstance(context, av.VideoCodecContext)
    context.options = {
        "err_detect": "explode",  # otherwise a frame that cannot be decoded is returned black
        "max_pixels": str(LARGEST_SCAN),
    }
    context.thread_count = 1
    frames = [*context.decode(av.Packet(src)), *context.decode(None)]
    if len(frames) != 1 or frames[0].is_corrupt:
        raise ValueError("the compressed frame is not one complete image")
    pixels = frames[0].to_ndarray()
    if frames[0].format.name == "bgr24":  # FFmpeg's name for lossless RGB
        pixels = pixels[..., ::-1]
    if pixels.shape != (runner.rows, runner.columns, 3)[: 2 + (runner.samples_per_pixel > 1)]:
        raise ValueError(f"the compressed frame has {frames[0].width} x {frames[0].height} pixels")
    runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    return np.ascontiguousarray(pixels).tobytes()
