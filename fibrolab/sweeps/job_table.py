"""The jobs of a sweep as they run: a live table on a terminal, a line per event elsewhere."""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fibrolab.sweeps import jobs as folders
from fibrolab.sweeps.jobs import Job, Result

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

PAUSE = 1.0  # [s], shortest time between two drawings
ENDED_ROWS = 12  # ended jobs that the table shows; earlier ones have scrolled away


@dataclass
class _Row:
    """A job with its time, and its result once it has ended."""

    job: Job
    started: float
    ended: float | None = None
    result: Result | None = None


class JobTable:
    """The jobs that run or have ended, and their last epochs.

    Args:
        live: Live display of a terminal; None: print a line when a job starts and ends.
    """

    def __init__(self, live: "Live | None" = None) -> None:
        self._live, self._rows = live, dict[int, _Row]()
        self._drawn = 0.0

    def started(self, job: Job) -> None:
        """Show that a job has started."""
        self._rows[job.number] = _Row(job, time.time())
        if self._live is None:
            print(f"{_name(job)}: started, see {job.folder / folders.LOG_FILE}", flush=True)
        self.refresh(now=True)

    def ended(self, job: Job, result: Result) -> Result:
        """Show how a job has ended, and return its result."""
        now = time.time()
        row = self._rows.setdefault(job.number, _Row(job, now))
        row.ended, row.result = now, result
        if self._live is None:
            value = "" if result.value is None else f", best value {result.value:.4g}"
            error = f": {result.error}" if result.error else ""
            taken = duration(now - row.started)
            print(f"{_name(job)}: {result.state} after {taken}{value}{error}", flush=True)
        self.refresh(now=True)
        return result

    def refresh(self, now: bool = False) -> None:
        """Draw the table again if `PAUSE` has passed."""
        if self._live is not None and (now or time.monotonic() - self._drawn > PAUSE):
            self._drawn = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def _table(self) -> "Table":
        from rich.table import Table

        table = Table("job", "settings", "state", "epoch", "monitored", "time", "left", box=None)
        ended = [row for row in self._rows.values() if row.result is not None]
        running = [row for row in self._rows.values() if row.result is None]
        for row in [*ended[-ENDED_ROWS:], *running]:
            table.add_row(*cells(row.job, row.result, (row.ended or time.time()) - row.started, row.started))
        table.caption = f"{len(ended)} ended, {len(running)} running"
        return table


def cells(job: Job, result: Result | None, taken: float, started: float) -> list[str]:
    """Return the cells of a job's row.

    Args:
        job: The job.
        result: Its end; None while it runs.
        taken: Time that it has taken so far [s].
        started: Its start [s since the epoch].
    """
    last = folders.read_progress(job) or {}
    epoch, epochs = last.get("epoch"), last.get("epochs")
    value = last.get("value") if result is None else result.value
    left = ""
    if result is None and epoch and epochs:
        left = duration(max(0.0, (last["time"] - started) / epoch * epochs - taken))
    return [
        str(job.number),
        shlex.join(job.own),
        result.state if result else "running" if epoch else "starting",
        f"{epoch}/{epochs or '?'}" if epoch else "",
        "" if value is None else f"{value:.4g}",
        duration(taken),
        left,
    ]


def duration(seconds: float) -> str:
    """Return a time such as `45 s`, `3 min` or `2 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


@contextmanager
def job_table() -> Iterator[JobTable]:
    """Show jobs on the terminal while they run."""
    if not sys.stdout.isatty():
        yield JobTable()
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield JobTable(live)


def _name(job: Job) -> str:
    return " ".join([f"#{job.number}", *job.own])
