"""Files of a run of several trainings, from those of its children: data, predictions, audit, networks."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import refuse
from fibrolab.data.audit.finding import LEVELS
from fibrolab.errors import ConfigError
from fibrolab.evaluation import predictions
from fibrolab.evaluation.segmentation import images
from fibrolab.reporting import audit_page
from fibrolab.runs import nearest_cases, network_histories, typicality, validation_pictures
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import make_folder, put, save_json, write_table

AVERAGED = ("leak", "leakage", "baselines", "protocols")  # measurements of an audit that depend on the split
Child = tuple[int, int, TrainedRun]  # numbers of repetition and fold, and the run


def write(folder: Path, children: Sequence[Child]) -> None:
    """Write manifest, split, predictions, audit, networks and curves of the run of several trainings.

    Args:
        folder: Folder of the run.
        children: Its trainings, by repetition and fold.

    Raises:
        ConfigError: The trainings have different samples: the data changed between them. Or masks of
            different units cannot be pooled.
        StorageError: The disk is full.
    """
    first = children[0][2]
    refuse_other_data([child for _, _, child in children])
    networks = _networks(children, folder)
    split = write_data(folder, children)
    (_pool_masks if first.segments else _pool_predictions)(folder, children)
    found = joined_audit([child.audit for _, _, child in children])
    found |= _counts(split, first)
    save_json(found, folder / keys.AUDIT_FILE)
    audit_page.write(folder)
    write_table(networks, folder / keys.NETWORKS_FILE)
    if all((child.folder / keys.HISTORY_FILE).is_file() for _, _, child in children):
        write_table(network_histories.joined(children), folder / keys.NETWORK_HISTORIES_FILE)


def _pool_predictions(folder: Path, children: Sequence[Child]) -> None:
    each = [
        child.predictions.assign(**{keys.REPEAT: repeat, keys.FOLD: fold}) for repeat, fold, child in children
    ]
    frame = pd.concat(each, ignore_index=True)
    write_table(frame, folder / keys.NETWORK_PREDICTIONS_FILE)
    predictions.write(predictions.pooled(frame), folder / keys.PREDICTIONS_FILE)


def _pool_masks(folder: Path, children: Sequence[Child]) -> None:
    """Gather the test masks of the folds of a segmentation, each image in one of them, and their measures.

    Raises:
        ConfigError: Distances are in millimetres in some folds and in pixels in others.
    """
    tables = {
        name: pd.concat([_test_rows(child.folder / name) for _, _, child in children], ignore_index=True)
        for name in (keys.MASK_MEASURES_FILE, keys.PIXEL_COUNTS_FILE, keys.MASKS_FILE)
    }
    if len(units := sorted(set(tables[keys.MASK_MEASURES_FILE][images.UNIT]))) > 1:
        raise ConfigError(
            f"Distances are measured in {' and '.join(units)} in different folds, since not all pictures "
            "state their spacing, and cannot be pooled: compare the folds by their own runs."
        )
    make_folder(folder / keys.MASKS)
    for _, _, child in children:
        for name in _test_rows(child.folder / keys.MASKS_FILE)[keys.MASK]:
            _link(child.folder / name, folder / name)
    for name, table in tables.items():
        write_table(table, folder / name)


def _test_rows(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table[table[keys.PARTITION] == keys.TEST]


def write_data(folder: Path, children: Sequence[Child]) -> pd.DataFrame:
    """Write the manifest and the joined split of several trainings, and return the split."""
    first, split = children[0][2], joined_split(children)
    put(folder / keys.MANIFEST_FILE, (first.folder / keys.MANIFEST_FILE).read_bytes())
    write_table(split, folder / keys.SPLIT_FILE)
    return split


def refuse_other_data(runs: Sequence[TrainedRun]) -> None:
    """Refuse trainings with different samples, groups or labels.

    Raises:
        ConfigError: Their data changed between them.
    """
    first, *others = runs
    refuse(
        [
            f"Runs {first.run_id} and {other.run_id} were trained on different data "
            f"({first.manifest_hash[:12]} and {other.manifest_hash[:12]}), and their predictions cannot be "
            "pooled: restore the data, or train all folds anew."
            for other in others
            if other.manifest_hash != first.manifest_hash
        ]
    )


def joined_split(children: Sequence[Child]) -> pd.DataFrame:
    """Return the split of the whole run, one row a sample.

    A sample that was tested is a test sample, with the fold that tested it where folds test different ones.
    Others are training samples if any network was trained on them, with the fold that validated them.

    Args:
        children: The trainings; the first repetition decides, since others may have drawn other folds.
    """
    least = min(repeat for repeat, _, _ in children)
    own = [(fold, child.split) for repeat, fold, child in children if repeat == least]
    table = own[0][1].copy()
    parts = np.stack([split[keys.PARTITION].to_numpy() for _, split in own])  # (F, N)
    folds = np.array([fold for fold, _ in own])
    tested, validated = parts == keys.TEST, parts == keys.VALIDATION
    once = (tested.sum(axis=0) <= 1).all()
    table[keys.PARTITION] = np.where(
        tested.any(axis=0),
        keys.TEST,
        np.where((parts == keys.TRAIN).any(axis=0), keys.TRAIN, keys.VALIDATION),
    )
    of_test = folds[tested.argmax(axis=0)] if once else 0
    of_rest = np.where(validated.any(axis=0), folds[validated.argmax(axis=0)], 0)
    table[keys.FOLD] = np.where(tested.any(axis=0), of_test, of_rest)
    return table


def joined_audit(audits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one audit of several splits of the same data.

    Measurements that depend on the split are averaged. Of a finding in several audits the most serious is
    kept, with the number of splits that have it if not all agree.
    """
    found = dict(audits[0])
    found |= {name: _mean([audit.get(name) for audit in audits]) for name in AVERAGED if name in found}
    findings: dict[str, list[dict[str, Any]]] = {}
    for audit in audits:
        for one in audit["findings"]:
            findings.setdefault(one["key"], []).append(one)
    joined = [_joined_finding(of_one, len(audits)) for of_one in findings.values()]
    joined.sort(key=lambda one: LEVELS.index(one["level"]))
    found["findings"] = joined
    found["warnings"] = [one["sentence"] for one in joined if one["level"] != "note"]
    found["verdict"] = max((audit["verdict"] for audit in audits), key=keys.VERDICTS.index)
    return found


