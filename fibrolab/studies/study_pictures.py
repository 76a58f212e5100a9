"""Pictures of a study: maps of all arms on the same samples, and samples before and after preprocessing.

They are drawn from the runs after the trainings. `pictures.csv` names their files, so that README and page
show them again by `rebuild=true`, which cannot draw them.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.analyses import explaining, explanation_pictures
from fibrolab.config import resolved
from fibrolab.data.augment import Augment, augmentation_seed, sample_keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.preprocess import FIRST, Preprocess
from fibrolab.errors import ConfigError, FibrolabError
from fibrolab.evaluation.segmentation import images
from fibrolab.explanation import map_batches, overlays, selection
from fibrolab.explanation.attribution import attribute, visual_branches
from fibrolab.explanation.map_batches import Request
from fibrolab.explanation.picture_maps import Source
from fibrolab.explanation.selection import PREDICTED, PROBABILITY, Choice
from fibrolab.explanation.target_scores import PREDICTED as PREDICTED_CLASS
from fibrolab.explanation.target_scores import build_target
from fibrolab.reporting import run_outputs, vocabulary
from fibrolab.reporting.figures import masks, picture_grid
from fibrolab.reporting.figures.picture_grid import ENDING, Column, Tile
from fibrolab.runs import own_samples
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import put
from fibrolab.studies.definition import Study
from fibrolab.studies.results import COLUMNS, PICTURES
from fibrolab.studies.trainings import Data, Place, Training
from fibrolab.training.precision import device_of

METHOD = "gradcam"
EACH = 3  # right and wrong predictions
MOST = 8  # columns of maps in one figure
PLURAL = {keys.IMAGE: "pictures", keys.ELASTOGRAM: "elastograms", keys.CLIP: "films"}

_log = logging.getLogger(__name__)
Figure = tuple[str, Sequence[Column], Sequence[str], str]  # name, columns, rows and caption


@dataclass(frozen=True)
class ArmNetwork:
    """An arm whose network has maps.

    Attributes:
        label: Name of the arm.
        run: Its run.
        network: Its network; of several that of the first fold.
        data: Its samples.
        tested: Predictions of this network's test samples, as `selection.outcomes` returns them.
        groups: Group of each of them.
        branches: Branches that take pictures, by modality.
    """

    label: str
    run: TrainedRun
    network: Predictor
    data: LabelledData
    tested: pd.DataFrame
    groups: Mapping[str, str]
    branches: Mapping[str, Sequence[str]]


@dataclass
class Gathered:
    """The arms of one protocol and task: their networks, and the reasons why others have no map.

    Segmenters, which have masks instead, are kept by label, with their run and its samples.
    """

    networks: dict[str, ArmNetwork] = field(default_factory=dict)
    segmenters: dict[str, tuple[TrainedRun, LabelledData]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def shown(self, study: Study, modality: str) -> ArmNetwork | None:
        """Return the arm that chooses the samples: the study's reference, or the first with this modality."""
        arms = sorted(self.networks, key=lambda name: name != study.reference)
        return next((self.networks[name] for name in arms if modality in self.networks[name].branches), None)


