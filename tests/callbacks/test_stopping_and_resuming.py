"""Callbacks that stop a diverged training, and that make a resumed one equal to an unbroken one."""

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from small_classifier import loader, settings, trainer

from fibrolab.callbacks.stopping_and_resuming import BestCheckpoint, FiniteLoss, PlateauMemory, RandomState
from fibrolab.errors import TrainingError
from fibrolab.modules.classifiers import SingleClassifier


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    module = SingleClassifier(**settings(optimizer={"name": "SGD", "lr": 1e30}))
    with pytest.raises(TrainingError, match=r"optimizer.lr"):
        trainer(tmp_path, FiniteLoss(every=1), epochs=5).fit(module, loader(), loader())


def test_random_state_survives_a_checkpoint() -> None:
    import random

    callback, checkpoint = RandomState(), {}
    draws = lambda: (random.random(), float(np.random.rand()), float(torch.rand(())))  # noqa: E731, NPY002
    callback.on_save_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    first = draws()
    assert draws() != first
    callback.on_load_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    assert draws() == first


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_resumed_plateau_reduces_the_rate_in_the_same_epoch(last: int, tmp_path: Path) -> None:
    plateau = {"name": "plateau", "factor": 0.5, "patience": 1, "threshold": 0.9}  # never improved by so much

    def rates(epochs: int, start: Path | None = None) -> list[float]:
        seen: list[float] = []
        watch = L.pytorch.callbacks.LambdaCallback(
            on_train_epoch_start=lambda trainer, _: seen.append(trainer.optimizers[0].param_groups[0]["lr"])
        )
        module = SingleClassifier(**settings(scheduler=plateau))
        fit = trainer(tmp_path, watch, PlateauMemory(), epochs=epochs)
        fit.fit(module, loader(), loader(), ckpt_path=start)
        return seen

    def until(epoch: int) -> Path:
        keep = L.pytorch.callbacks.ModelCheckpoint(tmp_path, "last", enable_version_counter=False)
        module = SingleClassifier(**settings(scheduler=plateau))
        fit = trainer(tmp_path, PlateauMemory(), keep, epochs=epoch + 1)
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
    last = L.pytorch.callbacks.ModelCheckpoint(folder, "last", enable_version_counter=False)
    fit = trainer(folder, score, best, last, epochs=epochs)
    fit.fit(SingleClassifier(**settings()), loader(), loader(), ckpt_path=start)
    return best


def test_a_resumed_training_keeps_the_best_weights_of_another_folder(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    fitted_with_falling_score(before, epochs=1)
    kept = (before / "best.ckpt").read_bytes()
    best = fitted_with_falling_score(after, epochs=3, start=before / "last.ckpt")
    assert best.best_model_score == 0
    assert best.best_model_path == str(after / "best.ckpt")
    assert (after / "best.ckpt").read_bytes() == (before / "best.ckpt").read_bytes() == kept


def test_a_resumed_training_refuses_missing_best_weights(tmp_path: Path) -> None:
    fitted_with_falling_score(tmp_path / "before", epochs=1)
    (tmp_path / "before" / "best.ckpt").unlink()
    with pytest.raises(TrainingError, match=r"best\.ckpt, are missing"):
        fitted_with_falling_score(tmp_path / "after", epochs=2, start=tmp_path / "before" / "last.ckpt")
