"""`predictions.csv`, the only table between training and evaluation: reading, checks, writing, selection."""

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError, listing
from fibrolab.storage import write_table

PARTITIONS = (
    keys.VALIDATION,
    keys.TEST,
)  # thresholds and temperatures are fitted on validation
SUM_TOLERANCE = 1e-4  # a float32 softmax misses 1 by 1e-6, a half-precision one by 1e-3

_TEXT = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE, keys.PARTITION)
_WHOLE = (keys.FOLD, keys.Y_TRUE)
COLUMNS = (*_TEXT, *_WHOLE)  # followed by the probabilities
_UNIQUE = [keys.SAMPLE_ID, keys.PARTITION, keys.FOLD]


def read(path: Path, partitions: Sequence[str] = PARTITIONS) -> pd.DataFrame:
    """Read and check a predictions file.

    Rows of the training partition, which `predict_train=true` adds, are read only if they are asked for, so
    that no score mixes them with those of other samples.

    Args:
        path: CSV with the columns sample_id, group_id, patient_id, site, partition, fold, y_true and
            p_0 .. p_{K-1}; others are kept as text.
        partitions: Partitions whose rows are returned; all rows are checked.

    Returns:
        One row a prediction: text columns as strings (an id "001" keeps its zeros, a missing patient is ""),
        fold and y_true int64, probabilities float64, bit for bit as written.

    Raises:
        DataError: The file is missing, is not a table, or has any fault that `validated` lists.
    """
    found = validated(_parsed(path), source=str(path))
    return found[found[keys.PARTITION].isin(partitions)].reset_index(drop=True)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Check predictions and write them whole or not at all; `read` returns the same values.

    Raises:
        DataError: As `validated`.
        StorageError: The file cannot be written.
    """
    write_table(validated(frame, source="The predictions"), path)


def probabilities(frame: pd.DataFrame) -> np.ndarray:
    """Return the class probabilities of every row, float64 (N, K), scaled to sum to one.

    A float32 softmax rounds a probability nearer to 1 than 6e-8 to 1 and loses the order of the most
    confident rows, which the other probabilities of the row still hold. Without the scaling, a confident
    network of two classes lost .17 of an AUC of .77.
    """
    values = frame[_probability_columns(frame)].to_numpy(np.float64)
    return values / values.sum(axis=1, keepdims=True)


def select(frame: pd.DataFrame, partition: str) -> pd.DataFrame:
    """Return the rows of one partition, with a new index.

    Raises:
        DataError: There are no such rows.
    """
    chosen = frame[frame[keys.PARTITION] == partition].reset_index(drop=True)
    if chosen.empty:
        present = ", ".join(sorted(frame[keys.PARTITION].unique())) or "none"
        raise DataError(
            f"No predictions of partition '{partition}'; those present: {present}. Name a run that was not "
            "stopped before its test."
        )
    return chosen


def refuse_other_classes(frame: pd.DataFrame, classes: Sequence[str]) -> None:
    """Refuse predictions of another number of classes.

    Raises:
        DataError: There is not one probability a class.
    """
    number = len(_probability_columns(frame))
    if number != len(classes):
        raise DataError(
            f"The predictions hold {number} probabilities a row, but {len(classes)} classes are named "
            f"({', '.join(classes)}); score them with the classes of their own run."
        )


def validated(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return a copy with the right types; refuse faulty predictions with every fault at once.

    Args:
        frame: Values as text (from a file) or as numbers (from a network).
        source: Name of the predictions in the message.

    Raises:
        DataError: There is no row, a column is missing, a sample or group is empty, a partition is unknown, a
            fold or stage is not a whole number or out of range, a probability is not a number from 0 up,
            the probabilities of a row do not sum to one, or a sample is predicted twice in one partition and
            fold.
    """
    missing = [column for column in (*_TEXT, *_WHOLE, "p_0", "p_1") if column not in frame]
    columns = _probability_columns(frame)
    missing += sorted(set(keys.probability_columns(len(columns))) - set(columns) - set(missing))
    if missing:
        raise DataError(f"{source}: column(s) missing: {', '.join(missing)}.")
    if frame.empty:
        raise DataError(f"{source}: no predictions, only a header; did the run reach its test stage?")
    frame = frame.reset_index(drop=True).copy()
    for column in _TEXT:
        frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype(str)
    numbers = frame[[*_WHOLE, *columns]].map(_number)
    faults = _faults(frame, numbers, columns)
    if faults:
        raise DataError(f"{source}: {len(faults)} fault(s):\n{listing(faults)}")
    return frame.assign(**{name: numbers[name].astype(np.int64) for name in _WHOLE}, **numbers[columns])


