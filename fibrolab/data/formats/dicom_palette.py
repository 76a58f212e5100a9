"""Palettes of DICOM: colours of stored levels (PS3.3, C.7.6.3.1.5 and C.7.9)."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut

from fibrolab.errors import UnreadableImageError

COLOURS = ("Red", "Green", "Blue")
SEGMENTED = "SegmentedRedPaletteColorLookupTableData"


def colours(levels: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Return the colours of stored levels (H, W), uint8 (H, W, 3).

    The number of bytes tells entries of 8 bits from those of 16, and the largest entry whether words hold
    levels of 8 bits: what the descriptor says of both is wrong in many files.

    Raises:
        ValueError: A table or its descriptor is missing or incomplete.
    """
    if SEGMENTED in dataset:
        found = apply_color_lut(levels, dataset)[..., :3]
        return _to_bytes(found, 255 if found.dtype == np.uint8 else 65535)
    tables = [_table(colour, dataset) for colour in COLOURS]
    largest = max(int(entries.max()) for entries, _ in tables)
    top = 255 if largest <= 255 else 65535
    signed = levels.astype(np.int64)
    channels = [entries[np.clip(signed - first, 0, len(entries) - 1)] for entries, first in tables]
    return _to_bytes(np.stack(channels, axis=-1), top)


def refuse_beside_grey(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse grey pixels of which a supplemental palette colours the highest levels (PS3.3, C.7.6.19).

    Raises:
        UnreadableImageError: The file is of this kind.
    """
    coloured = dataset.get("PixelPresentation", "") in ("COLOR", "MIXED")
    if coloured and "RedPaletteColorLookupTableDescriptor" in dataset:
        raise UnreadableImageError(
            f"{path}: grey levels with a supplemental palette are not supported; convert the file to RGB"
        )


def _table(colour: str, dataset: pydicom.Dataset) -> tuple[np.ndarray, int]:
    """Return the entries of one colour, and the stored level that the first of them is for."""
    descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor", None)
    data = dataset.get(f"{colour}PaletteColorLookupTableData", None)
    if not data or not descriptor or len(descriptor) != 3:
        raise ValueError(f"the palette lacks its table for {colour.lower()}")
    number, first = int(descriptor[0]) or 2**16, int(descriptor[1])
    if first >= 2**15 and dataset.PixelRepresentation:  # read as unsigned where the VR is not stated
        first -= 2**16
    if not isinstance(data, bytes):  # VR US
        entries = np.atleast_1d(np.asarray(data, np.int64))
    elif len(data) >= 2 * number:
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        entries = np.frombuffer(data, f"{order}u2", number)
    else:
        entries = np.frombuffer(data, np.uint8)
    if len(entries) < number:
        raise ValueError(f"the palette has {len(entries)} of {number} entries for {colour.lower()}")
    return entries[:number], first


def _to_bytes(values: np.ndarray, top: int) -> np.ndarray:
    return np.rint(values * (255 / top)).astype(np.uint8)
