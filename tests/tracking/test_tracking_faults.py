"""What is said when the tracking database, or what a run left, is not as it should be."""

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


def test_names_that_mlflow_refuses_are_written_as_it_takes_them(place: dict[str, str]) -> None:
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


def test_files_that_are_gone_are_told_and_no_empty_folder_takes_their_place(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        pass
    shutil.rmtree(place["artifacts"])
    with pytest.raises(ConfigError, match="are gone from"):
        finished(place["uri"], tracked.id)
    with pytest.raises(ConfigError, match="are gone from"), reopen(place["uri"], tracked.id):
        pass
    assert not Path(place["artifacts"]).exists()


def test_a_deleted_run_is_told_from_an_unknown_one(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        pass
    MlflowClient(place["uri"]).delete_run(tracked.id)
    with pytest.raises(ConfigError, match="was deleted"), reopen(place["uri"], tracked.id):
        pass


def test_a_run_at_work_is_left_alone_and_one_whose_process_is_gone_is_not(place: dict[str, str]) -> None:
    client = MlflowClient(place["uri"])
    with track(**place, name="one", tags={}) as tracked:
        with pytest.raises(ConfigError, match="still RUNNING"), reopen(place["uri"], tracked.id):
            pass
        client.set_tag(tracked.id, PROCESS, "4194304")  # beyond the numbers that Linux gives
        with reopen(place["uri"], tracked.id) as again:
            assert again.id == tracked.id
        client.set_tag(tracked.id, PROCESS, str(os.getpid()))


def locked(*_: object, **__: object) -> None:
    raise tracking.MlflowException("(sqlite3.OperationalError) database is locked")


def test_a_database_that_fails_while_a_run_fails_hides_nothing(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        monkeypatch.setattr(MlflowClient, "log_batch", locked)
        monkeypatch.setattr(MlflowClient, "set_terminated", locked)
        raise ValueError("what came first")

    with pytest.raises(ValueError, match="what came first"), track(**place, name="one", tags={}):
        fails()
    assert "database is locked" in caplog.text


def test_a_database_that_is_locked_while_a_run_writes_is_a_sentence(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with track(**place, name="one", tags={}) as run:
        monkeypatch.setattr(MlflowClient, "log_batch", locked)
        with pytest.raises(StorageError, match=r"mlflow\.db cannot be used .*database is locked"):
            run.log_metrics({"test/accuracy": 0.5})
