"""Small trainings, in this process and on ranks, with the loss of every step and the final weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from compose import composed
from torch import Tensor

from fibrolab import keys
from fibrolab.analyses.run_files import write_data
from fibrolab.data.samplers import this_rank
from fibrolab.loading import load
from fibrolab.training import building, fitting, rank_strategy, ranks

STEPS = "steps.json"
EPOCHS = 3
QUICK = [
    "pretrained=false", "trainer.accelerator=cpu", f"trainer.max_epochs={EPOCHS}", "num_workers=0",
    "optimizer=sgd", "model.head.dropout=0", "callbacks.early_stopping=null", "augment=light",
    "+callbacks.steps._target_=small_ranks.StepLosses",
]  # fmt: skip


class StepLosses(L.Callback):
    """Write the loss of every step, of all ranks together, and how far the ranks' weights are apart."""

    def __init__(self, dirpath: Path) -> None:
        self.path, self.losses = Path(dirpath).parent / STEPS, list[float]()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        outputs = args[1]
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"], reduce_op="mean")))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        weights = torch.cat([value.detach().flatten() for value in pl_module.parameters()])
        lowest, highest = weights.clone(), weights.clone()
        if this_rank()[1] > 1:
            dist.all_reduce(lowest, dist.ReduceOp.MIN)
            dist.all_reduce(highest, dist.ReduceOp.MAX)
        if trainer.is_global_zero:
            apart = float((highest - lowest).max())
            self.path.write_text(json.dumps({"losses": self.losses, "apart": apart}))


class Small(NamedTuple):
    """Result of a small training."""

    losses: list[float]
    apart: float
    weights: dict[str, Tensor]
    predictions: pd.DataFrame
    history: pd.DataFrame


class Untracked(NamedTuple):
    """A run whose curves are not kept; `history.csv` holds them."""

    folder: Path
    id: str = "untracked"
    experiment_id: str = "none"

    def add_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Drop the values."""

    def deliver(self) -> None:
        """Do nothing."""


def prepared(folder: Path, *overrides: str) -> tuple[Any, ...]:
    """Return the arguments of `fitting._on_rank` for a training that writes to `folder`."""
    config = composed(*QUICK, *overrides)
    data = load(config)
    config.task.classes = data.classes
    folder.mkdir(parents=True)
    write_data(folder, data)
    module = building.build_module(config, data)
    datamodule = fitting.build_datamodule(config, data, module)
    datamodule.prepare_data()
    search = rank_strategy.may_skip_parameters(module, datamodule)
    built = (type(module), dict(module.hparams), module.state_dict(), torch.get_rng_state())
    return config, built, datamodule, data, Untracked(folder), search


def trained(*given: Any) -> None:
    """Train in this process, or on this rank."""
    config, built, datamodule, data, destination, _ = given
    if this_rank()[1] > 1:
        fitting._on_rank(*given)
        return
    module = built[0](**built[1])
    module.load_state_dict(built[2])
    torch.set_rng_state(built[3])
    fitting._run_frozen_and_fit(config, module, datamodule, data, destination)


def on_rank(table: list[tuple[Any, ...]]) -> None:
    """Train every row of a table on this rank."""
    for given in table:
        trained(*given)


def on_ranks(table: list[tuple[Any, ...]], number: int, folder: Path, accelerator: str = "cpu") -> None:
    """Train every row of a table on so many ranks, which start once."""
    ranks.run(on_rank, (table,), {"devices": number, "accelerator": accelerator}, folder)


def result(folder: Path) -> Small:
    steps = json.loads((folder / STEPS).read_text())
    state = torch.load(folder / keys.CHECKPOINTS / "last.ckpt", weights_only=True)["state_dict"]
    tables = [pd.read_csv(folder / name) for name in (keys.PREDICTIONS_FILE, keys.HISTORY_FILE)]
    return Small(steps["losses"], steps["apart"], state, *tables)


def differences(one: Small, other: Small) -> dict[str, float]:
    """Return the largest difference of each result between two trainings."""
    assert list(one.weights) == list(other.weights)
    weights = [
        float((a.double() - b.double()).abs().max())
        for a, b in zip(one.weights.values(), other.weights.values(), strict=True)
        if a.numel()
    ]
    columns = [name for name in one.predictions if name.startswith("p_")]
    pd.testing.assert_frame_equal(
        one.predictions.drop(columns=columns), other.predictions.drop(columns=columns)
    )
    return {
        "loss": float(np.abs(np.subtract(one.losses, other.losses)).max()),
        "weights": max(weights),
        "predictions": float(np.abs(one.predictions[columns] - other.predictions[columns]).max().max()),
        "history": float(np.abs(one.history - other.history).max().max()),
        "ranks apart": other.apart,
    }
