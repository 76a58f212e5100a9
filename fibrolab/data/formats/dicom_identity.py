"""What in a DICOM header still tells who a person is."""

from pydicom import Dataset

# Fields of the basic profile for de-identification (PS3.15, table E.1-1) that say who a person is: those that
# it removes, and those in which it allows a dummy to stand. Left out are pseudonyms by design (PatientID,
# AccessionNumber) and what is no person (InstitutionName, which a manifest keeps as the site).
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
_NOBODY = ("anon", "deident", "de-ident", "removed", "redacted", "unknown", "none", "n/a", "no name")


def identity(dataset: Dataset) -> tuple[str, ...]:
    """Names of the fields of a header that still tell who the patient, or a physician, is.

    Empty and plainly anonymised values do not count, nor a patient's name that repeats the PatientID (a
    pseudonym), nor a birth date on the first of January (the year alone). Where the header declares
    PatientIdentityRemoved = YES, `REPLACED` fields may hold dummies and are believed; `REMOVED` ones are not.
    Fields nested in sequences and burned-in text are not looked at.
    """
    declared = str(dataset.get("PatientIdentityRemoved", "")).strip().upper() == "YES"
    fields = REMOVED if declared else (*REPLACED, *REMOVED)
    return tuple(field for field in fields if _tells(field, dataset))


def _tells(field: str, dataset: Dataset) -> bool:
    value = str(dataset.get(field, None) or "").strip(" ^=,[]'\"")
    if field == "PatientName" and value == str(dataset.get("PatientID", "")).strip():
        return False
    if field == "PatientBirthDate" and value.endswith("0101"):
        return False
    return bool(value) and not value.lower().startswith(_NOBODY)
