"""Averaged weights: the average itself, and when the module holds it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from compose import composed, names
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fibrolab.callbacks.averaging import Averaging, EpochAverage, ExponentialAverage, build_averaging
from fibrolab.callbacks.stopping_and_resuming import LastCheckpoint
from fibrolab.config import resolved
from fibrolab.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory")

State = dict[str, Tensor]
STEPS = 3  # per epoch


class Small(L.LightningModule):
    """A network with batch norm and dropout that records its weights in training and validation."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 1))
        self.trained: list[State] = []  # after every step
        self.validated: list[State] = []

    def state(self) -> State:
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.network(batch) - batch.sum(1, keepdim=True)).square().mean()

    def on_train_batch_end(self, *_: object) -> None:
        self.trained.append(self.state())

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if batch_idx == 0:
            self.validated.append(self.state())
        self.log("val/loss", (self.network(batch) - batch.sum(1, keepdim=True)).square().mean())

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.network(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def batches() -> DataLoader:
    return DataLoader(torch.randn(STEPS, 8, 4, generator=torch.Generator().manual_seed(0)), batch_size=None)  # type: ignore[arg-type]


def fitted(
    root: Path, *callbacks: L.Callback, epochs: int = 4, resume: Path | None = None, **settings: Any
) -> tuple[Small, L.Trainer]:
    L.seed_everything(1, verbose=False)
    best = ModelCheckpoint(root, "best", "val/loss", save_weights_only=True, enable_version_counter=False)
    every = ModelCheckpoint(root, "{epoch}", save_top_k=-1)
    module = Small()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[LastCheckpoint(root), best, every, *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    trainer.fit(module, batches(), batches(), ckpt_path=resume)
    return module, trainer


def saved(path: Path, part: str = "state_dict") -> State:
    checkpoint = torch.load(path, weights_only=True)
    return {name.removeprefix("network."): value for name, value in checkpoint[part].items()}


def assert_same(one: State, other: State, **tolerance: float) -> None:
    torch.testing.assert_close(one, other, **tolerance)  # type: ignore[arg-type]


def differs(one: State, other: State) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


def moving(states: list[State], decay: Callable[[int], float]) -> State:
    average = states[0]
    for n, state in enumerate(states[1:], start=1):
        kept = decay(n)
        average = {
            name: kept * average[name] + (1 - kept) * value if value.is_floating_point() else value
            for name, value in state.items()
        }
    return average


def test_an_exponential_average_equals_a_loop_by_hand(tmp_path: Path) -> None:
    module, _ = fitted(tmp_path, ExponentialAverage(0.5))
    for epoch, validated in enumerate(module.validated, start=1):
        expected = moving(module.trained[: epoch * STEPS], lambda n: min(0.5, (1 + n) / (10 + n)))
        assert_same(validated, expected)
    assert differs(module.validated[-1], module.trained[-1])


def test_an_epoch_average_is_the_mean_of_the_epochs_it_counts(tmp_path: Path) -> None:
    module, _ = fitted(tmp_path, EpochAverage(first=1))
    ends = module.trained[STEPS - 1 :: STEPS]
    assert_same(module.validated[0], ends[0])  # before the average starts, the trained weights are validated
    for epoch in range(1, 4):
        counted = ends[1 : epoch + 1]
        expected = {
            name: torch.stack([state[name] for state in counted]).mean(0)
            for name, value in ends[0].items()
            if value.is_floating_point()
        }
        assert_same({name: module.validated[epoch][name] for name in expected}, expected)


def test_without_validation_the_checkpoints_of_each_epoch_hold_the_average(tmp_path: Path) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=3,
        limit_val_batches=0,
        callbacks=[
            LastCheckpoint(tmp_path),
            ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1),
            ExponentialAverage(0.5),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Small()
    trainer.fit(module, batches())
    for epoch in range(3):
        steps = module.trained[: (epoch + 1) * STEPS]
        expected = moving(steps, lambda n: min(0.5, (1 + n) / (10 + n)))
        assert_same(saved(tmp_path / f"epoch={epoch}.ckpt"), expected)
    assert differs(saved(tmp_path / "last.ckpt"), module.trained[-1])
    assert_same(saved(tmp_path / "last.ckpt", "current_model_state"), module.trained[-1])


def test_batch_norm_counters_are_copied_and_statistics_averaged(tmp_path: Path) -> None:
    module, _ = fitted(tmp_path, EpochAverage(first=0), epochs=20)
    count, variance = module.network.state_dict()["1.num_batches_tracked"], module.network[1].running_var
    assert count == 20 * STEPS
    assert isinstance(variance, Tensor)
    recent = torch.stack([state["1.running_var"] for state in module.trained])
    assert (recent.amin(0) <= variance).all()
    assert (variance <= recent.amax(0)).all()


@pytest.mark.parametrize("settings", [{}, {"val_check_interval": 1}], ids=["epoch", "batch"])
def test_training_is_the_same_with_and_without_an_average(tmp_path: Path, settings: dict) -> None:
    plain, _ = fitted(tmp_path / "plain", **settings)
    for name, averaging in (("ema", ExponentialAverage(0.9)), ("swa", EpochAverage(1))):
        module, _ = fitted(tmp_path / name, averaging, **settings)
        for state, expected in zip(module.trained, plain.trained, strict=True):
            assert_same(state, expected, rtol=0, atol=0)


@pytest.mark.parametrize("averaging", [lambda: ExponentialAverage(0.9), lambda: EpochAverage(2)])
def test_checkpoints_hold_validated_weights_and_full_ones_trained_weights_too(
    tmp_path: Path, averaging: Callable[[], Averaging]
) -> None:
    stopping = EarlyStopping("val/loss", patience=9)
    module, _ = fitted(tmp_path, averaging(), stopping)
    losses = []
    for epoch, validated in enumerate(module.validated):
        path = tmp_path / f"epoch={epoch}.ckpt"
        assert_same(saved(path), validated, rtol=0, atol=0)
        begun = "current_model_state" in torch.load(path, weights_only=True)
        trained = saved(path, "current_model_state" if begun else "state_dict")
        assert_same(trained, module.trained[(epoch + 1) * STEPS - 1], rtol=0, atol=0)
        module.network.load_state_dict(validated)
        module.eval()
        with torch.no_grad():
            losses.append(sum(float(module.training_step(batch, 0)) for batch in batches()))
    best = module.validated[losses.index(min(losses))]
    assert_same(saved(tmp_path / "best.ckpt"), best, rtol=0, atol=0)
    assert float(stopping.best_score) == pytest.approx(min(losses) / STEPS)


def test_a_fitted_module_is_the_average(tmp_path: Path) -> None:
    module, _ = fitted(tmp_path, ExponentialAverage(0.9))
    assert_same(module.state(), module.validated[-1], rtol=0, atol=0)


@pytest.mark.parametrize("resumed", [0, 1, 2])
@pytest.mark.parametrize("averaging", [lambda: ExponentialAverage(0.9), lambda: EpochAverage(1)])
def test_a_resumed_training_is_identical(
    tmp_path: Path, averaging: Callable[[], Averaging], resumed: int
) -> None:
    whole, _ = fitted(tmp_path, averaging())
    last = tmp_path / f"epoch={resumed}.ckpt"
    rest, _ = fitted(tmp_path, averaging(), resume=last)
    done = resumed + 1
    assert len(rest.validated) == 4 - done
    for state, expected in zip(rest.validated, whole.validated[done:], strict=True):
        assert_same(state, expected, rtol=0, atol=0)
    for state, expected in zip(rest.trained, whole.trained[done * STEPS :], strict=True):
        assert_same(state, expected, rtol=0, atol=0)


@pytest.mark.parametrize("done", [2, 3])
def test_an_average_of_epochs_begins_anew_in_a_training_that_was_made_longer(
    tmp_path: Path, done: int
) -> None:
    whole, _ = fitted(tmp_path / "whole", EpochAverage(3), epochs=5)
    fitted(tmp_path, EpochAverage(1), epochs=3)
    rest, _ = fitted(tmp_path, EpochAverage(3), epochs=5, resume=tmp_path / f"epoch={done - 1}.ckpt")
    for state, expected in zip(rest.validated, whole.validated[done:], strict=True):
        assert_same(state, expected, rtol=0, atol=0)
    for state, expected in zip(rest.trained, whole.trained[done * STEPS :], strict=True):
        assert_same(state, expected, rtol=0, atol=0)


def test_a_run_without_an_average_can_be_resumed_with_one(tmp_path: Path) -> None:
    fitted(tmp_path, epochs=1)
    module, _ = fitted(tmp_path, ExponentialAverage(0.5), epochs=2, resume=tmp_path / "epoch=0.ckpt")
    assert_same(module.validated[0], moving(module.trained, lambda n: min(0.5, (1 + n) / (10 + n))))


@pytest.mark.parametrize("name", ["best.ckpt", "epoch=3.ckpt"])
def test_predictions_use_the_average_without_warnings(tmp_path: Path, name: str) -> None:
    module, trainer = fitted(tmp_path, ExponentialAverage(0.9))
    average = saved(tmp_path / name)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*WeightAveraging.*")
        predicted = trainer.predict(module, batches(), ckpt_path=tmp_path / name, weights_only=True)
    module.network.load_state_dict(average)
    module.eval()
    with torch.no_grad():
        expected = [module.network(batch) for batch in batches()]
    assert predicted is not None
    torch.testing.assert_close(torch.cat(predicted), torch.cat(expected), rtol=0, atol=0)  # type: ignore[arg-type]


def test_accumulated_batches_are_one_update(tmp_path: Path) -> None:
    module, _ = fitted(tmp_path, ExponentialAverage(0.5), accumulate_grad_batches=STEPS)
    ends = module.trained[STEPS - 1 :: STEPS]
    assert_same(module.validated[-1], moving(ends, lambda n: min(0.5, (1 + n) / (10 + n))))


@pytest.mark.parametrize("name", names("averaging"))
def test_every_config_builds_its_average(name: str) -> None:
    averaging = build_averaging(resolved(composed(f"averaging={name}").averaging), 8)
    expected = {"none": type(None), "ema": ExponentialAverage, "swa": EpochAverage}
    assert type(averaging) is expected[name]


def test_an_epoch_average_starts_at_its_proportion_of_the_run(tmp_path: Path) -> None:
    averaging = build_averaging({"name": "swa", "start": 0.5}, 4)
    assert averaging is not None
    module, _ = fitted(tmp_path, averaging)
    ends = module.trained[STEPS - 1 :: STEPS]
    assert [differs(one, other) for one, other in zip(module.validated, ends, strict=True)] == [
        False,
        False,
        False,  # the mean of one epoch
        True,
    ]


@pytest.mark.parametrize(
    ("settings", "epochs", "sentence"),
    [
        ({"name": "emma"}, 4, "averaging.name: there is no 'emma'.*Did you mean ema?"),
        ({"name": "ema", "decay": 1.0}, 4, "averaging.decay=1.0 is not a number from 0 to below 1"),
        ({"name": "ema", "decay": "slow"}, 4, "averaging.decay=slow is not"),
        ({"name": "ema", "start": 0.5}, 4, "averaging=ema: there is no 'start'"),
        ({"name": "swa", "start": -0.1}, 4, "averaging.start=-0.1 is not"),
        ({"name": "swa", "start": 0.5}, -1, "averaging=swa needs the length of the run"),
    ],
)
def test_an_invalid_setting_is_refused(settings: dict, epochs: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_averaging(settings, epochs)
