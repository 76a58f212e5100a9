"""A finished run as its folder tells it: every file is optional, since a run may have stopped half-way."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation import baselines, predictions
from fibrolab.evaluation.patients import PATIENTS_FILE

IDS = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE)  # "001" must not become 1
SCORES = ("metric", "value")
TABLES = {  # further tables that an evaluation leaves, NAME.csv, by the columns that each cannot do without
    "patients_max": SCORES,
    "patients_vote": SCORES,
    "endpoints": ("level", "endpoint", "rule", "threshold", *SCORES),
    "calibration": ("level", "probabilities", "measure", "value"),
    "conformal": ("level", "alpha", "stage", "coverage"),
    "comparators": ("marker", "endpoint", "rule", *SCORES),
    "cohort": ("variable", "statistic", *keys.PARTITIONS),
    "subgroups": ("variable", "value", "metric", "estimate"),
    "mistakes": (keys.SAMPLE_ID, "true", "predicted"),
    "published": SCORES,
}
NUMBERS = {  # columns of these tables; every other holds words
    "value", "estimate", "low", "high", "mean", "sd", "baseline", "n_valid", "coverage", "threshold",
    "temperature", "alpha", "n", "n_positive", "groups", "mean_size", "alone", "cutoff", "p", "p_auc",
    "probability", "distance", "chance", "p_chance",
}  # fmt: skip


T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What a run's folder holds; ``None`` or an empty mapping where a file is missing.

    Attributes:
        folder: The run's folder.
        config: The resolved configuration; ``config_text`` is the same as it was written.
        audit: What the audit found in the data.
        environment: Python, packages, git commit, command and duration.
        metrics: One row a metric of the test partition.
        patients: The same, each patient answered once.
        history: One row an epoch.
        split: One row a sample with its partition.
        predictions: One row a scored sample of validation and test.
        tables: What else the evaluation left, by a name of `TABLES`: end points, calibration, subgroups ...
        faults: A sentence for each file that is there but cannot be read.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    audit: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: pd.DataFrame | None = None
    patients: pd.DataFrame | None = None
    history: pd.DataFrame | None = None
    split: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def setting(self, name: str, default: Any = None) -> Any:
        """The value of a dotted name such as ``data.name`` in the configuration."""
        value: Any = self.config
        for part in name.split("."):
            if not isinstance(value, dict) or value.get(part) is None:
                return default
            value = value[part]
        return value

    def scored(self, partition: str = keys.TEST) -> pd.DataFrame | None:
        """The predictions of one partition, or ``None`` where there are none."""
        if self.predictions is None:
            return None
        rows = self.predictions[self.predictions[keys.PARTITION] == partition]
        return rows if len(rows) else None

    @property
    def classes(self) -> list[str]:
        """The names of the classes that were predicted, in the order of their probabilities."""
        named = [str(name) for name in self.setting("task.classes", list(self.audit.get("classes", {})))]
        if self.predictions is None:
            return named
        count = predictions.probabilities(self.predictions).shape[1]
        return named if len(named) == count else [f"class {k}" for k in range(count)]

    @property
    def endpoints(self) -> dict[str, int]:
        """Lowest positive class of every end point that the run answers too, by name."""
        return dict(self.setting("task.endpoints", {}))

    @property
    def command(self) -> str:
        """The command that made it, fit to be pasted into a shell; empty where none was recorded."""
        known = self.environment.get("command") or ""
        return shlex.join(map(str, known)) if isinstance(known, list) else str(known)

    @property
    def baselines(self) -> Mapping[str, Any]:
        """What needs no network on this split, by name, as the audit measured it; see `numbers.rows`."""
        return baselines.of_audit(self.audit)

    @property
    def partitions(self) -> dict[str, dict[str, int]]:
        """Number of samples by partition that holds any, in their usual order, then by class."""
        found = self.audit.get("partitions") or {}
        return {name: dict(found[name]) for name in keys.PARTITIONS if any((found.get(name) or {}).values())}


def read(folder: Path) -> Run:
    """Read the files of a run's folder, as far as they are there.

    Args:
        folder: A run's folder.

    Returns:
        The run; files that are missing or empty are left out, files that are broken are named in ``faults``.

    Raises:
        DataError: ``folder`` is no folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a run's folder: give the folder that holds {keys.CONFIG_FILE}.")
    faults: list[str] = []

    def load(name: str, parse: Callable[[Path], T], empty: T) -> T:
        path = folder / name
        if not path.is_file() or path.stat().st_size == 0:
            return empty
        try:
            return parse(path)
        except (OSError, ValueError, DataError, yaml.YAMLError) as fault:  # json and pandas: ValueError
            faults.append(f"{name} is there but could not be read: {' '.join(str(fault).split())}")
            return empty

    further = {name: load(f"{name}.csv", _scores(*columns), None) for name, columns in TABLES.items()}
    return Run(
        folder=folder,
        config=load(keys.CONFIG_FILE, _mapping, {}),
        config_text=load(keys.CONFIG_FILE, _legible, ""),
        audit=load(keys.AUDIT_FILE, _mapping, {}),
        environment=load(keys.ENVIRONMENT_FILE, _mapping, {}),
        metrics=load(keys.METRICS_FILE, _scores(*SCORES), None),
        patients=load(PATIENTS_FILE, _scores(*SCORES), None),
        history=load(keys.HISTORY_FILE, _table("epoch"), None),
        split=load(keys.SPLIT_FILE, _table(keys.SAMPLE_ID, keys.PARTITION), None),
        predictions=load(keys.PREDICTIONS_FILE, predictions.read, None),
        tables={name: table for name, table in further.items() if table is not None and len(table)},
        faults=tuple(faults),
    )


def _legible(path: Path) -> str:
    """A text to be shown, even if broken; that it is broken is said where it is parsed."""
    return path.read_text(encoding="utf-8", errors="replace")


def _mapping(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    if not isinstance(content, dict):
        raise ValueError("a mapping of names to values is expected")
    return content


def _table(*columns: str) -> Callable[[Path], pd.DataFrame | None]:
    """A reader of CSV files that have at least these columns."""

    def parse(path: Path) -> pd.DataFrame | None:
        table = pd.read_csv(path, converters=dict.fromkeys(IDS, str))
        if missing := [column for column in columns if column not in table]:
            raise ValueError(f"it has no column {', '.join(missing)}")
        return table

    return parse


def _scores(*columns: str) -> Callable[[Path], pd.DataFrame | None]:
    """The same for tables of words and numbers: a site named 007 and a class named NA stay as they are."""

    def parse(path: Path) -> pd.DataFrame | None:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if missing := [column for column in columns if column not in table]:
            raise ValueError(f"it has no column {', '.join(missing)}")
        named = {"value"} if "estimate" in columns else set()  # there it is a site or a sex
        numbers = [column for column in table if column in NUMBERS - named]
        return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers})

    return parse
