"""The sentences of a run's report: results, cautions (leakage, baselines not exceeded, ...) and verdict."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.intervals import coverage, proportions
from fibrolab.evaluation.measures import thresholds
from fibrolab.evaluation.patients import SAMPLE
from fibrolab.reporting import numbers, vocabulary
from fibrolab.runs.trained_run import Run


@dataclass(frozen=True)
class Verdict:
    """The verdict of an audit in words.

    Attributes:
        level: ``ok``, ``warning`` or ``fail``.
        sign: Distinguishes the levels without colour.
        word: The verdict in words.
        meaning: Its consequence for a score on this data.
        advice: Recommended action.
    """

    level: str
    sign: str
    word: str
    meaning: str
    advice: str


FEW_GROUPS = 30  # below it, bootstrap intervals are too narrow
MISCALIBRATED = 1.25  # a calibration slope above it, or below its inverse, is reported
SLOPE = "slope_"
TIMES = {1: "once", 2: "twice"}
SCORINGS = {  # kinds of entries in the ledger of test sets
    "train": "training",
    "evaluate": "repeated evaluation",
    "external": "external evaluation",
    "stack": "stacked model",
}
OK, WARNING, FAIL = "ok", "warning", "fail"
VERDICT_TEXTS = {
    OK: Verdict(
        OK,
        "✓",
        "passed",
        "The audit found no leakage into the test set, no shortcut unrelated to the liver and no "
        "irregularity in the labels.",
        "Report each score together with its confidence interval and with the highest baseline below.",
    ),
    WARNING: Verdict(
        WARNING,
        "!",
        "passed, with warnings",
        "Scores on this split can be used, but part of the performance may be explained by the problems "
        "listed under warnings.",
        "Correct what can be corrected and repeat the audit; state the remaining problems wherever a score "
        "is reported.",
    ),
    FAIL: Verdict(
        FAIL,
        "✕",
        "failed",
        "Scores on this split are not valid evidence of performance, for the reasons listed under failures.",
        "Do not report scores on this split. Correct the failures and repeat the audit.",
    ),
}


def verdict(run: Run) -> Verdict | None:
    """Return the verdict of the audit of the data, or ``None`` where none was recorded."""
    found = VERDICT_TEXTS.get(str(run.audit.get("verdict")))
    if found is None or found.level != OK or not run.audit.get("of_pixels"):
        return found
    return replace(
        found,
        meaning="The audit found no leakage into the test set.",
        advice="Report each score together with its confidence interval and with that of the mean training "
        "mask.",
    )


@dataclass(frozen=True)
class Caution:
    """One sentence of caution; ``grave`` where the results are not valid evidence as they stand."""

    text: str
    grave: bool = False


Source = Callable[[Run], Iterable[Caution]]


@lru_cache(maxsize=1)  # asked for by the report, its summary and three documents
def cautions(run: Run) -> Sequence[Caution]:
    """Return the cautions that a reader must know before the results, the most serious first."""
    data: Source = _audit if run.audit else _split
    chosen: Source = _without_validation if run.lacks_validation else _thresholds
    precision: tuple[Source, ...] = (_groups, _coverage, chosen, _calibration, _sets)
    others: tuple[Source, ...] = (_initial_weights, _tuning, _scored_before, explanation_cautions, _record)
    found = [each for of in (_trial, data, _baselines, *precision, *others) for each in of(run)]
    return sorted(found, key=lambda caution: not caution.grave)


def explanation_cautions(run: Run, without: Sequence[str] = ()) -> list[Caution]:
    """Return the findings on the run's heat maps, such as the proportion of heat outside the scan.

    Args:
        run: The explained run.
        without: Names of findings to leave out.
    """
    return [
        Caution(str(finding["sentence"]), grave=finding.get("level") == FAIL)
        for finding in run.explanation_findings
        if finding.get("level") != "note" and finding.get("key") not in without
    ]


def is_trial(run: Run) -> bool:
    """Return whether one batch of every stage was run, to test a command (`debug=fast_dev_run`)."""
    return bool(run.setting("trainer.fast_dev_run"))


def _trial(run: Run) -> Iterator[Caution]:
    text = "One batch was trained and one was predicted, to test the command: no number below is a result."
    if is_trial(run):
        yield Caution(text, grave=True)


def _initial_weights(run: Run) -> list[Caution]:
    """Return the branches that started from random weights."""
    branches = run.setting("model.branches") or {}
    random = [
        f"{branch.get('name')} ({place})"
        for place, branch in branches.items()
        if branch.get("pretrained") is False and not branch.get("weights") and not branch.get("_target_")
    ]
    if not random:
        return []
    text = f"Training started from random weights in {vocabulary.listed(random)}; "
    return [Caution(f"{text}with published weights, as in most studies, scores are often higher.")]


def _tuning(run: Run) -> list[Caution]:
    """Return that nothing is known of the choice of the settings, where the run does not name it."""
    if not run.config or is_trial(run) or run.setting("tuned_by") is not None:
        return []
    text = "It is not recorded whether test patients took part in the choice of the settings (tuned_by)."
    return [Caution(text)]


def scored_before(run: Run) -> str:
    """Return a sentence on how often the test set had been scored before; empty where it is not recorded."""
    if "before" not in run.test_set:
        return ""
    earlier = run.test_set["before"]
    if earlier is None:
        why = "because the tracking server was away"
        return f"How often this test set has been scored before is not known, {why}."
    if not earlier:
        return "This test set has been scored for the first time in this tracking database."
    times = TIMES.get(len(earlier), f"{len(earlier):,} times")
    runs = {each["run"] for each in earlier}
    where = (
        "in this run" if runs == {run.test_set.get("run")} else f"in {vocabulary.counted(len(runs), 'run')}"
    )
    kinds = Counter(each["kind"] for each in earlier)
    parts = [vocabulary.counted(number, SCORINGS.get(kind, kind)) for kind, number in kinds.items()]
    return f"This test set has been scored {times} before, {where} ({vocabulary.listed(parts)})."


def _scored_before(run: Run) -> list[Caution]:
    """Return earlier scorings of the test set, if there are any or none is known of."""
    if run.test_set.get("before") == [] or not (text := scored_before(run)):
        return []
    if not run.test_set["before"]:
        return [Caution(text)]
    return [Caution(f"{text} Choosing among models by such scores makes the best of them too high.")]


def _audit(run: Run) -> Iterator[Caution]:
    """Yield the findings of the audit, after a sentence on their consequence where it failed."""
    if run.audit.get("verdict") == FAIL:
        text = "The data failed the audit: the results below are not valid evidence of performance."
        yield Caution(text, grave=True)
    failures = {each.get("sentence") for each in run.audit.get("findings") or [] if each.get("level") == FAIL}
    yield from (Caution(str(text), text in failures) for text in run.audit.get("warnings") or [])


def _split(run: Run) -> Iterator[Caution]:
    """Yield cautions known from the configuration alone, where no audit was recorded."""
    if run.setting("split.val_is_test", False):
        text = "The validation and test sets are the same samples: the epoch was selected on the test set."
        yield Caution(text, grave=True)
    if run.setting("split.leaky", False):
        text = (
            "The split does not keep the images of a patient in one partition, as in the paper that it "
            "reproduces: the results below are not valid evidence of performance."
        )
        yield Caution(text, grave=True)


def _levels(run: Run) -> dict[str, pd.DataFrame]:
    """Return the metrics of samples and of patients, by the words that identify them in a sentence."""
    known = {"": run.metrics, " by patient": run.patients}
    return {suffix: table for suffix, table in known.items() if table is not None}


def _baselines(run: Run) -> Iterator[Caution]:
    for suffix, table in _levels(run).items():
        for row in numbers.headline(table, {} if suffix else run.baselines):
            if row.above_baseline is False:
                baseline = f"its baseline of {row.baseline_text}"
                text = f"{row.title}{suffix}, {row}, is not clearly better than {baseline}."
                yield Caution(text)
            elif not math.isfinite(row.value):
                yield Caution(f"{row.title}{suffix} is not defined on this test set.")


def _groups(run: Run) -> Iterator[Caution]:
    """Yield partitions with too few independent units, or too unequal ones, for precise estimates."""
    imprecise = {
        keys.TEST: "confidence intervals are approximate",
        keys.VALIDATION: "thresholds and temperatures are imprecise",
    }
    for partition, consequence in imprecise.items():
        rows = run.scored(partition)
        if rows is None:
            continue
        sizes = rows[keys.GROUP_ID].value_counts().to_numpy()
        if (effective := proportions.effective_groups(sizes)) < FEW_GROUPS:
            units, equal = f"{len(sizes)} independent units (patients or clusters)", effective == len(sizes)
            size = f"only {units}" if equal else f"{units}, equivalent to {int(effective)} of equal size"
            text = f"The {partition} set contains {size}: {consequence} with fewer than {FEW_GROUPS}."
            yield Caution(text)


def _coverage(run: Run) -> list[Caution]:
    """Return headline intervals whose actual coverage, in simulated studies, is below the nominal level.

    Column `coverage` of the metrics is the coverage of an interval of this method in the most similar
    simulated study; NaN where it is not known.
    """
    nominal = float(run.setting("bootstrap.level", 0.95))
    short = []
    for suffix, table in _levels(run).items():
        if "coverage" in table:
            shown = table["metric"].isin(numbers.headline_names(table))
            rows = table[shown & (table["coverage"] < coverage.LOWEST)]
            short += [
                f"{numbers.quantity(row['coverage'], 'accuracy')} ({numbers.title(row['metric'])}{suffix})"
                for row in vocabulary.records(rows.drop_duplicates("metric", keep="last"))
            ]
    if not short:
        return []
    text = (
        f"Some {numbers.percent(nominal)} confidence intervals are too narrow: in the most similar simulated "
    )
    return [Caution(f"{text}studies they contained the true value in only {vocabulary.listed(short)}.")]


def _without_validation(run: Run) -> list[Caution]:
    """Return what follows from a training without a validation partition."""
    epoch = "the weights of the last epoch were used" if run.setting("trainer") else "no threshold was chosen"
    return [
        Caution(
            f"There is no validation set: {epoch}, end points are decided at one half, and no temperature "
            "and no prediction sets were fitted."
        )
    ]


def _thresholds(run: Run) -> Iterator[Caution]:
    """Yield a sentence, by level and reason, on end points for which validation gives no threshold."""
    table = run.tables.get("endpoints")
    if table is None:
        return
    lost = table[table["threshold"].isna() & ~table["rule"].isin(["", "half"])]
    reasons = lost["note"].fillna("") if "note" in lost else pd.Series("", index=lost.index)
    for (level, reason), each in lost.groupby([lost["level"], reasons], sort=False):
        rules = dict.fromkeys(vocabulary.RULES.get(rule, str(rule)) for rule in each["rule"].unique())
        names = dict.fromkeys(vocabulary.end_point_of(run, name) for name in each["endpoint"].unique())
        at_level = "" if level == "sample" else f" {vocabulary.LEVELS.get(str(level), level)}"
        why = f" ({reason})" if reason else ""
        text = (
            f"On the validation set{at_level}, no threshold could be chosen by {vocabulary.listed([*rules])}"
        )
        yield Caution(f"{text} for {vocabulary.listed([*names])}{why}.")


def _calibration(run: Run) -> Iterator[Caution]:
    """Yield calibration slopes that differ from 1 by their interval and by a relevant amount.

    The expected calibration error has no valid interval, and is therefore not used here.
    """
    table = run.tables.get("calibration")
    if table is None or not {"low", "high"} <= set(table.columns):
        return
    slopes = table[(table["probabilities"] == "as predicted") & table["measure"].str.startswith(SLOPE)]
    value = slopes["value"]
    for direction, wrong in (
        ("over-confident", (slopes["high"] < 1) & (value < 1 / MISCALIBRATED)),
        ("under-confident", (slopes["low"] > 1) & (value > MISCALIBRATED)),
    ):
        if wrong.any():
            parts = [_slope(run, row) for row in vocabulary.records(slopes[wrong])]
            text = f"The predicted probabilities are {direction}: the calibration slope (ideally 1) is "
            yield Caution(f"{text}{vocabulary.listed(parts)}.")


def _slope(run: Run, row: Mapping[str, Any]) -> str:
    ends = numbers.interval(row["low"], row["high"], "slope")
    name = vocabulary.end_point_of(run, row["measure"].removeprefix(SLOPE))
    return f"{numbers.quantity(row['value'], 'slope')} {ends} for {name}{_at_level(row['level'])}"


def _sets(run: Run) -> Iterator[Caution]:
    """Yield classes for which the coverage of conformal prediction sets is below its nominal level."""
    table = run.tables.get("conformal")
    if table is None or "high" not in table:
        return
    short = table[table["high"] < 1 - table["alpha"]]
    for (level, alpha), rows in short.groupby(["level", "alpha"], sort=False):
        parts = [
            f"{numbers.quantity(row['coverage'], 'accuracy')} of "
            f"{'all' if row['stage'] == 'all' else row['stage']}"
            for row in vocabulary.records(rows)
        ]
        which = f"Conformal prediction sets{_at_level(str(level))} with a nominal coverage of "
        text = f"{which}{numbers.percent(1 - float(str(alpha)))} contain the true class for only "
        yield Caution(f"{text}{vocabulary.listed(parts)}.")


def _at_level(level: str) -> str:
    """Return the words that distinguish a sentence on patients from one on samples."""
    return "" if level == "sample" else f" ({vocabulary.POOLINGS[level]})"


def _record(run: Run) -> Iterator[Caution]:
    yield from map(Caution, run.faults)
    if run.environment.get("git_dirty"):
        yield Caution("The code had uncommitted changes: the commit alone does not reproduce this run.")
    test = run.scored()
    if test is not None and (
        absent := [name for k, name in enumerate(run.classes) if k not in set(test[keys.Y_TRUE])]
    ):
        yield Caution(f"The test set contains no sample of {', '.join(absent)}.")


def results(run: Run) -> list[str]:
    """Return the main results in words, a sentence on the classes, then one on each end point.

    Patients come before samples; what was not measured has no sentence.
    """
    level, table = ("patient", run.patients) if run.patients is not None else (SAMPLE, run.metrics)
    if table is None:
        return []
    rows = numbers.rows(table, ["accuracy"], {} if level == "patient" else run.baselines)
    return [*_class_result(run, level, rows), *_end_point_results(run, level)]


def _class_result(run: Run, level: str, rows: list[numbers.Row]) -> list[str]:
    if not rows or not math.isfinite(rows[0].value):
        return []
    (row,) = rows
    baseline = ""
    if math.isfinite(row.baseline) and level == SAMPLE:  # the audit measures its baselines by sample alone
        baseline = f"; the best accuracy reachable without a model was {row.baseline_text}"
    elif math.isfinite(row.baseline):
        majority = numbers.quantity(row.baseline, row.metric)
        baseline = f"; predicting the most frequent class of the training set was correct for {majority}"
    label = "stage" if run.setting("task.ordered") and len(run.classes) > 2 else "class"
    return [f"The predicted {label} was correct for {_unbroken(row)} of the test {level}s{baseline}."]


def _end_point_results(run: Run, level: str) -> Iterator[str]:
    table = run.tables.get("endpoints")
    if table is None:
        return
    rule = thresholds.HALF if run.lacks_validation else thresholds.YOUDEN
    rows = table[(table["level"] == level) & (table["rule"] == rule)]
    for name, of_end_point in rows.groupby("endpoint", sort=False):
        known = {row["metric"]: row for row in vocabulary.records(of_end_point)}
        measures = ("sensitivity", "specificity")
        parts = [text for metric in measures if (text := _proportion(known.get(metric)))]
        if len(parts) == len(measures):
            title = vocabulary.end_point_of(run, str(name))
            yield f"{title}: sensitivity {parts[0]} and specificity {parts[1]} by {level}."


def _proportion(row: Mapping[str, Any] | None) -> str:
    if row is None or not math.isfinite(vocabulary.number(row, "value")):
        return ""
    value, low, high = (vocabulary.number(row, name) for name in ("value", "low", "high"))
    return _unbroken(f"{numbers.quantity(value, 'accuracy')} {numbers.interval(low, high, 'accuracy')}")


def _unbroken(estimate: object) -> str:
    """Return an estimate whose interval stays on one line."""
    return str(estimate).replace(", ", f",{numbers.SPACE}")
