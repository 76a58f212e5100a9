"""A real stack of servers: several clients, outages, wrong passwords, backup and restore."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import optuna
import pytest
from compose import composed
from local_stack import SCRIPT, Stack, running
from mlflow.exceptions import MlflowException

from fibrolab import syncing
from fibrolab.callbacks.curve_logger import CurveLogger
from fibrolab.errors import StorageError
from fibrolab.sweeps.shared_study import Database
from fibrolab.tracked_run import TrackedRun
from fibrolab.tracking import track
from fibrolab.tracking_journal import unsent

DEBIAN = Path("/usr/lib/postgresql")
POINTS = 30
CLIENT = """if True:
    import json, sys
    from fibrolab.callbacks.curve_logger import CurveLogger
    from fibrolab.tracking import track
    with track(**json.loads(sys.argv[1]), tags={}) as tracked:
        print(tracked.id, flush=True)
        sys.stdin.readline()
        curves = CurveLogger(tracked)
        for step in range(30):
            curves.log_metrics({"train/loss": 1 / (step + 1)}, step)
            curves.finalize()
        (tracked.folder / "note.txt").write_text(tracked.id)
"""

TRIALS = """if True:
    import sys
    from pathlib import Path
    from fibrolab.sweeps import search_algorithms, search_space
    from fibrolab.sweeps.jobs import Result
    from fibrolab.sweeps.shared_study import Database, Goal, SharedStudy
    space = search_space.parsed({"optimizer.lr": "tag(log, interval(1e-5, 1e-2))"})
    goals, create = [Goal("val/loss", "min")], lambda: sys.argv[2]
    study = SharedStudy(Database(sys.argv[1]), "shared", goals, space, {}, create)
    sampler = lambda number: search_algorithms.build("random", space, number)
    while found := study.ask(12, sampler, Path(sys.argv[3])):
        study.tell(found[0].number, Result("finished", sys.argv[2], 0.5))
    print(study.run_id)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if not (shutil.which("initdb") or list(DEBIAN.glob("*/bin/initdb"))):
        pytest.skip("PostgreSQL is not installed")
    with running() as started:
        yield started


