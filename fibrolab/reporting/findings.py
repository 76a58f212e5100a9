"""What a reader must know before the numbers: leaks, left-out files, baselines that were not beaten."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.intervals import coverage, proportions
from fibrolab.reporting import numbers, vocabulary
from fibrolab.runs.trained_run import Run


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
MISCALIBRATED = 1.25  # times; a calibration slope beyond it, or below its inverse, is told
SLOPE = "slope_"
OK, WARNING, FAIL = "ok", "warning", "fail"
VERDICTS = {
    OK: Verdict(
        OK,
        "✓",
        "passed",
        "Neither a leak into the test, nor a short cut past the liver, nor disorder in the labels was found.",
        "Report a score together with the highest baseline below and with its interval.",
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
    found = [*data, *_baselines(run), *doubts, *_record(run)]
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


def _levels(run: Run) -> dict[str, pd.DataFrame]:
    """The metrics of samples and of patients, by how a sentence tells them apart."""
    known = {"": run.metrics, " by patient": run.patients}
    return {whose: table for whose, table in known.items() if table is not None}


def _baselines(run: Run) -> list[Finding]:
    found = []
    for whose, table in _levels(run).items():
        for row in numbers.headline(table, {} if whose else run.baselines):
            if row.above_baseline is False:
                text = f"{row.title}{whose} {row} is not clearly above its baseline of {row.baseline_text}."
                found.append(Finding(text))
            elif not math.isfinite(row.value):
                found.append(Finding(f"{row.title}{whose} is not defined on this test set."))
    return found


def _groups(run: Run) -> list[Finding]:
    """Partitions of so few groups, or so unequal ones, that what is measured or chosen on them is rough."""
    found = []
    rough = {keys.TEST: "intervals are rough", keys.VALIDATION: "thresholds and temperatures are rough"}
    for partition, what in rough.items():
        rows = run.scored(partition)
        if rows is None:
            continue
        sizes = rows[keys.GROUP_ID].value_counts().to_numpy()
        if (worth := proportions.effective_groups(sizes)) < FEW_GROUPS:
            size = " only" if worth == len(sizes) else f", which are worth {int(worth)} of equal size"
            text = f"The {partition} set holds {len(sizes)} groups{size}: {what} below {FEW_GROUPS}."
            found.append(Finding(text))
    return found


def _coverage(run: Run) -> list[Finding]:
    """Headline intervals that are known, from simulation, to hold the truth less often than they say.

    Column `coverage` of the metrics is that share, for an interval of its method on a test set of this kind;
    NaN where it is not known.
    """
    promised = float(run.setting("bootstrap.level", 0.95))
    short = []
    for whose, table in _levels(run).items():
        if "coverage" in table:
            told = table["metric"].isin(numbers.headline_names(table))
            rows = table[told & (table["coverage"] < coverage.LOWEST)]
            short += [
                f"{numbers.quantity(row['coverage'], 'accuracy')} ({numbers.title(row['metric'])}{whose})"
                for row in vocabulary.records(rows.drop_duplicates("metric", keep="last"))
            ]
    if not short:
        return []
    some = f"Some {numbers.percent(promised)} intervals are too narrow"
    text = f"{some}: in the most similar simulated studies they "
    return [Finding(f"{text}held the truth in only {vocabulary.listed(short)}.")]


def _thresholds(run: Run) -> list[Finding]:
    """End points for which validation could choose no threshold, a sentence a rule and reason."""
    table = run.tables.get("endpoints")
    if table is None:
        return []
    lost = table[table["threshold"].isna() & ~table["rule"].isin(["", "half"])]
    found = []
    reasons = lost["note"].fillna("") if "note" in lost else pd.Series("", index=lost.index)
    for (level, reason), each in lost.groupby([lost["level"], reasons], sort=False):
        rules = dict.fromkeys(vocabulary.RULES.get(rule, str(rule)) for rule in each["rule"])
        names = dict.fromkeys(vocabulary.endpoint(run, name) for name in each["endpoint"])
        whose = "" if level == "sample" else f" {vocabulary.LEVELS.get(str(level), level)}"
        why = f" ({reason})" if reason else ""
        text = f"Validation{whose} chose no threshold by {vocabulary.listed([*rules])} for "
        found.append(Finding(f"{text}{vocabulary.listed([*names])}{why}."))
    return found


def _calibration(run: Run) -> list[Finding]:
    """Probabilities that are surely, and by a fair amount, over- or under-confident.

    By the slope, which is 1 where they are right: the calibration error has no interval to be sure by.
    """
    table = run.tables.get("calibration")
    if table is None or not {"low", "high"} <= set(table.columns):
        return []
    slopes = table[(table["probabilities"] == "as predicted") & table["measure"].str.startswith(SLOPE)]
    value, found = slopes["value"], []
    for what, wrong in (
        ("over-confident", (slopes["high"] < 1) & (value < 1 / MISCALIBRATED)),
        ("under-confident", (slopes["low"] > 1) & (value > MISCALIBRATED)),
    ):
        if wrong.any():
            parts = [_slope(run, row) for row in vocabulary.records(slopes[wrong])]
            text = f"The probabilities are {what}: the calibration slope, which should be 1, is "
            found.append(Finding(f"{text}{vocabulary.listed(parts)}."))
    return found


def _slope(run: Run, row: Mapping[str, Any]) -> str:
    ends = numbers.interval(row["low"], row["high"], "slope")
    name = vocabulary.endpoint(run, row["measure"].removeprefix(SLOPE))
    return f"{numbers.quantity(row['value'], 'slope')} {ends} for {name}{_whose(row['level'])}"


def _sets(run: Run) -> list[Finding]:
    """Classes whose conformal sets surely hold the truth less often than the sets promise over all."""
    table = run.tables.get("conformal")
    if table is None or "high" not in table:
        return []
    found = []
    short = table[table["high"] < 1 - table["alpha"]]
    for (level, alpha), rows in short.groupby(["level", "alpha"], sort=False):
        parts = [
            f"{numbers.quantity(row['coverage'], 'accuracy')} of "
            f"{'all' if row['stage'] == 'all' else row['stage']}"
            for row in vocabulary.records(rows)
        ]
        promise = f"Sets{_whose(str(level))} that promise {numbers.percent(1 - float(str(alpha)))}"
        found.append(Finding(f"{promise} hold the true class in only {vocabulary.listed(parts)}."))
    return found


def _whose(level: str) -> str:
    """What tells a sentence on patients from one on samples."""
    return "" if level == "sample" else f" {vocabulary.POOLINGS[level]}"


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
