"""The Lightning modules and what surrounds their training loop."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCalibrationError

from fibrolab import keys
from fibrolab.callbacks.guards import BestCheckpoint, FiniteLoss, PlateauMemory, RandomState
from fibrolab.callbacks.history import History
from fibrolab.callbacks.prediction_writer import PredictionWriter
from fibrolab.errors import ConfigError, TrainingError
from fibrolab.evaluation import predictions
from fibrolab.modules.classifiers import HybridClassifier, SingleClassifier

CLASSES = ["F0", "F1", "F2", "F3", "F4"]


def settings(**changes: object) -> dict:
    given: dict = {
        "branches": {"image": {"name": "test_resnet"}},
        "head": {},
        "classes": CLASSES,
        "class_counts": [4, 4, 4, 4, 4],
        "image_size": 32,
        "loss": {"name": "cross_entropy"},
        "optimizer": {"name": "SGD", "lr": 0.01},
        "scheduler": {"name": "constant"},
    }
    return given | changes


def loader(num_samples: int = 20, batch_size: int = 10) -> DataLoader:
    rng = np.random.default_rng(0)
    labels = np.arange(num_samples) % 5
    images = (rng.integers(0, 60, (num_samples, 1, 32, 32)) + 45 * labels[:, None, None, None]).astype(
        np.uint8
    )
    rows = [
        {keys.IMAGE: torch.from_numpy(image), keys.LABEL: int(label), keys.INDEX: row}
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    return DataLoader(rows, batch_size=batch_size)  # type: ignore[arg-type]


def trainer(root: Path, *callbacks: L.Callback, epochs: int = 1) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=root,
        logger=False,
        enable_checkpointing=any(isinstance(c, L.pytorch.callbacks.ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def test_a_module_learns_what_can_be_learnt(tmp_path: Path) -> None:
    L.seed_everything(0, verbose=False)
    module = SingleClassifier(**settings(optimizer={"name": "Adam", "lr": 0.01}))
    fit = trainer(tmp_path, epochs=30)
    fit.fit(module, loader(), loader())
    assert float(fit.callback_metrics["train/loss"]) < 0.1
    assert float(fit.callback_metrics["val/accuracy"]) == 1.0


def test_gradients_reach_what_trains_and_nothing_else(tmp_path: Path) -> None:
    branches = {"a": {"name": "test_resnet", "freeze": "all"}, "b": {"name": "test_resnet"}}
    module = HybridClassifier(**settings(branches=branches))
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    trainer(tmp_path).fit(module, loader(), loader())
    moved = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert not any("branches.a." in name for name in moved)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert any("branches.b." in name for name in moved)
    assert moved <= trained


def test_the_same_seed_trains_the_same_network(tmp_path: Path) -> None:
    states = []
    for _ in range(2):
        L.seed_everything(3, verbose=False)
        module = SingleClassifier(**settings(head={"dropout": 0.5}))
        trainer(tmp_path).fit(module, loader(), loader())
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_class_weights_come_from_the_training_counts() -> None:
    loss = {"name": "cross_entropy", "class_weights": "balanced"}
    module = SingleClassifier(**settings(loss=loss, class_counts=[10, 20, 30, 20, 20]))
    assert module.criterion.weight.tolist() == pytest.approx([2.0, 1.0, 2 / 3, 1.0, 1.0])


def test_a_network_with_nothing_left_to_train_is_refused(tmp_path: Path) -> None:
    module = SingleClassifier(**settings())
    module.requires_grad_(False)
    with pytest.raises(ConfigError, match="Nothing is left to train"):
        trainer(tmp_path).fit(module, loader(), loader())


def test_every_monitored_metric_is_logged(tmp_path: Path) -> None:
    module = SingleClassifier(**settings())
    fit = trainer(tmp_path)
    fit.fit(module, loader(), loader())
    assert set(module.monitors) <= set(fit.callback_metrics)


class Variant(SingleClassifier):
    """Overrides a hook, and has an argument of its own."""

    def __init__(self, *, bins: int = 10, **settings: Any) -> None:
        super().__init__(**settings)

    def build_metrics(self) -> dict[str, Metric]:
        bins = self.hparams["bins"]
        return super().build_metrics() | {"ece": MulticlassCalibrationError(len(CLASSES), n_bins=bins)}


def test_the_better_end_of_a_metric_is_its_own() -> None:
    assert SingleClassifier(**settings(ordered=False)).monitors == {
        "train/loss": "min",
        "val/loss": "min",
        "val/accuracy": "max",
    }
    assert Variant(**settings()).monitors["val/ece"] == "min"
    assert Variant(**settings()).monitors["val/qwk"] == "max"


def test_a_checkpoint_of_a_variant_holds_its_own_argument_and_no_code(tmp_path: Path) -> None:
    module = Variant(**settings(bins=7))
    fit = trainer(tmp_path)
    fit.fit(module, loader(), loader())
    assert set(module.monitors) <= set(fit.callback_metrics)
    fit.save_checkpoint(tmp_path / "variant.ckpt")
    again = Variant.load_from_checkpoint(tmp_path / "variant.ckpt", weights_only=True)
    assert again.hparams["bins"] == again.val_metrics["ece"].n_bins == 7
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in module.state_dict().items())


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    module = SingleClassifier(**settings(optimizer={"name": "SGD", "lr": 1e30}))
    with pytest.raises(TrainingError, match=r"optimizer.lr"):
        trainer(tmp_path, FiniteLoss(every=1), epochs=5).fit(module, loader(), loader())


def test_history_has_a_row_an_epoch_and_is_whole_after_each(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    trainer(tmp_path, History(tmp_path, announce=True), epochs=3).fit(
        SingleClassifier(**settings()), loader(), loader()
    )
    history = pd.read_csv(tmp_path / keys.HISTORY_FILE)
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["step"].tolist() == [2, 4, 6]
    assert {"train/loss", "train/lr", "val/loss", "val/accuracy", "val/qwk"} <= set(history)
    assert not history.isna().any().any()
    assert "epoch 3/3" in capsys.readouterr().out


def test_random_state_survives_a_checkpoint() -> None:
    import random

    callback, checkpoint = RandomState(), {}
    draws = lambda: (random.random(), float(np.random.rand()), float(torch.rand(())))  # noqa: E731, NPY002
    callback.on_save_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    first = draws()
    assert draws() != first
    callback.on_load_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    assert draws() == first


def test_predictions_hold_every_sample_of_both_partitions_once(tmp_path: Path) -> None:
    samples = pd.DataFrame({column: [f"{column}{i:02}" for i in range(20)] for column in (
        keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE)})  # fmt: skip
    labels = np.arange(20) % 5
    path = tmp_path / keys.PREDICTIONS_FILE
    writer = PredictionWriter(path, samples, labels, 3, (keys.VALIDATION, keys.TEST))
    module = SingleClassifier(**settings())
    trainer(tmp_path, writer).predict(module, [loader(), loader()], return_predictions=False)
    written = predictions.read(path)
    assert written.groupby(keys.PARTITION)[keys.SAMPLE_ID].nunique().to_dict() == {
        "validation": 20,
        "test": 20,
    }
    assert (written[keys.FOLD] == 3).all()
    test = predictions.select(written, keys.TEST)
    assert test[keys.Y_TRUE].tolist() == labels.tolist()
    with torch.no_grad():
        module.eval()
        expected = torch.cat([module(batch).softmax(1) for batch in loader()])
    assert predictions.probabilities(test) == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_resumed_plateau_falls_in_the_epoch_in_which_it_would_have_fallen(
    last: int, tmp_path: Path
) -> None:
    plateau = {"name": "plateau", "factor": 0.5, "patience": 1, "threshold": 0.9}  # nothing improves so much

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


def fitted_ever_worse(folder: Path, epochs: int, start: Path | None = None) -> BestCheckpoint:
    """Train so that the first epoch is the best, and keep the best and the last in a folder."""
    score = L.pytorch.callbacks.LambdaCallback(
        on_validation_epoch_end=lambda trainer, module: module.log("score", -float(trainer.current_epoch))
    )
    best = BestCheckpoint(folder, "best", "score", mode="max", save_weights_only=True)
    last = L.pytorch.callbacks.ModelCheckpoint(folder, "last", enable_version_counter=False)
    fit = trainer(folder, score, best, last, epochs=epochs)
    fit.fit(SingleClassifier(**settings()), loader(), loader(), ckpt_path=start)
    return best


def test_a_resumed_training_in_another_folder_knows_the_best_before_it(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    fitted_ever_worse(before, epochs=1)
    kept = (before / "best.ckpt").read_bytes()
    best = fitted_ever_worse(after, epochs=3, start=before / "last.ckpt")
    assert best.best_model_score == 0
    assert best.best_model_path == str(after / "best.ckpt")
    assert (after / "best.ckpt").read_bytes() == (before / "best.ckpt").read_bytes() == kept


def test_a_resumed_training_says_when_the_best_before_it_is_gone(tmp_path: Path) -> None:
    fitted_ever_worse(tmp_path / "before", epochs=1)
    (tmp_path / "before" / "best.ckpt").unlink()
    with pytest.raises(TrainingError, match=r"best\.ckpt, are gone"):
        fitted_ever_worse(tmp_path / "after", epochs=2, start=tmp_path / "before" / "last.ckpt")
