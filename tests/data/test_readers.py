"""Readers: all pixel modes, the format by content, and no partly decoded image."""

import contextlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fibrolab.data.box import Box
from fibrolab.data.formats import pictures
from fibrolab.data.formats.contract import Header, to_grey
from fibrolab.data.media import View
from fibrolab.data.readers import OpenFile, decode, decode_clip, describe, read_image
from fibrolab.errors import UnreadableImageError

GREY = np.arange(48 * 32, dtype=np.uint32).reshape(48, 32).astype(np.uint8)


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def speckle(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 56), dtype=np.uint8))


def tiff_with(tag: int, value: int) -> bytes:
    """Return a TIFF one of whose tags has another value."""
    content = bytearray(encoded(Image.fromarray(GREY), "TIFF"))
    entry = content.index(tag.to_bytes(2, "little"), int.from_bytes(content[4:8], "little"))
    content[entry + 8 : entry + 10] = value.to_bytes(2, "little")
    return bytes(content)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_grey_image_has_the_same_levels_in_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(GREY).convert(mode).save(path)
    np.testing.assert_array_equal(to_grey(read_image(path)), GREY)
    assert read_image(path).shape == (GREY.shape if mode in ("L", "LA") else (*GREY.shape, 3))


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_image(tmp_path / "mask.png"), np.where(GREY > 100, 255, 0))


def test_sixteen_bits_have_the_same_scale_in_every_file(tmp_path: Path) -> None:
    levels = np.array([[0, 128, 257], [32896, 65278, 65535]], dtype=np.uint16)
    for suffix in (".png", ".tiff"):
        Image.fromarray(levels).save(tmp_path / f"deep{suffix}")
        np.testing.assert_array_equal(read_image(tmp_path / f"deep{suffix}"), [[0, 0, 1], [128, 254, 255]])


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    assert (read_image(tmp_path / "print.jpg") == 255).all()
    assert read_image(tmp_path / "print.jpg").shape == (8, 8, 3)


def test_transparent_pixels_are_black(tmp_path: Path) -> None:
    levels = np.full((8, 8, 4), 200, np.uint8)
    levels[:4, :, 3], levels[4:, :, 3] = 0, 255
    Image.fromarray(levels).save(tmp_path / "cut.png")
    np.testing.assert_array_equal(to_grey(read_image(tmp_path / "cut.png"))[:, 0], [0] * 4 + [200] * 4)


