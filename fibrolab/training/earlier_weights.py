"""Weights to start from that an earlier run left: `weights: run:ID` becomes a place in its checkpoint."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.choices import unknown
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, SplitError, WeightsError
from fibrolab.tracking import finished

PREFIX = "run:"
BEST = "best.ckpt"
ALIKE = ("name", "pooling", "scaling")  # what a branch must share with the one whose weights it takes


def with_weights_of_runs(config: DictConfig, data: LabelledData) -> DictConfig:
    """The config with every `weights: run:ID` or `run:ID/BRANCH` replaced by the place of the tensors.

    Args:
        config: `conf/train.yaml`, composed.
        data: Of this run: no sample that it validates or tests on may have trained the weights.

    Returns:
        A copy: the run's own record keeps the run's id.

    Raises:
        WeightsError: The run has no such branch, another architecture, or no checkpoint.
        SplitError: The weights were trained on samples that this run validates or tests on.
        ConfigError: The run is not known, or has no network.
    """
    config = config.copy()
    for name, branch in config.model.branches.items():
        if named := _named(branch):
            run, theirs = named
            where = f"model.branches.{name}.weights={branch.weights}"
            folder, *before = _lineage(config.tracking.uri, run)
            for each in (folder, *before):
                _refuse_leaks(each, data, where)
            branch.weights = _place(folder, branch, theirs or _only(folder, str(name), where), where)
    return config


def _named(branch: Any) -> tuple[str, str] | None:
    """The run that a branch's weights are to come from, and the branch there; None for other weights."""
    given = branch.get("weights") if isinstance(branch, Mapping | DictConfig) else None
    if not (isinstance(given, str) and given.startswith(PREFIX)):
        return None
    run, _, theirs = given.removeprefix(PREFIX).partition("/")
    return run, theirs


def _lineage(uri: str, run: str) -> Iterator[Path]:
    """The folder of a run, then those of the runs that its own weights came from."""
    folder = finished(uri, run)
    yield folder
    for branch in _branches(folder).values():
        if named := _named(branch):
            yield from _lineage(uri, named[0])


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
    frames = earlier.get("frames") or {}
    if frames.get("name") == "inflated":
        raise WeightsError(
            f"{where}: that branch sees time in its convolutions, and without their weights beside the "
            "centre the others are worth little. Name a run with other frames, or weights of pictures."
        )
    inner = ".backbone" if frames else ""  # of a network that is run over frames, the network alone
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
    branches = OmegaConf.select(config, "model.branches")
    if branches is None:
        raise ConfigError(f"weights: the run in {folder} has no network; name one of `fibrolab.train`.")
    return {str(name): OmegaConf.to_container(branch) for name, branch in branches.items()}


def _refuse_leaks(folder: Path, data: LabelledData, where: str) -> None:
    """What trained or chose the weights is no test of them; what trained them cannot choose an epoch."""
    table, split = (
        pd.read_csv(folder / name, dtype=str, keep_default_na=False)  # a patient may be called NA
        for name in (keys.MANIFEST_FILE, keys.SPLIT_FILE)
    )
    config = OmegaConf.load(folder / keys.CONFIG_FILE)
    if config.data.name != data.manifest.name:
        return  # names of another data set say nothing about ours
    for ours, theirs, harm in (
        (keys.TEST, (keys.TRAIN, keys.VALIDATION), "a score would prove nothing"),
        (keys.VALIDATION, (keys.TRAIN,), "the epoch, and any stack, would be fitted to what they know"),
    ):
        used = table[split[keys.PARTITION].isin(theirs).to_numpy()]
        rows = data.manifest.table.iloc[data.split.rows(ours)]
        seen = rows[keys.SAMPLE_ID].isin(used[keys.SAMPLE_ID])
        if not data.split.crossing:  # a paper's random split parts patients anyway, and is loud about it
            seen |= rows[keys.GROUP_ID].isin(used[keys.GROUP_ID])
        if seen.any():
            raise SplitError(
                f"{where}: {int(seen.sum())} of the {len(rows)} {ours} samples, or others of their patients, "
                f"trained those weights, so that {harm}. Use the same split and seed as that run, or "
                "split=saved with its split.csv."
            )
