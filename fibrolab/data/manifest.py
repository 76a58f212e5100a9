"""The manifest: one row a sample, checked once at the border; every later stage trusts it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError, listing

_IDENTITY = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.LABEL)
_TEXT = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE, keys.SCANNER, keys.IMAGE)


@dataclass(frozen=True)
class Manifest:
    """What a data set holds.

    Attributes:
        table: One row a sample, columns as named in `fibrolab.keys`, checked by `validated`.
        classes: Names of the labels; `label` is an index into them.
        name: Name of the data set.
        root: Folder that the paths in the table are relative to.
        left_out: Sentences on files that were skipped as unreadable.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    name: str
    root: Path
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", validated(self.table, self.classes, self.name))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Class index of every sample, int64 (N,)."""
        return self.table[keys.LABEL].to_numpy(np.int64)

    @property
    def groups(self) -> np.ndarray:
        """Group of every sample, strings (N,)."""
        return self.table[keys.GROUP_ID].to_numpy(object)

    def paths(self, column: str = keys.IMAGE) -> list[Path]:
        """Absolute paths of one modality."""
        return [self.root / path for path in self.table[column]]

    @property
    def hash(self) -> str:
        """SHA-256 of who is in it: ids, groups, patients, visits and labels, whatever the row order.

        Pixels and folders are left out, so that a split drawn here holds on another machine.
        """
        identity = self.table[list(_IDENTITY)].sort_values(keys.SAMPLE_ID)
        text = identity.to_csv(index=False, lineterminator="\n")
        return hashlib.sha256(f"{','.join(self.classes)}\n{text}".encode()).hexdigest()


def validated(table: pd.DataFrame, classes: Sequence[str], name: str) -> pd.DataFrame:
    """The table with every column of `fibrolab.keys` that later stages read, or every fault at once.

    Args:
        table: Needs `sample_id`, `label` and `image`; `group_id`, `patient_id`, `visit_id`, `site` and
            `scanner` are filled where absent (a sample without group is a group of its own).
        classes: Names of the labels.
        name: Data set, for the message.

    Raises:
        DataError: Missing column, no row, empty or repeated `sample_id`, label out of range, group or
            path missing, or one visit with two stages; each fault names its rows.
    """
    missing = [column for column in (keys.SAMPLE_ID, keys.LABEL, keys.IMAGE) if column not in table]
    if missing:
        raise DataError(f"The manifest of '{name}' lacks the column(s) {', '.join(missing)}.")
    if table.empty:
        raise DataError(f"The manifest of '{name}' is empty: it holds no sample.")
    table = _completed(table)
    faults = _column_faults(table, classes) + _visit_faults(table, classes)
    if faults:
        raise DataError(f"The manifest of '{name}' has {len(faults)} fault(s):\n{listing(faults)}")
    return table.astype({keys.LABEL: np.int64})


def _completed(table: pd.DataFrame) -> pd.DataFrame:
    table = table.reset_index(drop=True).copy()
    for column in (keys.PATIENT_ID, keys.VISIT_ID, keys.SITE, keys.SCANNER):
        if column not in table:
            table[column] = ""
    if keys.GROUP_ID not in table:
        table[keys.GROUP_ID] = table[keys.PATIENT_ID].where(table[keys.PATIENT_ID] != "", table[keys.SAMPLE_ID])
    for column in _TEXT:
        table[column] = table[column].fillna("").astype(str)
    return table


def _column_faults(table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    import pandera.pandas as pa  # a second of import: only where a manifest is made

    filled = pa.Check.str_length(min_value=1, error="is empty")
    label = pa.Check.isin(range(len(classes)), error=f"is not a class index 0..{len(classes) - 1}")
    schema = pa.DataFrameSchema(
        {
            keys.SAMPLE_ID: pa.Column(checks=filled, unique=True),
            keys.GROUP_ID: pa.Column(checks=filled),
            keys.IMAGE: pa.Column(checks=filled),
            keys.LABEL: pa.Column(checks=label, nullable=False),
        }
    )
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases.sort_values("index", kind="stable")
        return [
            f"row {int(row['index'])}: {row['column']} {row['failure_case']!r} {_reason(row['check'])}"
            for row in cases.to_dict("records")
        ]
    return []


def _reason(check: str) -> str:
    return {"field_uniqueness": "is repeated", "not_nullable": "is missing"}.get(str(check), str(check))


def _visit_faults(table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """A stage belongs to a visit: two stages on one visit cannot both be true."""
    visits = table[table[keys.VISIT_ID] != ""]
    faults = []
    for (patient, visit), rows in visits.groupby([keys.PATIENT_ID, keys.VISIT_ID], sort=True):
        stages = sorted({str(label) for label in rows[keys.LABEL]})
        if len(stages) > 1:
            where = ", ".join(str(row) for row in rows.index[:6])
            faults.append(f"visit {visit!r} of patient {patient!r} has labels {', '.join(stages)} (rows {where})")
    return faults
