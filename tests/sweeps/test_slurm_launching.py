"""Jobs of a sweep under Slurm: what is asked of it, its answers, and a real Slurm of one node."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import one_node_slurm
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from fibrolab import processes
from fibrolab.errors import ConfigError
from fibrolab.slurm import requeued_if_interrupted
from fibrolab.sweeps import launching, slurm_launching
from fibrolab.sweeps.jobs import Job, Result, write_result
from fibrolab.sweeps.launcher_settings import Launching, Slurm
from fibrolab.tracked_run import PARENT

CHILD = """
import os, signal, sys, time
from pathlib import Path
from typing import Any
from fibrolab.slurm import requeued_if_interrupted
from fibrolab.sweeps import jobs

job = jobs.current()
word = job.own[0]

def interrupted(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, interrupted)
signal.signal(signal.SIGUSR1, interrupted)
started = job.folder / "started.txt"
with started.open("a") as file:
    file.write(os.environ["SLURM_JOB_ID"] + "\\n")
print("says", word, "on", os.environ["FIBROLAB_CORES"], flush=True)
if word == "throw":
    sys.exit("error: no such data")
if word == "long" and len(started.read_text().split()) == 1:
    try:
        with requeued_if_interrupted("trainer.requeue=true" in sys.argv):
            time.sleep(300)
    except KeyboardInterrupt:
        jobs.write_result(job, jobs.Result("killed"))
        sys.exit(130)
if word == "short":
    time.sleep(2)
