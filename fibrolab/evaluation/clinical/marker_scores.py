"""Clinical markers as scores of end points: areas, cut-offs, paired comparison, and circular references.

A row is a patient, or a patient's visit; each marker is scored on the rows that have it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.evaluation.clinical import circularity
from fibrolab.evaluation.clinical.comparators import (
    CAVEATS,
    CUTOFFS,
    DECIDED,
    PUBLISHED,
    decision_measures,
    stage_of,
)
from fibrolab.evaluation.clinical.markers import MARKERS
from fibrolab.evaluation.comparison import hypothesis_tests
from fibrolab.evaluation.comparison.contrasts import CLUSTERED, DELONG
from fibrolab.evaluation.intervals import delong
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import thresholds

COLUMNS = (
    "marker", "direction", "endpoint", "n", "n_positive", "rule", "cutoff", "cutoff_low", "cutoff_high",
    "source", "metric", "value", "low", "high", "method", "note", "circular",
)  # fmt: skip
DIFFERENCES = (
    "endpoint", "marker", "against", "n", "n_positive", "auc", "auc_against", "value", "low", "high",
    "method", "p", "p_holm", "note",
)  # fmt: skip
RULES: Final = (thresholds.YOUDEN, thresholds.SENSITIVITY, thresholds.SPECIFICITY)
HIGH, LOW = "high", "low"
OWN = "chosen on these rows; measures by cross-validation"
UNTESTED = "not tested: the reference standard of {} is circular"
Row = dict[str, object]
Splits = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class ScoredMarker:
    """A marker that is scored.

    Attributes:
        name: One of `markers.MARKERS`, or the column.
        columns: Columns that it is computed from.
        direction: `high` where high values mean disease, otherwise `low`; stated, never found from the data.
    """

    name: str
    columns: tuple[str, ...]
    direction: str = HIGH

    @property
    def label(self) -> str:
        """Name on pages."""
        return MARKERS[self.name].label if self.name in MARKERS else self.name

    def values(self, table: pd.DataFrame) -> np.ndarray:
        """Return its values, float64 (N,); NaN where it is not known."""
        if self.name in MARKERS:
            return MARKERS[self.name].of(table)
        return table[self.name].to_numpy(np.float64)

    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """Return its values, or their negatives: higher means more likely positive, float64 (N,)."""
        return self.sign * self.values(table)

    @property
    def sign(self) -> int:
        """Return 1 where high values mean disease, otherwise -1."""
        return 1 if self.direction == HIGH else -1


class Case(NamedTuple):
    """An end point of the rows.

    Attributes:
        name: Name of the end point.
        positive: Whether each row has it, bool (N,).
        stage: Lowest stage that has it; None where the classes are no stages.
    """

    name: str
    positive: np.ndarray
    stage: int | None


def named(names: Sequence[str], columns: Sequence[str]) -> list[ScoredMarker]:
    """Return the markers of the settings.

    Args:
        names: Markers of `markers.MARKERS` or columns; a `-` before a column means that low values go with
            disease.
        columns: Columns of numbers of the table.

    Raises:
        ConfigError: A name is unknown or given twice, or a marker that rises with disease by its definition
            has a `-`.
    """
    same = {marker.needs[0]: name for name, marker in MARKERS.items() if len(marker.needs) == 1}
    found, faults = [], []
    for given in names:
        bare = given.removeprefix("-")
        name = same.get(bare, bare)
        if name in MARKERS and given != bare:
            faults.append(f"markers: {MARKERS[name].label} rises with fibrosis by its definition: no -.")
        elif name not in MARKERS and name not in columns:
            faults.append(unknown("markers", bare, {*MARKERS, *columns}))
        needs = MARKERS[name].needs if name in MARKERS else (name,)
        found.append(ScoredMarker(name, needs, LOW if given != bare else HIGH))
    twice = sorted({each.name for each in found if sum(each.name == one.name for one in found) > 1})
    faults += [f"markers: {name} is named twice." for name in twice]
    refuse(faults)
    return found


def cases(labels: np.ndarray, classes: Sequence[str], endpoints: Mapping[str, int]) -> list[Case]:
    """Return the end points of rows.

    Args:
        labels: Class of each row (N,).
        classes: Names of the K classes.
        endpoints: Name and lowest positive class of each.
    """
    return [Case(name, labels >= lowest, stage_of(classes[lowest])) for name, lowest in endpoints.items()]


def circular(
    scored: Sequence[ScoredMarker], table: pd.DataFrame, endpoints: Sequence[Case], label_from: str = ""
) -> dict[str, str]:
    """Return why the reference standard of a marker is circular, by the names of such markers.

    Args:
        scored: The markers.
        table: Columns of the markers (N rows).
        endpoints: End points of the rows.
        label_from: Marker or column that the label was made from; empty if none is stated.
    """
    truth = {case.name: case.positive for case in endpoints}
    found = {
        marker.name: circularity.stated(marker.columns, label_from)
        or circularity.detected(marker.scores(table), truth)
        for marker in scored
    }
    return {name: why for name, why in found.items() if why}


def table(
    scored: Sequence[ScoredMarker],
    rows: pd.DataFrame,
    endpoints: Sequence[Case],
    circular: Mapping[str, str],
    folds: int = 10,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Score every marker at every end point: its area, and its decisions by published and own cut-offs.

    Own cut-offs (`thresholds.RULES` without one half) are those of all rows; their measures are
    cross-validated: each row is decided by the cut-off that was chosen on the other folds. Intervals are
    DeLong's for areas, Wilson's for proportions and Simel's for likelihood ratios, in their clustered forms
    where a patient has several visits. They do not include the variation of a cut-off between samples.

    Args:
        scored: The markers.
        rows: Columns of the markers and `group_id`, one row per visit.
        endpoints: End points of the rows.
        circular: As `circular` returns it; the reason is in the note of every row of the marker.
        folds: Number of folds, stratified by the end point; patients are kept together.
        seed: Seed of the folds.
        level: Nominal coverage.

    Returns:
        Columns `COLUMNS`. `rule` is empty for the AUC. `cutoff_low` and `cutoff_high` are the lowest and the
        highest cut-off of the folds.
    """
    found: list[Row] = []
    for case in endpoints:
        for marker in scored:
            known = np.isfinite(marker.scores(rows))
            held = Case(case.name, case.positive[known], case.stage)
            shared: Row = {"marker": marker.name, "direction": marker.direction, "endpoint": case.name}
            shared |= {
                "n": int(known.sum()),
                "n_positive": int(held.positive.sum()),
                "rule": "",
                "source": "",
            }
            shared |= {"circular": marker.name in circular}
            remark = circular.get(marker.name, "")
            for row in _rows(marker, rows[known].reset_index(drop=True), held, folds, seed, level):
                note = "; ".join(filter(None, (remark, str(row["note"]))))
                found.append(shared | row | {"note": note})
    return pd.DataFrame(found, columns=list(COLUMNS))


