"""Clips of patients, with stills of the same patients: one row per clip.

Folder tree:

    ROOT/
      clips.csv            or Excel, Parquet: clip, patient_id, label and, if there is a still, image
      clips/..             MP4, AVI, Matroska, or DICOM of several frames
      stills/..            PNG, JPEG, DICOM, ..

Every row gets both a clip and an image, so that networks on stills and networks on clips share one manifest
and one split, and are compared on the same patients. The image is the still in `image`; if that is empty, it
is the middle frame of the clip, or the one given in `frame`. A clip with several stills has one row for each.
Other columns of a manifest may be given as for the source `table`.

Made for the comparison in the paper on ultrasound video (110 patients, 77 / 16 / 17 by patient, stills
against clips; Seventh Affiliated Hospital of Sun Yat-sen University, 2023 to 2025). Its clips are not public.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data.fault_sentences import empty_cells, refuse
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import MIDDLE
from fibrolab.data.sources.table import STAGES, as_manifest, labelled, with_ids

NEEDS = ((keys.CLIP,), (keys.PATIENT_ID,))


def load(
    *,
    path: str | Path,
    sheet: str | None = None,
    root: str | Path | None = None,
    classes: Sequence[str] = STAGES,
    columns: Mapping[str, str | None] | None = None,
) -> Manifest:
    """Read a table of clips.

    Args:
        path: CSV, Excel or Parquet file.
        sheet: Sheet of an Excel file; None for the first one.
        root: Folder that the paths in the table are relative to; None for the table's folder.
        classes: Names of the labels in their order.
        columns: Names of our columns in the table, see `fibrolab.data.sources.table.load`.

    Raises:
        ConfigError: An unknown setting, or one with a column that the table lacks.
        DataError: A table that cannot be read or lacks a column; rows without clip or patient, and the
            faults of `manifest.validated`, by row. A file that is not a clip is found when it is read.
    """
    table = labelled(path, classes, columns, NEEDS, sheet)
    why = "clips of one patient must stay together, and nothing else identifies them"
    faults = [
        *empty_cells(table[keys.CLIP], "every row needs a clip"),
        *empty_cells(table[keys.PATIENT_ID], why),
    ]
    refuse(path, faults)
    table = _with_ids(_with_pictures(table))
    return as_manifest(table, classes, path, root)


def _with_pictures(table: pd.DataFrame) -> pd.DataFrame:
    """Use a frame of the clip as the image of a row without a still."""
    empty = pd.Series("", index=table.index)
    image, frame = (table.get(column, empty) for column in (keys.IMAGE, keys.FRAME))
    no_still = image == ""
    frame = frame.mask(no_still & (frame == ""), MIDDLE)
    return table.assign(**{keys.IMAGE: image.mask(no_still, table[keys.CLIP]), keys.FRAME: frame})


def _with_ids(table: pd.DataFrame) -> pd.DataFrame:
    """Name samples by the clip, so that splits stay valid when stills are added; if repeated, by both."""
    if keys.SAMPLE_ID in table:
        return table
    clip, still = table[keys.CLIP], with_ids(table)[keys.SAMPLE_ID]
    repeated = clip.duplicated(keep=False)
    return table.assign(**{keys.SAMPLE_ID: clip.mask(repeated, clip + "#" + still)})
