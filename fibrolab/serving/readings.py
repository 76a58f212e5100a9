"""Readings of a blinded study, in SQLite: the stage that a reader gave before the model's was shown."""

import io
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data import tables
from fibrolab.errors import ConfigError, DataError, StorageError
from fibrolab.evaluation.comparison import reader_agreement
from fibrolab.evaluation.comparison.reader_agreement import Readings
from fibrolab.reporting import vocabulary
from fibrolab.runs import answering
from fibrolab.runs.answering import Rules
from fibrolab.storage import make_folder

FEW = 30  # independent units, see `intervals.bootstrap.resampled`
SHA256, BEFORE = "sha256", "answered_before"
COLUMNS = (
    "time", "run", "reader", SHA256, "reader_stage", "model_stage", "confidence", "prediction_set",
    "probabilities", BEFORE,
)  # fmt: skip
_TABLES = """
CREATE TABLE IF NOT EXISTS readings (
    time TEXT NOT NULL, run TEXT NOT NULL, reader TEXT NOT NULL, sha256 TEXT NOT NULL,
    reader_stage TEXT NOT NULL, model_stage TEXT NOT NULL, confidence REAL NOT NULL,
    prediction_set TEXT NOT NULL, probabilities TEXT NOT NULL, answered_before INTEGER NOT NULL,
    UNIQUE (run, reader, sha256)
);
CREATE TABLE IF NOT EXISTS answered (run TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (run, sha256));
"""


class ReadBeforeError(DataError):
    """A file that the reader has read already: the first reading counts."""


class ReadingStore:
    """Readings of one run in a database, which may hold those of other runs too.

    Of a file only the SHA-256 of its bytes is kept, no name and no pixel. A file to which the server gave an
    answer outside the study is remembered as well: whoever reads it afterwards may have seen that answer.

    Args:
        path: The database; it is created if it does not exist.
        run: Id of the run.
        rules: Decision rules of its samples.

    Raises:
        ConfigError: The file is no such database.
        StorageError: It cannot be opened.
    """

    def __init__(self, path: Path, run: str, rules: Rules) -> None:
        self.path, self.run, self.rules = path.expanduser().absolute(), run, rules
        make_folder(self.path.parent)
        with self._open() as database:
            database.executescript(_TABLES)
            known = [row[1] for row in database.execute("PRAGMA table_info(readings)")]
            if known != list(COLUMNS):
                raise ConfigError(f"readings={path} holds other data: give another file.")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as database, database:
                yield database
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise ConfigError(f"readings={self.path} is not a database: give another file.") from error
            raise StorageError(f"readings={self.path} cannot be used: {error}.") from error

    def stage_fault(self, stage: str) -> str | None:
        """Return a sentence if a stage is none of the run's classes."""
        if stage in self.rules.classes:
            return None
        return f"'{stage}' is not a class of this run: give one of {', '.join(self.rules.classes)}."

    def require_unread(self, reader: str, digest: str) -> None:
        """Refuse a second reading of a file.

        Raises:
            ReadBeforeError: The reader has read it.
        """
        question = "SELECT time, reader_stage FROM readings WHERE run = ? AND reader = ? AND sha256 = ?"
        with self._open() as database:
            reader = self._as_known(database, reader)
            found = database.execute(question, (self.run, reader, digest)).fetchone()
        if found:
            time, stage = found
            raise ReadBeforeError(
                f"{reader} read this file as {stage} at {time}; the first reading counts, since its answer "
                "was shown then."
            )

    def add(self, reader: str, digest: str, stage: str, answer: Mapping[str, Any]) -> None:
        """Keep a reading and the model's answer, both or none.

        Args:
            reader: Name of the reader.
            digest: SHA-256 of the file.
            stage: Class that the reader gave.
            answer: The model's, a row of `sample_answers.of`.

        Raises:
            ReadBeforeError: The reader has read the file.
        """
        chances = {name: answer[f"p_{name}"] for name in self.rules.classes}
        known = (answer[answering.PREDICTED], answer[answering.CONFIDENCE], answer[answering.SET])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        seen = "EXISTS (SELECT 1 FROM answered WHERE run = ? AND sha256 = ?)"
        statement = f"INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {seen})"
        try:
            with self._open() as database:
                row = [now, self.run, self._as_known(database, reader), digest, stage, *known]
                database.execute(statement, [*row, json.dumps(chances), self.run, digest])
        except sqlite3.IntegrityError:
            self.require_unread(reader, digest)
            raise

    def remember(self, digests: Sequence[str], reader: str = "") -> None:
        """Remember files that were answered outside the study, but those that this reader has read in it."""
        read = "SELECT 1 FROM readings WHERE run = ? AND reader = ? AND sha256 = ?"
        statement = f"INSERT OR IGNORE INTO answered SELECT ?, ? WHERE NOT EXISTS ({read})"
        with self._open() as database:
            known = self._as_known(database, reader)
            rows = [(self.run, digest, self.run, known, digest) for digest in digests]
            database.executemany(statement, rows)

    def _as_known(self, database: sqlite3.Connection, reader: str) -> str:
        """Return the name under which a reader is known, who may write it in other case."""
        names = database.execute("SELECT DISTINCT reader FROM readings WHERE run = ?", (self.run,)).fetchall()
        return next((name for (name,) in names if name.casefold() == reader.casefold()), reader)

    def table(self) -> pd.DataFrame:
        """Return the readings of the run, one row each, in the order of time."""
        question = f"SELECT {', '.join(COLUMNS)} FROM readings WHERE run = ? ORDER BY rowid"
        with self._open() as database:
            found = database.execute(question, (self.run,)).fetchall()
        return pd.DataFrame(found, columns=list(COLUMNS))

    def csv(self) -> str:
        """Return the readings as CSV, one column for the probability of each class."""
        table = self.table()
        chances = [json.loads(text) for text in table.pop("probabilities")]
        for name in self.rules.classes:
            table[f"p_{name}"] = [each[name] for each in chances]
        out = io.StringIO()
        table.map(_no_formula).to_csv(out, index=False)
        return out.getvalue()


