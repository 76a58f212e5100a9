"""Errors of the tracking database and missing files of runs, each reported in one sentence."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fibrolab import tracking
from fibrolab.errors import ConfigError, StorageError
from fibrolab.tracking import PROCESS, finished, reopen, track


@pytest.fixture
def place(tmp_path: Path, fresh_database: Path) -> dict[str, str]:
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return {"uri": uri, "experiment": "test", "artifacts": str(tmp_path / "artifacts")}


def test_names_that_mlflow_refuses_are_replaced(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={"class": "≥F2 <b>"}) as tracked:
        tracked.log_metrics({"test/auc_F4 (cirrhosis)": 0.5, "test/auc_≥F2, <b>": 0.6, "test/auc_a//b": 0.7})
        tracked.log_params({"runs.a=b": 1})
    run = MlflowClient(place["uri"]).get_run(tracked.id)
    assert run.data.metrics == {
        "test/auc_F4 _cirrhosis_": 0.5,
        "test/auc_ge F2_ lt bgt": 0.6,
        "test/auc_a/b": 0.7,
    }
    assert run.data.params == {"runs.a_b": "1"}


def test_a_broken_database_is_not_mistaken_for_an_unknown_run(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        pass
    sqlite3.connect(place["uri"].removeprefix("sqlite:///")).execute("DROP TABLE tags")
    with pytest.raises(StorageError, match="cannot be used"):
        finished(place["uri"], tracked.id)


def test_missing_files_are_reported_and_no_empty_folder_is_created(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        pass
    shutil.rmtree(place["artifacts"])
    with pytest.raises(ConfigError, match="are missing from"):
        finished(place["uri"], tracked.id)
    with pytest.raises(ConfigError, match="are missing from"), reopen(place["uri"], tracked.id):
        pass
    assert not Path(place["artifacts"]).exists()


def test_a_deleted_run_is_distinguished_from_an_unknown_one(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        pass
    MlflowClient(place["uri"]).delete_run(tracked.id)
    with pytest.raises(ConfigError, match="was deleted"), reopen(place["uri"], tracked.id):
        pass


def test_a_running_run_is_refused_unless_its_process_no_longer_exists(place: dict[str, str]) -> None:
    client = MlflowClient(place["uri"])
    with track(**place, name="one", tags={}) as tracked:
        with pytest.raises(ConfigError, match="still RUNNING"), reopen(place["uri"], tracked.id):
            pass
        client.set_tag(tracked.id, PROCESS, "4194304")  # above the largest process id of Linux
        with reopen(place["uri"], tracked.id) as again:
            assert again.id == tracked.id
        client.set_tag(tracked.id, PROCESS, str(os.getpid()))


def locked(*_: object, **__: object) -> None:
    raise tracking.MlflowException("(sqlite3.OperationalError) database is locked")


def test_an_error_of_the_database_does_not_hide_an_earlier_error(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        monkeypatch.setattr(MlflowClient, "log_batch", locked)
        monkeypatch.setattr(MlflowClient, "set_terminated", locked)
        raise ValueError("the first error")

    with pytest.raises(ValueError, match="the first error"), track(**place, name="one", tags={}):
        fails()
    assert "database is locked" in caplog.text


def test_a_locked_database_is_reported_in_one_sentence(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with track(**place, name="one", tags={}) as run:
        monkeypatch.setattr(MlflowClient, "log_batch", locked)
        with pytest.raises(StorageError, match=r"mlflow\.db cannot be used .*database is locked"):
            run.log_metrics({"test/accuracy": 0.5})
