"""Label maps in DICOM SEG and NIfTI, and the size of a pixel that these formats state.

"PS3.x" are the parts of the DICOM standard. A label map in a picture file is read by `pictures.labels`.
"""

import gzip
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom

from fibrolab.data.formats import pixel_shape, volumes
from fibrolab.data.formats.contract import LARGEST_CLIP, require_scan
from fibrolab.data.formats.recognition import GZIP, NIFTI
from fibrolab.errors import UnreadableImageError

HEADER = 544  # bytes of a NIfTI file that hold its magic
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # in the other units of NIfTI
SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # SEG and label map SEG

SEVERAL = (
    "labels several images; save one SEG for each image, or give the images as the DICOM files to which its "
    "frames refer"
)


class Target(NamedTuple):
    """The image that a label map labels.

    Attributes:
        name: Name of its file.
        uid: SOP Instance UID of a DICOM file, else empty.
        frame: Number of the labelled frame, from 0.
        frames: Number of frames of the file.
    """

    name: str
    uid: str
    frame: int
    frames: int


# Function of a function that returns the image that is labelled, or of None where only one image can be; it
# returns the label map of this image, uint8 (H, W).
Labels = Callable[[Callable[[], Target] | None], np.ndarray]


def opened_dicom(content: bytes, path: Path) -> Labels:
    """Parse a DICOM SEG once for all the images that it labels.

    Each pixel has the number of its segment, else 0. Of a SEG that labels several images, the frames that
    refer to the image are used (PS3.3 C.7.6.16.2.6); an image that it lists without a frame has an empty
    mask.

    Args:
        content: Bytes of the file.
        path: Its path, which is only named in errors.

    Raises:
        UnreadableImageError: It is no SEG, or holds proportions; and, of the function that is returned:
            segments overlap, or the SEG labels other images or several that cannot be told apart.
    """
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    if dataset.get("SOPClassUID") not in SEGMENTATION:
        raise UnreadableImageError(f"{path}: is a DICOM file, but no segmentation (SEG); give its label map")
    require_scan(dataset.Columns, dataset.Rows, path)
    kind = str(dataset.get("SegmentationType", ""))
    if kind not in ("BINARY", "LABELMAP"):
        raise UnreadableImageError(f"{path}: a SEG of type '{kind}'; save it as BINARY or LABELMAP")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames * dataset.Rows * dataset.Columns > 8 * LARGEST_CLIP:
        raise UnreadableImageError(f"{path}: {frames} frames do not fit in memory; save a SEG for each image")
    sources = _sources(dataset)

    def labels(target: Callable[[], Target] | None) -> np.ndarray:
        rows = _frames_of(dataset, sources, path, target)
        numbers = [1] * len(rows) if kind == "LABELMAP" else _segments(dataset, rows, path)
        if len(set(numbers)) < len(numbers):
            raise UnreadableImageError(f"{path}: {SEVERAL}")
        planes = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)[rows]  # decoded once
        if ((planes > 0).sum(axis=0) > 1).any():
            raise UnreadableImageError(f"{path}: segments overlap; give each pixel one segment")
        found = planes if kind == "LABELMAP" else np.array(numbers)[:, None, None] * (planes > 0)
        return _checked(found.max(axis=0, initial=0), path)

    return labels


def opened_nifti(content: bytes, path: Path) -> Labels:
    """Parse a NIfTI label map once for all the images that it labels.

    Voxel (i, j) labels the pixel of column i and row j; the orientation in the header is not used. Of several
    slices, slice k labels frame k of a file with as many frames.

    Args:
        content: Bytes of the file.
        path: Its path, which is only named in errors.

    Raises:
        UnreadableImageError: Of the function that is returned: its slices are not those of the image, or
            numbers are not whole or exceed 255.
    """
    stored = _nifti(content, path)
    width, height = stored.shape[:2]
    require_scan(width, height, path)
    slices = int(np.prod(stored.shape[2:]))

    def labels(target: Callable[[], Target] | None) -> np.ndarray:
        image = target() if target and slices != 1 else None
        if slices != 1 and (image is None or image.frames != slices):
            of_image = f", and {image.name} {image.frames}" if image else ""
            raise UnreadableImageError(
                f"{path}: holds {slices} label maps{of_image}; save one file for each image, or as many "
                "slices as the film has frames"
            )
        place = np.unravel_index(image.frame if image else 0, stored.shape[2:], order="F")
        voxels = np.asanyarray(stored.dataobj[(slice(None), slice(None), *map(int, place))])
        return _checked(voxels.T, path)

    return labels


