"""The history of a training: one row per epoch."""

from pathlib import Path

import lightning as L
import pandas as pd
import pytest
from small_classifier import loader, settings, trainer

from fibrolab import keys
from fibrolab.callbacks.history import History
from fibrolab.callbacks.stopping_and_resuming import BestCheckpoint, LastCheckpoint
from fibrolab.modules.classifiers import SingleClassifier


def test_history_has_a_complete_row_per_epoch(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainer(tmp_path, History(tmp_path, announce=True), epochs=3).fit(
        SingleClassifier(**settings()), loader(), loader()
    )
    history = pd.read_csv(tmp_path / keys.HISTORY_FILE)
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["step"].tolist() == [2, 4, 6]
    assert {"train/loss", "train/lr", "val/loss", "val/accuracy", "val/qwk"} <= set(history)
    assert not history.isna().any().any()
    assert "epoch 3/3" in capsys.readouterr().out


@pytest.mark.parametrize("stopped", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_each_validation_counted_in_iterations_has_one_row_also_after_a_resume(
    stopped: int | None, tmp_path: Path
) -> None:
    """Three epochs of three batches, validated after every second one; stopped after one of them."""

    def fit(*callbacks: L.Callback, start: Path | None = None) -> None:
        training = trainer(
            tmp_path,
            History(tmp_path, announce=False),
            BestCheckpoint(tmp_path, "best", monitor="val/loss", save_weights_only=True),
            LastCheckpoint(tmp_path, every_minutes=0),
            *callbacks,
            epochs=3,
            val_check_interval=2,
            check_val_every_n_epoch=None,
        )
        L.seed_everything(0, verbose=False)
        training.fit(SingleClassifier(**settings()), loader(30), loader(), ckpt_path=start)

    def stop(training: L.Trainer, module: L.LightningModule, *_: object) -> None:
        if training.global_step == stopped:
            raise RuntimeError("stopped")

    if stopped is None:
        fit()
    else:
        with pytest.raises(RuntimeError, match="stopped"):
            fit(L.pytorch.callbacks.LambdaCallback(on_train_batch_start=stop))
        fit(start=tmp_path / "last.ckpt")
    history = pd.read_csv(tmp_path / keys.HISTORY_FILE)
    validated, trained = history[history["val/loss"].notna()], history[history["train/loss"].notna()]
    assert validated["step"].tolist() == [2, 4, 6, 8]
    assert validated["epoch"].tolist() == [0, 1, 1, 2]
    assert validated["val/loss"].is_unique
    assert trained["step"].tolist() == [3, 6, 9]
    assert trained["epoch"].tolist() == [0, 1, 2]
    assert len(history) == 7
    assert (tmp_path / "best.ckpt").is_file()
