"""Label maps in DICOM SEG and NIfTI: labels and spacing as they were written; other files are refused."""

from pathlib import Path

import dicom_case
import numpy as np
import pydicom
import pytest
from dicom_case import seg
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fibrolab.callbacks import mask_writer
from fibrolab.data.media import Media, View
from fibrolab.data.readers import decode_labels, spacing
from fibrolab.errors import UnreadableImageError


def labels(height: int = 10, width: int = 16) -> np.ndarray:
    found = np.zeros((height, width), np.uint8)
    found[2:5, 3:9], found[6:9, 1:4] = 1, 2
    return found


def test_the_segments_of_a_seg_are_its_labels(tmp_path: Path) -> None:
    frames = np.stack([labels() == 2, labels() == 1])
    path = seg(tmp_path / "m.dcm", frames, [2, 1])
    assert (decode_labels(path.read_bytes(), path) == labels()).all()
    assert spacing(path) == (0.3, 0.2)


def images(folder: Path, number: int, **tags: object) -> list[Path]:
    """Write DICOM images as large as `labels`, with the SOP Instance UIDs 1.2.0, 1.2.1 and so on."""
    paths = []
    for i in range(number):
        scan = dicom_case.dataset(np.full((10, 16), i, np.uint8), SOPInstanceUID=f"1.2.{i}", **tags)
        paths.append(folder / f"image{i}.dcm")
        paths[-1].write_bytes(dicom_case.saved(scan))
    return paths


def of_image(mask: Path, image: Path, frame: int | None = None) -> np.ndarray:
    return decode_labels(mask.read_bytes(), mask, Media(image, View(frame)))


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_each_image_of_a_series_gets_the_frames_of_a_seg_that_refer_to_it(kind: str, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason="the extra dicom is not installed")
    empty = dict.fromkeys(
        ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"), ""
    )
    series = {"StudyInstanceUID": "1.4", "SeriesInstanceUID": "1.5", "FrameOfReferenceUID": "1.6"}
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.3, 0.2], "SliceThickness": 1}
    others = {"PatientID": "p", "StudyID": "", "ReferringPhysicianName": "", "Modality": "US", **empty}
    paths = images(tmp_path, 3, InstanceNumber=1, SeriesNumber=1, **series, **place, **others)
    scans = [pydicom.dcmread(path) for path in paths]
    for height, scan in enumerate(scans):
        scan.ImagePositionPatient = [0, 0, height]
    maps = np.stack([labels(), 0 * labels(), labels()[::-1]])  # no frame is written for the empty one
    code = highdicom.sr.CodedConcept("10200004", "SCT", "Liver")
    segments = [
        highdicom.seg.SegmentDescription(number, f"segment {number}", code, code, "MANUAL")
        for number in (1, 2)
    ]
    made = highdicom.seg.Segmentation(
        scans, maps, kind, segments, "1.7", 1, "1.8", 1, "maker", "model", "1", "0"
    )
    made.save_as(mask := tmp_path / "series.dcm")
    for path, expected in zip(paths, maps, strict=True):
        assert (of_image(mask, path) == expected).all()


def test_each_frame_of_a_film_gets_the_labels_that_refer_to_it(tmp_path: Path) -> None:
    import nibabel

    (path,) = images(tmp_path, 1)
    film = dicom_case.dataset(np.zeros((3, 10, 16), np.uint8), NumberOfFrames=3, SOPInstanceUID="1.2.0")
    path.write_bytes(dicom_case.saved(film))
    frames = np.stack([labels() == 2, labels() == 1, labels()[::-1] == 2])
    mask = seg(tmp_path / "film.dcm", frames, [2, 1, 2], sources=[("1.2.0", 1), ("1.2.0", 1), ("1.2.0", 3)])
    assert (of_image(mask, path, 0) == labels()).all()
    assert (of_image(mask, path, 2) == 2 * (labels()[::-1] == 2)).all()
    with pytest.raises(UnreadableImageError, match=r"film.dcm: has no label of frame 1 of image0.dcm"):
        of_image(mask, path, 1)
    slices = np.stack([labels(), 0 * labels(), labels()[::-1]]).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(slices, np.eye(4)), mask := tmp_path / "film.nii.gz")
    for number in range(3):
        assert (of_image(mask, path, number) == slices[..., number].T).all()


