"""Initial weights of the backbones: published, of a file, of an earlier run, or random."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.command_line import exists
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, SplitError, WeightsError
from fibrolab.models.branches import INPUT
from fibrolab.models.freezing import GRADUAL, NONE
from fibrolab.models.networks import has_published_weights, published_weights
from fibrolab.runs import overlap
from fibrolab.runs.trained_run import TrainedRun, open_run

AUTO = "auto"
PREFIX = "run:"
MUST_MATCH = ("name", "pooling", "scaling")  # settings in which both branches must agree


def decide_pretrained(config: DictConfig) -> dict[str, bool]:
    """Replace `pretrained: auto` of every backbone by true or false; make sure that weights can be had.

    With `auto`, a backbone starts from the weights that its library publishes, unless `weights` names others
    or there are none. Published weights are downloaded here, before any data is read.

    Args:
        config: `conf/train.yaml`, composed; changed in place, so that the run's files state what was used.

    Returns:
        The decision for each branch, by the name of the setting.

    Raises:
        ConfigError: Settings contradict each other, or random weights would be frozen.
        WeightsError: A file does not exist, or published weights cannot be downloaded.
    """
    faults, decided = [], {}
    for name, branch in config.model.get("branches", {}).items():
        if not isinstance(branch, DictConfig) or branch.get(INPUT) == keys.CLINICAL:
            continue
        where, own = f"model.branches.{name}", bool(branch.get("_target_"))
        given, weights = branch.get("pretrained", False), branch.get("weights")
        if given == AUTO:
            branch.pretrained = not (own or weights) and has_published_weights(str(branch.name))
        if given is True and (weights or own):
            faults.append(
                f"{where}.pretrained=true contradicts {where}.{'weights' if weights else '_target_'}, which "
                f"gives other weights: set {where}.pretrained=false."
            )
        elif weights:
            _check_file(str(weights), where)
        elif branch.get("pretrained") and not own:
            _find_published(str(branch.name), where)
        elif config.pretrained is True and not own:
            faults.append(
                f"pretrained=true, but {where}.pretrained=false: set {where}.pretrained=true, or leave "
                "pretrained=auto."
            )
        elif _freezes(branch) and not own and not config.trainer.get("fast_dev_run"):
            faults.append(
                f"{where}.freeze={branch.freeze} would keep random weights: give {where}.weights=FILE, "
                f"{where}.weights=run:ID, {where}.pretrained=true, or {where}.freeze=none."
            )
        decided[f"{where}.pretrained"] = bool(branch.get("pretrained"))
    refuse(faults)
    return decided


def _check_file(weights: str, where: str) -> None:
    """Refuse a file that does not exist; a run is opened when the data is known."""
    paths = (weights, weights.rpartition("#")[0] or weights)
    if not (weights.startswith(PREFIX) or any(exists(path, Path.is_file) for path in paths)):
        raise WeightsError(
            f"{where}.weights={weights} is not a file; give a safetensors file, a checkpoint, or run:ID."
        )


def _find_published(name: str, where: str) -> None:
    try:
        published_weights(name)
    except WeightsError as fault:
        raise WeightsError(f"{where}: {fault}") from fault


def _freezes(branch: DictConfig) -> bool:
    return branch.get("freeze", NONE) not in (NONE, GRADUAL)  # the latter trains everything in the end


def with_weights_of_runs(config: DictConfig, data: LabelledData) -> DictConfig:
    """Return the config with every `weights: run:ID` or `run:ID/BRANCH` replaced by a checkpoint path.

    Args:
        config: `conf/train.yaml`, composed.
        data: Data of this run; its validation and test samples must not have trained the weights.

    Returns:
        A changed copy; the run's own files keep the id of the earlier run.

    Raises:
        WeightsError: The earlier run has no such branch, another architecture, or no checkpoint.
        SplitError: The weights were trained on validation or test samples of this run.
        ConfigError: The earlier run is unknown or has no network.
    """
    config = config.copy()
    for name, branch in config.model.get("branches", {}).items():
        if named := _run_and_branch(branch):
            run, theirs = named
            where = f"model.branches.{name}.weights={branch.weights}"
            opened, *ancestors = _lineage(config.tracking.uri, run)
            opened.refuse_several_networks()
            for each in (opened, *ancestors):
                refuse_leaks(each, data, where)
            theirs = theirs or _default_branch(opened, str(name), where)
            branch.weights = _checkpoint_of(opened, branch, theirs, where)
    return config


def _run_and_branch(branch: Any) -> tuple[str, str] | None:
    """Return the run and its branch that a branch takes weights from; None for other weights."""
    given = branch.get("weights") if isinstance(branch, Mapping | DictConfig) else None
    if not (isinstance(given, str) and given.startswith(PREFIX)):
        return None
    run, _, theirs = given.removeprefix(PREFIX).partition("/")
    return run, theirs


def _lineage(uri: str, run: str) -> Iterator[TrainedRun]:
    """Yield a run, then the runs that its own initial weights came from."""
    opened = open_run(run, uri)
    yield opened
    for branch in _branches(opened).values():
        if named := _run_and_branch(branch):
            yield from _lineage(uri, named[0])


def _checkpoint_of(run: TrainedRun, branch: DictConfig, theirs: str, where: str) -> str:
    """Return ``PATH#PREFIX`` of a branch in the checkpoint of a run."""
    branches = _branches(run)
    if theirs not in branches:
        raise WeightsError(unknown(f"{where}: branch of that run", theirs, branches))
    earlier, ours = branches[theirs], OmegaConf.to_container(branch)
    assert isinstance(ours, dict)
    differing = [key for key in MUST_MATCH if earlier.get(key) != ours.get(key)]
    if differing:
        pairs = ", ".join(f"{key} {earlier.get(key)} there, {ours.get(key)} here" for key in differing)
        raise WeightsError(f"{where}: that branch is another network: {pairs}. Give both the same settings.")
    checkpoint = run.folder / keys.CHECKPOINTS / keys.BEST
    if not checkpoint.is_file():
        raise WeightsError(f"{where}: that run has no checkpoint ({checkpoint}); a fast dev run saves none.")
    frames = earlier.get("frames") or {}
    if frames.get("name") == "inflated":
        raise WeightsError(
            f"{where}: that branch has 3D convolutions (frames=inflated), and their central frames alone are "
            "not usable weights. Name a run with other frames, or weights of an image network."
        )
    inner = ".backbone" if frames else ""  # the image network alone, without the model over frames
    return f"{checkpoint}#network.branches.{theirs}{inner}"


