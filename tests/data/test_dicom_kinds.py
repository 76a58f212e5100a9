"""Kinds of DICOM files from scanners: tables, palettes, planes, overlays and fragments of several frames."""

import io

import numpy as np
import pydicom
import pytest
from dicom_case import PATH, dataset, lut, saved
from PIL import Image
from pydicom.encaps import encapsulate

from fibrolab.data.media import View
from fibrolab.data.readers import decode, decode_clip
from fibrolab.errors import UnreadableImageError

GREY = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
COLOURS = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
FRAMES = np.stack([GREY, GREY[::-1], 255 - GREY])
PALETTES = ("Red", "Green", "Blue")


def palette(**parts: object) -> dict[str, object]:
    """Return one palette for three colours, by the ends of the names of its elements."""
    named = {name.format(colour): value for colour in PALETTES for name, value in parts.items()}
    return {"PhotometricInterpretation": "PALETTE COLOR"} | named


def shown(levels: np.ndarray, frame: int | None = None, **tags: object) -> np.ndarray:
    return decode(saved(dataset(levels, **tags)), PATH, View(frame))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_modality_table_is_applied_before_the_range_of_its_output(bits: int) -> None:
    """PS3.3, C.11.1: here it reverses the levels."""
    values = [int(value) for value in np.linspace(2**bits - 1, 0, 256)]
    table = lut(values, 0, bits)
    table[0].ModalityLUTType = "US"
    np.testing.assert_array_equal(shown(GREY, ModalityLUTSequence=table), 255 - GREY)


def test_an_overlay_of_its_own_and_the_shape_of_presentation_change_no_pixel() -> None:
    scan = dataset(GREY, PresentationLUTShape="IDENTITY", PixelAspectRatio=["2", "1"])
    for element, kind, value in (
        (0x0010, "US", 48),
        (0x0011, "US", 64),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x3000, "OW", b"\xff" * (GREY.size // 8)),
    ):
        scan.add_new((0x6000, element), kind, value)
    np.testing.assert_array_equal(decode(saved(scan), PATH), GREY)


def test_frames_with_a_palette_and_one_that_begins_above_0() -> None:
    levels = np.arange(256, dtype=np.uint16) * 257
    whole = palette(
        **{
            "{}PaletteColorLookupTableDescriptor": [256, 0, 16],
            "{}PaletteColorLookupTableData": levels.tobytes(),
        }
    )
    found = shown(FRAMES, 1, NumberOfFrames=3, **whole)
    np.testing.assert_array_equal(found, np.stack([FRAMES[1]] * 3, axis=-1))
    part = palette(
        **{
            "{}PaletteColorLookupTableDescriptor": [156, 100, 16],
            "{}PaletteColorLookupTableData": levels[:156].tobytes(),
        }
    )
    expected = np.clip(GREY.astype(int) - 100, 0, 155)
    np.testing.assert_array_equal(shown(GREY, **part), np.stack([expected] * 3, axis=-1))


def test_a_palette_for_the_highest_levels_of_grey_is_not_left_out() -> None:
    """PS3.3, C.7.6.19: Doppler in an enhanced file, which would be read as bright tissue."""
    entries = b"\0\xff" * 16
    tags = palette(**{
        "{}PaletteColorLookupTableDescriptor": [16, 240, 16], "{}PaletteColorLookupTableData": entries,
    })  # fmt: skip
    tags["PhotometricInterpretation"] = "MONOCHROME2"
    np.testing.assert_array_equal(shown(GREY, **tags), GREY)  # of a file that does not use it
    with pytest.raises(UnreadableImageError, match="supplemental palette are not supported; convert"):
        shown(GREY, **tags, PixelPresentation="COLOR")


def test_a_palette_in_segments_is_read() -> None:
    """PS3.3, C.7.9.2: one entry 0, then a straight line of 255 entries to white."""
    segments = np.array([0, 1, 0, 1, 255, 65535], np.uint16).tobytes()
    tags = palette(
        **{
            "{}PaletteColorLookupTableDescriptor": [256, 0, 16],
            "Segmented{}PaletteColorLookupTableData": segments,
        }
    )
    np.testing.assert_array_equal(shown(GREY, **tags), np.stack([GREY] * 3, axis=-1))


def test_each_frame_by_plane_is_a_frame() -> None:
    films = np.stack([COLOURS, COLOURS[:, ::-1]])
    scan = dataset(films, NumberOfFrames=2)
    scan.PlanarConfiguration, scan.PixelData = 1, np.moveaxis(films, -1, 1).tobytes()
    for number, expected in enumerate(films):
        np.testing.assert_array_equal(decode(saved(scan), PATH, View(number)), expected)


def test_the_frames_of_an_enhanced_volume_are_those_stored() -> None:
    content = saved(dataset(FRAMES, NumberOfFrames=3, SOPClassUID="1.2.840.10008.5.1.4.1.1.6.2"))
    np.testing.assert_array_equal(decode_clip(content, PATH).frames, FRAMES)


def test_padding_outside_a_window_is_black() -> None:
    levels = np.where(GREY < 50, np.int16(-2000), GREY.astype(np.int16))
    found = shown(levels, PixelPaddingValue=-2000, WindowCenter=128, WindowWidth=256)
    np.testing.assert_array_equal(found, np.where(GREY < 50, 0, GREY))


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_in_fragments_with_and_without_a_table_of_offsets(fragments: int, table: bool) -> None:
    coded = []
    for levels in FRAMES:
        stored = io.BytesIO()
        Image.fromarray(levels).save(stored, "JPEG", quality=98)
        coded.append(stored.getvalue())
    scan = dataset(FRAMES, NumberOfFrames=3)
    scan.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    scan.PixelData = encapsulate(coded, fragments_per_frame=fragments, has_bot=table)
    scan["PixelData"].VR, scan["PixelData"].is_undefined_length = "OB", True
    for number, content in enumerate(coded):
        expected = np.asarray(Image.open(io.BytesIO(content)))
        np.testing.assert_array_equal(decode(saved(scan), PATH, View(number)), expected)
