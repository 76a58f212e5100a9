"""A user's own package beside ours: one training with a part of every kind, none of them in fibrolab."""

from pathlib import Path

import pandas as pd
import pytest
from compose import composed, run_folder
from own_clinic.parts import Model

from fibrolab import keys
from fibrolab.pipeline import run
from fibrolab.runs import open_run

OWN = ("model", "loss", "data", "split", "sampler", "augment", "callbacks", "loggers")
QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=20"]
SMALL = ["data.patients=60", "data.images_per_patient=1", "data.size=32", "preprocess.size=32"]


@pytest.mark.usefixtures("blank_figures")
def test_a_package_beside_ours_trains_with_its_own_parts_and_is_reopened_as_its_own_class(root: Path) -> None:
    chosen = [f"{group}=own" for group in OWN]
    run(composed("hydra.searchpath=[pkg://own_clinic.conf]", *chosen, *QUICK, *SMALL, f"paths.root={root}"))
    folder = run_folder(root)
    assert (folder / "own_callback.txt").read_text().startswith("val/loss ")
    assert "val/loss" in pd.read_csv(folder / "own_log" / "metrics.csv")
    assert (folder / keys.CHECKPOINTS / "last.ckpt").is_file()
    assert type(open_run(folder).network()) is Model
