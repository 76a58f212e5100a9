"""A job of a sweep as its two sides see it: the process that starts it, and the child process that trains.

They meet in the folder of the job, `SWEEP/NUMBER`, which holds

    job.json          what is asked of the child; its path is in the child's environment
    log.txt           what the child prints
    progress.jsonl    one line per epoch, for the table of jobs
    result.json       what the child has to say at its end; missing if it was killed
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fibrolab.storage import free_bytes, full_disk, put, save_json

OF_OTHERS = (  # variables of another run or launcher that a job must not see
    "MLFLOW_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR",
    "MASTER_PORT",
)  # fmt: skip
FOLD, REPEAT = "fibrolab.fold", "fibrolab.repeat"  # tags of a training that is part of another run
VARIABLE = "FIBROLAB_JOB"  # environment variable of a child: path of its job.json
JOB_FILE, LOG_FILE, PROGRESS_FILE, RESULT_FILE = "job.json", "log.txt", "progress.jsonl", "result.json"
HARDLY_ANY = 2**16  # free bytes of a disk that is as good as full
State = Literal["finished", "pruned", "failed", "out of memory", "timeout", "killed"]


@dataclass(frozen=True)
class Trial:
    """A trial of an Optuna study, by which the child reports values and asks whether it is pruned.

    Attributes:
        storage: URL of the study's database.
        study: Name of the study.
        id: Id of the trial in the database.
        prunes: Whether the child asks after each epoch (or fold) if it should end.
    """

    storage: str
    study: str
    id: int
    prunes: bool = True


@dataclass(frozen=True)
class Job:
    """One training of a sweep.

    Attributes:
        number: Its number in the sweep, from 0.
        overrides: All overrides of its command, as they are typed: `python -m fibrolab.train OVERRIDES`.
        own: Those of them that differ between the jobs of the sweep.
        sweep: Folder of the sweep.
        parent: Id of the sweep's run in MLflow, the parent of this job's run.
        tags: Further tags of its run.
        trial: The trial of a study that it is; a trial sees training and validation samples only.
    """

    number: int
    overrides: tuple[str, ...]
    own: tuple[str, ...]
    sweep: Path
    parent: str
    tags: Mapping[str, Any] = field(default_factory=dict)
    trial: Trial | None = None

    @property
    def folder(self) -> Path:
        """Folder of the job."""
        return self.sweep / str(self.number)


@dataclass(frozen=True)
class Result:
    """End of a job.

    Attributes:
        state: How it ended.
        run: Id of its run in MLflow; None if it did not begin one.
        value: Best value of the monitored metric; None if there is none.
        metrics: Metrics of the epoch with that value.
        error: One sentence on why it failed; empty if it did not.
    """

    state: State
    run: str | None = None
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


def write(job: Job) -> Path:
    """Write `job.json` for the child, remove what an earlier child left, and return its path."""
    job.folder.mkdir(parents=True, exist_ok=True)
    for name in (PROGRESS_FILE, RESULT_FILE):
        (job.folder / name).unlink(missing_ok=True)
    path = job.folder / JOB_FILE
    save_json(asdict(job) | {"sweep": str(job.sweep)}, path)
    return path


def current() -> Job | None:
    """Return the job that this process was started for; None if it is no child of a sweep."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    trial = found.pop("trial")
    lists = {name: tuple(found.pop(name)) for name in ("overrides", "own")}
    return Job(**found | lists | {"sweep": Path(found["sweep"]), "trial": Trial(**trial) if trial else None})


def report_progress(job: Job, epoch: int, epochs: int | None, value: float | None) -> None:
    """Append a line to `progress.jsonl`: the epochs that are done, their number, the monitored value."""
    line = {"epoch": epoch, "epochs": epochs, "value": value, "time": time.time()}
    with (job.folder / PROGRESS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_progress(job: Job) -> dict[str, Any] | None:
    """Return the last whole line of `progress.jsonl`; None if there is none."""
    path = job.folder / PROGRESS_FILE
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return json.loads(lines[-1]) if lines else None


def write_result(job: Job, result: Result) -> None:
    """Write `result.json`, whole or not at all."""
    put(job.folder / RESULT_FILE, json.dumps(asdict(result)).encode())


def left_in(folder: Path) -> Result | None:
    """Return what the child of a job's folder wrote at its end; None if it was killed before."""
    path = folder / RESULT_FILE
    return Result(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def last_words(job: Job, code: int) -> str:
    """Return the last line of the log of a job that left no result, or the reason why it has none."""
    path = job.folder / LOG_FILE
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if free_bytes(job.folder) < HARDLY_ANY:
        return f"{full_disk(job.folder).capitalize()}. Free some space."
    return last.removeprefix("error: ") or f"It ended with exit code {code}, without a word."