@pytest.fixture
def place(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of `track` for that stack, whose administrator is in the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", stack.secret("mlflow_admin_password"))
    monkeypatch.setattr("fibrolab.tracking_journal.FIRST_WAIT", 0.0)
    artifacts = tmp_path / "mlruns" / "artifacts"
    return {"uri": stack.uri, "experiment": "study", "artifacts": str(artifacts), "name": "one"}


def fill(tracked: TrackedRun, start: int = 0, stop: int = POINTS) -> None:
    """Log a part of a curve."""
    curves = CurveLogger(tracked)
    for step in range(start, stop):
        curves.log_metrics({"train/loss": 1 / (step + 1)}, step)
    curves.finalize()


def assert_whole(stack: Stack, run_id: str) -> None:
    """Assert that the server has a finished run with every point once, and its file."""
    assert stack.client.get_run(run_id).info.status == "FINISHED"
    points = stack.client.get_metric_history(run_id, "train/loss")
    assert [point.step for point in points] == list(range(POINTS))
    assert [file.path for file in stack.client.list_artifacts(run_id)] == ["note.txt"]


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_starting_again_changes_nothing_and_no_password_is_readable_or_printed(stack: Stack) -> None:
    pids = [(stack.folder / f"{name}.pid").read_text() for name in ("mlflow", "dashboard")]
    secrets = {path: path.read_text() for path in (stack.folder / "secrets").iterdir()}
    printed = stack.do("start")
    assert [(stack.folder / f"{name}.pid").read_text() for name in ("mlflow", "dashboard")] == pids
    assert {path: path.read_text() for path in secrets} == secrets
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    assert len({stack.secret(path.name) for path in secrets}) == len(secrets)
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    logs = "".join(path.read_text() for path in (stack.folder / "logs").iterdir())
    for secret in secrets.values():
        assert secret not in printed + commands + logs
    assert printed.count("running") == 3
    assert "no S3-compatible store" in printed


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_two_clients_at_once_have_a_whole_run_each(stack: Stack, place: dict[str, Any]) -> None:
    words = [sys.executable, "-c", CLIENT, json.dumps(place | {"experiment": "both"})]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    clients = [subprocess.Popen(words, **pipes) for _ in range(2)]
    ids = [client.stdout.readline().strip() for client in clients]  # both runs are open
    for client in clients:
        client.communicate("\n", timeout=200)
    assert [client.returncode for client in clients] == [0, 0]
    assert len(set(ids)) == 2
    for run_id in ids:
        assert_whole(stack, run_id)


@pytest.mark.slow
@pytest.mark.timeout(580)
@pytest.mark.parametrize("server", ["mlflow", "postgres"])
def test_a_server_that_stops_and_returns_in_the_middle_of_a_run_loses_nothing(
    server: str, stack: Stack, place: dict[str, Any]
) -> None:
    with track(**place, tags={}) as tracked:
        fill(tracked, stop=10)
        stack.do("stop", server)
        try:
            fill(tracked, 10, 20)
            assert list(unsent(Path(place["artifacts"]))) == [tracked.id]
        finally:
            stack.do("start", server)
        fill(tracked, 20)
        assert len(stack.client.get_metric_history(tracked.id, "train/loss")) == POINTS
        (tracked.folder / "note.txt").write_text("kept")
    assert_whole(stack, tracked.id)
    assert not (Path(place["artifacts"]) / tracked.id).exists()


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_run_whose_server_is_gone_at_its_end_is_sent_by_sync(
    stack: Stack, place: dict[str, Any], tmp_path: Path
) -> None:
    with track(**place, tags={}) as tracked:
        (tracked.folder / "note.txt").write_text("kept")
        stack.do("stop")
        fill(tracked)
    assert "stopped" in stack.call("status").stdout
    refused = stack.call("backup", str(tmp_path / "never.tar.gz"))
    assert (refused.returncode, "PostgreSQL is stopped" in refused.stderr) == (1, True)
    stack.do("start")
    syncing.run(composed(f"paths.root={tmp_path}", name="sync"))
    assert_whole(stack, tracked.id)


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_wrong_password_is_one_sentence_without_it(
    stack: Stack, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "not-the-passw0rd"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", wrong)
    refused = "does not accept this user and password, or none was given: set MLFLOW_TRACKING_USERNAME"
    with pytest.raises(StorageError, match=refused) as caught, track(**place, tags={}):
        pass
    assert wrong not in str(caught.value)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    for user in ("", f"admin:{wrong}@"):
        address = stack.uri.replace("://", f"://{user}")
        with pytest.raises(StorageError, match=refused) as caught, track(**place | {"uri": address}, tags={}):
            pass
        assert wrong not in str(caught.value)
    database = f"postgresql://mlflow:{wrong}@{stack.address('postgres')}/mlflow"
    said = r"postgresql://mlflow:\*\*\*@.*password authentication failed"
    with pytest.raises(StorageError, match=said), track(**place | {"uri": database}, tags={}):
        pass


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_study_and_its_runs_come_back_from_a_backup(
    stack: Stack, place: dict[str, Any], tmp_path: Path
) -> None:
    study = optuna.create_study(storage=stack.storage, study_name="backbones")
    study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 1.0) ** 2, n_trials=3)
    with urlopen(f"http://{stack.address('dashboard')}/api/studies", timeout=30) as answer:
        assert [each["study_name"] for each in json.load(answer)["study_summaries"]] == ["backbones"]
    with track(**place, tags={"study": "backbones"}) as tracked:
        fill(tracked)
        (tracked.folder / "note.txt").write_text("kept")
    values = [trial.value for trial in study.trials]
    saved = tmp_path / "saved.tar.gz"
    stack.do("backup", str(saved))
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "exists" in stack.call("backup", str(saved)).stderr

    optuna.delete_study(study_name="backbones", storage=stack.storage)
    stack.client.delete_run(tracked.id)
    shutil.rmtree(stack.folder / "artifacts")
    (stack.folder / "artifacts").mkdir()
    with track(**place, tags={}) as later:
        pass
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(saved.read_bytes()[:-5000])
    assert "no whole backup" in stack.call("restore", str(torn)).stderr
    assert stack.client.get_run(later.id).info.status == "FINISHED"  # nothing was changed

    stack.do("restore", str(saved))
    assert_whole(stack, tracked.id)
    downloaded = stack.client.download_artifacts(tracked.id, "note.txt", str(tmp_path))
    assert Path(downloaded).read_text() == "kept"
    again = optuna.load_study(study_name="backbones", storage=stack.storage)
    assert [trial.value for trial in again.trials] == values
    assert again.best_value == min(values)
    with pytest.raises(MlflowException, match="not found"):
        stack.client.get_run(later.id)


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_machines_share_a_study_and_go_on_with_it_after_an_outage(stack: Stack, tmp_path: Path) -> None:
    def begun(name: str) -> subprocess.Popen:
        words = [sys.executable, "-c", TRIALS, stack.storage, name, str(tmp_path)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    started = [begun(f"run{number}") for number in range(3)]
    printed = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 3
    assert len(set(printed)) == 1  # one of them created the study's run
    trials = optuna.load_study(study_name="shared", storage=stack.storage).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 12
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 12

    database = Database(stack.storage)
    stack.do("stop", "postgres")
    try:
        with pytest.raises(StorageError, match="cannot be used") as caught, database.faults():
            optuna.load_study(study_name="shared", storage=database.storage)
        assert stack.secret("optuna_database_password") not in str(caught.value)
        with pytest.raises(StorageError, match=r"optuna:\*\*\*@.*cannot be used"):
            Database(stack.storage)
    finally:
        stack.do("start", "postgres")
    with database.faults():
        assert len(optuna.load_study(study_name="shared", storage=database.storage).trials) == 12
    wrong = stack.storage.replace(stack.secret("optuna_database_password"), "not-the-passw0rd")
    with pytest.raises(StorageError, match="password authentication failed") as caught:
        Database(wrong)
    assert "not-the-passw0rd" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "usage: local_stack.sh start"),
        (["restart"], "usage: local_stack.sh start"),
        (["start", "redis"], "there is no server 'redis'"),
        (["backup"], "backup needs a file"),
        (["status"], "there is no stack in"),
    ],
)
def test_a_wrong_call_is_one_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    done = Stack(tmp_path / "stack").call(*words)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "stack").exists()


def test_secrets_are_random_and_kept(tmp_path: Path) -> None:
    make = [str(SCRIPT.with_name("make_secrets.sh"))]
    for name in ("one", "two", "one"):
        before = {path: path.read_bytes() for path in (tmp_path / "one").glob("*")}
        subprocess.run([*make, str(tmp_path / name)], check=True)
        assert all(path.read_bytes() == content for path, content in before.items())
    first, second = (
        {path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("one", "two")
    )
    assert first.keys() == second.keys()
    assert len({*first.values(), *second.values()}) == 2 * len(first)
    assert {len(value) for name, value in first.items() if name != "s3.json"} == {48}
    ((key,),) = [each["credentials"] for each in json.loads(first["s3.json"])["identities"]]
    assert key == {"accessKey": "mlflow", "secretKey": first["s3_key"]}
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
