"""Callbacks that stop a diverged training, and that make a resumed training equal to an unbroken one."""

import math
import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from fibrolab.errors import TrainingError
from fibrolab.storage import put


class FiniteLoss(L.Callback):
    """Stop the run, on all ranks at once, when the loss is NaN or infinite on one of them.

    Args:
        every: Steps between two checks; the end of each epoch is checked too. A check in every step would
            make the GPU wait for the CPU.
    """

    def __init__(self, every: int = 10) -> None:
        self._every = every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss every few steps and at the end of the epoch."""
        if batch_idx % self._every == 0 or trainer.is_last_batch:
            loss = trainer.strategy.reduce(outputs["loss"].detach().clone(), reduce_op="mean")
            self._check(trainer, float(loss), "loss")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the validation loss before it can count as the best."""
        value = trainer.callback_metrics.get("val/loss")
        if value is not None:
            self._check(trainer, float(value), "val/loss")

    @staticmethod
    def _check(trainer: L.Trainer, value: float, name: str) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"The {name} became {value} in epoch {trainer.current_epoch + 1} "
                f"(step {trainer.global_step}). "
                "Lower optimizer.lr, set trainer.gradient_clip_val=1.0, or use trainer.precision=32-true."
            )


class RandomState(L.Callback):
    """Save the states of the random generators of Python, NumPy and torch in the checkpoint.

    Lightning does not save them, so dropout would differ after resuming. The order of samples and the
    augmentation need no state: they are functions of (seed, epoch).
    """

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the states, as primitives that load with `weights_only=True`."""
        version, python, gauss = random.getstate()
        name, words, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
        checkpoint["random_state"] = {
            "python": [version, list(python), gauss],
            "numpy": [
                str(name),
                torch.from_numpy(np.array(words)),
                int(position),
                int(has_gauss),
                float(cached),
            ],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the states when a training is resumed."""
        state = checkpoint.get("random_state")
        if state is None:
            return
        version, python, gauss = state["python"]
        random.setstate((version, tuple(python), gauss))
        name, words, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, words.numpy(), position, has_gauss, cached))  # noqa: NPY002
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])


class PlateauMemory(L.Callback):
    """Let the plateau schedule of a resumed run count the epoch in which the checkpoint was written.

    Lightning writes the checkpoint before it passes that epoch's metric to the schedule, and resumes with the
    next epoch. Without this callback the patience would be one epoch longer.
    """

    def __init__(self) -> None:
        self._missed: list[float] = []

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the metric that each plateau schedule has not received yet."""
        checkpoint["plateau"] = [
            float(trainer.callback_metrics[schedule.monitor])
            for schedule in trainer.lr_scheduler_configs
            if schedule.reduce_on_plateau and schedule.monitor in trainer.callback_metrics
        ]

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Read the saved metrics."""
        self._missed = checkpoint.get("plateau", [])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pass the saved metrics to the schedules."""
        schedulers = [
            schedule.scheduler for schedule in trainer.lr_scheduler_configs if schedule.reduce_on_plateau
        ]
        for scheduler, value in zip(schedulers, self._missed, strict=False):
            scheduler.step(value)  # type: ignore[arg-type]  # a plateau schedule takes a metric
        self._missed = []


class BestCheckpoint(ModelCheckpoint):
    """Save the weights of the best epoch, including the epochs before resuming.

    A resumed training is a new run with a new folder. Lightning discards the best checkpoint of another
    folder, so the first epoch after resuming would always count as the best so far.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the best weights so far into the folder of this run.

        Raises:
            TrainingError: The file of the best weights does not exist.
        """
        best = Path(state_dict["best_model_path"])
        if best.name:  # empty if no epoch was validated
            if not best.is_file():
                raise TrainingError(
                    f"The best weights so far, {best}, are missing. Restore them, or train from the start."
                )
            assert self.dirpath is not None
            ours = Path(self.dirpath, best.name)
            put(ours, best.read_bytes())
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": str(ours),
                "kth_best_model_path": str(ours),
                "best_k_models": {str(ours): state_dict["best_model_score"]},
            }
        super().load_state_dict(state_dict)
