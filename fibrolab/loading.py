"""Load labelled data from a config: source, survey of files, groups, task, split."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys, privacy
from fibrolab.config import arguments
from fibrolab.data.duplicates import grouped
from fibrolab.data.labelled_data import LabelledData, labels_under
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media
from fibrolab.data.requirements import TRAIN, Needs
from fibrolab.data.splits import Split, undrawn
from fibrolab.data.survey import EMPTY, of_clips, survey, unreadable
from fibrolab.errors import ConfigError, DataError, UndrawableSplitError, listing

POLICIES = ("error", "skip")
logger = logging.getLogger(__name__)


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
        ConfigError: `data.on_unreadable` is unknown, or the task does not fit the classes.
        DataError: The manifest has faults, samples lack what the job needs, or files are unreadable.
        SplitError: The split is impossible with this data.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    policy = config.data.get("on_unreadable", "error")
    if policy not in POLICIES:
        raise ConfigError(f"data.on_unreadable={policy} is unknown: give error or skip.")
    manifest: Manifest = instantiate(arguments(config.data, "image_size", "on_unreadable"))
    manifest.require(needs)
    if ids_key:
        manifest = privacy.hashed(manifest, ids_key)
    manifest, facts = surveyed(manifest, Path(config.paths.cache), policy)
    if ids_key:
        manifest = replace(manifest, left_out=privacy.left_out(manifest.left_out))
    manifest = grouped(manifest, facts[keys.IMAGE])
    task = config.task
    labels = labels_under(task.name, task.of, task.merge, manifest, trained=needs.trained)
    try:
        split: Split = instantiate(arguments(config.split), manifest)
    except InstantiationException as error:
        if must_split or not isinstance(error.__cause__, UndrawableSplitError):
            raise
        split = undrawn(manifest, str(error.__cause__))
    return LabelledData(manifest, facts, labels, list(task.classes or manifest.classes), split)


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
    facts, good, faults = {}, np.ones(len(manifest), bool), []
    for name in (*manifest.modalities, *manifest.partly):
        present = manifest.present(name)
        media = manifest.media(name, present)
        found = _survey_clips(media, cache) if name == keys.CLIP else survey(media, cache)
        rows = manifest.table[present].get(keys.ROW)
        faults += unreadable(media, found, manifest.root, rows)
        facts[name] = _aligned(found, present)
        good &= (facts[name]["error"] == "").to_numpy()
    faults = list(dict.fromkeys(faults))  # a video file may also be the sample's image
    if faults:
        _handle_unreadable(faults, policy, manifest, bool(good.any()))
    kept = replace(manifest, table=manifest.table[good], left_out=(*manifest.left_out, *faults))
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
    rows = np.where(present, np.cumsum(present) - 1, len(facts))
    return pd.concat([facts, pd.DataFrame([EMPTY])]).iloc[rows].reset_index(drop=True)


def _survey_clips(media: Sequence[Media], cache: Path) -> pd.DataFrame:
    """Survey clips; files with a single frame get an error."""
    facts = survey(of_clips(media), cache)
    still = (facts["error"] == "") & (facts["frames"] < 2)
    return facts.assign(error=facts["error"].mask(still, "has one frame: an image, not a clip"))