def uid_of(content: bytes) -> str:
    """Return the SOP Instance UID of a DICOM file; empty if it has none."""
    dataset = pydicom.dcmread(
        io.BytesIO(content), force=True, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]
    )
    return str(dataset.get("SOPInstanceUID") or "")


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
    found = set(pixel_shape.sizes(dataset))
    return found.pop() if len(found) == 1 else None


def spacing_of_nifti(content: bytes, path: Path) -> tuple[float, float] | None:
    """Return height and width of a pixel [mm] by the header, in millimetres unless it states another unit.

    Programs that do not know the spacing write 1 by 1: None. No ultrasound image has pixels of a millimetre.
    """
    header = _nifti(content, path).header
    width, height = map(float, header.get_zooms()[:2])
    if min(width, height) <= 0 or (width, height) == (1.0, 1.0):
        return None
    unit = MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    return height * unit, width * unit


def _nifti(content: bytes, path: Path) -> Any:
    import nibabel

    plain = volumes.unpacked(content, path)
    kind = nibabel.Nifti1Image if plain[344:348] in NIFTI else nibabel.Nifti2Image
    return kind.from_bytes(plain)


def _segments(dataset: pydicom.Dataset, rows: Sequence[int], path: Path) -> list[int]:
    """Return the numbers of the segments of some frames."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if rows and rows[-1] >= len(groups):
        raise UnreadableImageError(f"{path}: damaged: does not tell the segment of each frame")
    shared = dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    parts = [groups[row] if "SegmentIdentificationSequence" in groups[row] else shared[0] for row in rows]
    return [int(each.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for each in parts]


def _frames_of(
    dataset: pydicom.Dataset,
    sources: Sequence[Sequence[tuple[str, list[int]]]],
    path: Path,
    target: Callable[[], Target] | None,
) -> list[int]:
    """Return the numbers of the frames of a SEG that label an image; see `opened_dicom`."""
    every = list(range(int(dataset.get("NumberOfFrames") or 1)))
    listed = {
        str(each.get("ReferencedSOPInstanceUID"))
        for series in dataset.get("ReferencedSeriesSequence") or ()
        for each in series.get("ReferencedInstanceSequence") or ()
    }
    if target is None or not (any(sources) or listed):
        return every
    image = target()
    if not image.uid:
        return every
    if not any(sources) and image.uid in listed:
        if len(listed) > 1:
            raise UnreadableImageError(f"{path}: {SEVERAL}")
        return every
    found = [
        row
        for row, known in enumerate(sources)
        if any(
            uid == image.uid and (image.frames == 1 or not frames or image.frame + 1 in frames)
            for uid, frames in known
        )
    ]
    if found or (image.uid in listed and image.frames == 1):
        return found
    if image.uid in listed or image.uid in {uid for known in sources for uid, _ in known}:
        raise UnreadableImageError(f"{path}: has no label of frame {image.frame} of {image.name}")
    raise UnreadableImageError(
        f"{path}: labels other images than {image.name}, whose SOP Instance UID it does not name; give the "
        "mask of this image, or save it as PNG if only the identifiers were changed"
    )


def _sources(dataset: pydicom.Dataset) -> list[list[tuple[str, list[int]]]]:
    """Return the images that each frame of a SEG refers to, by UID, and their frames, from 1; [] for all."""
    shared, name = dataset.get("SharedFunctionalGroupsSequence") or [{}], "DerivationImageSequence"
    return [
        [
            (str(source.get("ReferencedSOPInstanceUID")), _numbers(source.get("ReferencedFrameNumber")))
            for derived in group.get(name) or shared[0].get(name) or ()
            for source in derived.get("SourceImageSequence") or ()
        ]
        for group in dataset.get("PerFrameFunctionalGroupsSequence") or ()
    ]


def _numbers(value: Any) -> list[int]:
    """Return the numbers of an element that may be absent, single or multiple."""
    if value is None:
        return []
    return [int(each) for each in value] if isinstance(value, pydicom.multival.MultiValue) else [int(value)]


def _checked(labels: np.ndarray, path: Path) -> np.ndarray:
    """Return labels as uint8; refuse those that are none."""
    if labels.size and not (labels.min() >= 0 and labels.max() <= 255 and (labels == labels.round()).all()):
        raise UnreadableImageError(
            f"{path}: holds numbers from {labels.min()} to {labels.max()}; whole numbers from 0 to 255 are "
            "labels"
        )
    return labels.astype(np.uint8)