def test_a_seg_of_other_images_is_refused_and_one_without_references_labels_its_only_image(
    tmp_path: Path,
) -> None:
    first, second, third = images(tmp_path, 3)
    frames = np.stack([labels() == 1, labels() == 1])
    mask = seg(tmp_path / "m.dcm", frames, [1, 1], sources=[("1.2.0", None), ("1.2.1", None)])
    assert (of_image(mask, second) == (labels() == 1)).all()
    with pytest.raises(UnreadableImageError, match=r"m.dcm: labels other images than image2.dcm"):
        of_image(mask, third)
    png = tmp_path / "image.png"
    Image.fromarray(labels()).save(png)
    with pytest.raises(UnreadableImageError, match=r"several images.* as the DICOM files to which its"):
        of_image(mask, png)
    mask = seg(tmp_path / "m.dcm", frames[:1], [1])
    for path in (first, third, png):
        assert (of_image(mask, path) == (labels() == 1)).all()


def test_the_series_of_a_seg_names_its_image_where_no_frame_does(tmp_path: Path) -> None:
    first, second = images(tmp_path, 2)
    mask = seg(tmp_path / "m.dcm", labels()[None] == 1, [1], listed=["1.2.0"])
    assert (of_image(mask, first) == (labels() == 1)).all()
    with pytest.raises(UnreadableImageError, match=r"m.dcm: labels other images than image1.dcm"):
        of_image(mask, second)
    mask = seg(tmp_path / "m.dcm", labels()[None] == 1, [1], listed=["1.2.0", "1.2.1"])
    with pytest.raises(UnreadableImageError, match=r"m.dcm: labels several images"):
        of_image(mask, second)


def test_a_seg_that_does_not_tell_its_segments_is_damaged(tmp_path: Path) -> None:
    mask = seg(tmp_path / "m.dcm", np.stack([labels() == 1, labels() == 2]), [1])
    with pytest.raises(UnreadableImageError, match="damaged: does not tell the segment of each frame"):
        decode_labels(mask.read_bytes(), mask)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_voxel_labels_the_pixel_of_its_column_and_row(suffix: str, tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(labels().T[..., None], np.diag([0.2, 0.3, 1, 1]))
    nibabel.save(image, path := tmp_path / f"m{suffix}")
    assert (decode_labels(path.read_bytes(), path) == labels()).all()
    assert spacing(path) == pytest.approx((0.3, 0.2))


@pytest.mark.parametrize(
    ("zooms", "unit", "expected"),
    [
        ((0.2, 0.3), "unknown", (0.3, 0.2)),
        ((0.2, 0.3), "mm", (0.3, 0.2)),
        ((200, 300), "micron", (0.3, 0.2)),
        ((0.0002, 0.0003), "meter", (0.3, 0.2)),
        ((1, 1), "mm", None),  # of programs that do not know it
        ((0, 0), "mm", None),
    ],
)
def test_the_spacing_of_nifti_is_in_millimetres(
    zooms: tuple[float, float], unit: str, expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    import nibabel

    image = nibabel.Nifti1Image(labels().T[..., None], np.eye(4))
    image.header["pixdim"][1:3] = zooms
    image.header.set_xyzt_units(unit)
    (tmp_path / "m.nii").write_bytes(image.to_bytes())
    found = spacing(tmp_path / "m.nii")
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_spacing_of_the_image_counts_before_that_of_its_mask(tmp_path: Path) -> None:
    mask = seg(tmp_path / "m.dcm", labels()[None] == 1, [1])  # 0.3 by 0.2
    own = dicom_case.dataset(np.zeros((10, 16), np.uint8), PixelSpacing=[0.5, 0.4])
    (tmp_path / "own.dcm").write_bytes(dicom_case.saved(own))
    (other,) = images(tmp_path, 1)
    for image, expected in ((tmp_path / "own.dcm", (0.5, 0.4)), (other, (0.3, 0.2))):
        assert mask_writer._spacings({3: Media(mask, labelled=Media(image))}) == {3: expected}


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
