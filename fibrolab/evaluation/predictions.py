"""`predictions.csv`, the only table between training and evaluation: reading, checks, writing, selection."""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError, listing
from fibrolab.storage import write_table

# Thresholds and temperatures are fitted on validation.
PARTITIONS = (keys.VALIDATION, keys.TEST)
SUM_TOLERANCE = 1e-4  # a float32 softmax misses 1 by 1e-6, a half-precision one by 1e-3

_TEXT = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE, keys.PARTITION)
_WHOLE = (keys.FOLD, keys.Y_TRUE)
COLUMNS = (*_TEXT, *_WHOLE)  # followed by the probabilities
_PROBABILITY = re.compile(r"p_(0|[1-9]\d*)")
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


def read_of_networks(path: Path) -> pd.DataFrame:
    """Read and check the predictions of several networks, which `repeat` and `fold` identify.

    Raises:
        DataError: As `read`, or a sample is predicted twice by one network.
    """
    frame = _parsed(path)
    if keys.REPEAT not in frame or not frame[keys.REPEAT].str.fullmatch(r"\d+").all():
        raise DataError(f"{path}: column {keys.REPEAT} is missing, or not whole numbers; write it again.")
    repeats = frame[keys.REPEAT].astype(np.int64)
    parts = [validated(rows, source=str(path)) for _, rows in frame.groupby(repeats)]
    found = pd.concat(parts, ignore_index=True)
    return found.assign(**{keys.REPEAT: found[keys.REPEAT].astype(np.int64)})


def write(frame: pd.DataFrame, path: Path) -> None:
    """Check predictions and write them whole or not at all; `read` returns the same values.

    Raises:
        DataError: As `validated`.
        StorageError: The file cannot be written.
    """
    write_table(validated(frame, source="The predictions"), path)


def probabilities(frame: pd.DataFrame) -> np.ndarray:
    """Return the class probabilities of every row, float64 (N, K), scaled to sum to one."""
    columns = [frame[name].to_numpy(np.float64) for name in _probability_columns(frame)]
    return sum_to_one(np.stack(columns).T)  # a third of the time of selecting them as a table


def sum_to_one(values: np.ndarray) -> np.ndarray:
    """Return probabilities (N, K) scaled so that each row sums to one.

    A float32 softmax rounds a probability nearer to 1 than 6e-8 to 1 and loses the order of the most
    confident rows, which the other probabilities of the row still hold. Without the scaling, a confident
    network of two classes lost .17 of an AUC of .77.
    """
    return values / values.sum(axis=1, keepdims=True)


def class_count(frame: pd.DataFrame) -> int:
    """Return the number K of classes that have a probability."""
    return len(_probability_columns(frame))


def select(frame: pd.DataFrame, partition: str) -> pd.DataFrame:
    """Return the rows of one partition, with a new index.

    Raises:
        DataError: There are no such rows; of validation, as after `split.val=0`, or of test.
    """
    chosen = frame[frame[keys.PARTITION] == partition].reset_index(drop=True)
    if chosen.empty:
        present = ", ".join(sorted(frame[keys.PARTITION].unique())) or "none"
        if partition == keys.VALIDATION and keys.TEST in present:
            raise DataError(
                "There are no predictions of validation samples, as after a training without any "
                "(split.val=0): name a run with a validation part."
            )
        raise DataError(
            f"No predictions of partition '{partition}'; those present: {present}. Name a run that was not "
            "stopped before its test."
        )
    return chosen


def by_fold(frame: pd.DataFrame) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Yield the test rows of each fold with the validation rows to fit thresholds and temperatures on.

    In a cross-validation the validation rows of one fold are test rows of another: each fold has its own.
    Test rows of a single fold belong to all validation rows, also to those of several folds inside training.

    Args:
        frame: Predictions as `read` returns them.

    Yields:
        Positions among the test rows, in their order, int64 (n,), and validation rows.
    """
    folds = frame.loc[frame[keys.PARTITION] == keys.TEST, keys.FOLD].to_numpy()
    validation, names = frame[frame[keys.PARTITION] == keys.VALIDATION], np.unique(folds)
    for name in names:
        own = validation if len(names) == 1 else validation[validation[keys.FOLD] == name]
        yield np.flatnonzero(folds == name), own


def pooled(frame: pd.DataFrame) -> pd.DataFrame:
    """Pool the predictions of several networks to one of each test sample.

    In a cross-validation each test sample is predicted by the network of the fold that left it out, and keeps
    the number of this fold; repetitions draw other folds, and their probabilities are averaged. Otherwise
    all networks predict the same test samples: their probabilities are averaged, with fold 0. Validation rows
    are averaged over repetitions; those of a repeated cross-validation are of the first repetition alone,
    since the folds of the others mix its validation and test samples.

    Args:
        frame: Predictions of every network, with the columns of `read` and `repeat`.

    Returns:
        Predictions in the form of `read`, validation first.
    """
    is_test = frame[keys.PARTITION] == keys.TEST
    test, validation = frame[is_test], frame[~is_test]
    if is_crossed(frame):
        validation = validation[validation[keys.REPEAT] == frame[keys.REPEAT].min()]
    else:
        test = test.assign(**{keys.FOLD: 0})
    columns = [*COLUMNS, *_probability_columns(frame)]
    how = dict.fromkeys(COLUMNS[1:], "first") | dict.fromkeys(_probability_columns(frame), "mean")
    units = (validation, [keys.SAMPLE_ID, keys.FOLD]), (test, [keys.SAMPLE_ID])
    parts = [
        rows.groupby(unit, sort=False, as_index=False).agg(
            {name: each for name, each in how.items() if name not in unit}
        )
        for rows, unit in units
    ]
    return pd.concat([part[columns] for part in parts], ignore_index=True)


def is_crossed(frame: pd.DataFrame) -> bool:
    """Return whether each test sample belongs to one of several folds, as in a cross-validation.

    Args:
        frame: Rows with sample_id, partition and fold; if they have `repeat`, the first repetition decides.
    """
    test = frame[frame[keys.PARTITION] == keys.TEST]
    if keys.REPEAT in test:
        test = test[test[keys.REPEAT] == test[keys.REPEAT].min()]
    return test[keys.FOLD].nunique() > 1 and not test.duplicated(keys.SAMPLE_ID).any()


def refuse_other_classes(frame: pd.DataFrame, classes: Sequence[str]) -> None:
    """Refuse predictions of another number of classes.

    Raises:
        DataError: There is not one probability a class.
    """
    number = class_count(frame)
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
    found = [column for column in frame.columns if _PROBABILITY.fullmatch(str(column))]
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
