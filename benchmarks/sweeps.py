"""Cost of a job of a sweep beside its own work: the start and the end of its process.

    python -m benchmarks.sweeps [--trials 1000]

Three kinds of programs are run, one after another, by the launcher and by the shell's way (`subprocess.run`):

- `empty`: Python without site packages, which ends at once. The difference is the overhead of the launcher.
- `imports`: everything that a training imports, and nothing else: what a new process costs each job.
- `forked`: the same imports once, then a fork per job: what a warm start leaves of them.

Printed are seconds per job and their ratio to the overhead of the launcher. Then a study of `--trials`
finished trials is made, each a run in MLflow below that of the study, and timed, by the clock and in CPU
time: the study opened again by its command, the runs listed by MLflow's client, and the tables and the page
of the study. Its trials have no predictions, from which a page estimates the optimism of the choice. Last,
what MLflow's page asks of its server, with the CPU time of that: the first 100 rows of the list, all rows
that a comparison of parameters and values needs, and the curves of 100 runs, the most of one chart.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

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


def listed(number: int, root: Path) -> dict[str, tuple[float, float]]:
    """Make a study with finished trials; return the time and CPU time [s] of each way of listing them."""
    import optuna
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient
    from sqlalchemy import Engine, event

    from fibrolab.sweeps import search_space, study_report
    from fibrolab.sweeps.shared_study import RUN, Database, Goal, SharedStudy
    from fibrolab.tracked_run import PARENT

    space = search_space.parsed({"lr": "tag(log, interval(1e-5, 1e-2))", "dropout": "interval(0.0, 0.5)"})
    event.listen(Engine, "connect", lambda opened, _: opened.execute("PRAGMA synchronous = OFF"))
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    place = client.create_experiment("study")
    parent = client.create_run(place).info.run_id

    def opened() -> SharedStudy:
        database = Database(f"sqlite:///{root}/optuna.db")
        return SharedStudy(database, "study", [Goal("val/loss", "min")], space, {}, lambda: parent)

    study, kinds = opened(), {one.name: one.distribution for one in space.everything()}
    for trial in range(number):
        own = client.create_run(place, tags={PARENT: parent}).info.run_id
        share = trial / number
        values = {"lr": 10 ** (-5 + 3 * share), "dropout": 0.5 * (7 * share % 1)}
        curve = [Metric("val/loss", 1 - share / (step + 1), 0, step) for step in range(10)]
        params = [Param(name, str(value)) for name, value in values.items()]
        client.log_batch(own, curve, params, [RunTag("fibrolab.trial", str(trial))])
        client.set_terminated(own)
        steps = {metric.step: metric.value for metric in curve}
        study.study.add_trial(
            optuna.trial.create_trial(
                params=values, distributions=kinds, value=curve[-1].value, intermediate_values=steps,
                user_attrs={RUN: own},
            )
        )  # fmt: skip

    def runs() -> int:
        return len(client.search_runs([place], f"tags.`{PARENT}` = '{parent}'", max_results=number))

    def page() -> int:
        again = opened()
        folder = Path(root, "study")
        folder.mkdir()
        study_report.write(again, folder, client.tracking_uri, "")
        return again.done

    ways: dict[str, Callable[[], int]] = {
        "opened and counted": lambda: opened().done, "runs listed from MLflow": runs, "tables and page": page,
    }  # fmt: skip
    found = {}
    for name, way in ways.items():
        start, cpu = time.perf_counter(), time.process_time()
        assert way() == number
        found[name] = time.perf_counter() - start, time.process_time() - cpu
    return found


def spent(session: int) -> float:
    """Return the CPU time [s] of all processes of a session that run (proc(5), fields 6, 14 and 15)."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = path.read_text().rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12]) if int(words[3]) == session else 0
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(root: Path) -> Iterator[tuple[str, int]]:
    """Start MLflow's server on the database of a folder; yield the address that its page asks, and its id."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["server", "--backend-store-uri", f"sqlite:///{root}/mlflow.db", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", *words, "--workers", "1"]
    address = f"http://127.0.0.1:{port}"
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=root, stdout=silent, stderr=silent, start_new_session=True) as process:
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    urlopen(f"{address}/health", timeout=2)
                    break
                time.sleep(0.5)
            yield f"{address}/ajax-api/2.0/mlflow", process.pid
        finally:
            process.terminate()


def compared(number: int, root: Path) -> dict[str, tuple[float, float]]:
    """Return time and CPU time [s] of each request by which MLflow's page lists and compares runs."""

    def runs(address: str, most: int) -> list[dict[str, Any]]:
        asked = {"experiment_ids": ["1"], "max_results": most, "order_by": ["attributes.start_time DESC"]}
        body, kind = json.dumps(asked).encode(), {"Content-Type": "application/json"}
        with urlopen(Request(f"{address}/runs/search", body, kind)) as answer:
            return list(json.load(answer)["runs"])

    def curves(address: str, names: list[str]) -> list[dict[str, Any]]:
        asked = [("run_ids", name) for name in names] + [("metric_key", "val/loss"), ("max_results", "320")]
        with urlopen(f"{address}/metrics/get-history-bulk-interval?{urlencode(asked)}") as answer:
            return list(json.load(answer)["metrics"])

    with serving(root) as (address, session):
        names = [each["info"]["run_id"] for each in runs(address, 100)]  # the first request prepares others
        found = {}
        for name, way, points in (
            ("page: 100 runs", lambda: runs(address, 100), len(names)),
            ("page: all runs", lambda: runs(address, number + 1), number + 1),
            ("page: curves of 100 runs", lambda: curves(address, names), 10 * len(names)),
        ):
            start, cpu = time.perf_counter(), spent(session)
            assert len(way()) >= points - 10, name  # the run of the study has no curve
            found[name] = time.perf_counter() - start, spent(session) - cpu
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20, help="empty jobs")
    parser.add_argument("--processes", type=int, default=3, help="processes that import everything")
    parser.add_argument("--trials", type=int, default=1000, help="trials of the study that is listed")
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
    logging.disable(logging.WARNING)  # the trials have no predictions, from which optimism is estimated
    with tempfile.TemporaryDirectory() as folder:
        times = listed(given.trials, Path(folder))
        for name, (clock, cpu) in (times | compared(given.trials, Path(folder))).items():
            print(f"{name:26} {clock:8.3f} s, CPU {cpu:.3f} s for {given.trials:,} trials")


if __name__ == "__main__":
    main()
