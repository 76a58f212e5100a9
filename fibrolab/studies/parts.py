"""The results of one protocol and task of a study, of which its tables are made."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fibrolab.evaluation.comparison.arms import END_POINTS
from fibrolab.evaluation.comparison.comparison_table import COMPARATORS, FOLDS
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.sheet import Cell
from fibrolab.studies import results
from fibrolab.studies.definition import Study
from fibrolab.studies.results import NO_COMPARISON, Tables

SAMPLE = "sample"  # level of `metrics` and `comparisons`
END_POINT = "ge_"  # beginning of an end point's name


@dataclass(frozen=True)
class Part:
    """The results of one protocol and task.

    Attributes:
        study: The study.
        size: Its size.
        protocol: Name of the protocol.
        task: Name of the task; empty for that of the experiments.
        tables: The results, rows of this protocol and task only.
        published: Published results (`results.published`).
    """

    study: Study
    size: str
    protocol: str
    task: str
    tables: Tables
    published: pd.DataFrame

    @property
    def title(self) -> str:
        """Title of its tables."""
        label = self.study.protocols[self.protocol].label or self.protocol
        return f"Protocol {label}" + (f", {self.task}" if self.task else "")

    @property
    def tested(self) -> pd.DataFrame:
        """Trainings that finished."""
        table = self.tables["trainings"]
        return table[table["state"] == "finished"]

    @property
    def measures(self) -> list[str]:
        """Measures of the study that its task has; all where nothing was measured."""
        found = set(self.tables["metrics"]["metric"])
        return [name for name in self.study.measures if name in found] or list(self.study.measures)

    def label(self, arm: object) -> str:
        """Return the name of an arm, or of a marker, in tables."""
        return label_of(self.study, str(arm))

    def estimate(self, arm: str, metric: str) -> Mapping[str, float] | None:
        """Return value and interval of a measure of an arm on its test samples; None if not measured.

        Of several seeds it is the mean, and the interval contains the variance between them.
        """
        compared = self.tables["comparisons"]
        if "against" in compared:
            same = _overall(compared) & (compared["arm"] == arm) & (compared["against"] == "")
            same &= compared["metric"] == metric
            if same.any():
                return ends_of(compared[same].iloc[0])
        table = self.tables["metrics"]
        rows = table[(table["arm"] == arm) & (table["metric"] == metric) & (table["level"] == SAMPLE)]
        return ends_of(rows.iloc[0]) if len(rows) else None

    @property
    def differences(self) -> pd.DataFrame:
        """Differences between arms in the measures of the study: rows of `comparisons`."""
        table = self.tables["comparisons"]
        if "against" not in table:
            return table[:0]
        rows = table[_overall(table) & (table["against"] != "")]
        return rows[rows["metric"].isin(self.study.measures)]

    @property
    def beside_markers(self) -> pd.DataFrame:
        """Differences in AUC between arms and clinical markers (`against`): rows of `comparisons`.

        They are of patients, unless each has one sample.
        """
        table = self.tables["comparisons"]
        if "against" not in table:
            return table[:0]
        return table[(table["family"] == COMPARATORS) & (table["against"] != "")]

    @property
    def baselines(self) -> pd.DataFrame:
        """Accuracy without a model, one row a baseline."""
        return self.tables["baselines"].drop_duplicates("baseline")

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Files and captions of its pictures (`studies.study_pictures`)."""
        table = self.tables[results.PICTURES]
        return list(zip(table["file"], table["caption"], strict=True))

    @property
    def refused(self) -> str:
        """Reason why the arms were not compared; empty if they were."""
        table = self.tables["comparisons"]
        rows = table[table["family"] == NO_COMPARISON] if "family" in table else table[:0]
        return str(rows["note"].iloc[0]) if len(rows) else ""


def parts(study: Study, size: str, tables: Tables) -> list[Part]:
    """Return the results by protocol and task, in the order of the study."""
    rows = tables["trainings"][["protocol", "task"]].drop_duplicates()
    published = results.published(study)
    return [
        Part(
            study,
            size,
            protocol,
            task,
            {name: _at(table, protocol, task) for name, table in tables.items()},
            published,
        )
        for protocol, task in rows.to_numpy().tolist()
    ]


def label_of(study: Study, name: str) -> str:
    """Return the name of an arm or a clinical marker in words."""
    return study.arms[name].label if name in study.arms else vocabulary.marker(name)


def _at(table: pd.DataFrame, protocol: str, task: str) -> pd.DataFrame:
    return table[(table["protocol"] == protocol) & (table["task"] == task)]


def _overall(table: pd.DataFrame) -> pd.Series:
    """Return which rows of `comparisons`, of one task, are of all classes and folds together, and of samples.

    The AUC of the only end point of a task is one of them.
    """
    areas = (table["family"] == END_POINTS) & (table["metric"] == "auc")
    whole = (table["of"] == "") | areas if table.loc[areas, "of"].nunique() == 1 else table["of"] == ""
    together = whole & (table["fold"] == "") & (table["family"] != FOLDS)
    return together & (table["level"] == SAMPLE)


def cell_of(found: Mapping[str, float] | None, metric: str) -> Cell:
    """Return the cell of a value with its interval; an empty one if it was not measured."""
    if found is None:
        return Cell("")
    shown = numbers.interval(found["low"], found["high"], metric) if math.isfinite(found["low"]) else ""
    return Cell(numbers.quantity(found["value"], metric), shown)


def ends_of(row: Mapping[Hashable, Any] | pd.Series) -> dict[str, float]:
    """Return value, low and high of a row."""
    return {name: float(row[name]) for name in ("value", "low", "high")}


def class_name(name: str) -> str:
    """Return the name of a class in words; of an end point `F2 or worse`."""
    return f"{name.removeprefix(END_POINT)} or worse" if name.startswith(END_POINT) else name
