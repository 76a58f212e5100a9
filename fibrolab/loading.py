"""Load labelled data from a config: source, survey of files, groups, task, split."""

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fibrolab import keys, privacy
from fibrolab.choices import refuse
from fibrolab.command_line import exists, missing_value
from fibrolab.config import arguments, resolved
from fibrolab.data import splits
from fibrolab.data.duplicates import grouped
from fibrolab.data.labelled_data import LabelledData, labels_under, task_faults
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Decode
from fibrolab.data.requirements import SEGMENT, TRAIN, Needs
from fibrolab.data.sources import kaggle_fibrosis
from fibrolab.data.sources.table import check_header
from fibrolab.data.splits import Split, undrawn
from fibrolab.data.survey import ANSWERED, EMPTY, SURVEYED, Take, of_clips, survey, unreadable
from fibrolab.errors import ConfigError, DataError, SplitError, UndrawableSplitError, listing
from fibrolab.mask_classes import of_task
from fibrolab.targets import call, check_call, imported

POLICIES = ("error", "skip")
# Settings of `data` that are not the source's.
NOT_PASSED = ("image_size", "mask_levels", "on_unreadable", "label_from", "decode")
OURS, SOURCES = "fibrolab.", "fibrolab.data.sources."  # beginnings of `_target_`
TABLE = f"{SOURCES}table.load"
logger = logging.getLogger(__name__)


def check(config: DictConfig) -> None:
    """Refuse settings of data, split and task with which `load` would fail on any data; no file is read.

    Args:
        config: A config with some of `data`, `split` and `task`.

    Raises:
        ConfigError: A function cannot be imported or does not take its settings, a file or folder does not
            exist, or settings of the task contradict each other; all are listed.
        SplitError: The split is impossible with any data.
    """
    faults: list[str] = []
    if config.get("data"):
        faults += _target_faults(config, "data", Manifest)
        faults += _places_missing(resolved(config.data))
    if config.get("split"):
        faults += _target_faults(config, "split", Split, None)
    if config.get("task"):
        faults += task_faults(config.task.classes, config.task.of, config.task.merge)
        of_task(config.task)
    refuse(faults)
    if config.get("split") and str(config.split["_target_"]).startswith(OURS):
        splits.check(**resolved(config.split))


def check_table(config: DictConfig, needs: Sequence[str] = ()) -> None:
    """Refuse the table of a source of ours by its header, where a column is missing; after `check`.

    Args:
        config: A config with `data`.
        needs: Columns that the job needs, besides those of the source.

    Raises:
        ConfigError: A setting names a column that the table lacks.
        DataError: The table has no such column, or cannot be read.
    """
    data = resolved(config.data)
    name = str(data.get("_target_"))
    module = import_module(name.rpartition(".")[0]) if name.startswith(SOURCES) else None
    if (of_source := getattr(module, "NEEDS", None)) is not None:
        needed = (*of_source, *((column,) for column in needs))
        check_header(data["path"], data.get("columns"), needed, data.get("sheet"))


def load(
    config: DictConfig, must_split: bool = True, needs: Needs = TRAIN, ids_key: str = ""
) -> LabelledData:
    """Load the manifest, survey, labels and split that the config describes.

    Args:
        config: A config with `data`, `task`, `split` and `paths`.
        must_split: Whether an impossible split is an error; False for an audit of data too small to split.
        needs: Requirements of the job on every sample.
        ids_key: If given, ids are hashed (`privacy.ids_key`).

    Raises:
        ConfigError: See `check`; or the task does not fit the classes.
        DataError: The manifest has faults, samples lack what the job needs, or files are unreadable.
        SplitError: The split is impossible with this data.
    """
    check(config)
    policy = config.data.get("on_unreadable", "error")
    if policy not in POLICIES:
        raise ConfigError(f"data.on_unreadable={policy} is unknown: give error or skip.")
    manifest: Manifest = _called(config, "data", Manifest)
    if config.data.get("decode"):
        manifest = replace(manifest, decode=_corrections(config.data.decode))
    masks = of_task(config.task)
    if masks and needs.label and not needs.trained:
        needs = SEGMENT if needs is TRAIN else replace(needs, label=False, mask=True)
    manifest.require(needs)
    if needs.mask and (manifest.labels == keys.UNLABELLED).any():
        manifest = manifest.with_one_class()
    if ids_key:
        manifest = privacy.hashed(manifest, ids_key)
    manifest, facts = surveyed(manifest, Path(config.paths.cache), policy)
    if ids_key:
        manifest = replace(manifest, left_out=privacy.left_out(manifest.left_out))
    manifest = grouped(manifest, facts[keys.IMAGE])
    task = config.task
    labels = labels_under(task.name, task.of, task.merge, manifest, trained=needs.trained)
    classes = list(map(str, (None if masks else task.classes) or manifest.classes))
    if task.of is None and len(classes) != len(manifest.classes):
        raise ConfigError(
            f"task.classes names {len(classes)} classes, and '{manifest.name}' has {len(manifest.classes)}: "
            f"{', '.join(manifest.classes)}."
        )
    if task.of is None and classes != list(manifest.classes) and sorted(classes) == sorted(manifest.classes):
        raise ConfigError(
            f"task.classes={classes} names the classes of '{manifest.name}' in another order than the data: "
            f"{', '.join(manifest.classes)}. Leave it out, or set data.classes."
        )
    try:
        split: Split = _called(config, "split", Split, manifest)
    except UndrawableSplitError as error:
        if must_split:
            raise
        split = undrawn(manifest, str(error))
    if must_split and needs.label:
        _refuse_untrained_classes(labels, classes, split, config)
    return LabelledData(manifest, facts, labels, classes, split, masks)


