"""The folder of answers that `predict` writes and completes: its files, and reading them again."""

import json
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.errors import ConfigError, DataError

LINES_FILE = "answers.jsonl"  # one JSON object a sample, appended part by part
TABLE_FILES = ("answers.csv", "answers.parquet")  # the same as tables, written at the end
PATIENTS_FILE = "patients.csv"
RECORD_FILE = "prediction.json"  # run, input and decision rules


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the answers of a file; a sample that was predicted again has several.

    Raises:
        DataError: The file is damaged.
    """
    try:
        # not splitlines: names of files may hold other signs that end a line, such as U+2028
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except ValueError as fault:
        raise DataError(f"{path} is damaged ({fault}): remove it, and predict again.") from fault


def latest(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last answer to each sample of a file, by its id.

    Raises:
        DataError: The file is damaged.
    """
    return {row[keys.SAMPLE_ID]: row for row in lines(path)}


def record(folder: Path) -> dict[str, Any]:
    """Return the record of a folder of answers.

    Raises:
        ConfigError: The folder has no answers.
        DataError: The record is damaged.
    """
    path = folder / RECORD_FILE
    if not path.is_file() or not (folder / LINES_FILE).is_file():
        raise ConfigError(f"{folder} has no answers: give a folder that fibrolab.predict wrote.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise DataError(f"{path} is damaged ({fault}): predict again.") from fault
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged: predict again.")
    return found
