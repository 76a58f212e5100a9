"""What a reader must know before the numbers: leaks, left-out files, floors that were not beaten."""

import math
from dataclasses import dataclass

from fibrolab import keys
from fibrolab.reporting import tables, wording
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


FEW_GROUPS = 30
SHORTFALL = 0.02  # a nominal 95 % may cover 93 %
MISCALIBRATED = 0.1
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
    data = _audit(run) if run.audit else _split(run)
    doubts = [*_groups(run), *_coverage(run), *_thresholds(run), *_calibration(run), *_sets(run)]
    found = [*data, *_floors(run), *doubts, *_record(run)]
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


def _groups(run: Run) -> list[Finding]:
    test = run.scored()
    if test is None or (n := test[keys.GROUP_ID].nunique()) >= FEW_GROUPS:
        return []
    return [Finding(f"The test set holds {n} groups only: intervals are rough below {FEW_GROUPS}.")]


def _coverage(run: Run) -> list[Finding]:
    """Headline intervals that are known, from simulation, to hold the truth less often than they say.

    Column `coverage` of the metrics is that share, for an interval of its method on a test set of this kind;
    NaN where it is not known.
    """
    if run.metrics is None or "coverage" not in run.metrics:
        return []
    promised = float(run.setting("bootstrap.level", 0.95))
    known = run.metrics[run.metrics["metric"].isin(tables.HEADLINE)].drop_duplicates("metric", keep="last")
    return [
        Finding(
            f"The {_percent(promised)} interval of {tables.title(metric)} is too narrow: on tests of this "
            f"kind it is known to hold the truth in about {_percent(share)}."
        )
        for metric, share in zip(known["metric"], known["coverage"], strict=True)
        if share < promised - SHORTFALL
    ]


def _thresholds(run: Run) -> list[Finding]:
    """End points for which validation could choose no threshold, a sentence a reason."""
    table = run.tables.get("endpoints")
    if table is None:
        return []
    lost = table[table["threshold"].isna() & ~table["rule"].isin(["", "half"])]
    reasons = lost["note"] if "note" in lost else lost["rule"].map(lambda _: "")
    found = []
    for reason, rows in lost.groupby(reasons, sort=False):
        names = wording.listed([wording.endpoint(run, name) for name in dict.fromkeys(rows["endpoint"])])
        why = f" ({reason})" if reason else ""
        found.append(Finding(f"Validation chose no threshold for {names}{why}."))
    return found


def _calibration(run: Run) -> list[Finding]:
    table = run.tables.get("calibration")
    if table is None or "low" not in table:
        return []
    chosen = (table["level"] == "sample") & (table["measure"] == "ece") & (table["low"] > MISCALIBRATED)
    return [
        Finding(
            f"The probabilities are badly calibrated ({row['probabilities']}): they miss the share of right "
            f"answers by {tables.quantity(row['value'], 'ece')} "
            f"{tables.interval(row['low'], row['high'], 'ece')} on average."
        )
        for row in wording.records(table[chosen])
    ]


def _sets(run: Run) -> list[Finding]:
    """Classes whose conformal sets surely hold the truth less often than the sets promise over all."""
    table = run.tables.get("conformal")
    if table is None or "high" not in table:
        return []
    short = table[(table["level"] == "sample") & (table["high"] < 1 - table["alpha"])]
    found = []
    for alpha, rows in short.groupby("alpha"):
        parts = [
            f"{tables.quantity(row['coverage'], 'accuracy')} of "
            f"{'all samples' if row['stage'] == 'all' else row['stage']}"
            for row in wording.records(rows)
        ]
        promise = f"Sets that promise {_percent(1 - float(str(alpha)))} hold the true class in only"
        found.append(Finding(f"{promise} {wording.listed(parts)}."))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f}{tables.SPACE}%"


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
