"""Stops a training that has gone wrong, and lets a resumed one go on as if it had not stopped."""

import math
import random
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from fibrolab.errors import TrainingError


class FiniteLoss(L.Callback):
    """Ends the run when the loss is NaN or infinite.

    Args:
        every: Steps between two looks, beside the one at the end of each epoch: a look at every step would
            make a GPU wait for the host.
    """

    def __init__(self, every: int = 10) -> None:
        self._every = every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look now and then."""
        if batch_idx % self._every == 0 or trainer.is_last_batch:
            self._check(trainer, float(outputs["loss"]), "loss")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the validation loss, before it can be taken for the best."""
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
    """Keeps the states of Python's, NumPy's and torch's generators in the checkpoint.

    Lightning saves none of them; dropout would otherwise differ after a resume. Order and augmentation
    need no state: they are functions of (seed, epoch).
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
        """Set them back, when the checkpoint resumes a training."""
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
    """Lets a plateau schedule of a resumed run count the epoch after which the checkpoint was written.

    Lightning writes the checkpoint before the schedule has seen that epoch's metric, and goes on with the
    next epoch: the patience would then be one longer.
    """

    def __init__(self) -> None:
        self._missed: list[float] = []

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the metric that each plateau schedule is about to see."""
        checkpoint["plateau"] = [
            float(trainer.callback_metrics[schedule.monitor])
            for schedule in trainer.lr_scheduler_configs
            if schedule.reduce_on_plateau and schedule.monitor in trainer.callback_metrics
        ]

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember it."""
        self._missed = checkpoint.get("plateau", [])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show it to the schedules."""
        waiting = [
            schedule.scheduler for schedule in trainer.lr_scheduler_configs if schedule.reduce_on_plateau
        ]
        for scheduler, value in zip(waiting, self._missed, strict=False):
            scheduler.step(value)  # type: ignore[arg-type]  # a metric, for this kind
        self._missed = []


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights of the best epoch, also of those before a resume.

    A resumed training is a run of its own with a folder of its own, and Lightning would forget what was the
    best in another folder: the first epoch after the resume would then be the best so far, however bad.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Bring the best weights along.

        Raises:
            TrainingError: They are gone.
        """
        best = Path(state_dict["best_model_path"])
        if best.name:  # there is none where nothing was validated
            if not best.is_file():
                raise TrainingError(
                    f"The best weights so far, {best}, are gone. Bring them back, or train from the start."
                )
            assert self.dirpath is not None
            ours = Path(self.dirpath, best.name)
            ours.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(best, ours)
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": str(ours),
                "kth_best_model_path": str(ours),
                "best_k_models": {str(ours): state_dict["best_model_score"]},
            }
        super().load_state_dict(state_dict)
