"""A warm start of jobs: a process imports what a training needs, once, and then forks one process per job.

    python -m fibrolab.sweeps.template MODULE IMPORTED ...

It imports the modules IMPORTED, reads a JSON object per line from its standard input (the words and the
environment of a job, and its log), and writes the process ids and the exit codes of the jobs as JSON to its
standard output. Each fork runs MODULE as `python -m MODULE WORDS` does. A process with several threads cannot
be forked safely: the libraries are told to start none, and the template ends if one did. It has no GPU.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fibrolab.processes import PARENT, exists

POLL = 0.05  # [s] between two looks at the answers of a template
READY = {"ready": True}
ONE_THREAD = {  # environment variables by which libraries start no thread when they are imported
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class Template:
    """The template process, as the launcher sees it.

    Args:
        modules: The module that jobs run, then those that are imported before.
        environment: Environment of the process.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fibrolab.sweeps.template", *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**environment, **{name: ONE_THREAD[name] for name in ONE_THREAD}},
        )  # fmt: skip
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._rest, self._answers = b"", list[dict[str, Any]]()
        self.codes: dict[int, int] = {}

    def start(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> "ForkedJob | None":
        """Fork a process that runs the module with these words; None if the template has ended."""
        assert self._process.stdin is not None
        request = {"words": list(words), "environment": dict(environment), "log": str(log)}
        try:
            self._await_answer()  # that it is ready, or has forked the job before
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return ForkedJob(self, int(self._await_answer(keep=READY)["pid"]))
        except (EOFError, BrokenPipeError):
            return None

    def _await_answer(self, keep: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the next answer, and leave `keep` in its place.

        Raises:
            EOFError: The template has ended.
        """
        while not self._answers:
            if not self.read():
                raise EOFError
            time.sleep(POLL)
        answer = self._answers.pop(0)
        self._answers += [keep] if keep else []
        return answer

    def read(self) -> bool:
        """Read what the template has written; return whether it still runs."""
        assert self._process.stdout is not None
        found = self._process.stdout.read()
        *lines, self._rest = (self._rest + (found or b"")).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "code" in answer:
                self.codes[answer["pid"]] = answer["code"]
            else:
                self._answers.append(answer)
        return found is None or found != b""

    def close(self) -> None:
        """End the template; jobs that still run end with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()


class ForkedJob:
    """A process that the template forked, with the methods of `subprocess.Popen` that the launcher calls."""

    def __init__(self, template: Template, pid: int) -> None:
        self._template, self.pid = template, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code as `subprocess.Popen` does; None while the process runs."""
        if self.returncode is None:
            runs = self._template.read()
            self.returncode = self._template.codes.get(self.pid)
            if self.returncode is None and not runs and not exists(str(self.pid)):
                self.returncode = -signal.SIGKILL  # nobody has seen its exit code
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def wait(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        while (code := self.poll()) is None:
            time.sleep(POLL)
        return code

    def _send(self, kind: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, kind)


def main() -> None:
    """Be the template, and in each fork the job."""
    module, *imported = sys.argv[1:]
    answers = os.dup(1)
    for name in imported:
        importlib.import_module(name)
    threads = Path("/proc/self/task")
    if threads.is_dir() and len(list(threads.iterdir())) > 1:
        sys.exit("a library has started a thread")
    _answer(answers, READY)
    for request in _requests(answers):
        if (pid := os.fork()) == 0:
            os.close(answers)
            _become(request)
            break
        _answer(answers, {"pid": pid})
    else:
        return
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _requests(answers: int) -> Iterator[dict[str, Any]]:
    """Yield the jobs that are asked for, and report those that have ended."""
    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    rest = b""
    while True:
        ready, _, _ = select.select([0, wakes], [], [])
        if wakes in ready:
            os.read(wakes, 4096)
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    _answer(answers, {"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])})
        if 0 in ready:
            if not (found := os.read(0, 2**16)):
                return
            *lines, rest = (rest + found).split(b"\n")
            for line in lines:
                yield json.loads(line)


def _answer(answers: int, content: Mapping[str, Any]) -> None:
    os.write(answers, json.dumps(content).encode() + b"\n")


def _become(request: Mapping[str, Any]) -> None:
    """Give a fork the session, signals, files, environment and words of a job."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for file, number in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(request["environment"], **{PARENT: str(os.getppid())})
    if "OPENBLAS_NUM_THREADS" not in os.environ and "threadpoolctl" in sys.modules:
        cores = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        sys.modules["threadpoolctl"].threadpool_limits(cores, user_api="blas")
    sys.argv[1:] = request["words"]


if __name__ == "__main__":
    main()
