"""The content of the page of monitoring, and its findings: drift, and performance where labels came."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from fibrolab.evaluation.drift import ALARM, FEWEST
from fibrolab.reporting import numbers
from fibrolab.reporting.tables.sheet import p_value
from fibrolab.reporting.vocabulary import counted, listed, records
from fibrolab.runs.answering import CONFIDENCE, PREDICTED, TYPICALITY, UNLIKE

WHOLE = "all"  # the week of the table that is the whole period
FEW = 30  # patients below which bootstrap intervals are too narrow


class Quantity(NamedTuple):
    """A quantity that is compared: words in a sentence and above a panel, decimals of its values."""

    words: str
    short: str
    decimals: int


QUANTITIES = {
    "width": Quantity("width of the picture [pixels]", "width [pixels]", 0),
    "height": Quantity("height of the picture [pixels]", "height [pixels]", 0),
    "grey_mean": Quantity("mean grey level", "mean grey level", 1),
    "grey_sd": Quantity("SD of the grey levels", "SD of grey levels", 1),
    TYPICALITY: Quantity("typicality", "typicality", 2),
    CONFIDENCE: Quantity("confidence", "confidence", 3),
    UNLIKE: Quantity("proportion unlike training", "unlike training", 2),
    "set_size": Quantity("number of classes in the prediction set", "classes in the set", 2),
    PREDICTED: Quantity("distribution of the predicted classes", "", 2),
}


@dataclass(frozen=True)
class Performance:
    """Scores of the labelled answers.

    Attributes:
        table: Metrics as `evaluation.score.score` gives them, with the level `sample` or `patient`.
        before: Metrics of the run's test by level.
        samples: Number of labelled samples.
        groups: Number of their patients.
        unlabelled: Number of answers without a label.
    """

    table: pd.DataFrame
    before: Mapping[str, pd.DataFrame]
    samples: int
    groups: int
    unlabelled: int


@dataclass(frozen=True)
class Monitoring:
    """The content of the page.

    Attributes:
        name: Name of the run.
        run: Its id.
        table: Rows of `evaluation.drift.compare` by `week`, which is `all` for the whole period.
        classes: Names of the classes.
        endpoints: Name and lowest positive class of each end point.
        samples: Number of answers that are compared.
        groups: Number of their patients; a picture without a patient is its own.
        without_patient: Number of answers without a patient.
        dated: Column whose dates make the weeks.
        notes: Sentences on what is left out or cannot be compared.
        level: Nominal coverage of the intervals.
        validation: Number of validation samples.
        validation_groups: Number of their groups.
        performance: Scores of labelled answers, if labels were given.
    """

    name: str
    run: str
    table: pd.DataFrame
    classes: Sequence[str]
    endpoints: Mapping[str, int]
    samples: int
    groups: int
    without_patient: int
    dated: str
    notes: Sequence[str]
    level: float
    validation: int
    validation_groups: int
    performance: Performance | None = None

    @property
    def weeks(self) -> list[str]:
        """The weeks in their order, without the whole period."""
        return sorted(set(self.table["week"]) - {WHOLE})

    @property
    def alarms(self) -> pd.DataFrame:
        """The rows of the table with an alarm."""
        return self.table[self.table["p_holm"] <= ALARM]


class Finding(NamedTuple):
    """One finding as a sentence, and whether it is an alarm."""

    text: str
    alarm: bool = False


def findings(content: Monitoring) -> list[Finding]:
    """Return the findings: performance, alarms, then what was not found, not tested or left out."""
    alarms = content.alarms
    order = {WHOLE: 0} | {week: number for number, week in enumerate(content.weeks, 1)}
    rows = sorted(records(alarms), key=lambda row: order[row["week"]])
    found = [Finding(_sentence(row, content), alarm=True) for row in rows]
    texts = [*_without_alarm(content), *content.notes, *_precision(content)]
    return [*_of_performance(content), *found, *map(Finding, texts)]


def _without_alarm(content: Monitoring) -> Iterator[str]:
    """Yield sentences on the weeks without an alarm, and on how many false ones are expected."""
    tested = set(content.table.loc[content.table["p_holm"].notna(), "week"])
    quiet = tested - set(content.alarms["week"])
    if WHOLE in quiet:
        yield "Over the whole period no drift from validation was found."
    if weeks := quiet - {WHOLE}:
        yield f"No drift from validation was found in {len(weeks)} of {counted(len(content.weeks), 'week')}."
    if untested := [week for week in content.weeks if week not in tested]:
        verb = "has" if len(untested) == 1 else "have"
        yield f"{listed(untested)} {verb} fewer than {FEWEST} patients, which is too few for a test."
    if number := len(tested - {WHOLE}):
        yield (
            f"Without any drift about {ALARM * number:.2g} of {counted(number, 'tested week')} would have an "
            "alarm."
        )


def _precision(content: Monitoring) -> Iterator[str]:
    """Yield sentences on what makes alarms or intervals less exact."""
    if number := content.without_patient:
        yield (
            f"{counted(number, 'answer')} without a patient {'counts' if number == 1 else 'each count'} as "
            "one patient: if several pictures are of one patient, alarms come more often than stated."
        )
    if content.groups < FEW:
        yield (
            f"The answers are of {counted(content.groups, 'patient')}: below about {FEW}, intervals are too "
            "narrow."
        )


def _sentence(row: Mapping[str, Any], content: Monitoring) -> str:
    """Return an alarm as a sentence."""
    when = "Over the whole period" if row["week"] == WHOLE else f"In {row['week']}"
    known = QUANTITIES[row["quantity"]]
    sizes = f"{counted(int(row['n']), 'picture')} of {counted(int(row['groups']), 'patient')}"
    beginning, test = (
        f"{when} the {known.words} differs from validation",
        f"{p_value(row['p_holm'])}, {sizes}",
    )
    if row["quantity"] == PREDICTED:
        own = content.table[content.table["week"] == row["week"]].set_index("quantity")
        rows = {name: own.loc[f"{PREDICTED}: {name}"] for name in content.classes}
        parts = [f"{name} {each['after']:.0%} against {each['before']:.0%}" for name, each in rows.items()]
        return f"{beginning}: {listed(parts)} ({test})."
    now, before = (f"{row[name]:.{known.decimals}f}" for name in ("after", "before"))
    return f"{beginning}: mean {now} against {before}, difference {difference(row, known.decimals)} ({test})."


def difference(row: Mapping[str, Any], decimals: int) -> str:
    """Return a difference with its interval, such as ``+3.1 [+1.2, +5.0]``."""
    shown = [
        f"{row[name]:+.{decimals}f}".replace("-", numbers.MINUS) for name in ("difference", "low", "high")
    ]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if math.isfinite(row["low"]) else shown[0]


def _of_performance(content: Monitoring) -> list[Finding]:
    """Return a sentence on each headline metric of labelled samples beside that of the test."""
    performance = content.performance
    if performance is None:
        return []
    level = str(performance.table["level"].iloc[0])
    now = performance.table[performance.table["level"] == level]
    before = {row.metric: row for row in numbers.headline(performance.before[level])}
    samples = counted(performance.samples, "labelled sample")
    found = []
    for row in numbers.headline(now):
        test = f"; in the run's test it was {before[row.metric]}" if row.metric in before else ""
        sizes = f"{samples} of {counted(performance.groups, 'patient')}"
        found.append(Finding(f"{row.title} is {row} on {sizes}{test}."))
    if performance.unlabelled:
        found.append(Finding(f"{counted(performance.unlabelled, 'answer')} had no label."))
    return found
