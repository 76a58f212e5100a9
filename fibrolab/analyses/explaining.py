"""Explanation of a finished run: maps of its own samples, or of new pictures."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from omegaconf import DictConfig, ListConfig

from fibrolab import keys
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.evaluation import predictions
from fibrolab.evaluation.measures import operating_points
from fibrolab.runs import trained_run
from fibrolab.runs.trained_run import NEEDED, TrainedRun, open_run
from fibrolab.storage import make_folder, write_table
from fibrolab.tracking import reopen

if TYPE_CHECKING:
    from torch import Tensor

    from fibrolab.analyses.explanation_pictures import Arm, Subject
    from fibrolab.data.labelled_data import LabelledData
    from fibrolab.explanation.map_batches import Request
    from fibrolab.explanation.target_scores import Task
    from fibrolab.runs.checkpoint import Predictor

VALIDATION_OF_ANOTHER = (
    "partition=validation: the validation samples of run {run} are those of run {source}: explain that one."
)


class Part(NamedTuple):
    """Samples that are explained by the same networks.

    Attributes:
        networks: The networks, whose maps are averaged.
        data: The samples.
        reference: Samples whose mean features stand for an absent branch.
    """

    networks: "tuple[Predictor, ...]"
    data: "LabelledData"
    reference: "LabelledData"


def explain(config: DictConfig) -> str:
    """Compute maps and shares, test, draw and write them.

    Returns:
        The run's id; of several runs their ids with blanks between; of `input` the folder of its maps.

    Args:
        config: `conf/explain.yaml`, composed.

    Raises:
        ConfigError: The run is unknown or has no network, or a setting does not suit the network.
        DataError: The samples changed since the run, or the input cannot be used.
    """
    if config.input is not None:
        run = open_run(str(config.run), config.tracking.uri, artifacts=config.tracking.artifacts)
        _of_folder(make_folder(Path(config.folder)), run, _new_part(run, config), config)
        return str(config.folder)
    ids = trained_run.ids(resolved(config)["run"])
    with ExitStack() as opened:
        explained = []
        for run_id in ids:
            tracked = opened.enter_context(reopen(config.tracking.uri, run_id, config.tracking.artifacts))
            run = TrainedRun(tracked.folder, tracked.id)
            run.refuse_other_format()
            run.require(*NEEDED)
            parts = _own_parts(run, config)
            if config.pseudo_masks:
                _check_pseudo_masks(run, parts, config)
            explained.append(_of_folder(tracked.folder, run, parts, config))
            if config.pseudo_masks:
                _write_pseudo_masks(run, parts, config)
        if len(explained) > 1:
            _compared(explained)
    return " ".join(ids)


def _check_pseudo_masks(run: TrainedRun, parts: Sequence[Part], config: DictConfig) -> None:
    """Refuse a run from which no pseudo-masks can be made, before its maps are computed."""
    from fibrolab.analyses import pseudo_masking
    from fibrolab.explanation import map_batches

    network = parts[0].networks[0]
    request = _request(config, network)
    map_batches.check(request, network.classifier, task_of(network))
    pseudo_masking.check(run, request, network)


def _write_pseudo_masks(run: TrainedRun, parts: Sequence[Part], config: DictConfig) -> None:
    """Make masks from the maps of all samples of a run, and print what they are worth."""
    from fibrolab.analyses import pseudo_masking

    network = parts[0].networks[0]
    written = pseudo_masking.write(run, network, _request(config, network), task_of(network), config)
    pseudo_masking.announce(written, run.run_id)


def _of_folder(folder: Path, run: TrainedRun, parts: Sequence[Part], config: DictConfig) -> "Arm":
    """Explain the samples of a run, or new pictures, into a folder, and return it for a comparison."""
    from fibrolab.analyses import explanation_pictures

    table = _written(folder, parts, config)
    verdicts = _tested(folder, parts, config)
    network = parts[0].networks[0]
    sources = explanation_pictures.sources_of(network, [part.data.manifest for part in parts])
    subject = _subject(run, network, config)
    _announce(folder, table, verdicts, explanation_pictures.write(folder, sources, subject))
    branch = _request(config, network).branches[0]
    return explanation_pictures.Arm(folder, branch, sources[branch], subject)


def _compared(explained: "Sequence[Arm]") -> None:
    """Draw the maps of several runs on the same samples, into the folder and the page of each.

    Raises:
        DataError: No sample has maps in all runs.
    """
    from fibrolab.analyses import explanation_pictures

    names = [arm.subject.name for arm in explained]
    if len(set(names)) < len(names):
        names = [f"{arm.subject.name} {arm.subject.run_id[:8]}" for arm in explained]
    arms = dict(zip(names, explained, strict=True))
    for arm in explained:
        explanation_pictures.compare(arm.folder / keys.EXPLANATION / keys.FIGURES, arms)
        explanation_pictures.write_pages(arm.folder)


def _networks(run: TrainedRun, uri: str) -> "tuple[TrainedRun, tuple[Predictor, ...]]":
    """Return the run that trained the networks of a run, and the networks."""
    source = run.config.get("learnt_from")  # of an external evaluation
    trained = open_run(str(source["run"]), uri) if source else run
    trained.refuse_without_classifier()
    return trained, trained.predictors


def _new_part(run: TrainedRun, config: DictConfig) -> list[Part]:
    """Return the samples of `input`, which all networks of a run explain together."""
    from fibrolab.runs import new_input

    _, networks = _networks(run, config.tracking.uri)
    first = networks[0]
    manifest = new_input.read(config.input, first.record, first.module.inputs)
    data = new_input.as_data(manifest, first.record, Path(config.paths.cache))
    data = first.masked(data.subset(_spread(len(data.manifest), config.samples)), Path(config.paths.cache))
    return [Part(networks, data, data)]


def _own_parts(run: TrainedRun, config: DictConfig) -> list[Part]:
    """Return the samples of a run; of a cross-validation, each is explained by the networks of its fold."""
    from fibrolab.runs import own_samples

    trained, networks = _networks(run, config.tracking.uri)
    if config.partition == keys.VALIDATION and trained is not run:
        raise ConfigError(VALIDATION_OF_ANOTHER.format(run=run.run_id, source=trained.run_id))
    data = own_samples.reloaded(run, Path(config.paths.cache))
    frame = run.predictions
    folds = (
        frame[keys.FOLD]
        if run.has_several_networks and predictions.is_crossed(frame)
        else 0 * frame[keys.FOLD]
    )
    wanted = frame.assign(**{keys.FOLD: folds})
    rows = wanted[wanted[keys.PARTITION] == config.partition]
    rows = rows.iloc[_spread(len(rows), config.samples)]
    crossed = wanted[keys.FOLD].nunique() > 1
    parts = []
    for fold, samples in rows.groupby(keys.FOLD):
        members = [
            network
            for number, network in enumerate(networks)
            if not crossed or run.networks[keys.FOLD].iloc[number] == fold
        ]
        validation = wanted[(wanted[keys.PARTITION] == keys.VALIDATION) & (wanted[keys.FOLD] == fold)]
        own = partial(_own_samples, data, run, members[0], Path(config.paths.cache))
        chosen = own(samples[keys.SAMPLE_ID].tolist())
        known = trained is run and len(validation) > 0
        reference = own(validation[keys.SAMPLE_ID].tolist()) if known else chosen
        parts.append(Part(tuple(members), chosen, reference))
    return parts


def _own_samples(
    data: "LabelledData", run: TrainedRun, network: "Predictor", cache: Path, samples: Sequence[str]
) -> "LabelledData":
    """Return some samples of a run, with the masks to which the network's images are cropped."""
    from fibrolab.runs import own_samples

    return network.masked(own_samples.chosen(data, run, samples), cache)


