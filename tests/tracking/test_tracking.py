"""Runs in a real MLflow database: their content and their status."""

import contextlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow_server import serving

from fibrolab import processes, tracking
from fibrolab.callbacks.curve_logger import PAUSE, CurveLogger
from fibrolab.errors import ConfigError, StorageError
from fibrolab.tracked_run import PARENT
from fibrolab.tracking import PROCESS, SWEEP, finished, reopen, track

SECRET = "s3cr3t-w0rd"


@pytest.fixture
def place(tmp_path: Path, fresh_database: Path) -> dict[str, str]:
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return {"uri": uri, "experiment": "test", "artifacts": str(tmp_path / "artifacts")}


def runs(place: dict[str, str]) -> list[Run]:
    client = MlflowClient(tracking_uri=place["uri"])
    experiment = client.get_experiment_by_name(place["experiment"])
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def test_a_run_keeps_params_metrics_tags_and_files(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={"model": "single"}) as tracked:
        tracked.log_params({f"group.key{i}": i for i in range(230)})  # more than MLflow takes at once
        tracked.log_metrics({"test/accuracy": 0.5, "test/auc_F0": float("nan")})
        (tracked.folder / "note.txt").write_text("kept")
    (run,) = runs(place)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "one"
    assert run.data.params["group.key229"] == "229"
    assert run.data.metrics == {"test/accuracy": 0.5}
    assert run.data.tags["model"] == "single"
    client = MlflowClient(tracking_uri=place["uri"])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["note.txt"]


