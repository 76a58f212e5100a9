"""Validation every few iterations instead of after every epoch."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from compose import composed, prepared
from drawn import unreported

from fibrolab import keys, pipeline
from fibrolab.errors import ConfigError
from fibrolab.runs import open_run
from fibrolab.runs.trained_run import best_epoch
from fibrolab.training import fitting

WORDS = [
    "trainer.val_check_interval=4", "trainer.max_epochs=2", "batch_size=16", "num_workers=0",
    "bootstrap.resamples=20", "trainer.accelerator=cpu", "data.patients=60", "data.images_per_patient=2",
    "data.size=32",
]  # fmt: skip


def test_the_best_validation_is_kept_and_each_has_a_row(
    tmp_path: Path, fresh_database: Path, cache: Path
) -> None:
    root = prepared(tmp_path, fresh_database, cache)
    with unreported():
        trained = pipeline.train(composed(f"paths.root={root}", *WORDS))
    run = open_run(trained.id, f"sqlite:///{root}/mlruns/mlflow.db")
    last = int(run.history["step"].max())
    validated = run.history[run.history["val/loss"].notna()]
    assert validated["step"].tolist() == list(range(4, last + 1, 4))
    assert run.history["train/loss"].notna().sum() == 2
    best = best_epoch(run.history, "val/loss", "min")
    assert best is not None
    assert trained.best == pytest.approx(best["val/loss"], rel=1e-5)
    assert (run.folder / keys.CHECKPOINTS / keys.BEST).is_file()


def test_an_interval_longer_than_the_training_is_refused() -> None:
    batches = SimpleNamespace(train_dataloader=lambda: range(6))
    fitting.check_validated(composed("trainer.val_check_interval=12", "trainer.max_epochs=2"), batches)
    with pytest.raises(ConfigError, match="the training ends after 12 iterations, before its first valid"):
        fitting.check_validated(composed("trainer.val_check_interval=13", "trainer.max_epochs=2"), batches)