def _refuse_untrained_classes(
    labels: np.ndarray, classes: Sequence[str], split: Split, config: DictConfig
) -> None:
    """Refuse a split whose training part lacks a class that other samples have; a split without one may."""
    trained = np.unique(labels[split.rows(keys.TRAIN)])
    missing = [classes[k] for k in np.unique(labels) if k not in trained]
    if len(trained) and missing:
        raise SplitError(
            f"The training part of split={config.split.name} has no sample of {', '.join(missing)}, which "
            f"no network can then learn. Choose another split, or a task (now {config.task.name}) all of "
            "whose classes it has."
        )


def load_without_pictures(config: DictConfig, needs: Needs) -> Manifest:
    """Load the manifest that the config describes, for a job that reads no pixels: no picture is opened.

    The user's own table (`data=table`) then needs no column of pictures.

    Args:
        config: A config with `data`.
        needs: Requirements of the job on every sample.

    Raises:
        ConfigError: See `check`.
        DataError: The manifest has faults, or samples lack what the job needs.
    """
    check(config)
    if config.data["_target_"] == TABLE:
        config = OmegaConf.create({"data": {**resolved(config.data), "pictured": False}})
    manifest: Manifest = _called(config, "data", Manifest)
    manifest.require(needs)
    return manifest


def _called(config: DictConfig, group: str, kind: type, *values: Any) -> Any:
    """Call the function that a group of settings names, and return its result, which is of a kind."""
    given = arguments(config[group], *NOT_PASSED)
    name = given.pop("_target_")
    target = imported(name, f"{group}._target_")
    decode = config[group].get("decode")
    if decode and str(name).startswith(OURS) and "decode" in inspect.signature(target).parameters:
        given["decode"] = _corrections(decode)  # for a source that reads pixels itself
    found = call(target, group, *values, **given)
    if not isinstance(found, kind):
        raise ConfigError(
            f"{group}._target_={name} returns a {type(found).__name__}, not a "
            f"{kind.__module__}.{kind.__name__}."
        )
    return found


def _corrections(decode: Any) -> Decode:
    """Return the corrections of `data.decode`.

    Raises:
        ConfigError: It has other settings than those of `Decode`.
    """
    known = [field.name for field in fields(Decode)]
    if not isinstance(decode, Mapping) or set(decode) - set(known):
        raise ConfigError(f"data.decode={decode} is not allowed: its settings are {', '.join(known)}.")
    return Decode(**decode)


def _target_faults(config: DictConfig, group: str, kind: type, *values: Any) -> Iterator[str]:
    """Yield a sentence if `_called` would fail before the function does anything."""
    given = arguments(config[group], *NOT_PASSED)
    name = given.pop("_target_", "")
    try:
        target = imported(name, f"{group}._target_")
        taken = inspect.signature(target).parameters if str(name).startswith(OURS) else {}
        needed = [key for key, part in taken.items() if part.default is part.empty and key in given]
        if strange := [key for key in given if taken and key not in taken]:
            where = f"{group}.{strange[0]}"
            yield f"{where} is not a setting of {config[group].name}. Leave it out with ~{where}."
        elif empty := [key for key in needed if given[key] is None]:
            yield missing_value(f"{group}.{empty[0]}")
        elif isinstance(target, type) and not issubclass(target, kind):
            yield f"{group}._target_={name} is no function that returns a {kind.__module__}.{kind.__name__}."
        else:
            check_call(target, group, *values, **given)
    except ConfigError as fault:
        yield str(fault)


