"""Films as cameras and scanners write them: mirrored, full range, deep, of odd sides; to the level."""

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from fibrolab.data.media import View
from fibrolab.data.readers import decode, decode_clip, describe
from fibrolab.errors import UnreadableImageError

PATH = Path("film")
GREY = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
GREY[:8, :8] = 255
FRAMES = np.stack([np.roll(GREY, 8 * number, axis=1) for number in range(5)])
LIMITED, FULL = 1, 2  # FFmpeg's AVColorRange
EXACT = {"crf": "0"}


def film(
    frames: list[av.VideoFrame],
    container: str = "mp4",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    prepare: Callable[[av.VideoStream], None] | None = None,
) -> bytes:
    """Write frames without loss, in their own pixel format, range and colour space."""
    stored, first = io.BytesIO(), frames[0]
    with av.open(stored, "w", format=container) as written:
        stream = written.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        stream.codec_context.color_range, stream.codec_context.colorspace = (
            first.color_range,
            first.colorspace,
        )
        if prepare:
            prepare(stream)
        for frame in frames:
            written.mux(stream.encode(frame))
        written.mux(stream.encode())
    return stored.getvalue()


def luma(levels: np.ndarray, color_range: int, pixel_format: str = "yuv420p") -> av.VideoFrame:
    """Return a frame with this luma and without colour."""
    deep = pixel_format.endswith("le")
    frame = av.VideoFrame(levels.shape[1], levels.shape[0], pixel_format)
    for number, plane in enumerate(frame.planes):
        values = np.full(
            (plane.height, plane.line_size // (1 + deep)), 512 if deep else 128, "u2" if deep else "u1"
        )
        if number == 0:
            values[:, : levels.shape[1]] = levels
        plane.update(values.tobytes())
    frame.color_range = color_range
    return frame


def limited(levels: np.ndarray, bits: int = 8) -> np.ndarray:
    scale = 2 ** (bits - 8)
    return np.rint(16 * scale + levels * (219 * scale / 255))


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_both_ranges_of_luma_are_0_to_255(container: str, color_range: int) -> None:
    stored = FRAMES if color_range == FULL else limited(FRAMES)
    content = film([luma(levels, color_range) for levels in stored], container, options=EXACT)
    tolerance = 0 if color_range == FULL else 1
    np.testing.assert_allclose(decode_clip(content, PATH).frames.astype(int), FRAMES, atol=tolerance)
    shown = decode(content, PATH, View(1)).astype(int)
    np.testing.assert_allclose(shown, np.stack([FRAMES[1]] * 3, axis=-1), atol=tolerance)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_grey_has_the_scale_of_eight_bits(bits: int) -> None:
    stored = (FRAMES.astype(np.uint32) * 257 >> (16 - bits)).astype(np.uint16)
    content = film([luma(levels, FULL, f"gray{bits}le") for levels in stored], "matroska", "ffv1")
    np.testing.assert_array_equal(decode_clip(content, PATH).frames, FRAMES)
    np.testing.assert_array_equal(decode(content, PATH, View(2)), FRAMES[2])


def test_ten_bits_of_a_phone_have_the_scale_of_eight() -> None:
    frames = [luma(levels, LIMITED, "yuv420p10le") for levels in limited(FRAMES, 10)]
    content = film(frames, codec="libx265", options={"x265-params": "lossless=1:log-level=0"})
    np.testing.assert_allclose(decode_clip(content, PATH).frames.astype(int), FRAMES, atol=1)


@pytest.mark.parametrize("space", [1, 5], ids=["BT.709", "BT.601"])
def test_colours_are_those_of_the_space_that_the_film_states(space: int) -> None:
    colours = np.kron(np.random.default_rng(1).integers(0, 256, (3, 4, 3)), np.ones((16, 16, 1), int)).astype(
        "u1"
    )
    stored = av.VideoFrame.from_ndarray(colours, format="rgb24").reformat(
        format="yuv444p", dst_colorspace=space, dst_color_range=LIMITED
    )
    stored.colorspace, stored.color_range = space, LIMITED
    content = film([stored] * 3, "matroska", options=EXACT)
    np.testing.assert_allclose(decode(content, PATH, View(1)).astype(int), colours, atol=1)


def test_odd_sides_are_kept() -> None:
    content = film([luma(GREY[:47, :63], FULL)] * 3, "matroska", "ffv1")
    np.testing.assert_array_equal(decode_clip(content, PATH).frames, np.stack([GREY[:47, :63]] * 3))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("across", "down"), [(False, False), (True, False), (False, True)])
def test_a_film_of_a_camera_that_turns_and_mirrors_is_shown_as_it_says(
    degrees: int, across: bool, down: bool
) -> None:
    def turn(stream: av.VideoStream) -> None:
        stream.set_display_rotation(degrees, hflip=across, vflip=down)

    content = film([luma(levels, FULL) for levels in FRAMES], options=EXACT, prepare=turn)
    expected = np.rot90(FRAMES, degrees // 90, axes=(1, 2))
    expected = expected[:, :: -1 if down else 1, :: -1 if across else 1]
    np.testing.assert_array_equal(decode_clip(content, PATH).frames, expected)
    np.testing.assert_array_equal(decode(content, PATH, View(3))[..., 0], expected[3])
    header = describe(content, PATH)
    assert (header.height, header.width) == expected.shape[1:]


def test_a_still_picture_in_an_mp4_of_sound_is_no_film() -> None:
    stored = io.BytesIO()
    with av.open(stored, "w", format="mp4") as written:
        sound = written.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        written.mux(sound.encode(frame))
        written.mux(sound.encode())
    with pytest.raises(UnreadableImageError, match="film: holds sound or text, but no video"):
        decode_clip(stored.getvalue(), PATH)
