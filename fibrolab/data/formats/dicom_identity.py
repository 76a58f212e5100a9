"""What the header of a DICOM file says of the patient: id, date, and whether a person can be recognised.

"PS3.x" are the parts of the DICOM standard.
"""

import io
from datetime import datetime

import pydicom

from fibrolab.data.formats.contract import BURNED_IN
from fibrolab.data.tables import MISSING

# Fields of the basic profile for de-identification (PS3.15, table E.1-1) that identify a person: those that
# the profile removes, and those that it allows to be replaced by a dummy value. Not listed are pseudonyms
# (PatientID, AccessionNumber) and fields that name no person (InstitutionName, the manifest's site).
REMOVED = (
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "ResponsiblePerson",
    "MilitaryRank",
    "MedicalRecordLocator",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "RequestingPhysician",
    "OperatorsName",
)
REPLACED = ("PatientName", "PatientBirthDate", "ReferringPhysicianName")
NOT_REMOVED = "PatientIdentityRemoved=NO"
# Words that programs write instead of every patient's id: one patient of all that have them is none.
_NO_PATIENT = MISSING | {
    "anon", "anonym", "anonymous", "anonymised", "anonymized", "deidentified", "de-identified", "removed",
    "redacted", "no name", "no id",
}  # fmt: skip
_ANONYMOUS = ("anon", "deident", "de-ident", "removed", "redacted", "unknown", "none", "n/a", "no name")


def patient_and_date(content: bytes) -> tuple[str, str]:
    """Return PatientID and StudyDate (2024-01-31) of a DICOM file, empty if absent or no date.

    A PatientID such as ANONYMOUS, which patients share, counts as absent. The pixels are not read.
    """
    dataset = pydicom.dcmread(
        io.BytesIO(content), force=True, stop_before_pixels=True, specific_tags=["PatientID", "StudyDate"]
    )
    patient = str(dataset.get("PatientID", None) or "").strip()
    if patient.casefold() in _NO_PATIENT:
        patient = ""
    try:
        date = datetime.strptime(str(dataset.get("StudyDate", None) or "").strip(), "%Y%m%d").date()
    except ValueError:
        return patient, ""
    return patient, date.isoformat()


def identity(dataset: pydicom.Dataset) -> tuple[str, ...]:
    """Return the names of header fields that still identify the patient or a physician.

    Not counted are empty and plainly anonymised values, a patient's name equal to the PatientID (a
    pseudonym), and a birth date on the first of January (only the year is given). If the header declares
    PatientIdentityRemoved = YES, values of `REPLACED` fields are taken as dummies; `REMOVED` fields are still
    checked. Fields nested in sequences are not checked. `NOT_REMOVED` and `BURNED_IN` stand for what the
    header itself declares; the pixels are not searched for text.
    """
    declared, burned_in = (
        str(dataset.get(name, None) or "").strip().upper()
        for name in ("PatientIdentityRemoved", "BurnedInAnnotation")
    )
    fields = REMOVED if declared == "YES" else (*REPLACED, *REMOVED)
    said = {NOT_REMOVED: declared == "NO", BURNED_IN: burned_in == "YES"}
    return (
        *(field for field in fields if _identifies(field, dataset)),
        *(statement for statement, is_said in said.items() if is_said),
    )


def _identifies(field: str, dataset: pydicom.Dataset) -> bool:
    """Return whether a header field has a value that identifies a person."""
    value = str(dataset.get(field, None) or "").strip(" ^=,[]'\"")
    if field == "PatientName" and value == str(dataset.get("PatientID", "")).strip():
        return False
    if field == "PatientBirthDate" and value.endswith("0101"):
        return False
    return bool(value) and not value.lower().startswith(_ANONYMOUS)