def _spread(total: int, wanted: int | None) -> np.ndarray:
    """Return rows, int64 (n,), evenly over all: as many as are wanted."""
    number = total if wanted is None else min(total, wanted)
    return np.linspace(0, total - 1, number).round().astype(np.int64)


def _written(folder: Path, parts: Sequence[Part], config: DictConfig) -> pd.DataFrame:
    """Compute the maps of all parts, write them, and return their table."""
    from fibrolab.explanation import contributions, map_batches, maps

    request = _request(config, parts[0].networks[0])
    for network in {id(each): each for part in parts for each in part.networks}.values():
        map_batches.check(request, network.classifier, task_of(network))
    total = sum(len(part.data.manifest) for part in parts)
    tables, shares = [], []
    with maps.MapWriter(folder, total) as writer:
        for part in parts:
            known = _described(part, config.partition if config.input is None else "")
            for rows, found in _of_part(part, request, writer, config):
                index = rows.pop(keys.INDEX).to_numpy()
                tables.append(known.iloc[index].reset_index(drop=True).join(rows))
                if len(found):
                    ids = known[keys.SAMPLE_ID].iloc[found.pop(keys.INDEX)].to_numpy()
                    found.insert(0, keys.SAMPLE_ID, ids)
                    shares.append(found)
        table = pd.concat(tables, ignore_index=True)
        table = table[[*maps.COLUMNS, *(name for name in table if name not in maps.COLUMNS)]]
        path = writer.folder / contributions.FILE
        path.unlink(missing_ok=True)
        if shares:
            write_table(pd.concat(shares, ignore_index=True), path)
        writer.finish(table)
    return table


