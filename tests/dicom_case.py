"""Small DICOM files made for tests, and files that come with pydicom."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
)

from fibrolab.data.formats.label_maps import SEGMENTATION
from fibrolab.data.readers import decode

PATH = Path("scan.dcm")
LEVELS = np.arange(48 * 32).reshape(48, 32)
LOSSLESS_LEVELS = 39873 + (np.arange(64).reshape(8, 8) * 37) % 251
LOSSLESS_JPEG = (  # the same, encoded by GDCM 3.2.6
    "ffd8ffc3000b100008000801011100ffc40016000101010000000000000000000000000006080dffda00080101"
    "00010000dbc14a952a54a96295a952a54a96294ab52a54a96294a956a54a96294a952ad4b14a54a952a55b14a5"
    "4a952a54b18a54a952a54b14ad4a952a54b14a5fffd9"
)
STRIPES = "SC_rgb_rle.dcm"  # without loss; the other SC_ files show the same colours
MR = ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"]


def packaged(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def dataset(levels: np.ndarray, **tags: object) -> pydicom.Dataset:
    """Return a DICOM image (H, W) or (H, W, 3), or with `NumberOfFrames` a clip of them."""
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


def seg(
    path: Path,
    frames: np.ndarray,
    numbers: list[int],
    kind: str = "BINARY",
    sources: Iterable[tuple[str, int | None]] = (),
    listed: Iterable[str] = (),
) -> Path:
    """Write a SEG with one bit a pixel, the segment and source of each frame, and the images it lists."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SEGMENTATION[0]
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.SegmentationType, dataset.SamplesPerPixel = kind, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    groups = []
    for number in numbers:
        group, identification = pydicom.Dataset(), pydicom.Dataset()
        identification.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = pydicom.Sequence([identification])
        groups.append(group)
    for group, (uid, frame) in zip(groups, sources, strict=False):
        source, derived = pydicom.Dataset(), pydicom.Dataset()
        source.ReferencedSOPInstanceUID = uid
        if frame is not None:
            source.ReferencedFrameNumber = frame
        derived.SourceImageSequence = pydicom.Sequence([source])
        group.DerivationImageSequence = pydicom.Sequence([derived])
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence(groups)
    instances, series = [pydicom.Dataset() for _ in listed], pydicom.Dataset()
    for instance, uid in zip(instances, listed, strict=True):
        instance.ReferencedSOPInstanceUID = uid
    series.ReferencedInstanceSequence = pydicom.Sequence(instances)
    dataset.ReferencedSeriesSequence = pydicom.Sequence([series])
    measures, shared = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [0.3, 0.2]
    shared.PixelMeasuresSequence = pydicom.Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    dataset.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path