jobs.write_result(job, jobs.Result("finished", run="r", value=float(job.number)))
"""


@pytest.fixture
def child(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "child.py"
    path.write_text(CHILD)
    return (sys.executable, str(path))


def made(sweep: Path, *words: str) -> list[Job]:
    """Jobs, each of which does what its word says."""
    return [Job(number, (f"word={word}",), (word,), sweep, "parent") for number, word in enumerate(words)]


def test_the_settings_become_those_of_the_batch_script() -> None:
    slurm = Slurm(partition="gpu", account="liver", qos="high", cpus_per_job=8, memory_gb=1.5)
    asked = slurm_launching._parameters("today", "parent", Launching(3, 2, 240.0, slurm=slurm))
    assert (asked["partition"], asked["account"], asked["qos"]) == ("gpu", "liver", "high")
    assert (asked["time"], asked["mem"], asked["gpus_per_node"], asked["cpus_per_task"]) == (
        240,
        "1536M",
        2,
        8,
    )
    assert asked["array_parallelism"] == 3
    assert asked["additional_parameters"] == {"signal": "USR1@120", "requeue": True}
    short = slurm_launching._parameters(
        "today", "parent", Launching(1, None, 1.0, slurm=Slurm(requeue=False))
    )
    assert short["additional_parameters"] == {"signal": "USR1@30", "no-requeue": True}
    assert not {"gpus_per_node", "mem"} & short.keys()


@pytest.mark.parametrize(
    ("said", "state", "expected"),
    [
        (Result("finished", value=1.0), "COMPLETED", ("finished", "")),
        (Result("pruned"), "COMPLETED", ("pruned", "")),
        (Result("failed", error="No data."), "FAILED", ("failed", "No data.")),
        (Result("killed"), "FAILED", ("timeout", "time limit of 5 min")),
        (Result("killed"), "CANCELLED", ("killed", "CANCELLED")),
        (None, "TIMEOUT", ("timeout", "time limit of 5 min")),
        (None, "OUT_OF_MEMORY", ("out of memory", "more memory")),
        (None, "NODE_FAIL", ("failed", "Slurm says NODE_FAIL")),
        (None, "FAILED", ("failed", "no such data Slurm says FAILED")),
        (None, "FORGOTTEN", ("failed", "no such data")),
    ],
)
def test_the_end_of_a_job_comes_from_its_own_words_and_from_slurm(
    said: Result | None, state: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    (job,) = made(tmp_path, "short")
    job.folder.mkdir()
    (job.folder / "log.txt").write_text("starting\nerror: no such data\n")
    if said:
        write_result(job, said)
    result = slurm_launching._result(job, state, Launching(job_timeout=5.0, slurm=Slurm()))
    assert result.state == expected[0]
    assert expected[1] in result.error


def test_states_come_from_the_queue_then_from_accounting_and_are_kept_while_slurm_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: dict[str, dict[str, str] | None] = {
        "squeue": {"7_0": "RUNNING", "7_1": "PENDING"},
        "sacct": {"7_2": "TIMEOUT"},
    }
    monkeypatch.setattr(slurm_launching, "_asked", lambda *words: answers[words[0]])
    expected = {"7_0": "RUNNING", "7_1": "PENDING", "7_2": "TIMEOUT", "7_3": "FORGOTTEN"}
    assert slurm_launching._states({f"7_{number}": None for number in range(4)}.keys()) == expected
    answers["sacct"] = None
    assert slurm_launching._states({"7_2": None}.keys()) == {"7_2": "FORGOTTEN"}
    answers["squeue"] = None
    assert slurm_launching._states({"7_0": None}.keys()) == {}


def test_only_jobs_of_the_same_sweep_are_abandoned_and_only_if_their_launcher_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive = processes.current()
    dead = replace(alive, pid="4194000")  # above the largest process id of Linux's default
    known = {
        "7_0": f"parent {alive}", "7_1": f"parent {dead}", "8": f"other {dead}", "9": "", "10": "a remark",
        "11": f"parent {replace(dead, host='elsewhere')}",
    }  # fmt: skip
    cancelled: list[str] = []
    monkeypatch.setattr(slurm_launching, "_asked", lambda *_: known)
    monkeypatch.setattr(slurm_launching, "_cancel", cancelled.extend)
    slurm_launching._cancel_abandoned("parent")
    assert cancelled == ["7_1"]


@pytest.mark.parametrize(
    "settings",
    [
        {"cpus_per_job": 0},
        {"cpus_per_job": 1.5},
        {"memory_gb": -1},
        {"memory_gb": "much"},
        {"requeue": "often"},
    ],
)
def test_a_setting_of_slurm_that_is_out_of_range_is_named(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"hydra\.launcher\.slurm\.{name}="):
        launching.gpus_of_places(Launching(slurm=Slurm(**settings)))


def test_without_slurm_the_sentence_says_where_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="needs the command sbatch"):
        list(launching.run(made(tmp_path, "short"), Launching(slurm=Slurm())))


@pytest.mark.parametrize(
    ("said", "returns"),
    [("RUNNING None", True), ("COMPLETING TimeLimit", True), ("", True), ("COMPLETING None", False)],
)
def test_an_interrupted_job_returns_to_the_queue_unless_it_was_cancelled(
    said: str, returns: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, line in {"squeue": f"echo {said}", "scontrol": f'echo "$@" >> {tmp_path}/asked.txt'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(KeyboardInterrupt), requeued_if_interrupted(True), requeued_if_interrupted(True):
        raise KeyboardInterrupt  # within a fold, which is within the run of all folds
    asked = tmp_path / "asked.txt"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 77\n" if returns else "")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_node_slurm.running(tmp_path_factory.mktemp("slurm")) as configuration:
        yield configuration


@pytest.fixture
def real(slurm: Path, child: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Launching:
    """Settings of a launcher for that Slurm, whose jobs run the child."""
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.setattr(slurm_launching, "POLL", 0.5)
    return Launching(2, None, 5.0, child, Slurm(cpus_per_job=1))


def queue() -> list[str]:
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(300)
def test_a_list_of_jobs_is_one_array_and_a_failed_one_does_not_end_the_others(
    real: Launching, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = made(tmp_path / "sweep", "short", "throw", "short", "short")
    ended = {job.number: result for job, result in launching.run(jobs, real)}
    assert {number: result.state for number, result in ended.items()} == {
        0: "finished", 1: "failed", 2: "finished", 3: "finished"
    }  # fmt: skip
    assert [ended[number].value for number in (0, 2, 3)] == [0.0, 2.0, 3.0]
    assert "no such data" in ended[1].error
    assert "says short on 1\n" in (jobs[0].folder / "log.txt").read_text()
    assert capsys.readouterr().out.count("4 jobs submitted") == 1


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(300)
def test_the_next_job_is_taken_when_a_place_is_free(real: Launching, tmp_path: Path) -> None:
    taken: list[int] = []

    def asked() -> Iterator[Job]:
        for job in made(tmp_path / "sweep", *["short"] * 4):
            taken.append(job.number)
            yield job

    seen = []
    for job, result in launching.run(asked(), real):
        assert result.state == "finished"
        seen.append(job.number)
        assert len(taken) <= len(seen) + real.n_jobs
    assert sorted(seen) == taken == list(range(4))


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(300)
def test_a_job_that_reaches_its_time_limit_returns_to_the_queue_and_goes_on(
    real: Launching, tmp_path: Path
) -> None:
    (job,) = made(tmp_path / "sweep", "long")
    settings = Launching(1, None, 1.0, real.program, Slurm(cpus_per_job=1))
    assert [result.state for _, result in launching.run([job], settings)] == ["finished"]
    first, second = (job.folder / "started.txt").read_text().split()
    assert first == second  # it is one job of Slurm, which has been restarted


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(300)
def test_without_requeue_the_time_limit_is_the_end(real: Launching, tmp_path: Path) -> None:
    settings = Launching(1, None, 1.0, real.program, Slurm(cpus_per_job=1, requeue=False))
    ((_, result),) = launching.run(made(tmp_path / "sweep", "long"), settings)
    assert result.state == "timeout"
    assert result.error == "It reached its time limit of 1 min."


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(300)
def test_an_interrupted_sweep_cancels_its_jobs_which_close_their_runs_and_stay_away(
    real: Launching, tmp_path: Path
) -> None:
    jobs = made(tmp_path / "sweep", "throw", *["long"] * 4)
    going = launching.run(jobs, real)
    assert next(going)[1].state == "failed"
    while not any((job.folder / "started.txt").exists() for job in jobs[1:]):
        time.sleep(0.2)
    time.sleep(1)  # until its handler of signals is set
    going.close()
    assert queue() == []
    started = [job for job in jobs[1:] if (job.folder / "started.txt").exists()]
    assert started
    assert all((job.folder / "result.json").exists() for job in started)


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(300)
def test_jobs_of_a_killed_launcher_go_on_until_the_next_one_takes_their_place(
    real: Launching, tmp_path: Path
) -> None:
    (job,) = made(tmp_path / "sweep", "long")
    code = f"""
