"""Frames in lossless JPEG, 12-bit JPEG and JPEG-LS: equal to the raw file to the level, or refused."""

import imagecodecs
import jpeg_ls as pyjpegls
import numpy as np
import pydicom
import pytest
from dicom_case import PATH, STRIPES, dataset, packaged, saved
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless

from fibrolab.data.formats import dicom_jpeg
from fibrolab.data.readers import decode, read_image
from fibrolab.errors import UnreadableImageError

RNG = np.random.default_rng(3)


def lossless(levels: np.ndarray, bits: int) -> bytes:
    frame: bytes = imagecodecs.jpeg8_encode(levels, lossless=True, bitspersample=bits, predictor=1)
    return frame


def jpeg_ls(levels: np.ndarray, bits: int) -> bytes:
    size = {"rows": levels.shape[0], "columns": levels.shape[1], "samples_per_pixel": 1}
    frame = bytes(pyjpegls.encode_pixel_data(levels.tobytes(), bits_stored=bits, **size))
    assert dicom_jpeg.frame_header(frame).precision == bits
    return frame


def compressed(levels: np.ndarray, frame: bytes, syntax: pydicom.uid.UID, **tags: object) -> bytes:
    scan = dataset(levels, **tags)
    scan.file_meta.TransferSyntaxUID = syntax
    scan.PixelData = encapsulate([frame])
    return saved(scan)


@pytest.mark.parametrize("bits", range(8, 17))
def test_levels_of_every_depth_are_those_of_the_raw_file(bits: int) -> None:
    levels = RNG.integers(0, 2**bits, (16, 24)).astype(np.uint8 if bits == 8 else np.uint16)
    depth = {"BitsStored": bits, "HighBit": bits - 1}
    raw = decode(saved(dataset(levels, **depth)), PATH)
    for encode, syntax in ((lossless, JPEGLosslessSV1), (jpeg_ls, JPEGLSLossless)):
        frame = encode(levels, bits)
        np.testing.assert_array_equal(dicom_jpeg.decode(frame, levels.shape)[0], levels)
        np.testing.assert_array_equal(decode(compressed(levels, frame, syntax, **depth), PATH), raw)


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_levels_are_those_of_the_raw_file(bits: int) -> None:
    levels = RNG.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (16, 24)).astype(np.int16)
    stored = levels.view(np.uint16) & (2**bits - 1)  # two's complement in the bits stored
    depth = {"BitsStored": bits, "HighBit": bits - 1}
    raw = decode(saved(dataset(levels, **depth)), PATH)
    for frame, syntax in (
        (lossless(stored, bits), JPEGLosslessSV1),
        (jpeg_ls(stored, bits), JPEGLSLossless),
    ):
        np.testing.assert_array_equal(decode(compressed(levels, frame, syntax, **depth), PATH), raw)


def test_twelve_bits_with_loss_are_read_at_their_scale() -> None:
    levels = np.add.outer(np.arange(0, 3200, 100), np.arange(0, 800, 20)).astype(np.uint16)
    frame = imagecodecs.jpeg8_encode(levels, level=95, bitspersample=12)
    found = decode(compressed(levels, frame, JPEGExtended12Bit, BitsStored=12, HighBit=11), PATH)
    assert np.abs(found - levels * (255 / 4095)).max() < 3


@pytest.mark.parametrize("interleaved_by", ["line", "sample"])
def test_colours_of_jpeg_ls_are_read(interleaved_by: str) -> None:
    expected = pydicom.dcmread(packaged(STRIPES)).pixel_array.astype(int)
    found = read_image(packaged(f"SC_rgb_jls_lossy_{interleaved_by}.dcm"))
    assert np.abs(found - expected).max() <= 2


def test_a_frame_of_another_size_is_refused_before_it_is_decoded() -> None:
    levels = np.zeros((16, 24), np.uint8)
    frame = bytearray(jpeg_ls(levels, 8))
    size = frame.index(b"\xff\xf7") + 5
    frame[size : size + 4] = b"\xff\xff\xff\xff"  # 4 GiB, of which a decoder would fill every row
    with pytest.raises(UnreadableImageError, match=r"65535 x 65535 pixels .* header states 24 x 16"):
        decode(compressed(levels, bytes(frame), JPEGLSLossless), PATH)


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_frame_that_ends_before_its_last_pixel_is_refused(end: bytes) -> None:
    levels = RNG.integers(0, 4096, (16, 24)).astype(np.uint16)
    frame = lossless(levels, 12)
    for proportion in (0.3, 0.7, 0.99):
        cut = frame[: int(proportion * (len(frame) - 2))] + end
        with pytest.raises(UnreadableImageError, match="truncated or damaged"):
            decode(compressed(levels, cut, JPEGLosslessSV1, BitsStored=12, HighBit=11), PATH)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless])
def test_a_damaged_frame_does_not_end_the_process(syntax: pydicom.uid.UID) -> None:
    levels = RNG.integers(0, 4096, (16, 24)).astype(np.uint16)
    frame = (lossless if syntax == JPEGLosslessSV1 else jpeg_ls)(levels, 12)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(frame)
        for place in rng.integers(2, rng.choice([60, len(frame)]), 2):
            damaged[place] = rng.integers(256)
        content = compressed(levels, bytes(damaged), syntax, BitsStored=12, HighBit=11)
        try:
            assert decode(content, PATH).shape == levels.shape
        except UnreadableImageError:
            refused += 1
    assert refused > 40


def test_every_frame_header_is_found_or_refused() -> None:
    assert dicom_jpeg.frame_header(lossless(np.zeros((3, 5), np.uint16), 12)) == (0xC3, 12, 3, 5, 1)
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xff\xff", b"\xff\xd8\xff\xda\x00\x08"):
        with pytest.raises(ValueError, match="does not begin as JPEG"):
            dicom_jpeg.frame_header(content)
