"""A small classifier for tests: its arguments, its batches and its trainer."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from fibrolab import keys

CLASSES = ["F0", "F1", "F2", "F3", "F4"]


def settings(**changes: object) -> dict:
    """Return arguments of a small classifier."""
    given: dict = {
        "branches": {"image": {"name": "test_resnet"}},
        "head": {},
        "classes": CLASSES,
        "class_counts": [4, 4, 4, 4, 4],
        "image_size": 32,
        "loss": {"name": "cross_entropy"},
        "optimizer": {"name": "SGD", "lr": 0.01},
        "scheduler": {"name": "constant"},
    }
    return given | changes


def loader(num_samples: int = 20, batch_size: int = 10) -> DataLoader:
    """Return batches of noise whose brightness tells the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_samples) % 5
    images = (rng.integers(0, 60, (num_samples, 1, 32, 32)) + 45 * labels[:, None, None, None]).astype(
        np.uint8
    )
    rows = [
        {keys.IMAGE: torch.from_numpy(image), keys.LABEL: int(label), keys.INDEX: row}
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    return DataLoader(rows, batch_size=batch_size)  # type: ignore[arg-type]


def trainer(root: Path, *callbacks: L.Callback, epochs: int = 1, **given: Any) -> L.Trainer:
    """Return a trainer on the CPU without logger and progress bar."""
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=root,
        logger=False,
        enable_checkpointing=any(isinstance(c, L.pytorch.callbacks.Checkpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **given,
    )
