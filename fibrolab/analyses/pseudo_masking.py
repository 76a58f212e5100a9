"""Pseudo-masks of a finished run: masks from the maps of all its samples, for `data=pseudo_masks`.

    RUN/pseudo_masks/
      pseudo_masks.csv    one row a sample: partition, mask, and how the mask was made (`COLUMNS`)
      masks/*.png         the masks in the pixels of the original pictures: 1 in the mask, else 0
      true_masks/*.png    the true masks, where the data has some, in the same levels; 255 without a label
      measures.csv        measures of each mask that has a true one, beside the mean true mask of training
      metrics.csv         their means over the test samples, with intervals

The folder is written under another name and renamed when it is complete; a second call waits for the first.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from fibrolab import keys
from fibrolab.choices import refuse
from fibrolab.data.build_lock import only_builder
from fibrolab.errors import DataError
from fibrolab.evaluation.segmentation import images, scores
from fibrolab.mask_classes import BACKGROUND, FOREGROUND, IGNORED, MaskClasses
from fibrolab.runs import pseudo_masks as files
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import make_folder, write_table, writing

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from fibrolab.data.labelled_data import LabelledData
    from fibrolab.explanation.map_batches import Request
    from fibrolab.explanation.target_scores import Target, Task
    from fibrolab.modules.base import Classifier
    from fibrolab.runs.checkpoint import Predictor

UNLABELLED = 255  # grey level of pixels without a label
ABOUT = [keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE]
CLASSES = (BACKGROUND, FOREGROUND)


class Rule(NamedTuple):
    """Rule by which masks are made from maps.

    Attributes:
        rule: One of `explanation.mask_rules.RULES`.
        threshold: Its threshold; Otsu's rule does not use it.
        chosen_on: Origin of the threshold: `FIXED`, or the validation samples with true masks.
    """

    rule: str
    threshold: float
    chosen_on: str


class Written(NamedTuple):
    """Pseudo-masks of a run.

    Attributes:
        folder: Their folder.
        rule: How they were made.
        table: `pseudo_masks.csv`.
        metrics: Means over the test samples against the true masks; None where there are none.
    """

    folder: Path
    rule: Rule
    table: pd.DataFrame
    metrics: pd.DataFrame | None


def check(run: TrainedRun, request: "Request", network: "Predictor", threshold: float | str) -> None:
    """Refuse runs and settings from which no pseudo-masks can be made, before any map is computed.

    Raises:
        ConfigError: The run has several networks, hashed names or the network of another run; not exactly one
            method and one branch that takes the image are explained; or a threshold is to be chosen, and no
            validation sample has a true mask.
    """
    run.refuse_several_networks()
    faults = []
    if source := run.config.get("learnt_from"):
        faults.append(
            f"{run.name} evaluated the network of another run: make the pseudo-masks of run {source['run']}."
        )
    if run.ids_key:
        faults.append(
            f"{run.name} was trained under privacy.ids=hashed, and pseudo-masks belong to samples by name: "
            "train a classifier under privacy.ids=plain."
        )
    if len(request.methods) != 1:
        faults.append("Pseudo-masks are made from the maps of one method: set explain.method=NAME.")
    if len(request.branches) != 1:
        faults.append(
            f"Pseudo-masks are made from the maps of one branch: set explain.branch={request.branches[0]}."
        )
    elif (taken := network.module.network.input_of(request.branches[0])) != keys.IMAGE:
        faults.append(
            f"The branch {request.branches[0]} takes the {taken}, and a mask labels the pixels of the image: "
            "name a branch of the image."
        )
    samples, crops = run.samples, network.record["preprocess"].get("crop") == "mask"
    masks = samples.loc[samples[keys.PARTITION] == keys.VALIDATION].get(keys.MASK)
    if threshold == files.CHOSEN and (crops or masks is None or not masks.fillna("").ne("").any()):
        faults.append(
            f"explain.mask_threshold={files.CHOSEN} compares masks with true ones of the validation samples, "
            f"and {run.name} has none: give a number, such as 0.5."
        )
    refuse(faults)


def write(
    run: TrainedRun, network: "Predictor", request: "Request", task: "Task", config: "DictConfig"
) -> Written:
    """Make the masks of the training, validation and test samples of a run, and write them into its folder.

    Args:
        run: The run of a classifier.
        network: Its network.
        request: Method, branch, layer and target of the maps, checked by `check`.
        task: Loss, classes and end points of the network.
        config: `conf/explain.yaml`, composed.

    Raises:
        DataError: The samples changed since the run, or a true mask cannot be read.
        StorageError: The folder cannot be written, or the disk is full.
    """
    lock = Path(config.paths.cache) / keys.PSEUDO_MASKS / f"{run.run_id}.lock"
    with only_builder(lock, f"pseudo-masks of {run.name}"):
        return _written(_Work(run, network, request, task, config), run.folder / keys.PSEUDO_MASKS)


def _written(work: "_Work", final: Path) -> Written:
    """Make the masks, and put them in the place of older ones; see `write`."""
    rule = work.rule()
    draft = final.with_name(f".{keys.PSEUDO_MASKS}.draft")
    shutil.rmtree(draft, ignore_errors=True)  # of a call that was killed
    try:
        with writing(final):
            for name in (files.MASKS, files.TRUE_MASKS):
                make_folder(draft / name)
            table, measured = work.masks(draft, rule)
            write_table(table, draft / files.TABLE)
            metrics = None
            if measured:
                measures = pd.DataFrame(measured)
                write_table(measures, draft / files.MEASURES)
                if (measures[keys.PARTITION] == keys.TEST).any():
                    metrics = scores.score(measures, seed=work.seed)
                    write_table(metrics, draft / files.METRICS, index=True)
            _replace(draft, final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Written(final, rule, table, metrics)


def announce(written: Written, run_id: str) -> None:
    """Print how many masks were made, how well they agree with the true ones, and how to learn from them."""
    rule = written.rule
    print(f"pseudo-masks  {len(written.table)} in {written.folder}")
    print(f"rule          {files.rule_in_words(*rule)}")
    if written.metrics is not None:
        row = written.metrics.loc["iou"]
        print(
            f"IoU           {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] with the true masks of "
            f"the test samples; mean true mask of training {row['baseline']:.3f}"
        )
    print(f"train         python -m fibrolab.train model=attention_unet data=pseudo_masks data.run={run_id}")


def _replace(draft: Path, final: Path) -> None:
    """Put a complete folder in the place of an older one."""
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    with suppress(FileNotFoundError):
        final.rename(old)
    draft.rename(final)
    shutil.rmtree(old, ignore_errors=True)


class _Work:
    """The samples of a run with all that makes masks from their maps."""

    def __init__(
        self, run: TrainedRun, network: "Predictor", request: "Request", task: "Task", config: "DictConfig"
    ) -> None:
        from fibrolab.data.preprocess import Preprocess
        from fibrolab.runs import own_samples

        cache = Path(config.paths.cache)
        samples = run.samples
        self._network, self._request, self._task, self._config = network, request, task, config
        self._data = own_samples.chosen(own_samples.reloaded(run, cache), run, list(samples.index))
        self._table = self._data.manifest.table
        self._partitions = samples.loc[self._table[keys.SAMPLE_ID], keys.PARTITION].to_numpy(object)
        self._media = self._data.manifest.media(keys.IMAGE)
        self._preprocess = Preprocess(**network.record["preprocess"])
        levels = config.explain.true_levels
        known = self._preprocess.crop != "mask"  # masks that crop the pictures are no truth about the maps
        self._true = _TrueMasks(self._data, None if levels is None else list(levels), known)
        self._true.refuse_without_foreground()
        self.seed = int(run.config.seed)

    def rule(self) -> Rule:
        """Return the rule of the settings; a threshold that is to be chosen is chosen here."""
        from fibrolab.explanation import mask_rules as rules

        name, threshold = str(self._config.explain.mask_rule), self._config.explain.mask_threshold
        if threshold != files.CHOSEN:
            return Rule(name, float(threshold), files.FIXED)
        rows = np.flatnonzero((self._partitions == keys.VALIDATION) & self._true.present)
        found = [
            rules.overlaps(heat, picture, name, self._true.classes(row))
            for row, heat, picture in self._maps(rows)
        ]
        chosen = rules.chosen_threshold(np.array(found))
        return Rule(name, chosen, f"{len(rows)} validation samples with true masks")

    def masks(self, folder: Path, rule: Rule) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
        """Write all masks, and return their table and the measures of those with a true mask."""
        from fibrolab.explanation import mask_rules as rules

        baseline = self._true.mean(self._preprocess, np.flatnonzero(self._partitions == keys.TRAIN))
        found, measured = list[dict[str, Any]](), list[dict[str, Any]]()
        for row, heat, picture in self._maps(np.arange(len(self._table))):
            mask, level = rules.mask_of(heat, picture, rule.rule, rule.threshold)
            about: dict[str, Any] = dict(zip(ABOUT, self._table.loc[row, ABOUT], strict=True))
            about[keys.PARTITION] = self._partitions[row]
            path, true_path = f"{files.MASKS}/{row:06d}.png", ""
            Image.fromarray(mask.astype(np.uint8)).save(folder / path)
            if self._true.present[row]:
                true_path = f"{files.TRUE_MASKS}/{row:06d}.png"
                true = self._true.classes(row)
                levels = np.where(true == IGNORED, UNLABELLED, true).astype(np.uint8)
                Image.fromarray(levels).save(folder / true_path)
                measured += self._measured(row, about, mask, baseline)
            made = {**rule._asdict(), "level": level}
            of = {"method": self._request.methods[0], "branch": self._request.branches[0]}
            of["target"] = self._request.target
            found.append({**about, keys.MASK: path, keys.TRUE_MASK: true_path, **made, **of})
        return pd.DataFrame(found)[list(files.COLUMNS)], measured

    def _measured(
        self, row: int, about: dict[str, Any], mask: np.ndarray, baseline: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """Yield the measures of a mask and of the baseline within the rectangle of the sample."""
        from fibrolab.data import masks

        found = self._true.labelled(row)
        true = self._true.table[found.labels]
        seen = self._preprocess.of(keys.IMAGE).crop_box(found.image)
        mean = masks.enlarged(baseline, seen, found.image.shape).argmax(axis=0)
        known = {**about, keys.FOLD: 0, images.UNIT: "px"}
        for of, own in ((images.NETWORK, found.box.of(mask).astype(int)), (images.MEAN_MASK, mean)):
            for values in images.measured(true, own, CLASSES, (1.0, 1.0)):
                yield {**known, images.OF: of, **values}

    def _maps(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Compute maps batch by batch; yield row, map and picture of each sample, both in its pixels."""
        from fibrolab.data import geometry
        from fibrolab.explanation.attribution import attribute
        from fibrolab.training.precision import device_of

        config, request, device = self._config, self._request, device_of(self._config.accelerator)
        module = self._network.classifier.to(device).eval()
        loaded = self._network.datamodule(
            self._data.subset(rows), Path(config.paths.cache), config.batch_size, config.num_workers
        )
        loaded.prepare_data()
        preprocess = self._preprocess.of(keys.IMAGE)
        for numbers in loaded.test_dataloader():
            batch: dict[str, Tensor] = {name: value.to(device) for name, value in numbers.items()}
            target = self._target(module, batch)
            maps = attribute(request.methods[0], module, batch, target, request.branches[0], request.layer)
            for row, values in zip(rows[batch[keys.INDEX].cpu().numpy()], maps.cpu().numpy(), strict=True):
                picture, place = geometry.picture(self._media[row], preprocess)
                yield int(row), place.to_picture(values), picture

    def _target(self, module: "Classifier", batch: "dict[str, Tensor]") -> "Target":
        """Return the target of a batch: chosen in the pass of the map itself where the map takes one pass."""
        import torch

        from fibrolab.explanation.attribution import METHODS
        from fibrolab.explanation.target_scores import build_target

        def of(logits: "Tensor") -> "Target":
            probabilities = self._task.loss.probabilities(logits)
            return build_target(self._request.target, self._task, probabilities, batch[keys.LABEL])[0]

        if METHODS[self._request.methods[0]].needs_feature_map:
            return lambda logits: of(logits.detach())(logits)
        with torch.no_grad():  # other methods change the image, and with it the predicted class
            return of(module(batch))