def _joined_finding(of_one: Sequence[dict[str, Any]], total: int) -> dict[str, Any]:
    worst = min(of_one, key=lambda one: LEVELS.index(one["level"]))
    if len(of_one) == total and len({one["sentence"] for one in of_one}) == 1:
        return worst
    return worst | {"sentence": f"In {len(of_one)} of {total} splits, for instance: {worst['sentence']}"}


def _mean(values: Sequence[Any]) -> Any:
    """Average numbers, also within mappings; values that cannot be averaged are those of the first."""
    first = values[0]
    if isinstance(first, Mapping):
        mappings = [value for value in values if isinstance(value, Mapping)]
        return {name: _mean([value.get(name) for value in mappings]) for name in first}
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values) or all(value == first for value in values):
        return first
    return sum(numbers) / len(numbers)


def _counts(split: pd.DataFrame, first: TrainedRun) -> dict[str, Any]:
    """Return the samples by class and partition of the whole run, and its groups."""
    classes, labels = first.classes, first.manifest[keys.Y_TRUE].to_numpy()
    if first.segments:  # whose audit has one class
        classes, labels = list(first.audit["partitions"][keys.TEST]), np.zeros_like(labels)
    counts, groups = {}, {}
    for name in keys.PARTITIONS:
        rows = (split[keys.PARTITION] == name).to_numpy()
        of_class = np.bincount(labels[rows], minlength=len(classes)).tolist()
        counts[name] = dict(zip(classes, of_class, strict=True))
        groups[name] = int(split.loc[rows, keys.GROUP_ID].nunique())
    return {"partitions": counts, "partition_groups": groups}


def _networks(children: Sequence[Child], folder: Path) -> pd.DataFrame:
    """Put every network of the best epoch into the folder of the whole run, and return their table."""
    rows = []
    for repeat, fold, child in children:
        name = f"repeat{repeat}_fold{fold}.ckpt"
        path = child.folder / keys.CHECKPOINTS / keys.BEST
        place = folder / keys.CHECKPOINTS / name
        for beside in (Path, typicality.beside, nearest_cases.beside, validation_pictures.beside):
            known, own = beside(path), beside(place)
            if known.is_file():
                make_folder(own.parent)
                _link(known, own)
        parts = child.split[keys.PARTITION].value_counts()
        rows.append(
            {
                keys.REPEAT: repeat,
                keys.FOLD: fold,
                "seed": child.config.seed,
                "run": child.run_id,
                "train": parts[keys.TRAIN],
                "test": parts[keys.TEST],
                "checkpoint": name,
            }
        )
    return pd.DataFrame(rows)


def _link(path: Path, place: Path) -> None:
    """Link a file that is never changed in place, or copy it where the file system has no links."""
    place.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(path, place)
        return
    shutil.copyfile(path, place)
