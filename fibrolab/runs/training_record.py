"""The record of a training, which its checkpoints hold: all that a prediction needs beside the weights."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.config import arguments, resolved
from fibrolab.data import input_check
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.preprocess import SEGMENTER
from fibrolab.modules.base import TrainedModule

SPLIT = "split_sha256"
NEEDED = "needed"  # inputs that every training sample had


def described(
    config: DictConfig, module: TrainedModule, data: LabelledData, split: Path, packages: Mapping[str, str]
) -> dict[str, Any]:
    """Return the record of a training, which its checkpoints hold.

    Args:
        config: `conf/train.yaml`, composed, with the classes of the data.
        module: The module that is trained.
        data: The samples.
        split: The run's `split.csv`.
        packages: Versions of the packages in use.
    """
    task = resolved(config.task)
    buffers = dict(module.named_buffers())
    normalised = {name.removesuffix(".mean") for name in buffers if name.endswith(".mean")}
    return {
        "format": keys.FORMAT,
        "_target_": str(config.model["_target_"]),
        "data": data.manifest.name,
        "task": {name: task.get(name) for name in ("name", "ordered", "endpoints", "of", "merge")},
        "classes": list(map(str, data.classes)),
        "decode": asdict(data.manifest.decode),
        "preprocess": arguments(config.preprocess, SEGMENTER),
        "segment": resolved(config.segment),
        "normalisation": {
            name: {part: buffers[f"{name}.{part}"].flatten().tolist() for part in ("mean", "std")}
            for name in sorted(normalised)
            if f"{name}.std" in buffers
        },
        "precision": config.trainer.precision,
        "batch_size": config.batch_size,
        NEEDED: needed(module, data),
        "manifest": data.manifest.hash,
        SPLIT: split_digest(split),
        "packages": dict(packages),
        "thresholds": None,
        "temperature": None,
    }


def needed(module: TrainedModule, data: LabelledData) -> list[str]:
    """Return the modalities and clinical columns that a training never leaves out.

    Modality dropout leaves out whole modalities, of several; a clinical value is missing only where the data
    lacks it.
    """
    drops = getattr(module.network, "modality_dropout", 0) > 0 and len(module.modalities) > 1
    visual = [] if drops else module.modalities
    rows = data.split.rows(keys.TRAIN)
    return input_check.always_given(data.manifest, visual, module.clinical_columns, rows)


def gaps(module: TrainedModule, data: LabelledData) -> str:
    """Return a sentence on what validation or test samples lack and no training sample; empty if nothing."""
    names = [each for each in needed(module, data) if not input_check.complete(data.manifest, [each]).all()]
    if not names:
        return ""
    return (
        f"Validation or test samples lack {', '.join(names)}, which every training sample has, so that the "
        "network does not learn to miss it: its predictions of these samples come from untrained weights. "
        "Leave them out, choose another split, or set model.fusion.modality_dropout for a modality."
    )


def split_digest(path: Path) -> str:
    """Return the SHA-256 of a split's file, which is equal for the same samples in the same partitions."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fitted_on_validation(endpoints: pd.DataFrame, calibration: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the thresholds and the temperature of an evaluation, by level.

    Args:
        endpoints: `endpoints.csv` of the run.
        calibration: `calibration.csv` of the run.
    """
    decided = endpoints[(endpoints["rule"] != "") & endpoints["threshold"].notna()]
    thresholds: dict[str, dict[str, dict[str, float]]] = {}
    for level, endpoint, rule, value in decided[["level", "endpoint", "rule", "threshold"]].to_numpy():
        thresholds.setdefault(str(level), {}).setdefault(str(endpoint), {})[str(rule)] = float(value)
    fits = calibration[calibration["temperature"].notna() & (calibration["probabilities"] == "temperature")]
    temperature = {str(level): float(rows["temperature"].iloc[0]) for level, rows in fits.groupby("level")}
    return {"thresholds": thresholds, "temperature": temperature}
