"""Finished runs as their files tell them: what `evaluate`, `compare` and `stack` work on."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.splits import MANIFEST_HASH
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.tracking import finished

NEEDED = (keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.AUDIT_FILE, keys.PREDICTIONS_FILE)
T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """A finished run, as its files tell it.

    Attributes:
        run_id: MLflow's; empty where only the folder is known.
        folder: Of its files.
        config: Its resolved settings.
        samples: The manifest's table in its order, by sample_id, with `partition` and the trained `y_true`.
        manifest: Hash of the manifest that its split was drawn from.
        audit: What the audit found in its data.
        answers: Its predictions.
    """

    run_id: str
    folder: Path
    config: DictConfig
    samples: pd.DataFrame
    manifest: str
    audit: dict[str, Any]
    answers: pd.DataFrame

    @property
    def tested(self) -> set[str]:
        """Samples of the test partition."""
        rows = self.answers[keys.PARTITION] == keys.TEST
        return set(self.answers.loc[rows, keys.SAMPLE_ID])


def read(uri: str, run_id: str) -> Record:
    """A finished run from the tracking database.

    Raises:
        ConfigError: There is no such run, or it is none that trained.
        DataError: Its predictions are no predictions, or a file of it is damaged.
    """
    return of_folder(finished(uri, run_id), run_id)


def of_folder(folder: Path, run_id: str = "") -> Record:
    """A run from its folder alone.

    Raises:
        ConfigError: It lacks a file that every run has that came to its test.
        DataError: A file is damaged, or they do not belong together.
    """
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        name = f"Run {run_id}" if run_id else folder
        raise ConfigError(
            f"{name} left no {', '.join(missing)}: give ids that `fibrolab.train` printed, of runs that came "
            "to their test and still have their files."
        )
    config = _parsed(folder / keys.CONFIG_FILE, _settings)
    table = _parsed(folder / keys.MANIFEST_FILE, _samples)
    split = _parsed(folder / keys.SPLIT_FILE, lambda path: _texts(path, keys.SAMPLE_ID, keys.PARTITION))
    answers = predictions.read(folder / keys.PREDICTIONS_FILE)
    if not table[keys.SAMPLE_ID].equals(split[keys.SAMPLE_ID]):
        raise DataError(f"{folder}: {keys.MANIFEST_FILE} and {keys.SPLIT_FILE} name different samples.")
    if stray := set(answers[keys.SAMPLE_ID]) - set(table[keys.SAMPLE_ID]):
        raise DataError(
            f"{folder / keys.PREDICTIONS_FILE}: {len(stray)} samples are not in the run's "
            f"{keys.MANIFEST_FILE}, such as '{min(stray)}'."
        )
    samples = table.assign(**{keys.PARTITION: split[keys.PARTITION]}).set_index(keys.SAMPLE_ID)
    lineage = split[MANIFEST_HASH].iloc[0] if MANIFEST_HASH in split else ""
    audit = _parsed(folder / keys.AUDIT_FILE, _findings)
    return Record(run_id, folder, config, samples, lineage, audit, answers)


def _parsed(path: Path, parse: Callable[[Path], T]) -> T:
    """A file of a run; of a damaged one a sentence."""
    try:
        return parse(path)
    except (OSError, ValueError, yaml.YAMLError) as error:  # of JSON, pandas and UTF-8: ValueError
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged ({reason}): put it back as it was, or train anew.") from error


def _settings(path: Path) -> DictConfig:
    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig) or not OmegaConf.select(config, "task.classes"):
        raise ValueError("it names no task.classes")
    return config


def _findings(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or "verdict" not in found:
        raise ValueError("it holds no verdict")
    return found


def _samples(path: Path) -> pd.DataFrame:
    table = _texts(path, keys.SAMPLE_ID, keys.PATIENT_ID, keys.Y_TRUE)
    return clinical.typed(table).astype({keys.Y_TRUE: int})


def _texts(path: Path, *columns: str) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"it has no column {', '.join(missing)}")
    return table


def ids(given: Any) -> list[str]:
    """Run ids of a setting, one or several; YAML takes an id of digits alone for a number."""
    return [str(run_id) for run_id in (given if isinstance(given, list) else [given]) if run_id is not None]


def named_twice(run_ids: Iterable[str]) -> list[str]:
    """A sentence on each run that is given more than once."""
    counts = pd.Series(list(run_ids), dtype=str).value_counts()
    return [f"Run {run_id} is named {n} times." for run_id, n in sorted(counts[counts > 1].items())]
