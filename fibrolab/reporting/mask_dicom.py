"""Predicted masks as DICOM SEG, which belong to the patient and study of their source and refer to it."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fibrolab
from fibrolab.errors import DataError
from fibrolab.explanation import secondary_capture
from fibrolab.explanation.secondary_capture import CAUTION, LONG_STRING

SCHEME = "99FIBROLAB"  # private coding schemes begin with 99 (PS3.16, 8.2)
SERIES_NUMBER = 9200  # after those of the scanner, of overlays and of answers


def encoded(source: Path, classes: np.ndarray, names: Sequence[str], run: str) -> bytes:
    """Return the mask of a picture as the content of a DICOM file, with a binary segment for each class.

    Its identifiers are derived from those of the source, the run and the pixels.

    Args:
        source: DICOM file of the picture.
        classes: Class of each pixel of the picture, the background as 0, uint8 (H, W).
        names: Names of the classes, the background first; class k is segment k.
        run: Id of the segmenter's run.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: The header of the source cannot be referred to, or states another size than the mask's.
    """
    original = secondary_capture.header(source)
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    image = secondary_capture.evidence(original)
    if classes.shape != (image.Rows, image.Columns):
        raise DataError(
            f"{source}: its header states {image.Columns} x {image.Rows} pixels, but its mask has "
            f"{classes.shape[1]} x {classes.shape[0]}: it has no DICOM SEG, only the PNG."
        )
    algorithm = AlgorithmIdentificationSequence(
        "fibrolab", codes.DCM.ArtificialIntelligence, fibrolab.__version__, parameters={"run": run}
    )
    segments = [
        SegmentDescription(
            number,
            name[:LONG_STRING],
            codes.SCT.AnatomicalStructure,
            CodedConcept(f"segment {name}"[:16].strip(), SCHEME, name[:LONG_STRING]),
            "AUTOMATIC",
            algorithm,
        )
        for number, name in enumerate(names[1:], start=1)
    ]
    description = f"{f'Masks of run {run}'[: LONG_STRING - len(CAUTION) - 2]}: {CAUTION}"
    found = Segmentation(
        source_images=[image],
        pixel_array=classes,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=secondary_capture.uid("mask series", image.StudyInstanceUID, run),
        series_number=SERIES_NUMBER,
        sop_instance_uid=secondary_capture.uid("mask", image.SOPInstanceUID, run, classes.tobytes().hex()),
        instance_number=int(image.InstanceNumber),
        manufacturer="fibrolab",
        manufacturer_model_name="fibrolab",
        software_versions=fibrolab.__version__,
        device_serial_number="0",
        series_description=description,
    )
    content = io.BytesIO()
    found.save_as(content, enforce_file_format=True)
    return content.getvalue()
