"""The ledger: how often each test set has been scored, kept as tags of the runs in MLflow that scored it.

Each scoring is one tag of the run that made it, written by no other process. It therefore needs no lock,
works the same in a file, a database and a server, and waits with the run's other records while a server is
away. The runs of all experiments of a database are counted, deleted ones too until they are purged.
"""

import contextlib
import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from omegaconf import OmegaConf

from fibrolab import keys
from fibrolab.errors import StorageError
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import save_json
from fibrolab.sweeps import jobs
from fibrolab.tracked_run import TrackedRun as Tracked

Kind = Literal["train", "evaluate", "external", "stack"]
TEST_SET, SCORED, BEFORE = "fibrolab.test_set", "fibrolab.scored.", "test_set_scored_before"  # tags of a run


class Scoring(NamedTuple):
    """One scoring of a test set; they are in the order of their times.

    Attributes:
        time: UTC, ISO 8601.
        run: Id of the run.
        name: Name of the tag: the kind, and for an evaluation what distinguishes it from others of the run.
    """

    time: str
    run: str
    name: str

    @property
    def kind(self) -> str:
        """Command that scored: `train`, `evaluate`, `external` or `stack`."""
        return self.name.removeprefix(SCORED).partition(".")[0]


def test_set(run: TrainedRun) -> tuple[str, int] | None:
    """Identify the test set of a run by its content.

    Args:
        run: A run that has written manifest, split and predictions.

    Returns:
        SHA-256 of the sorted hashes of the test samples' files (of the image, or else the clip or the
        elastogram, with the frame and rectangle that are used), and their number. Names, order, task and
        labels do not change it: a renamed copy is the same test set, and so are the same images under
        another end point. A part of a test set is another one. None if nothing was tested.
    """
    tested = sorted(run.tested)
    if not tested:
        return None
    table = run.samples.loc[tested].reset_index()
    names = table[keys.SAMPLE_ID]
    known = table["sha256"].where(table["sha256"] != "", names) if "sha256" in table else names
    return hashlib.sha256("\n".join(sorted(known)).encode()).hexdigest(), len(tested)


def enter(tracked: Tracked, kind: Kind) -> None:
    """Enter a scoring before its numbers are known, and write `test_set.json`, which the report reads.

    A training that is resumed is the scoring that it was; each `evaluate` is a new one. Trials of a study,
    the trainings of folds, which their parent enters, and `debug=fast_dev_run` are never entered.

    Args:
        tracked: The run, whose predictions are written.
        kind: The command.
    """
    run = TrainedRun(tracked.folder, tracked.id)
    job = jobs.current()
    is_part = job is not None and job.trial is not None
    is_part |= kind == "train" and jobs.FOLD in tracked.tags  # also if it is resumed by its own id
    if is_part or OmegaConf.select(run.config, "trainer.fast_dev_run") or not (found := test_set(run)):
        return
    identity, samples = found
    own = _own(tracked, kind, identity)
    tracked.tag({TEST_SET: identity, own.name: own.time})
    known: dict[str, Any] = {"hash": identity, "samples": samples, "kind": kind, **own._asdict()}
    known["before"] = before = None
    with contextlib.suppress(StorageError):  # the report says that their number is not known
        before = [each for each in scorings(tracked, identity) if each < own]
    if before is not None:
        tracked.tag({BEFORE: len(before)})
        known["before"] = [{"kind": each.kind, "run": each.run, "time": each.time} for each in before]
    save_json(known, tracked.folder / keys.TEST_SET_FILE)


def scorings(tracked: Tracked, identity: str) -> list[Scoring]:
    """Return all scorings of a test set that the database of a run knows, the earliest first.

    Raises:
        StorageError: The database or its server cannot be read.
    """
    return sorted(
        Scoring(time, run, name)
        for run, tags in tracked.runs_with(TEST_SET, identity).items()
        for name, time in tags.items()
        if name.startswith(SCORED)
    )


def _own(tracked: Tracked, kind: Kind, identity: str) -> Scoring:
    """Return the scoring to enter: that of the run's earlier process, if it was interrupted after it."""
    if kind != "evaluate" and (tracked.folder / keys.TEST_SET_FILE).is_file():
        known = TrainedRun(tracked.folder).test_set
        if known.get("hash") == identity and known.get("name") == f"{SCORED}{kind}":
            return Scoring(known["time"], tracked.id, known["name"])
    distinct = f".{secrets.token_hex(4)}" if kind == "evaluate" else ""
    return Scoring(
        datetime.now(UTC).isoformat(timespec="milliseconds"), tracked.id, f"{SCORED}{kind}{distinct}"
    )