def _parsed(path: Path) -> pd.DataFrame:
    """Read the file as text, by the csv module: pandas accepts rows with too many or too few cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist; give a predictions.csv that a finished run wrote."
        ) from error
    except ValueError as error:  # nothing to unpack, or not UTF-8
        raise DataError(f"{path} is empty or not UTF-8 text; write it again.") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); write it again.") from error
    if len(set(header)) < len(header):
        raise DataError(f"{path}: a column occurs twice in the header: {', '.join(header)}.")
    ragged = [
        f"row {number}: {len(row)} cells where the header has {len(header)}"
        for number, row in enumerate(rows, start=1)
        if len(row) != len(header)
    ]
    if ragged:
        raise DataError(f"{path}: {len(ragged)} fault(s):\n{listing(ragged)}")
    return pd.DataFrame(rows, columns=header)


def _probability_columns(frame: pd.DataFrame) -> list[str]:
    found = [column for column in frame.columns if re.fullmatch(r"p_(0|[1-9]\d*)", str(column))]
    return sorted(found, key=lambda column: int(column[2:]))


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _faults(frame: pd.DataFrame, numbers: pd.DataFrame, columns: list[str]) -> list[str]:
    """List every fault as a sentence, in the order of the rows."""
    found: list[tuple[int, str]] = []

    def note(wrong: np.ndarray, column: str, complaint: str) -> None:
        cells = frame[column].tolist()
        found.extend((row, f"{column} '{cells[row]}' {complaint}") for row in np.flatnonzero(wrong).tolist())

    for column in (keys.SAMPLE_ID, keys.GROUP_ID):
        note((frame[column] == "").to_numpy(), column, "is empty")
    unknown = ~frame[keys.PARTITION].isin(keys.PARTITIONS).to_numpy()
    note(unknown, keys.PARTITION, f"is not {', '.join(keys.PARTITIONS)}")
    note(numbers[keys.FOLD].mod(1).ne(0).to_numpy(), keys.FOLD, "is not a whole number")
    stages = numbers[keys.Y_TRUE]
    note(~stages.isin(range(len(columns))).to_numpy(), keys.Y_TRUE, f"is not a class 0..{len(columns) - 1}")
    for column in columns:
        value = numbers[column].to_numpy()
        note(~(np.isfinite(value) & (value >= 0)), column, "is not a probability")
    values = numbers[columns].to_numpy()
    total = np.where(np.isfinite(values).all(axis=1), values.sum(axis=1), 1.0)  # the others are named above
    strays = np.flatnonzero(np.abs(total - 1.0) > SUM_TOLERANCE).tolist()
    found.extend((row, f"probabilities sum to {total[row]:.6g}, not 1") for row in strays)
    repeated = frame.assign(**{keys.FOLD: numbers[keys.FOLD]}).duplicated(_UNIQUE).to_numpy()
    note(repeated, keys.SAMPLE_ID, "was predicted before in this partition and fold")
    found.sort(key=lambda fault: fault[0])
    samples = frame[keys.SAMPLE_ID].tolist()
    return [f"row {row + 1} (sample '{samples[row]}'): {fault}" for row, fault in found]
