"""Parameter groups by depth, and learning rates per epoch."""

import math
from pathlib import Path

import lightning as L
import pytest
import torch
from compose import composed, names
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.modules.optimizers import build_optimizer, build_scheduler, parameter_groups

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory")

LR = 0.1
DEPTHS = {"0.weight": 0, "0.bias": 0, "1.weight": 1, "1.bias": 1, "2.weight": 2, "2.bias": 2}
SGD = {"name": "SGD", "lr": LR}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))


def optimizer(**settings: object) -> torch.optim.Optimizer:
    return build_optimizer(network().named_parameters(), {**SGD, **settings}, DEPTHS)


class Linear(L.LightningModule):
    """Log a validation loss that never decreases, and record the learning rates of each epoch."""

    def __init__(self, scheduler: dict, layer_decay: float) -> None:
        super().__init__()
        self.network, self.scheduler, self.layer_decay = network(), scheduler, layer_decay
        self.rates: list[list[float]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == 0:
            self.rates.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
        return self.network(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", 1.0)

    def configure_optimizers(self) -> object:
        settings = SGD | {"layer_decay": self.layer_decay}
        built = build_optimizer(self.network.named_parameters(), settings, DEPTHS)
        schedule = build_scheduler(built, self.scheduler, self.trainer.max_epochs or 1, "min")
        if schedule is None:
            return built
        return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}


def rates(
    root: Path, scheduler: dict, epochs: int = 8, resume: Path | None = None, layer_decay: float = 1.0
) -> list[list[float]]:
    module, data = Linear(scheduler, layer_decay), DataLoader(torch.ones(4, 2), batch_size=2)  # type: ignore[arg-type]
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=ModelCheckpoint(root, "{epoch}", save_top_k=-1),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data, data, ckpt_path=resume)
    return module.rates


