"""Video files through PyAV (FFmpeg): strict reading with exact frame counts, and writing."""

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from fibrolab.data.formats import film_ends, pixel_shape
from fibrolab.data.formats.contract import LARGEST_SCAN, Clip, Header, Inspect, require_scan, stacked
from fibrolab.data.media import View
from fibrolab.errors import UnreadableImageError

CONTAINERS = {  # by FFmpeg's name
    "mov": "MP4",
    "avi": "AVI",
    "matroska": "Matroska",
    "mpeg": "MPEG",
    "mpegvideo": "MPEG",
    "mpegts": "MPEG-TS",
    "asf": "WMV",
    "flv": "FLV",
    "ogg": "Ogg",
    "mxf": "MXF",
    "dv": "DV",
    "rm": "RealMedia",
    "yuv4mpegpipe": "Y4M",
}
_WHOLE = View()
CODECS = {  # for writing, by suffix: codec, pixel format, quality
    ".mp4": ("libx264", "yuv420p", {"crf": "17", "preset": "veryfast"}),
    ".avi": ("mjpeg", "yuvj420p", {"qmin": "2", "qmax": "2"}),
    ".mkv": ("ffv1", "gray", {}),
}


def header(content: bytes, path: Path) -> Header:
    """See `readers.Format`; the video is decoded once, since its frames can only be counted by decoding."""
    return _decoded(content, path, None)[0]


def opened(content: bytes, path: Path) -> Inspect:
    """See `readers.Format`: RGB, or grey if the video is stored in grey."""
    return _Frames(content, path).inspect


def clip(content: bytes, path: Path, _: View = _WHOLE) -> Clip:
    """See `readers.Format`: luma in full range. Frames at uneven times are kept as they are."""
    video = _Decoder(content, path)
    frames = stacked((video.pixels("gray") for _ in video.decode()), path)
    return Clip(frames, video.header().fps)


