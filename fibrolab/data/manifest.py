"""The manifest: one row a sample, checked once at the border; every later stage trusts it."""

import hashlib
from collections.abc import Iterator, Sequence
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
            path missing, one visit with two stages, or one patient in two groups; each fault names its rows.
    """
    missing = [column for column in (keys.SAMPLE_ID, keys.LABEL, keys.IMAGE) if column not in table]
    if missing:
        raise DataError(f"The manifest of '{name}' lacks the column(s) {', '.join(missing)}.")
    if table.empty:
        raise DataError(f"The manifest of '{name}' is empty: it holds no sample.")
    table = _completed(table)
    faults = _column_faults(table, classes) + _visit_faults(table, classes) + _patient_faults(table)
    if faults:
        raise DataError(f"The manifest of '{name}' has {len(faults)} fault(s):\n{listing(faults)}")
    return table.astype({keys.LABEL: np.int64})


def _completed(table: pd.DataFrame) -> pd.DataFrame:
    table = table.reset_index(drop=True).copy()
    for column in _TEXT:
        if column in table:
            table[column] = table[column].astype(object).fillna("").astype(str)
        elif column != keys.GROUP_ID:
            table[column] = ""
    if keys.GROUP_ID not in table:
        table[keys.GROUP_ID] = table[keys.PATIENT_ID].where(
            table[keys.PATIENT_ID] != "", table[keys.SAMPLE_ID]
        )
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
    known = (table[keys.VISIT_ID] != "") & table[keys.LABEL].isin(range(len(classes)))
    faults = []
    for (patient, visit), rows in _disagreeing(table[known], [keys.PATIENT_ID, keys.VISIT_ID], keys.LABEL):
        stages = [classes[int(label)] for label in sorted(rows[keys.LABEL].unique())]
        faults.append(f"visit {visit!r} of patient {patient!r} has {_listed(stages)} {_where(rows)}")
    return faults


def _patient_faults(table: pd.DataFrame) -> list[str]:
    """Groups keep patients whole: one patient in two groups could be parted by a split."""
    known = table[keys.PATIENT_ID] != ""
    faults = []
    for (patient,), rows in _disagreeing(table[known], [keys.PATIENT_ID], keys.GROUP_ID):
        groups = [repr(group) for group in rows[keys.GROUP_ID].unique()]
        faults.append(f"patient {patient!r} lies in the groups {_listed(groups)} {_where(rows)}")
    return faults


def _disagreeing(table: pd.DataFrame, by: list[str], column: str) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """The groups within which a column has more than one value; all others cost no step of Python."""
    many = table.groupby(by)[column].transform("nunique") > 1
    yield from table[many].groupby(by)


def _where(rows: pd.DataFrame) -> str:
    return f"(rows {_listed([str(row) for row in rows.index])})"


def _listed(names: Sequence[str]) -> str:
    """The first six names in a sentence."""
    return ", ".join(names[:6]) + (", .." if len(names) > 6 else "")
