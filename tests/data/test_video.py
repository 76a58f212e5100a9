"""Films: true counts and levels, whole or refused, and one sentence for each way to be wrong."""

import contextlib
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fibrolab.data.box import Box
from fibrolab.data.formats import contract, video
from fibrolab.data.media import View
from fibrolab.data.readers import OpenFile, decode, decode_clip, describe
from fibrolab.errors import UnreadableImageError

PATH = Path("breath.mp4")
SUFFIXES = (".mp4", ".avi", ".mkv")


def scene(frames: int = 7, height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([(rows * 2 + columns * 2 + 5 * number) % 200 + 28 for number in range(frames)]).astype(
        np.uint8
    )


def written(folder: Path, suffix: str, frames: np.ndarray, fps: float = 20) -> bytes:
    path = folder / f"film{suffix}"
    video.write(path, frames, fps)
    return path.read_bytes()


def muxed(pictures: list[np.ndarray], times: list[int] | None = None, container: str = "avi") -> bytes:
    """Motion JPEG of any sizes at any times [1/10 s]."""
    stream_of_bytes = io.BytesIO()
    with av.open(stream_of_bytes, "w", format=container) as film:
        stream = film.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        film.start_encoding()
        for number, picture in enumerate(pictures):
            jpeg = io.BytesIO()
            Image.fromarray(picture).convert("RGB").save(jpeg, "JPEG")
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = times[number] if times else number
            packet.is_keyframe = True
            film.mux(packet)
    return stream_of_bytes.getvalue()


def turned(degrees: int) -> bytes:
    stream_of_bytes = io.BytesIO()
    picture = np.zeros((48, 64), np.uint8)
    picture[:24, :32] = 200
    with av.open(stream_of_bytes, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees)
        for _ in range(3):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        film.mux(stream.encode())
    return stream_of_bytes.getvalue()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_film_comes_back_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    frames = scene()
    clip = decode_clip(written(tmp_path, suffix, frames), PATH)
    assert clip.frames.shape == frames.shape
    assert clip.frames.dtype == np.uint8
    assert clip.fps == pytest.approx(20, rel=0.01)
    assert np.abs(clip.frames.astype(int) - frames).mean() < (0.01 if suffix == ".mkv" else 4)


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [
        ("mpeg", "mpeg1video", "MPEG mpeg1video"),
        ("mpegts", "mpeg2video", "MPEG-TS mpeg2video"),
        ("asf", "wmv2", "WMV wmv2"),
        ("mov", "mpeg4", "MP4 mpeg4"),
        ("flv", "flv", "FLV flv"),
        ("mxf", "mpeg2video", "MXF mpeg2video"),
        ("rm", "rv10", "RealMedia rv10"),
        ("yuv4mpegpipe", "rawvideo", "Y4M rawvideo"),
    ],
)
def test_a_film_is_read_in_the_container_that_it_came_in(container: str, codec: str, name: str) -> None:
    frames = scene()
    stored = io.BytesIO()
    with av.open(stored, "w", format=container) as film:
        stream = film.add_stream(
            {"flv1": "flv"}.get(codec, codec), rate=25, options={"qmin": "1", "qmax": "2"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for levels in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="gray")))
        film.mux(stream.encode())
    found = decode_clip(stored.getvalue(), PATH)
    assert found.frames.shape == frames.shape
    assert np.abs(found.frames.astype(int) - frames).mean() < 3
    assert found.fps == pytest.approx(25, rel=0.01)
    assert describe(stored.getvalue(), PATH).format == name


def test_black_is_0_and_white_is_255_whatever_range_a_film_is_stored_in(tmp_path: Path) -> None:
    frames = np.zeros((4, 32, 64), np.uint8)
    frames[:, :, 32:] = 255
    for suffix in SUFFIXES:
        clip = decode_clip(written(tmp_path, suffix, frames), PATH)
        assert clip.frames[2, 16, 8] <= 2, suffix
        assert clip.frames[2, 16, 56] >= 253, suffix


def test_the_header_tells_codec_size_rate_and_the_counted_frames(tmp_path: Path) -> None:
    content = written(tmp_path, ".mp4", scene(9), fps=25)
    assert describe(content, PATH) == contract.Header(64, 48, "yuv420p", "MP4 h264", 9, 25.0, ())
    assert describe(written(tmp_path, ".avi", scene(9)), PATH).format == "AVI mjpeg"
    assert describe(written(tmp_path, ".mkv", scene(9)), PATH).mode == "gray"