def write(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write a video; if writing fails, no file is left at `path`.

    Args:
        path: Its suffix names container and codec: `.mp4` (H.264, H and W even), `.avi` (Motion JPEG) or
            `.mkv` (FFV1, grey, without loss).
        frames: uint8 (N, H, W) or (N, H, W, 3).
        fps: Frames a second.
    """
    codec, pixel_format, quality = CODECS[path.suffix]
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with av.open(temporary, "w") as container:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=quality)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixel_format
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(pixels, format="gray" if pixels.ndim == 2 else "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Decoder:
    """Decodes a video frame by frame; holds the current frame, the number of frames and their times."""

    def __init__(self, content: bytes, path: Path) -> None:
        _require_whole(content, path)
        self._content, self._path = content, path
        self._format = ""
        self._rate = 0.0
        self._aspect = Fraction(1)  # width of a pixel divided by its height
        self._times: list[float] = []  # [s], of the frames that state one
        self._count = 0
        self._frame: av.VideoFrame | None = None
        self._reformatter = VideoReformatter()  # kept, since setting it up for each frame takes time

    def decode(self) -> Iterator[int]:
        """Yield the frame numbers in order; `pixels` holds the current frame."""
        with av.open(io.BytesIO(self._content), "r") as container:
            stream = _stream(container, self._path)
            name = container.format.name.split(",")[0]
            self._format = f"{CONTAINERS.get(name, name)} {stream.codec_context.name}"
            self._rate = float(stream.average_rate or 0)
            self._aspect = stream.sample_aspect_ratio or Fraction(1)
            for packet in container.demux(stream):
                if packet.is_corrupt:  # the file ends within it, or a part before it is missing
                    raise UnreadableImageError(f"{self._path}: truncated or damaged at frame {self._count}")
                for frame in packet.decode():
                    self._accept(frame)
                    yield self._count - 1
        if self._frame is None:
            raise UnreadableImageError(f"{self._path}: the video holds no frame")

    def pixels(self, pixel_format: str = "") -> np.ndarray:
        """Return the current frame upright, uint8 (H, W) for `gray`, else (H, W, 3)."""
        assert self._frame is not None
        stored = self._frame.format
        is_grey = len(stored.components) == 1 and not stored.has_palette
        shown = pixel_format or ("gray" if is_grey else "rgb24")
        pixels = self._reformatter.reformat(self._frame, format=shown).to_ndarray()
        return _upright(pixels, self._frame)

    def header(self) -> Header:
        """Return the properties that all frames have in common, after decoding."""
        frame = self._frame
        assert frame is not None
        sides = (frame.width, frame.height)
        pixel = (self._aspect.denominator, self._aspect.numerator)
        if frame.rotation % 180:
            sides, pixel = sides[::-1], pixel[::-1]
        shape = pixel_shape.height_to_width(*pixel)
        return Header(*sides, frame.format.name, self._format, self._count, self._fps(), pixel_aspect=shape)

    def _accept(self, frame: av.VideoFrame) -> None:
        if frame.is_corrupt:
            raise UnreadableImageError(f"{self._path}: truncated or damaged in frame {self._count}")
        before = self._frame
        if before is not None and (frame.width, frame.height) != (before.width, before.height):
            raise UnreadableImageError(
                f"{self._path}: its frames change their size, from {before.width} x {before.height} to "
                f"{frame.width} x {frame.height} pixels at frame {self._count}; cut the video there"
            )
        self._frame = frame
        self._count += 1
        if frame.time is not None:
            self._times.append(frame.time)

    def _fps(self) -> float:
        """Return the mean frame rate from the frames' presentation times, else the container's rate."""
        known = len(self._times) == self._count > 1 and self._times[-1] > self._times[0]
        return round((self._count - 1) / (self._times[-1] - self._times[0]), 2) if known else self._rate


def _upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turn a frame as its display matrix says, which may mirror it too (ISO/IEC 14496-12, 8.3.2)."""
    stored: Any = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return pixels
    (a, b, _), (c, d, _) = np.frombuffer(stored, np.int32).reshape(3, 3)[:2] / 2**16
    if a * d - b * c >= 0:
        return np.rot90(pixels, frame.rotation // 90)
    if abs(b) > abs(a):  # rows become columns
        pixels, a, d = np.swapaxes(pixels, 0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


class _Frames:
    """Single frames of one video, which is decoded twice for any number of them in ascending order."""

    def __init__(self, content: bytes, path: Path) -> None:
        self._content, self._path = content, path
        self._header: Header | None = None
        self._decoder: _Decoder | None = None
        self._numbers: Iterator[int] = iter(())
        self._at = -1

    def inspect(self, view: View) -> tuple[Header, np.ndarray]:
        """See `contract.Inspect`."""
        if self._header is None:
            return self._first(view)
        wanted = view.frame_of(self._header.frames, self._path)
        if self._decoder is None or wanted < self._at:
            self._decoder = _Decoder(self._content, self._path)
            self._numbers, self._at = self._decoder.decode(), -1
        while self._at < wanted:
            self._at = next(self._numbers)
        return self._header, self._decoder.pixels()

    def _first(self, view: View) -> tuple[Header, np.ndarray]:
        """Decode the whole video, since its frames can only be counted so.

        The number of packets gives the wanted frame before decoding. If packets and frames do not correspond,
        the video is decoded again.
        """
        wanted = view.frame_of(_count_packets(self._content, self._path), self._path)
        header, pixels = _decoded(self._content, self._path, wanted)
        self._header = header
        if pixels is None or view.frame_of(header.frames, self._path) != wanted:
            return self.inspect(view)
        return header, pixels


def _decoded(content: bytes, path: Path, wanted: int | None) -> tuple[Header, np.ndarray | None]:
    """Decode the whole video; return its header, and the wanted frame if it has one of that number."""
    video = _Decoder(content, path)
    kept = None
    for number in video.decode():
        if number == wanted:
            kept = video.pixels()
    return video.header(), kept


def _count_packets(content: bytes, path: Path) -> int:
    """Count the packets of the video, which usually have one frame each."""
    with av.open(io.BytesIO(content), "r") as container:
        count = sum(packet.size > 0 for packet in container.demux(_stream(container, path)))
    if not count:
        raise UnreadableImageError(f"{path}: the video holds no frame")
    return count


def _stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """Return the first video stream, decoded in one thread, since several files are decoded at once."""
    if not container.streams.video:
        raise UnreadableImageError(f"{path}: holds sound or text, but no video")
    stream = container.streams.video[0]
    require_scan(stream.width, stream.height, path)
    stream.codec_context.options = {"max_pixels": str(LARGEST_SCAN)}  # frames may be larger than declared
    stream.codec_context.thread_count = 1
    return stream


def _require_whole(content: bytes, path: Path) -> None:
    """Refuse a truncated video, which FFmpeg would decode as far as it goes."""
    if (end := film_ends.stated(content)) > len(content):
        raise UnreadableImageError(f"{path}: truncated: it has {len(content)} of {end} bytes")
