"""DICOM: all photometric interpretations and transfer syntaxes on one grey scale, headers and frames."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_case import (
    LEVELS,
    LOSSLESS_JPEG,
    LOSSLESS_LEVELS,
    MR,
    PATH,
    STRIPES,
    dataset,
    lut,
    packaged,
    saved,
    shown,
)
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
)

from fibrolab.data.box import Box
from fibrolab.data.formats import dicom, video
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import View
from fibrolab.data.readers import OpenFile, decode, decode_clip, describe, read_image
from fibrolab.errors import UnreadableImageError


def test_empty_elements_count_as_absent_ones() -> None:
    levels = LEVELS.astype(np.uint8)
    empty = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "HighBit", "PlanarConfiguration")
    np.testing.assert_array_equal(shown(levels, **dict.fromkeys(empty)), levels)
    np.testing.assert_array_equal(shown(levels, RescaleSlope="-1", RescaleIntercept=None), 255 - levels)
    with pytest.raises(UnreadableImageError, match="header lacks BitsStored"):
        shown(levels, BitsStored=None)


def test_a_missing_planar_configuration_is_by_pixel() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    scan = dataset(levels)
    del scan.PlanarConfiguration
    np.testing.assert_array_equal(decode(saved(scan), PATH), levels)


def test_the_interpretation_is_read_in_any_case() -> None:
    levels = LEVELS.astype(np.uint8)
    np.testing.assert_array_equal(shown(levels, PhotometricInterpretation="monochrome1 "), 255 - levels)


def test_eight_bits_are_read_as_they_are() -> None:
    levels = LEVELS.astype(np.uint8)
    np.testing.assert_array_equal(shown(levels), levels)
    np.testing.assert_array_equal(shown(levels, PhotometricInterpretation="MONOCHROME1"), 255 - levels)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_range_of_the_stored_bits_is_the_range_of_grey(bits: int) -> None:
    levels = np.linspace(0, 2**bits - 1, 48 * 32).reshape(48, 32).astype(np.uint16)
    expected = np.rint(levels * 255.0 / (2**bits - 1))
    np.testing.assert_array_equal(shown(levels, BitsStored=bits, HighBit=bits - 1), expected)


def test_a_dark_scan_stays_darker_than_a_bright_one() -> None:
    dark, bright = (np.full((8, 8), level, np.uint16) for level in (1000, 3000))
    assert (shown(dark, BitsStored=12, HighBit=11) == 62).all()
    assert (shown(bright, BitsStored=12, HighBit=11) == 187).all()


def test_signed_levels_keep_zero_in_the_middle() -> None:
    levels = np.array([[-32768, -128, 0, 32767]], np.int16)
    np.testing.assert_array_equal(shown(levels), [[0, 127, 128, 255]])


def test_a_falling_slope_turns_black_and_white() -> None:
    levels = LEVELS.astype(np.uint8)
    np.testing.assert_array_equal(shown(levels, RescaleSlope=-2, RescaleIntercept=7), 255 - levels)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # centre 100, width 51: by hand from PS3.3, C.11.2.1.2 and C.11.2.1.3
        ("LINEAR", lambda x: ((x - 99.5) / 50 + 0.5) * 255),
        ("LINEAR_EXACT", lambda x: ((x - 100) / 51 + 0.5) * 255),
        ("SIGMOID", lambda x: 255 / (1 + np.exp(-4 * (x - 100) / 51))),
    ],
)
def test_a_window_is_applied_as_in_the_standard(function: str, expected) -> None:
    levels = np.arange(0, 256, dtype=np.uint8)[None]
    window = {"WindowCenter": [100, 30], "WindowWidth": [51, 20], "VOILUTFunction": function}
    found = shown(levels, **window).astype(float)
    assert np.abs(found - np.clip(expected(levels.astype(float)), 0, 255)).max() <= 0.5 + 1e-9


def test_a_window_is_applied_after_rescaling() -> None:
    levels = np.array([[0, 12, 20, 30]], np.uint16)
    found = shown(levels, RescaleSlope=10, RescaleIntercept=-100, WindowCenter=0.5, WindowWidth=201)
    np.testing.assert_array_equal(found, [[0, 153, 255, 255]])


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_the_functional_groups_of_an_enhanced_object_are_applied(groups: str) -> None:
    window, rescale, group = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 256, 512, "LINEAR_EXACT"
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, 0
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = [window], [rescale]
    levels = np.array([[0, 64], [128, 256]], np.uint16)
    assert shown(levels, **{groups: pydicom.Sequence([group])}).tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize("slope", ["0", "nan"])
def test_a_header_that_leaves_no_grey_levels_is_refused(slope: str) -> None:
    content = saved(dataset(LEVELS.astype(np.uint8), RescaleSlope="1.5", RescaleIntercept="0"))
    with pytest.raises(UnreadableImageError, match="gives a display range from"):
        decode(content.replace(b"1.5 ", slope.encode().ljust(4)), PATH)


def test_a_window_without_width_is_ignored() -> None:
    levels = LEVELS.astype(np.uint8)
    np.testing.assert_array_equal(shown(levels, WindowCenter=40, WindowWidth=0), levels)
    np.testing.assert_array_equal(shown(levels, WindowCenter=None, WindowWidth=None), levels)


def test_a_table_of_levels_is_applied() -> None:
    levels = np.array([[0, 1, 2, 3]], np.uint8)
    found = shown(levels, VOILUTSequence=lut([0, 4095, 1000, 500], 0, 12))
    np.testing.assert_array_equal(found, np.rint(np.array([[0, 4095, 1000, 500]]) * 255 / 4095))


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_palette_is_applied(dtype: type, top: int) -> None:
    colours = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]) * top
    names = ("Red", "Green", "Blue")
    tables = {
        f"{name}PaletteColorLookupTableDescriptor": [4, 0, 8 * np.dtype(dtype).itemsize] for name in names
    }
    tables |= {
        f"{name}PaletteColorLookupTableData": colours[:, k].astype(dtype).tobytes()
        for k, name in enumerate(names)
    }
    levels = np.array([[0, 1], [2, 3]], np.uint8)
    found = shown(levels, PhotometricInterpretation="PALETTE COLOR", **tables)
    np.testing.assert_array_equal(found, (colours * 255 // top)[levels])


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("form", ["bytes", "words", "bytes in words"])
def test_a_palette_is_read_by_its_entries_and_not_by_its_descriptor(form: str, little: bool) -> None:
    rng = np.random.default_rng(0)
    top = 65535 if form == "words" else 255
    colours = rng.integers(0, top + 1, (256, 3))
    colours[0] = top
    stored = np.uint8 if form == "bytes" else np.dtype(np.uint16).newbyteorder("<" if little else ">")
    tables = {}
    for k, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = colours[:, k].astype(stored).tobytes()
    levels = rng.integers(0, 256, (8, 12), dtype=np.uint8)
    scan = dataset(levels, PhotometricInterpretation="PALETTE COLOR", **tables)
    if not little:
        scan.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        scan["PixelData"].VR = "OB"
    found = decode(saved(scan), PATH)
    np.testing.assert_array_equal(found, np.rint(colours * 255 / top)[levels])


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_is_read_by_pixel_and_by_plane(planar: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(levels.transpose(2, 0, 1)) if planar else levels
    scan = dataset(levels, PlanarConfiguration=planar, PixelData=stored.tobytes())
    np.testing.assert_array_equal(decode(saved(scan), PATH), levels)


def test_a_grey_image_saved_as_ybr_gives_the_same_levels() -> None:
    grey = LEVELS.astype(np.uint8)
    ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=2)
    np.testing.assert_array_equal(to_grey(shown(ybr, PhotometricInterpretation="YBR_FULL")), grey)


@pytest.mark.parametrize("name", MR)
def test_a_scan_reads_the_same_in_every_lossless_syntax(name: str) -> None:
    raw = np.frombuffer(pydicom.dcmread(packaged("MR_small.dcm")).PixelData, "<i2").reshape(64, 64)
    expected = np.clip(np.rint(((raw - 599.5) / 1599 + 0.5) * 255), 0, 255)  # its window: 600, 1600
    np.testing.assert_array_equal(read_image(packaged("MR_small.dcm")), expected)
    np.testing.assert_array_equal(read_image(packaged(f"MR_small_{name}.dcm")), expected)


@pytest.mark.parametrize(
    "name",
    [
        *(f"dcmtk_+eb+{how}" for how in ("cr", "cy+n1", "cy+n2", "cy+np", "cy+s2", "cy+s4")),
        *("gdcm_KY", "jpeg_dcmtk", "jpeg_gdcm", "jpeg_lossy_gdcm", "rle_16bit", "rle_32bit"),
    ],
)
def test_colours_are_the_same_in_every_syntax_and_interpretation(name: str) -> None:
    expected = pydicom.dcmread(packaged(STRIPES)).pixel_array.astype(int)
    inner = (slice(5, 95, 10), slice(10, 90))  # the middle of the stripes, away from compression artefacts
    found = read_image(packaged(f"SC_rgb_{name}.dcm")).astype(int)
    assert np.abs(found[inner] - expected[inner]).max() <= 5


def test_uncompressed_subsampled_colour_is_upsampled() -> None:
    expected = pydicom.dcmread(packaged(STRIPES)).pixel_array.astype(int)
    found = read_image(packaged("SC_ybr_full_422_uncompressed.dcm")).astype(int)
    assert np.abs(found - expected).mean() < 2


def test_reversible_colour_of_jpeg_2000_is_turned_into_rgb() -> None:
    half = read_image(packaged("examples_rgb_color.dcm")).astype(int)  # the same image at half the size
    whole = read_image(packaged("examples_jpeg2k.dcm"))
    shrunk = np.asarray(Image.fromarray(whole).reduce(2), int)
    assert np.abs(shrunk - half).mean(axis=(0, 1)).max() < 3
    for colour in range(3):
        assert np.corrcoef(shrunk[..., colour].ravel(), half[..., colour].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_sixteen_bits_of_lossless_jpeg_are_read_to_the_last(syntax: pydicom.uid.UID) -> None:
    window = {"WindowCenter": 39873 + 128, "WindowWidth": 256}  # differences of one level are visible
    scan = dataset(LOSSLESS_LEVELS.astype(np.uint16), **window)
    scan.file_meta.TransferSyntaxUID = syntax
    scan.PixelData = encapsulate([bytes.fromhex(LOSSLESS_JPEG)])
    np.testing.assert_array_equal(decode(saved(scan), PATH), LOSSLESS_LEVELS - 39873)


def test_jpeg_2000_in_a_jp2_file_is_refused_before_it_can_hang() -> None:
    with pytest.raises(UnreadableImageError, match="no JP2 header"):
        read_image(packaged("GDCMJ2K_TextGBR.dcm"))


def test_frames_of_a_clip_are_those_of_its_jpegs() -> None:
    path = packaged("examples_ybr_color.dcm")
    scan = pydicom.dcmread(path)
    jpegs = list(generate_frames(scan.PixelData, number_of_frames=30))
    for number in (0, 15, 29):
        expected = np.asarray(Image.open(io.BytesIO(jpegs[number])).convert("L"), int)
        assert np.abs(to_grey(read_image(path, View(number))).astype(int) - expected).max() <= 3
    clip = decode_clip(path.read_bytes(), path)
    assert clip.frames.shape == (30, 240, 320)
    assert clip.fps == pytest.approx(30, rel=1e-3)
    np.testing.assert_array_equal(clip.frames[15], to_grey(read_image(path, View("middle"))))


def test_a_clip_needs_a_frame_number_and_an_image_is_not_a_clip() -> None:
    film = saved(dataset(np.zeros((3, 8, 8), np.uint8), NumberOfFrames=3))
    with pytest.raises(UnreadableImageError, match="3 frames; choose one"):
        decode(film, PATH)
    with pytest.raises(UnreadableImageError, match="no frame 3"):
        decode(film, PATH, View(3))
    with pytest.raises(UnreadableImageError, match="one frame: a picture, not a clip"):
        decode_clip(saved(dataset(LEVELS.astype(np.uint8))), PATH)


def test_a_clip_compressed_as_one_video_stream_is_decoded(tmp_path: Path) -> None:
    frames = np.stack([np.full((32, 48), 40 * number, np.uint8) for number in range(1, 6)])
    video.write(tmp_path / "film.mp4", frames, 10)
    scan = dataset(frames, NumberOfFrames=5, PhotometricInterpretation="YBR_PARTIAL_420", CineRate=12)
    scan.file_meta.TransferSyntaxUID = MPEG4HP41
    scan.PixelData = encapsulate([(tmp_path / "film.mp4").read_bytes()])
    clip = decode_clip(saved(scan), PATH)
    assert np.abs(clip.frames.astype(int) - frames).max() <= 4
    assert clip.fps == 12
    header, pixels = OpenFile(PATH, saved(scan)).inspect(View("middle"))
    assert header[2:6] == ("YBR_PARTIAL_420", "DICOM MPEG4HP41", 5, 12)
    assert pixels.mean() == pytest.approx(120, abs=4)
    assert describe(saved(scan), PATH) == header


@pytest.mark.parametrize(
    ("tags", "fps"),
    [
        ({"FrameTime": 40}, 25),
        ({"FrameTime": [40, 50]}, 25),
        ({"FrameTime": -1, "CineRate": 15}, 15),
        ({"FrameTimeVector": [0, 50, 150]}, 10),
        ({"CineRate": 15, "RecommendedDisplayFrameRate": 30}, 15),
        ({"RecommendedDisplayFrameRate": 30}, 30),
        ({"FrameTime": 20, "CineRate": 15}, 50),
        ({"FrameTime": 0, "FrameTimeVector": [0, 0, 0], "CineRate": 15}, 15),
        ({}, 0),
    ],
)
def test_the_frame_rate_is_that_of_the_recording(tags: dict[str, object], fps: float) -> None:
    film = saved(dataset(np.zeros((3, 8, 8), np.uint8), NumberOfFrames=3, **tags))
    assert decode_clip(film, PATH).fps == fps
    assert describe(film, PATH).fps == fps


def test_the_header_states_size_interpretation_and_syntax() -> None:
    header = describe(packaged("examples_ybr_color.dcm").read_bytes(), PATH)
    assert header[:5] == (320, 240, "YBR_FULL_422", "DICOM JPEGBaseline8Bit", 30)
    assert OpenFile(PATH, saved(dataset(LEVELS.astype(np.uint8)))).inspect()[0].fps == 0


def test_a_view_cuts_its_rectangle() -> None:
    levels = LEVELS.astype(np.uint8)
    found = decode(saved(dataset(levels)), PATH, View(box=Box(3, 5, 7, 9)))
    np.testing.assert_array_equal(found, levels[5:14, 3:10])


@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_preamble_and_syntax_is_read(implicit: bool) -> None:
    levels = LEVELS.astype(np.uint8)
    scan = dataset(levels)
    del scan.file_meta
    content = saved(scan, implicit_vr=implicit, little_endian=True)
    assert content[128:132] != b"DICM"
    np.testing.assert_array_equal(decode(content, PATH), levels)
    assert (
        describe(content, PATH).format
        == f"DICOM {(ExplicitVRLittleEndian, ImplicitVRLittleEndian)[implicit].keyword}"
    )


@pytest.mark.parametrize("signed", [False, True])
def test_high_bit_says_where_the_levels_lie(signed: bool) -> None:
    rng = np.random.default_rng(3)
    levels = rng.integers(-2048, 2048, (16, 24)) if signed else rng.integers(0, 4096, (16, 24))
    dtype = np.int16 if signed else np.uint16
    low = dataset(levels.astype(dtype), BitsStored=12, HighBit=11)
    high = dataset((levels << 4).astype(dtype) | 9, BitsStored=12, HighBit=15)  # overlays lie below
    np.testing.assert_array_equal(decode(saved(high), PATH), decode(saved(low), PATH))
    np.testing.assert_array_equal(dicom._levels(high, 0, PATH), levels)