def test_a_rate_that_is_no_whole_number_is_kept(tmp_path: Path) -> None:
    assert decode_clip(written(tmp_path, ".mp4", scene(), 12.5), PATH).fps == 12.5


def test_colour_is_kept_for_a_picture_and_becomes_luma_in_a_clip(tmp_path: Path) -> None:
    red = np.zeros((4, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    content = written(tmp_path, ".mp4", red)
    assert np.abs(decode(content, PATH, View(0))[16, 16].astype(int) - [255, 0, 0]).max() <= 4
    assert decode_clip(content, PATH).frames[0, 16, 16] == pytest.approx(76, abs=3)  # BT.601


def test_the_colours_of_a_palette_are_kept_for_a_picture() -> None:
    indices = scene(3) // 4
    palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    palette[:, 1:] = np.random.default_rng(0).integers(0, 256, (256, 3))
    stored = io.BytesIO()
    with av.open(stored, "w", format="avi") as film:
        stream = film.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        for frame in indices:
            film.mux(stream.encode(av.VideoFrame.from_ndarray((frame, palette), format="pal8")))
        film.mux(stream.encode())
    found = decode(stored.getvalue(), PATH, View(1))
    np.testing.assert_array_equal(found, palette[indices[1]][..., 1:])
    clip = decode_clip(stored.getvalue(), PATH)
    assert np.abs(clip.frames[1].astype(int) - contract.to_grey(found)).max() <= 2


def test_a_view_takes_its_frame_and_its_rectangle(tmp_path: Path) -> None:
    frames = scene()
    content = written(tmp_path, ".mkv", frames)
    np.testing.assert_array_equal(decode(content, PATH, View("middle")), frames[3])
    np.testing.assert_array_equal(decode(content, PATH, View(6, Box(4, 8, 10, 12))), frames[6, 8:20, 4:14])
    header, pixels = OpenFile(PATH, content).inspect(View(0))
    assert header == describe(content, PATH)
    np.testing.assert_array_equal(pixels, frames[0])


def test_the_middle_is_that_of_the_frames_where_packets_hold_no_frame_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = scene()
    content = written(tmp_path, ".mkv", frames)
    for packets in (3, 20):
        monkeypatch.setattr(video, "_count_packets", lambda *_, packets=packets: packets)
        np.testing.assert_array_equal(decode(content, PATH, View("middle")), frames[3])


def test_a_film_is_not_taken_for_its_first_frame_nor_beyond_its_last(tmp_path: Path) -> None:
    content = written(tmp_path, ".mp4", scene())
    with pytest.raises(UnreadableImageError, match="7 frames; choose one"):
        decode(content, PATH)
    with pytest.raises(UnreadableImageError, match="no frame 7"):
        decode(content, PATH, View(7))


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_film_from_a_turned_camera_stands_upright(degrees: int) -> None:
    expected = np.zeros((48, 64), np.uint8)
    expected[:24, :32] = 200
    expected = np.rot90(expected, degrees // 90)
    clip = decode_clip(turned(degrees), PATH)
    assert clip.frames[0].shape == expected.shape
    assert np.abs(clip.frames[0].astype(int) - expected).mean() < 4
    assert describe(turned(degrees), PATH)[:2] == expected.shape[::-1]


def test_uneven_times_give_the_mean_rate() -> None:
    content = muxed(list(scene(4)), times=[0, 1, 5, 6], container="matroska")
    assert decode_clip(content, PATH).fps == pytest.approx(3 / 0.6, rel=0.01)


def test_a_film_of_one_frame_is_a_picture_and_no_clip(tmp_path: Path) -> None:
    content = written(tmp_path, ".mp4", scene(1))
    assert decode(content, PATH).shape == (48, 64, 3)
    with pytest.raises(UnreadableImageError, match="one frame: a picture, not a clip"):
        decode_clip(content, PATH)


def test_a_film_without_frames_or_without_pictures_is_named() -> None:
    with pytest.raises(UnreadableImageError, match=r"breath\.mp4: the video holds no frame"):
        decode_clip(muxed([]), PATH)
    sound = io.BytesIO()
    with av.open(sound, "w", format="matroska") as film:
        stream = film.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        film.mux(stream.encode(frame))
        film.mux(stream.encode())
    for read in (decode_clip, decode, describe):
        with pytest.raises(UnreadableImageError, match="sound or text, but no video"):
            read(sound.getvalue(), PATH)


def test_frames_that_change_their_size_are_refused_with_the_place() -> None:
    content = muxed([*scene(3), *scene(2, 32, 48)])
    with pytest.raises(UnreadableImageError, match="from 64 x 48 to 48 x 32 pixels at frame 3"):
        decode_clip(content, PATH)
    with pytest.raises(UnreadableImageError, match="change their size"):
        decode(content, PATH, View(0))


def test_a_film_that_is_no_film_is_named() -> None:
    for head in (b"\x00\x00\x00\x18ftypmp42", b"RIFF\x20\x00\x00\x00AVI ", b"\x1a\x45\xdf\xa3\x80"):
        with pytest.raises(UnreadableImageError, match=r"breath\.mp4: "):
            decode_clip(head + bytes(range(60)), PATH)


def test_frames_that_are_read_one_after_the_other_are_those_of_a_single_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(video, "_require_whole", lambda *_: decoded.append(1))
    content = written(tmp_path, ".avi", scene(9))
    expected, header = decode_clip(content, PATH).frames, describe(content, PATH)
    decoded.clear()
    film = OpenFile(PATH, content)
    for number in range(9):
        found, shown = film.inspect(View(number))
        assert found == header
        assert np.abs(contract.to_grey(shown).astype(int) - expected[number]).max() < 4
    assert len(decoded) == 2
    with pytest.raises(UnreadableImageError, match="has no frame 9"):
        film.inspect(View(9))


def test_a_film_beyond_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(tmp_path, ".mp4", scene(9))
    monkeypatch.setattr(contract, "LARGEST_CLIP", 5 * 48 * 64)
    with pytest.raises(UnreadableImageError, match="more than 5 frames of 64 x 48"):
        decode_clip(content, PATH)
    assert describe(content, PATH).frames == 9


def test_a_film_of_frames_larger_than_a_scan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = [np.zeros((1024, 1024), np.uint8)] * 2  # while the container says 64 x 48
    monkeypatch.setattr(video, "LARGEST_SCAN", 2**19)
    for read in (decode_clip, describe):
        with pytest.raises(UnreadableImageError, match=r"breath\.mp4: "):
            read(muxed(huge), PATH)
    monkeypatch.setattr(contract, "LARGEST_SCAN", 63 * 48)
    with pytest.raises(UnreadableImageError, match="64 x 48 pixels are too many for an ultrasound image"):
        describe(muxed(scene(2)), PATH)


def test_a_film_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(av.FFmpegError):
        video.write(tmp_path / "odd.mp4", scene(3, 33, 35), 10)  # H.264 takes even sides
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("films")
    films = {suffix: written(folder, suffix, scene(4, 32, 32)) for suffix in SUFFIXES}
    path = folder / "index_first.mp4"
    with av.open(path, "w", options={"movflags": "faststart"}) as film:
        video_stream = film.add_stream("libx264", rate=10)
        video_stream.width, video_stream.height, video_stream.pix_fmt = 32, 32, "yuv420p"
        for picture in scene(4, 32, 32):
            film.mux(video_stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        film.mux(video_stream.encode())
    return films | {"index first": path.read_bytes()}


@settings(max_examples=120, deadline=None)
@given(kind=st.sampled_from([*SUFFIXES, "index first"]), share=st.floats(0, 1, exclude_max=True))
@example(kind="index first", share=0.99)
@example(kind=".mkv", share=0.003)  # no more than the first four bytes
def test_a_cut_film_raises_or_gives_the_whole_film(films: dict[str, bytes], kind: str, share: float) -> None:
    content = films[kind]
    try:
        clip = decode_clip(content[: max(int(len(content) * share), 1)], PATH)
    except UnreadableImageError:
        return
    np.testing.assert_array_equal(clip.frames, decode_clip(content, PATH).frames)


@settings(max_examples=120, deadline=None)
@given(kind=st.sampled_from(SUFFIXES), place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_byte_never_raises_anything_but_our_error(
    films: dict[str, bytes], kind: str, place: int, value: int
) -> None:
    content = bytearray(films[kind])
    content[place % len(content)] = value
    with contextlib.suppress(UnreadableImageError):
        assert decode_clip(bytes(content), PATH).frames.dtype == np.uint8