@pytest.mark.parametrize("status", ["success", "failed"])
def test_curves_are_written_first_at_once_then_in_batches_and_completely_at_the_end(
    place: dict[str, str], status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("fibrolab.callbacks.curve_logger.time.monotonic", lambda: clock[0])
    client = MlflowClient(tracking_uri=place["uri"])
    with track(**place, name="one", tags={}) as tracked:
        curves = CurveLogger(tracked)

        def written() -> list[int]:
            return [point.step for point in client.get_metric_history(tracked.id, "train/loss")]

        for step in range(600):
            curves.log_metrics({"train/loss": 1 / (step + 1), "val/loss": float("nan")}, step)
            clock[0] += PAUSE / 300
        seen = written()
        assert seen[0] == 0
        assert 2 <= len(seen) < 600
        curves.finalize(status)
        assert written() == list(range(600))
        assert runs(place)[0].info.status == "RUNNING"
    assert runs(place)[0].data.metrics["train/loss"] == 0.00166667


def test_the_files_are_below_the_artifacts_folder(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        assert tracked.folder.is_relative_to(place["artifacts"])


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_a_run_that_did_not_finish_has_its_status(place: dict[str, str], error: type, status: str) -> None:
    with pytest.raises(error), track(**place, name="one", tags={}):
        raise error("broken")
    (run,) = runs(place)
    assert run.info.status == status
    assert ("error" in run.data.tags) == (status == "FAILED")


def test_a_run_whose_process_no_longer_exists_is_marked_as_killed(place: dict[str, str]) -> None:
    with track(**place, name="dead", tags={}) as tracked:
        pass
    print_itself = "from fibrolab import processes; print(processes.current())"
    ended = subprocess.run([sys.executable, "-c", print_itself], capture_output=True, check=True)
    client = MlflowClient(tracking_uri=place["uri"])
    client.set_tag(tracked.id, PROCESS, ended.stdout.decode().strip())
    client.update_run(tracked.id, status="RUNNING")
    with track(**place, name="next", tags={}) as living, track(**place, name="third", tags={}):
        assert client.get_run(tracked.id).info.status == "KILLED"
        assert client.get_run(living.id).info.status == "RUNNING"  # its process exists


def test_a_running_run_of_another_host_is_unchanged(place: dict[str, str]) -> None:
    with track(**place, name="elsewhere", tags={}) as tracked:
        pass
    client = MlflowClient(tracking_uri=place["uri"])
    client.set_tag(tracked.id, PROCESS, replace(processes.current(), host="another-host", pid="999999"))
    client.update_run(tracked.id, status="RUNNING")
    with track(**place, name="next", tags={}):
        assert client.get_run(tracked.id).info.status == "RUNNING"


def test_a_job_leaves_the_status_of_its_sweep_to_the_launcher(place: dict[str, str]) -> None:
    with track(**place, name="sweep", tags={SWEEP: "sweep"}) as above:
        with (
            pytest.raises(ValueError, match="broken"),
            track(**place, name="a", tags={}, parent=above.id),
        ):
            raise ValueError("broken")
        parent, job = runs(place)
        assert (parent.info.status, job.info.status) == ("RUNNING", "FAILED")
        assert job.data.tags[PARENT] == above.id
    assert runs(place)[0].info.status == "FINISHED"


def test_a_deleted_experiment_is_restored(place: dict[str, str]) -> None:
    client = MlflowClient(tracking_uri=place["uri"])
    client.delete_experiment(
        client.create_experiment("test", artifact_location=f"file://{place['artifacts']}")
    )
    with track(**place, name="one", tags={}):
        pass
    assert len(runs(place)) == 1


def test_an_experiment_that_another_client_has_just_created_is_taken(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with track(**place, name="one", tags={}) as first:
        pass
    answers = [None]  # to the first question, asked before the other client was done
    found = MlflowClient.get_experiment_by_name
    monkeypatch.setattr(
        MlflowClient, "get_experiment_by_name", lambda *given: answers.pop() if answers else found(*given)
    )
    with track(**place, name="two", tags={}) as second:
        pass
    client = MlflowClient(place["uri"])
    assert client.get_run(second.id).info.experiment_id == client.get_run(first.id).info.experiment_id


def test_a_finished_run_can_be_opened_again_by_its_id(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        (tracked.folder / "note.txt").write_text("kept")
    with reopen(place["uri"], tracked.id) as again:
        assert (again.folder / "note.txt").read_text() == "kept"


def test_the_folder_of_a_finished_run_is_found_by_its_id_and_unchanged(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        (tracked.folder / "note.txt").write_text("kept")
    assert finished(place["uri"], tracked.id) == tracked.folder
    assert [path.name for path in tracked.folder.iterdir()] == ["note.txt"]


def test_a_run_that_failed_is_not_read_from(place: dict[str, str]) -> None:
    with contextlib.suppress(ValueError), track(**place, name="one", tags={}) as tracked:
        raise ValueError("broken")
    with pytest.raises(ConfigError, match=f"Run {tracked.id} is FAILED"):
        finished(place["uri"], tracked.id)


def test_an_unknown_run_is_a_clear_error(place: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="no run 0123abcd"), reopen(place["uri"], "0123abcd"):
        pass


def test_a_file_that_is_not_a_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, whatever its name says" * 100)
    place = {"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "test", "artifacts": str(tmp_path)}
    with pytest.raises(StorageError, match="cannot be used"), track(**place, name="one", tags={}):
        pass


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tracking_server_gets_the_files_and_no_file_a_password(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        settings = {"uri": server.uri, "experiment": "far", "artifacts": str(tmp_path / "waiting")}
        with track(**settings, name="one", tags={}) as tracked:
            (tracked.folder / "note.txt").write_text("kept")
        assert not tracked.folder.exists()
        with reopen(settings["uri"], tracked.id) as again:
            assert (again.folder / "note.txt").read_text() == "kept"
        assert (finished(settings["uri"], tracked.id) / "note.txt").read_text() == "kept"
        address = f"http://me:{SECRET}@127.0.0.1:{server.port}"
        small = ["data.patients=60", "data.images_per_patient=1", "data.size=32", "debug=fast_dev_run"]
        words = [*small, f"tracking.uri={address}", f"paths.root={tmp_path / 'near'}"]
        ended = subprocess.run(
            [sys.executable, "-m", "fibrolab.train", *words], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert SECRET not in ended.stdout + ended.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 50  # of the run, its cache, the server and Hydra
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_data_that_another_process_logs_at_the_same_time_are_logged(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged, refused = MlflowClient.log_inputs, ["UNIQUE constraint failed: datasets.experiment_id"]

    def log_inputs(*given: Any) -> None:
        if refused:
            raise MlflowException(refused.pop())
        logged(*given)

    monkeypatch.setattr(MlflowClient, "log_inputs", log_inputs)
    with track(**place, name="one", tags={}) as tracked:
        tracked.log_data("phantom", "0123abcd", "training")
    assert runs(place)[0].inputs.dataset_inputs[0].dataset.name == "phantom"


def test_one_file_of_a_run_is_read_in_place_or_fetched(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with track(**place, name="one", tags={}) as tracked:
        (tracked.folder / "note.txt").write_text("kept")
        (tracked.folder / "large.bin").write_bytes(b"0" * 1000)
    assert tracking.file_of(place["uri"], tracked.id, "note.txt") == tracked.folder / "note.txt"
    monkeypatch.setattr(tracking, "local_folder", lambda _: None)  # as if the files were on a server
    fetched = tracking.file_of(place["uri"], tracked.id, "note.txt")
    assert fetched.parent != tracked.folder
    assert fetched.read_text() == "kept"
    assert [path.name for path in fetched.parent.iterdir()] == ["note.txt"]
    with pytest.raises(StorageError):
        tracking.file_of(place["uri"], tracked.id, "absent.txt")


def test_runs_are_found_on_all_pages_of_a_search(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MlflowClient.search_runs

    def one_a_page(client: MlflowClient, ids: list[str], *words: Any, **named: Any) -> Any:
        return original(client, ids, *words, max_results=1, **named)

    made = []
    with track(**place, name="sweep", tags={}) as above:
        for number in range(3):
            tags = {"colour": "blue" if number else "red"}
            with track(**place, name=str(number), tags=tags, parent=above.id) as tracked:
                made.append(tracked.id)
    monkeypatch.setattr(MlflowClient, "search_runs", one_a_page)
    assert set(tracked.runs_with("colour", "blue")) == set(made[1:])
    assert [run_id for run_id, _, _ in tracking.children(place["uri"], above.id)] == made
