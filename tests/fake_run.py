"""The folder of a run with simulated values, to test the report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from fibrolab import keys
from fibrolab.evaluation import predictions, score
from fibrolab.storage import write_table

CLASSES = ("F0", "F1", "F2", "F3", "F4")
FREQUENCIES = (0.33, 0.14, 0.13, 0.13, 0.27)


def make(folder: Path, classes: tuple[str, ...] = CLASSES, n: int = 300, skill: float = 2.2) -> Path:
    """Write every file of a run but its figures, checkpoints and report; ``skill`` 0 is guessing.

    The other tables of an evaluation are written by `fake_tables`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame = predicted(classes, n, skill)
    predictions.write(frame, folder / keys.PREDICTIONS_FILE)
    table = score.score(
        frame,
        classes,
        baselines={"accuracy": 0.334, "macro_auc": 0.5, "qwk": 0.0, "balanced_accuracy": 0.2},
        resamples=200,
    )
    write_table(table, folder / keys.METRICS_FILE, index=True)
    history(12).to_csv(folder / keys.HISTORY_FILE, index=False)
    split(frame).to_csv(folder / keys.SPLIT_FILE, index=False)
    (folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(config(classes), sort_keys=False))
    (folder / keys.AUDIT_FILE).write_text(json.dumps(audit(classes, n)))
    (folder / keys.ENVIRONMENT_FILE).write_text(json.dumps(environment()))
    return folder


def predicted(classes: tuple[str, ...], n: int, skill: float) -> pd.DataFrame:
    """Predictions of n test and n validation samples, three a patient."""
    random = np.random.default_rng(0)
    frequencies = np.resize(FREQUENCIES, len(classes))
    truth = random.choice(len(classes), size=2 * n, p=frequencies / frequencies.sum())
    distance = np.abs(np.arange(len(classes)) - truth[:, None])  # (2 n, K): neighbouring stages are confused
    scores = -skill * distance + random.normal(size=distance.shape) * 1.6
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    columns = {
        keys.SAMPLE_ID: [f"{i:04d}" for i in range(2 * n)],
        keys.GROUP_ID: [f"{i // 3:03d}" for i in range(2 * n)],
        keys.PATIENT_ID: "",
        keys.SITE: "",
        keys.PARTITION: np.repeat([keys.VALIDATION, keys.TEST], n),
        keys.FOLD: 0,
        keys.Y_TRUE: truth,
    }
    return pd.DataFrame(
        columns | dict(zip(keys.probability_columns(len(classes)), probabilities.T, strict=True))
    )


def history(epochs: int) -> pd.DataFrame:
    """Curves that learn, then overfit; training and validation have separate rows, as logged."""
    epoch = np.arange(epochs)
    train = {"train/loss": 1.6 * 0.8**epoch, "lr": 1e-3 * 0.7**epoch}
    validation = {"val/loss": 1.5 * 0.85**epoch + 0.004 * epoch**2, "val/accuracy": 0.8 - 0.5 * 0.7**epoch}
    rows = [pd.DataFrame({"epoch": epoch, "step": 40 * epoch, **part}) for part in (train, validation)]
    return pd.concat(rows).sort_values("epoch", kind="stable")


def split(frame: pd.DataFrame) -> pd.DataFrame:
    """The split of the predictions, with a training part of other samples."""
    known = frame[[keys.SAMPLE_ID, keys.GROUP_ID, keys.PARTITION, keys.FOLD]]
    train = known.assign(**{keys.PARTITION: keys.TRAIN, keys.SAMPLE_ID: "t" + known[keys.SAMPLE_ID]})
    return pd.concat([known, train.assign(**{keys.GROUP_ID: "t" + known[keys.GROUP_ID]})])


def config(classes: tuple[str, ...]) -> dict[str, object]:
    """The settings that the report uses in sentences, and one that it only lists."""
    return {
        "name": "hybrid-kaggle_fibrosis",
        "seed": 7,
        "monitor": "val/loss",
        "mode": "min",
        "data": {"name": "kaggle_fibrosis"},
        "task": {"name": "stage", "classes": list(classes)},
        "model": {"name": "hybrid", "dropout": 0.5},
        "split": {"name": "holdout", "grouped": True},
        "trainer": {"max_epochs": 12},
        "bootstrap": {"resamples": 200, "level": 0.95},
    }


def audit(classes: tuple[str, ...], n: int) -> dict[str, object]:
    """An audit that found some copies and left one file out."""
    counts = [round(n * frequency) for frequency in np.resize(FREQUENCIES, len(classes))]
    part = dict(zip(classes, counts, strict=True))
    return {
        "verdict": "warning",
        "name": "kaggle_fibrosis",
        "samples": 6323,
        "files": 6324,
        "groups": 2118,
        "patients": 0,
        "classes": part,
        "exact_copies": 412,
        "near_copies": 1930,
        "conflicting_copies": 3,
        "left_out": ["F2/b201.jpg: zero bytes"],
        "partitions": {
            keys.TRAIN: {name: 5 * k for name, k in part.items()},
            keys.VALIDATION: part,
            keys.TEST: part,
        },
        "leak": {"exact": 0.0, "near": 0.0, "groups": 0},
        "baselines": {"majority": 0.334, "hash_lookup": 0.412},
        "warnings": [
            "No patient is known: groups are clusters of copies, so intervals may be too narrow.",
            "1 unreadable file was left out.",
        ],
    }


def environment() -> dict[str, object]:
    """The environment of the run."""
    return {
        "python": "3.11.9",
        "platform": "Linux-6.1-x86_64",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "git_dirty": True,
        "command": "python -m fibrolab.train model=hybrid data=kaggle_fibrosis data.root=/data/us seed=7",
        "started": "2026-11-21T09:30:00+00:00",
        "seconds": 3725.0,
        "packages": {"numpy": "2.4.6", "torch": "2.14.1", "lightning": "2.6.6", "timm": "1.0.31"},
        "device": "NVIDIA H200",
    }
