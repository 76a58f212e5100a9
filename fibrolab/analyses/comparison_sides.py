"""The sides of a comparison: the runs of an arm as seeds or folds, and checks that arms are comparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import refuse
from fibrolab.config import resolved
from fibrolab.errors import ConfigError, listing
from fibrolab.evaluation.comparison.arms import Task
from fibrolab.evaluation.segmentation import images
from fibrolab.mask_classes import MaskClasses
from fibrolab.runs.trained_run import TrainedRun

MANY = 20  # grey levels of a class from which on they are not listed


@dataclass(frozen=True)
class Side:
    """The runs of one arm.

    Attributes:
        name: Name of the arm.
        runs: Seeds, which tested the same samples, or folds, which tested different ones, in the order of
            their numbers.
        folds: Whether they are folds.
    """

    name: str
    runs: tuple[TrainedRun, ...]
    folds: bool

    @property
    def kind(self) -> str:
        """Number and kind of its runs, such as `3 trainings`."""
        if len(self.runs) == 1:
            return "1 run"
        return f"{len(self.runs)} {'folds' if self.folds else 'trainings'}"

    @property
    def tested(self) -> pd.DataFrame:
        """Label and group of each test sample, of masks area and group; index sample_id, sorted."""
        if self.segments:
            return self._tested_masks
        rows = pd.concat([each.predictions for each in self.runs])
        rows = rows[rows[keys.PARTITION] == keys.TEST].drop_duplicates(keys.SAMPLE_ID)
        return rows.set_index(keys.SAMPLE_ID)[[keys.Y_TRUE, keys.GROUP_ID]].sort_index()

    @property
    def segments(self) -> bool:
        """Return whether its runs predict masks."""
        return self.runs[0].segments

    @property
    def _tested_masks(self) -> pd.DataFrame:
        """Area of each class in the true mask, and group, of each test sample; index sample_id, sorted."""
        rows = pd.concat([images.of_partition(each.mask_measures, keys.TEST) for each in self.runs])
        rows = rows.drop_duplicates([keys.SAMPLE_ID, images.CLASS])
        areas = rows.pivot(index=keys.SAMPLE_ID, columns=images.CLASS, values=images.AREA_TRUE)
        return areas.assign(**{keys.GROUP_ID: rows.groupby(keys.SAMPLE_ID)[keys.GROUP_ID].first()})

    @property
    def sizes(self) -> tuple[float, float]:
        """Mean number of training and of test samples of its runs."""
        trained = [(each.samples[keys.PARTITION] == keys.TRAIN).sum() for each in self.runs]
        return float(np.mean(trained)), float(np.mean([len(each.tested) for each in self.runs]))


def side(name: str, runs: Sequence[TrainedRun]) -> Side:
    """Gather the runs of one arm as seeds or folds, decided by their test samples.

    Raises:
        ConfigError: A run has no test predictions, a fold is missing, or runs are neither seeds nor folds.
    """
    untested = [each.run_id for each in runs if not each.tested]
    refuse([f"Run {run_id} has no test predictions: there is nothing to compare." for run_id in untested])
    first = runs[0]
    if all(each.tested == first.tested for each in runs[1:]):
        return Side(name, tuple(runs), folds=False)
    for one, other in combinations(runs, 2):
        if twice := sorted(one.tested & other.tested):
            raise ConfigError(
                f"The runs of arm {name} are neither seeds, which test the same samples, nor folds, "
                f"which test each sample once: {one.run_id} and {other.run_id} both test {len(twice)} "
                f"samples, such as {twice[0]}. For seeds train with split.seed=0 and seed=0,1,2; for folds "
                "name the run of split=kfold folds=all."
            )
    _refuse_missing_folds(name, runs)
    return Side(name, tuple(sorted(runs, key=_fold)), folds=True)


def _fold(run: TrainedRun) -> int:
    return int(run.config.split.get("fold", 0))


def _refuse_missing_folds(name: str, runs: Sequence[TrainedRun]) -> None:
    """Refuse folds that are missing or come from another manifest."""
    first = runs[0]
    if any(each.manifest_hash != first.manifest_hash for each in runs):
        raise ConfigError(f"The runs of arm {name} are not folds of one data set: their manifests differ.")
    expected = int(first.config.split.get("folds") or 0)
    given = list(map(_fold, runs))
    if missing := sorted(set(range(expected)) - set(given)):
        raise ConfigError(
            f"Arm {name} lacks fold {', '.join(map(str, missing))} of {expected}; name the runs of all folds."
        )
    samples = first.samples.index
    untested = samples[~samples.isin([sample for each in runs for sample in each.tested])]
    if len(untested) and not first.config.split.get("sites"):  # the sites that are tested
        raise ConfigError(
            f"The folds of arm {name} leave {len(untested)} of {len(samples)} samples untested, such as "
            f"{untested[0]}; name the runs of all folds of one `split=kfold` and one split.seed."
        )


def task_of(sides: Sequence[Side]) -> Task:
    """Return the common task of all runs: their classes and shared end points.

    Raises:
        ConfigError: Their classes differ, or only some predict masks.
    """
    runs = [each for side in sides for each in side.runs]
    first = runs[0]
    if any(each.segments for each in runs):
        return _task_of_masks(runs)
    faults = []
    for other in runs[1:]:
        if list(other.config.task.classes) != list(first.config.task.classes):
            faults.append(
                f"Run {other.run_id} has the classes {', '.join(other.config.task.classes)}, {first.run_id} "
                f"has {', '.join(first.config.task.classes)}: compare runs of one task."
            )
    refuse(faults)
    classes = tuple(map(str, first.config.task.classes))
    if len(classes) == 2:
        return Task(classes, bool(first.config.task.get("ordered", True)), {classes[1]: 1})
    each = [dict(run.config.task.get("endpoints") or {}) for run in runs]
    shared = {name: low for name, low in each[0].items() if all(other.get(name) == low for other in each)}
    return Task(classes, bool(first.config.task.get("ordered", True)), shared)


def _task_of_masks(runs: Sequence[TrainedRun]) -> Task:
    """Return the common classes of the pixels.

    Raises:
        ConfigError: Their classes or units of distances differ, or only some predict masks.
    """
    if others := [each.name for each in runs if not each.segments]:
        raise ConfigError(
            f"{', '.join(others)} classif{'y' if len(others) > 1 else 'ies'} samples, and the other runs "
            "segment images: compare runs of one task."
        )
    first, faults = runs[0], []
    levels = _levels(first)
    for other in runs[1:]:
        if sorted(_levels(other)) != sorted(levels):
            faults.append(
                f"{other.name} has the classes {_in_words(_levels(other))}, {first.name} has "
                f"{_in_words(levels)}: compare runs with the same task.levels and task.ignore."
            )
    refuse(faults)
    against = {images.reference(each.mask_measures) for each in runs}
    if len(against) > 1:
        raise ConfigError(
            "One run was measured against true masks and the other against maps of a classifier: their "
            "scores have different meanings."
        )
    units = {str(unit) for each in runs for unit in each.mask_measures[images.UNIT].unique()}
    if len(units) > 1:
        raise ConfigError(
            f"The distances of the runs are in {' and '.join(sorted(units))}: train them again."
        )
    return Task(tuple(name for name, _ in levels[:-1]), False, {}, units.pop())


def _levels(run: TrainedRun) -> list[tuple[str, list[int]]]:
    """Return name and grey levels of each class of a segmentation, then those without a label."""
    ignore = run.config.task.ignore
    classes = MaskClasses.of(resolved(run.config)["task"]["levels"], ignore)
    named = [(name, list(levels)) for name, levels in classes.levels.items()]
    return [*named, ("ignored", [] if ignore is None else [ignore])]


def _in_words(levels: Sequence[tuple[str, Sequence[int]]]) -> str:
    return ", ".join(f"{name} {list(of) if len(of) < MANY else 'above 0'}" for name, of in levels)


def refuse_other_patients(sides: Sequence[Side]) -> None:
    """Refuse arms whose test samples, labels or groups differ from those of the first arm.

    Raises:
        ConfigError: The differences of all arms.
    """
    first, *others = sides
    ours, faults = first.tested, []
    for other in others:
        theirs = other.tested
        if other.runs[0].manifest_hash != first.runs[0].manifest_hash:
            faults.append(
                f"{other.name} was made from another manifest ({other.runs[0].manifest_hash[:12]}) than "
                f"{first.name} ({first.runs[0].manifest_hash[:12]}): other samples, groups or labels."
            )
        elif not ours.index.equals(theirs.index):
            more, fewer = len(theirs.index.difference(ours.index)), len(ours.index.difference(theirs.index))
            faults.append(
                f"{other.name} predicts {more} test samples that {first.name} does not, and lacks {fewer} of "
                f"its {len(ours)}."
            )
        elif unlike := int((ours != theirs).any(axis=1).sum()):
            what = "true mask" if first.segments else "label"
            faults.append(
                f"{unlike} test samples have another {what} or group in {other.name} than in {first.name}."
            )
    if faults:
        raise ConfigError(
            f"These arms cannot be paired:\n{listing(faults)}\nTrain them with one split and one split.seed. "
            "To compare two different cohorts by unpaired tests, add paired=false."
        )


def refuse_shared_patients(sides: Sequence[Side]) -> None:
    """Refuse cohorts that are not independent, as unpaired tests assume.

    Raises:
        ConfigError: Two arms of one manifest have test groups in common.
    """
    faults = []
    for one, other in combinations(sides, 2):
        shared = set(one.tested[keys.GROUP_ID]) & set(other.tested[keys.GROUP_ID])
        if shared and one.runs[0].manifest_hash == other.runs[0].manifest_hash:
            faults.append(
                f"{one.name} and {other.name} were tested on {len(shared)} groups in common: the cohorts are "
                "not independent, and unpaired tests would be wrong; leave paired=false out."
            )
    refuse(faults)
