"""The history of a training: a CSV for the report, and a line per epoch without a progress bar."""

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

    Args:
        run: Folder of the run.
        announce: Print a line per epoch, for logs and pipes.
    """

    def __init__(self, run: Path, announce: bool) -> None:
        self._path = run / keys.HISTORY_FILE
        self._announce = announce
        self._rows: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the row of this epoch; it is complete because validation has already run."""
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self._rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})
        self._write()
        if (job := jobs.current()) and trainer.is_global_zero:
            value = metrics.get(str(pl_module.hparams.get("monitor")))
            jobs.report_progress(job, trainer.current_epoch + 1, trainer.max_epochs, value)
        if self._announce and trainer.is_global_zero:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}", flush=True)

    @rank_zero_only
    def _write(self) -> None:
        write_table(pd.DataFrame(self._rows), self._path)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far for the checkpoint."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of the run that is resumed."""
        self._rows = list(state_dict["rows"])