def test_the_camera_s_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.fromarray(GREY).save(tmp_path / "phone.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "phone.png"), np.rot90(GREY, -1))


def test_the_content_decides_the_format_and_not_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "scan.jpg").write_bytes(encoded(Image.fromarray(GREY), "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "scan.jpg"), GREY)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.png", b"", "empty"),
        ("notes.png", b"patient,stage\n1,F2\n", "text"),
        ("archive.png", b"PK\x03\x04\x00\x00" + bytes(40), "is ZIP, which is not read; convert"),
        (
            "brain.png",
            bytes(344) + b"ni1\x00" + bytes(40),
            "is a NIfTI header without its pixels, which is not",
        ),
        ("short.png", bytes(344) + b"n+1\x00" + bytes(40), "not supported"),
        ("cine.png", b"\x00\x00\x00\x01\x67\x64", "is a stream of H.264 or H.265 without the times"),
        ("strange.png", b"\x01\x02\x03\xff", "of an unknown format, beginning 01 02 03 ff"),
        ("lzma.tif", tiff_with(258, 99), "kind that is not supported"),
        ("header.png", b"\x89PNG\r\n\x1a\n\x00", "truncated"),
        ("half.jpg", encoded(speckle(), "JPEG")[:900], "truncated"),
        ("half.png", encoded(speckle())[:900], "truncated"),
        ("float.tiff", encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "floating-point"),
    ],
)
def test_a_file_that_is_not_a_whole_image_is_named_with_its_fault(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=rf"{name}: .*{sentence}"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("side", [8200, 14_000])
def test_an_image_with_too_many_pixels_is_refused(side: int) -> None:
    content = encoded(Image.new("1", (side, side)))
    with pytest.raises(UnreadableImageError, match=r"bomb\.png: .*ultrasound image"):
        decode(content, Path("bomb.png"))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"gone\.png: there is no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UnreadableImageError, match="is a folder, not a file"):
        read_image(tmp_path)


def test_what_is_no_file_or_has_no_end_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(2**41)  # two TiB, of which no byte is on the disk
    for name, sentence in (
        ("pipe.png", r"is a pipe \(FIFO\), not a file"),
        ("endless.png", "is a device, not a file"),
        ("long.png", "has 2,097,152 MiB; files of up to 2,048 MiB are read"),
    ):
        with pytest.raises(UnreadableImageError, match=rf"{name}: {sentence}"):
            read_image(tmp_path / name)


def test_a_fault_of_this_package_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_to_bytes", None)
    with pytest.raises(TypeError, match="not callable"):
        decode(encoded(speckle()), Path("scan.png"))


def test_a_png_with_much_text_and_a_large_profile_is_read() -> None:
    notes = PngInfo()
    notes.add_text("log", "x" * (3 * 2**20), zip=True)
    content = encoded(speckle(), pnginfo=notes, icc_profile=bytes(2 * 2**20))
    np.testing.assert_array_equal(decode(content, Path("noted.png")), np.asarray(speckle()))


def test_the_main_picture_of_a_phone_s_file_is_read() -> None:
    content = encoded(
        speckle(), "MPO", save_all=True, append_images=[speckle(1).resize((28, 20))], quality=95
    )
    header, pixels = OpenFile(Path("phone.jpg"), content).inspect()
    assert header == Header(56, 40, "L", "MPO", 1, 0.0, ())
    np.testing.assert_array_equal(pixels, decode(encoded(speckle(), "JPEG", quality=95), Path("main.jpg")))


def test_a_deep_tiff_is_read_at_its_depth_and_white_is_zero_is_inverted() -> None:
    levels = np.array([[0, 4095], [2048, 1000]], np.uint16)
    deep = encoded(Image.fromarray(levels), "TIFF")
    inverted = encoded(Image.fromarray(65535 - levels), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(decode(inverted, Path("x.tif")), decode(deep, Path("x.tif")))
    levels = levels // 16
    pairs = zip(levels.ravel()[::2].tolist(), levels.ravel()[1::2].tolist(), strict=True)
    packed = b"".join((first << 12 | second).to_bytes(3, "big") for first, second in pairs)
    tags = [(256, 2), (257, 2), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2), (279, 6)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    twelve = b"II*\0" + struct.pack("<I", 14) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    np.testing.assert_array_equal(decode(twelve, Path("x.tif")), np.rint(levels * 255 / 4095))


def animated(form: str, **options: object) -> bytes:
    frames = [speckle(seed) for seed in range(3)]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("form", ["GIF", "TIFF"])
def test_a_file_with_several_frames_is_not_read_as_its_first_frame(form: str) -> None:
    content = animated(form)
    with pytest.raises(UnreadableImageError, match="3 frames; choose one"):
        decode(content, Path("film"))
    for number, view in enumerate((View(0), View("middle"), View(2))):
        pixels = decode(content, Path("film"), view)
        np.testing.assert_array_equal(
            pixels if pixels.ndim == 2 else pixels[..., 0], np.asarray(speckle(number))
        )


def test_an_animated_image_is_a_clip_and_a_still_is_not() -> None:
    clip = decode_clip(animated("GIF", duration=40), Path("film.gif"))
    assert clip.fps == 25
    np.testing.assert_array_equal(clip.frames, [np.asarray(speckle(seed)) for seed in range(3)])
    with pytest.raises(UnreadableImageError, match=r"still\.png: holds one frame: a picture, not a clip"):
        decode_clip(encoded(speckle()), Path("still.png"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_the_header_is_that_of_the_whole_upright_image(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(GREY), form, exif=exif)
    header, pixels = OpenFile(Path("phone"), content).inspect(View(box=Box(1, 2, 10, 20)))
    assert header == describe(content, Path("phone")) == Header(48, 32, "L", form, 1, 0.0, ())
    assert pixels.shape == (20, 10)
    assert decode(content, Path("phone")).shape == (32, 48)


def test_a_view_cuts_its_rectangle_and_one_that_exceeds_the_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "scan.png")
    view = View(box=Box(3, 5, 7, 9))
    np.testing.assert_array_equal(to_grey(read_image(tmp_path / "scan.png", view)), GREY[5:14, 3:10])
    with pytest.raises(UnreadableImageError, match=r"scan\.png: the rectangle 30 5 7 9 .* exceeds the image"):
        read_image(tmp_path / "scan.png", View(box=Box(30, 5, 7, 9)))


def test_an_image_in_a_video_container_is_not_read_as_a_video() -> None:
    with pytest.raises(UnreadableImageError, match="is HEIC, which is not read; convert it"):
        decode(b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heic" + bytes(80), Path("phone.heic"))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), form=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]))
def test_a_truncated_file_raises_or_gives_the_whole_image(data: st.DataObject, form: str) -> None:
    content = encoded(speckle(), form)
    cut = content[: data.draw(st.integers(1, len(content) - 1))]
    try:
        pixels = decode(cut, Path("cut"))
    except UnreadableImageError:
        return
    np.testing.assert_array_equal(pixels, decode(content, Path("whole")))


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 2000), value=st.integers(0, 255), form=st.sampled_from(["PNG", "JPEG", "TIFF"]))
def test_a_damaged_byte_never_raises_anything_but_our_error(place: int, value: int, form: str) -> None:
    content = bytearray(encoded(speckle(), form))
    content[place % len(content)] = value
    with contextlib.suppress(UnreadableImageError):
        assert decode(bytes(content), Path("damaged")).dtype == np.uint8


@pytest.mark.parametrize("kind", [1, 4])
@pytest.mark.parametrize("at", [0, 1])
def test_previews_and_masks_in_a_tiff_are_no_frames(kind: int, at: int) -> None:
    scan, preview = Image.fromarray(GREY), Image.fromarray(GREY[::4, ::4].copy())
    first, second = (scan, preview) if at == 0 else (preview, scan)
    content = bytearray(
        encoded(first, "TIFF", save_all=True, append_images=[second], tiffinfo={254: kind})  # of both pages
    )
    directory = int.from_bytes(content[4:8], "little")
    for _ in range(at):
        end = directory + 2 + 12 * int.from_bytes(content[directory : directory + 2], "little")
        directory = int.from_bytes(content[end : end + 4], "little")
    entry = content.index((254).to_bytes(2, "little"), directory)
    content[entry + 8 : entry + 12] = bytes(4)
    header = describe(bytes(content), Path("a.tif"))
    assert (header.frames, header.width, header.height) == (1, 32, 48)
    np.testing.assert_array_equal(decode(bytes(content), Path("a.tif")), GREY)


def test_signed_levels_of_a_tiff_are_not_taken_for_unsigned_ones() -> None:
    signed = encoded(Image.fromarray(GREY), "TIFF", tiffinfo={339: 2})
    with pytest.raises(UnreadableImageError, match=r"not supported \(signed levels of 8 bits"):
        decode(signed, Path("a.tif"))


def test_pictures_in_jpeg_one_after_the_other_are_not_read_as_the_first() -> None:
    first, second = (encoded(speckle(seed), "JPEG") for seed in range(2))
    with pytest.raises(UnreadableImageError, match=r"not supported \(several pictures in JPEG.* to MP4"):
        decode(first + second, Path("film.mjpeg"))
    preview = encoded(speckle().resize((28, 20)), "JPEG")
    for behind in (preview, bytes(9), b"\xff\xd8\xff"):
        np.testing.assert_array_equal(decode(first + behind, Path("a.jpg")), decode(first, Path("a.jpg")))


def test_grey_planes_in_a_tiff_are_not_called_damaged() -> None:
    after = 8 + 2 + 10 * 12 + 4  # the values that do not fit into the directory
    tags = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 3, after), (259, 4, 1, 1), (262, 4, 1, 1)]
    tags += [(273, 4, 3, after + 6), (277, 4, 1, 3), (278, 4, 1, 4), (284, 4, 1, 2), (338, 3, 2, 0)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    places = struct.pack("<HHHIII", 8, 8, 8, *(after + 18 + 16 * plane for plane in range(3)))
    with pytest.raises(UnreadableImageError, match=r"a kind that is not supported \(planes of grey"):
        decode(b"II*\0" + struct.pack("<I", 8) + directory + places + bytes(48), Path("a.tif"))


def test_a_kind_of_jpeg_that_is_not_read_is_not_called_damaged() -> None:
    import imagecodecs

    deep = GREY.astype(np.uint16) * 16
    for frame, kind in (
        (imagecodecs.jpegls_encode(GREY), "JPEG-LS of 8 bits"),
        (imagecodecs.jpeg8_encode(deep, lossless=True, bitspersample=12), "lossless JPEG of 12 bits"),
        (imagecodecs.jpeg8_encode(deep, bitspersample=12), "JPEG of 12 bits"),
    ):
        with pytest.raises(UnreadableImageError, match=f"is {kind}, which is not supported outside DICOM"):
            decode(bytes(frame), Path("a.jpg"))
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode(encoded(speckle(), "JPEG")[:200], Path("a.jpg"))
