"""One row per patient and visit, from the rows of a manifest that share a visit's label and values."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.fault_sentences import cell_faults, refuse, rows_named
from fibrolab.data.manifest import Manifest

_NO_MARKERS = (
    keys.ROW, keys.LABEL, keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE,
    keys.SCANNER,
)  # fmt: skip
_MEND = (
    "A patient counts once, so that its rows must agree: give one value per patient or, if the rows are of "
    "different visits, name these in visit_id."
)


def table(manifest: Manifest, columns: Sequence[str]) -> pd.DataFrame:
    """Pool the rows of each visit; an empty cell takes the value of another row of the visit.

    Without visit ids, all rows of a patient are one visit. A row without a patient is a visit of its own.

    Args:
        manifest: The samples.
        columns: Columns of numbers, present in the manifest.

    Returns:
        The manifest's columns, one row per visit in order of first appearance, numbered from 0; `columns` as
        float64, NaN where no row has a value.

    Raises:
        DataError: A cell is not a number, or rows of a visit disagree on the label or on a value; each fault
            names its rows.
    """
    rows = manifest.table.set_index(keys.ROW if keys.ROW in manifest.table else keys.SAMPLE_ID, drop=False)
    kind = "row" if keys.ROW in manifest.table else "sample"
    values = {column: _numbers(rows[column]) for column in columns}
    faults = [fault for column in columns for fault in _not_numbers(rows[column], values[column], kind)]
    refuse(f"'{manifest.name}'", faults)
    rows = rows.assign(**values)
    visit = _visits(rows)
    stages = rows[keys.LABEL].map(dict(enumerate(manifest.classes)))
    for name, cells in ((keys.LABEL, stages), *((column, rows[column]) for column in columns)):
        faults += _conflicts(name, cells, rows, visit, kind)
    refuse(f"'{manifest.name}'", faults, _MEND)
    texts = [str(name) for name in rows if not pd.api.types.is_numeric_dtype(rows[name])]
    known = rows.assign(**{name: rows[name].astype(object).replace("", np.nan) for name in texts})
    pooled = known.groupby(visit, sort=False).first().reset_index(drop=True)
    return pooled.assign(**{name: pooled[name].fillna("").astype(str) for name in texts})


def numeric_columns(manifest: Manifest) -> list[str]:
    """Return the columns of which every value is a number, and some row has one; never ids and labels."""
    return [
        str(name)
        for name in manifest.table
        if name not in _NO_MARKERS
        and (numbers := _numbers(manifest.table[name])).notna().any()
        and not any(_not_numbers(manifest.table[name], numbers, ""))
    ]


def _numbers(cells: pd.Series) -> pd.Series:
    """Return cells as float64, NaN where there is no finite number."""
    numbers = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    return numbers.where(np.isfinite(numbers))


def _not_numbers(cells: pd.Series, numbers: pd.Series, kind: str) -> Iterator[str]:
    given = cells.notna() & (cells.astype(object) != "")
    words = "not a number: correct the cell, or leave it empty"
    yield from cell_faults(str(cells.name), cells[given & numbers.isna()], "is", words, kind)


def _visits(rows: pd.DataFrame) -> np.ndarray:
    """Return the number of the visit of each row, int64 (N,)."""
    named = rows[keys.PATIENT_ID] + "\0" + rows[keys.VISIT_ID]
    alone = pd.Series(np.arange(len(rows)), rows.index).astype(str)
    return pd.factorize(named.where(rows[keys.PATIENT_ID] != "", alone))[0]


def _conflicts(
    column: str, cells: pd.Series, rows: pd.DataFrame, visit: np.ndarray, kind: str
) -> Iterator[str]:
    """Yield a sentence on each visit with several values."""
    many = cells.groupby(visit).transform("nunique") > 1
    for _, own in rows[many.to_numpy()].groupby(visit[many.to_numpy()], sort=False):
        given = cells[many.to_numpy()].loc[own.index].dropna().unique()
        shown = " and ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in given[:4])
        where = f" at visit {own[keys.VISIT_ID].iloc[0]!r}" if own[keys.VISIT_ID].iloc[0] else ""
        patient = own[keys.PATIENT_ID].iloc[0]
        yield f"patient {patient!r} has {column} {shown}{where} ({rows_named(own.index, kind)})"
