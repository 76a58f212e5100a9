"""The launcher's core, with small programs in place of trainings."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fibrolab.errors import ConfigError, StorageError, TrainingError
from fibrolab.processes import CORES
from fibrolab.sweeps import jobs as folders
from fibrolab.sweeps import launching
from fibrolab.sweeps.job_table import job_table
from fibrolab.sweeps.jobs import Job
from fibrolab.sweeps.launching import Launching, refuse_failed, run

CHILD = """
import json, os, pathlib, signal, sys, time
job = pathlib.Path(os.environ["FIBROLAB_JOB"]).parent

def result(state, **more):
    content = {"state": state, "run": None, "value": None, "metrics": {}, "error": ""} | more
    (job / "result.json").write_text(json.dumps(content))
"""
FINISHES = "result('finished', run='r', value=0.5, metrics={'val/loss': 0.5})"
ENDS_POLITELY = """
def ended(*_):
    (job / "ended").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, ended)
(job / "ready").touch()
time.sleep(60)"""

Program = Callable[[str], tuple[str, ...]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a function that writes a program and returns its command."""

    def written(lines: str) -> tuple[str, ...]:
        path = tmp_path / "child.py"
        path.write_text(CHILD + lines)
        return (sys.executable, "-S", str(path))

    return written


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def jobs(folder: Path, number: int) -> list[Job]:
    return [Job(each, (f"seed={each}",), (f"seed={each}",), folder, "parent") for each in range(number)]


def states(folder: Path, settings: Launching, number: int = 1) -> list[str]:
    return [result.state for _, result in run(jobs(folder, number), settings)]


def test_a_job_that_fails_does_not_end_the_others(tmp_path: Path, program: Program) -> None:
    lines = f"if sys.argv[1] == 'seed=1':\n    sys.exit('error: seed=1 is odd.')\n{FINISHES}"
    ended = list(run(jobs(tmp_path, 3), Launching(program=program(lines))))
    assert [result.state for _, result in ended] == ["finished", "failed", "finished"]
    assert ended[0][1].value == 0.5
    assert ended[1][1].error == "seed=1 is odd."
    with pytest.raises(
        TrainingError, match=r"1 of 3 jobs .*\n.*#1 seed=1: failed. seed=1 is odd. See .*1/log"
    ):
        refuse_failed(ended)


def test_a_job_without_a_word_is_no_success(tmp_path: Path, program: Program) -> None:
    ((_, result),) = run(jobs(tmp_path, 1), Launching(program=program("")))
    assert (result.state, result.error) == ("failed", "It ended with exit code 0, without a word.")


def test_the_next_job_is_taken_when_a_place_is_free(tmp_path: Path, program: Program) -> None:
    taken, ended = [], []

    def lazily() -> Iterator[Job]:
        for job in jobs(tmp_path, 5):
            taken.append((job.number, len(ended)))
            yield job

    for job, _ in run(lazily(), Launching(n_jobs=2, program=program(FINISHES))):
        ended.append(job.number)
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert taken == [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3)]


KILLS_ITSELF = "result('killed', run='r')\nos.kill(os.getpid(), signal.SIGKILL)"
LOSES_A_RANK = "result('killed', run='r', error='Rank 1 was ended by signal 9 (SIGKILL).')\nsys.exit(1)"


@pytest.mark.parametrize("lines", [KILLS_ITSELF, LOSES_A_RANK])
@pytest.mark.parametrize(
    ("kills", "state"), [((7, 7), "killed"), ((7, 8), "out of memory"), ((None, None), "killed")]
)
def test_a_killed_job_ran_out_of_memory_if_the_kernel_has_counted_that(
    lines: str, kills: tuple, state: str, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "kills_for_memory", iter(kills).__next__)
    ((_, result),) = run(jobs(tmp_path, 1), Launching(program=program(lines)))
    assert (result.state, result.run) == (state, "r")
    assert "SIGKILL" in result.error
    assert ("memory ran out" in result.error) == (state == "out of memory")


def test_a_job_that_hangs_is_ended_at_its_time(
    tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "ENDING", 0.3)
    lines = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    ((_, result),) = run(jobs(tmp_path, 1), Launching(job_timeout=0.5 / 60, program=program(lines)))
    assert result.state == "timeout"


