"""Callbacks that stop a diverged training, and that make a resumed one equal to an unbroken one."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from small_classifier import loader, settings, trainer

from fibrolab.callbacks import stopping_and_resuming
from fibrolab.callbacks.stopping_and_resuming import (
    STATE,
    BestCheckpoint,
    FiniteLoss,
    LastCheckpoint,
    random_state,
    set_random_state,
)
from fibrolab.errors import TrainingError
from fibrolab.modules.classifiers import SingleClassifier


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    module = SingleClassifier(**settings(optimizer={"name": "SGD", "lr": 1e30}))
    with pytest.raises(TrainingError, match=r"optimizer.lr"):
        trainer(tmp_path, FiniteLoss(every=1), epochs=5).fit(module, loader(), loader())


def test_random_state_survives_a_checkpoint() -> None:
    draws = lambda: (random.random(), float(np.random.rand()), float(torch.rand(())))  # noqa: E731, NPY002
    state = random_state()
    first = draws()
    assert draws() != first
    set_random_state(state)
    assert draws() == first


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4), (2, 2)])
def test_another_number_of_ranks_counts_each_sample_of_the_epoch_once(before: int, after: int) -> None:
    losses = torch.tensor([[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]])[:before]

    def module() -> SingleClassifier:
        return SingleClassifier(**settings())

    ranks = []
    for own in losses:
        (trained := module()).train_metrics["loss"].update(own)
        ranks.append({"metrics": stopping_and_resuming._metric_states(trained)})
    total = weight = 0.0
    for rank in range(after):
        place = SimpleNamespace(global_rank=rank, world_size=after)
        found = stopping_and_resuming._metric_states_of_rank({"ranks": ranks}, place, resumed := module())
        stopping_and_resuming._set_metric_states(resumed, found)
        total += float(resumed.train_metrics["loss"].mean_value)
        weight += float(resumed.train_metrics["loss"].weight)
    assert (total, weight) == (losses.sum(), losses.numel())


def test_a_rank_that_the_interrupted_training_lacked_draws_numbers_of_its_own() -> None:
    torch.manual_seed(1)
    state = {"ranks": [{"random": random_state()}]}
    drawn = []
    for rank in range(3):
        torch.manual_seed(100 + rank)
        place = SimpleNamespace(global_rank=rank, world_size=3)
        stopping_and_resuming._set_random_state_of_rank(state, place)
        drawn.append(float(torch.rand(())))
    assert drawn[0] == float(torch.rand((), generator=torch.Generator().manual_seed(1)))
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_resumed_plateau_reduces_the_rate_in_the_same_epoch(last: int, tmp_path: Path) -> None:
    plateau = {"name": "plateau", "factor": 0.5, "patience": 1, "threshold": 0.9}  # never improved by so much

    def rates(epochs: int, start: Path | None = None) -> list[float]:
        seen: list[float] = []
        watch = L.pytorch.callbacks.LambdaCallback(
            on_train_epoch_start=lambda trainer, _: seen.append(trainer.optimizers[0].param_groups[0]["lr"])
        )
        module = SingleClassifier(**settings(scheduler=plateau))
        fit = trainer(tmp_path, watch, LastCheckpoint(tmp_path), epochs=epochs)
        fit.fit(module, loader(), loader(), ckpt_path=start)
        return seen

    def until(epoch: int) -> Path:
        module = SingleClassifier(**settings(scheduler=plateau))
        fit = trainer(tmp_path, LastCheckpoint(tmp_path), epochs=epoch + 1)
        fit.fit(module, loader(), loader())
        return tmp_path / "last.ckpt"

    L.seed_everything(0, verbose=False)
    whole = rates(7)
    assert len(set(whole)) > 2
    L.seed_everything(0, verbose=False)
    assert rates(7, until(last)) == whole[last + 1 :]


def fitted_with_falling_score(folder: Path, epochs: int, start: Path | None = None) -> BestCheckpoint:
    """Train with a score that is best in the first epoch; save the best and the last epoch."""
    score = L.pytorch.callbacks.LambdaCallback(
        on_validation_epoch_end=lambda trainer, module: module.log("score", -float(trainer.current_epoch))
    )
    best = BestCheckpoint(folder, "best", "score", mode="max", save_weights_only=True)
    fit = trainer(folder, score, best, LastCheckpoint(folder), epochs=epochs)
    fit.fit(SingleClassifier(**settings()), loader(), loader(), ckpt_path=start)
    return best


def test_a_training_resumed_in_another_folder_keeps_its_best_weights(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    fitted_with_falling_score(before, epochs=1)
    kept = (before / "best.ckpt").read_bytes()
    before.rename(after)
    best = fitted_with_falling_score(after, epochs=3, start=after / "last.ckpt")
    assert best.best_model_score == 0
    assert best.best_model_path == str(after / "best.ckpt")
    assert (after / "best.ckpt").read_bytes() == kept


def test_a_resumed_training_refuses_missing_best_weights(tmp_path: Path) -> None:
    fitted_with_falling_score(tmp_path / "before", epochs=1)
    (tmp_path / "before" / "best.ckpt").unlink()
    with pytest.raises(TrainingError, match=r"best\.ckpt, are missing"):
        fitted_with_falling_score(tmp_path / "before", epochs=2, start=tmp_path / "before" / "last.ckpt")


def at_batch(batch: int, act: Callable[[], None]) -> L.Callback:
    """Return a callback that acts before a batch of the first epoch, counted from 0."""

    def start(trainer: L.Trainer, module: L.LightningModule, _: object, batch_idx: int) -> None:
        if batch_idx == batch and trainer.current_epoch == 0:
            act()

    return L.pytorch.callbacks.LambdaCallback(on_train_batch_start=start)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_training_after_the_next_step_of_the_optimizer(
    number: signal.Signals, tmp_path: Path
) -> None:
    ask = at_batch(2, lambda: os.kill(os.getpid(), number))
    fit = trainer(tmp_path, ask, LastCheckpoint(tmp_path), epochs=2)
    fit.accumulate_grad_batches = 2
    before = signal.getsignal(number)
    with pytest.raises(SystemExit):  # Lightning's answer to a KeyboardInterrupt
        fit.fit(SingleClassifier(**settings()), loader(60), loader())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] == 4
    assert saved[STATE]["within_epoch"]
    assert (
        number == signal.SIGINT or signal.getsignal(number) == before
    )  # Lightning ignores Ctrl-C at its end
    signal.signal(number, before)


def test_a_second_signal_ends_the_training_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    fit = trainer(tmp_path, at_batch(1, twice), LastCheckpoint(tmp_path))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        fit.fit(SingleClassifier(**settings()), loader(), loader())
    signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "last.ckpt").exists()


def test_one_of_several_ranks_that_saves_a_checkpoint_is_not_ended_by_being_told_again(
    tmp_path: Path,
) -> None:
    saved: list[Path] = []
    rank: Any = SimpleNamespace(world_size=2, fast_dev_run=False, save_checkpoint=saved.append)
    module: Any = None
    before = signal.getsignal(signal.SIGTERM)
    callback = LastCheckpoint(tmp_path)
    try:
        callback.on_train_start(rank, module)
        for _ in range(2):  # from the launcher, and from the parent, which the launcher signals too
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as stop:
            callback._save(rank, callback._asked_to_stop)
        callback.on_exception(rank, module, stop.value)
        os.kill(os.getpid(), signal.SIGTERM)  # while a thread still writes the checkpoint
    finally:
        signal.signal(signal.SIGTERM, before)
    assert saved == [tmp_path / "last.ckpt"]


def test_a_cosine_schedule_ends_with_a_training_that_was_made_longer(tmp_path: Path) -> None:
    def rates(epochs: int, warmup: int, start: Path | None = None) -> list[float]:
        seen: list[float] = []
        watch = L.pytorch.callbacks.LambdaCallback(
            on_train_epoch_start=lambda trainer, _: seen.append(trainer.optimizers[0].param_groups[0]["lr"])
        )
        module = SingleClassifier(**settings(scheduler={"name": "cosine", "warmup_epochs": warmup}))
        fit = trainer(tmp_path, watch, LastCheckpoint(tmp_path), epochs=epochs)
        fit.fit(module, loader(), loader(), ckpt_path=start)
        return seen

    for warmup, done in ((0, 3), (1, 3), (2, 3)):
        whole = rates(6, warmup)
        rates(done, warmup)
        assert rates(6, warmup, tmp_path / "last.ckpt") == pytest.approx(whole[done:])


def test_a_training_that_stopped_early_goes_on_only_with_more_patience(tmp_path: Path) -> None:
    def epochs(patience: int, start: Path | None = None) -> int:
        stop = L.pytorch.callbacks.EarlyStopping("val/loss", patience=patience, min_delta=9)
        fit = trainer(tmp_path, stop, LastCheckpoint(tmp_path), epochs=6)
        fit.fit(SingleClassifier(**settings()), loader(), loader(), ckpt_path=start)
        return fit.current_epoch

    last = tmp_path / "last.ckpt"
    assert epochs(1) == 2  # the first, and one that was not better by 9
    assert epochs(1, last) == 2
    assert epochs(3, last) == 4