def draw(
    folder: Path,
    study: Study,
    places: Sequence[Place],
    composed: Mapping[Place, Training],
    runs: Mapping[Place, TrainedRun],
    data: Data,
    cache: Path,
) -> pd.DataFrame:
    """Draw the pictures of a study from its finished runs, for the first seed of each protocol and task.

    Args:
        folder: Folder of the figures; earlier pictures in it are removed.
        study: The study.
        places: Places of all trainings.
        composed: Trainings by their places.
        runs: Finished runs.
        data: Data of the trainings.
        cache: Folder of preprocessed pixels.

    Returns:
        Columns protocol, task, file and caption. An arm without a map has an empty column with its reason.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    for old in folder.glob(f"*{ENDING}"):
        old.unlink()
    rows, hashed = list[dict[str, str]](), False
    for protocol, task in dict.fromkeys((place.protocol, place.task) for place in places):
        here = [place for place in places if (place.protocol, place.task) == (protocol, task)]
        found = _gathered(
            study, [place for place in here if place.seed == here[0].seed], composed, runs, data
        )
        hashed |= any(arm.run.ids_key for arm in found.networks.values())
        words = "_".join(filter(None, [protocol, task]))
        figures = list(_maps(study, found, words, cache))
        if protocol not in {row["protocol"] for row in rows}:
            figures += [*_steps(study, found, protocol, cache), *_pairs(found, protocol, cache)]
            figures += _masks(found, protocol, cache)
        for name, columns, names, caption in figures:
            file = re.sub(r"[^\w-]", "_", name) + ENDING
            put(folder / file, picture_grid.webp(picture_grid.grid(columns, names)))
            rows.append({"protocol": protocol, "task": task, "file": file, "caption": caption})
    if hashed and rows:
        _log.warning(
            "privacy.ids=hashed hashes names, but no text inside pictures: look at the pictures in %s before "
            "you share the results, or delete them and call the study with rebuild=true.",
            folder,
        )
    return pd.DataFrame(rows, columns=COLUMNS[PICTURES])


def _gathered(
    study: Study,
    places: Sequence[Place],
    composed: Mapping[Place, Training],
    runs: Mapping[Place, TrainedRun],
    data: Data,
) -> Gathered:
    """Open the networks of the arms of one protocol, task and seed."""
    found = Gathered()
    for place in places:
        arm = study.arms[place.arm]
        if not arm.shown:
            continue
        try:
            if arm.masks_of and place in runs:
                found.segmenters[arm.label] = runs[place], data.of(composed[place])
            if arm.masks_of:
                continue
            if arm.stack:
                raise ConfigError("A regression has no map.")
            if place not in runs:
                raise ConfigError("Its training did not finish.")
            found.networks[arm.name] = _network(arm.label, runs[place], data.of(composed[place]))
        except FibrolabError as error:
            found.absent[arm.label] = " ".join(str(error).split())
    return found


def _network(label: str, run: TrainedRun, data: LabelledData) -> ArmNetwork:
    """Open the network of an arm.

    Raises:
        FibrolabError: The run left no network or no predictions, or the network has no spatial map.
    """
    network, frame = run.first_network()
    tested = frame[frame[keys.PARTITION] == keys.TEST]
    branches: dict[str, list[str]] = {}
    for branch in visual_branches(network.classifier):
        branches.setdefault(network.module.network.input_of(branch), []).append(branch)
    request = Request((METHOD,), tuple(name for names in branches.values() for name in names))
    map_batches.check(request, network.classifier, explaining.task_of(network))
    groups = dict(zip(tested[keys.SAMPLE_ID], tested[keys.GROUP_ID], strict=True))
    return ArmNetwork(label, run, network, data, selection.outcomes(tested), groups, branches)


def _maps(study: Study, found: Gathered, words: str, cache: Path) -> Iterator[Figure]:
    """Yield name, columns, rows and caption of each figure of maps: one a modality, several of many arms."""
    absent = dict(found.absent)
    for modality in PLURAL:
        if (chooser := found.shown(study, modality)) is None:
            continue
        arms = [arm for arm in found.networks.values() if modality in arm.branches]
        chosen = _chosen(chooser, arms)
        if not chosen:
            continue
        columns = [column for arm in arms for column in _columns(arm, modality, chosen, cache)]
        columns += [Column(label, absent=reason) for label, reason in absent.items()]
        absent = {}  # said once
        originals = _originals(chooser, modality, chosen, cache)
        rows = ["surest right" if each.rule == selection.RIGHT else "surest wrong" for each in chosen]
        caption = _caption(chooser, modality, chosen)
        parts = [columns[start : start + MOST] for start in range(0, len(columns), MOST)]
        for number, part in enumerate(parts):
            end = f"_{number + 1}" if number else ""
            yield f"maps_{words}_{modality}{end}", [originals, *part], rows, caption


def _chosen(chooser: ArmNetwork, arms: Sequence[ArmNetwork]) -> list[Choice]:
    """Choose the samples of a figure among those that all arms predicted.

    If the test samples of an arm are others altogether, it has empty places.
    """
    common = set(chooser.tested[keys.SAMPLE_ID])
    for arm in arms:
        common = (common & set(arm.tested[keys.SAMPLE_ID])) or common
    rows = chooser.tested[chooser.tested[keys.SAMPLE_ID].isin(common)]
    return selection.surest(rows, chooser.groups, EACH)


def _caption(chooser: ArmNetwork, modality: str, chosen: Sequence[Choice]) -> str:
    several = chooser.run.has_several_networks
    right = sum(each.rule == selection.RIGHT for each in chosen)
    wrong = len(chosen) - right
    how = "middle frame; " if modality == keys.CLIP else ""
    return (
        f"Grad-CAM of the class that each arm predicts, on the same test {PLURAL[modality]} (rows)"
        f"{' of the first fold' if several else ''}: the {right} that {chooser.label} predicts right "
        f"and the {wrong} that it predicts wrong with the highest probability, one of each patient or set of "
        f"copies ({how}the part that the network sees). The colours of each column end at the "
        f"{overlays.CLIPPED}th percentile of its values."
    )


def _columns(arm: ArmNetwork, modality: str, chosen: Sequence[Choice], cache: Path) -> Iterator[Column]:
    """Yield a column of overlays for each branch of an arm that takes this modality."""
    branches = arm.branches[modality]
    for branch in branches:
        title = arm.label if len(branches) == 1 else f"{arm.label}, branch {branch}"
        try:
            yield Column(title, _overlays(arm, branch, chosen, cache))
        except FibrolabError as error:
            yield Column(title, absent=" ".join(str(error).split()))


def _overlays(arm: ArmNetwork, branch: str, chosen: Sequence[Choice], cache: Path) -> list[Tile]:
    """Return the overlays of the chosen samples that an arm predicted."""
    table = {str(row[keys.SAMPLE_ID]): row for row in arm.tested.to_dict("records")}
    known = [each.sample_id for each in chosen if each.sample_id in table]
    if not known:
        raise ConfigError("It was tested on other samples.")
    data = _samples(arm, known, cache)
    source = explanation_pictures.sources_of(arm.network, [data.manifest])[branch]
    values = dict(zip(known, grad_cam(arm.network, data, branch, cache), strict=True))
    colours = overlays.scale(list(values.values()), signed=False)
    tiles = []
    for each in chosen:
        if each.sample_id not in values:
            tiles.append(Tile(None, "not tested"))
            continue
        row = table[each.sample_id]
        name, percent = arm.network.classes[int(row[PREDICTED])], 100 * row[PROBABILITY]
        wrong = bool(row[PREDICTED] != each.y_true)
        title = f"{name} ({percent:.0f}\u00a0%) {'wrong' if wrong else 'right'}"
        if each.sample_id not in source.media:
            tiles.append(Tile(None, title, wrong))
            continue
        shown = source.open(each.sample_id).middle(values[each.sample_id])
        tiles.append(Tile(overlays.overlay(*shown, colours), title, wrong))
    return tiles


def _samples(arm: ArmNetwork, samples: Sequence[str], cache: Path) -> LabelledData:
    """Return samples of an arm in this order, refused if they changed since the training."""
    return arm.network.masked(own_samples.chosen(arm.data, arm.run, samples), cache)


def grad_cam(network: Predictor, data: LabelledData, branch: str, cache: Path) -> np.ndarray:
    """Compute the Grad-CAM of the predicted class of some samples.

    Args:
        network: The network.
        data: N samples, all in the test partition.
        branch: Branch that takes pictures or films.
        cache: Folder of preprocessed pixels.

    Returns:
        float32 (N, h, w), of films (N, t, h, w); NaN for samples that lack the branch's input.
    """
    loaded = network.datamodule(data, cache, batch_size=len(data.manifest))
    loaded.prepare_data()
    (batch,) = loaded.test_dataloader()
    device, task = device_of("auto"), explaining.task_of(network)
    module = network.classifier.to(device).eval()
    batch = {name: value.to(device) for name, value in batch.items()}
    target, _ = build_target(PREDICTED_CLASS, task, task.loss.probabilities(module(batch)).detach())
    found = attribute(METHOD, module, batch, target, branch).cpu().numpy()
    module.cpu()
    return np.asarray(found)


def _originals(arm: ArmNetwork, modality: str, chosen: Sequence[Choice], cache: Path) -> Column:
    """Return the column of the chosen samples without maps."""
    source = _source(arm, modality, _samples(arm, [each.sample_id for each in chosen], cache))
    tiles = [
        Tile(_seen(source, each.sample_id), f"true {arm.network.classes[each.y_true]}") for each in chosen
    ]
    return Column("Original", tiles)


def _seen(source: Source, sample: str) -> np.ndarray | None:
    """Return the part of an original that the network sees, of a film its middle frame; None without one."""
    if sample not in source.media:
        return None
    original = source.open(sample)
    blank = np.zeros((1, 1) if original.clip is None else (1, 1, 1), np.float32)
    return original.middle(blank)[0]


def _source(arm: ArmNetwork, modality: str, data: LabelledData) -> Source:
    """Return the original files of a modality."""
    return explanation_pictures.sources_of(arm.network, [data.manifest])[arm.branches[modality][0]]


def _steps(study: Study, found: Gathered, protocol: str, cache: Path) -> Iterator[Figure]:
    """Yield the figure of training samples as read, preprocessed and augmented, as one arm trains on them."""
    for modality in PLURAL:
        if (arm := found.shown(study, modality)) is None:
            continue
        try:
            columns, rows, caption = _processed(arm, modality, cache)
        except FibrolabError as error:
            _log.warning("Pictures before and after preprocessing are not shown: %s", error)
            return
        yield f"preprocessing_{protocol}", columns, rows, caption
        return


def _pairs(found: Gathered, protocol: str, cache: Path) -> Iterator[Figure]:
    """Yield the figure of a test sample of each stage in all modalities of one arm."""
    several = [arm for arm in found.networks.values() if len(arm.branches) > 1]
    if not several:
        return
    arm, *_ = several
    tested = set(arm.tested[keys.SAMPLE_ID])
    whole = np.logical_and.reduce([arm.data.manifest.present(modality) for modality in arm.branches])
    known = arm.data.manifest.table[whole].sort_values(keys.SAMPLE_ID)
    known = known[known[keys.SAMPLE_ID].isin(tested)].drop_duplicates(keys.LABEL).sort_values(keys.LABEL)
    if known.empty:
        return
    data = _samples(arm, list(known[keys.SAMPLE_ID]), cache)
    sources = [_source(arm, modality, data) for modality in arm.branches]
    columns = []
    for sample, label in zip(known[keys.SAMPLE_ID], known[keys.LABEL], strict=True):
        tiles = [Tile(_seen(source, sample)) for source in sources]
        columns.append(Column(arm.data.manifest.classes[int(label)], tiles))
    shown = " and ".join(PLURAL[modality] for modality in arm.branches)
    caption = f"The first test sample of each stage, by id: {shown}, the parts that {arm.label} sees."
    yield f"pairs_{protocol}", columns, [PLURAL[name] for name in arm.branches], caption


def _masks(found: Gathered, protocol: str, cache: Path) -> Iterator[Figure]:
    """Yield a figure for each segmenter: test pictures, the masks that it is measured by, and its own."""
    for label, (run, data) in found.segmenters.items():
        try:
            columns, rows, source = _masked(label, run, data, cache)
        except FibrolabError as error:
            _log.warning("The masks of %s are not shown: %s", label, error)
            continue
        caption = (
            f"Test pictures on which {label} has the highest, the middle and the lowest IoU with the masks "
            f"of the second column ({source}), in each kind one of a set of copies."
        )
        yield f"masks_{protocol}_{label}", columns, rows, caption


def _masked(
    label: str, run: TrainedRun, data: LabelledData, cache: Path
) -> tuple[list[Column], list[str], str]:
    """Return columns and rows of the figure of a segmenter, and what its masks are measured against."""
    chosen = _by_overlap(run)
    titles = {sample: f"IoU {value:.2f}" for sample, (_, value) in chosen.items()}
    labelled = run.predictors[0].datamodule(data, cache).labelled_images
    found = run_outputs.mask_cases(run, titles, labelled)
    cases = [found[sample] for sample in chosen]
    source = masks.REFERENCES[images.reference(run.mask_measures)]
    columns = [
        Column("Original", [Tile(case.image) for case in cases]),
        Column(source, [Tile(_white(case.true)) for case in cases]),
        Column(label, [Tile(_white(case.predicted), case.title) for case in cases]),
    ]
    return columns, [rule for rule, _ in chosen.values()], source


def _by_overlap(run: TrainedRun) -> dict[str, tuple[str, float]]:
    """Return the test samples of the highest, middle and lowest IoU with their rule, one of each group."""
    rows = images.of_partition(run.mask_measures, keys.TEST)
    values = rows.groupby(keys.SAMPLE_ID)["iou"].mean().sort_values(ascending=False, kind="stable").dropna()
    groups = rows.drop_duplicates(keys.SAMPLE_ID).set_index(keys.SAMPLE_ID)[keys.GROUP_ID]
    best, worst = (part[~groups[part.index].duplicated()] for part in (values, values[::-1]))
    middle = max(0, (len(best) - EACH) // 2)
    rules = {
        "highest IoU": best[:EACH],
        "middle IoU": best[middle : middle + EACH],
        "lowest IoU": worst[:EACH][::-1],
    }
    chosen: dict[str, tuple[str, float]] = {}
    for rule, part in rules.items():
        chosen |= {str(name): (rule, float(value)) for name, value in part.items() if str(name) not in chosen}
    return chosen


def _white(mask: np.ndarray) -> np.ndarray:
    """Return a mask as a picture, its classes in equal steps up to a white that a white page shows."""
    return (mask.astype(np.float32) * (225 / max(1, int(mask.max())))).astype(np.uint8)


def _processed(arm: ArmNetwork, modality: str, cache: Path) -> tuple[list[Column], list[str], str]:
    data = _samples(arm, _of_training(arm, modality), cache)
    loaded = arm.network.datamodule(data, cache)
    loaded.prepare_data()
    stored, source = loaded.pixels(modality, np.arange(len(data.manifest))), _source(arm, modality, data)
    transforms = resolved(arm.run.config.augment)["transforms"]
    augment, seed = Augment(transforms), int(arm.run.config.seed)
    raw, preprocessed, augmented = list[Tile](), list[Tile](), list[Tile]()
    names = data.manifest.table[keys.SAMPLE_ID].tolist()
    for row, (name, key) in enumerate(zip(names, sample_keys(names), strict=True)):
        original, pixels = source.open(name), stored.read(row, None)
        pixels = pixels[len(pixels) // 2]
        film = original.clip is not None
        whole = original.pixels[original.used[len(original.used) // 2]] if film else original.pixels
        raw.append(_sized(whole))
        preprocessed.append(_sized(pixels))
        augmented.append(_sized(augment(pixels, augmentation_seed(seed, 0, int(key), 0))))
    columns = [Column("As read", raw), Column("As the network sees it", preprocessed)]
    columns += [Column("Augmented once", augmented)] if transforms else []
    steps = _described(source.preprocess)
    drawn = ", ".join(map(vocabulary.transform, transforms))
    caption = (
        f"Training {PLURAL[modality]} before and after preprocessing, as {arm.label} takes them: the first "
        f"of the lowest, the middle and the highest class. Steps: {'; '.join(steps)}. "
        f"{f'Augmentation: {drawn}.' if drawn else 'No augmentation.'}"
    )
    return columns, [arm.network.classes[k] for k in data.labels], caption


def _of_training(arm: ArmNetwork, modality: str) -> list[str]:
    """Return the first training sample, by id, of the lowest, the middle and the highest class."""
    present = arm.data.manifest.table.loc[arm.data.manifest.present(modality), keys.SAMPLE_ID]
    known = arm.run.learnt_from.loc[lambda table: table.index.isin(present)].sort_index(kind="stable")
    known = known[known[keys.PARTITION] == keys.TRAIN]
    classes = sorted(known[keys.Y_TRUE].unique())
    wanted = dict.fromkeys([classes[0], classes[len(classes) // 2], classes[-1]]) if classes else {}
    return [str((known[keys.Y_TRUE] == k).idxmax()) for k in wanted]


def _described(preprocess: Preprocess) -> list[str]:
    """Return the steps of a preprocessing in their order."""
    size = f"resized to {preprocess.size} × {preprocess.size} px"
    tiles = f"{preprocess.clahe_tiles} × {preprocess.clahe_tiles}"
    first = preprocess.resize == FIRST
    steps = {
        "cropped to the scan": preprocess.crop == "borders",
        "cropped to the mask": preprocess.crop == "mask",
        size: first,
        f"non-local means (h = {preprocess.denoise:g})": preprocess.denoise > 0,
        "histogram equalisation": preprocess.equalize in ("histogram", "both"),
        f"CLAHE (limit {preprocess.clahe_clip:g}, {tiles} tiles)": preprocess.equalize in ("clahe", "both"),
    }
    return [step for step, done in steps.items() if done] + ([] if first else [size])


def _sized(pixels: np.ndarray) -> Tile:
    height, width = pixels.shape[:2]
    return Tile(pixels, f"{width} × {height} px")