def test_an_interrupted_launcher_ends_its_jobs(tmp_path: Path, program: Program) -> None:
    command = program(ENDS_POLITELY)
    code = f"""
import pathlib, signal
from fibrolab.sweeps.jobs import Job
from fibrolab.sweeps.launching import Launching, run
folder = pathlib.Path({str(tmp_path)!r})
jobs = [Job(n, (), (), folder, "") for n in range(2)]
list(run(jobs, Launching(n_jobs=2, program={command!r})))
"""
    launcher = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    await_files(*(tmp_path / name / "ready" for name in "01"))
    launcher.send_signal(signal.SIGINT)
    launcher.wait()
    assert all((tmp_path / name / "ended").exists() for name in "01")


def test_a_job_ends_with_a_killed_launcher(tmp_path: Path, program: Program) -> None:
    lines = """
from fibrolab import processes
processes.LOOK = 0.1
def ended(*_):
    (job / "ended").touch()
    os._exit(130)
signal.signal(signal.SIGTERM, ended)
processes.end_with_parent()
(job / "ready").touch()
time.sleep(60)"""
    command = (sys.executable, *program(lines)[2:])
    code = f"""
import pathlib
from fibrolab.sweeps.jobs import Job
from fibrolab.sweeps.launching import Launching, run
list(run([Job(0, (), (), pathlib.Path({str(tmp_path)!r}), "")], Launching(program={command!r})))
"""
    launcher = subprocess.Popen([sys.executable, "-c", code])
    await_files(tmp_path / "0" / "ready")
    launcher.kill()
    assert launcher.wait() == -signal.SIGKILL
    await_files(tmp_path / "0" / "ended")


def await_files(*paths: Path) -> None:
    until = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_gpus_and_cores_are_shared_out(
    tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("MLFLOW_RUN_ID", "of another run")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv(CORES, "8")
    lines = (
        "names = 'CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS', 'RANK', 'MLFLOW_RUN_ID'\n"
        "result('finished', error=' '.join(str(os.environ.get(name)) for name in names))"
    )
    settings = Launching(n_jobs=2, gpus_per_job=2, program=program(lines))
    assert {result.error for _, result in run(jobs(tmp_path, 2), settings)} == {
        "3,5 4 None None",
        "6,7 4 None None",
    }


def test_each_job_has_one_gpu_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6")
    assert launching.gpus_of_places(Launching(n_jobs=2)) == [["3"], ["5"]]
    assert launching.gpus_of_places(Launching(n_jobs=4, gpus_per_job=0)) == [[]] * 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Launching(n_jobs=0), "n_jobs=0 is not a whole number from 1"),
        (Launching(n_jobs=True), "n_jobs=True is not"),
        (Launching(gpus_per_job=-1), "gpus_per_job=-1 is not a whole number from 0"),
        (Launching(job_timeout=0), "job_timeout=0 is not a time in minutes"),
        (Launching(job_timeout=float("nan")), "job_timeout=nan is not a time"),
        (
            Launching(n_jobs=3),
            "n_jobs=3 with one GPU each needs 3 GPUs, and 2 are visible: lower n_jobs to 2",
        ),
        (Launching(gpus_per_job=3), "needs 3 GPUs, and 2 are visible: lower gpus_per_job"),
    ],
)
def test_settings_out_of_range_are_refused_before_a_job_starts(
    settings: Launching, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ConfigError, match=words):
        next(run(jobs(tmp_path, 1), settings))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not be written"):
        launching.writable(tmp_path / "file" / "sweep")


