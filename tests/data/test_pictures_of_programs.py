"""Pictures as other programs write them: planes, tiles, depths, animations, Netpbm; to the level."""

import io
from pathlib import Path

import av
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import View
from fibrolab.data.readers import decode, decode_clip, describe
from fibrolab.errors import UnreadableImageError

PATH = Path("scan")
GREY = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
GREY[0, :2] = 0, 255
COLOURS = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
DEEP = COLOURS.astype(np.uint16) * 257


def tiff(levels: np.ndarray, **how: object) -> bytes:
    stored = io.BytesIO()
    tifffile.imwrite(stored, levels, **how)
    return stored.getvalue()


def saved(picture: Image.Image, form: str, **how: object) -> bytes:
    stored = io.BytesIO()
    picture.save(stored, form, **how)
    return stored.getvalue()


def by_plane(levels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(levels, -1, 0))


RGB = {"photometric": "rgb"}
PLANES = {**RGB, "planarconfig": "separate"}


@pytest.mark.parametrize(
    "content",
    [
        tiff(by_plane(COLOURS), **PLANES),
        tiff(by_plane(COLOURS), **PLANES, compression="lzw"),
        tiff(by_plane(COLOURS), **PLANES, tile=(16, 16)),
        tiff(by_plane(DEEP), **PLANES, compression="zlib"),
        tiff(DEEP, **RGB),
        tiff(DEEP, **RGB, byteorder=">"),
        tiff(DEEP, **RGB, compression="zlib", predictor=True),
        tiff(np.dstack([COLOURS, 0 * GREY]), **RGB, extrasamples=["unspecified"]),
        tiff(COLOURS, **RGB, bigtiff=True),
        imagecodecs.png_encode(DEEP),
        b"P6 64 48 65535\n" + DEEP.astype(">u2").tobytes(),
    ],
)
def test_colours_by_plane_in_tiles_and_of_16_bits_are_read_as_written(content: bytes) -> None:
    np.testing.assert_array_equal(decode(content, PATH), COLOURS)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_uncompressed_planes_of_16_bits_are_refused(byteorder: str) -> None:
    """Pillow takes the bytes of one plane for the levels of several, without a word."""
    content = tiff(by_plane(DEEP), **PLANES, byteorder=byteorder)
    with pytest.raises(UnreadableImageError, match=r"not supported \(uncompressed planes of 16-bit colours"):
        decode(content, PATH)


