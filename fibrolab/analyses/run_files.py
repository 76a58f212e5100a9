"""Files that a run writes before its analysis: settings, environment, manifest and split."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys, privacy
from fibrolab.config import flat
from fibrolab.credentials import masked
from fibrolab.data import splits
from fibrolab.data.labelled_data import LabelledData
from fibrolab.runs.overlap import HASHES
from fibrolab.runs.own_samples import contents
from fibrolab.storage import put, save_json, write_table
from fibrolab.tracked_run import TrackedRun

DECIDED_LATER = (".pretrained", "batch_size")  # `auto` becomes true or false, or a number


def record(tracked: TrackedRun, config: DictConfig, settings: dict[str, Any], known: dict[str, Any]) -> None:
    """Record settings and environment at the start of a run, before anything can fail.

    The environment is written last: a run that has it is recorded completely.

    Args:
        tracked: The run.
        config: Its settings.
        settings: The same, resolved.
        known: Environment, as `environment.describe` returns it.
    """
    write_config(config, tracked.folder)
    compared = {name: part for name, part in settings.items() if name not in ("name", "paths", "tracking")}
    known_now = {
        name: value
        for name, value in flat(compared).items()
        if not (name.endswith(DECIDED_LATER) and value == "auto")
    }
    tracked.log_params(known_now)
    versions = ", ".join(f"{name} {version}" for name, version in known["packages"].items())
    commit = known["git_commit"] or ""
    tracked.tag({"mlflow.source.git.commit": commit, "command": known["command"], "versions": versions})
    save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)


def write_config(config: DictConfig, folder: Path) -> None:
    """Write the settings with every reference resolved, and passwords masked."""
    put(folder / keys.CONFIG_FILE, masked(OmegaConf.to_yaml(config, resolve=True)).encode())


def write_data(folder: Path, data: LabelledData) -> dict[str, str]:
    """Write manifest and split before the training starts.

    The manifest gets the class under the task and the hashes of the images, by which a later run recognises
    copies of its test images, and those of the files of every other modality (`contents`).

    Returns:
        SHA-256 of the groups of each partition; runs with equal ones were tested on the same patients.
    """
    hashes = data.facts[keys.IMAGE][list(HASHES)].to_numpy()
    table = data.manifest.table
    if data.manifest.ids_key:
        table = privacy.without_names(table)
    table = table.assign(**{keys.Y_TRUE: data.labels})
    table[list(HASHES)] = hashes
    table = table.assign(**contents(data))
    write_table(table, folder / keys.MANIFEST_FILE)
    splits.write(data.split, data.manifest, folder / keys.SPLIT_FILE)
    return {name: _hash_of_groups(data, name) for name in keys.PARTITIONS}


def _hash_of_groups(data: LabelledData, partition: str) -> str:
    groups = np.unique(data.manifest.groups[data.split.rows(partition)].astype(str))
    return hashlib.sha256("\0".join(groups).encode()).hexdigest()
