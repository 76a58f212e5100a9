"""Errors of the tracking database and missing files of runs, each reported in one sentence."""

import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, UNAUTHENTICATED
from mlflow.tracking import MlflowClient
from sqlalchemy import create_engine, text

from fibrolab import processes, tracking, tracking_address
from fibrolab.errors import ConfigError, StorageError
from fibrolab.tracked_run import as_storage_error
from fibrolab.tracking import PROCESS, finished, reopen, track

KILLS = int(os.environ.get("FIBROLAB_KILLS", "6"))  # of processes that make a database


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
        itself = processes.current()
        client.set_tag(tracked.id, PROCESS, replace(itself, pid="4194304"))  # above Linux's largest id
        with reopen(place["uri"], tracked.id) as again:
            assert again.id == tracked.id
        client.set_tag(tracked.id, PROCESS, itself)


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


@pytest.mark.parametrize("sign", ["?", "#"])
def test_a_path_that_cannot_be_an_address_is_refused_and_nothing_is_created(
    tmp_path: Path, sign: str
) -> None:
    place = {
        "uri": f"sqlite:///{tmp_path}/a{sign}b/mlflow.db",
        "experiment": "fibrolab",
        "artifacts": str(tmp_path / "artifacts"),
    }
    with (
        pytest.raises(ConfigError, match=rf"holds \{sign}\. Choose another paths\.root"),
        track(**place, name="one", tags={}),
    ):
        pass
    assert not list(tmp_path.iterdir())


NO_ADDRESSES = ["", "  ", "mlruns", "localhost:5000", "file:///tmp/mlruns", "s3://bucket/runs", "foo://host"]


@pytest.mark.parametrize("uri", NO_ADDRESSES)
def test_what_is_no_address_is_refused_and_nothing_is_created(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(
            ConfigError, match=f"tracking.uri='{uri}' is not the address of a database or a server"
        ),
        track(uri=uri, experiment="fibrolab", artifacts="artifacts", name="one", tags={}),
    ):
        pass
    with pytest.raises(ConfigError, match="is not the address"):
        finished(uri, "0123")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "  "])
def test_an_experiment_without_a_name_is_refused(place: dict[str, str], name: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"tracking\.experiment is empty: give a name"),
        track(**place | {"experiment": name}, name="one", tags={}),
    ):
        pass


def test_a_number_is_a_name_of_an_experiment(place: dict[str, Any]) -> None:
    with track(**place | {"experiment": 2026}, name="one", tags={}):
        pass
    assert MlflowClient(place["uri"]).get_experiment_by_name("2026") is not None