import pathlib
from fibrolab.sweeps import slurm_launching
from fibrolab.sweeps.jobs import Job
from fibrolab.sweeps.launcher_settings import Launching, Slurm
job = Job(0, ("word=long",), ("long",), pathlib.Path({str(job.sweep)!r}), "parent")
list(slurm_launching.run([job], Launching(1, None, 5.0, {real.program!r}, Slurm(cpus_per_job=1))))
"""
    launcher = subprocess.Popen([sys.executable, "-c", code])
    while not (job.folder / "started.txt").exists():
        time.sleep(0.2)
    launcher.kill()
    launcher.wait()
    time.sleep(1)
    assert len(queue()) > 0
    assert [result.state for _, result in launching.run([job], real)] == ["finished"]
    first, second = (job.folder / "started.txt").read_text().split()
    assert first != second
    assert queue() == []


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(300)
def test_what_slurm_refuses_is_one_sentence(real: Launching, tmp_path: Path) -> None:
    settings = Launching(1, None, 1.0, real.program, Slurm(partition="nowhere"))
    with pytest.raises(ConfigError, match=r"Slurm refuses the jobs \(.*Invalid partition name"):
        list(launching.run(made(tmp_path / "sweep", "short"), settings))


WORDS = [
    "split.seed=0", "hydra/launcher=slurm", "hydra.launcher.slurm.cpus_per_job=1", "data.patients=60",
    "data.size=32", "data.images_per_patient=1", "batch_size=16", "num_workers=0", "trainer.accelerator=cpu",
    "bootstrap.resamples=50",
]  # fmt: skip


def sweeping(slurm: Path, root: Path, *words: str) -> subprocess.Popen[str]:
    """Start a sweep of real trainings, which find the module of a user."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "fibrolab.train", "-m", *words, f"paths.root={root}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"SLURM_CONF": str(slurm), "PYTHONPATH": path},
    )  # fmt: skip


def slow(until: Path, epochs: int) -> list[str]:
    """Words by which each batch of a training takes a second until a file exists."""
    own = {"_target_": "own_module.Slow", "until": until}
    stays = [f"trainer.max_epochs={epochs}", "callbacks.early_stopping=null"]
    return [*stays, *(f"+callbacks.slow.{name}={value}" for name, value in own.items())]


