"""Processes: which have certainly ended, and how they use memory and cores."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fibrolab import processes
from fibrolab.processes import INITIAL, Process


def changed(**fields: str) -> Process:
    return dataclasses.replace(processes.current(), **fields)


def test_a_process_is_itself_until_it_ends() -> None:
    code = "from fibrolab import processes; print(processes.current(), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    process = processes.parsed(child.stdout.readline().rstrip("\n"))
    assert process is not None
    assert not processes.has_ended(process)
    child.communicate("")
    assert processes.has_ended(process)


@pytest.mark.parametrize(
    ("text", "number"),
    [("oom_kill_other 3\noom_kill 12\npgfault 9\n", 12), ("pgfault 9\n", None), (None, None)],
)
def test_the_kernel_counts_kills_for_memory(
    text: str | None, number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    if text is not None:
        (tmp_path / "vmstat").write_text(text)
    assert processes.kills_for_memory() == number


def test_text_and_process_are_each_other() -> None:
    for process in (processes.current(), changed(host="a host of two words", started="-")):
        assert processes.parsed(str(process)) == process
    assert processes.parsed("") is processes.parsed("4711") is processes.parsed("a b c d e") is None


@pytest.mark.parametrize(
    ("process", "ended"),
    [
        (changed(), False),
        (changed(started="1"), True),  # the id was used again
        (changed(pid="4194304"), True),  # above Linux's largest id
        (changed(namespace="pid:[1]", pid="4194304"), False),  # another container of the same name
        (changed(boot="another", pid="4194304", namespace="pid:[1]"), False),  # on another machine
        (changed(host="another", pid="4194304"), False),
    ],
)
def test_only_a_process_that_is_known_here_has_ended(process: Process, ended: bool) -> None:
    assert processes.has_ended(process) is ended


def test_a_boot_ends_the_processes_of_the_machine_but_not_those_of_containers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = changed(namespace=INITIAL)
    monkeypatch.setattr(processes, "current", lambda: here)
    before = dataclasses.replace(here, boot="earlier")
    assert processes.has_ended(before)
    assert not processes.has_ended(dataclasses.replace(before, namespace="pid:[1]"))


FAULTS_OF_BATCHES = """
import platform, resource, sys
import numpy as np
from fibrolab.processes import keep_freed_memory

def batches(number):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(number):
        layers = [np.ones(2**20) for _ in range(10)]  # 8 MiB each
        del layers
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    keep_freed_memory()
batches(2)
print(platform.libc_ver()[0], batches(10))
"""


def test_memory_that_is_freed_serves_the_next_batch() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", FAULTS_OF_BATCHES, word], capture_output=True, text=True, check=True
        ).stdout.split()
        for word in ("kept", "as usual")
    ]
    kept, usual = (int(output[-1]) for output in outputs)
    if outputs[0][0] == "glibc":
        assert kept < usual / 10
    else:
        assert kept >= 0  # there is no such setting, and the call does nothing


@pytest.mark.parametrize(("given", "wanted"), [({}, "4"), ({"OPENBLAS_THREAD_TIMEOUT": "20"}, "20")])
def test_threads_of_openblas_sleep_at_once_unless_the_user_says_otherwise(
    given: dict[str, str], wanted: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_THREAD_TIMEOUT"}
    code = "import fibrolab, os, sys; print('numpy' in sys.modules, os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment | given, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", wanted]