@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("postgresql+psycopg", "psycopg[binary]"),
        ("postgresql+psycopg2", "psycopg2-binary"),
        ("mysql", "mysqlclient"),
        ("mssql+pymssql", "pymssql"),
    ],
)
def test_the_package_of_a_missing_driver_is_named(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("psycopg", "psycopg2", "MySQLdb", "pymssql"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    place = {"uri": f"{kind}://me:secret@host/db", "experiment": "fibrolab", "artifacts": str(tmp_path)}
    with (
        pytest.raises(ConfigError) as fault,
        track(**place, name="one", tags={}),
    ):
        pass
    assert f"tracking.uri={kind}://me:***@host/db needs a driver" in str(fault.value)
    assert f"run `pip install '{package}'`" in str(fault.value)


def test_a_database_that_never_answers_is_refused_within_the_time_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wait(*_: object) -> None:
        time.sleep(5)

    monkeypatch.setattr(tracking_address, "PATIENCE", 0.2)
    monkeypatch.setattr(tracking_address, "inspect", wait)
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(StorageError, match="no response within"):
        finished(f"sqlite:///{tmp_path}/mlflow.db", "0123")


def test_a_folder_in_place_of_the_database_is_refused_at_once(tmp_path: Path) -> None:
    place = {"uri": f"sqlite:///{tmp_path}", "experiment": "fibrolab", "artifacts": str(tmp_path / "files")}
    with (
        pytest.raises(StorageError, match="unable to open database file"),
        track(**place, name="one", tags={}),
    ):
        pass


@pytest.mark.parametrize("known", [False, True])
def test_a_file_in_place_of_the_artifacts_is_refused_before_a_run_is_opened(
    place: dict[str, str], known: bool
) -> None:
    artifacts = Path(place["artifacts"])
    if known:
        with track(**place, name="one", tags={}):
            pass
        shutil.rmtree(artifacts)
    artifacts.write_text("in the way")
    client = MlflowClient(place["uri"])
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    before = len(client.search_runs(ids))
    with (
        pytest.raises(StorageError, match="artifacts, which cannot be created or written"),
        track(**place, name="two", tags={}),
    ):
        pass
    assert len(client.search_runs(ids)) == before


@pytest.mark.parametrize("part", ["mlflow.db", "."])
def test_a_database_without_permission_to_write_is_refused_for_a_new_run_and_still_read(
    place: dict[str, str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with track(**place, name="one", tags={}) as tracked:
        pass
    locked_path = Path(place["uri"].removeprefix("sqlite:///")).parent / part
    monkeypatch.setattr(
        tracking.os, "access", lambda path, _: Path(path) != locked_path
    )  # root may write all
    with pytest.raises(StorageError, match="no permission to write"), track(**place, name="two", tags={}):
        pass
    assert finished(place["uri"], tracked.id) == tracked.folder


def test_a_database_of_another_version_of_mlflow_is_named_as_such(place: dict[str, str]) -> None:
    with sqlite3.connect(place["uri"].removeprefix("sqlite:///")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'deadbeef'")
    with (
        pytest.raises(StorageError, match=r"another version of MLflow than .* run `mlflow db upgrade sqlite"),
        track(**place, name="one", tags={}),
    ):
        pass


def test_a_server_out_of_service_is_refused_and_one_that_asks_for_a_password_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for code in (401, 404):
        monkeypatch.setattr(tracking_address, "urlopen", answering(code))
        tracking_address.check_server("http://host:5000")
    monkeypatch.setattr(tracking_address, "urlopen", answering(503))
    with pytest.raises(StorageError, match=r"does not answer \(HTTP Error 503"):
        tracking_address.check_server("http://host:5000")


def answering(code: int) -> Callable[..., None]:
    def answer(*_: object, **__: object) -> None:
        raise HTTPError("http://host:5000", code, "", Message(), None)

    return answer


def test_a_server_that_accepts_and_never_answers_is_refused_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tracking_address, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(StorageError, match=r"http://me:\*\*\*@127.* does not answer \(.*\): start it"),
            track(uri=address, experiment="x", artifacts=str(tmp_path), name="one", tags={}),
        ):
            pass


def wrapped() -> None:
    try:
        raise ConfigError("data.root is not a folder")
    except ConfigError as error:
        raise RuntimeError("Error in call to target") from error


def test_a_sentence_of_ours_is_the_error_of_the_run_though_a_library_wrapped_it(
    place: dict[str, str],
) -> None:
    with pytest.raises(RuntimeError), track(**place, name="one", tags={}):
        wrapped()
    client = MlflowClient(place["uri"])
    (run,) = client.search_runs([client.get_experiment_by_name(place["experiment"]).experiment_id])
    assert run.data.tags["error"] == "ConfigError: data.root is not a folder"


def test_finished_runs_are_not_asked_of_a_silent_server_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_address, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StorageError, match="does not answer"):
            finished(address, "0123")


def test_a_certificate_is_left_to_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Exception] = [URLError(ssl.SSLCertVerificationError("self-signed")), URLError("refused")]

    def fail(*_: object, **__: object) -> None:
        raise faults.pop(0)

    monkeypatch.setattr(tracking_address, "urlopen", fail)
    tracking_address.check_server("https://host:5000")
    with pytest.raises(StorageError, match="does not answer"):
        tracking_address.check_server("https://host:5000")


def test_what_a_killed_process_left_of_a_new_database_is_replaced(tmp_path: Path) -> None:
    mlruns = tmp_path / "mlruns"
    mlruns.mkdir()
    (mlruns / ".mlflow.db.new").write_bytes(b"SQLite format 3 of which half is missing")
    uri = f"sqlite:///{mlruns}/mlflow.db"
    with track(uri=uri, experiment="fibrolab", artifacts=str(tmp_path), name="one", tags={}):
        assert [path.name for path in mlruns.glob("*.db*")] == ["mlflow.db"]


def test_only_a_new_database_is_made_without_waiting_for_the_disk(tmp_path: Path) -> None:
    def synchronous(name: str) -> int:
        with create_engine(f"sqlite:///{tmp_path}/{name}.db").connect() as connection:
            return connection.execute(text("PRAGMA synchronous")).scalar_one()

    with tracking._unsynced("new.db"):
        assert synchronous("new") == 0
        assert synchronous("of a study") == 2
    assert synchronous("new") == 2


def test_two_processes_at_once_make_one_database(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    place = {"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "one", "artifacts": str(tmp_path)}
    children = [fork.Process(target=tracking._open, kwargs=place) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    with create_engine(place["uri"]).connect() as connection:
        names = connection.execute(text("SELECT name FROM experiments ORDER BY experiment_id"))
        assert names.scalars().all() == ["Default", "one"]
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"


@pytest.mark.slow
@pytest.mark.timeout(150 * KILLS)
def test_a_kill_at_any_moment_of_its_making_leaves_no_half_database(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    places = [
        {"uri": f"sqlite:///{tmp_path}/{n}/mlflow.db", "experiment": "fibrolab", "artifacts": str(tmp_path)}
        for n in range(KILLS + 1)
    ]
    tracking._open(**places[0])
    whole = (tmp_path / "0" / "mlflow.db").stat().st_size  # [bytes]
    for number, place in enumerate(places[1:]):
        made = tmp_path / str(number + 1)
        child = fork.Process(target=tracking._open, kwargs=place)
        child.start()
        while child.is_alive() and _size(made / ".mlflow.db.new") < whole * (number + 0.5) / KILLS:
            time.sleep(0.001)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL  # it had not ended
        assert not (made / "mlflow.db").exists()
        with track(**place, name="after", tags={}) as tracked:
            pass
        assert finished(place["uri"], tracked.id) == tracked.folder


def test_a_run_that_fills_the_disk_is_marked_as_failed_by_the_space_in_reserve(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the reserve is held, the database cannot be written."""
    reserves, log_batch, terminated = [], MlflowClient.log_batch, MlflowClient.set_terminated
    take = tracking._reserve

    def keep(uri: str) -> IO[bytes]:
        reserves.append(take(uri))
        return reserves[-1]

    def unless_full(write: Callable[..., None], *arguments: object, **named: object) -> None:
        if not reserves[-1].closed:
            raise MlflowException("(sqlite3.OperationalError) database or disk is full")
        write(*arguments, **named)

    monkeypatch.setattr(tracking, "_reserve", keep)
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *a, **k: unless_full(log_batch, *a, **k))
    monkeypatch.setattr(MlflowClient, "set_terminated", lambda *a, **k: unless_full(terminated, *a, **k))
    with pytest.raises(StorageError) as raised, track(**place, name="one", tags={}) as tracked:
        tracked.log_params({"a": 1})
    database = place["uri"].removeprefix("sqlite:///")
    assert str(raised.value).startswith(
        f"The tracking database {database} cannot be written: the disk mounted"
    )
    run = MlflowClient(place["uri"]).get_run(tracked.id)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == f"StorageError: {raised.value}"


def test_the_reserve_takes_space_but_leaves_no_file(tmp_path: Path) -> None:
    reserve = tracking._reserve(f"sqlite:///{tmp_path}/mlflow.db")
    assert os.fstat(reserve.fileno()).st_blocks * 512 >= tracking.RESERVE
    assert list(tmp_path.iterdir()) == []
    tracking._free(reserve)
    assert reserve.closed


def test_the_space_in_reserve_is_free_although_a_loader_worker_still_has_it_open(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited, take = [], tracking._reserve

    def duplicated(uri: str) -> IO[bytes]:
        reserve = take(uri)
        inherited.append(os.dup(reserve.fileno()))
        return reserve

    monkeypatch.setattr(tracking, "_reserve", duplicated)
    with track(**place, name="one", tags={}):
        assert os.fstat(inherited[0]).st_size == tracking.RESERVE
    monkeypatch.setattr(MlflowClient, "create_run", locked)
    with pytest.raises(StorageError, match="database is locked"), track(**place, name="two", tags={}):
        pass
    assert [os.fstat(each).st_size for each in inherited] == [0, 0]
    for each in inherited:
        os.close(each)


def test_a_full_disk_leaves_no_half_made_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(self: MlflowClient, **_: object) -> None:
        (tmp_path / ".mlflow.db.new").write_bytes(b"half")
        raise MlflowException("database or disk is full")

    monkeypatch.setattr(MlflowClient, "search_experiments", fill)
    place = {"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "test", "artifacts": str(tmp_path)}
    with pytest.raises(StorageError, match="is full"), track(**place, name="one", tags={}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.lock"]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("code", [UNAUTHENTICATED, PERMISSION_DENIED])
def test_a_server_that_refuses_the_user_is_told_apart_from_one_that_fails(code: int) -> None:
    with pytest.raises(StorageError) as caught, as_storage_error("http://me:s3cr3t@host:5000"):
        raise MlflowException("API request failed.", error_code=code)
    assert str(caught.value) == (
        "The tracking server http://me:***@host:5000 does not accept this user and password, or none was "
        "given: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user who may write "
        "there."
    )
