"""The history of a training: one row per epoch."""

from pathlib import Path

import pandas as pd
import pytest
from small_classifier import loader, settings, trainer

from fibrolab import keys
from fibrolab.callbacks.history import History
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