@dataclass
class _TrueMasks:
    """The true masks of samples, as one class against the rest.

    Args:
        data: The samples; some of them, or none, have a mask.
        levels: Grey levels of the class; None for every level above 0 but `UNLABELLED`.
        known: Whether the masks of the data are true masks.
    """

    data: "LabelledData"
    levels: Sequence[int] | None
    known: bool = True

    def __post_init__(self) -> None:
        from fibrolab.data import masks

        self._reader = masks.Reader()
        rest = None
        if self.levels is not None:
            named = set(self.levels)
            others = set(range(UNLABELLED)) - named
            rest = {BACKGROUND: sorted(others), FOREGROUND: sorted(named)}
        ignore = None if rest and UNLABELLED in rest[FOREGROUND] else UNLABELLED
        self._levels = MaskClasses.of(rest, ignore)
        self.table = self._levels.table()
        self.present = self.data.manifest.present(keys.MASK) & self.known
        self._media = self.data.manifest.masks()

    def refuse_without_foreground(self) -> None:
        """Refuse true masks none of which has a pixel of the class, where other levels may have been meant.

        Raises:
            DataError: All are background or unlabelled, though levels are named or some pixels unlabelled.
        """
        from fibrolab.data import masks

        seen, rows = np.zeros(256, bool), np.flatnonzero(self.present).tolist()
        for row in rows:
            seen[np.unique(self._grey(row))] = True
            if (self.table[seen] > 0).any():
                return
        if rows and (self.levels is not None or seen[UNLABELLED]):
            advice = f"set explain.true_levels=[{UNLABELLED}]"
            raise DataError(masks.without_foreground(self._levels, seen, advice))

    def _grey(self, row: int) -> np.ndarray:
        """Return the grey levels of the true mask of a sample's picture, uint8 (H, W)."""
        return np.asarray(self._reader.labels(self._media[row]))

    def classes(self, row: int) -> np.ndarray:
        """Return the class of each pixel of a sample's picture, int64 (H, W)."""
        return np.asarray(self.table[self._grey(row)])

    def labelled(self, row: int) -> Any:
        """Return a sample's mask and image within its rectangle, see `data.masks.Labelled`."""
        return self._reader.labelled(self._media[row])

    def mean(self, preprocess: Any, rows: np.ndarray) -> np.ndarray:
        """Return the mean mask of training rows in the geometry of the input, float32 (2, h, w).

        Without true masks among them it is empty.
        """
        from fibrolab.data import masks

        of_masks, known = preprocess.of_masks(), rows[self.present[rows]].tolist()
        levels = (of_masks.mask(found.labels, found.image) for found in map(self.labelled, known))
        mean = masks.mean_mask(levels, self._levels) if known else np.zeros(of_masks.shape, np.int64)
        return np.eye(len(CLASSES), dtype=np.float32)[mean].transpose(2, 0, 1)
