"""A module of a user's own: a network whose forward pass is not its parent's, and a slow callback."""

import time
from pathlib import Path

import lightning as L
from torch import Tensor

from fibrolab.modules.classifiers import SingleClassifier


class Negated(SingleClassifier):
    """Predicts from the negated logits."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return -super().forward(batch)


class Slow(L.Callback):
    """Take a second for each batch until a file exists.

    Args:
        until: Path of the file.
    """

    def __init__(self, until: str) -> None:
        self.until = Path(until)

    def on_train_batch_end(self, *_: object) -> None:
        if not self.until.exists():
            time.sleep(1)
