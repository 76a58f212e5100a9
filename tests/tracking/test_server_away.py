"""A run whose tracking server goes away goes on, and is sent later, once and whole."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from compose import composed
from filelock import FileLock
from mlflow.entities import Run
from mlflow_server import Server, serving

from fibrolab import keys, syncing, tracked_run
from fibrolab.analyses.evaluating import evaluate
from fibrolab.analyses.run_files import write_config
from fibrolab.callbacks.curve_logger import CurveLogger
from fibrolab.errors import ConfigError, InUseError, StorageError
from fibrolab.runs.trained_run import open_run
from fibrolab.tracked_run import NOTE, TrackedRun
from fibrolab.tracking import PROCESS, SWEEP, reopen, send_unsent, track
from fibrolab.tracking_journal import JOURNAL, LOCK, unsent
from fibrolab.training import resuming
from fibrolab.unfinished_runs import UnfinishedRun

SECRET = "s3cr3t-w0rd"


class Store:
    """A database in the place of a server, and the switch that takes it away."""

    def __init__(self, place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.up = place, True
        self.client = tracked_run.MlflowClient(tracking_uri=place["uri"])
        self.far = Path(place["artifacts"]).with_name("far")
        self.client.create_experiment(place["experiment"], artifact_location=self.far.as_uri())
        monkeypatch.setattr(tracked_run, "SERVERS", ("sqlite:",))
        monkeypatch.setattr(tracked_run, "local_folder", lambda _: None)
        monkeypatch.setattr(tracked_run, "check_server", self._check)
        for name in ("log_batch", "log_inputs", "log_artifacts", "set_terminated"):
            original = getattr(tracked_run.MlflowClient, name)
            monkeypatch.setattr(tracked_run.MlflowClient, name, self._if_up(original))

    def _if_up(self, original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self._refuse()
            return original(*arguments, **named)

        return call

    def _check(self, *_: object) -> None:
        if not self.up:
            raise StorageError("The tracking server does not answer.")

    def _refuse(self) -> None:
        if not self.up:
            raise tracked_run.MlflowException(f"http://me:{SECRET}@host failed with exception")

    @contextlib.contextmanager
    def run(self, **changes: Any) -> Iterator[TrackedRun]:
        """A run of this store."""
        with track(**(self.place | {"name": "one", "tags": {}} | changes)) as tracked:
            yield tracked

    def found(self, run_id: str) -> Run:
        """The run as the store has it."""
        return self.client.get_run(run_id)

    def send(self, run_id: str) -> None:
        """Send the rest of a run."""
        send_unsent(self.place["uri"], run_id, self.place["artifacts"])

    def folder(self, tracked: TrackedRun) -> Path:
        """The folder in which a run waits."""
        return Path(self.place["artifacts"]) / tracked.id


@pytest.fixture
def store(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(place, monkeypatch)


def test_an_outage_ends_no_run_and_all_of_it_is_sent_later(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with store.run() as tracked:
        tracked.log_params({"seed": 1})
        store.up = False
        fill(tracked)
    assert store.found(tracked.id).data.params == {"seed": "1"}
    assert store.found(tracked.id).info.status == "RUNNING"
    (record,) = caplog.records
    assert "does not answer" in record.message
    assert "python -m fibrolab.sync tracking.artifacts=" in record.message
    assert SECRET not in caplog.text
    with pytest.raises(StorageError, match="cannot be used"):
        store.send(tracked.id)
    store.up = True
    store.send(tracked.id)
    assert_whole(store.client, tracked)
    assert not store.folder(tracked).exists()
    with pytest.raises(InUseError, match="was sent by another process"):
        store.send(tracked.id)


def fill(tracked: TrackedRun) -> None:
    """Log one of everything, and two files."""
    tracked.log_params({"optimizer.lr": 0.1})
    curves = CurveLogger(tracked)
    for step in range(30):
        curves.log_metrics({"train/loss": 1 / (step + 1), "val/loss": float("nan")}, step)
    curves.finalize()
    tracked.log_data("clinic", "0123456789", "training")
    tracked.log_metrics({"test/accuracy": 0.5})
    tracked.describe("A **summary**.")
    (tracked.folder / "figures").mkdir()
    (tracked.folder / "figures" / "roc.png").write_bytes(b"drawn" * 1000)
    (tracked.folder / "empty.txt").write_bytes(b"")


def assert_whole(client: Any, tracked: TrackedRun, status: str = "FINISHED") -> None:
    """Assert that a store has everything that `fill` logged, once."""
    run = client.get_run(tracked.id)
    assert run.info.status == status
    assert run.data.params["optimizer.lr"] == "0.1"
    assert run.data.metrics["test/accuracy"] == 0.5
    assert run.data.tags[NOTE] == "A **summary**."
    points = client.get_metric_history(tracked.id, "train/loss")
    assert [point.step for point in points] == list(range(30))
    assert [point.value for point in points[:2]] == [1, 0.5]
    assert len(client.get_metric_history(tracked.id, "val/loss")) == 30
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "clinic"
    files = {file.path: file.file_size for file in client.list_artifacts(tracked.id, "figures")}
    assert files == {"figures/roc.png": 5000}
    assert "empty.txt" in {file.path for file in client.list_artifacts(tracked.id)}


def test_a_server_that_returns_gets_everything_during_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fibrolab.tracking_journal.FIRST_WAIT", 0.0)
    with store.run() as tracked:
        store.up = False
        tracked.log_params({"seed": 1})
        store.up = True
        tracked.log_params({"batch_size": 2})
        assert store.found(tracked.id).data.params == {"seed": "1", "batch_size": "2"}
    assert not caplog.records
    assert not store.folder(tracked).exists()


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_ends_early_during_an_outage_keeps_its_status(
    store: Store, error: type[BaseException], status: str
) -> None:
    with contextlib.suppress(error), store.run() as tracked:
        store.up = False
        raise error("why")
    store.up = True
    store.send(tracked.id)
    assert store.found(tracked.id).info.status == status
    if status == "FAILED":
        assert store.found(tracked.id).data.tags["error"] == "ValueError: why"


def test_a_run_that_failed_during_an_outage_is_running_while_it_goes_on(store: Store) -> None:
    with contextlib.suppress(ValueError), store.run() as failed:
        store.up = False
        failed.log_params({"seed": 1})
        raise ValueError("why")
    store.up = True
    store.client.delete_tag(failed.id, PROCESS)  # its process, which is that of the tests, has ended
    unfinished = UnfinishedRun(store.client, store.found(failed.id), store.place["artifacts"])
    with store.run(resumed=unfinished) as again:
        again.log_params({"batch_size": 2})
        found = store.found(again.id)
        assert found.info.status == "RUNNING"
        assert found.data.params == {"seed": "1", "batch_size": "2"}
        assert "error" not in found.data.tags
    assert store.found(again.id).info.status == "FINISHED"
    assert not store.folder(again).exists()


def test_the_batch_size_that_was_found_during_an_outage_is_that_of_the_resumed_run(store: Store) -> None:
    with contextlib.suppress(KeyboardInterrupt), store.run() as killed:
        store.up = False
        killed.log_params({"batch_size": 96})
        raise KeyboardInterrupt
    store.up = True
    store.client.delete_tag(killed.id, PROCESS)  # its process, which is that of the tests, has ended
    assert "batch_size" not in store.found(killed.id).data.params
    tracking = [f"tracking.{name}={store.place[name]}" for name in ("uri", "artifacts")]
    write_config(composed("batch_size=auto", *tracking), killed.folder)
    config, resumed = resuming.opened(composed("batch_size=auto", f"resume={killed.id}", *tracking))
    assert config.batch_size == 96
    with store.run(resumed=resumed) as again:
        again.log_params({"seed": 1})
    assert store.found(again.id).data.params == {"batch_size": "96", "seed": "1"}


def test_a_run_that_another_process_sends_is_left_as_it_is(store: Store) -> None:
    with contextlib.suppress(KeyboardInterrupt), store.run() as killed:
        (killed.folder / "last.ckpt").write_bytes(b"state")
        store.up = False
        raise KeyboardInterrupt
    store.up = True
    store.client.delete_tag(killed.id, PROCESS)  # its process, which is that of the tests, has ended
    place, folder = store.place, store.folder(killed)
    before = (store.found(killed.id).info.status, store.found(killed.id).data.tags)
    waiting = (folder / JOURNAL).read_bytes()
    with FileLock(folder / LOCK):  # of `fibrolab.sync`
        unfinished = UnfinishedRun(store.client, store.found(killed.id), place["artifacts"])
        with pytest.raises(InUseError, match="is in use by another process"), store.run(resumed=unfinished):
            pass
    assert (store.found(killed.id).info.status, store.found(killed.id).data.tags) == before
    assert (folder / JOURNAL).read_bytes() == waiting
    assert (killed.folder / "last.ckpt").read_bytes() == b"state"


def test_a_run_that_another_process_trains_leaves_no_journal_of_the_refused_one(store: Store) -> None:
    with store.run() as running:
        pass
    store.client.update_run(running.id, status="RUNNING")
    unfinished = UnfinishedRun(store.client, store.found(running.id), store.place["artifacts"])
    with pytest.raises(ConfigError, match="is being trained by process"), store.run(resumed=unfinished):
        pass
    assert not (store.folder(running) / JOURNAL).exists()
    assert not (store.folder(running) / LOCK).exists()
    assert store.found(running.id).info.status == "RUNNING"


@pytest.mark.parametrize("returns", [False, True])
def test_a_run_that_waits_is_read_and_added_to_where_it_is(
    returns: bool, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fibrolab.tracking.check_address", store._check)
    uri, artifacts = store.place["uri"], store.place["artifacts"]
    with store.run() as tracked:
        store.up = False
        fill(tracked)
        (tracked.folder / keys.ENVIRONMENT_FILE).write_text(json.dumps({"format": keys.FORMAT}))
    assert open_run(tracked.id, uri, artifacts=artifacts).folder == tracked.folder
    with pytest.raises(StorageError, match="does not answer"):
        open_run(tracked.id, uri)
    with pytest.raises(StorageError, match="does not answer"), reopen(uri, "another", artifacts):
        pass
    store.up = returns
    caplog.clear()
    with reopen(uri, tracked.id, artifacts) as again:
        again.tag({"bootstrap": "20 resamples"})
        (again.folder / "added.txt").write_text("later")
    assert ("python -m fibrolab.sync" in caplog.text) != returns
    if not returns:
        with pytest.raises(ValueError, match="why"), reopen(uri, tracked.id, artifacts):
            raise ValueError("why")
        with (store.folder(tracked) / JOURNAL).open("a") as journal:
            journal.write('["tags", [["killed", "while it was added"]]]\n')
        store.up = True
        store.send(tracked.id)
    assert_whole(store.client, tracked)
    assert store.found(tracked.id).data.tags["bootstrap"] == "20 resamples"
    assert "added.txt" in {file.path for file in store.client.list_artifacts(tracked.id)}
    assert not store.folder(tracked).exists()


def test_a_run_that_did_not_finish_is_not_read_where_it_waits(store: Store) -> None:
    with contextlib.suppress(ValueError), store.run() as tracked:
        store.up = False
        raise ValueError("why")
    store.up = True
    with pytest.raises(ConfigError, match=r"is RUNNING, so its files may be incomplete"):
        open_run(tracked.id, store.place["uri"], artifacts=store.place["artifacts"])


def test_a_sweep_and_its_jobs_are_sent_apart(store: Store) -> None:
    with store.run(name="sweep", tags={SWEEP: "sweep"}) as parent, store.run(parent=parent.id) as job:
        store.up = False
    store.up = True
    store.send(job.id)
    assert [store.found(run.id).info.status for run in (parent, job)] == ["RUNNING", "FINISHED"]
    store.send(parent.id)
    assert store.found(parent.id).info.status == "FINISHED"


def test_a_kill_while_what_was_sent_is_removed_does_not_change_the_status(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt), store.run() as tracked:
        fill(tracked)
        patch.setattr("fibrolab.tracked_run.shutil.rmtree", killed)
    assert store.found(tracked.id).info.status == "FINISHED"
    assert list(unsent(Path(store.place["artifacts"]))) == [tracked.id]
    store.send(tracked.id)
    assert_whole(store.client, tracked)
    assert not store.folder(tracked).exists()


@pytest.mark.parametrize("step", ["log_batch", "log_inputs", "log_artifacts", "set_terminated"])
def test_sending_that_was_interrupted_anywhere_is_repeated_without_doubling(
    store: Store, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.run() as tracked:
        store.up = False
        fill(tracked)
    store.up = True
    original = getattr(tracked_run.MlflowClient, step)

    def interrupted(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracked_run.MlflowClient, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.send(tracked.id)
    store.send(tracked.id)
    assert_whole(store.client, tracked)


def test_a_file_that_did_not_arrive_whole_is_named_and_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.run() as tracked:
        store.up = False
        fill(tracked)
    store.up = True
    original = tracked_run.MlflowClient.log_artifacts

    def truncating(self: Any, run_id: str, folder: str) -> None:
        original(self, run_id, folder)
        (far,) = store.far.rglob("figures/roc.png")
        far.write_bytes(b"drawn")

    with monkeypatch.context() as patch:
        patch.setattr(tracked_run.MlflowClient, "log_artifacts", truncating)
        with pytest.raises(StorageError, match=r"took figures/roc\.png of run .* only in part"):
            store.send(tracked.id)


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_real_server_gets_every_run_once_and_whole(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    waiting = tmp_path / "mlruns" / "artifacts"
    with serving(tmp_path / "server") as server:
        place = {"uri": server.uri, "experiment": "far", "artifacts": str(waiting), "tags": {}}
        with track(**place, name="away") as away:
            away.log_params({"seed": 1})
            server.stop()
            fill(away)
        killed = killed_during_an_outage(server, place)
        config = composed(f"paths.root={tmp_path}", name="sync")
        with pytest.raises(StorageError, match=r"does not answer .* 2 runs still wait in"):
            syncing.run(config)
        server.start()
        assert server.client.get_run(away.id).info.status == "RUNNING"
        both = [subprocess.Popen(sync(tmp_path), stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = "".join(each.communicate(timeout=300)[0] for each in both)
        assert [each.returncode for each in both] == [0, 0]
        assert said.count(f"sent     {away.id}") == said.count(f"sent     {killed}") == 1
        assert_whole(server.client, away)
        assert server.client.get_run(killed).info.status == "KILLED"
        assert len(server.client.get_metric_history(killed, "train/loss")) == 30
        assert [file.path for file in server.client.list_artifacts(killed)] == ["note.txt"]
        assert list(waiting.iterdir()) == []
        capsys.readouterr()
        assert syncing.run(config) == []
        assert "nothing to send" in capsys.readouterr().out


def killed_during_an_outage(server: Server, place: Mapping[str, Any]) -> str:
    """Start a process that tracks a run, stop the server, kill the process, and return the id of the run."""
    code = """if True:
        import json, signal, sys
        from fibrolab.callbacks.curve_logger import CurveLogger
        from fibrolab.tracking import track
        with track(**json.loads(sys.argv[1]), name="killed") as tracked:
            print(tracked.id, flush=True)
            sys.stdin.readline()
            curves = CurveLogger(tracked)
            for step in range(30):
                curves.log_metrics({"train/loss": 1 / (step + 1)}, step)
            (tracked.folder / "note.txt").write_text("kept")
            print("logged", flush=True)
            signal.pause()
    """
    server.start()
    words = [sys.executable, "-c", code, json.dumps(place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        run_id = process.stdout.readline().strip()
        server.stop()
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "logged\n"
        process.send_signal(signal.SIGKILL)
    return run_id


def sync(root: Path) -> list[str]:
    return [sys.executable, "-m", "fibrolab.sync", f"paths.root={root}"]


@pytest.mark.slow
@pytest.mark.timeout(580)
@pytest.mark.usefixtures("quick_children", "coarse_figures")
def test_a_training_ends_with_its_result_and_one_warning_and_sync_sends_it(tmp_path: Path) -> None:
    near = tmp_path / "near"
    small = ["data.patients=60", "data.images_per_patient=1", "data.size=32", "batch_size=16"]
    small += ["trainer.max_epochs=2", "trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=50"]
    with serving(tmp_path / "server") as server:
        address = f"http://me:{SECRET}@127.0.0.1:{server.port}"
        words = [*small, f"tracking.uri={address}", f"paths.root={near}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, "-m", "fibrolab.train", *words], **pipes) as training:
            wait_for_a_file(near, f"mlruns/artifacts/*/{JOURNAL}", training)
            server.stop()
            printed, errors = training.communicate(timeout=300)
        assert training.returncode == 0, errors
        assert "Accuracy" in printed
        lines = [line for line in (printed + errors).splitlines() if "does not answer" in line]
        assert len(lines) == 1
        assert "python -m fibrolab.sync" in lines[0]
        assert "Traceback" not in printed + errors
        (waiting,) = near.glob(f"mlruns/artifacts/*/{JOURNAL}")
        again = [f"run={waiting.parent.name}", f"tracking.uri={address}", f"paths.root={near}"]
        assert evaluate(composed(*again, "bootstrap.resamples=20", name="evaluate")) == waiting.parent.name
        refused = subprocess.run(sync(near), capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "need its password: give that address as tracking.uri" in refused.stderr
        server.start()
        again = subprocess.run(
            [*sync(near), f"tracking.uri={address}"], capture_output=True, text=True, check=False
        )
        assert again.returncode == 0, again.stderr
        client = server.client
        (run,) = client.search_runs(["1"])
        assert f"sent     {run.info.run_id}" in again.stdout
        assert run.info.status == "FINISHED"
        assert run.data.params["seed"] == "0"
        assert run.data.tags["bootstrap"] == "20 resamples, level 0.95"
        curve = client.get_metric_history(run.info.run_id, "val/loss")
        assert len(curve) == len({point.step for point in curve}) == 2
        files_there = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"report.html", "predictions.csv", "checkpoints"} <= files_there
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def wait_for_a_file(root: Path, pattern: str, process: subprocess.Popen) -> None:
    until = time.monotonic() + 200
    while time.monotonic() < until and process.poll() is None:
        if list(root.glob(pattern)):
            return
        time.sleep(0.1)
    pytest.fail(f"no {pattern}")
