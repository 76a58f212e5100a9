"""The record of an export: what an artifact states about itself, and its comparison with the run."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata as installed
from typing import Any

import numpy as np

from fibrolab import environment, keys
from fibrolab.data.clinical import MEASURES
from fibrolab.exporting import parity
from fibrolab.exporting.parity import Validation
from fibrolab.runs import answering
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import needed_by
from fibrolab.runs.trained_run import TrainedRun

RUNTIMES = ("onnx", "onnxscript", "onnxruntime")


def compared(run: TrainedRun, validation: Validation, found: float, largest: float) -> dict[str, Any]:
    """Print the difference of an artifact from its run, and return it for the record.

    Args:
        run: The run.
        validation: Its validation samples.
        found: Largest difference of the outputs for these samples.
        largest: The difference that is allowed.

    Raises:
        DataError: It is above `largest`.
    """
    samples = len(validation.data.manifest)
    parity.refuse_above(found, run, samples, largest)
    spread = float(np.ptp(validation.reference[0], axis=0).max())
    print(
        f"parity   largest difference {found:.2g} (allowed: {largest:g}) on {samples} validation samples, "
        f"whose probabilities range over {spread:.2g}"
    )
    if spread < 100 * largest:
        print("warning  the network answers all these samples nearly alike, so that parity proves little")
    if validation.stored > largest:
        print(
            f"note     {keys.PREDICTIONS_FILE} of the run differs by {validation.stored:.2g} from the same "
            "network on this machine: it was computed on another device or in another precision"
        )
    return {
        "partition": keys.VALIDATION,
        "samples": samples,
        "largest_difference": found,
        "range_of_probabilities": spread,
        "allowed": largest,
        "stored_predictions_difference": validation.stored if math.isfinite(validation.stored) else None,
    }


def described(run: TrainedRun, rules: Mapping[str, Rules]) -> dict[str, Any]:
    """Return what an artifact states about itself, whatever its format."""
    network = run.predictors[0]
    record, columns = network.record, network.module.clinical_columns
    return {
        "use": answering.USE,
        "format": keys.FORMAT,
        "run": run.run_id or str(run.folder),
        "name": str(run.config.name),
        "networks": len(run.predictors),
        "classes": list(network.classes),
        "preprocess": dict(record["preprocess"]),
        "segment": dict(record["segment"]),
        "decode": dict(record.get("decode") or {}),
        "cropped_to_masks_of": network.segmenter.sha256 if network.segmenter else None,
        "precision_of_training": record["precision"],
        "needed": needed_by(run.predictors),
        "clinical": [
            {"column": each.column, "unit": each.unit, "possible": list(each.possible)}
            for each in MEASURES
            if each.column in columns
        ],
        "rules": {level: _finite(asdict(each)) for level, each in rules.items()},
        "fibrolab": installed.version("fibrolab"),
        "packages": environment.packages() | _runtimes(),
    }


def _finite(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with words in place of the numbers that JSON lacks."""
    words: dict[str, Any] = {name: "infinite" for name, value in content.items() if value == math.inf}
    words |= {name: None for name, value in content.items() if value != value}  # NaN: it could not be fitted
    return {**content, **words}


def _runtimes() -> dict[str, str]:
    found = {}
    for name in RUNTIMES:
        try:
            found[name] = installed.version(name)
        except installed.PackageNotFoundError:
            continue
    return found
