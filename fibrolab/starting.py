"""Weights to start from that an earlier run left: `weights: run:ID` becomes a place in its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.choices import unknown
from fibrolab.data.labelled import LabelledData
from fibrolab.errors import ConfigError, SplitError, WeightsError
from fibrolab.tracking import finished

PREFIX = "run:"
BEST = "best.ckpt"
ALIKE = ("name", "pooling")  # what a branch must share with the one whose weights it takes


def with_weights_of_runs(config: DictConfig, data: LabelledData) -> DictConfig:
    """The config with every `weights: run:ID` or `run:ID/BRANCH` replaced by the place of the tensors.

    Args:
        config: `conf/train.yaml`, composed.
        data: Of this run: no sample that it tests on may have trained the weights.

    Returns:
        A copy: the run's own record keeps the run's id.

    Raises:
        WeightsError: The run has no such branch, another architecture, or no checkpoint.
        SplitError: The weights were trained on samples that this run tests on.
        ConfigError: The run is not known.
    """
    config = config.copy()
    for name, branch in config.model.branches.items():
        given = branch.get("weights") if isinstance(branch, DictConfig) else None
        if isinstance(given, str) and given.startswith(PREFIX):
            run, _, theirs = given.removeprefix(PREFIX).partition("/")
            where = f"model.branches.{name}.weights={given}"
            folder = finished(config.tracking.uri, run)
            _refuse_leaks(folder, data, where)
            branch.weights = _place(folder, branch, theirs or _only(folder, str(name), where), where)
    return config


def _place(folder: Path, branch: DictConfig, theirs: str, where: str) -> str:
    """The checkpoint of a run, and the branch in it."""
    branches = _branches(folder)
    if theirs not in branches:
        raise WeightsError(unknown(f"{where}: branch of that run", theirs, branches))
    earlier, ours = branches[theirs], OmegaConf.to_container(branch)
    assert isinstance(ours, dict)
    differing = [key for key in ALIKE if earlier.get(key) != ours.get(key)]
    if differing:
        told = ", ".join(f"{key} {earlier.get(key)} there, {ours.get(key)} here" for key in differing)
        raise WeightsError(f"{where}: that branch is another network: {told}. Give both the same settings.")
    checkpoint = folder / keys.CHECKPOINTS / BEST
    if not checkpoint.is_file():
        raise WeightsError(f"{where}: that run kept no checkpoint ({checkpoint}); a fast dev run saves none.")
    inner = (
        ".backbone" if earlier.get("frames") else ""
    )  # of a network that is run over frames, the network alone
    return f"{checkpoint}#network.branches.{theirs}{inner}"


def _only(folder: Path, name: str, where: str) -> str:
    """The branch that is meant where none is named: the run's only one, or the one of the same name."""
    branches = _branches(folder)
    if len(branches) == 1:
        return next(iter(branches))
    if name in branches:
        return name
    raise ConfigError(
        f"{where}: that run has the branches {', '.join(branches)}; say which as run:ID/BRANCH."
    )


def _branches(folder: Path) -> Mapping[str, Any]:
    config = OmegaConf.load(folder / keys.CONFIG_FILE)
    branches = OmegaConf.to_container(config.model.branches)
    assert isinstance(branches, dict)
    return {str(name): branch for name, branch in branches.items()}


def _refuse_leaks(folder: Path, data: LabelledData, where: str) -> None:
    """A sample or a patient that trained or chose the weights must not be tested on with them."""
    table, split = pd.read_csv(folder / keys.MANIFEST_FILE, dtype=str), pd.read_csv(folder / keys.SPLIT_FILE)
    config = OmegaConf.load(folder / keys.CONFIG_FILE)
    if config.data.name != data.manifest.name:
        return  # names of another data set say nothing about ours
    used = table[split[keys.PARTITION].isin((keys.TRAIN, keys.VALIDATION)).to_numpy()]
    ours = data.manifest.table.iloc[data.split.rows(keys.TEST)]
    seen = ours[keys.SAMPLE_ID].isin(used[keys.SAMPLE_ID])
    if not data.split.crossing:  # a paper's random split parts patients anyway, and is loud about it
        seen |= ours[keys.GROUP_ID].isin(used[keys.GROUP_ID])
    if seen.any():
        raise SplitError(
            f"{where}: {int(seen.sum())} of the {len(ours)} test samples, or others of their patients, "
            "trained those weights, so that a score would prove nothing. Use the same split and seed as that "
            "run, or split=saved with its split.csv."
        )
