"""A user's package: one training with a part of every kind, none of which is in fibrolab."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from compose import composed, run_folder
from own_clinic import parts

from fibrolab import keys
from fibrolab.analyses import comparing
from fibrolab.analyses.evaluating import evaluate
from fibrolab.modules.base import Classifier
from fibrolab.pipeline import train
from fibrolab.runs import open_run

OWN = ("model", "loss", "data", "split", "sampler", "augment", "callbacks", "loggers")
QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=20"]
SMALL = ["data.patients=60", "data.images_per_patient=1", "data.size=32", "preprocess.size=32"]


def check_parts(module: Classifier) -> None:
    network = module.network
    found = (module, module.criterion, network.branches["image"].network, network.fusion, network.head)
    assert [type(part) for part in found] == [parts.Model, parts.Loss, parts.Net, parts.Fusion, parts.Head]


@pytest.mark.usefixtures("blank_figures")
def test_a_run_of_a_users_package_is_trained_evaluated_reopened_and_compared(root: Path) -> None:
    place = f"paths.root={root}"
    chosen = [
        "hydra.searchpath=[pkg://own_clinic.conf]",
        *(f"{group}=own" for group in OWN),
        *QUICK,
        *SMALL,
        place,
    ]
    first, second = (train(composed(*chosen, f"seed={seed}", "split.seed=0")).id for seed in (0, 1))
    opened = open_run(first, f"sqlite:///{root}/mlruns/mlflow.db")
    assert (opened.folder / "own_callback.txt").read_text().startswith("val/loss ")
    assert "val/loss" in pd.read_csv(opened.folder / "own_log" / "metrics.csv")
    assert (opened.folder / keys.CHECKPOINTS / "last.ckpt").is_file()
    check_parts(opened.network())
    before = opened.metrics
    evaluate(composed(f"run={first}", "bootstrap.resamples=20", place, name="evaluate"))
    pd.testing.assert_frame_equal(open_run(opened.folder).metrics, before)
    comparison = comparing.run(
        composed(f"runs=[{first},{second}]", "bootstrap.resamples=20", place, name="compare")
    )
    assert (opened.folder.parents[1] / comparison / "artifacts" / "comparison.csv").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_the_command_takes_a_folder_of_settings_beside_modules_on_the_path(tmp_path: Path) -> None:
    here = Path(__file__).parent
    start = [sys.executable, "-m", "fibrolab.train", "--config-dir", str(here / "own_clinic" / "conf")]
    ended = subprocess.run(
        [*start, *(f"{group}=own" for group in OWN), *QUICK, *SMALL, f"paths.root={tmp_path}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    opened = open_run(run_folder(tmp_path))
    check_parts(opened.network())
    assert (opened.folder / "own_callback.txt").is_file()
