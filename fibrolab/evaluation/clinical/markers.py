"""Clinical markers of fibrosis (stiffness, APRI and FIB-4), one value a patient and stage."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation import patients


def lsm(table: pd.DataFrame) -> np.ndarray:
    """Return the liver stiffness [kPa], float64 (N,); NaN where it was not measured or is not positive."""
    return _positive(table, keys.LSM_KPA)


def apri(table: pd.DataFrame) -> np.ndarray:
    """Compute the AST to platelet ratio index: (AST / its upper limit of normal) / platelets [10^9/L] x 100.

    Wai et al., Hepatology 38:518-526, 2003.

    Args:
        table: Columns ast_u_l [U/L], ast_uln_u_l [U/L] and platelets_1e9_l [10^9/L], of N rows.

    Returns:
        float64 (N,); NaN where one of them is missing or not positive. The upper limit is the laboratory's;
        no default is assumed, since limits between 31 and 50 U/L are in use and change the index.
    """
    ast, limit, platelets = (
        _positive(table, name) for name in (keys.AST_U_L, keys.AST_ULN_U_L, keys.PLATELETS_1E9_L)
    )
    return ast / limit / platelets * 100


def fib4(table: pd.DataFrame) -> np.ndarray:
    """Compute the fibrosis-4 index: age [years] x AST / (platelets [10^9/L] x sqrt(ALT)).

    Sterling et al., Hepatology 43:1317-1325, 2006.

    Args:
        table: Columns age_years, ast_u_l [U/L], alt_u_l [U/L] and platelets_1e9_l [10^9/L], of N rows.

    Returns:
        float64 (N,); NaN where one of them is missing or not positive.
    """
    age, ast, alt, platelets = (
        _positive(table, name) for name in (keys.AGE_YEARS, keys.AST_U_L, keys.ALT_U_L, keys.PLATELETS_1E9_L)
    )
    return age * ast / (platelets * np.sqrt(alt))


class Marker(NamedTuple):
    """A clinical marker: its function, its columns, and its plausible range.

    Attributes:
        label: Name on pages.
        of: Computes the marker of a table.
        needs: Columns that it is computed from.
        indicators: Those of them that only studies with this marker have: where the manifest has these, the
            marker is expected, and missing other columns are reported.
        plausible: Range of the median of a cohort, chosen wide; outside it a unit is probably wrong.
        advice: Recommendation for a median outside this range.
    """

    label: str
    of: Callable[[pd.DataFrame], np.ndarray]
    needs: tuple[str, ...]
    indicators: tuple[str, ...]
    plausible: tuple[float, float]
    advice: str


_BLOOD = (keys.AST_U_L, keys.PLATELETS_1E9_L)
_UNITS = "see that enzymes are in U/L (not µkat/L) and platelets in 10^9/L (not 10^4/µL)"
MARKERS: Final = {
    "lsm": Marker(
        "LSM [kPa]",
        lsm,
        (keys.LSM_KPA,),
        (keys.LSM_KPA,),
        (3, 50),
        "see that it is in kPa (a speed in m/s becomes kPa as 3 times its square)",
    ),
    "apri": Marker("APRI", apri, (keys.AST_ULN_U_L, *_BLOOD), _BLOOD, (0.05, 3), _UNITS),
    "fib4": Marker("FIB-4", fib4, (keys.AGE_YEARS, keys.ALT_U_L, *_BLOOD), _BLOOD, (0.3, 10), _UNITS),
}


def expected(manifest: pd.DataFrame) -> list[str]:
    """Return the markers that a manifest has data for: every column of `indicators` has some value."""
    known = {column: np.isfinite(_positive(manifest, column)).any() for column in keys_of_markers()}
    return [name for name, marker in MARKERS.items() if all(known[column] for column in marker.indicators)]


def keys_of_markers() -> list[str]:
    """Return the columns that the markers are computed from, each once."""
    return list(dict.fromkeys(column for marker in MARKERS.values() for column in marker.needs))


def of_patients(frame: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Pool predictions to one row a patient and stage, with mean probabilities and every marker.

    A value in one row of a visit holds for the whole visit. Of several values of one stage (two visits, or a
    stiffness for each image) the median is taken.

    Args:
        frame: Predictions as `predictions.read` returns them.
        manifest: The run's manifest, clinical columns as numbers, index `sample_id`.

    Returns:
        The rows of `patients.to_patients` with columns `lsm`, `apri`, `fib4` (NaN where not measured) and
        `lsm_values`, `apri_values`, `fib4_values`: the number of different values of the median.

    Raises:
        DataError: A predicted sample is not in the manifest.
    """
    missing = frame.loc[~frame[keys.SAMPLE_ID].isin(manifest.index), keys.SAMPLE_ID]
    if len(missing):
        raise DataError(
            f"{len(missing)} predicted sample(s) are not in the manifest, such as '{missing.iloc[0]}'; give "
            "the manifest of the same run."
        )
    rows = whole_visits(manifest).loc[frame[keys.SAMPLE_ID]].reset_index(drop=True)
    place = [keys.PARTITION, keys.FOLD, keys.SAMPLE_ID]  # of the first sample of a patient
    units = frame[place].reset_index(drop=True)
    known = (frame[keys.PATIENT_ID] != "").to_numpy()
    first = frame.reset_index(drop=True)[known].groupby(patients.ROW, sort=False)[keys.SAMPLE_ID]
    units.loc[known, keys.SAMPLE_ID] = first.transform("first")
    pooled = patients.to_patients(frame)
    where = pd.MultiIndex.from_frame(pooled[place])
    for name, marker in MARKERS.items():
        values = units.assign(value=marker.of(rows)).dropna().drop_duplicates().groupby(place)["value"]
        pooled[name] = values.median().reindex(where).to_numpy(np.float64)
        pooled[f"{name}_values"] = values.size().reindex(where, fill_value=0).to_numpy()
    return pooled


