"""Finished runs as their files tell them: what `fibrolab.stack` and `fibrolab.compare` work on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.splits import MANIFEST_HASH
from fibrolab.errors import ConfigError
from fibrolab.evaluation import predictions
from fibrolab.tracking import finished

NEEDED = (keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.AUDIT_FILE, keys.PREDICTIONS_FILE)


@dataclass(frozen=True)
class Record:
    """A finished run, as its files tell it.

    Attributes:
        run_id: MLflow's.
        folder: Of its files.
        config: Its resolved settings.
        samples: The manifest's table in its order, by sample_id, with `partition` and the trained `y_true`.
        manifest: Hash of the manifest that its split was drawn from.
        answers: Its predictions.
    """

    run_id: str
    folder: Path
    config: DictConfig
    samples: pd.DataFrame
    manifest: str
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
        DataError: Its predictions are no predictions.
    """
    folder = finished(uri, run_id)
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise ConfigError(
            f"Run {run_id} left no {', '.join(missing)}: give ids that `fibrolab.train` printed."
        )
    config = OmegaConf.load(folder / keys.CONFIG_FILE)
    assert isinstance(config, DictConfig)
    table, split = (
        pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        for name in (keys.MANIFEST_FILE, keys.SPLIT_FILE)
    )
    table = clinical.typed(table).assign(**{keys.PARTITION: split[keys.PARTITION]})
    answered = predictions.read(folder / keys.PREDICTIONS_FILE)
    return Record(
        run_id, folder, config, table.set_index(keys.SAMPLE_ID), split[MANIFEST_HASH].iloc[0], answered
    )


def ids(given: Any) -> list[str]:
    """Run ids of a setting, one or several; YAML takes an id of digits alone for a number."""
    return [str(run_id) for run_id in (given if isinstance(given, list) else [given]) if run_id is not None]


def named_twice(run_ids: Iterable[str]) -> list[str]:
    """A sentence on each run that is given more than once."""
    counts = pd.Series(list(run_ids), dtype=str).value_counts()
    return [f"Run {run_id} is named {n} times." for run_id, n in sorted(counts[counts > 1].items())]
