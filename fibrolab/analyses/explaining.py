"""Explanation of a finished run: maps of its own samples, or of new pictures."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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


class Samples(NamedTuple):
    """The samples of an explanation.

    Attributes:
        parts: All of them, by the networks that explain them.
        tested: Those on which the maps are tested, with the tested network first.
        total: Number of networks of the run.
    """

    parts: list[Part]
    tested: Part
    total: int

    @property
    def network(self) -> "Predictor":
        """The first network, whose settings are those of all."""
        return self.tested.networks[0]


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
        _of_folder(make_folder(Path(config.folder)), run, _new_samples(run, config), config)
        return str(config.folder)
    ids = trained_run.ids(resolved(config)["run"])
    with ExitStack() as opened:
        explained = []
        for run_id in ids:
            tracked = opened.enter_context(reopen(config.tracking.uri, run_id, config.tracking.artifacts))
            run = TrainedRun(tracked.folder, tracked.id)
            run.refuse_other_format()
            run.require(*NEEDED)
            samples = _own_samples(run, config)
            if config.pseudo_masks:
                _check_pseudo_masks(run, samples.network, config)
            explained.append(_of_folder(tracked.folder, run, samples, config))
            if config.pseudo_masks:
                _write_pseudo_masks(run, samples.network, config)
        if len(explained) > 1:
            _compared(explained)
    return " ".join(ids)


def _check_pseudo_masks(run: TrainedRun, network: "Predictor", config: DictConfig) -> None:
    """Refuse a run from which no pseudo-masks can be made, before its maps are computed."""
    from fibrolab.analyses import pseudo_masking
    from fibrolab.explanation import map_batches

    request = _request(config, network)
    map_batches.check(request, network.classifier, task_of(network))
    pseudo_masking.check(run, request, network, config.explain.mask_threshold)


def _write_pseudo_masks(run: TrainedRun, network: "Predictor", config: DictConfig) -> None:
    """Make masks from the maps of all samples of a run, and print what they are worth."""
    from fibrolab.analyses import pseudo_masking

    written = pseudo_masking.write(run, network, _request(config, network), task_of(network), config)
    pseudo_masking.announce(written, run.run_id)


def _of_folder(folder: Path, run: TrainedRun, samples: Samples, config: DictConfig) -> "Arm":
    """Explain the samples of a run, or new pictures, into a folder, and return it for a comparison."""
    from fibrolab.analyses import explanation_pictures

    network = samples.network
    table = _written(folder, samples.parts, config)
    verdicts = _tested(folder, samples, config)
    sources = explanation_pictures.sources_of(network, [part.data.manifest for part in samples.parts])
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


def _new_samples(run: TrainedRun, config: DictConfig) -> Samples:
    """Return the samples of `input`, which all networks of a run explain together."""
    from fibrolab.runs import new_input

    _, networks = _networks(run, config.tracking.uri)
    first = networks[0]
    manifest = new_input.read(config.input, first.record, first.module.inputs)
    for network in networks:
        network.require_inputs(manifest)
    data = new_input.as_data(manifest, first.record, Path(config.paths.cache))
    data = first.masked(data.subset(_spread(len(data.manifest), config.samples)), Path(config.paths.cache))
    part = Part(networks, data, data)
    return Samples([part], part, len(networks))


def _own_samples(run: TrainedRun, config: DictConfig) -> Samples:
    """Return the samples of a run, each with the networks that predicted it.

    Those networks may be different for every sample: in a cross-validation they are those of the folds that
    left it out, and repetitions have other folds. The maps are then tested on all samples of one network.
    """
    from fibrolab.runs import own_samples

    trained, networks = _networks(run, config.tracking.uri)
    if config.partition == keys.VALIDATION and trained is not run:
        raise ConfigError(VALIDATION_OF_ANOTHER.format(run=run.run_id, source=trained.run_id))
    data, cache = own_samples.reloaded(run, Path(config.paths.cache)), Path(config.paths.cache)
    validation = _predicted_by(run, keys.VALIDATION, len(networks)) if trained is run else {}

    def part(numbers: Sequence[int], samples: Sequence[str]) -> Part:
        members = tuple(networks[number] for number in numbers)
        held_out = [sample for sample, known in validation.items() if numbers[0] in known]
        chosen, reference = (
            members[0].masked(own_samples.chosen(data, run, each), cache)
            for each in (samples, held_out or samples)
        )
        return Part(members, chosen, reference)

    known = predictions.select(run.predictions, config.partition)[keys.SAMPLE_ID].drop_duplicates()
    wanted = known.iloc[_spread(len(known), config.samples)]
    predicted_by = _predicted_by(run, config.partition, len(networks))
    groups: dict[tuple[int, ...], list[str]] = {}
    for sample in wanted:
        groups.setdefault(predicted_by[sample], []).append(sample)
    parts = [part(numbers, samples) for numbers, samples in sorted(groups.items())]
    first = min(groups)[0]
    of_first = [sample for sample in wanted if first in predicted_by[sample]]
    tested = parts[0] if len(parts) == 1 else part([first], of_first)
    return Samples(parts, tested, len(networks))


def _predicted_by(run: TrainedRun, partition: str, total: int) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the networks that predicted each sample of a partition, in their order.

    Args:
        run: The run.
        partition: Its partition.
        total: Number of networks; of an external evaluation all of them predicted every sample.
    """
    if not run.has_several_networks:
        frame = run.predictions
        return dict.fromkeys(
            frame.loc[frame[keys.PARTITION] == partition, keys.SAMPLE_ID], tuple(range(total))
        )
    frame = run.network_predictions
    frame, places = frame[frame[keys.PARTITION] == partition], [keys.REPEAT, keys.FOLD]
    numbers = {
        place: number for number, place in enumerate(run.networks[places].itertuples(index=False, name=None))
    }
    found: dict[str, tuple[int, ...]] = {}
    for sample, *place in frame[[keys.SAMPLE_ID, *places]].itertuples(index=False, name=None):
        found[sample] = tuple(sorted({*found.get(sample, ()), numbers[tuple(place)]}))
    return found


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
        if shares:
            write_table(pd.concat(shares, ignore_index=True), writer.folder / contributions.FILE)
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
        single = len(data.manifest) <= config.batch_size  # workers would only delay the many parts of folds
        workers = 0 if single else config.num_workers
        loaded = part.networks[0].datamodule(data, cache, config.batch_size, workers)
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
    for number, modality in enumerate(network.module.modalities):
        shown = shown_parts(part.data, modality, grey.of(modality))
        others = [geometry_column(name, modality) for name in GEOMETRY]
        frames.append(shown.set_axis(others, axis=1) if number else shown)
    return pd.concat(frames, axis=1)


def _tested(folder: Path, samples: Samples, config: DictConfig) -> list[str]:
    """Test the maps of one network, and return the verdict on each method and branch."""
    from fibrolab.analyses import map_testing
    from fibrolab.explanation import maps, verdicts
    from fibrolab.training.precision import device_of

    table, _ = map_testing.write_tests(
        folder / maps.FOLDER,
        samples.tested.networks,
        samples.tested.data,
        _request(config, samples.network),
        task_of(samples.network),
        Path(config.paths.cache),
        str(device_of(config.accelerator)),
        samples.total,
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
