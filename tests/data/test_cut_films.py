"""Films that end too early: refused wherever the container tells it, never read as shorter ones."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fibrolab.data.formats.recognition import PACKET
from fibrolab.data.media import View
from fibrolab.data.readers import decode, decode_clip
from fibrolab.errors import UnreadableImageError

PATH = Path("breath")
FRAMES = np.kron(np.random.default_rng(0).integers(30, 226, (6, 4, 4)), np.ones((8, 8), int)).astype(np.uint8)
CUTS = 120  # lengths that are tried of each film


def film(container: str, codec: str, **options: str) -> bytes:
    stored = io.BytesIO()
    with av.open(stored, "w", format=container, options=options) as written:
        stream = written.add_stream(codec, rate=25, options={"g": "1"})
        stream.width = stream.height = 32
        stream.pix_fmt = "gray" if codec == "ffv1" else "yuv420p"
        for levels in FRAMES:
            written.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="gray")))
        written.mux(stream.encode())
    return stored.getvalue()


def silent(content: bytes, lengths: list[int]) -> list[int]:
    """Return the lengths at which a film is read and has fewer frames; it begins as the whole one."""
    whole, found = decode_clip(content, PATH).frames, []
    for length in lengths:
        try:
            frames = decode_clip(content[:length], PATH).frames
        except UnreadableImageError:
            continue
        np.testing.assert_array_equal(frames, whole[: len(frames)])
        if len(frames) < len(whole):
            found.append(length)
    return found


def lengths(content: bytes) -> list[int]:
    return list(range(1, len(content), max(1, len(content) // CUTS)))


def ends_of_packets(content: bytes) -> list[int]:
    with av.open(io.BytesIO(content)) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
    return [packet.pos + packet.size for packet in packets if packet.pos]


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("avi", "mpeg4"),
        ("mp4", "mpeg4"),
        ("matroska", "ffv1"),
        ("asf", "wmv2"),
        ("flv", "flv"),
        ("mxf", "mpeg2video"),
    ],
)
def test_a_film_whose_container_states_its_size_is_never_read_as_a_shorter_one(
    container: str, codec: str
) -> None:
    content = film(container, codec)
    assert len(decode_clip(content, PATH).frames) == len(FRAMES)
    cuts = {*lengths(content), *(end for end in ends_of_packets(content) if end < len(content))}
    assert silent(content, sorted(cuts)) == []


def test_a_matroska_without_its_size_is_read_as_shorter_only_where_it_ends_between_two_frames() -> None:
    content = film("matroska", "ffv1", live="1")
    ends = [content.find(b"\xa3", end) for end in ends_of_packets(content)]  # of a block, with its header
    assert len(decode_clip(content, PATH).frames) == len(FRAMES)
    found = silent(content, list(range(400, len(content))))
    assert 0 < len(found) < len(FRAMES)
    assert set(found) <= {*ends, *ends_of_packets(content)}


def test_a_transport_stream_that_ends_within_a_packet_is_truncated() -> None:
    content = film("mpegts", "mpeg2video")
    assert len(decode_clip(content, PATH).frames) == len(FRAMES)
    assert len(content) % PACKET == 0
    cuts = [length for length in lengths(content) if length % PACKET]
    assert silent(content, cuts) == []
    with pytest.raises(
        UnreadableImageError, match=rf"truncated: it has {len(content) - 1} of {len(content)} b"
    ):
        decode_clip(content[:-1], PATH)
    assert len(decode_clip(content + b"end", PATH).frames) == len(FRAMES)


def test_a_program_stream_that_ends_within_a_packet_is_truncated() -> None:
    content = film("mpeg", "mpeg1video")
    padding = len(content) - len(content[:-4].rstrip(b"\xff")) - 4  # of the last pack
    assert len(decode_clip(content, PATH).frames) == len(FRAMES)
    assert (
        silent(content, [length for length in lengths(content) if length < len(content) - padding - 8]) == []
    )


def gif(frames: int, **more: object) -> bytes:
    stored = io.BytesIO()
    first, *others = [Image.fromarray(levels) for levels in FRAMES[:frames]]
    first.save(stored, "GIF", save_all=True, append_images=others, duration=40, **more)
    return stored.getvalue()


@pytest.mark.parametrize("frames", [1, 3])
def test_a_gif_without_its_trailer_is_truncated(frames: int) -> None:
    content = gif(frames, loop=0, comment=b"a;b")
    assert content.endswith(b";")
    view = View(0) if frames > 1 else View()
    shown = [decode(content + rest, PATH, view) for rest in (b"", b"\0\0", b"more")]
    assert all((each == shown[0]).all() for each in shown)
    for length in range(40, len(content)):
        with pytest.raises(UnreadableImageError, match="breath: truncated"):
            decode(content[:length], PATH, view)
