"""Check the settings of a training run that can be judged without torch, before it is imported."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from fibrolab import allowed, keys, loading
from fibrolab.choices import refuse, refuse_all
from fibrolab.config import arguments, removed_settings_named, resolved
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.preprocess import NOT_OF_CLIPS, NOT_OF_MASKS, SEGMENTER, Preprocess
from fibrolab.evaluation import endpoints
from fibrolab.evaluation.comparison import published_results
from fibrolab.targets import call
from fibrolab.training import without_validation


@removed_settings_named()
def check(config: DictConfig) -> None:
    """Refuse settings of `conf/train.yaml` with which loading, training or evaluation would fail later.

    Raises:
        ConfigError: A value is out of range, settings contradict each other, a name is unknown, or a file or
            folder does not exist.
    """
    settings = resolved(config)
    faults = [*allowed.faults(settings).values(), *_fold_faults(settings["folds"], settings["split"])]
    faults += [*_segmentation_faults(settings), *_pseudo_mask_faults(settings), *_crop_faults(settings)]
    faults += _interval_faults(settings)
    if not faults:  # by which its settings are such as it reads them
        faults += without_validation.faults(settings)
    refuse(faults + published_results.faults(settings["published"]))
    task = settings["task"]
    attempts: list[Callable[[], object]] = [
        lambda: loading.check(config),
        lambda: call(Preprocess, "preprocess", **arguments(config.preprocess, SEGMENTER)),
        lambda: call(Segment, "segment", **settings["segment"]),
    ]
    if task["classes"] is not None:
        attempts.append(lambda: endpoints.check(task["endpoints"], task["classes"], task["ordered"]))
    refuse_all(attempts)


def check_table(config: DictConfig) -> None:
    """Refuse a table of the data whose header lacks a column that training needs; call `check` before.

    Raises:
        ConfigError: A setting names a column that the table lacks.
        DataError: The table lacks a column, or cannot be read.
    """
    loading.check_table(config, needs=[keys.MASK if "levels" in config.task else keys.LABEL])


def _segmentation_faults(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each setting that a segmentation does not support."""
    if "levels" not in settings["task"]:
        return
    if settings["repeats"] > 1:
        yield (
            "repeats pools class probabilities, which a segmentation has none of: train each seed by "
            "seed=NUMBER."
        )
    if settings["folds"] is not None and "test" in settings["split"]:
        yield (
            f"folds=all: split={settings['split']['name']} tests all folds on the same samples, whose masks "
            "are not pooled: choose split=kfold, or train each fold by split.fold=NUMBER."
        )


def _pseudo_mask_faults(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence if masks from a classifier's maps are not split as the classifier's samples were."""
    if settings["data"]["name"] == keys.PSEUDO_MASKS and settings["split"].get("column") != keys.GIVEN:
        yield (
            f"split={settings['split']['name']}: data=pseudo_masks keeps the split of the classifier, so "
            "that no picture trains here on which that was tested. Leave split out; it is `given`."
        )


def _crop_faults(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence if images cannot be cropped to masks, or a segmenter is named without this crop."""
    preprocess = settings["preprocess"]
    if preprocess.get("crop") != "mask":
        if preprocess.get(SEGMENTER) is not None:
            yield (
                f"preprocess.segmenter={preprocess[SEGMENTER]} makes the masks of preprocess.crop=mask: set "
                "that too, or leave the segmenter out."
            )
        return
    if "levels" in settings["task"]:
        yield NOT_OF_MASKS
    branches = (settings["model"].get("branches") or {}).values()
    if any(isinstance(branch, Mapping) and branch.get("input") == keys.CLIP for branch in branches):
        yield NOT_OF_CLIPS


def _interval_faults(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each setting that contradicts validations counted in iterations."""
    interval = settings["trainer"].get("val_check_interval")
    if interval is None:
        return
    given = f"trainer.val_check_interval={interval}"
    if settings["trainer"].get("check_val_every_n_epoch") is not None:
        yield f"{given} counts iterations, and trainer.check_val_every_n_epoch epochs: leave one of them out."
    if settings["scheduler"].get("name") == "plateau":
        yield f"scheduler=plateau needs a validation in every epoch: leave {given} out."


def _fold_faults(folds: str | None, split: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence if all folds are asked for, and the split has none, or one of them is chosen."""
    if folds is None:
        return
    if not split.get("folds"):
        yield (
            f"folds=all: split={split['name']} has no folds; choose split=kfold or "
            "split=folds_in_training, or leave folds out."
        )
    elif split.get("fold"):
        yield f"folds=all trains every fold, and split.fold={split['fold']} names one: leave one of them out."
