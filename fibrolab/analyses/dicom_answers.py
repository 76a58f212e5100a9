"""DICOM objects of the answers to samples that are DICOM files: a report and a picture for each."""

import warnings
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media
from fibrolab.data.progress import track
from fibrolab.data.readers import describe, is_dicom, read_bytes, read_image
from fibrolab.errors import DataError, UnreadableImageError, listing
from fibrolab.reporting import answer_dicom
from fibrolab.reporting.vocabulary import counted, records
from fibrolab.runs.answering import ERROR, Rules
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import make_folder, put, write_table

FOLDER = "dicom"
INDEX = "files.csv"  # the sample of each file
# Faults of foreign headers, such as a date that is none, as pydicom and highdicom raise them.
UNFIT = (DataError, UnreadableImageError, ValueError, TypeError, AttributeError, KeyError)


def write(folder: Path, manifest: Manifest, table: pd.DataFrame, rules: Rules, run: TrainedRun) -> None:
    """Write a structured report and a picture with the answer of each answered sample that is a DICOM file.

    A sample whose header has faults is left out, and a line says so.

    Args:
        folder: Folder of the answers.
        manifest: The samples.
        table: Their answers.
        rules: Rules of the level of samples.
        run: The run that answered.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    name, target = run.run_id or str(run.config.name), make_folder(folder / FOLDER)
    written, faults = [], []
    rows = list(zip(manifest.pictures(), manifest.shown, records(table), strict=True))
    for number, (picture, modality, row) in enumerate(track(rows, len(rows), "DICOM answers")):
        if row[ERROR] or not is_dicom(picture.path):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of names with one part, copied as they are
                made = _made(picture, modality, row, rules, name)
        except UNFIT as fault:
            faults.append(f"{row[keys.SAMPLE_ID]}: {' '.join(str(fault).split())}")
            continue
        files = {kind: f"{number:05d}_{kind}.dcm" for kind in made}
        for kind, content in made.items():
            put(target / files[kind], content)
        written.append({keys.SAMPLE_ID: row[keys.SAMPLE_ID], **files})
    write_table(pd.DataFrame(written, columns=[keys.SAMPLE_ID, "report", "capture"]), target / INDEX)
    print(f"DICOM    {target} has report and picture of {counted(len(written), 'sample')}")
    if faults:
        print(f"warning  {counted(len(faults), 'DICOM file')} without them:\n{listing(faults)}")


def _made(picture: Media, modality: str, row: dict, rules: Rules, run: str) -> dict[str, bytes]:
    """Return report and picture; of a film the picture is the middle frame, the report on the whole."""
    frames = describe(read_bytes(picture.path), picture.path).frames
    frame = picture.view.frame_of(frames, picture.path) if frames > 1 else None
    pixels = read_image(picture.path, picture.view)
    return {
        "report": answer_dicom.report(
            picture.path, row, rules, run, None if modality == keys.CLIP else frame
        ),
        "capture": answer_dicom.capture(picture.path, pixels, row, rules, run, frame),
    }
