"""Writing of images and clips as files: PNG, DICOM, MP4."""

from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SUFFIX: Final = {"png": ".png", "dicom": ".dcm", "film": ".mp4"}


class Header(NamedTuple):
    """Metadata of a file beside its pixels.

    Attributes:
        name: Name of the view, unique over all cohorts: DICOM identifiers are derived from it.
        patient_id: A pseudonym.
        sex: F or M.
        age_years: Age.
        model: Name of the scanner's model.
        fps: Frames a second of a clip.
    """

    name: str
    patient_id: str
    sex: str
    age_years: int
    model: str
    fps: float


def write(path: Path, pixels: NDArray[np.uint8], header: Header) -> None:
    """Write an image `(H, W)` or `(H, W, 3)` or a clip `(N, H, W)`, in the format of the path's suffix."""
    if path.suffix == SUFFIX["film"]:
        from fibrolab.data.formats import video  # loads FFmpeg

        video.write(path, pixels, header.fps)
    elif path.suffix == SUFFIX["dicom"]:
        path.write_bytes(dicom(pixels, header))
    else:
        stored = pixels if pixels.ndim == 2 else pixels[..., ::-1]  # OpenCV's order is BGR
        path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())


def dicom(pixels: NDArray[np.uint8], header: Header) -> bytes:
    """Build an anonymised DICOM ultrasound image, the same bytes for the same pixels.

    Args:
        pixels: `(H, W)` or `(H, W, 3)`.
        header: Metadata.
    """
    import io

    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["image", header.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID = meta.MediaStorageSOPClassUID
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = generate_uid(entropy_srcs=["study", header.name])
    image.SeriesInstanceUID = generate_uid(entropy_srcs=["series", header.name])
    image.Modality, image.ImageType = "US", ["ORIGINAL", "PRIMARY"]
    image.Manufacturer, image.ManufacturerModelName = "fibrolab phantom", header.model
    image.PatientID, image.PatientName, image.PatientBirthDate = header.patient_id, "", ""
    image.PatientSex, image.PatientAge = header.sex, f"{header.age_years:03d}Y"
    image.PatientIdentityRemoved, image.DeidentificationMethod = "YES", "no person was scanned"
    image.StudyDate = image.StudyTime = image.StudyID = image.AccessionNumber = ""
    image.ReferringPhysicianName, image.SeriesNumber, image.InstanceNumber = "", None, 1
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"
    image.Rows, image.Columns = pixels.shape[:2]
    image.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    image.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        image.PlanarConfiguration = 0
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    padding = pixels.size % 2  # the length of a value must be even
    image.PixelData = pixels.tobytes() + bytes(padding)
    image["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