SCHEDULES = [
    ({"name": "constant"}, lambda e, epochs: 1.0),
    ({"name": "cosine"}, lambda e, epochs: (1 + math.cos(math.pi * e / epochs)) / 2),
    ({"name": "exponential", "gamma": 0.8}, lambda e, epochs: 0.8**e),
    ({"name": "step", "step_size": 2, "gamma": 0.5}, lambda e, epochs: 0.5 ** (e // 2)),
]


@pytest.mark.parametrize("warmup", [0, 1, 3])
@pytest.mark.parametrize(("settings", "factor"), SCHEDULES, ids=lambda value: "")
def test_rates_follow_the_formula_epoch_by_epoch_and_after_a_resume(
    tmp_path: Path, settings: dict, factor: object, warmup: int
) -> None:
    assert callable(factor)
    expected = [
        LR * ((e + 1) / (warmup + 1) if e < warmup else factor(e - warmup, 8 - warmup)) for e in range(8)
    ]
    settings = settings | {"warmup_epochs": warmup}
    assert [rate for (rate,) in rates(tmp_path, settings)] == pytest.approx(expected)
    for epoch in (0, 2, 5):
        rest = rates(tmp_path, settings, resume=tmp_path / f"epoch={epoch}.ckpt")
        assert [rate for (rate,) in rest] == pytest.approx(expected[epoch + 1 :])


def test_a_plateau_reduces_the_rate_when_the_metric_does_not_improve(tmp_path: Path) -> None:
    settings = {"name": "plateau", "factor": 0.5, "patience": 1}
    found = [rate for (rate,) in rates(tmp_path, settings, epochs=7)]
    assert found == pytest.approx([LR * factor for factor in (1, 1, 1, 0.5, 0.5, 0.25, 0.25)])


def test_a_schedule_keeps_the_ratio_of_the_layers_rates(tmp_path: Path) -> None:
    found = rates(tmp_path, {"name": "cosine", "warmup_epochs": 2}, layer_decay=0.5)
    head = [rate[0] for rate in found]
    assert head == pytest.approx(
        [rate for (rate,) in rates(tmp_path, {"name": "cosine", "warmup_epochs": 2})]
    )
    assert found == [pytest.approx([rate, rate / 2, rate / 4]) for rate in head]


@pytest.mark.parametrize("epochs", [4, 7])
def test_a_cosine_ends_at_zero_with_any_warm_up(epochs: int) -> None:
    for warmup in range(epochs):
        built = optimizer()
        schedule = build_scheduler(built, {"name": "cosine", "warmup_epochs": warmup}, epochs, "min")
        for _ in range(epochs):
            built.step()
            schedule.step()
        assert built.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_a_trial_run_of_one_epoch_accepts_the_settings_of_the_whole_run() -> None:
    built = optimizer()
    build_scheduler(built, {"name": "cosine", "warmup_epochs": 3}, 1, "min")
    assert built.param_groups[0]["lr"] == pytest.approx(LR / 4)


def test_without_layer_decay_all_parameters_have_one_rate() -> None:
    (group,) = parameter_groups(network().named_parameters(), DEPTHS, LR)
    assert len(group["params"]) == len(DEPTHS)
    assert group["lr"] == LR


@given(depths=st.lists(st.integers(0, 9), min_size=1, max_size=12), decay=st.floats(0.05, 0.95))
def test_every_parameter_has_the_rate_of_its_depth(depths: list[int], decay: float) -> None:
    parameters = {f"layer{number}": nn.Parameter(torch.zeros(1)) for number in range(len(depths))}
    by_name = dict(zip(parameters, depths, strict=True))
    groups = parameter_groups(parameters.items(), by_name, LR, decay)
    found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(parameters)
    for name, parameter in parameters.items():
        assert found[id(parameter)] == pytest.approx(LR * decay ** (max(depths) - by_name[name]))
    assert groups[0]["lr"] == LR  # a run logs the first group's rate


def test_layer_decay_scales_the_optimizer_step() -> None:
    net = network()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    built = build_optimizer(net.named_parameters(), SGD | {"layer_decay": 0.1}, DEPTHS)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    built.step()
    for name, parameter in net.named_parameters():
        moved = (before[name] - parameter.detach()).flatten().tolist()
        assert moved == pytest.approx([LR * 0.1 ** (2 - DEPTHS[name])] * len(moved), rel=1e-4)


def test_the_optimizer_does_not_change_a_frozen_parameter() -> None:
    net = network()
    frozen = net[0].weight  # type: ignore[index]
    frozen.requires_grad_(False)
    built = build_optimizer(net.named_parameters(), {"name": "AdamW", "lr": LR, "weight_decay": 0.5}, DEPTHS)
    before = frozen.clone()
    for train in (False, True):
        frozen.requires_grad_(train)
        built.zero_grad()
        net(torch.ones(1, 2)).sum().backward()
        built.step()
        assert torch.equal(frozen, before) is not train


@pytest.mark.parametrize("name", names("optimizer"))
def test_every_optimizer_config_builds(name: str) -> None:
    settings = resolved(composed(f"optimizer={name}").optimizer)
    built = build_optimizer(network().named_parameters(), settings, DEPTHS)
    assert type(built).__name__ == settings["name"]
    assert built.param_groups[0]["lr"] == settings["lr"]
    assert built.param_groups[0]["weight_decay"] == settings["weight_decay"]


@pytest.mark.parametrize("name", names("scheduler"))
def test_every_scheduler_config_builds_and_has_a_warm_up_setting(name: str) -> None:
    settings = resolved(composed(f"scheduler={name}").scheduler)
    assert settings["warmup_epochs"] == 0
    schedule = build_scheduler(optimizer(), settings, 4, "min")
    assert (schedule is None) == (name == "constant")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": "fast"}, "optimizer=SGD: lr=fast is not a number above 0"),
        ({"lr": 0}, "lr=0 is not a number above 0"),
        ({"lr": -1}, "lr=-1 is not"),
        ({"lr": True}, "lr=True is not"),
        ({"lr": math.inf}, "lr=inf is not"),
        ({"lr": None}, "lr=null is not"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 is not a number from 0"),
        ({"momentum": 1}, "momentum=1 is not a number from 0 to below 1"),
        ({"layer_decay": 0}, "layer_decay=0 is not a number above 0 and up to 1"),
        ({"layer_decay": 1.5}, "layer_decay=1.5 is not"),
        ({"betas": [0.9, 0.99]}, "optimizer=SGD has no setting betas; it has .*layer_decay, lr, "),
        ({"nesterov": True}, "optimizer=SGD does not accept its settings: Nesterov"),
        ({"name": "Adagradd"}, "optimizer.name: there is no 'Adagradd'"),
        ({"lr": -1, "beta": 1}, "(?s)2 settings cannot be used.*lr=-1.*no setting beta"),
    ],
)
def test_invalid_settings_of_an_optimizer_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        optimizer(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "cosin"}, "Did you mean cosine"),
        ({"name": "step", "step_size": 0}, "step_size=0 is not a whole number from 1"),
        ({"name": "step", "step_size": 2.5}, "step_size=2.5 is not"),
        ({"name": "exponential", "gamma": 0}, "gamma=0 is not a number above 0 and up to 1"),
        ({"name": "plateau", "factor": 1.0}, "factor=1.0 is not a number between 0 and 1"),
        ({"name": "plateau", "patience": -1}, "patience=-1 is not"),
        ({"name": "cosine", "warmup_epochs": -1}, "warmup_epochs=-1 is not"),
        ({"name": "cosine", "warmup_epochs": 1.5}, "warmup_epochs=1.5 is not"),
        ({"name": "cosine", "warmup_epochs": 8}, "warmup_epochs=8 fills the whole run of .*max_epochs=8"),
        ({"name": "plateau", "warmup_epochs": 2}, "cannot be combined with scheduler=plateau"),
        (
            {"name": "cosine", "T_max": 4},
            "scheduler=cosine has no setting T_max; it has eta_min, warmup_epochs",
        ),
        ({"name": "constant", "gamma": 0.5}, "scheduler=constant has no setting gamma"),
    ],
)
def test_invalid_settings_of_a_schedule_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_scheduler(optimizer(), settings, 8, "min")
