"""The user's own table for jobs that read no pixels: labels and values, one or several rows per patient.

The table of the source `table`, whose columns of pictures may be absent or empty and are not read:

    patients.csv
        patient_id,visit_id,label,lsm_kpa,age_years,ast_u_l,ast_uln_u_l,alt_u_l,platelets_1e9_l
        P001,1,F2,7.9,54,61,40,48,187
        P002,1,F4,18.2,61,75,40,52,121
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data import patient_ids
from fibrolab.data.fault_sentences import refuse
from fibrolab.data.manifest import PATHS, Manifest
from fibrolab.data.sources.table import STAGES, labelled

_OF_PICTURES = (*PATHS, keys.FRAME, keys.ROI, keys.ELASTOGRAM_ROI)


def load(
    *,
    path: str | Path,
    sheet: str | None = None,
    root: str | Path | None = None,
    mask_root: str | Path | None = None,
    classes: Sequence[str] = STAGES,
    columns: Mapping[str, str | None] | None = None,
) -> Manifest:
    """Read a table without its pictures.

    Args:
        path: CSV, Excel or Parquet file.
        sheet: Sheet of an Excel file; None for the first one.
        root: Not used, since no picture is read.
        mask_root: Not used.
        classes: As for `sources.table.load`.
        columns: As for `sources.table.load`.

    Returns:
        The manifest; without a column `sample_id` the samples are named after their rows.

    Raises:
        ConfigError: As `sources.table.load`.
        DataError: As `sources.table.load`, except for faults of pictures; or some rows have a patient, and
            others none.
    """
    del root, mask_root
    table = labelled(path, classes, columns, sheet=sheet).drop(columns=list(_OF_PICTURES), errors="ignore")
    if keys.PATIENT_ID in table:
        refuse(path, [*patient_ids.half_filled(table[keys.PATIENT_ID])])
    if keys.SAMPLE_ID not in table:
        table.insert(0, keys.SAMPLE_ID, pd.Series([f"row {row}" for row in table.index], table.index))
    path = Path(path).expanduser().absolute()
    return Manifest(table, tuple(map(str, classes)), path.stem, path.parent, pictured=False)
