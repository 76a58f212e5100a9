"""The logger by which Lightning writes the curves of a run, in the process that tracks it or on a rank."""

import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from fibrolab.tracking_journal import keep_earlier_error

PAUSE = 1.0  # [s], shortest time between two writes of curves


class Curves(Protocol):
    """The part of a tracked run that takes curves."""

    @property
    def id(self) -> str:
        """Id of the run."""

    @property
    def experiment_id(self) -> str:
        """Id of its experiment."""

    def add_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record the values of a step."""

    def deliver(self) -> None:
        """Write what was recorded."""


class CurveLogger(Logger):
    """Write the curves of a run into MLflow, and nothing else.

    Lightning's own MLflow logger would set the run to FINISHED after `fit`, before evaluation and report, and
    wait minutes for a server that is away. Values are written at most once per `PAUSE`, and when training
    ends or fails, because a write takes as long as several epochs of a small network.
    """

    def __init__(self, run: Curves) -> None:
        super().__init__()
        self._run = run
        self._written = -math.inf  # [s]

    @property
    def name(self) -> str:
        """Return the id of the experiment."""
        return self._run.experiment_id

    @property
    def version(self) -> str:
        """Return the id of the run."""
        return self._run.id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record the values of a step, and write if `PAUSE` has passed."""
        self._run.add_metrics(metrics, step or 0)
        if time.monotonic() - self._written > PAUSE:
            self._write()

    def _write(self) -> None:
        self._run.deliver()
        self._written = time.monotonic()

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Do nothing: `TrackedRun.log_params` logs them under the names of the command line."""

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Write the recorded values; the run stays open until `track` closes it."""
        with keep_earlier_error():
            self._write()
