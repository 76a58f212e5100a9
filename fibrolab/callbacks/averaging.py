"""Average the weights over steps (EMA) or epochs (SWA), and validate and save the average."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fibrolab.allowed import BELOW_1
from fibrolab.choices import refuse, unknown

SETTINGS: dict[str, dict[str, float]] = {"none": {}, "ema": {"decay": 0.999}, "swa": {"start": 0.75}}


def build_averaging(settings: Mapping[str, Any], max_epochs: int | None) -> "Averaging | None":
    """Build the callback that averages weights as `settings['name']` says; None for ``none``.

    Args:
        settings: `name`, one of ``none``, ``ema`` (with `decay`) and ``swa`` (with `start`).
        max_epochs: Length of the run; `start` is a proportion of it.

    Raises:
        ConfigError: The name or a setting is unknown, a value is out of range, or the run has no fixed
            length.
    """
    given = dict(settings)
    name = given.pop("name", None)
    if name not in SETTINGS:
        refuse([unknown("averaging.name", name, SETTINGS)])
    faults = [unknown(f"averaging={name}", key, SETTINGS[name]) for key in given if key not in SETTINGS[name]]
    values = SETTINGS[name] | {key: value for key, value in given.items() if key in SETTINGS[name]}
    faults += [
        f"averaging.{key}={value} is not {BELOW_1.words}."
        for key, value in values.items()
        if not BELOW_1.holds(value)
    ]
    endless = not isinstance(max_epochs, int) or max_epochs < 1
    if name == "swa" and endless:
        faults.append(
            f"averaging=swa needs the length of the run, but trainer.max_epochs={max_epochs}: "
            "give a number from 1."
        )
    refuse(faults)
    if name == "ema":
        return ExponentialAverage(values["decay"])
    return EpochAverage(int(values["start"] * (max_epochs or 0))) if name == "swa" else None


class Averaging(WeightAveraging, ABC):
    """Maintain an average of the weights and batch-norm statistics beside the trained ones.

    From the validation of an epoch to the first batch of the next epoch the module holds the average, so
    that metrics, checkpoints and predictions use the average. Lightning's `EMAWeightAveraging` is not used
    for two reasons: it restores the trained weights before checkpoints are written, so a weights-only
    checkpoint would hold the trained weights; and its decay is constant. Before the first update, this
    callback has no effect.
    """

    def __init__(self) -> None:
        super().__init__(multi_avg_fn=self._average)
        self._holds_average = False

    @abstractmethod
    def decay(self, updates: int) -> float:
        """Return the weight of the old average in the next update, given the number of updates so far."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Place the average on the training device; its counter stays on the CPU, where it is read."""
        if stage == TrainerFn.FITTING:
            self._device = trainer.strategy.root_device  # Lightning moves the module there only later
            super().setup(trainer, pl_module, stage)
            assert self._average_model is not None
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the trained weights back into the module."""
        if self._holds_average:
            self._exchange(pl_module)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average into the module for validation, if it has been updated."""
        if self._updates and not self._holds_average:
            self._exchange(pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the average in the module for the checkpoints; the base class would remove it."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average into the module for the checkpoints of an epoch that was not validated."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._updates and not self._holds_average:
            self._exchange(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the average in the module after training."""
        if self._updates and not self._holds_average:
            self._exchange(pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Discard the trained weights; testing and prediction use the weights of a checkpoint."""
        self._average_model, self._holds_average = None, False

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the trained weights to a full checkpoint; its `state_dict` holds the average."""
        if self._updates:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
            if self._holds_average:  # Lightning took the average for the trained weights
                trained, average = checkpoint["state_dict"], checkpoint["current_model_state"]
                checkpoint |= {"state_dict": average, "current_model_state": trained}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore average and trained weights when training resumes; prediction needs only `state_dict`."""
        if self._average_model is not None and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @property
    def _updates(self) -> int:
        return 0 if self._average_model is None else int(self._average_model.n_averaged)

    def _exchange(self, pl_module: L.LightningModule) -> None:
        self._swap_models(pl_module)
        self._holds_average = not self._holds_average

    def _average(self, average: list[Tensor], trained: list[Tensor], _: Tensor | int) -> None:
        if average[0].is_floating_point():
            get_ema_multi_avg_fn(self.decay(self._updates))(average, trained, None)
        else:  # counters, such as batch norm's number of batches, are copied
            torch._foreach_copy_(average, trained)


class ExponentialAverage(Averaging):
    """After every step, w_avg <- d w_avg + (1 - d) w, with d = min(decay, (1 + n) / (10 + n)) at update n.

    The decay grows as in TensorFlow's ExponentialMovingAverage with `num_updates`, so that the initial
    weights do not dominate the average in the first epochs.

    Args:
        decay: Upper limit of d, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._decay = decay

    def decay(self, updates: int) -> float:
        """Return the decay, smaller in the first steps."""
        return min(self._decay, (1 + updates) / (10 + updates))


class EpochAverage(Averaging):
    """Mean of the weights at the ends of the last epochs, by Izmailov et al. (UAI 2018, Algorithm 1).

    Batch-norm statistics are averaged like the weights. The paper recomputes them in an extra pass over the
    training data, which would delay every validation. Of a run that is resumed with so many more epochs that
    the first averaged epoch is still to come, the earlier average is discarded.

    Args:
        first: First epoch that is averaged, counted from 0.
    """

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def decay(self, updates: int) -> float:
        """Return the decay that gives all epochs the same weight."""
        return updates / (updates + 1)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average, unless all its epochs come before the first one of this training."""
        if checkpoint["epoch"] >= self._first:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
        elif self._average_model is not None and "averaging_state" in checkpoint:
            pl_module.load_state_dict(checkpoint["current_model_state"])  # in place of the average

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the weights to the average after the last batch of an epoch, before validation."""
        if trainer.is_last_batch and trainer.current_epoch >= self._first:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
