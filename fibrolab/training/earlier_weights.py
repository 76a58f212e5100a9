"""Initial weights from an earlier run: `weights: run:ID` becomes a place in its checkpoint."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fibrolab import keys
from fibrolab.choices import unknown
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, SplitError, WeightsError
from fibrolab.runs import overlap
from fibrolab.runs.trained_run import TrainedRun, open_run

PREFIX = "run:"
ALIKE = ("name", "pooling", "scaling")  # what a branch must share with the one whose weights it takes


def with_weights_of_runs(config: DictConfig, data: LabelledData) -> DictConfig:
    """Return the config with every `weights: run:ID` or `run:ID/BRANCH` replaced by the place of the tensors.

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
            opened, *before = _lineage(config.tracking.uri, run)
            for each in (opened, *before):
                _refuse_leaks(each, data, where)
            branch.weights = _place(opened, branch, theirs or _only(opened, str(name), where), where)
    return config


def _named(branch: Any) -> tuple[str, str] | None:
    """Return the run that a branch's weights come from, and the branch there; None for other weights."""
    given = branch.get("weights") if isinstance(branch, Mapping | DictConfig) else None
    if not (isinstance(given, str) and given.startswith(PREFIX)):
        return None
    run, _, theirs = given.removeprefix(PREFIX).partition("/")
    return run, theirs


def _lineage(uri: str, run: str) -> Iterator[TrainedRun]:
    """Yield a run, then those that its own weights came from."""
    opened = open_run(run, uri)
    yield opened
    for branch in _branches(opened).values():
        if named := _named(branch):
            yield from _lineage(uri, named[0])


def _place(run: TrainedRun, branch: DictConfig, theirs: str, where: str) -> str:
    """Return the checkpoint of a run, and the branch in it."""
    branches = _branches(run)
    if theirs not in branches:
        raise WeightsError(unknown(f"{where}: branch of that run", theirs, branches))
    earlier, ours = branches[theirs], OmegaConf.to_container(branch)
    assert isinstance(ours, dict)
    differing = [key for key in ALIKE if earlier.get(key) != ours.get(key)]
    if differing:
        told = ", ".join(f"{key} {earlier.get(key)} there, {ours.get(key)} here" for key in differing)
        raise WeightsError(f"{where}: that branch is another network: {told}. Give both the same settings.")
    checkpoint = run.folder / keys.CHECKPOINTS / keys.BEST
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


def _only(run: TrainedRun, name: str, where: str) -> str:
    """Return the branch that is meant where none is named: the run's only one, or the one of this name."""
    branches = _branches(run)
    if len(branches) == 1:
        return next(iter(branches))
    if name in branches:
        return name
    raise ConfigError(
        f"{where}: that run has the branches {', '.join(branches)}; say which as run:ID/BRANCH."
    )


def _branches(run: TrainedRun) -> Mapping[str, Any]:
    branches = OmegaConf.select(run.config, "model.branches")
    if branches is None:
        raise ConfigError(f"weights: the run in {run.folder} has no network; name one of `fibrolab.train`.")
    return {str(name): OmegaConf.to_container(branch) for name, branch in branches.items()}


def _refuse_leaks(run: TrainedRun, data: LabelledData, where: str) -> None:
    """Reject weights that were trained or chosen on this run's test set, or trained on its validation part.

    On the manifest of that run, names identify its samples and groups. On any other manifest, copies and near
    copies of its images count too.
    """
    for ours, theirs, harm in (
        (keys.TEST, (keys.TRAIN, keys.VALIDATION), "a score would prove nothing"),
        (keys.VALIDATION, (keys.TRAIN,), "the epoch, and any stack, would be fitted to what they know"),
    ):
        seen = overlap.namesakes(data, run, theirs, keys.SAMPLE_ID)
        if not data.split.crossing:  # a paper's random split parts patients anyway, and is loud about it
            seen = seen | overlap.namesakes(data, run, theirs, keys.GROUP_ID)
        if run.manifest_hash != data.manifest.hash:
            seen = seen | overlap.copies(data, run, theirs)
        rows = data.split.rows(ours)
        if found := int(seen[rows].sum()):
            raise SplitError(
                f"{where}: {found} of the {len(rows)} {ours} samples, copies of them or others of their "
                f"patients, trained those weights, so that {harm}. Use the same data, split and seed as that "
                "run, or split=saved with its split.csv."
            )
