"""DICOM files that are damaged, truncated, unknown or too large, and headers that identify a person."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_case import (
    LEVELS,
    MR,
    PATH,
    STRIPES,
    dataset,
    packaged,
    saved,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from fibrolab.data.formats import dicom
from fibrolab.data.formats.dicom_identity import identity
from fibrolab.data.readers import decode, decode_clip, describe, read_image
from fibrolab.errors import UnreadableImageError


def compressed(syntax: pydicom.uid.UID = RLELossless) -> pydicom.Dataset:
    scan = dataset(LEVELS.astype(np.uint8))
    compress(scan, syntax)
    return scan


def without(field: str) -> bytes:
    scan = dataset(LEVELS.astype(np.uint8))
    del scan[field]
    return saved(scan)


def numbered(field: str, value: bytes) -> bytes:
    """Return a file whose header has these two bytes where a number belongs."""
    return saved(dataset(LEVELS.astype(np.uint8), **{field: "12"})).replace(
        b"DS\x02\x0012", b"DS\x02\x00" + value
    )


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
        (packaged("badVR.dcm").read_bytes(), r"the DICOM header gives no number as NumberOfFrames \('1A'\)"),
        (numbered("RescaleSlope", b"x1"), r"gives no number as RescaleSlope \('x1'\)"),
        (
            packaged("no_meta.dcm").read_bytes(),
            "DICOM with a damaged beginning .* is at byte 1, not 0 or 132",
        ),
        (without("BitsStored"), "the DICOM header lacks BitsStored"),
        (without("PhotometricInterpretation"), "the DICOM header lacks PhotometricInterpretation"),
        (garbage(), "truncated or damaged"),
        (
            in_syntax("1.2.840.10008.1.2.4.94"),
            "the transfer syntax 'JPIP Referenced' is not supported",
        ),
        (
            saved(dataset(np.zeros((4, 4, 3), np.uint8), PhotometricInterpretation="HSV")),
            "'HSV' is not supported",
        ),
        (
            saved(dataset(np.zeros((4, 4), np.uint8), Rows=60000, Columns=60000)),
            "too many for an ultrasound",
        ),
        (b"\x08\x00\x05\x00" + bytes(200), "without pixel data|truncated"),
        (bytes(128) + b"DICM", "without pixel data"),
        (
            saved(dataset(np.zeros((2, 8, 8), np.uint8), NumberOfFrames=["2", "3"])),
            "the DICOM header repeats NumberOfFrames",
        ),
        (saved(dataset(LEVELS.astype(np.uint8), PixelData=b"")), "damaged: its pixel data are empty"),
        (
            saved(dataset(LEVELS.astype(np.uint16), BitsAllocated=12, BitsStored=12, HighBit=11)),
            "levels of 12 bits are not supported",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_incomplete_file_is_named_with_its_fault(content: bytes, sentence: str) -> None:
    for read in (decode, decode_clip):
        with pytest.raises(UnreadableImageError, match=rf"scan\.dcm: .*({sentence})"):
            read(content, PATH)


ENCODERS = {
    JPEGBaseline8Bit: imagecodecs.jpeg8_encode,
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: partial(imagecodecs.jpeg2k_encode, level=0, codecformat="j2k"),
}


def of_frames(syntax: pydicom.uid.UID, **tags: int) -> bytes:
    """Return a file of three frames; those of JPEG are in two fragments each."""
    frames = np.stack([LEVELS.astype(np.uint8) + number for number in range(3)])
    scan = dataset(frames, NumberOfFrames=3)
    if syntax in ENCODERS:
        scan.PixelData = encapsulate(
            [bytes(ENCODERS[syntax](frame)) for frame in frames], fragments_per_frame=2
        )
        scan["PixelData"].VR = "OB"
        scan.file_meta.TransferSyntaxUID = syntax
    elif syntax == RLELossless:
        compress(scan, syntax)
    for name, value in tags.items():
        setattr(scan, name, value)
    return saved(scan)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, *ENCODERS])
def test_a_file_with_more_frames_than_its_header_states_is_not_read_as_its_first_ones(
    syntax: pydicom.uid.UID,
) -> None:
    assert describe(of_frames(syntax), PATH).frames == 3
    for stated in (1, 2):
        content = of_frames(syntax, NumberOfFrames=stated)
        for read in (decode, decode_clip, describe):
            with pytest.raises(
                UnreadableImageError, match=f"of 3 frames, and the DICOM header states {stated}"
            ):
                read(content, PATH)


def test_colours_called_grey_and_halves_of_rows_are_no_picture() -> None:
    colours = np.zeros((48, 32, 3), np.uint8)
    called_grey = dataset(colours, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2")
    for content in (saved(called_grey), saved(dataset(LEVELS.astype(np.uint8), Rows=24))):
        with pytest.raises(UnreadableImageError, match="what is wrong of SamplesPerPixel, Rows, Columns and"):
            decode(content, PATH)


def test_of_several_windows_only_the_first_must_be_a_number() -> None:
    levels = LEVELS.astype(np.uint8)
    windows = {"WindowCenter": ["30", "99"], "WindowWidth": ["20", "99"]}
    content = saved(dataset(levels, **windows))
    odd = content.replace(b"30\\99 ", b"30\\   ").replace(b"20\\99 ", b"20\\xy ")
    assert odd != content
    np.testing.assert_array_equal(decode(odd, PATH), decode(content, PATH))


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
        (
            {"PatientIdentityRemoved": "NO", "PatientName": "Doe^Jane"},
            ("PatientName", "PatientIdentityRemoved=NO"),
        ),
        ({"BurnedInAnnotation": "YES"}, ("BurnedInAnnotation=YES",)),
        ({"BurnedInAnnotation": "NO", "PatientIdentityRemoved": ""}, ()),
    ],
)
def test_fields_that_still_identify_the_patient_are_named(
    tags: dict[str, str], fields: tuple[str, ...]
) -> None:
    scan = dataset(LEVELS.astype(np.uint8), **tags)
    assert identity(scan) == fields
    assert describe(saved(scan), PATH).identity == fields


CUT = (
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([*CUT, "MR_small.dcm", "SC_rgb_jpeg_gdcm.dcm"]),
    proportion=st.floats(0, 1, exclude_max=True),
)
def test_a_truncated_file_raises_or_gives_the_whole_image(name: str, proportion: float) -> None:
    content = packaged(name).read_bytes()
    try:
        pixels = decode(content[: max(int(proportion * len(content)), 1)], PATH)
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