def test_a_full_disk_fails_its_job_and_not_the_sweep(
    tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, full = folders.write, [True]

    def write(job: Job) -> Path:
        if full and full.pop():
            raise StorageError("the disk is full.")
        return written(job)

    monkeypatch.setattr(folders, "write", write)
    ended = list(run(jobs(tmp_path, 2), Launching(program=program(FINISHES))))
    assert [(result.state, result.error) for _, result in ended] == [
        ("failed", "the disk is full."),
        ("finished", ""),
    ]


def test_jobs_are_announced_by_lines_where_there_is_no_terminal(
    tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    states(tmp_path, Launching(program=program(FINISHES)), 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0].partition(" after")[0] for line in lines] == [
        "#0 seed=0: started",
        "#0 seed=0: finished",
        "#1 seed=1: started",
        "#1 seed=1: finished",
    ]


def test_jobs_are_a_live_table_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = jobs(tmp_path, 3)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with job_table() as shown:
        for job in (first, second, third):
            folders.write(job)
            shown.started(job)
        shown._rows[second.number].started -= 100.0
        folders.report_progress(second, 1, 3, 0.25)
        shown.ended(first, folders.Result("failed", error="No data."))
        shown.refresh(now=True)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out).replace("\r", "\n")
    lines = [line.split() for line in drawn.splitlines()]
    last = max(place for place, words in enumerate(lines) if words[-1:] == ["left"])
    header, *rows = lines[last:]
    assert header == ["job", "settings", "state", "epoch", "monitored", "time", "left"]
    assert rows[0][:3] == ["0", "seed=0", "failed"]
    assert rows[1][:5] == ["1", "seed=1", "running", "1/3", "0.25"]
    assert rows[1][5:] == ["2", "min", "3", "min"]  # 100 s an epoch, of which two are left
    assert rows[2][:3] == ["2", "seed=2", "starting"]
    assert rows[3] == ["1", "ended,", "2", "running"]


@pytest.fixture
def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Launching]:
    """Return a function that gives the settings of a launcher with a template of two modules."""

    def written(imported: str, lines: str) -> Launching:
        (tmp_path / "imported_once.py").write_text(imported)
        (tmp_path / "job_of_template.py").write_text(CHILD + lines)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
        return Launching(n_jobs=2, warm=("job_of_template", "imported_once"))

    return written


def test_a_template_imports_once_and_forks_each_job_with_its_own_surroundings(
    tmp_path: Path, warm: Callable[[str, str], Launching]
) -> None:
    lines = """
import imported_once
print("said", sys.argv[1])
assert os.getsid(0) == os.getpid()
assert os.getppid() == int(os.environ["FIBROLAB_PARENT"])
assert sys.modules["__main__"].__spec__.name == "job_of_template"
result("finished", run=str(imported_once.pid), error=sys.argv[1] + " " + job.name)"""
    settings = warm("import os\npid = os.getpid()", lines)
    ended = [result for _, result in run(jobs(tmp_path / "sweep", 3), settings)]
    assert sorted(result.error for result in ended) == ["seed=0 0", "seed=1 1", "seed=2 2"]
    assert len({result.run for result in ended}) == 1
    assert [(tmp_path / "sweep" / name / "log.txt").read_text() for name in "012"] == [
        "said seed=0\n", "said seed=1\n", "said seed=2\n",
    ]  # fmt: skip


def test_a_forked_job_ends_like_a_process_of_its_own(
    tmp_path: Path, warm: Callable[[str, str], Launching]
) -> None:
    lines = """
if sys.argv[1] == "seed=0":
    sys.exit("error: seed=0 is even.")
os.kill(os.getpid(), signal.SIGKILL)"""
    ended = dict((job.number, result) for job, result in run(jobs(tmp_path, 2), warm("", lines)))
    assert (ended[0].state, ended[0].error) == ("failed", "seed=0 is even.")
    assert ended[1].state == "killed"


@pytest.mark.parametrize(
    "imported",
    ["import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "1 / 0"],
)
def test_without_a_template_that_can_be_forked_jobs_start_from_nothing(
    imported: str, tmp_path: Path, warm: Callable[[str, str], Launching], program: Program
) -> None:
    settings = replace(warm(imported, FINISHES), program=program(FINISHES))
    assert states(tmp_path / "sweep", settings, 2) == ["finished"] * 2


def test_jobs_of_a_killed_template_have_ended(
    tmp_path: Path, warm: Callable[[str, str], Launching], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(0.5)"
    assert states(tmp_path / "sweep", replace(warm("", lines), n_jobs=1)) == ["killed"]


def test_an_interrupted_launcher_ends_forked_jobs(
    tmp_path: Path, warm: Callable[[str, str], Launching]
) -> None:
    running = run(jobs(tmp_path / "sweep", 1), replace(warm("", ENDS_POLITELY), n_jobs=1))

    def interrupt() -> None:
        await_files(tmp_path / "sweep" / "0" / "ready")
        time.sleep(0.5)  # until the launcher knows the job
        os.kill(os.getpid(), signal.SIGINT)

    alarm = threading.Thread(target=interrupt)
    alarm.start()
    with pytest.raises(KeyboardInterrupt):
        next(running)
    assert (tmp_path / "sweep" / "0" / "ended").exists()