def _rows(
    marker: ScoredMarker, rows: pd.DataFrame, case: Case, folds: int, seed: int, level: float
) -> Iterator[Row]:
    """Yield the AUC of a marker, then the measures at each of its cut-offs."""
    if rows.empty:
        yield {"metric": "auc"} | Estimate(math.nan, note="no patient has the marker").columns()
        return
    scores, groups = marker.scores(rows), rows[keys.GROUP_ID].to_numpy()
    area = delong.estimate(scores, case.positive, groups, level)
    opposite = f"below .5: {marker.direction} values count as positive, and are more frequent without it"
    yield {"metric": "auc"} | area.columns(opposite if area.value < 0.5 else "")
    for cut in CUTOFFS:
        if (cut.marker, cut.stage) == (marker.name, case.stage):
            part: Row = {"rule": PUBLISHED, "cutoff": cut.value, "source": cut.source}
            yield from _decided(part, scores >= cut.value, case, groups, level, CAVEATS[marker.name])
    splits = folded(case.positive, groups, folds, seed)
    for rule in RULES:
        chosen = cross_validated(scores, case.positive, splits, rule)
        ends = sorted(marker.sign * end for end in (chosen.low, chosen.high))
        part = {"rule": rule, "cutoff": marker.sign * chosen.value, "source": OWN}
        part |= {"cutoff_low": ends[0], "cutoff_high": ends[1]}
        yield from _decided(part, chosen.decided, case, groups, level, chosen.note)


def _decided(
    part: Row, decided: np.ndarray | None, case: Case, groups: np.ndarray, level: float, note: str
) -> Iterator[Row]:
    """Yield the measures of decisions, bool (N,); None: there is no cut-off."""
    if decided is None:
        measures = dict.fromkeys(DECIDED, Estimate(math.nan))
    else:
        measures = decision_measures(decided, case.positive, groups, level)
    for metric in DECIDED:
        yield part | {"metric": metric} | measures[metric].columns(note)


class Chosen(NamedTuple):
    """A cut-off of a score, and decisions by those of the folds.

    Attributes:
        value: Cut-off that the rule chooses on all rows; NaN where there is none.
        low: Lowest cut-off of the folds.
        high: Highest cut-off of the folds.
        decided: Decision on each row by the cut-off of the other folds, bool (N,); None without a cut-off.
        note: Why there is none; otherwise empty.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    decided: np.ndarray | None = None
    note: str = ""


def folded(positive: np.ndarray, groups: np.ndarray, folds: int = 10, seed: int = 0) -> Splits:
    """Split rows into folds, stratified by the end point; the rows of a patient are in one fold.

    Args:
        positive: Truth, bool (N,).
        groups: Patient of each row (N,).
        folds: Number of folds; fewer where a class has fewer patients, none where it has one.
        seed: Seed of the folds.

    Returns:
        Of each fold the rows outside and inside it.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    held = [len(np.unique(groups[side])) for side in (positive, ~positive)]
    if min(held) < 2:
        return []
    how = {"n_splits": min(folds, *held), "shuffle": True, "random_state": seed}
    if len(np.unique(groups)) == len(groups):  # the splitter of groups is slow
        return list(StratifiedKFold(**how).split(positive[:, None], positive))
    return list(StratifiedGroupKFold(**how).split(positive[:, None], positive, groups))