def _no_formula(cell: Any) -> Any:
    """Return a text so that a spreadsheet does not run it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def true_stages(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read a table of true stages.

    Args:
        path: CSV file with the columns `sha256`, `label` and perhaps `patient_id`.
        classes: Names of the classes.

    Returns:
        `label` (class index) and `patient_id` (empty where not known) by the SHA-256 of the file.

    Raises:
        DataError: A column is missing, a label is unknown, or a file occurs twice.
    """
    table = tables.read(path)
    if missing := {SHA256, keys.LABEL} - set(table):
        raise DataError(
            f"The table of true stages has no column {' and no column '.join(sorted(missing))}: it needs "
            f"{SHA256}, the SHA-256 of each file, and {keys.LABEL}."
        )
    digests = table[SHA256].str.lower()
    if digests.duplicated().any():
        raise DataError(f"The table of true stages has {digests[digests.duplicated()].iloc[0]} twice.")
    if strange := sorted(set(table[keys.LABEL]) - set(classes)):
        raise DataError(f"The table of true stages has '{strange[0]}', none of {', '.join(classes)}.")
    places = table[keys.LABEL].map({name: place for place, name in enumerate(classes)})
    patients = table[keys.PATIENT_ID] if keys.PATIENT_ID in table else pd.Series("", table.index)
    known = {keys.LABEL: places.to_numpy(np.int64), keys.PATIENT_ID: patients.to_numpy(object)}
    return pd.DataFrame(known, index=digests.to_numpy(object))


def agreement(store: ReadingStore, truth: pd.DataFrame | None = None) -> dict[str, Any]:
    """Return the agreement of each reader with the model, and with truth where it is given.

    Readings of files to which the server had given an answer before are left out.

    Args:
        store: The readings.
        truth: As `true_stages` returns it; readings of other files are then left out.

    Returns:
        `rows` of `reader_agreement.table`, ROC `curves` by reader and end point, and `notes`, sentences.
    """
    every = store.table()
    table = every[every[BEFORE] == 0]
    notes = []
    if left := len(every) - len(table):
        notes.append(
            f"{left} of {len(every)} readings are left out: the server had answered the file before."
        )
    if truth is not None:
        known = table[table[SHA256].isin(truth.index)]
        if left := len(table) - len(known):
            notes.append(f"{left} readings are left out: the table of true stages lacks their file.")
        table = known
    if truth is None or not (truth[keys.PATIENT_ID] != "").all():
        notes.append(
            "Each file counts as independent, since patients are not known: with several files of one "
            "patient the intervals are too narrow."
        )
    found: list[dict[str, Any]] = []
    curves: dict[str, dict[str, Any]] = {}
    for reader, rows in table.groupby("reader"):
        readings = _readings(str(reader), rows, store.rules.classes, truth)
        rules = store.rules
        each = reader_agreement.table(readings, rules.classes, rules.endpoints, rules.ordered)
        found += vocabulary.records(each)
        if truth is not None:
            drawn = {point: reader_agreement.curves(readings, low) for point, low in rules.endpoints.items()}
            curves[str(reader)] = {point: lines for point, lines in drawn.items() if lines}
    if found and (few := min(row["groups"] for row in found)) < FEW:
        notes.append(
            f"{few} independent units are few: with less than about {FEW} the intervals of agreement are too "
            "narrow."
        )
    return {"rows": found, "curves": curves, "notes": notes}


def _readings(
    reader: str, rows: pd.DataFrame, classes: Sequence[str], truth: pd.DataFrame | None
) -> Readings:
    places = {name: place for place, name in enumerate(classes)}
    chances = [json.loads(text) for text in rows["probabilities"]]
    digests = rows[SHA256].to_numpy(object)
    groups, labels = digests, None
    if truth is not None:
        patients = truth.loc[digests, keys.PATIENT_ID].to_numpy(object)
        groups = np.where(patients == "", digests, patients)
        labels = truth.loc[digests, keys.LABEL].to_numpy(np.int64)
    return Readings(
        reader,
        rows["reader_stage"].map(places).to_numpy(np.int64),
        np.array([[each[name] for name in classes] for each in chances], np.float64),
        groups,
        labels,
    )
