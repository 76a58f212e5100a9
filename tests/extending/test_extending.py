"""A user's own package beside ours: one training with a part of every kind, none of them in fibrolab."""

from pathlib import Path

import pandas as pd
import pytest
from compose import composed
from own_clinic.parts import Model

from fibrolab import keys
from fibrolab.analyses import comparing
from fibrolab.analyses.evaluating import evaluate
from fibrolab.pipeline import train
from fibrolab.runs import open_run

OWN = ("model", "loss", "data", "split", "sampler", "augment", "callbacks", "loggers")
QUICK = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=20"]
SMALL = ["data.patients=60", "data.images_per_patient=1", "data.size=32", "preprocess.size=32"]


@pytest.mark.usefixtures("blank_figures")
def test_a_package_beside_ours_trains_is_evaluated_reopened_and_compared(root: Path) -> None:
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
    assert type(opened.network()) is Model
    before = opened.metrics
    evaluate(composed(f"run={first}", "bootstrap.resamples=20", place, name="evaluate"))
    pd.testing.assert_frame_equal(open_run(opened.folder).metrics, before)
    comparison = comparing.run(
        composed(f"runs=[{first},{second}]", "bootstrap.resamples=20", place, name="compare")
    )
    assert (opened.folder.parents[1] / comparison / "artifacts" / "comparison.csv").is_file()
