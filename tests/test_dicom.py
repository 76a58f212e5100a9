"""DICOM: every photometric interpretation and syntax on one grey scale, and headers that name a person."""

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import compress
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
    UltrasoundImageStorage,
)

from fibrolab.data.box import Box
from fibrolab.data.formats import dicom, video
from fibrolab.data.formats.dicom_identity import identity
from fibrolab.data.media import View
from fibrolab.data.readers import decode, decode_clip, describe, inspect, read_grey, read_image, to_grey
from fibrolab.errors import UnreadableImageError

PATH = Path("scan.dcm")
LEVELS = np.arange(48 * 32).reshape(48, 32)
LOSSLESS_LEVELS = 39873 + (np.arange(64).reshape(8, 8) * 37) % 251
LOSSLESS_JPEG = (  # the same, encoded by GDCM 3.2.6
    "ffd8ffc3000b100008000801011100ffc40016000101010000000000000000000000000006080dffda00080101"
    "00010000dbc14a952a54a96295a952a54a96294ab52a54a96294a956a54a96294a952ad4b14a54a952a55b14a5"
    "4a952a54b18a54a952a54b14ad4a952a54b14a5fffd9"
)
STRIPES = "SC_rgb_rle.dcm"  # without loss; the other SC_ files show the same colours