def whole_visits(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the markers, empty cells filled from other rows of the visit."""
    table = manifest.reindex(columns=keys_of_markers()).astype(np.float64)
    visit = [column for column in (keys.PATIENT_ID, keys.VISIT_ID) if column in manifest]
    if keys.PATIENT_ID not in visit:
        return table
    names = manifest[visit].fillna("")
    filled = table.groupby([names[column] for column in visit]).transform("first")
    return table.where(table.notna() | (names[keys.PATIENT_ID] == "").to_numpy()[:, None], filled)


def caveats(name: str, measured: pd.DataFrame, manifest: pd.DataFrame) -> list[str]:
    """List caveats on a marker of these patients, a sentence each.

    Args:
        name: One of `MARKERS`.
        measured: Rows of `of_patients`.
        manifest: As for `of_patients`.
    """
    marker, values = MARKERS[name], measured[name].dropna()
    found = []
    empty = [c for c in marker.needs if not np.isfinite(_positive(manifest, c)).any()]
    if empty:
        found.append(f"{marker.label} needs {' and '.join(empty)}, which the manifest lacks: {_ADD_COLUMN}")
    if 0 < len(values) < len(measured):
        found.append(f"{len(measured) - len(values):,} of {len(measured):,} patients lack it")
    if (several := int((measured[f"{name}_values"] > 1).sum())) > 0:
        found.append(f"{several:,} patients have several values of one stage: their median")
    low, high = marker.plausible
    if len(values) and not low <= (median := float(values.median())) <= high:
        found.append(f"a median of {median:.3g} is not plausible ({low:g} to {high:g} is): {marker.advice}")
    return found


_ADD_COLUMN = "add the column (for ast_uln_u_l your laboratory's upper limit of normal)"


def _positive(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as float64 (N,), NaN where it is absent, missing, infinite or not positive."""
    if column not in table:
        return np.full(len(table), np.nan)
    values = table[column].to_numpy(np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)
