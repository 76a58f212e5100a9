"""Frames in JPEG 2000: equal to the raw file to the level, or refused, and pairs of public test sets."""

import os
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_case import PATH, dataset, lut, saved
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from fibrolab.data.formats import dicom
from fibrolab.data.readers import decode
from fibrolab.errors import UnreadableImageError

RNG = np.random.default_rng(5)
# Folder of the compression samples of DICOM working group 4: J2KR/CT1_J2KR ... REF/CT1_UNC, REF/CT1_UNC.zst
WG04 = Path(os.environ.get("FIBROLAB_WG04", "not-set"))
PAIRS = [path for kind in ("J2KR", "JLSL", "JPLL", "RLE") for path in sorted((WG04 / kind).glob("*"))]
TILE = b"\xff\x90"  # begins the header of a tile; bytes 6 to 9 after it state its length


def codestream(levels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(levels, level=0, codecformat="j2k", reversible=True))


def compressed(levels: np.ndarray, frame: bytes, **tags: object) -> bytes:
    scan = dataset(levels, **tags)
    scan.file_meta.TransferSyntaxUID = JPEG2000Lossless
    scan.PixelData = encapsulate([frame])
    return saved(scan)


@pytest.mark.parametrize(
    ("dtype", "colours"),
    [(np.uint8, ()), (np.uint16, ()), (np.int16, ()), (np.uint8, (3,)), (np.uint16, (3,))],
)
def test_levels_are_those_of_the_raw_file(dtype: type, colours: tuple[int, ...]) -> None:
    levels = RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (20, 24, *colours)).astype(dtype)
    raw = decode(saved(dataset(levels)), PATH)
    np.testing.assert_array_equal(decode(compressed(levels, codestream(levels)), PATH), raw)


@pytest.mark.parametrize("called_signed", [False, True])
def test_the_sign_of_levels_is_found_where_header_and_codestream_differ(called_signed: bool) -> None:
    window = {"WindowCenter": 350, "WindowWidth": 2700}
    levels = RNG.integers(-1000, 1700, (20, 24)).astype(np.int16)
    raw = decode(saved(dataset(levels, **window)), PATH)
    frame = codestream(levels.view(np.uint16) if called_signed else levels)
    found = compressed(levels, frame, PixelRepresentation=int(called_signed), **window)
    np.testing.assert_array_equal(decode(found, PATH), raw)
    assert 50 < raw.mean() < 200


def test_padding_after_a_tile_of_unstated_length_is_no_damage_and_a_missing_end_is() -> None:
    levels = RNG.integers(0, 256, (20, 24)).astype(np.uint8)
    frame = codestream(levels)
    length = frame.index(TILE) + 6
    frame = frame[:length] + bytes(4) + frame[length + 4 :]
    np.testing.assert_array_equal(decode(compressed(levels, frame + b"\0"), PATH), levels)
    with pytest.raises(UnreadableImageError, match="ends before its last pixel"):
        decode(compressed(levels, frame[: len(frame) // 2]), PATH)


def test_a_frame_of_other_samples_than_the_header_is_refused() -> None:
    colours = RNG.integers(0, 256, (20, 24, 3)).astype(np.uint8)
    with pytest.raises(UnreadableImageError, match="has 3 samples a pixel"):
        decode(compressed(colours[..., 0], codestream(colours)), PATH)


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_of_levels_without_content_counts_as_absent(name: str) -> None:
    levels = np.arange(256).reshape(16, 16).astype(np.uint8)
    for missing in ("LUTDescriptor", "LUTData"):
        table = lut(list(range(256)), 0, 8)
        setattr(table[0], missing, None)
        np.testing.assert_array_equal(decode(saved(dataset(levels, **{name: table})), PATH), levels)


@pytest.mark.shared
@pytest.mark.skipif(not PAIRS, reason="needs the WG04 set: set FIBROLAB_WG04 to its folder")
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.name)
def test_compressed_and_raw_files_of_the_wg04_set_are_equal(path: Path) -> None:
    raw = WG04 / "REF" / f"{path.name.rpartition('_')[0]}_UNC"
    packed = raw.with_name(f"{raw.name}.zst")
    if not raw.is_file() and not packed.is_file():
        pytest.skip(f"{raw.name} is not in the set")
    content = raw.read_bytes() if raw.is_file() else imagecodecs.zstd_decode(packed.read_bytes())
    np.testing.assert_array_equal(decode(path.read_bytes(), path), decode(content, raw))
    one, other = (
        dicom._dataset(path.read_bytes(), path),
        pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)),
    )
    samples = (other.Rows, other.Columns, *((3,) if other.SamplesPerPixel == 3 else ()))
    np.testing.assert_array_equal(dicom._levels(one, 0, path), other.pixel_array.reshape(samples))
