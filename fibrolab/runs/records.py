"""Finished runs as their files tell them: what `evaluate`, `compare` and `stack` work on."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.splits import MANIFEST_HASH
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.tracking import finished

NEEDED = (keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.AUDIT_FILE, keys.PREDICTIONS_FILE)
DAMAGE = (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException)  # JSON, pandas, UTF-8: ValueError
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
    samples = table.assign(**{keys.PARTITION: split[keys.PARTITION]}).set_index(keys.SAMPLE_ID)
    whole = not OmegaConf.select(config, "trainer.fast_dev_run")  # which answers one batch
    _refuse_others_answers(folder / keys.PREDICTIONS_FILE, answers, samples, whole)
    lineage = split[MANIFEST_HASH].iloc[0] if MANIFEST_HASH in split else ""
    audit = _parsed(folder / keys.AUDIT_FILE, _findings)
    return Record(run_id, folder, config, samples, lineage, audit, answers)


def _refuse_others_answers(path: Path, answers: pd.DataFrame, samples: pd.DataFrame, whole: bool) -> None:
    """See that the predictions are of the run's own samples and labels, and of its (whole) test part.

    Raises:
        DataError: What does not fit.
    """
    names = answers[keys.SAMPLE_ID]
    if stray := set(names) - set(samples.index):
        raise DataError(
            f"{path}: {len(stray)} samples are not in the run's {keys.MANIFEST_FILE}, such as '{min(stray)}'."
        )
    unlike = (answers[keys.Y_TRUE].to_numpy() != samples[keys.Y_TRUE].loc[names].to_numpy()).sum()
    tested = set(names[answers[keys.PARTITION] == keys.TEST])
    asked = set(samples.index[samples[keys.PARTITION] == keys.TEST])
    if unlike or tested - asked or (tested and whole and asked - tested):
        raise DataError(
            f"{path} does not belong to {keys.MANIFEST_FILE} and {keys.SPLIT_FILE}: {unlike} labels differ, "
            f"{len(tested & asked)} of {len(asked)} test samples are answered, {len(tested - asked)} others "
            "too; put it back as it was."
        )


def _parsed(path: Path, parse: Callable[[Path], T]) -> T:
    """A file of a run; of a damaged one a sentence."""
    try:
        return parse(path)
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged ({reason}): put it back as it was, or train anew.") from error


def _settings(path: Path) -> DictConfig:
    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig):
        raise ValueError("it is a list")
    for name in ("task.classes", "task.name", "task.ordered", "seed"):
        if OmegaConf.select(config, name) is None:
            raise ValueError(f"it names no {name}")
    return config


def _findings(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or "verdict" not in found:
        raise ValueError("it holds no verdict")
    return found


def _samples(path: Path) -> pd.DataFrame:
    table = _texts(path, keys.SAMPLE_ID, keys.PATIENT_ID, keys.Y_TRUE)
    if twice := table.loc[table[keys.SAMPLE_ID].duplicated(), keys.SAMPLE_ID].tolist():
        raise ValueError(f"it names {twice[0]} twice")
    typed = clinical.typed(table).astype({keys.Y_TRUE: int})
    if (typed[keys.Y_TRUE] < 0).any():
        raise ValueError(f"a {keys.Y_TRUE} is below 0")
    return typed


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
