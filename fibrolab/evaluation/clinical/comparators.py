"""Clinical markers, evaluated like an arm, and the run on the same patients as each marker."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.clinical import circularity, markers
from fibrolab.evaluation.intervals import delong
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import operating_points, thresholds

# `beside`: the marker on whose patients a row is measured, in the rows of the marker and in those of the run.
COLUMNS = (
    "marker", "endpoint", "n", "n_positive", "rule", "cutoff", "source", "metric",
    "value", "low", "high", "method", "p_auc", "note", "beside",
)  # fmt: skip
DECIDED = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "lr_plus", "lr_minus")
NO_INTERVAL = (
    "no interval: F1 is no proportion of patients; a bootstrap is drawn for the run's end points only"
)
Row = dict[str, object]
RUN, PUBLISHED, FITTED = "run", "published", "fitted"
_RULE = thresholds.YOUDEN  # by which cut-offs of markers and of the run are fitted


class Cutoff(NamedTuple):
    """A published cut-off: the marker is positive for the end point from this value up.

    Attributes:
        marker: One of `markers.MARKERS`.
        stage: Lowest stage of the end point, 2 for F2 or worse.
        value: In the marker's unit.
        source: Publication, and the patients that it was derived from.
    """

    marker: str
    stage: int
    value: float
    source: str


# One cut-off a marker and end point, so that each patient is classified, as by the network. Where a source
# recommends one, it is used: Lin's for APRI instead of Wai's pairs (0.5 and 1.5 for F2, 1.0 and 2.0 for F4),
# which leave the patients between them unclassified. Of Sterling's pair for FIB-4, 1.45 and 3.25, the upper
# one is used, which rules advanced fibrosis in; the lower one rules it out. In fatty liver 1.3 and 2.67 are
# in use (Shah et al., Clin Gastroenterol Hepatol 7:1104, 2009). The values of APRI and FIB-4 are in the
# abstracts of their sources. Stiffness is by 2D shear-wave elastography, which ultrasound machines measure;
# transient elastography gives other values on the same livers. Herrmann's abstract gives machine and patients
# (1,134, of them 379 with hepatitis C) but no kPa: its three cut-offs are marked as not checked.
_HERRMANN = "Herrmann et al., Hepatology 67:260, 2018 (2D-SWE, Aixplorer; hepatitis C)"
_LIN = "Lin et al., Hepatology 53:726, 2011 (hepatitis C, 40 studies)"
CUTOFFS: Final = (
    Cutoff("lsm", 2, 7.1, _HERRMANN),
    Cutoff("lsm", 3, 9.2, _HERRMANN),
    Cutoff("lsm", 4, 13.0, _HERRMANN),
    Cutoff("apri", 2, 0.7, _LIN),
    Cutoff("apri", 3, 1.0, _LIN),
    Cutoff("apri", 4, 1.0, _LIN),
    Cutoff("fib4", 2, 1.45, "Xiao et al., Hepatology 61:292, 2015 (hepatitis B, 39 studies)"),
    Cutoff("fib4", 3, 3.25, "Sterling et al., Hepatology 43:1317, 2006 (HIV and hepatitis C; Ishak 4 to 6)"),
    Cutoff("fib4", 4, 3.25, "within 2.9 to 3.6 of Li et al., PLoS One 9:e105728, 2014 (hepatitis B)"),
)
CAVEATS: Final = {
    "lsm": "for 2D-SWE; transient elastography and other diseases have other cut-offs; not checked against "
    "the full text of its source",
    "apri": "found in hepatitis C; other diseases have other cut-offs",
    "fib4": "found in viral hepatitis; other diseases and ages beyond 65 have other cut-offs",
}


def stage_of(name: str) -> int | None:
    """Return the lowest stage in the name of a class: 2 of `F2`, `F2-F4` or `S2`; None of other names."""
    found = re.match(r"[FS]([0-4])(?!\d)", name.strip(), flags=re.IGNORECASE)
    return int(found.group(1)) if found else None


def table(
    frame: pd.DataFrame,
    manifest: pd.DataFrame,
    classes: Sequence[str],
    endpoints: Mapping[str, int],
    level: float = 0.95,
    label_from: str = "",
) -> pd.DataFrame:
    """Evaluate every marker, and the run, at every end point on the test patients who have the marker.

    Rows are patients and stages (`markers.of_patients`). Cut-offs are the published ones, and one fitted by
    Youden's index on the validation patients who have the marker, as the thresholds of the networks are.
    Training patients would give the marker more data than the threshold of the network had; test patients
    would bias it. An end point without a published cut-off, such as F1 or worse, has no published row.

    Args:
        frame: Predictions of validation and test, as `predictions.read` returns them.
        manifest: The run's manifest, clinical columns as numbers, index `sample_id`.
        classes: Names of the K classes.
        endpoints: Name and lowest positive class of each; of a binary task `{classes[1]: 1}`.
        level: Nominal coverage.
        label_from: Marker or column that the label was made from, if stated: the note of each AUC of such a
            marker says that it is circular.

    Returns:
        Columns `COLUMNS`. `p_auc`, in the row of a marker's AUC, is DeLong's paired test against the run (its
        clustered form where a patient has several stages). Without a marker or an end point, no row.

    Raises:
        DataError: No test predictions, or a predicted sample is not in the manifest.
    """
    rows: list[Row] = []
    expected = markers.expected(manifest)
    if endpoints and expected:
        measured = markers.of_patients(frame, manifest)
        test = predictions.select(measured, keys.TEST)
        for name in expected:
            caveats = markers.caveats(name, test, manifest)
            if why := circularity.stated(markers.MARKERS[name].needs, label_from):
                caveats.insert(0, why)
            for endpoint, lowest in endpoints.items():
                case = _Case(name, endpoint, lowest, stage_of(classes[lowest]), level)
                rows += _rows(case, measured.dropna(subset=name), caveats)
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Case(NamedTuple):
    """A marker and an end point."""

    marker: str
    endpoint: str
    lowest: int
    stage: int | None
    level: float


def _rows(case: _Case, frame: pd.DataFrame, caveats: list[str]) -> Iterator[Row]:
    """Yield AUC, published and fitted cut-off of the marker, then AUC and fitted threshold of the run."""
    test = frame[frame[keys.PARTITION] == keys.TEST].reset_index(drop=True)
    positive, groups = (test[keys.Y_TRUE] >= case.lowest).to_numpy(), test[keys.GROUP_ID].to_numpy()
    shared: Row = {"endpoint": case.endpoint, "beside": case.marker, "rule": "", "source": ""}
    shared |= {"n": len(test), "n_positive": int(positive.sum())}
    if test.empty:
        undefined = Estimate(math.nan, note="no test patient has the marker")
        yield shared | {"marker": case.marker, "metric": "auc"} | undefined.columns(*caveats)
        return
    scores = np.stack([_score(arm, test, case.lowest) for arm in (case.marker, RUN)])  # (2, N)
    areas = delong.areas(scores, positive, groups)
    against_run = delong.paired(areas, level=case.level)
    for place, arm in enumerate((case.marker, RUN)):
        score, arm_shared = scores[place], shared | {"marker": arm}
        area, notes = areas.estimate(place, case.level), [] if arm == RUN else [against_run.note, *caveats]
        compared = {} if arm == RUN else {"p_auc": against_run.p}
        yield arm_shared | {"metric": "auc"} | compared | area.columns(*notes)
        for rule, cutoff, decided, source, note in _cutoffs(arm, case, frame, score):
            part = arm_shared | {"rule": rule, "cutoff": cutoff, "source": source}
            found = dict.fromkeys(DECIDED, Estimate(math.nan, note="there is no cut-off"))
            if decided is not None:
                found = decision_measures(decided, positive, groups, case.level)
            for metric in DECIDED:
                yield part | {"metric": metric} | found[metric].columns(note)


def _cutoffs(
    arm: str, case: _Case, frame: pd.DataFrame, scores: np.ndarray
) -> Iterator[tuple[str, float, np.ndarray | None, str, str]]:
    """Yield rule, value, decisions, source and note of each cut-off of a marker, or the run's threshold."""
    for cut in CUTOFFS:
        if (cut.marker, cut.stage) == (arm, case.stage):
            yield PUBLISHED, cut.value, scores >= cut.value, cut.source, CAVEATS[arm]
    size = int((frame[keys.PARTITION] == keys.VALIDATION).sum())
    fitted, decided = operating_points.decide(
        frame, lambda rows: _score(arm, rows, case.lowest), case.lowest, _RULE
    )
    source = f"Youden's index on {size:,} validation patients"
    yield FITTED, float(fitted.value), decided, source, fitted.note


def _score(arm: str, rows: pd.DataFrame, lowest: int) -> np.ndarray:
    """Return the values of the marker, or the probability of the end point by the run, (N,)."""
    if arm != RUN:
        return rows[arm].to_numpy(np.float64)
    return predictions.probabilities(rows)[:, lowest:].sum(axis=1)


def decision_measures(
    decided: np.ndarray, positive: np.ndarray, groups: np.ndarray, level: float = 0.95
) -> dict[str, Estimate]:
    """Estimate the measures of `DECIDED`; F1 has no interval.

    Args:
        decided: Positive by the cut-off, bool (N,).
        positive: Has the end point, bool (N,).
        groups: Patient of each row (N,).
        level: Nominal coverage.
    """
    found = operating_points.decision_measures(decided, positive, groups, level)
    both, either = (
        np.count_nonzero(decided & positive),
        np.count_nonzero(decided) + np.count_nonzero(positive),
    )
    return found | {"f1": Estimate(2 * both / either if either else math.nan, note=NO_INTERVAL)}
