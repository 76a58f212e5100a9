"""Label maps in DICOM SEG and NIfTI: labels and spacing as they were written; other files are refused."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from fibrolab.data.formats.label_maps import SEGMENTATION
from fibrolab.data.readers import decode_labels, spacing
from fibrolab.errors import UnreadableImageError


def labels(height: int = 10, width: int = 16) -> np.ndarray:
    found = np.zeros((height, width), np.uint8)
    found[2:5, 3:9], found[6:9, 1:4] = 1, 2
    return found


def seg(path: Path, frames: np.ndarray, numbers: list[int], kind: str = "BINARY") -> Path:
    """Write a SEG with one bit a pixel, one frame for each number of a segment."""
    dataset = Dataset()
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
        group, identification = Dataset(), Dataset()
        identification.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = Sequence([identification])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.3, 0.2]
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_the_segments_of_a_seg_are_its_labels(tmp_path: Path) -> None:
    frames = np.stack([labels() == 2, labels() == 1])
    path = seg(tmp_path / "m.dcm", frames, [2, 1])
    assert (decode_labels(path.read_bytes(), path) == labels()).all()
    assert spacing(path) == (0.3, 0.2)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_voxel_labels_the_pixel_of_its_column_and_row(suffix: str, tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(labels().T[..., None], np.diag([0.2, 0.3, 1, 1]))
    nibabel.save(image, path := tmp_path / f"m{suffix}")
    assert (decode_labels(path.read_bytes(), path) == labels()).all()
    assert spacing(path) == pytest.approx((0.3, 0.2))


def test_files_that_are_no_label_map_of_one_image_are_refused(tmp_path: Path) -> None:
    import nibabel

    frames = np.stack([labels() == 2, labels() == 1])
    overlap = np.stack([labels() > 0, labels() == 1])
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 3), np.uint8), np.eye(4)), tmp_path / "volume.nii")
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5), 0.5, np.float32), np.eye(4)), tmp_path / "half.nii")
    dataset = pydicom.dcmread(seg(tmp_path / "a.dcm", frames, [1, 2]))
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    dataset.save_as(tmp_path / "image.dcm")
    for path, words in (
        (seg(tmp_path / "several.dcm", frames, [1, 1]), "labels several images"),
        (seg(tmp_path / "overlap.dcm", overlap, [2, 1]), "segments overlap"),
        (seg(tmp_path / "part.dcm", frames, [2, 1], "FRACTIONAL"), "a SEG of type 'FRACTIONAL'"),
        (tmp_path / "image.dcm", "no segmentation"),
        (tmp_path / "volume.nii", "holds 3 label maps"),
        (tmp_path / "half.nii", "holds numbers from 0.5 to 0.5"),
    ):
        with pytest.raises(UnreadableImageError, match=words):
            decode_labels(path.read_bytes(), path)


def test_the_region_of_an_ultrasound_image_tells_its_spacing(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(seg(tmp_path / "m.dcm", labels()[None] > 0, [1]))
    del dataset.SharedFunctionalGroupsSequence
    region = Dataset()
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03  # [cm]
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    dataset.SequenceOfUltrasoundRegions = Sequence([region])
    dataset.save_as(path := tmp_path / "us.dcm")
    assert spacing(path) == pytest.approx((0.3, 0.2))
    region.PhysicalUnitsXDirection = 4  # seconds, of a region in M mode
    dataset.save_as(path)
    assert spacing(path) is None
