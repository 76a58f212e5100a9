"""A finished run on the data of another site: predictions, thresholds, report and audit."""

import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from compose import composed, prepared
from drawn import unreported
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.analyses import external
from fibrolab.errors import ConfigError
from fibrolab.evaluation import predictions
from fibrolab.pipeline import run
from fibrolab.runs.trained_run import TrainedRun

PHANTOM = ["data.patients=60", "data.images_per_patient=2", "data.size=32"]
TRAINING = ["trainer.max_epochs=1", "batch_size=16", "bootstrap.resamples=50", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> tuple[Path, str]:
    """The root of a tracking database, and the id of its only finished run."""
    root = prepared(tmp_path_factory.mktemp("trained"), fresh_database, cache)
    with unreported():
        run(composed(f"paths.root={root}", "name=here", "num_workers=0", *TRAINING, *PHANTOM))
    return root, ids(root)[0]


def ids(root: Path) -> list[str]:
    """Runs of a database, the newest first."""
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    return [found.info.run_id for found in client.search_runs(["1"])]


def settings_of(root: Path, run_id: str, *words: str) -> DictConfig:
    settings = [f"paths.root={root}", f"run={run_id}", "accelerator=cpu", "bootstrap.resamples=50"]
    return composed(*settings, *words, name="evaluate")


def folder_of(root: Path, run_id: str) -> Path:
    (found,) = root.glob(f"mlruns/artifacts/{run_id}/artifacts")
    return found


@pytest.mark.usefixtures("coarse_figures")
def test_thresholds_on_another_site_are_those_of_the_validation_part_of_the_run(
    trained: tuple[Path, str],
) -> None:
    root, run_id = trained
    external.run(settings_of(root, run_id, "data=phantom", "data.seed=5", *PHANTOM))
    newest = ids(root)[0]
    before, after = folder_of(root, run_id), folder_of(root, newest)
    old = predictions.read(before / keys.PREDICTIONS_FILE)
    new = predictions.read(after / keys.PREDICTIONS_FILE)
    kept, validation = (predictions.select(frame, keys.VALIDATION) for frame in (new, old))
    assert (predictions.probabilities(kept) == predictions.probabilities(validation)).all()
    assert set(kept["sample_id"]).isdisjoint(predictions.select(new, keys.TEST)["sample_id"])
    assert len(predictions.select(new, keys.TEST)) == 120
    split = pd.read_csv(after / keys.SPLIT_FILE)
    used = pd.read_csv(before / keys.SPLIT_FILE).query("partition != 'test'")
    assert (split["partition"] != "test").sum() == len(used)
    assert (after / keys.REPORT_FILE).stat().st_size > 10_000
    endpoints = pd.read_csv(after / "endpoints.csv").query("rule == 'youden'")
    ours = pd.read_csv(before / "endpoints.csv").query("rule == 'youden'")
    assert set(endpoints["threshold"]) == set(ours["threshold"])  # chosen on the same validation
    tags = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db").get_run(newest).data.tags
    assert tags[external.EVALUATED] == run_id
    known = TrainedRun(after).test_set
    assert (known["kind"], known["samples"], known["before"]) == ("external", 120, [])
    assert known["hash"] != TrainedRun(before).test_set["hash"]
    page = html.unescape(re.sub(r"<[^>]+>|[ \n]+", " ", (after / keys.REPORT_FILE).read_text()))
    assert "external evaluation of a trained network" in page
    assert f"the network is that of run {run_id[:8]}, trained on phantom" in page
    assert "Learning curves" not in page
    assert "copy in training" not in page
    partitions = pd.read_csv(after / "tables" / "partitions.csv")
    assert list(partitions) == ["Class", "Test"]


@pytest.mark.usefixtures("blank_figures")
def test_training_images_of_the_run_fail_the_audit(trained: tuple[Path, str]) -> None:
    root, run_id = trained
    external.run(settings_of(root, run_id, "data=phantom", *PHANTOM))
    found = json.loads((folder_of(root, ids(root)[0]) / keys.AUDIT_FILE).read_text())
    assert found["verdict"] == "fail"
    assert "copy or near copy among the images that the run was trained" in found["warnings"][0]


def test_data_of_other_classes_and_an_unknown_run_are_refused(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    root, run_id = trained
    small = ["data.patients=20", "data.images_per_patient=1"]
    with pytest.raises(ConfigError, match="the network predicts F0, F1") as fault:
        external.run(settings_of(root, run_id, "data=phantom_lesions", *small))
    assert "task" not in str(fault.value)  # which this command does not take
    with pytest.raises(ConfigError, match="There is no run nothing"):
        external.run(settings_of(root, "nothing", "data=phantom"))
