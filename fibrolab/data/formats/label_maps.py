"""Label maps in DICOM SEG and NIfTI, and the size of a pixel that these formats state.

"PS3.x" are the parts of the DICOM standard. A label map in a picture file is read by `pictures.labels`.
"""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from fibrolab.data.formats.contract import LARGEST_SCAN, require_scan
from fibrolab.data.formats.recognition import GZIP, NIFTI
from fibrolab.errors import UnreadableImageError

HEADER = 544  # bytes of a NIfTI file that hold its magic
CENTIMETRES = 3  # unit of a region of an ultrasound image, PS3.3 C.8.5.5.1.15
SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # SEG and label map SEG


def of_dicom(content: bytes, path: Path) -> np.ndarray:
    """Decode a DICOM SEG of one image, uint8 (H, W): at each pixel the number of its segment, else 0.

    Raises:
        UnreadableImageError: It is no SEG, holds several images or proportions, or segments overlap.
    """
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    if dataset.get("SOPClassUID") not in SEGMENTATION:
        raise UnreadableImageError(f"{path}: is a DICOM file, but no segmentation (SEG); give its label map")
    require_scan(dataset.Columns, dataset.Rows, path)
    kind = str(dataset.get("SegmentationType", ""))
    if kind not in ("BINARY", "LABELMAP"):
        raise UnreadableImageError(f"{path}: a SEG of type '{kind}'; save it as BINARY or LABELMAP")
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    if kind == "LABELMAP":
        return _checked(_only(frames, path), path)
    numbers = _segments(dataset)
    if len(set(numbers)) < len(numbers):
        raise UnreadableImageError(f"{path}: labels several images; save one SEG for each image")
    if ((frames > 0).sum(axis=0) > 1).any():
        raise UnreadableImageError(f"{path}: segments overlap; give each pixel one segment")
    return _checked((np.array(numbers)[:, None, None] * (frames > 0)).max(axis=0), path)


def of_nifti(content: bytes, path: Path) -> np.ndarray:
    """Decode a NIfTI label map of one image, uint8 (H, W).

    Voxel (i, j) labels the pixel of column i and row j; the orientation in the header is not used.

    Raises:
        UnreadableImageError: It has several slices, or numbers that are not whole or exceed 255.
    """
    voxels = np.asanyarray(_nifti(content).dataobj)
    require_scan(voxels.shape[0], voxels.shape[1], path)
    slices = voxels.reshape(*voxels.shape[:2], -1)
    return _checked(_only(np.moveaxis(slices, 2, 0), path).T, path)


def is_nifti(content: bytes) -> bool:
    """Return whether bytes are NIfTI in one file, plain or compressed."""
    head = content[:HEADER]
    if content.startswith(GZIP):
        with gzip.open(io.BytesIO(content)) as file:
            head = file.read(HEADER)
    return head[344:348] in NIFTI or head[4:8] in NIFTI


def spacing_of_dicom(content: bytes) -> tuple[float, float] | None:
    """Return height and width of a pixel [mm] by `PixelSpacing`, or by the region of an ultrasound image.

    Regions of different spacing have none in common: None, as where nothing is stated.
    """
    dataset = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
    shared = dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    measures = shared[0].get("PixelMeasuresSequence") or [dataset]
    if (pair := measures[0].get("PixelSpacing")) is not None:
        return float(pair[0]), float(pair[1])
    found = {
        (10 * abs(float(region.PhysicalDeltaY)), 10 * abs(float(region.PhysicalDeltaX)))
        for region in dataset.get("SequenceOfUltrasoundRegions") or ()
        if region.get("PhysicalUnitsXDirection") == region.get("PhysicalUnitsYDirection") == CENTIMETRES
    }
    return found.pop() if len(found) == 1 else None


def spacing_of_nifti(content: bytes) -> tuple[float, float]:
    """Return height and width of a pixel [mm] by the header."""
    width, height = _nifti(content).header.get_zooms()[:2]
    return float(height), float(width)


def _nifti(content: bytes) -> Any:
    import nibabel

    plain = content
    if content.startswith(GZIP):
        with gzip.open(io.BytesIO(content)) as file:
            plain = file.read(8 * LARGEST_SCAN + HEADER)
    kind = nibabel.Nifti1Image if plain[344:348] in NIFTI else nibabel.Nifti2Image
    return kind.from_bytes(plain)


def _segments(dataset: pydicom.Dataset) -> list[int]:
    """Return the number of the segment of each frame."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    parts = [each if "SegmentIdentificationSequence" in each else shared[0] for each in groups]
    return [int(each.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for each in parts]


def _only(frames: np.ndarray, path: Path) -> np.ndarray:
    if len(frames) != 1:
        raise UnreadableImageError(f"{path}: holds {len(frames)} label maps; save one file for each image")
    return frames[0]


def _checked(labels: np.ndarray, path: Path) -> np.ndarray:
    """Return labels as uint8; refuse those that are none."""
    if labels.size and not (labels.min() >= 0 and labels.max() <= 255 and (labels == labels.round()).all()):
        raise UnreadableImageError(
            f"{path}: holds numbers from {labels.min()} to {labels.max()}; whole numbers from 0 to 255 are "
            "labels"
        )
    return labels.astype(np.uint8)
