"""What a reader must know before the numbers: leaks, left-out files, floors that were not beaten."""

import math
from dataclasses import dataclass

from fibrolab import keys
from fibrolab.reporting import tables
from fibrolab.reporting.run import Run


@dataclass(frozen=True)
class Finding:
    """One sentence; ``grave`` where the numbers cannot be believed as they stand."""

    text: str
    grave: bool = False


def of(run: Run) -> list[Finding]:
    """All findings of a run, the grave ones first."""
    found = [*(_audit(run) if run.audit else _split(run)), *_floors(run), *_record(run)]
    return sorted(found, key=lambda finding: not finding.grave)


def _audit(run: Run) -> list[Finding]:
    """The audit's own sentences, under one that says what they amount to."""
    found = [Finding(str(text)) for text in run.audit.get("warnings") or []]
    if run.audit.get("verdict") == "fail":
        found.append(Finding("The data failed its audit: the numbers below are no evidence.", grave=True))
    return found


def _split(run: Run) -> list[Finding]:
    """What the configuration alone betrays, where no audit was recorded."""
    found = []
    if run.setting("split.val_is_test", False):
        text = "Validation and test are the same samples: the epoch was chosen on the scored set."
        found.append(Finding(text, grave=True))
    if run.setting("split.leaky", False):
        text = "The split may part groups, as a paper did: the numbers below are no evidence."
        found.append(Finding(text, grave=True))
    return found


def _floors(run: Run) -> list[Finding]:
    if run.metrics is None:
        return []
    found = []
    for row in tables.headline(run.metrics, run.floors):
        if row.above_floor is False:
            text = f"{row.title} {row} does not rise surely above its floor of {row.floor_text}."
            found.append(Finding(text))
        elif not math.isfinite(row.value):
            found.append(Finding(f"{row.title} is not defined on this test set."))
    return found


def _record(run: Run) -> list[Finding]:
    found = [Finding(fault) for fault in run.faults]
    if run.environment.get("git_dirty"):
        found.append(
            Finding("The code held uncommitted changes: the commit alone does not reproduce this run.")
        )
    test = run.scored()
    if test is not None and (
        absent := [name for k, name in enumerate(run.classes) if k not in set(test[keys.Y_TRUE])]
    ):
        found.append(Finding(f"The test set holds no sample of {', '.join(absent)}."))
    return found
