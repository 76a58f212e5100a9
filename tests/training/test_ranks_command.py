"""The command on several ranks: one run, one audit, one output, the results of one process; ends together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from fibrolab import keys

SMALL = [
    "data.patients=60", "data.images_per_patient=1", "data.size=32", "batch_size=16", "num_workers=0",
    "model.branches.image.name=test_convnext", "model.head.dropout=0", "optimizer=sgd",
    "trainer.max_epochs=2", "trainer.accelerator=cpu", "bootstrap.resamples=20",
]  # fmt: skip
TWO = ["trainer=ddp_cpu", *SMALL]
HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.with_name("quick")), *sys.path])
}  # that of `quick_children`, and this module


class Poison(L.Callback):
    """Make a weight of rank 1 infinite in the second step."""

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        if trainer.global_step == 1 and dist.get_rank() == 1:
            with torch.no_grad():
                next(module.parameters()).fill_(torch.inf)


class Sleep(L.Callback):
    """Write the ids of the ranks, and take a minute for a step."""

    def __init__(self, dirpath: Path) -> None:
        self.folder = Path(dirpath).parent

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        (self.folder / f"{trainer.global_rank}.pid").write_text(str(os.getpid()))
        time.sleep(60)


class Pause(Sleep):
    """Write the ids of the ranks, and take several seconds for the first step."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == 0:
            (self.folder / f"{trainer.global_rank}.pid").write_text(str(os.getpid()))
            time.sleep(3)


def command(root: Path, *words: str, launcher: tuple[str, ...] = (sys.executable,)) -> list[str]:
    return [*launcher, "-m", "fibrolab.train", *words, f"paths.root={root}"]


def ran(root: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    completed = subprocess.run(
        command(root, *words), capture_output=True, text=True, timeout=580, env=ENVIRONMENT
    )
    assert completed.returncode == code, completed.stderr
    return completed


def only_run(root: Path) -> Run:
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlruns/mlflow.db")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert len(found) == 1
    return found[0]


def files(root: Path) -> Path:
    return root / "mlruns" / "artifacts" / only_run(root).info.run_id / "artifacts"


def equal(one: Path, other: Path) -> None:
    """Both runs have the same history and predictions but for rounding."""
    for name in (keys.HISTORY_FILE, keys.PREDICTIONS_FILE):
        tables = [pd.read_csv(files(root) / name) for root in (one, other)]
        pd.testing.assert_frame_equal(*tables, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("alone")
    ran(root, *SMALL)
    return root


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_are_one_run_with_the_results_of_one_process(tmp_path: Path, alone: Path) -> None:
    ended = ran(tmp_path, *TWO)
    equal(alone, tmp_path)
    assert only_run(tmp_path).info.status == "FINISHED"
    said = ended.stdout + ended.stderr
    for once in ("2 ranks of 8 samples = batches of 16.", "verdict  ", "epoch 1/2", "epoch 2/2", "report   "):
        assert said.count(once) == 1, once
    assert not list((tmp_path / "cache" / "jobs").iterdir())
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert len(client.get_metric_history(only_run(tmp_path).info.run_id, "val/loss")) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_loss_that_is_not_finite_on_one_rank_fails_the_run_with_one_sentence(tmp_path: Path) -> None:
    ended = ran(tmp_path, *TWO, "+callbacks.bad._target_=test_ranks_command.Poison", code=1)
    (sentence,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert "The loss became nan" in sentence
    assert "Traceback" not in ended.stderr
    run = only_run(tmp_path)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"].startswith("TrainingError: The loss became nan")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["rank killed", "interrupted"])
def test_the_end_of_one_rank_or_ctrl_c_ends_the_run(how: str, tmp_path: Path) -> None:
    words = command(tmp_path, *TWO, "+callbacks.slow._target_=test_ranks_command.Sleep")
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )
    try:
        until = time.monotonic() + 400
        while len(notes := list(tmp_path.rglob("*.pid"))) < 2 or not all(n.read_text() for n in notes):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        pids = {note.stem: int(note.read_text()) for note in notes}
        if how == "interrupted":
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(pids["1"], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
    assert "Traceback" not in errors
    if how == "interrupted":
        assert (process.returncode, only_run(tmp_path).info.status) == (130, "KILLED")
    else:
        assert "error: Rank 1 was ended by signal 9 (SIGKILL)" in errors
        assert (process.returncode, only_run(tmp_path).info.status) == (1, "FAILED")


def agents(
    root: Path, port: int, *words: str, act: Callable[[list[subprocess.Popen[str]]], None] | None = None
) -> list[tuple[int, str, str]]:
    """Start two agents of torchrun as two nodes, and return exit code, output and errors of each."""
    processes = []
    for node in range(2):
        launcher = (
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
            f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}",
        )  # fmt: skip
        processes.append(
            subprocess.Popen(
                command(root, *words, launcher=launcher),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=ENVIRONMENT,
            )
        )
    try:
        if act:
            act(processes)
        ended = [process.communicate(timeout=580) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, ended, strict=True)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_of_torchrun_are_one_run(tmp_path: Path, alone: Path, unused_port: int) -> None:
    (code, output, errors), (other_code, other_output, _) = agents(tmp_path, unused_port, *SMALL)
    assert (code, other_code) == (0, 0), errors
    assert output.count("epoch 2/2") == 1
    assert other_output == ""
    equal(alone, tmp_path)
    assert only_run(tmp_path).info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fault_before_the_training_ends_all_nodes(tmp_path: Path, unused_port: int) -> None:
    (code, _, errors), (other_code, other_output, _) = agents(tmp_path, unused_port, *SMALL, "batch_size=15")
    assert code == 1
    assert "error: batch_size=15 is of all 2 ranks together" in errors
    assert other_code == 1
    assert other_output == ""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("node", "sentence", "status"),
    [
        (0, "everything saved so far is kept; the run goes on with", "KILLED"),
        (1, "was told to end (SIGTERM); the run goes on with resume=RUN_ID.", "FAILED"),
    ],
    ids=["that of the leading process", "another"],
)
def test_a_node_that_is_evicted_lets_all_ranks_save_a_checkpoint(
    node: int, sentence: str, status: str, tmp_path: Path, unused_port: int
) -> None:
    """Torchrun signals all processes of the node: of the command, its rank, and the loader of samples."""

    def evict(processes: list[subprocess.Popen[str]]) -> None:
        until = time.monotonic() + 400
        while len(list(tmp_path.rglob("*.pid"))) < 2:
            assert all(process.poll() is None for process in processes)
            assert time.monotonic() < until
            time.sleep(0.2)
        processes[node].terminate()

    words = [*(word for word in SMALL if word != "num_workers=0"), "num_workers=1"]
    ended = agents(
        tmp_path, unused_port, *words, "+callbacks.pause._target_=test_ranks_command.Pause", act=evict
    )
    assert all(code for code, _, _ in ended)
    assert sentence in ended[0][2]
    assert only_run(tmp_path).info.status == status
    saved = torch.load(files(tmp_path) / keys.CHECKPOINTS / keys.LAST, weights_only=True)
    assert saved["epoch"] == 0


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
