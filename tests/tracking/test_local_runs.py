"""Runs of a local database found without MLflow: the same folder, and nothing where MLflow would refuse."""

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fibrolab import local_runs
from fibrolab.errors import ConfigError
from fibrolab.runs import open_run
from fibrolab.tracking import finished, track


def place(root: Path) -> dict[str, str]:
    return {
        "uri": f"sqlite:///{root}/mlruns/mlflow.db",
        "experiment": "found",
        "artifacts": str(root / "mlruns" / "artifacts"),
    }


@pytest.fixture
def run_id(root: Path) -> str:
    with track(**place(root), name="a run", tags={}) as tracked:
        (tracked.folder / "config.yaml").write_text("name: a run\n")
    return tracked.id


def test_a_finished_run_is_found_where_mlflow_has_it(root: Path, run_id: str) -> None:
    uri = place(root)["uri"]
    assert local_runs.finished_folder(uri, run_id) == finished(uri, run_id)


def test_what_mlflow_refuses_is_left_to_it(root: Path, run_id: str) -> None:
    uri = place(root)["uri"]
    client = MlflowClient(uri)
    assert local_runs.finished_folder(uri, "unknown") is None
    assert local_runs.finished_folder("http://localhost:5000", run_id) is None
    assert local_runs.finished_folder(f"sqlite:///{root}/none.db", run_id) is None
    (root / "other.db").write_text("no database" * 99)
    assert local_runs.finished_folder(f"sqlite:///{root}/other.db", run_id) is None
    client.delete_run(run_id)
    assert local_runs.finished_folder(uri, run_id) is None
    with pytest.raises(ConfigError, match="was deleted; restore it"):
        open_run(run_id, uri)
    client.restore_run(run_id)
    client.update_run(run_id, status="FAILED")
    assert local_runs.finished_folder(uri, run_id) is None


def test_mlflow_is_not_loaded_for_it() -> None:
    code = "import sys, fibrolab.local_runs; assert not {'mlflow', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