def _places_missing(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each file or folder of a source of ours that does not exist."""
    if not str(data.get("_target_")).startswith(SOURCES):
        return
    path, root, mask_root = data.get("path"), data.get("root"), data.get("mask_root")
    if path is not None and not exists(path):
        yield f"data.path={path} does not exist: give the table, a CSV, Excel or Parquet file."
    if mask_root is not None and not exists(mask_root, Path.is_dir):
        yield f"data.mask_root={mask_root} is not a folder: give the folder that the masks are relative to."
    if data.get("download"):
        return
    if root is not None and not exists(root, Path.is_dir):
        hint = ", or data.download=true" if "download" in data else ""
        yield f"data.root={root} is not a folder: give the folder that holds the images{hint}."
    if root is None and "download" in data:
        kaggle_fibrosis.known_place(data["handle"])


def surveyed(manifest: Manifest, cache: Path, policy: str) -> tuple[Manifest, dict[str, pd.DataFrame]]:
    """Survey every modality; refuse unreadable files, or leave out their samples.

    Args:
        manifest: Manifest of the source.
        cache: Folder where the surveys of files are cached.
        policy: `error` or `skip`.

    Returns:
        The usable samples, and the survey of each modality with the same rows; see `LabelledData.facts`.

    Raises:
        DataError: Files are unreadable under `error`, or no sample is readable.
    """
    facts, found = examined(manifest, cache)
    faults = list(dict.fromkeys(fault for _, fault in found))  # a video file may also be the sample's image
    good = np.ones(len(manifest), bool)
    good[[row for row, _ in found]] = False
    if faults:
        _handle_unreadable(faults, policy, manifest, bool(good.any()))
    return usable(replace(manifest, left_out=(*manifest.left_out, *faults)), facts, good)


def examined(
    manifest: Manifest, cache: Path | None, take: Mapping[str, Take] | None = None
) -> tuple[dict[str, pd.DataFrame], list[tuple[int, str]]]:
    """Survey every modality of a manifest.

    Args:
        manifest: Manifest of the source.
        cache: Folder where the surveys of files are cached; None for files to answer, of which nothing is
            stored and only `survey.ANSWERED` is measured.
        take: Functions that take the decoded pixels of pictures, by modality (`survey`).

    Returns:
        The survey of each modality, one row per sample, and a sentence on each file that cannot be read, with
        the row of its sample.
    """
    facts, faults = {}, list[tuple[int, str]]()
    columns = SURVEYED if cache else ANSWERED
    for name in (*manifest.modalities, *manifest.partly):
        present = manifest.present(name)
        media, pixels = manifest.media(name, present), (take or {}).get(name)
        shown = of_clips(media) if name == keys.CLIP else media
        found = survey(shown, cache, take=pixels, columns=columns)
        if name == keys.CLIP:
            found = _without_stills(found)
        bad = np.flatnonzero(present)[(found["error"] != "").to_numpy()]
        sentences = unreadable(media, found, manifest.root, manifest.table[present].get(keys.ROW))
        faults += zip(bad.tolist(), sentences, strict=True)
        facts[name] = _aligned(found, present)
    return facts, faults


def usable(
    manifest: Manifest, facts: Mapping[str, pd.DataFrame], good: np.ndarray
) -> tuple[Manifest, dict[str, pd.DataFrame]]:
    """Return the samples that are `good`, bool (N,), and their survey; see `LabelledData.facts`."""
    kept, left = manifest, dict(facts)
    if not good.all():
        skipped = manifest.table.loc[~good, [keys.LABEL, keys.PATIENT_ID]].reset_index(drop=True)
        kept = replace(manifest, table=manifest.table[good], skipped=skipped)
        left = {name: table[good].reset_index(drop=True) for name, table in facts.items()}
    shown = {keys.IMAGE: _survey_of_shown(kept, left)}
    others = {name: table for name, table in left.items() if name != keys.IMAGE and kept.present(name).any()}
    return kept, shown | others


def _survey_of_shown(manifest: Manifest, facts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the survey of the image that represents each sample, one row per sample."""
    shown = manifest.shown
    if (shown == keys.IMAGE).all():
        return facts[keys.IMAGE]
    parts = [facts[name][shown == name] for name in facts]
    return pd.concat(parts).sort_index()


def _handle_unreadable(faults: Sequence[str], policy: str, manifest: Manifest, some_left: bool) -> None:
    """Refuse unreadable files, or log that they are left out."""
    summary = f"{len(faults)} files of '{manifest.name}' under {manifest.root} cannot be read"
    if policy == "error":
        raise DataError(
            f"{summary}:\n{listing(faults)}\n"
            "Repair or remove them, or set data.on_unreadable=skip to continue without them."
        )
    if not some_left:
        raise DataError(f"{summary}, and none of the {len(manifest)} samples is complete:\n{listing(faults)}")
    logger.warning("Unreadable files left out: %d.", len(faults))


def _aligned(facts: pd.DataFrame, present: np.ndarray) -> pd.DataFrame:
    """Return a survey with one row per sample; empty rows for samples without the modality, (N, ..)."""
    if present.all():
        return facts
    rows = np.where(present, np.cumsum(present) - 1, len(facts))
    return pd.concat([facts, pd.DataFrame([EMPTY])[list(facts)]]).iloc[rows].reset_index(drop=True)


def _without_stills(facts: pd.DataFrame) -> pd.DataFrame:
    """Return the survey of clips, in which files with a single frame have an error."""
    still = (facts["error"] == "") & (facts["frames"] < 2)
    return facts.assign(error=facts["error"].mask(still, "has one frame: an image, not a clip"))
