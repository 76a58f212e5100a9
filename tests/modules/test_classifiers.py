"""Classifiers: training, metrics, and subclasses with own hooks and arguments."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from small_classifier import CLASSES, loader, settings, trainer
from torch.utils.data import DataLoader
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCalibrationError

from fibrolab.errors import ConfigError
from fibrolab.modules.classifiers import HybridClassifier, SingleClassifier


def test_a_module_learns_an_easy_task(tmp_path: Path) -> None:
    L.seed_everything(0, verbose=False)
    module = SingleClassifier(**settings(optimizer={"name": "Adam", "lr": 0.01}))
    fit = trainer(tmp_path, epochs=30)
    fit.fit(module, loader(), loader())
    assert float(fit.callback_metrics["train/loss"]) < 0.1
    assert float(fit.callback_metrics["val/accuracy"]) == 1.0


def test_pads_of_an_uneven_batch_change_no_loss_metric_or_prediction(tmp_path: Path) -> None:
    """Two ranks share three samples as two each: weights 2 * 2 / 3, and 0 for the pad."""
    module = SingleClassifier(**settings(branches={"image": {"name": "test_convnext"}}))
    rows = {name: values[:3] for name, values in next(iter(loader())).items()}
    parts = [{name: values[places] for name, values in rows.items()} for places in ([0, 1], [2, 0])]
    for part, weights in zip(parts, ([4 / 3, 4 / 3], [4 / 3, 0.0]), strict=True):
        part["weight"] = torch.tensor(weights)
    with torch.no_grad():
        whole = module.criterion(module(rows), rows["label"])
        shares = [module.criterion(module(part), part["label"], part["weight"]) for part in parts]
    assert float(sum(shares)) / 2 == pytest.approx(float(whole), rel=1e-6)
    fit = trainer(tmp_path)
    found = fit.validate(module, [DataLoader(parts, batch_size=None)], verbose=False)
    expected = fit.validate(module, [DataLoader([rows], batch_size=None)], verbose=False)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    predicted = fit.predict(module, DataLoader(parts, batch_size=None))
    assert torch.cat([part["index"] for part in predicted]).tolist() == [0, 1, 2]


def test_training_loss_and_accuracy_are_means_over_all_samples(tmp_path: Path) -> None:
    """Batches of 3, 3 and 2 samples; a tiny learning rate keeps the weights."""
    module = SingleClassifier(**settings(optimizer={"name": "SGD", "lr": 1e-9}))
    samples = {name: values[:8] for name, values in next(iter(loader())).items()}
    batches = [{name: values[k : k + 3] for name, values in samples.items()} for k in (0, 3, 6)]
    fit = trainer(tmp_path)
    fit.fit(module, DataLoader(batches, batch_size=None), loader())
    losses, right = [], []
    for batch in batches:
        with torch.no_grad():
            logits = module.train()(batch)
        losses += [float(module.criterion(logits, batch["label"]))] * len(batch["label"])
        right += (logits.argmax(dim=1) == batch["label"]).tolist()
    assert float(fit.callback_metrics["train/loss"]) == pytest.approx(sum(losses) / 8, rel=1e-5)
    assert float(fit.callback_metrics["train/accuracy"]) == pytest.approx(sum(right) / 8)


def test_only_parameters_that_are_not_frozen_change(tmp_path: Path) -> None:
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


def test_a_network_without_trainable_parameters_is_refused(tmp_path: Path) -> None:
    module = SingleClassifier(**settings())
    module.requires_grad_(False)
    with pytest.raises(ConfigError, match="No parameter trains"):
        trainer(tmp_path).fit(module, loader(), loader())


def test_every_monitored_metric_is_logged(tmp_path: Path) -> None:
    module = SingleClassifier(**settings())
    fit = trainer(tmp_path)
    fit.fit(module, loader(), loader())
    assert set(module.monitors) <= set(fit.callback_metrics)


class Variant(SingleClassifier):
    """A subclass that overrides a hook and adds an argument."""

    def __init__(self, *, bins: int = 10, **settings: Any) -> None:
        super().__init__(**settings)

    def build_metrics(self) -> dict[str, Metric]:
        bins = self.hparams["bins"]
        return super().build_metrics() | {"ece": MulticlassCalibrationError(len(CLASSES), n_bins=bins)}


def test_a_metric_defines_the_mode_of_its_monitoring() -> None:
    assert SingleClassifier(**settings(ordered=False)).monitors == {
        "train/loss": "min",
        "val/loss": "min",
        "val/accuracy": "max",
    }
    assert Variant(**settings()).monitors["val/ece"] == "min"
    assert Variant(**settings()).monitors["val/qwk"] == "max"


def test_a_checkpoint_of_a_subclass_holds_its_argument_and_no_code(tmp_path: Path) -> None:
    module = Variant(**settings(bins=7))
    fit = trainer(tmp_path)
    fit.fit(module, loader(), loader())
    assert set(module.monitors) <= set(fit.callback_metrics)
    fit.save_checkpoint(tmp_path / "variant.ckpt")
    again = Variant.load_from_checkpoint(tmp_path / "variant.ckpt", weights_only=True)
    assert again.hparams["bins"] == again.val_metrics["ece"].n_bins == 7
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in module.state_dict().items())
