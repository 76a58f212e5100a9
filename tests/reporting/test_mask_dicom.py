"""Predicted masks as DICOM SEG: read back as they were, with the patient and study of their source."""

import io
import sys
from pathlib import Path

import dicom_case
import numpy as np
import pydicom
import pytest
from PIL import Image

from fibrolab.analyses import segmented_data
from fibrolab.data.media import Media, View
from fibrolab.data.readers import decode_labels
from fibrolab.errors import DataError
from fibrolab.mask_classes import MaskClasses
from fibrolab.reporting import mask_dicom

pytest.importorskip("highdicom", reason="the extra dicom is not installed")
NAMES = ("background", "liver", "lesion")
IDENTITY = {
    "PatientID": "p17",
    "PatientName": "Doe^Jane",
    "StudyInstanceUID": "1.2.40",
    "StudyDate": "20240102",
}


def classes() -> np.ndarray:
    found = np.zeros((9, 15), np.uint8)
    found[2:4, 3:9], found[6:8, 1:4] = 1, 2
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    scan = dicom_case.dataset(np.full((9, 15), 7, np.uint8), SOPInstanceUID="1.2.41", **IDENTITY)
    (tmp_path / "scan.dcm").write_bytes(dicom_case.saved(scan))
    return tmp_path / "scan.dcm"


@pytest.mark.parametrize("made", [classes(), 0 * classes(), np.minimum(classes(), 1)])
def test_a_mask_is_read_back_as_it_was_written(source: Path, made: np.ndarray) -> None:
    content = mask_dicom.encoded(source, made, NAMES, "1a2b")
    assert (decode_labels(content, Path("mask.dcm"), Media(source)) == made).all()


def test_a_mask_of_another_size_than_the_header_states_is_refused(source: Path) -> None:
    with pytest.raises(
        DataError, match=r"scan\.dcm: its header states 15 x 9 pixels, but its mask has 9 x 15"
    ):
        mask_dicom.encoded(source, classes().T, NAMES, "1a2b")


def test_it_belongs_to_patient_and_study_and_names_its_segments_run_and_use(source: Path) -> None:
    content = mask_dicom.encoded(source, classes(), NAMES, "1a2b")
    found = pydicom.dcmread(io.BytesIO(content))
    assert {name: str(found.get(name)) for name in IDENTITY} == IDENTITY
    assert [each.SegmentLabel for each in found.SegmentSequence] == ["liver", "lesion"]
    assert found.SeriesDescription == "Masks of run 1a2b: research only, not for diagnosis"
    (series,) = found.ReferencedSeriesSequence
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == "1.2.41"
    again = pydicom.dcmread(io.BytesIO(mask_dicom.encoded(source, classes(), NAMES, "1a2b")))
    assert again.SOPInstanceUID == found.SOPInstanceUID
    other = pydicom.dcmread(io.BytesIO(mask_dicom.encoded(source, classes(), NAMES, "3c4d")))
    assert (other.SOPInstanceUID, other.SeriesInstanceUID) != (found.SOPInstanceUID, found.SeriesInstanceUID)


def test_masks_of_dicom_files_are_written_and_those_of_others_left_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = MaskClasses.of({"liver": [2, 3], "lesion": [4]}, 255)
    bare = pydicom.dcmread(source)
    del bare.SOPInstanceUID
    (tmp_path / "bare.dcm").write_bytes(dicom_case.saved(bare, enforce_file_format=False))
    Image.fromarray(classes()).save(tmp_path / "scan.png")
    media = [
        Media(source),
        Media(tmp_path / "scan.png"),
        Media(tmp_path / "bare.dcm"),
        Media(source, View(0)),
    ]
    names = [f"{number}.png" for number in range(len(media))]
    (tmp_path / "masks").mkdir()
    for name in names:
        Image.fromarray(levels.pixels()[classes()]).save(tmp_path / "masks" / name)
    segmented_data.write_dicom(tmp_path, media, names, levels, "1a2b")
    (written,) = (tmp_path / "dicom").iterdir()
    assert (decode_labels(written.read_bytes(), written, media[0]) == classes()).all()
    said = capsys.readouterr().out
    assert "bare.dcm: the header lacks SOPInstanceUID" in said
    monkeypatch.setitem(sys.modules, "highdicom", None)
    segmented_data.write_dicom(tmp_path / "other", media, names, levels, "1a2b")
    assert "pip install 'fibrolab[dicom]'" in capsys.readouterr().out
    assert not (tmp_path / "other").exists()


def test_a_source_that_cannot_be_referred_to_is_refused(source: Path) -> None:
    scan = pydicom.dcmread(source)
    del scan.SOPInstanceUID
    source.write_bytes(dicom_case.saved(scan, enforce_file_format=False))
    with pytest.raises(DataError, match="the header lacks SOPInstanceUID"):
        mask_dicom.encoded(source, classes(), NAMES, "1a2b")
