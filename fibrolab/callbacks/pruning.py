"""The callback by which a trial of a study ends early."""

from typing import Protocol

import lightning as L


class Reports(Protocol):
    """The study, as a trial sees it."""

    def is_pruned(self, step: int, value: float) -> bool:
        """Report the value of a step, and return whether the trial ends."""


class Pruning(L.Callback):
    """Report the monitored value after each validation, and end the training, on all ranks, if it is pruned.

    Args:
        monitor: Name of the value.
        reports: The study; only rank zero talks to it.

    Attributes:
        pruned: Whether the training was ended.
    """

    def __init__(self, monitor: str, reports: Reports) -> None:
        self._monitor, self._reports = monitor, reports
        self.pruned = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the value of this epoch."""
        value = trainer.callback_metrics.get(self._monitor)
        if value is None or trainer.sanity_checking:
            return
        ends = trainer.is_global_zero and self._reports.is_pruned(trainer.current_epoch + 1, float(value))
        self.pruned = bool(trainer.strategy.broadcast(ends))
        trainer.should_stop = trainer.should_stop or self.pruned