def cross_validated(scores: np.ndarray, positive: np.ndarray, splits: Splits, rule: str) -> Chosen:
    """Choose a cut-off, and decide each row by a cut-off that was chosen without its fold.

    Args:
        scores: Higher means more likely positive (N,).
        positive: Truth, bool (N,).
        splits: As `folded` returns them.
        rule: One of `RULES`.
    """
    if not splits:
        return Chosen(math.nan, note="no cut-off: a class has fewer than two patients to choose and test it")
    decided, whole, values = np.zeros(len(scores), bool), thresholds.chosen(scores, positive, rule).value, []
    for fit, rest in splits:
        threshold = thresholds.chosen(scores[fit], positive[fit], rule)
        values.append(threshold.value)
        if not math.isnan(threshold.value):
            decided[rest] = threshold.is_positive(scores[rest])
    if undefined := sum(map(math.isnan, values)):
        note = f"no cut-off: in {undefined} of {len(values)} folds none reaches what the rule asks for"
        return Chosen(math.nan, note=note)
    if math.isnan(whole):
        return Chosen(math.nan, note="no cut-off reaches what the rule asks for")
    return Chosen(whole, min(values), max(values), decided)


def differences(
    scored: Sequence[ScoredMarker],
    rows: pd.DataFrame,
    endpoints: Sequence[Case],
    circular: Mapping[str, str],
    level: float = 0.95,
) -> pd.DataFrame:
    """Test every pair of markers at every end point, on the rows that have both.

    DeLong's paired test, in Obuchowski's clustered form where a patient has several visits; p values are
    corrected over all pairs and end points (Holm). A pair with a circular reference is not tested.

    Args:
        scored: The markers.
        rows: As for `table`.
        endpoints: As for `table`.
        circular: As for `table`.
        level: Nominal coverage of the intervals of the differences.

    Returns:
        Columns `DIFFERENCES`; `value` is the area of `marker` less that of `against`.
    """
    found: list[Row] = []
    values = {marker.name: marker.scores(rows) for marker in scored}
    for case in endpoints:
        for marker, against in combinations(scored, 2):
            both = np.stack([values[marker.name], values[against.name]])
            known = np.isfinite(both).all(axis=0)
            row: Row = {"endpoint": case.name, "marker": marker.name, "against": against.name}
            suspects = [each.label for each in (marker, against) if each.name in circular]
            groups = rows.loc[known, keys.GROUP_ID].to_numpy()
            found.append(row | _difference(both[:, known], case.positive[known], groups, suspects, level))
    result = pd.DataFrame(found, columns=list(DIFFERENCES))
    result["p_holm"] = hypothesis_tests.holm(result["p"].to_numpy(np.float64))
    return result


def _difference(
    scores: np.ndarray, positive: np.ndarray, groups: np.ndarray, suspects: Sequence[str], level: float
) -> Row:
    """Return the columns of a difference of two scores (2, N)."""
    areas = delong.areas(scores, positive, groups)
    first, second = map(float, areas.values)
    row: Row = {"n": len(positive), "n_positive": int(positive.sum()), "auc": first, "auc_against": second}
    if suspects:
        return row | {"value": first - second, "p": math.nan, "note": UNTESTED.format(" and ".join(suspects))}
    test = delong.paired(areas, level=level)
    method = DELONG if len(np.unique(groups)) == len(groups) else CLUSTERED
    row |= {"value": test.difference, "low": test.low, "high": test.high, "p": test.p, "note": test.note}
    return row | {"method": "" if math.isnan(test.p) else method}


def by_class(
    scored: Sequence[ScoredMarker], rows: pd.DataFrame, labels: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Return number, quartiles and median of every marker in every class.

    Args:
        scored: The markers.
        rows: As for `table`.
        labels: Class of each row (N,).
        classes: Names of the classes.

    Returns:
        Columns marker, class, n, q1, median, q3; NaN where no row of the class has the marker.
    """
    found = []
    for marker in scored:
        values = marker.values(rows)
        for k, name in enumerate(classes):
            known = values[(labels == k) & np.isfinite(values)]
            low, middle, high = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else [math.nan] * 3
            quartiles = {"q1": low, "median": middle, "q3": high}
            found.append({"marker": marker.name, "class": str(name), "n": len(known)} | quartiles)
    return pd.DataFrame(found)
