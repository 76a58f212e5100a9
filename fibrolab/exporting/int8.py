"""Eight-bit weights and activations of an ONNX file, and the accuracy that they cost on validation.

Scales of the activations come from training samples (static quantisation of ONNX Runtime), so that the
validation samples, on which the loss is measured, had no part in it. Such a network is not expected to agree
with its run: its answers are new ones, and thresholds, temperature and sets were not fitted to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.evaluation import endpoints
from fibrolab.evaluation.intervals.bootstrap import resampled
from fibrolab.evaluation.measures import metrics
from fibrolab.evaluation.measures.weighted import Weights, ratio
from fibrolab.exporting.graphs import quiet
from fibrolab.exporting.parity import Validation
from fibrolab.runs.answering import Rules

FILE, TABLE_FILE = "model.int8.onnx", "int8.csv"
CALIBRATION = 64  # training samples by which the scales are chosen
SHOWN = ("accuracy", "balanced_accuracy", "macro_auc", "qwk", "log_loss")  # and the AUC of each end point
CHANGED = "changed_class"  # proportion of samples with another most probable class


def quantise(source: Path, target: Path, names: Sequence[str], samples: Sequence[Sequence[Tensor]]) -> None:
    """Write an ONNX file with eight-bit weights and activations.

    Args:
        source: The file in float32.
        target: The new file.
        names: Names of its inputs.
        samples: Batches of entries by which the scales are chosen.

    Raises:
        ConfigError: ONNX Runtime cannot quantise the network.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[Mapping[str, np.ndarray]] = (
                {name: value.numpy() for name, value in zip(names, values, strict=True)} for values in samples
            )

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self.batches, None)

    try:
        with quiet():
            quantize_static(
                str(source),
                str(target),
                Reader(),
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            )
    except Exception as error:  # of the quantiser, which has no common class of errors
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"int8=true: ONNX Runtime cannot quantise this network ({reason[:300]}): leave int8 out."
        ) from error


def loss_of_accuracy(
    validation: Validation, rules: Rules, found: np.ndarray, resamples: int, seed: int, level: float
) -> pd.DataFrame:
    """Compare an eight-bit network with the run on the validation samples, paired by patient.

    Args:
        validation: The samples with the run's answers.
        rules: Decision rules of samples.
        found: Probabilities of the eight-bit network, float64 (N, K).
        resamples: Resamples of the bootstrap over groups.
        seed: Its seed.
        level: Coverage of its intervals.

    Returns:
        A row a measure: `measure`, its value in `float32` and in `int8`, and the `difference` (int8 less
        float32) with the paired interval `low` to `high`.
    """
    before = validation.reference[0]
    labels, groups = validation.data.labels, validation.data.manifest.groups

    def measured(chances: np.ndarray, weights: Weights | None) -> dict[str, np.ndarray]:
        by_class = metrics.evaluate(labels, chances, list(rules.classes), weights, rules.ordered)
        return by_class | endpoints.evaluate(labels, chances, rules.endpoints, weights)

    def differences(weights: Weights | None) -> dict[str, np.ndarray]:
        ours, theirs = measured(found, weights), measured(before, weights)
        given = np.ones((1, len(labels))) if weights is None else weights
        moved = found.argmax(axis=1) != before.argmax(axis=1)
        changed = ratio(given @ moved, given.sum(axis=1))
        return {name: ours[name] - theirs[name] for name in ours} | {CHANGED: changed}

    paired = resampled(differences, groups, resamples, seed, level)
    old, new = measured(before, None), measured(found, None)
    old, new = old | {CHANGED: np.zeros(1)}, new | {CHANGED: paired.loc[[CHANGED], "value"].to_numpy()}
    shown = [*SHOWN, *(f"auc_{name}" for name in rules.endpoints), CHANGED]
    rows = [
        (name, float(old[name][0]), float(new[name][0]), *paired.loc[name, ["value", "low", "high"]])
        for name in shown
        if name in paired.index
    ]
    return pd.DataFrame(rows, columns=["measure", "float32", "int8", "difference", "low", "high"])


def calibration_rows(partitions: np.ndarray) -> np.ndarray:
    """Return rows of training samples, evenly over all of them, int64 (n,)."""
    rows = np.flatnonzero(partitions == keys.TRAIN)
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(CALIBRATION, len(rows))).astype(int))]