@pytest.mark.parametrize(
    "content",
    [
        tiff(GREY.astype(np.uint16) * 257, compression="zlib", predictor=True),
        tiff(GREY.astype(np.uint16) * 257, byteorder=">", tile=(16, 16)),
        tiff(GREY.astype(np.uint16) * 16 + GREY // 16, bitspersample=12),
        tiff(GREY, photometric="palette", colormap=np.stack([np.arange(256) * 257] * 3).astype(np.uint16)),
        tiff(255 - GREY, photometric="miniswhite"),
        tiff(np.dstack([GREY, 0 * GREY]), photometric="minisblack", extrasamples=["unspecified"]),
        tiff(np.rot90(GREY), extratags=[(274, "H", 1, 6, True)]),
        tiff(GREY[::-1].astype(np.uint16) * 257, extratags=[(274, "H", 1, 4, True)]),
        imagecodecs.png_encode(np.dstack([GREY, 255 + 0 * GREY]).astype(np.uint16) * 257),
        b"P5\n# made by a program\n64 48 4095\n"
        + (GREY * np.uint16(16) + GREY // 16).astype(">u2").tobytes(),
        saved(
            Image.fromarray(GREY[:, ::-1]),
            "PNG",
            exif=bytes.fromhex("4d4d002a000000080001011200030000000100020000"),
        ),
    ],
)
def test_grey_of_every_depth_turned_and_mirrored_is_read_as_written(content: bytes) -> None:
    np.testing.assert_array_equal(to_grey(decode(content, PATH)), GREY)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_compressed_colours_of_a_tiff_equal_those_of_another_reader(subsampling: tuple[int, int]) -> None:
    for how in ({"photometric": "ycbcr", "subsampling": subsampling}, {**RGB, "tile": (16, 16)}):
        content = tiff(COLOURS, compression="jpeg", **how)
        np.testing.assert_array_equal(decode(content, PATH), tifffile.imread(io.BytesIO(content)))


@pytest.mark.parametrize("form", ["jp2", "j2k"])
@pytest.mark.parametrize("bits", [9, 10, 12, 16])
def test_deep_jpeg_2000_keeps_white_white(bits: int, form: str) -> None:
    """Pillow rounds the highest levels of colours up to 256, which is 0."""
    levels = (COLOURS.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    for pixels, expected in ((levels, COLOURS), (levels[..., 0], GREY)):
        content = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat=form, bitspersample=bits)
        np.testing.assert_array_equal(decode(content, PATH), expected)


def test_deep_jpeg_2000_with_transparency_is_refused() -> None:
    content = imagecodecs.jpeg2k_encode(
        np.dstack([DEEP, DEEP[..., 0]]), level=0, codecformat="jp2", bitspersample=16
    )
    with pytest.raises(UnreadableImageError, match="with transparency of more than 8 bits"):
        decode(content, PATH)


def test_deep_jpeg_2000_in_ycbcr_is_refused() -> None:
    content = imagecodecs.jpeg2k_encode(DEEP, level=0, codecformat="jp2", bitspersample=16)
    assert content.count(b"colr\x01\0\0\0\0\0\x10") == 1
    with pytest.raises(UnreadableImageError, match="JPEG 2000 in YCbCr"):
        decode(content.replace(b"colr\x01\0\0\0\0\0\x10", b"colr\x01\0\0\0\0\0\x12"), PATH)


def test_pages_of_other_sizes_are_pictures_and_no_clip() -> None:
    stored = io.BytesIO()
    with tifffile.TiffWriter(stored) as written:
        written.write(GREY)
        written.write(GREY[:24, :32])
    np.testing.assert_array_equal(decode(stored.getvalue(), PATH, View(1)), GREY[:24, :32])
    with pytest.raises(
        UnreadableImageError, match="no clip, since its frames change their size, from 64 x 48 to 32"
    ):
        decode_clip(stored.getvalue(), PATH)


def test_a_smaller_level_of_a_pyramid_is_no_frame() -> None:
    stored = io.BytesIO()
    with tifffile.TiffWriter(stored) as written:
        written.write(GREY, subifds=1)
        written.write(GREY[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(decode(stored.getvalue(), PATH), GREY)


def test_several_pictures_in_pgm_are_not_read_as_the_first() -> None:
    one = b"P5 64 48 255\n" + GREY.tobytes()
    np.testing.assert_array_equal(decode(one + b"\n", PATH), GREY)
    deep = b"P5 64 48 4095\n" + (GREY.astype(">u2") * 16).tobytes()
    for content in (one + one, deep + b"\n" + deep):
        with pytest.raises(UnreadableImageError, match=r"several pictures in PGM or PPM one after the other"):
            decode(content, PATH)


FRAMES = [GREY, GREY.copy(), GREY.copy()]
FRAMES[1][10:20, 10:20] = 0
FRAMES[2][30:40, 5:60] = 255


def animation(form: str, **how: object) -> bytes:
    first, *others = map(Image.fromarray, FRAMES)
    return saved(first, form, save_all=True, append_images=others, **how)


def test_frames_of_a_gif_that_hold_only_changes_are_whole() -> None:
    content = animation("GIF", duration=40, optimize=True)
    with av.open(io.BytesIO(content)) as opened:  # FFmpeg as the other reader
        others = [frame.to_ndarray(format="gray") for frame in opened.decode(video=0)]
    assert len(content) < 3 * len(saved(Image.fromarray(GREY), "GIF"))
    np.testing.assert_array_equal(decode_clip(content, PATH).frames, others)
    np.testing.assert_array_equal(others, FRAMES)


@pytest.mark.parametrize(("form", "how"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_the_rate_of_an_animation_is_the_mean_over_its_frames(form: str, how: dict) -> None:
    content = animation(form, duration=[40, 400, 40], **how)
    clip = decode_clip(content, PATH)
    np.testing.assert_array_equal(clip.frames, FRAMES)
    assert clip.fps == describe(content, PATH).fps == pytest.approx(3 / 0.48)
    assert describe(animation(form, duration=40, **how), PATH).fps == pytest.approx(25)


def test_the_still_that_stands_for_an_animated_png_is_none_of_its_frames() -> None:
    still = Image.fromarray(255 - GREY)
    content = saved(
        still,
        "PNG",
        save_all=True,
        append_images=list(map(Image.fromarray, FRAMES)),
        duration=40,
        default_image=True,
    )
    np.testing.assert_array_equal(decode_clip(content, PATH).frames, FRAMES)
    assert describe(content, PATH).frames == 3
    np.testing.assert_array_equal(decode(content, PATH, View(0)), FRAMES[0])
