"""Video files through PyAV (FFmpeg): strict reading with exact frame counts, and writing."""

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from fibrolab.data.formats.contract import LARGEST_SCAN, Clip, Header, require_scan, stacked
from fibrolab.data.media import View
from fibrolab.errors import UnreadableImageError

CONTAINERS = {"mov": "MP4", "avi": "AVI", "matroska": "Matroska"}
CODECS = {  # what a suffix is written with: codec, pixel format, quality
    ".mp4": ("libx264", "yuv420p", {"crf": "17", "preset": "veryfast"}),
    ".avi": ("mjpeg", "yuvj420p", {"qmin": "2", "qmax": "2"}),
    ".mkv": ("ffv1", "gray", {}),
}


def header(content: bytes, path: Path) -> Header:
    """See `readers.Format`; the film is played once, since only its frames tell how many there are."""
    return _watched(content, path, None)[0]


def inspect(content: bytes, path: Path, view: View) -> tuple[Header, np.ndarray]:
    """See `readers.Format`: RGB, or grey where the film is stored grey.

    The packets tell which frame is meant without decoding any; where they do not hold a frame each, the film
    is played again.
    """
    wanted = view.frame_of(_packets(content, path), path)
    facts, pixels = _watched(content, path, wanted)
    number = view.frame_of(facts.frames, path)
    if number != wanted or pixels is None:
        facts, pixels = _watched(content, path, number)
    assert pixels is not None
    return facts, pixels


def clip(content: bytes, path: Path) -> Clip:
    """See `readers.Format`: luma in full range. Frames at uneven times are kept as they are."""
    film = _Film(content, path)
    frames = stacked((film.pixels("gray") for _ in film.play()), path)
    return Clip(frames, film.header().fps)


