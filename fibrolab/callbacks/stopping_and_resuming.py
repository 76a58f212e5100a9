"""Callbacks that stop a diverged training, and that make a resumed training equal to an unbroken one."""

import io
import math
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from torch import distributed
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchmetrics import Metric

from fibrolab import keys
from fibrolab.errors import TrainingError

STATE = "training_state"  # entry of a checkpoint
CHECKED = 8  # steps between two exchanges of ranks on whether a checkpoint is due
STOPPING = ("SIGINT", "SIGTERM", "SIGUSR1")  # Ctrl-C, the end of a job, and Slurm's notice before it


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


class LastCheckpoint(Checkpoint):
    """Save the full state of the training after every epoch and every few minutes, and restore it.

    Lightning saves neither random generators, nor the means of an epoch's training metrics, nor whether the
    training was to stop, and passes the metric of an epoch to a plateau schedule only after the checkpoint of
    that epoch. All of these are saved here, so that a resumed training equals an uninterrupted one. The
    order of samples and the augmentation need no state: they are functions of (seed, epoch).

    A checkpoint within an epoch is saved only after a step of the optimizer, when no gradient is waiting. It
    is also saved on Ctrl-C, SIGTERM and SIGUSR1, by which Slurm announces the end of a job; the training then
    ends with a KeyboardInterrupt. A second signal has the effect that it had before the training. On one of
    several ranks it has none: a launcher signals the rank and its parent, which signals the rank again.

    Args:
        dirpath: Folder of the checkpoint.
        every_minutes: Time between two checkpoints within an epoch.
    """

    def __init__(self, dirpath: Path, every_minutes: float = 10.0) -> None:
        self._path = Path(dirpath, keys.LAST)
        self._seconds = 60 * every_minutes
        self._saved = time.monotonic()
        self._steps = 0  # of the optimizer, before this batch
        self._asked_to_stop = self._of_several = False
        self._handlers: dict[int, Any] = {}  # of signals, before the training
        self._state: dict[str, Any] | None = None  # read, to be restored when training starts

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the state of a resumed training, and take the signals that stop it."""
        if self._state is not None:
            _restore(self._state, trainer, pl_module)
            self._state = None
        self._saved, self._asked_to_stop = time.monotonic(), False
        self._of_several = trainer.world_size > 1
        if threading.current_thread() is threading.main_thread():
            for name in STOPPING:
                number = getattr(signal, name, None)  # Windows has no SIGUSR1
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, frame: Any) -> None:
        if not self._of_several:
            self._return_signals()  # a second signal ends the training at once
        self._asked_to_stop = True

    def _return_signals(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self._return_signals()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._return_signals()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the steps of the optimizer."""
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint if it is due; that of the last batch follows after validation.

        None is saved right before a validation, which Lightning 2.6 would leave out when it resumes there.
        """
        if trainer.global_step == self._steps or trainer.is_last_batch or _is_validated_next(trainer):
            return
        if trainer.world_size > 1 and trainer.global_step % CHECKED:
            return
        stops = _any_rank(trainer, self._asked_to_stop)
        if stops or _any_rank(trainer, time.monotonic() - self._saved >= self._seconds):
            self._save(trainer, stops)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save a checkpoint after every epoch."""
        trainer.fit_loop.restarting = False  # otherwise a resumed epoch would not step a plateau schedule
        self._save(trainer, _any_rank(trainer, self._asked_to_stop))

    def _save(self, trainer: L.Trainer, stops: bool) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # which keeps no checkpoint
            trainer.save_checkpoint(self._path)
        self._saved = time.monotonic()
        if stops:
            if self._of_several and self._handlers.pop(signal.SIGTERM, None) is not None:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a rank is told so again while it still writes
            raise KeyboardInterrupt

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state, as primitives that load with `weights_only=True`."""
        metrics = trainer.callback_metrics
        within = is_within_epoch(trainer)
        missed = (
            []
            if within
            else [each.monitor for each in trainer.lr_scheduler_configs if each.reduce_on_plateau]
        )
        own = {"random": random_state(), "metrics": _metric_states(pl_module) if within else {}}
        checkpoint[STATE] = {
            "within_epoch": within,
            "ranks": _of_all_ranks(own),
            "metrics": {name: value.detach().cpu() for name, value in metrics.items()},
            "plateau": [float(metrics[name]) for name in missed if name in metrics],
            "stopped": trainer.should_stop,
            "max_epochs": trainer.max_epochs,
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Read the state; early stopping keeps its present patience, which may have been changed.

        The random generators are restored here for a new epoch, whose loader may draw a number before
        `on_train_start`, and there again for the rest of an epoch, whose loader has drawn it already.
        """
        self._state = checkpoint.get(STATE)
        if self._state is not None:
            _set_random_state_of_rank(self._state, trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping):
                saved = checkpoint["callbacks"].get(callback.state_key, {})
                if self._state is not None and saved.get("patience", math.inf) < callback.patience:
                    self._state["stopped"] = False
                saved["patience"] = callback.patience


