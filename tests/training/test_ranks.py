"""Ranks: their result, their failures, and the end of all of them with the command."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import rank_work
from compose import composed
from torch.distributed import HashStore

from fibrolab.errors import ConfigError, TrainingError
from fibrolab.training import devices as of_settings
from fibrolab.training import fitting, frozen_features, ranks
from fibrolab.training.ranks import Place, place

TWO = {"devices": 2, "accelerator": "cpu"}
LAUNCHED = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "one", "MASTER_PORT": "77", "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
SRUN = {
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "120001",
    "SLURM_STEP_NODELIST": "node[7-8]", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_ID": "2",
}  # fmt: skip


def test_the_result_is_that_of_rank_zero_which_alone_prints(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ranks.run(rank_work.told, ("n",), TWO, tmp_path) == {
        "note": "n",
        "loader processes": multiprocessing.get_start_method(),
        "rank": 0,
        "ranks": 2,
        "sum": 3.0,
    }
    assert capfd.readouterr().out == "printed by rank 0\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("sentence", "The loss became nan"),
        ("killed", r"^Rank 1 was ended by signal 9 \(SIGKILL\)\. If the mem"),
    ],
)
def test_one_rank_ends_all_with_its_own_sentence(how: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=sentence):
        ranks.run(rank_work.fails, (how, 1), TWO, tmp_path)


@pytest.mark.slow
def test_a_fault_of_the_code_keeps_its_type_and_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="of the code") as caught:
        ranks.run(rank_work.fails, ("bug", 1), TWO, tmp_path)
    assert "On rank 1:" in caught.value.__notes__[0]
    assert "rank_work.py" in caught.value.__notes__[0]
    with pytest.raises(TrainingError, match="Rank 0 was ended by exit code 3"):
        ranks.run(rank_work.fails, ("left", 0), TWO, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_rank_outlives_the_command(kind: signal.Signals, tmp_path: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, rank_work.__file__, str(tmp_path)], start_new_session=True, stderr=subprocess.PIPE
    )
    try:
        until = time.monotonic() + 120
        while len(notes := list(tmp_path.glob("*.pid"))) < 2 or not all(n.read_text() for n in notes):
            assert time.monotonic() < until
            time.sleep(0.1)
        if kind == signal.SIGINT:
            os.killpg(command.pid, kind)  # as a terminal does
        else:
            command.send_signal(kind)
        expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
        assert command.wait(30) == expected[kind]
        while any(Path("/proc", note.read_text()).exists() for note in notes):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        command.kill()
    assert command.stderr is not None
    assert b"Traceback" not in command.stderr.read()


def test_a_process_of_a_launcher_that_is_told_to_end_lets_its_rank_save_and_ends_the_job(
    tmp_path: Path,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launched = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    leader, follower = (
        subprocess.Popen(
            [sys.executable, rank_work.__file__, str(tmp_path)],
            env=os.environ | launched | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    )
    try:
        until = time.monotonic() + 120
        while len(notes := list(tmp_path.glob("*.pid"))) < 2 or not all(n.read_text() for n in notes):
            assert time.monotonic() < until
            time.sleep(0.1)
        follower.send_signal(signal.SIGUSR1)  # Slurm sends it to all; the leading process answers
        follower.send_signal(signal.SIGTERM)
        assert follower.wait(60) == 143
        assert (tmp_path / "1.saved").exists()
        _, errors = leader.communicate(timeout=60)
        assert leader.returncode == 1
        assert "Rank 1 was told to end (SIGTERM); the run goes on with resume=RUN_ID." in errors
    finally:
        leader.kill()
        follower.kill()


def test_a_place_comes_from_torchrun_or_a_step_of_slurm() -> None:
    assert place({}) == Place() == Place(0, 1, 0, 1)
    assert place(LAUNCHED) == Place(3, 4, 1, 2, ("one", 77), True)
    assert place(SRUN) == Place(5, 8, 1, 4, ("node7", 15003), False)
    assert place(SRUN | LAUNCHED).rank == 3  # torchrun on each node of Slurm
    assert place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == Place()  # a batch script, not a step


def test_a_rank_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "COMING", 1.0)
    store = HashStore()
    store.set("here/0", "1")
    with pytest.raises(TrainingError, match=r"^Of 3 ranks, 1, 2 did not come within"):
        ranks._await_all(ranks.Session(store, Place(size=3), 0))
    with pytest.raises(TrainingError, match=r"^Rank 1 could not reach rank zero at 127\.0\.0\.1:1 within"):
        ranks._connected(Place(rank=1, size=2, address=("127.0.0.1", 1)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": "fsdp"}, r"trainer\.strategy=fsdp: sharded weights are not supported yet"),
        ({"strategy": "ddp_spawn"}, r"trainer\.strategy=ddp_spawn: fibrolab starts the processes itself"),
        ({"strategy": "horovod"}, r"trainer\.strategy=horovod: it is unknown"),
        ({"num_nodes": 2}, "the number of nodes comes from torchrun or srun"),
        ({"sync_batchnorm": True}, "synchronises batch norm on GPUs only"),
        ({"accelerator": "gpu", "devices": 4}, r"asks for 4, and this machine has 2 GPUs, numbers 0 to 1\."),
        ({"accelerator": "gpu", "devices": [0, 2]}, r"asks for number 2, and this machine has 2 GPUs"),
        (
            {"accelerator": "auto", "devices": 2, "gpus": 0},
            r"has no GPU; .* trainer=ddp_cpu trainer\.devices=2",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_suit_ranks_are_refused(
    changes: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = changes.pop("gpus", 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    with pytest.raises(ConfigError, match=sentence):
        of_settings.check(TWO | changes)


def test_the_launcher_decides_on_the_number_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    for devices in (1, 2, "auto"):
        of_settings.check(TWO | {"devices": devices})
        assert of_settings.wanted(TWO | {"devices": devices}) == 4
    with pytest.raises(ConfigError, match="devices=3, but the launcher started 2 processes on this machine"):
        of_settings.check(TWO | {"devices": 3})


def test_one_process_trains_without_the_strategy_of_ranks() -> None:
    config = composed("trainer.accelerator=cpu")
    assert fitting._parallel(config, search_unused=True) == {"strategy": "auto", "num_nodes": 1}


def test_lightning_takes_no_variable_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would refuse `srun --ntasks`, and answer the signals that interrupt a job."""
    for name, value in (SRUN | {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "train"}).items():
        monkeypatch.setenv(name, value)
    fitting.check_trainer(composed("trainer.accelerator=cpu", "batch_size=32"))
    frozen_features._fabric("cpu", "32-true")