def wait_for_epoch(process: subprocess.Popen[str], root: Path) -> None:
    """Wait until the first job of a sweep has trained an epoch."""
    while not list(root.glob("**/0/progress.jsonl")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(1)


def runs_of(root: Path) -> tuple[Run, list[Run], MlflowClient]:
    """The run of a sweep, those of its jobs, and the client."""
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    runs = client.search_runs(["1"])
    (sweep,) = [run for run in runs if PARENT not in run.data.tags]
    jobs = [run for run in runs if run.data.tags.get(PARENT) == sweep.info.run_id]
    return sweep, sorted(jobs, key=lambda run: run.info.start_time), client


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(580)
@pytest.mark.usefixtures("quick_children")
def test_a_real_sweep_under_slurm_has_a_run_for_each_job(slurm: Path, root: Path) -> None:
    words = [*WORDS, "seed=0,1", "hydra.launcher.job_timeout=10", "trainer.max_epochs=1"]
    process = sweeping(slurm, root, *words)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert "slurm    2 jobs submitted" in printed
    sweep, jobs, _ = runs_of(root)
    assert [run.info.status for run in (sweep, *jobs)] == ["FINISHED"] * 3
    assert {run.data.params["seed"] for run in jobs} == {"0", "1"}


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(580)
@pytest.mark.usefixtures("quick_children")
def test_a_training_that_slurm_signals_before_its_time_limit_is_one_run_that_goes_on_in_the_queue(
    slurm: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    free = root / "free"
    words = [*WORDS, "num_workers=1", "seed=0", "hydra.launcher.job_timeout=20", *slow(free, 20)]
    process = sweeping(slurm, root, *words)
    wait_for_epoch(process, root)
    job, *_ = queue()
    subprocess.run(["scancel", "--signal=USR1", job], check=True)  # as Slurm sends it before the limit
    shown = ["scontrol", "show", "job", job]
    while "Restarts=1" not in subprocess.run(shown, capture_output=True, text=True, check=True).stdout:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(1)
    free.touch()
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    sweep, (run,), client = runs_of(root)
    assert [sweep.info.status, run.info.status] == ["FINISHED"] * 2
    steps = {point.step for point in client.get_metric_history(run.info.run_id, "val/loss")}
    assert len(steps) == 20
    (log,) = root.glob("**/0/log.txt")
    assert f"Run {run.info.run_id} goes on" in log.read_text()


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.timeout(580)
@pytest.mark.usefixtures("quick_children")
def test_trainings_of_a_killed_launcher_go_on_and_the_resumed_sweep_has_each_once(
    slurm: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    words = [*WORDS, "seed=0,1", "hydra.launcher.n_jobs=1", "hydra.launcher.job_timeout=20"]
    free = root / "free${seed}"
    process = sweeping(slurm, root, *words, *slow(free, 20))
    assert process.stdout is not None
    again = next(line for line in process.stdout if line.startswith("resume")).split()[1:]
    wait_for_epoch(process, root)
    process.kill()
    process.wait()
    (root / "free0").touch()
    while not list(root.glob("**/1/progress.jsonl")):  # the first job has ended by itself
        assert queue()
        time.sleep(1)
    sweep, (first, second), _ = runs_of(root)
    assert [run.info.status for run in (first, second)] == ["FINISHED", "RUNNING"]
    assert again[:5] == ["python", "-m", "fibrolab.train", "-m", f"resume={sweep.info.run_id}"]
    resumed = sweeping(slurm, root, *again[4:-1])
    assert resumed.stdout is not None
    printed = [next(line for line in resumed.stdout if "a launcher that was killed" in line)]
    (root / "free1").touch()
    printed += resumed.stdout
    assert resumed.wait() == 0, printed
    assert printed[0].startswith("slurm    1 jobs of a launcher that was killed are cancelled")
    assert queue() == []
    sweep, jobs, _ = runs_of(root)
    assert [run.info.status for run in (sweep, *jobs)] == ["FINISHED"] * 3
    assert [run.info.run_id for run in jobs] == [run.info.run_id for run in (first, second)]
    assert jobs[0].info.end_time == first.info.end_time