def _of_part(
    part: Part, request: "Request", writer: Any, config: DictConfig
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Compute the maps and shares of one part, batch by batch."""
    from fibrolab.explanation import contributions, map_batches
    from fibrolab.training.precision import device_of

    device = device_of(config.accelerator)
    cache = Path(config.paths.cache)
    modules = [network.classifier.to(device).eval() for network in part.networks]

    def batches(data: "LabelledData") -> "Iterator[dict[str, Tensor]]":
        loaded = part.networks[0].datamodule(data, cache, config.batch_size, config.num_workers)
        loaded.prepare_data()
        for batch in loaded.test_dataloader():
            yield {name: value.to(device) for name, value in batch.items()}

    means = []
    if map_batches.has_shares(modules[0]):
        means = [contributions.mean_features(module, batches(part.reference)) for module in modules]
    tasks = [task_of(network) for network in part.networks]
    yield from map_batches.explained(modules, tasks, batches(part.data), request, writer, means)


def task_of(network: "Predictor") -> "Task":
    """Return classes, loss and end points of a network, from which the score of a map is built."""
    from fibrolab.explanation.target_scores import Task

    endpoints = network.record["task"]["endpoints"] or {}
    return Task(network.module.criterion, network.classes, dict(endpoints))


def _request(config: DictConfig, network: "Predictor") -> "Request":
    from fibrolab.explanation.attribution import visual_branches
    from fibrolab.explanation.map_batches import Request

    given = config.explain
    target = "true" if given.target is True else str(given.target)  # YAML reads it as a boolean
    branches = visual_branches(network.classifier) if given.branch is None else _listed(given.branch)
    return Request(tuple(_listed(given.method)), tuple(branches), given.layer, target)


def _listed(given: Any) -> list[str]:
    """Return a setting with one name or several."""
    return [str(each) for each in (given if isinstance(given, ListConfig | list) else [given])]


def _described(part: Part, partition: str) -> pd.DataFrame:
    """Return names, partition and geometry of the samples of a part, one row each."""
    from fibrolab.data.geometry import GEOMETRY, shown_parts
    from fibrolab.data.preprocess import Preprocess
    from fibrolab.explanation.maps import geometry_column

    network, manifest = part.networks[0], part.data.manifest
    grey = Preprocess(**network.record["preprocess"])
    names = [keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID]
    frames = [manifest.table[names].assign(**{keys.PARTITION: partition})]
    for number, modality in enumerate(name for name in network.module.inputs if name != keys.CLINICAL):
        shown = shown_parts(part.data, modality, grey.of(modality))
        others = [geometry_column(name, modality) for name in GEOMETRY]
        frames.append(shown.set_axis(others, axis=1) if number else shown)
    return pd.concat(frames, axis=1)


def _tested(folder: Path, parts: Sequence[Part], config: DictConfig) -> list[str]:
    """Test the maps on samples of the first part, and return the verdict on each method and branch."""
    from fibrolab.analyses import map_testing
    from fibrolab.explanation import maps, verdicts
    from fibrolab.training.precision import device_of

    first = parts[0]
    table, _ = map_testing.write_tests(
        folder / maps.FOLDER,
        first.networks,
        first.data,
        _request(config, first.networks[0]),
        task_of(first.networks[0]),
        Path(config.paths.cache),
        str(device_of(config.accelerator)),
    )
    return table.loc[table["test"] == verdicts.VERDICT, "sentence"].tolist()


def _subject(run: TrainedRun, network: "Predictor", config: DictConfig) -> "Subject":
    """Return how the pictures of a run's explanation name it, its classes and its decision threshold."""
    from fibrolab.analyses.explanation_pictures import Subject
    from fibrolab.explanation.selection import Boundary

    target = str(config.explain.target)
    endpoints = dict(network.record["task"]["endpoints"] or {})
    rule = operating_points.usual_rule(run.predictions)
    fitted = (network.record["thresholds"] or {}).get("sample", {}).get(target, {}).get(rule)
    return Subject(
        str(run.config.name),
        network.classes,
        endpoints,
        Boundary(endpoints[target], fitted) if target in endpoints and fitted is not None else None,
        run.run_id,
        hashed=bool(run.ids_key) and config.input is None,
    )


def _announce(folder: Path, table: pd.DataFrame, verdicts: Sequence[str], page: Path) -> None:
    """Print how many samples were explained, what their maps are worth, and where the files are."""
    from fibrolab.explanation import maps

    print(f"samples  {len(table)}")
    for path in sorted((folder / maps.FOLDER / maps.ARRAYS).glob("*.npy")):
        print(f"maps     {path}")
    for sentence in verdicts:
        print(f"verdict  {sentence}")
    print(f"table    {folder / maps.FOLDER / maps.TABLE}")
    print(f"page     {page}")
