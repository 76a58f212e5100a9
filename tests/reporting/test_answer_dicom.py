"""Answers as DICOM objects, read by pydicom, and checked by dciodvfy and dsrdump where they are installed."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import dicom_case
import numpy as np
import pydicom
import pytest

from fibrolab.errors import DataError
from fibrolab.reporting import answer_dicom
from fibrolab.runs.answering import Rules

CLASSES = ("F0", "F1", "F2", "F3", "F4")
RULES = Rules(CLASSES, True, {"ge_F2": 2, "ge_F4": 4}, {"ge_F2": 0.4}, 1.2, 0.1, 0.8)
CHANCES = np.array([[0.05, 0.15, 0.5, 0.2, 0.1]])
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
IDENTITY = {
    "PatientID": "p17", "PatientName": "Doe^Jane", "PatientBirthDate": "19560403", "PatientSex": "F",
    "StudyInstanceUID": "1.2.40", "SeriesInstanceUID": "1.2.42", "StudyDate": "20240102",
    "StudyTime": "101112", "AccessionNumber": "A-17", "StudyID": "3",
}  # fmt: skip


def answer() -> dict[str, Any]:
    (row,) = RULES.answers(CHANCES).to_dict("records")
    doubt = {"typicality": 0.03, "unlike_training": True, "copy_of": "", "disagreement": None}
    when = {"answered": "2026-01-31T12:00:05+00:00", "sample_id": "scan.dcm"}
    return {str(name): value for name, value in row.items()} | doubt | when


@pytest.fixture
def source(tmp_path: Path) -> Path:
    scan = dicom_case.dataset(PICTURE, SOPInstanceUID="1.2.41", **IDENTITY)
    (tmp_path / "scan.dcm").write_bytes(dicom_case.saved(scan))
    return tmp_path / "scan.dcm"


def values(item: pydicom.Dataset) -> dict[str, str]:
    """Return every value of a report's tree by the meaning of its concept."""
    found = {}
    for each in item.get("ContentSequence", []):
        name = each.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in each else ""
        if each.ValueType == "NUM":
            found[name] = str(each.MeasuredValueSequence[0].NumericValue)
        elif each.ValueType == "CODE":
            found[name] = f"{found.get(name, '')} {each.ConceptCodeSequence[0].CodeMeaning}".strip()
        elif each.ValueType == "TEXT":
            found[name] = f"{found.get(name, '')} {each.TextValue}".strip()
        elif each.ValueType == "IMAGE":
            found[name] = each.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        found |= values(each)
    return found


def test_the_report_holds_the_answer_and_refers_to_patient_study_and_picture(source: Path) -> None:
    content = answer_dicom.report(source, answer(), RULES, "1a2b")
    report = pydicom.dcmread(io.BytesIO(content))
    assert report.SOPClassUID.name == "Comprehensive SR Storage"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    taken = [name for name in IDENTITY if name != "SeriesInstanceUID"]
    assert {name: str(report.get(name)) for name in taken} == {name: IDENTITY[name] for name in taken}
    assert report.SeriesInstanceUID != "1.2.42"
    said = values(report)
    assert [float(said[f"Probability of {name}"]) for name in CLASSES] == CHANCES[0].tolist()
    assert said["Most probable class"] == "Class F2"
    assert said["Class in the prediction set"] == "Class F1 Class F2 Class F3"
    assert float(said["Score of the end point ge_F2"]) == 0.8
    assert said["Decision on the end point ge_F2"] == "Positive"
    assert "Decision on the end point ge_F4" not in said  # which has no threshold
    assert said["Unlike the training images"] == "Yes"
    assert said["Permitted use"] == "Research use only"
    assert "1.2.41" in said.values()  # the source of the measurements
    assert "research" in report.SeriesDescription
    assert answer_dicom.report(source, answer(), RULES, "1a2b") == content  # nothing depends on the clock
    assert (report.ContentDate, report.ContentTime) == ("20260131", "120005")


def test_the_picture_has_its_answer_below_and_a_frame_is_named(source: Path) -> None:
    content = answer_dicom.capture(source, PICTURE, answer(), RULES, "1a2b", frame=4)
    image = pydicom.dcmread(io.BytesIO(content))
    pixels = image.pixel_array
    assert image.SourceImageSequence[0].ReferencedFrameNumber == 5
    left = (pixels.shape[1] - PICTURE.shape[1]) // 2
    np.testing.assert_array_equal(pixels[:40, left : left + 60, 0], PICTURE)
    assert pixels[40:].max() == 255  # the text
    assert "research only" in image.SeriesDescription


def test_a_source_without_identifiers_is_refused(tmp_path: Path) -> None:
    scan = dicom_case.dataset(PICTURE)
    del scan.SOPInstanceUID
    path = tmp_path / "scan.dcm"
    path.write_bytes(dicom_case.saved(scan, enforce_file_format=False))
    with pytest.raises(DataError, match="the header lacks SOPInstanceUID"):
        answer_dicom.report(path, answer(), RULES, "1a2b")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not here")
@pytest.mark.parametrize("kind", ["report", "capture"])
def test_a_validator_finds_no_error(source: Path, kind: str) -> None:
    path = source.with_name(f"{kind}.dcm")
    made = (
        answer_dicom.report(source, answer(), RULES, "1a2b")
        if kind == "report"
        else answer_dicom.capture(source, PICTURE, answer(), RULES, "1a2b")
    )
    path.write_bytes(made)
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
    assert not [line for line in said.splitlines() if line.startswith("Error")]


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump (Debian's dcmtk) is not here")
def test_dcmtk_reads_the_report(source: Path) -> None:
    path = source.with_name("report.dcm")
    path.write_bytes(answer_dicom.report(source, answer(), RULES, "1a2b"))
    read = subprocess.run(["dsrdump", path], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")
    assert '(F2,99FIBROLAB,"Class F2")' in read.stdout
