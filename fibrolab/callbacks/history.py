"""The history of a training: a CSV for the report, and a line per row without a progress bar."""

from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.pytorch.utilities import rank_zero_only

from fibrolab import keys
from fibrolab.storage import write_table
from fibrolab.sweeps import jobs


class History(L.Callback):
    """Write `history.csv` after each epoch: epoch, step, and every metric logged in it.

    With validations every few iterations (`trainer.val_check_interval`) each of them has a row of its own,
    and the row of an epoch has the metrics of training alone.

    Args:
        run: Folder of the run.
        announce: Print a line per row, for logs and pipes.
    """

    def __init__(self, run: Path, announce: bool) -> None:
        self._path = run / keys.HISTORY_FILE
        self._announce = announce
        self._rows: list[dict[str, Any]] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the row of this validation, if validations are counted in iterations."""
        if _by_iterations(trainer) and not trainer.sanity_checking:
            self._add(trainer, "val/", f"step {trainer.global_step}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the row of this epoch; it is complete because validation has already run."""
        start = "train/" if _by_iterations(trainer) else ""
        metrics = self._add(trainer, start, f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")
        if (job := jobs.current()) and trainer.is_global_zero:
            value = metrics.get(str(pl_module.hparams.get("monitor")))
            jobs.report_progress(job, trainer.current_epoch + 1, trainer.max_epochs, value)

    def _add(self, trainer: L.Trainer, start: str, title: str) -> dict[str, float]:
        """Add a row of the metrics whose names begin with `start`, print it, and return all metrics."""
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        own = {name: value for name, value in metrics.items() if name.startswith(start)}
        self._rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **own})
        self._write()
        if self._announce and trainer.is_global_zero:
            print(f"{title}  {'  '.join(f'{name} {value:.4g}' for name, value in own.items())}", flush=True)
        return metrics

    @rank_zero_only
    def _write(self) -> None:
        write_table(pd.DataFrame(self._rows), self._path)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far for the checkpoint."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of the run that is resumed."""
        self._rows = list(state_dict["rows"])


def _by_iterations(trainer: L.Trainer) -> bool:
    """Return whether validations are counted in iterations over all epochs."""
    return trainer.check_val_every_n_epoch is None
