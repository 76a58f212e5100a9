"""Screen captures of shear wave elastography, each with elastogram and grey scale: one row per capture.

Folder tree:

    captures.csv             CSV, Excel or Parquet, paths relative to its folder
        capture,patient_id,visit_id,label,lsm_kpa,age_years,ast_u_l,alt_u_l,platelets_1e9_l
        screens/p01-1.png,P01,1,F2,7.9,54,61,48,187
        screens/p01-2.png,P01,1,F2,8.4,54,61,48,187
    screens/p01-1.png        colour box over the scan; the same scan without colours above or beside it
    screens/p01-2.png

`capture`, `patient_id` and `label` are required. `visit_id`, `site`, `scanner` and the clinical columns are
optional, as in the source `table`. Both modalities are cut from the capture when its pixels are read: the
largest square inside the colour box, and the same square of the grey panel (`fibrolab.data.screen_capture`).

`lsm_kpa` is the scanner's reading on that capture, or one reading of the patient in any row of the visit. In
the manifest, `lsm_kpa` is the mean over the visit's captures, as the paper averages five, and the reading of
each capture is `lsm_reading_kpa`. If the table has no reading at all, readings are computed from the colours,
as the mean over the square; a scanner averages over a circle placed by the sonographer instead.

Made for the protocol of Xue et al., Transfer learning radiomics based on multimodal ultrasound imaging for
staging liver fibrosis, Eur Radiol 30, 2973-2983, 2020: 466 patients with five captures each, Scheuer S0 to S4
(`data.classes=[S0,S1,S2,S3,S4]`). Its captures are not public.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data import screen_capture
from fibrolab.data.fault_sentences import empty_cells, refuse
from fibrolab.data.file_facts import measured
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import AS_STATED, Decode, Media, View
from fibrolab.data.readers import read_image
from fibrolab.data.sources.table import STAGES, as_manifest, labelled, with_ids
from fibrolab.errors import ConfigError, DataError, UnreadableImageError

CAPTURE = "capture"
LSM_READING_KPA = "lsm_reading_kpa"  # of one capture; `lsm_kpa` is the visit's mean
_REQUIRED = (CAPTURE, keys.PATIENT_ID)
NEEDS = tuple((column,) for column in _REQUIRED)
_RESERVED = (keys.IMAGE, keys.ROI, keys.ELASTOGRAM, keys.ELASTOGRAM_ROI, keys.FRAME, LSM_READING_KPA)
_MEASUREMENT = "swe_reading_2"  # raise the number whenever the reading of a capture changes


def load(
    *,
    path: str | Path,
    cache: str | Path,
    sheet: str | None = None,
    root: str | Path | None = None,
    classes: Sequence[str] = STAGES,
    columns: Mapping[str, str | None] | None = None,
    top_kpa: float = 40.0,
    decode: Decode = AS_STATED,
) -> Manifest:
    """Read a table of captures.

    Args:
        path: CSV, Excel or Parquet file.
        cache: Folder in which readings from colours are stored.
        sheet: Sheet of an Excel file; None for the first one.
        root: Folder that the paths in the table are relative to; None for the table's folder.
        classes: Names of the labels in their order.
        columns: Names of our columns in the table, such as `patient_id: MRN`.
        top_kpa: Stiffness at the upper end of the colour bar [kPa]; used if the table has no readings.
        decode: Corrections of what the captures state about their pixels.

    Raises:
        ConfigError: `top_kpa` is not above 0, or a setting gives a column that the table lacks.
        DataError: A table that cannot be read, lacks a column or has faults, each with its row.
        StorageError: The readings cannot be stored.
    """
    if not (math.isfinite(top_kpa) and top_kpa > 0):
        raise ConfigError(
            f"data.top_kpa={top_kpa}: give the stiffness at the bar's upper end, above 0 [kPa]."
        )
    table = _pairs(labelled(path, classes, columns, NEEDS, sheet), path)
    manifest = replace(as_manifest(table, classes, path, root), decode=decode)
    table = manifest.table  # checked: no path leaves the root, and every reading is a number
    if keys.LSM_KPA in table and table[keys.LSM_KPA].notna().any():
        readings = table[keys.LSM_KPA]
    else:
        readings = top_kpa * _relative_readings(manifest, Path(cache))
    visits = readings.groupby([table[keys.PATIENT_ID], table[keys.VISIT_ID]])
    table = table.assign(**{LSM_READING_KPA: readings, keys.LSM_KPA: visits.transform("mean")})
    return replace(manifest, table=table)


def _pairs(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Return the table with both modalities of each capture."""
    given = [column for column in _RESERVED if column in table]
    if given:
        raise DataError(
            f"{path} has the column(s) {', '.join(given)}, which data=swe_pairs makes from '{CAPTURE}': "
            "leave them out, or use data=table, which takes them as they are."
        )
    faults = [fault for column in _REQUIRED for fault in empty_cells(table[column])]
    refuse(
        path,
        faults,
        "Each row is one capture of one patient, whose captures share a stiffness and stay in one partition.",
    )
    table = with_ids(table.rename(columns={CAPTURE: keys.IMAGE}))
    boxes = {keys.ROI: "grey_panel", keys.ELASTOGRAM_ROI: "colour_box"}
    return table.assign(**{keys.ELASTOGRAM: table[keys.IMAGE]}, **boxes)


def _relative_readings(manifest: Manifest, cache: Path) -> pd.Series:
    """Read each capture's mean position on its colour bar, 0 to 1, float64 (N,); NaN if it cannot be read.

    Unreadable captures are reported later, together with all unreadable files.
    """
    task, column = "Reading stiffness from colours", "share"  # name of the column in stored measurements
    captures = [Media(item.path, View(decode=item.view.decode)) for item in manifest.media()]
    readings = measured(captures, cache, _MEASUREMENT, (column,), _of_file, task)
    return readings[column].astype(np.float64)


def _of_file(captures: Sequence[Media]) -> list[tuple[float | None]]:
    return [(_relative_reading(capture),) for capture in captures]


def _relative_reading(capture: Media) -> float | None:
    try:
        return screen_capture.reading(read_image(capture.path, capture.view), capture.path)
    except UnreadableImageError:
        return None