def is_within_epoch(trainer: L.Trainer) -> bool:
    """Return whether batches of the current epoch are still to come."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return bool(progress.processed == progress.completed)


def _is_validated_next(trainer: L.Trainer) -> bool:
    """Return whether a validation follows this batch, where validations are counted in iterations."""
    done = trainer.fit_loop.total_batch_idx + 1
    return trainer.check_val_every_n_epoch is None and done % (trainer.val_check_batch or 1) == 0


def _any_rank(trainer: L.Trainer, value: bool) -> bool:
    return bool(trainer.strategy.reduce_boolean_decision(value, all=False))


def _restore(state: dict[str, Any], trainer: L.Trainer, pl_module: L.LightningModule) -> None:
    """Restore the state that `LastCheckpoint` saved."""
    trainer.callback_metrics.update(state["metrics"])
    trainer.should_stop = state["stopped"]
    plateaus = [each.scheduler for each in trainer.lr_scheduler_configs if each.reduce_on_plateau]
    for schedule, value in zip(plateaus, state["plateau"], strict=False):
        schedule.step(value)
    _change_length(trainer, (trainer.max_epochs or 0) - (state["max_epochs"] or 0))
    if state["within_epoch"]:
        parts: list[Any] = [*trainer.callbacks, pl_module]  # type: ignore[attr-defined]
        for part in parts:  # Lightning does not call this hook when it resumes within an epoch
            part.on_train_epoch_start(*[] if part is pl_module else [trainer, pl_module])
        _set_metric_states(pl_module, _metric_states_of_rank(state, trainer, pl_module))
        _set_random_state_of_rank(state, trainer)


def _change_length(trainer: L.Trainer, added: int) -> None:
    """Let cosine schedules end with the training, if that was made longer or shorter by epochs."""
    for each in trainer.lr_scheduler_configs:
        warmed: Any = each.scheduler
        for schedule in getattr(warmed, "_schedulers", [warmed]) if added else []:
            if not isinstance(schedule, CosineAnnealingLR) or each.interval != "epoch":
                continue
            schedule.T_max += added
            if warmed is not schedule and warmed.last_epoch < warmed._milestones[0]:
                continue  # it has not started
            share = (1 + math.cos(math.pi * schedule.last_epoch / schedule.T_max)) / 2
            for group, base in zip(schedule.optimizer.param_groups, schedule.base_lrs, strict=True):
                group["lr"] = schedule.eta_min + (base - schedule.eta_min) * share


def _metric_states(pl_module: L.LightningModule) -> dict[str, dict[str, Any]]:
    """Return the states of the metrics of a module that have been updated in this epoch."""
    metrics = {name: part for name, part in pl_module.named_modules() if isinstance(part, Metric)}
    return {name: dict(metric.metric_state) for name, metric in metrics.items() if metric.update_called}


def _set_metric_states(pl_module: L.LightningModule, states: dict[str, dict[str, Any]]) -> None:
    modules = dict(pl_module.named_modules())
    for name, state in states.items():
        metric = modules[name]
        for key, value in state.items():
            setattr(metric, key, L.fabric.utilities.move_data_to_device(value, pl_module.device))


def _of_all_ranks(own: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the state of every rank; each rank has to call this."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [own]
    written = io.BytesIO()
    torch.save(own, written)  # bytes, because `all_gather_object` cannot read tensors back (torch 2.14)
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, written.getvalue())
    return [torch.load(io.BytesIO(state), weights_only=True) for state in states]


def _set_random_state_of_rank(state: dict[str, Any], trainer: L.Trainer) -> None:
    """Restore the generators of this rank; one that the interrupted training lacked keeps those of its seed.

    Generators of another rank would give both the same dropout masks.
    """
    if trainer.global_rank < len(state["ranks"]):
        set_random_state(state["ranks"][trainer.global_rank]["random"])


def _metric_states_of_rank(
    state: dict[str, Any], trainer: L.Trainer, pl_module: L.LightningModule
) -> dict[str, dict[str, Any]]:
    """Return the states of this rank's metrics; if the number of ranks has changed, rank zero has all."""
    ranks: list[dict[str, dict[str, Any]]] = [each["metrics"] for each in state["ranks"]]
    if len(ranks) == trainer.world_size:
        return ranks[trainer.global_rank]
    if trainer.global_rank > 0:
        return {}
    modules: dict[str, Any] = dict(pl_module.named_modules())
    names = dict.fromkeys(name for each in ranks for name in each)
    return {name: _joined(modules[name], [each[name] for each in ranks if name in each]) for name in names}


def _joined(metric: Metric, states: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one state of a metric from those of several ranks, as the metric itself would gather them."""
    joined: dict[str, Any] = {}
    for key, first in states[0].items():
        values, reduce = [state[key] for state in states], metric._reductions[key]
        if isinstance(first, list):
            joined[key] = [part for value in values for part in value]
        else:
            joined[key] = first if reduce is None else reduce(torch.stack(values))  # type: ignore[operator]
    return joined


def random_state() -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy and torch, the latter of this rank's device."""
    version, python, gauss = random.getstate()
    name, words, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(python), gauss],
        "numpy": [str(name), torch.from_numpy(np.array(words)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the states of the generators."""
    version, python, gauss = state["python"]
    random.setstate((version, tuple(python), gauss))
    name, words, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, words.cpu().numpy(), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"].cpu())


class BestCheckpoint(ModelCheckpoint):
    """Save the weights of the best epoch, including the epochs before resuming.

    Lightning discards the best checkpoint of another folder, and a run resumed on another machine has one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best weights so far from the folder of this run.

        Raises:
            TrainingError: The file of the best weights does not exist.
        """
        name = Path(state_dict["best_model_path"]).name
        if name:  # empty if no epoch was validated
            assert self.dirpath is not None
            best = Path(self.dirpath, name)
            if not best.is_file():
                raise TrainingError(
                    f"The best weights so far, {best}, are missing. Restore them, or train from the start."
                )
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": str(best),
                "kth_best_model_path": str(best),
                "best_k_models": {str(best): state_dict["best_model_score"]},
            }
        super().load_state_dict(state_dict)
