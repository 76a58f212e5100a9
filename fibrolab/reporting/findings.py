"""What a reader must know before the numbers: leaks, left-out files, floors that were not beaten."""

import math
from dataclasses import dataclass

from fibrolab import keys
from fibrolab.reporting import tables
from fibrolab.reporting.run import Run


@dataclass(frozen=True)
class Verdict:
    """What an audit amounts to.

    Attributes:
        level: ``ok``, ``warning`` or ``fail``.
        sign: Tells the levels apart without colour.
        word: The verdict in words.
        meaning: What it says of a score on this data.
        advice: What to do now.
    """

    level: str
    sign: str
    word: str
    meaning: str
    advice: str


OK, WARNING, FAIL = "ok", "warning", "fail"
VERDICTS = {
    OK: Verdict(
        OK,
        "✓",
        "passed",
        "Neither a leak into the test, nor a short cut past the liver, nor disorder in the labels was found.",
        "Report a score together with the highest floor below and with its interval.",
    ),
    WARNING: Verdict(
        WARNING,
        "!",
        "passed, with warnings",
        "A score on this split can be used, but part of it may come from what the warnings below name.",
        "Mend what can be mended and audit again; state the rest wherever a score is reported.",
    ),
    FAIL: Verdict(
        FAIL,
        "✕",
        "failed",
        "A score on this split proves nothing, for the reasons listed under failures.",
        "Report no score on this split. Mend its failures, then audit again.",
    ),
}


def verdict(run: Run) -> Verdict | None:
    """The verdict of the data's audit, or ``None`` where none was recorded."""
    return VERDICTS.get(str(run.audit.get("verdict")))


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
    found = []
    if run.audit.get("verdict") == FAIL:
        found.append(Finding("The data failed its audit: the numbers below are no evidence.", grave=True))
    failures = {each.get("sentence") for each in run.audit.get("findings") or [] if each.get("level") == FAIL}
    return found + [Finding(str(text), text in failures) for text in run.audit.get("warnings") or []]


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
