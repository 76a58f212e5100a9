"""The sentences of scored markers: cautions, circular references among them, and which marker is better."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.clinical import markers
from fibrolab.evaluation.clinical.circularity import FEW
from fibrolab.evaluation.clinical.marker_scores import LOW, Case, ScoredMarker
from fibrolab.evaluation.comparison.comparison_table import SIGNIFICANT
from fibrolab.reporting import vocabulary
from fibrolab.reporting.comparison_sentences import Sentence, chance, difference
from fibrolab.reporting.run_sentences import Caution
from fibrolab.reporting.vocabulary import counted, end_point, listed, records, sentence

CIRCULAR = "circular"  # beside the name of such a marker
MOST = 12  # sentences on pairs; of more, those that could not be distinguished are counted
AGREEMENT = "measure agreement with it, not with histology"


@dataclass(frozen=True)
class Scoring:
    """The content of the page of scored markers.

    Attributes:
        name: Name of the run.
        data: Name of the data set.
        classes: Names of the classes of the task.
        endpoints: Name and lowest positive class of each end point.
        markers: The markers.
        lacking: A sentence on each marker that the data indicate but do not suffice for.
        label_from: Marker or column that the label was made from, if stated; otherwise empty.
        circular: Why the reference standard of a marker is circular, by the names of such markers.
        rows: One row per patient, or per visit, with the columns of the markers.
        cases: The end points of these rows.
        table: `marker_scores.table`.
        differences: `marker_scores.differences`.
        by_class: `marker_scores.by_class`.
        cohort: `cohort.table` with all patients in the partition `test`.
        folds: Number of folds in which cut-offs are chosen.
        level: Nominal coverage of the intervals.
    """

    name: str
    data: str
    classes: Sequence[str]
    endpoints: Mapping[str, int]
    markers: Sequence[ScoredMarker]
    lacking: Sequence[str]
    label_from: str
    circular: Mapping[str, str]
    rows: pd.DataFrame
    cases: Sequence[Case]
    table: pd.DataFrame
    differences: pd.DataFrame
    by_class: pd.DataFrame
    cohort: pd.DataFrame
    folds: int
    level: float

    @property
    def patients(self) -> int:
        """Number of patients; a row without one counts as a patient."""
        ids = self.rows[keys.PATIENT_ID]
        return int(ids[ids != ""].nunique() + (ids == "").sum())

    @property
    def unit(self) -> str:
        """Noun for a row: `visit` where some patient has several, otherwise `patient`."""
        return "visit" if self.patients < len(self.rows) else "patient"

    def end_point(self, name: str) -> str:
        """Return an end point in words, such as `F2 or worse`."""
        return end_point(self.classes, self.endpoints[name])

    def title(self, name: str) -> str:
        """Return the name of a marker in words; of a circular one, with a word that says so."""
        return f"{self.label(name)} ({CIRCULAR})" if name in self.circular else self.label(name)

    def label(self, name: str) -> str:
        """Return the name of a marker in words; of one that falls with disease, with a word that says so."""
        marker = next(each for each in self.markers if each.name == name)
        words = vocabulary.VARIABLES.get(name, name) if marker.label == name else marker.label
        return f"{words} (low)" if marker.direction == LOW else words


def lead(scoring: Scoring) -> str:
    """Return the sentence below the title: markers, patients and end points."""
    visits = f" at {counted(len(scoring.rows), 'visit')}" if scoring.unit == "visit" else ""
    return (
        f"{listed([scoring.label(each.name) for each in scoring.markers])} as "
        f"{'tests' if len(scoring.markers) > 1 else 'a test'} of "
        f"{listed([scoring.end_point(name) for name in scoring.endpoints])} in "
        f"{counted(scoring.patients, 'patient')}{visits}. Data: {scoring.data}; no picture was read."
    )


def cautions(scoring: Scoring) -> list[Caution]:
    """Return the cautions that a reader must know before the numbers, circular references first."""
    found = [
        Caution(f"{scoring.label(name)} is {why}. Its numbers do not measure accuracy.", grave=True)
        for name, why in scoring.circular.items()
    ]
    if scoring.label_from:
        text = f"The label was made from {scoring.label_from}: the numbers of every marker {AGREEMENT}."
        found.append(Caution(text, grave=True))
    elif found and len(scoring.markers) > 1:
        text = "If the label was made from a marker, the numbers of the others"
        found.append(Caution(f"{text} {AGREEMENT}.", grave=True))
    found += map(Caution, [*scoring.lacking, *_data(scoring)])
    for case in scoring.cases:
        fewest = min(int(case.positive.sum()), int((~case.positive).sum()))
        if fewest < FEW:
            which = "with" if int(case.positive.sum()) == fewest else "without"
            text = f"Only {counted(fewest, scoring.unit)} {which} {scoring.end_point(case.name)}: intervals"
            found.append(Caution(f"{text} may be too narrow, and cut-offs depend on single patients."))
    return found


def _data(scoring: Scoring) -> Iterator[str]:
    """Yield sentences on unknown patients, on several visits, and on missing and implausible values."""
    if alone := int((scoring.rows[keys.PATIENT_ID] == "").sum()):
        yield (
            f"{counted(alone, 'row')} without patient_id: each counts as a patient, so that intervals are "
            "too narrow if some are of the same patient."
        )
    if scoring.unit == "visit":
        yield "Some patients have several visits: each visit is scored, and intervals count patients."
    for marker in scoring.markers:
        values = marker.values(scoring.rows)
        missing = int((~np.isfinite(values)).sum())
        remarks = [f"{missing:,} of {counted(len(values), scoring.unit)} lack it"] if missing else []
        if marker.name in markers.MARKERS:
            measured = pd.DataFrame({marker.name: values, f"{marker.name}_values": 1}).dropna()
            remarks += markers.caveats(marker.name, measured, scoring.rows)
        yield from (f"{scoring.label(marker.name)}: {sentence(remark)}" for remark in remarks)


def verdicts(scoring: Scoring) -> list[Sentence]:
    """Return a sentence per end point and pair of markers, and one per marker that is not compared.

    Of many pairs, only those that differ have a sentence of their own; all are in the table.
    """
    rows = scoring.differences
    tests, circular = int(rows["p_holm"].notna().sum()), list(scoring.circular)
    compared = rows[~rows["marker"].isin(circular) & ~rows["against"].isin(circular)]
    apart = [
        Sentence(f"{scoring.label(name)} is not compared: its reference standard is circular.", False)
        for name in (circular if len(scoring.markers) > 1 else ())
    ]
    found = [_verdict(row, scoring, tests) for row in records(compared)]
    if len(found) > MOST:
        differing = [each for each in found if each.significant]
        others = f"{counted(len(found) - len(differing), 'pair')} of {len(found)} could not be distinguished"
        found = [*differing, Sentence(f"{others} after correction for {tests} tests.", False)]
    return found + apart


def _verdict(row: Mapping[str, Any], scoring: Scoring, tests: int) -> Sentence:
    title = f"AUC of {scoring.end_point(row['endpoint'])}"
    one, other = scoring.label(row["marker"]), scoring.label(row["against"])
    if not math.isfinite(row["p_holm"]):
        reason = row["note"] or "the test is not defined"
        return Sentence(f"{title}: {one} and {other} cannot be compared: {reason}.", False)
    shown = {**row, "metric": "auc"}
    sign = 1 if row["value"] > 0 else -1
    higher, lower = (one, other) if sign > 0 else (other, one)
    size = counted(int(row["n"]), scoring.unit)
    numbers = f"(difference {difference(shown, sign)}, {chance(row, tests)}, {size})"
    if row["p_holm"] < SIGNIFICANT:
        return Sentence(f"{title}: {higher} was better than {lower} {numbers}.", True)
    return Sentence(f"{title}: {higher} and {lower} could not be distinguished {numbers}.", False)
