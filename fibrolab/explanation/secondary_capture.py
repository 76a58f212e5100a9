"""Pictures as DICOM Secondary Capture images, which belong to the patient and study of their source.

highdicom (Bridge et al., Journal of Digital Imaging 35:1719-1737, 2022) builds the objects. "PS3.x" are the
parts of the DICOM standard.
"""

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fibrolab.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pydicom

CAUTION = "research only, not for diagnosis"
LONG_STRING = 64  # characters of a value representation LO (PS3.5, 6.2)
SERIES_NUMBER = 9000  # after those of the scanner
# Fields that name a person or lead to one, and are emptied where ids are hashed; `PatientID` is replaced.
NAMES = ("PatientName", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "StudyID")


@dataclass(frozen=True)
class Description:
    """The words of an overlay's header.

    Attributes:
        method: Name of the method and the target, such as ``Grad-CAM of F3``.
        run: Name or id of the explained run.
        patient_id: Pseudonym that replaces the identity of the patient; empty to copy it from the source.
    """

    method: str
    run: str
    patient_id: str = ""

    @property
    def series(self) -> str:
        """Description of the series: the caution always fits, the rest as far as it does."""
        room = LONG_STRING - len(CAUTION) - 2
        return f"{f'{self.method}, run {self.run}'[:room]}: {CAUTION}"


def require() -> None:
    """Refuse to make DICOM objects where highdicom is not installed.

    Raises:
        ConfigError: The command that installs it.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "Results as DICOM objects need highdicom: install it by `pip install 'fibrolab[dicom]'`."
        ) from error
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it logs every attribute that it copies


def header(source: Path) -> "pydicom.Dataset":
    """Return the header of a source.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: It lacks the identifiers by which another object refers to it.
    """
    require()
    import pydicom

    found = pydicom.dcmread(source, stop_before_pixels=True, force=True)
    if lacking := [name for name in ("SOPClassUID", "SOPInstanceUID") if not found.get(name)]:
        raise DataError(
            f"{source}: the header lacks {' and '.join(lacking)}, by which a DICOM object would refer to it."
        )
    return found


def study(original: "pydicom.Dataset") -> str:
    """Return the UID of the study of a source; one made from the source's own where it names none."""
    return str(original.get("StudyInstanceUID") or uid("study", original.SOPInstanceUID))


def uid(*parts: Any) -> str:
    """Return a UID that depends on these parts only."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=list(map(str, parts))))


def evidence(original: "pydicom.Dataset") -> "pydicom.Dataset":
    """Return the identity of a source with the fields that other objects take over, empty where unknown."""
    import pydicom

    found = pydicom.Dataset()
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                 "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
        setattr(found, name, original.get(name) or None)
    found.SOPClassUID, found.SOPInstanceUID = original.SOPClassUID, original.SOPInstanceUID
    found.StudyInstanceUID = study(original)
    series = original.get("SeriesInstanceUID")
    found.SeriesInstanceUID = series or uid("source series", found.StudyInstanceUID)
    found.InstanceNumber = int(original.get("InstanceNumber") or 1)
    found.Rows, found.Columns = original.get("Rows"), original.get("Columns")
    found.Modality = original.get("Modality") or "US"
    return found


def encoded(source: Path, overlay: np.ndarray, description: Description, frame: int | None = None) -> bytes:
    """Return an overlay as the content of a DICOM file.

    The image refers to its source. Its identifiers are derived from those of the source, the description and
    the pixels, so that the same overlay has the same ones.

    Args:
        source: DICOM file of the picture.
        overlay: uint8 (H, W, 3).
        description: Words of the header.
        frame: Number of the source's frame, from 0; None for a picture.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: The header of the source cannot be referred to.
    """
    original = header(source)
    from highdicom.sc import SCImage

    identity = (original.SOPInstanceUID, description.series, overlay.tobytes().hex())
    of_study = study(original)
    image = SCImage(
        overlay,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # demanded by highdicom; emptied below
        study_instance_uid=of_study,
        series_instance_uid=uid("series", of_study, description.series),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid("image", *identity),
        instance_number=int(original.get("InstanceNumber") or 1),
        manufacturer="fibrolab",
        **_patient_and_study(original, description.patient_id),
    )
    image.PatientOrientation = []  # of an ultrasound plane it is not known (type 2C, PS3.3, C.7.6.1)
    image.Laterality = original.get("Laterality") or ""  # the liver has none (type 2C, PS3.3, C.7.3.1)
    image.SeriesDescription = description.series
    image.DerivationDescription = f"{description.method}, run {description.run}. {CAUTION.capitalize()}."
    image.BurnedInAnnotation = original.get("BurnedInAnnotation") or "YES"  # text of the screen may identify
    image.SourceImageSequence = [_reference(original, frame)]
    content = io.BytesIO()
    image.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _patient_and_study(original: "pydicom.Dataset", patient_id: str) -> dict[str, Any]:
    """Return what the new image takes over from its source; under a pseudonym, no name or date of birth."""
    fields = {
        "patient_id": "PatientID",
        "patient_name": "PatientName",
        "patient_birth_date": "PatientBirthDate",
        "patient_sex": "PatientSex",
        "accession_number": "AccessionNumber",
        "study_id": "StudyID",
        "study_date": "StudyDate",
        "study_time": "StudyTime",
        "referring_physician_name": "ReferringPhysicianName",
    }
    found = {
        argument: original.get(field) or None
        for argument, field in fields.items()
        if not (patient_id and field in NAMES)
    }
    return found | {"patient_id": patient_id} if patient_id else found


def _reference(original: "pydicom.Dataset", frame: int | None) -> "pydicom.Dataset":
    """Return a reference to the source (PS3.3, C.7.6.1.1.4)."""
    import pydicom

    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = original.SOPClassUID
    item.ReferencedSOPInstanceUID = original.SOPInstanceUID
    if frame is not None:
        item.ReferencedFrameNumber = frame + 1
    return item
