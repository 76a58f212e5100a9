"""Cost of a job of a sweep beside its own work: the start and the end of its process.

    python -m benchmarks.sweeps

Three kinds of programs are run, one after another, by the launcher and by the shell's way (`subprocess.run`):

- `empty`: Python without site packages, which ends at once. The difference is the overhead of the launcher.
- `imports`: everything that a training imports, and nothing else: what a new process costs each job.
- `forked`: the same imports once, then a fork per job: what a warm start leaves of them.

Printed are seconds per job and their ratio to the overhead of the launcher.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fibrolab.sweeps.jobs import Job
from fibrolab.sweeps.launching import Launching, run

EMPTY = (sys.executable, "-S", "-c", "")
IMPORTS = "import fibrolab.cross_validation"


def launched(number: int) -> float:
    """Return the seconds per job of `number` empty jobs, run by the launcher."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        jobs = [Job(each, (), (), Path(folder), "") for each in range(number)]
        start = time.perf_counter()
        for _ in run(jobs, Launching(gpus_per_job=0, program=EMPTY)):
            pass
        return (time.perf_counter() - start) / number


def started(words: tuple[str, ...], number: int) -> float:
    """Return the seconds per process of `number` processes, one after another."""
    start = time.perf_counter()
    for _ in range(number):
        subprocess.run(words, check=True)
    return (time.perf_counter() - start) / number


def forked(number: int) -> float:
    """Return the seconds per fork of a process that has imported everything."""
    code = (
        f"import os, time\n{IMPORTS}\nstart = time.perf_counter()\n"
        f"for _ in range({number}):\n    pid = os.fork()\n    pid or os._exit(0)\n    os.waitpid(pid, 0)\n"
        f"print((time.perf_counter() - start) / {number})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20, help="empty jobs")
    parser.add_argument("--processes", type=int, default=3, help="processes that import everything")
    given = parser.parse_args()
    overhead = launched(given.jobs) - started(EMPTY, given.jobs)
    seconds = {
        "overhead of the launcher": overhead,
        "imports of a new process": started((sys.executable, "-c", IMPORTS), given.processes),
    }
    if hasattr(os, "fork"):
        seconds["fork after the imports"] = forked(given.jobs)
    for name, value in seconds.items():
        print(f"{name:26} {value:8.3f} s a job {value / overhead:8.1f} x")


if __name__ == "__main__":
    main()