def write(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write a film, whole or not at all.

    Args:
        path: Its suffix names container and codec: `.mp4` (H.264, H and W even), `.avi` (Motion JPEG) or
            `.mkv` (FFV1, grey, without loss).
        frames: uint8 (N, H, W) or (N, H, W, 3).
        fps: Frames a second.
    """
    codec, pixel_format, quality = CODECS[path.suffix]
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with av.open(draft, "w") as container:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=quality)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixel_format
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(pixels, format="gray" if pixels.ndim == 2 else "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class _Film:
    """A film while it is played: its present frame, and what is counted on the way."""

    def __init__(self, content: bytes, path: Path) -> None:
        _require_whole(content, path)
        self._content, self._path = content, path
        self._format = ""
        self._rate = 0.0
        self._times: list[float] = []  # [s], of the frames that tell
        self._count = 0
        self._frame: av.VideoFrame | None = None
        self._reformatter = VideoReformatter()  # kept: it would be set up anew for each frame

    def play(self) -> Iterator[int]:
        """Yield the frame numbers in order; `pixels` holds the current frame."""
        with av.open(io.BytesIO(self._content), "r") as container:
            stream = _stream(container, self._path)
            name = container.format.name.split(",")[0]
            self._format = f"{CONTAINERS.get(name, name)} {stream.codec_context.name}"
            self._rate = float(stream.average_rate or 0)
            for frame in container.decode(stream):
                self._accept(frame)
                yield self._count - 1
        if self._frame is None:
            raise UnreadableImageError(f"{self._path}: the film holds no frame")

    def pixels(self, pixel_format: str = "") -> np.ndarray:
        """Return the present frame upright, uint8 (H, W) for `gray`, else (H, W, 3)."""
        assert self._frame is not None
        shown = pixel_format or ("gray" if len(self._frame.format.components) == 1 else "rgb24")
        pixels = self._reformatter.reformat(self._frame, format=shown).to_ndarray()
        return np.rot90(pixels, self._frame.rotation // 90)

    def header(self) -> Header:
        """Return the properties that all frames have in common, after decoding."""
        frame = self._frame
        assert frame is not None
        sides = (frame.width, frame.height)
        width, height = sides[::-1] if frame.rotation % 180 else sides
        return Header(width, height, frame.format.name, self._format, self._count, self._fps())

    def _accept(self, frame: av.VideoFrame) -> None:
        if frame.is_corrupt:
            raise UnreadableImageError(f"{self._path}: truncated or damaged in frame {self._count}")
        before = self._frame
        if before is not None and (frame.width, frame.height) != (before.width, before.height):
            raise UnreadableImageError(
                f"{self._path}: its frames change their size, from {before.width} x {before.height} to "
                f"{frame.width} x {frame.height} pixels at frame {self._count}; cut the film there"
            )
        self._frame = frame
        self._count += 1
        if frame.time is not None:
            self._times.append(frame.time)

    def _fps(self) -> float:
        """Return the mean frame rate by the presentation times of frames, else the container's rate."""
        told = len(self._times) == self._count > 1 and self._times[-1] > self._times[0]
        return round((self._count - 1) / (self._times[-1] - self._times[0]), 2) if told else self._rate


def _watched(content: bytes, path: Path, wanted: int | None) -> tuple[Header, np.ndarray | None]:
    """Decode the header, and the wanted frame if the video has it."""
    film = _Film(content, path)
    kept = None
    for number in film.play():
        if number == wanted:
            kept = film.pixels()
    return film.header(), kept


def _packets(content: bytes, path: Path) -> int:
    """Yield the packets of the video, usually one frame each."""
    with av.open(io.BytesIO(content), "r") as container:
        count = sum(packet.size > 0 for packet in container.demux(_stream(container, path)))
    if not count:
        raise UnreadableImageError(f"{path}: the film holds no frame")
    return count


def _stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """Return the first video stream, decoded in one thread, since several files are decoded at once."""
    if not container.streams.video:
        raise UnreadableImageError(f"{path}: holds sound or text, but no film")
    stream = container.streams.video[0]
    require_scan(stream.width, stream.height, path)
    stream.codec_context.options = {"max_pixels": str(LARGEST_SCAN)}  # frames may be larger than is claimed
    stream.codec_context.thread_count = 1
    return stream


def _require_whole(content: bytes, path: Path) -> None:
    """Refuse a truncated video, which FFmpeg would play: the container says how long it should be."""
    if content[:4] == b"RIFF":
        end = _end_of_riff(content)
    elif content[:4] == b"\x1a\x45\xdf\xa3":
        end = _end_of_matroska(content)
    else:
        end = _end_of_boxes(content)
    if end > len(content):
        raise UnreadableImageError(f"{path}: truncated: {len(content)} of {end} bytes are there")


def _end_of_boxes(content: bytes) -> int:
    """Return where the last outer box of an MP4 should end (ISO/IEC 14496-12, 4.2)."""
    end = 0
    while content[end + 4 : end + 8].isalnum():  # a box's type; a film of another kind has none
        size = int.from_bytes(content[end : end + 4], "big")
        if size == 1:
            size = int.from_bytes(content[end + 8 : end + 16], "big")
        if size < 8:  # 0: to the end of the file
            break
        end += size
    return end


def _end_of_riff(content: bytes) -> int:
    """Return where the last list of an AVI should end; a long one has several."""
    end = 0
    while content[(start := end + end % 2) : start + 4] == b"RIFF":
        end = start + 8 + int.from_bytes(content[start + 4 : start + 8], "little")
    return end


def _end_of_matroska(content: bytes) -> int:
    """Return where the segment after the EBML header should end (RFC 8794); 0 where it was left open."""
    size, start = _vint(content, 4)
    place = start + size
    if content[place : place + 4] != b"\x18\x53\x80\x67":
        return place
    size, start = _vint(content, place + 4)
    unknown = size == 2 ** (7 * (start - place - 4)) - 1
    return 0 if unknown else start + size


def _vint(content: bytes, place: int) -> tuple[int, int]:
    """Read a number of variable length; return it and where it ends."""
    length = 9 - content[place].bit_length()
    value = int.from_bytes(content[place : place + length], "big")
    return value & (2 ** (7 * length) - 1), place + length
