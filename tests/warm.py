"""Commands in forks of one process, which has imported their libraries: a start takes no time."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from fibrolab.sweeps.launching import WARM
from fibrolab.sweeps.template import ForkedJob, Template

ROOT = Path(__file__).parents[1]
IMPORTED = (*WARM, "fibrolab.studies.running", "fibrolab.studies.study_pictures")


class Ended(NamedTuple):
    """Exit code of a command, and all that it printed."""

    returncode: int
    output: str


class Warm:
    """The process that is forked; its working folder is that of the project.

    Args:
        environment: Environment of the process, and of the commands.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> Self:
        with contextlib.chdir(ROOT):
            self._template = Template(["as_command", *IMPORTED], self._environment)
        return self

    def __exit__(self, *_: object) -> None:
        self._template.close()

    @contextlib.contextmanager
    def started(self, log: Path, module: str, *words: str) -> Iterator[ForkedJob]:
        """Start `python -m MODULE WORDS` in a session of its own, which prints into a file; then kill it."""
        log.unlink(missing_ok=True)
        job = self._template.start([module, *words], self._environment, log)
        assert job, "a library has started a thread"
        try:
            yield job
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()

    def run(self, log: Path, module: str, *words: str) -> Ended:
        """Run `python -m MODULE WORDS`, and return its end and the content of the file."""
        with self.started(log, module, *words) as job:
            code = job.wait()
        return Ended(code, log.read_text())
