"""Overlays as DICOM: read back by pydicom, with the identity of their source or without any name."""

import builtins
import io
from pathlib import Path

import dicom_case
import numpy as np
import pydicom
import pytest

from fibrolab.data.readers import decode
from fibrolab.errors import ConfigError
from fibrolab.explanation import secondary_capture
from fibrolab.explanation.secondary_capture import CAUTION, Description

OVERLAY = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
SAID = Description("Grad-CAM of F3", "1a2b3c4d")
HASHED = Description("Grad-CAM of F3", "1a2b3c4d", patient_id="0f" * 8)
IDENTITY = {
    "PatientID": "p17",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19560403",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.40",
    "StudyDate": "20240102",
    "AccessionNumber": "A-17",
    "ReferringPhysicianName": "House^Gregory",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    scan = dicom_case.dataset(np.zeros((5, 7), np.uint8), SOPInstanceUID="1.2.41", **IDENTITY)
    (tmp_path / "scan.dcm").write_bytes(dicom_case.saved(scan))
    return tmp_path / "scan.dcm"


def capture(source: Path, description: Description = SAID, frame: int | None = None) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(secondary_capture.encoded(source, OVERLAY, description, frame)))


def test_the_overlay_keeps_its_pixels_and_belongs_to_patient_and_study(source: Path) -> None:
    image = capture(source)
    np.testing.assert_array_equal(image.pixel_array, OVERLAY)
    np.testing.assert_array_equal(decode(secondary_capture.encoded(source, OVERLAY, SAID), source), OVERLAY)
    assert image.SOPClassUID.name == "Secondary Capture Image Storage"
    assert image.ImageType[0] == "DERIVED"
    assert image.Laterality == ""  # empty where unknown, but never absent
    assert {name: str(image.get(name)) for name in IDENTITY} == IDENTITY


def test_the_overlay_refers_to_its_source_and_frame(source: Path) -> None:
    (reference,) = capture(source).SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == "1.2.41"
    assert "ReferencedFrameNumber" not in reference
    assert capture(source, frame=4).SourceImageSequence[0].ReferencedFrameNumber == 5


def test_the_description_names_method_and_run_and_warns(source: Path) -> None:
    image = capture(source)
    assert image.SeriesDescription == f"Grad-CAM of F3, run 1a2b3c4d: {CAUTION}"
    assert CAUTION in image.DerivationDescription.lower()
    long = Description("Integrated gradients of F2 or worse", "1a2b3c4d" * 4)
    assert len(long.series) == 64
    assert long.series.endswith(CAUTION)


def test_with_hashed_ids_no_name_is_copied(source: Path) -> None:
    content = secondary_capture.encoded(source, OVERLAY, HASHED)
    for name in ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName"):
        assert IDENTITY[name].encode() not in content
    image = pydicom.dcmread(io.BytesIO(content))
    assert (image.PatientID, image.StudyInstanceUID) == (HASHED.patient_id, "1.2.40")


def test_the_same_overlay_has_the_same_identifiers_and_another_has_others(source: Path) -> None:
    first, again, other = (
        capture(source),
        capture(source),
        capture(source, Description("Occlusion", "1a2b3c4d")),
    )
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID != other.SeriesInstanceUID


def test_a_source_without_names_and_study_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "bare.dcm"
    path.write_bytes(dicom_case.saved(dicom_case.dataset(np.zeros((5, 7), np.uint8))))
    image = capture(path)
    assert image.PatientName == ""
    assert image.StudyInstanceUID


def test_without_highdicom_one_sentence_says_how_to_install_it(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("highdicom"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'fibrolab\[dicom\]'"):
        secondary_capture.encoded(source, OVERLAY, SAID)
