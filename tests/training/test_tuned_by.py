"""Test patients are kept apart from the runs by which settings were chosen, and the groups are recorded."""

from pathlib import Path

import pytest
from compose import composed, prepared, run_folder
from drawn import unrendered

from fibrolab import keys, tracking
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, SplitError
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.runs import open_run
from fibrolab.training import settings
from fibrolab.training.tuned_by import refuse_known_tests

SMALL = [
    "data.patients=40", "data.size=32", "data.images_per_patient=2", "preprocess.size=32", "num_workers=0",
    "augment=none", "trainer.max_epochs=1", "trainer.accelerator=cpu", "bootstrap.resamples=20",
]  # fmt: skip
FOLDS = ["split=folds_in_training", "split.folds=3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    """The root of a database with one finished run, on the first of three folds in the training part."""
    root = prepared(tmp_path_factory.mktemp("tuning"), fresh_database, cache)
    with unrendered():
        run(composed(f"paths.root={root}", *SMALL, *FOLDS))
    return root


def refuse(root: Path, *overrides: str, runs: str = "") -> LabelledData:
    tuning = runs or f"[{run_folder(root).parent.name}]"
    config = composed(f"paths.root={root}", *SMALL, f"tuned_by={tuning}", *overrides)
    data = load(config)
    refuse_known_tests(config, data)
    return data


@pytest.mark.parametrize("split", [["split=grouped"], ["split=grouped", "split.val=0.2"], FOLDS])
def test_the_test_part_of_the_tuning_is_the_test_of_the_final_training(root: Path, split: list) -> None:
    data = refuse(root, *split)
    tested = data.manifest.table[keys.SAMPLE_ID].iloc[data.split.rows(keys.TEST)]
    assert set(tested) == open_run(run_folder(root)).tested


@pytest.mark.parametrize("split", [["split.seed=5"], ["split.test=0.3"], ["split=kfold"]])
def test_patients_that_took_part_in_the_tuning_are_refused(root: Path, split: list) -> None:
    with pytest.raises(SplitError, match=r"tuned_by: \d+ of the \d+ test samples, .* took part in run"):
        refuse(root, *split)


def test_an_unknown_run_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="There is no run nothing"):
        refuse(root, runs="[nothing]")


def test_a_run_without_a_list_is_refused_before_any_file_is_read() -> None:
    with pytest.raises(ConfigError, match=r"tuned_by=abc is not a list of run ids"):
        settings.check(composed("tuned_by=abc"))


def test_a_run_records_the_groups_of_each_partition(root: Path) -> None:
    folder = run_folder(root)
    groups = open_run(folder).environment["groups"]
    assert set(groups) == set(keys.PARTITIONS)
    assert len(set(groups.values())) == 3
    database = tracking.MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    tags = database.get_run(folder.parent.name).data.tags
    assert groups[keys.TEST].startswith(tags["test_groups"])


def test_the_report_says_that_the_tuning_is_not_recorded(root: Path) -> None:
    page = (run_folder(root) / keys.REPORT_FILE).read_text()
    assert "not recorded whether test patients took part in the choice" in page