def _default_branch(run: TrainedRun, name: str, where: str) -> str:
    """Return the branch to take if none is named: the run's only branch, or the one called `name`."""
    branches = _branches(run)
    if len(branches) == 1:
        return next(iter(branches))
    if name in branches:
        return name
    raise ConfigError(
        f"{where}: that run has the branches {', '.join(branches)}; choose one with run:ID/BRANCH."
    )


def _branches(run: TrainedRun) -> Mapping[str, Any]:
    branches = OmegaConf.select(run.config, "model.branches")
    if branches is None:
        raise ConfigError(f"weights: the run in {run.folder} has no network; name one of `fibrolab.train`.")
    return {str(name): OmegaConf.to_container(branch) for name, branch in branches.items()}


def refuse_leaks(
    run: TrainedRun, data: LabelledData, where: str, known_by: str = "trained those weights"
) -> None:
    """Reject a run that was trained or selected on this run's test set, or trained on its validation set.

    Args:
        run: The earlier run.
        data: Data of this run.
        where: The setting that names the earlier run, for the message.
        known_by: Part of those samples in the earlier run, the predicate of the message.

    Raises:
        SplitError: The number of such samples.
    """
    for ours, theirs, harm in (
        (keys.TEST, (keys.TRAIN, keys.VALIDATION), "its score would not be an independent test"),
        (keys.VALIDATION, (keys.TRAIN,), "the best epoch, and any stack, would be chosen on known samples"),
    ):
        seen = overlap.known(data, run, theirs)
        rows = data.split.rows(ours)
        if found := int(seen[rows].sum()):
            raise SplitError(
                f"{where}: {found} of the {len(rows)} {ours} samples, copies of them or others of their "
                f"patients, {known_by}: {harm}. Use the same data, split and seed as that "
                "run, or split=saved with its split.csv."
            )
