"""The tables of a study with simulated trials, to test its page."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

EPOCHS = 20


def make(folder: Path, number: int, goals: int = 1, seed: int = 0) -> Path:
    """Write the tables of a study; with one goal every third trial is pruned, and some fail."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    backbone = random.choice(["resnet18", "densenet121", "efficientnet_b0"], number)
    rate = 10 ** random.uniform(-5, -2, number)
    columns = {
        "param/optimizer.lr": rate,
        "param/optimizer.weight_decay": 10 ** random.uniform(-6, -2, number),
        "param/model.head.dropout": random.uniform(0, 0.6, number),
        "param/batch_size": random.choice([16, 32, 64], number),
        "param/backbone@model.branches.image": backbone,
        "param/model.branches.image.drop_path": np.where(
            backbone == "resnet18", np.nan, random.uniform(0, 0.3, number)
        ),
        "param/sampler.balanced": random.choice([True, False], number),
    }
    loss = 0.55 + 0.1 * (np.log10(rate) + 3.3) ** 2 + 0.08 * (backbone == "resnet18")
    loss += 0.05 * columns["param/model.head.dropout"] + random.normal(0, 0.02, number)
    loss[number // 2 :: 17] += 3  # a few that diverged
    state = np.full(number, "finished", dtype=object)
    if goals == 1 and number > 4:
        state[4::3] = "pruned"
        state[7::13] = "failed"
        state[11::29] = "out of memory"
    ended = state == "finished"
    values = {"value": np.where(ended, loss, np.nan)}
    if goals > 1:
        others = (
            random.uniform(2, 9, number) + 2 / loss,
            0.95 - 0.3 * (loss - 0.5) + random.normal(0, 0.03, number),
        )
        each_goal = enumerate((loss, *others)[:goals])
        values = {f"value_{place}": np.where(ended, each, np.nan) for place, each in each_goal}
    length = np.where(state == "pruned", random.integers(2, EPOCHS // 2, number), EPOCHS)
    table = pd.DataFrame(
        {"number": np.arange(number), "state": state, **values, **columns}
        | {
            "started": "2026-11-28T20:00:00",
            "seconds": np.round(6.0 * length * random.uniform(0.8, 1.2, number), 1),
            "run": [f"{trial:032x}" for trial in range(number)],
            "retried_from": np.nan,
            "error": np.where(state == "failed", "the loss is not finite in epoch 3", ""),
        }
    )
    table.to_csv(folder / "trials.csv", index=False)
    _write_progress(folder, state, loss, length, random)
    if goals == 1 and number >= 4:
        _write_importances(folder, [name.removeprefix("param/") for name in columns])
        _write_optimism(folder, loss[ended])
    return folder


def _write_progress(
    folder: Path, state: np.ndarray, loss: np.ndarray, length: np.ndarray, random: np.random.Generator
) -> None:
    curves = [
        {
            "number": trial,
            "step": step,
            "value": loss[trial] + 0.9 * np.exp(-step / 4) + random.normal(0, 0.01),
        }
        for trial in range(len(state))
        if state[trial] in ("finished", "pruned")
        for step in range(1, length[trial] + 1)
    ]
    pd.DataFrame(curves, columns=["number", "step", "value"]).to_csv(
        folder / "trials_progress.csv", index=False
    )


def _write_importances(folder: Path, names: list[str]) -> None:
    rows = [
        {"parameter": name, "evaluator": evaluator, "importance": weight}
        for evaluator, weights in (
            ("fanova", (55, 3, 9, 2, 24, 6, 1)),
            ("ped_anova", (40, 8, 12, 6, 22, 8, 4)),
        )
        for name, weight in zip(names, np.array(weights) / 100, strict=True)
    ]
    pd.DataFrame(rows).to_csv(folder / "importances.csv", index=False)


def _write_optimism(folder: Path, losses: np.ndarray) -> None:
    optimism = {
        "metric": "log_loss", "trials": len(losses), "groups": 60, "best": int(losses.argmin()),
        "apparent": 0.55, "corrected": 0.612, "low": 0.51, "high": 0.73, "level": 0.95, "resamples": 1000,
    }  # fmt: skip
    (folder / "optimism.json").write_text(json.dumps(optimism))