def packaged(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def dataset(levels: np.ndarray, **tags: object) -> pydicom.Dataset:
    """A scan (H, W), (H, W, 3), or with `NumberOfFrames` a film of such."""
    scan = pydicom.Dataset()
    scan.file_meta = FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan.SOPClassUID, scan.SOPInstanceUID = UltrasoundImageStorage, "1.2.3"
    single = levels[0] if "NumberOfFrames" in tags else levels
    scan.Rows, scan.Columns = single.shape[:2]
    scan.SamplesPerPixel = 3 if single.ndim == 3 else 1
    if single.ndim == 3:
        scan.PlanarConfiguration = 0
    scan.BitsAllocated = scan.BitsStored = 8 * levels.dtype.itemsize
    scan.HighBit = scan.BitsStored - 1
    scan.PixelRepresentation = int(levels.dtype.kind == "i")
    scan.PhotometricInterpretation = "RGB" if single.ndim == 3 else "MONOCHROME2"
    scan.PixelData = levels.tobytes() + b"\0" * (levels.nbytes % 2)
    scan["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(scan, name, value)
    return scan


def saved(scan: pydicom.Dataset, **how: object) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, scan, **(how or {"enforce_file_format": True}))
    return stream.getvalue()


def shown(levels: np.ndarray, **tags: object) -> np.ndarray:
    return decode(saved(dataset(levels, **tags)), PATH)


def lut(values: list[int], first: int, bits: int) -> pydicom.Sequence:
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = values
    item["LUTData"].VR = "US"
    return pydicom.Sequence([item])


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
def test_a_window_is_applied_as_the_standard_has_it(function: str, expected) -> None:
    levels = np.arange(0, 256, dtype=np.uint8)[None]
    window = {"WindowCenter": [100, 30], "WindowWidth": [51, 20], "VOILUTFunction": function}
    found = shown(levels, **window).astype(float)
    assert np.abs(found - np.clip(expected(levels.astype(float)), 0, 255)).max() <= 0.5 + 1e-9


def test_a_window_is_meant_after_rescaling() -> None:
    levels = np.array([[0, 12, 20, 30]], np.uint16)
    found = shown(levels, RescaleSlope=10, RescaleIntercept=-100, WindowCenter=0.5, WindowWidth=201)
    np.testing.assert_array_equal(found, [[0, 153, 255, 255]])


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_an_enhanced_object_is_shown_as_its_functional_groups_have_it(groups: str) -> None:
    window, rescale, group = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 256, 512, "LINEAR_EXACT"
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, 0
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = [window], [rescale]
    levels = np.array([[0, 64], [128, 256]], np.uint16)
    assert shown(levels, **{groups: pydicom.Sequence([group])}).tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize("slope", ["0", "nan"])
def test_a_header_that_leaves_no_grey_levels_is_refused(slope: str) -> None:
    content = saved(dataset(LEVELS.astype(np.uint8), RescaleSlope="1.5", RescaleIntercept="0"))
    with pytest.raises(UnreadableImageError, match="has the levels shown from"):
        decode(content.replace(b"1.5 ", slope.encode().ljust(4)), PATH)


def test_a_window_without_width_is_none() -> None:
    levels = LEVELS.astype(np.uint8)
    np.testing.assert_array_equal(shown(levels, WindowCenter=40, WindowWidth=0), levels)
    np.testing.assert_array_equal(shown(levels, WindowCenter=None, WindowWidth=None), levels)


def test_a_table_of_levels_is_applied() -> None:
    levels = np.array([[0, 1, 2, 3]], np.uint8)
    found = shown(levels, VOILUTSequence=lut([0, 4095, 1000, 500], 0, 12))
    np.testing.assert_array_equal(found, np.rint(np.array([[0, 4095, 1000, 500]]) * 255 / 4095))


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_palette_is_looked_up(dtype: type, top: int) -> None:
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


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_is_read_by_pixel_and_by_plane(planar: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(levels.transpose(2, 0, 1)) if planar else levels
    scan = dataset(levels, PlanarConfiguration=planar, PixelData=stored.tobytes())
    np.testing.assert_array_equal(decode(saved(scan), PATH), levels)


def test_a_grey_scan_saved_in_luma_and_chroma_reads_like_the_grey_one() -> None:
    grey = LEVELS.astype(np.uint8)
    ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=2)
    np.testing.assert_array_equal(to_grey(shown(ybr, PhotometricInterpretation="YBR_FULL")), grey)


MR = ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"]


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
    inner = (slice(5, 95, 10), slice(10, 90))  # the stripes' middles, where no compression bleeds
    found = read_image(packaged(f"SC_rgb_{name}.dcm")).astype(int)
    assert np.abs(found[inner] - expected[inner]).max() <= 5


def test_subsampled_colour_without_compression_is_spread_again() -> None:
    expected = pydicom.dcmread(packaged(STRIPES)).pixel_array.astype(int)
    found = read_image(packaged("SC_ybr_full_422_uncompressed.dcm")).astype(int)
    assert np.abs(found - expected).mean() < 2


def test_reversible_colour_of_jpeg_2000_is_turned_into_rgb() -> None:
    half = read_image(packaged("examples_rgb_color.dcm")).astype(int)  # the same scan at half the size
    whole = read_image(packaged("examples_jpeg2k.dcm"))
    shrunk = np.asarray(Image.fromarray(whole).reduce(2), int)
    assert np.abs(shrunk - half).mean(axis=(0, 1)).max() < 3
    for colour in range(3):
        assert np.corrcoef(shrunk[..., colour].ravel(), half[..., colour].ravel())[0, 1] > 0.99


def test_colours_of_jpeg_ls_by_line_are_read_and_those_by_sample_refused() -> None:
    expected = pydicom.dcmread(packaged(STRIPES)).pixel_array.astype(int)
    assert np.abs(read_image(packaged("SC_rgb_jls_lossy_line.dcm")) - expected).max() <= 10
    with pytest.raises(UnreadableImageError, match="FFmpeg"):
        read_image(packaged("SC_rgb_jls_lossy_sample.dcm"))


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_sixteen_bits_of_lossless_jpeg_are_read_to_the_last(syntax: pydicom.uid.UID) -> None:
    window = {"WindowCenter": 39873 + 128, "WindowWidth": 256}  # single levels show
    scan = dataset(LOSSLESS_LEVELS.astype(np.uint16), **window)
    scan.file_meta.TransferSyntaxUID = syntax
    scan.PixelData = encapsulate([bytes.fromhex(LOSSLESS_JPEG)])
    np.testing.assert_array_equal(decode(saved(scan), PATH), LOSSLESS_LEVELS - 39873)


def test_jpeg_2000_in_a_jp2_file_is_refused_before_it_can_hang() -> None:
    with pytest.raises(UnreadableImageError, match="no JP2 header"):
        read_image(packaged("GDCMJ2K_TextGBR.dcm"))


def test_a_film_s_frames_are_those_that_its_jpegs_hold() -> None:
    path = packaged("examples_ybr_color.dcm")
    scan = pydicom.dcmread(path)
    jpegs = list(generate_frames(scan.PixelData, number_of_frames=30))
    for number in (0, 15, 29):
        expected = np.asarray(Image.open(io.BytesIO(jpegs[number])).convert("L"), int)
        assert np.abs(read_grey(path, View(number)).astype(int) - expected).max() <= 3
    clip = decode_clip(path.read_bytes(), path)
    assert clip.frames.shape == (30, 240, 320)
    assert clip.fps == pytest.approx(30, rel=1e-3)
    np.testing.assert_array_equal(clip.frames[15], read_grey(path, View("middle")))


def test_a_film_needs_a_frame_named_and_a_picture_is_no_clip() -> None:
    film = saved(dataset(np.zeros((3, 8, 8), np.uint8), NumberOfFrames=3))
    with pytest.raises(UnreadableImageError, match="3 frames; name one"):
        decode(film, PATH)
    with pytest.raises(UnreadableImageError, match="no frame 3"):
        decode(film, PATH, View(3))
    with pytest.raises(UnreadableImageError, match="one frame: a picture, not a clip"):
        decode_clip(saved(dataset(LEVELS.astype(np.uint8))), PATH)


def test_a_film_that_is_compressed_as_one_stream_is_played(tmp_path: Path) -> None:
    frames = np.stack([np.full((32, 48), 40 * number, np.uint8) for number in range(1, 6)])
    video.write(tmp_path / "film.mp4", frames, 10)
    scan = dataset(frames, NumberOfFrames=5, PhotometricInterpretation="YBR_PARTIAL_420", CineRate=12)
    scan.file_meta.TransferSyntaxUID = MPEG4HP41
    scan.PixelData = encapsulate([(tmp_path / "film.mp4").read_bytes()])
    clip = decode_clip(saved(scan), PATH)
    assert np.abs(clip.frames.astype(int) - frames).max() <= 4
    assert clip.fps == 12
    header, pixels = inspect(saved(scan), PATH, View("middle"))
    assert header[2:6] == ("YBR_PARTIAL_420", "DICOM MPEG4HP41", 5, 12)
    assert pixels.mean() == pytest.approx(120, abs=4)
    assert describe(saved(scan), PATH) == header


@pytest.mark.parametrize(
    ("tags", "fps"),
    [
        ({"FrameTime": 40}, 25),
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


def test_the_header_tells_size_interpretation_and_syntax() -> None:
    header = describe(packaged("examples_ybr_color.dcm").read_bytes(), PATH)
    assert header[:5] == (320, 240, "YBR_FULL_422", "DICOM JPEGBaseline8Bit", 30)
    assert inspect(saved(dataset(LEVELS.astype(np.uint8))), PATH)[0].fps == 0


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


def compressed(syntax: pydicom.uid.UID = RLELossless) -> pydicom.Dataset:
    scan = dataset(LEVELS.astype(np.uint8))
    compress(scan, syntax)
    return scan


def without(field: str) -> bytes:
    scan = dataset(LEVELS.astype(np.uint8))
    del scan[field]
    return saved(scan)


def garbage() -> bytes:
    scan = compressed()
    scan.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    scan.PixelData = encapsulate([bytes(range(200))])
    return saved(scan)


def in_syntax(uid: str) -> bytes:
    scan = compressed()
    scan.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)
    return saved(scan)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (saved(dataset(LEVELS.astype(np.uint8)))[:-40], "truncated or damaged .*less than expected"),
        (saved(compressed())[:-40], "truncated: the DICOM file ends"),
        (packaged("test-SR.dcm").read_bytes(), r"without pixel data \(Comprehensive SR Storage\)"),
        (without("BitsStored"), "the DICOM header lacks BitsStored"),
        (without("PhotometricInterpretation"), "the DICOM header lacks PhotometricInterpretation"),
        (garbage(), "truncated or damaged"),
        (packaged("JPGExtended.dcm").read_bytes(), "12 bits in the transfer syntax 'JPEG Extended"),
        (in_syntax("1.2.840.10008.1.2.4.94"), "8 bits in the transfer syntax 'JPIP Referenced' are not read"),
        (saved(dataset(np.zeros((4, 4, 3), np.uint8), PhotometricInterpretation="HSV")), "'HSV' is not read"),
        (saved(dataset(np.zeros((4, 4), np.uint8), Rows=60000, Columns=60000)), "no ultrasound scan"),
        (b"\x08\x00\x05\x00" + bytes(200), "without pixel data|truncated"),
        (bytes(128) + b"DICM", "without pixel data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_without_its_whole_picture_is_named_with_its_fault(content: bytes, sentence: str) -> None:
    for read in (decode, decode_clip):
        with pytest.raises(UnreadableImageError, match=rf"scan\.dcm: .*({sentence})"):
            read(content, PATH)


def test_a_deflated_file_is_read_unless_it_inflates_to_more_than_a_clip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan = dataset(np.zeros((64, 64), np.uint8))
    scan.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = saved(scan)
    assert decode(content, PATH).shape == (64, 64)
    monkeypatch.setattr(dicom, "LARGEST_CLIP", 64 * 64)
    with pytest.raises(UnreadableImageError, match="inflates to more than"):
        decode(content, PATH)


def test_compressed_pixels_of_an_unknown_syntax_are_refused() -> None:
    scan = compressed()
    del scan.file_meta
    scan["PixelData"].is_undefined_length = True
    with pytest.raises(UnreadableImageError, match="TransferSyntaxUID"):
        decode(saved(scan, implicit_vr=False, little_endian=True), PATH)


def test_threads_read_what_one_thread_reads() -> None:
    names = [*(f"MR_small_{name}.dcm" for name in MR), STRIPES, "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm"]
    alone = [read_image(packaged(name)) for name in names]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(read_image, [packaged(name) for name in names] * 8))
    for number, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[number % len(names)])


@pytest.mark.parametrize(
    ("tags", "fields"),
    [
        ({"PatientName": "Doe^Jane", "PatientBirthDate": "19610412"}, ("PatientName", "PatientBirthDate")),
        ({"OperatorsName": "Roe^Richard", "OtherPatientIDs": "4711"}, ("OtherPatientIDs", "OperatorsName")),
        ({"PatientName": "", "PatientBirthDate": ""}, ()),
        ({"PatientName": "ANON^17"}, ()),
        ({"PatientName": "Anonymous", "ReferringPhysicianName": "^^^^"}, ()),
        ({"PatientName": "LIVER-0017", "PatientID": "LIVER-0017"}, ()),
        ({"PatientID": "4711", "AccessionNumber": "A12", "InstitutionName": "Clinic"}, ()),
        ({"PatientBirthDate": "19610101"}, ()),
        ({"PatientIdentityRemoved": "YES", "PatientName": "Case Seventeen"}, ()),
        ({"PatientIdentityRemoved": "YES", "OtherPatientNames": "Doe^Jane"}, ("OtherPatientNames",)),
        ({"PatientIdentityRemoved": "NO", "PatientName": "Doe^Jane"}, ("PatientName",)),
    ],
)
def test_fields_that_still_tell_who_the_patient_is_are_named(
    tags: dict[str, str], fields: tuple[str, ...]
) -> None:
    scan = dataset(LEVELS.astype(np.uint8), **tags)
    assert identity(scan) == fields
    assert describe(saved(scan), PATH).identity == fields


def test_a_damaged_lossless_jpeg_does_not_end_the_process() -> None:
    content = bytes.fromhex(LOSSLESS_JPEG)
    for place in range(2, len(content)):
        for value in (0, 0xDA, 0xFF):
            scan = dataset(LOSSLESS_LEVELS.astype(np.uint16))
            scan.file_meta.TransferSyntaxUID = JPEGLosslessSV1
            scan.PixelData = encapsulate([content[:place] + bytes([value]) + content[place + 1 :]])
            with contextlib.suppress(UnreadableImageError):
                decode(saved(scan), PATH)


CUT = (
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([*CUT, "MR_small.dcm", "SC_rgb_jpeg_gdcm.dcm"]),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_cut_file_raises_or_gives_the_whole_picture(name: str, share: float) -> None:
    content = packaged(name).read_bytes()
    try:
        pixels = decode(content[: max(int(share * len(content)), 1)], PATH)
    except UnreadableImageError:
        return
    np.testing.assert_array_equal(pixels, read_image(packaged(name)))


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(CUT), place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_byte_never_raises_anything_but_our_error(name: str, place: int, value: int) -> None:
    content = bytearray(packaged(name).read_bytes())
    content[place % len(content)] = value
    with contextlib.suppress(UnreadableImageError):
        assert decode(bytes(content), PATH).dtype == np.uint8
