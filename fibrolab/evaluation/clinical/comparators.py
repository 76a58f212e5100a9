"""The markers of the clinic scored like any arm, and the run beside each on the very same patients."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.clinical import markers
from fibrolab.evaluation.intervals import delong
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import operating_points, thresholds

# `beside` is the marker whose patients a row counts: the rows of a marker and the run's beside it share it.
COLUMNS = (
    "marker", "endpoint", "n", "n_positive", "rule", "cutoff", "source", "metric",
    "value", "low", "high", "method", "p_auc", "note", "beside",
)  # fmt: skip
DECIDED = ("sensitivity", "specificity", "ppv", "npv", "lr_plus", "lr_minus")
Row = dict[str, object]
RUN, PUBLISHED, FITTED = "run", "published", "fitted"
_RULE = thresholds.YOUDEN  # how cut-offs are fitted, of markers and of the run alike


class Cutoff(NamedTuple):
    """A published cut-off: the marker calls the end point from this value up.

    Attributes:
        marker: Of `markers.MARKERS`.
        stage: Lowest stage of the end point, 2 for F2 or worse.
        value: In the marker's unit.
        source: Where it stands, and for whom it was found.
    """

    marker: str
    stage: int
    value: float
    source: str


# One cut-off a marker and end point, so that each patient gets an answer, as from the network. Where a
# source recommends one, it is that: Lin's for APRI, in place of Wai's pairs (0.5 and 1.5 for F2, 1.0 and 2.0
# for F4), which leave the patients between them unanswered. Of Sterling's pair for FIB-4, 1.45 and 3.25, it
# is the upper, beyond which advanced fibrosis is called; the lower rules it out. In fatty liver 1.3 and 2.67
# are in use (Shah et al., Clin Gastroenterol Hepatol 7:1104, 2009). APRI's and FIB-4's values stand in the
# abstracts of their sources. Stiffness is by 2D shear-wave elastography, which ultrasound machines measure;
# transient elastography reads other values on the same livers. Herrmann's abstract tells machine and patients
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
ELSEWHERE: Final = {
    "lsm": "for 2D-SWE; transient elastography and other diseases have other cut-offs; not checked against "
    "the full text of its source",
    "apri": "found in hepatitis C; other diseases have other cut-offs",
    "fib4": "found in viral hepatitis; other diseases and ages beyond 65 have other cut-offs",
}


def stage_of(name: str) -> int | None:
    """The lowest stage that a class's name speaks of: 2 of `F2`, `F2-F4` or `S2`; None of others."""
    found = re.match(r"[FS]([0-4])(?!\d)", name.strip(), flags=re.IGNORECASE)
    return int(found.group(1)) if found else None


def table(
    frame: pd.DataFrame,
    manifest: pd.DataFrame,
    classes: Sequence[str],
    endpoints: Mapping[str, int],
    level: float = 0.95,
) -> pd.DataFrame:
    """Every marker against every end point on the test patients who have it, and the run beside it.

    One row a patient and stage (`markers.of_patients`). Cut-offs are the published ones, and fitted ones by
    Youden's index on the validation patients who have the marker: what the networks' own thresholds are
    chosen on. Training patients would give a marker more to learn from than the threshold beside it had, test
    patients the answers. An end point whose stage no source names, such as F1 or worse, has no published row.

    Args:
        frame: Predictions of validation and test, as `predictions.read` gives them.
        manifest: The run's manifest, clinical columns as numbers, index `sample_id`.
        classes: Names of the K classes.
        endpoints: Name and lowest positive class of each; of a binary task `{classes[1]: 1}`.
        level: Coverage aimed at.

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
        validation = measured[measured[keys.PARTITION] == keys.VALIDATION]
        test = predictions.select(measured, keys.TEST)
        for name in expected:
            doubts = markers.doubts(name, test, manifest)
            for endpoint, lowest in endpoints.items():
                case = _Case(name, endpoint, lowest, stage_of(classes[lowest]), level)
                rows += _rows(case, validation.dropna(subset=name), test.dropna(subset=name), doubts)
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Case(NamedTuple):
    """A marker that is held against an end point."""

    marker: str
    endpoint: str
    lowest: int
    stage: int | None
    level: float


def _rows(case: _Case, validation: pd.DataFrame, test: pd.DataFrame, doubts: list[str]) -> Iterator[Row]:
    """Of the marker: AUC, published and fitted cut-off; then of the run: AUC and fitted threshold."""
    positive, groups = (test[keys.Y_TRUE] >= case.lowest).to_numpy(), test[keys.GROUP_ID].to_numpy()
    shared: Row = {"endpoint": case.endpoint, "beside": case.marker, "rule": "", "source": ""}
    shared |= {"n": len(test), "n_positive": int(positive.sum())}
    if test.empty:
        nothing = Estimate(math.nan, note="no test patient has the marker")
        yield shared | {"marker": case.marker, "metric": "auc"} | nothing.columns(*doubts)
        return
    scores = np.stack([_score(arm, test, case.lowest) for arm in (case.marker, RUN)])  # (2, N)
    areas = delong.areas(scores, positive, groups)
    against_run = delong.paired(areas, level=case.level)
    for place, arm in enumerate((case.marker, RUN)):
        score, arm_shared = scores[place], shared | {"marker": arm}
        area, notes = areas.estimate(place, case.level), [] if arm == RUN else [against_run.note, *doubts]
        compared = {} if arm == RUN else {"p_auc": against_run.p}
        yield arm_shared | {"metric": "auc"} | compared | area.columns(*notes)
        for rule, cutoff, source, note in _cutoffs(arm, case, validation):
            part = arm_shared | {"rule": rule, "cutoff": cutoff, "source": source}
            found = _decided(score, positive, groups, cutoff, case.level)
            for metric in DECIDED:
                yield part | {"metric": metric} | found[metric].columns(note)


def _cutoffs(arm: str, case: _Case, validation: pd.DataFrame) -> Iterator[tuple[str, float, str, str]]:
    """Rule, value, source and note of each cut-off of a marker, or of the run's one threshold."""
    for cut in CUTOFFS:
        if (cut.marker, cut.stage) == (arm, case.stage):
            yield PUBLISHED, cut.value, cut.source, ELSEWHERE[arm]
    positive = (validation[keys.Y_TRUE] >= case.lowest).to_numpy()
    fitted = thresholds.chosen(_score(arm, validation, case.lowest), positive, _RULE)
    yield (
        FITTED,
        float(fitted.value),
        f"Youden's index on {len(validation):,} validation patients",
        fitted.note,
    )


def _score(arm: str, rows: pd.DataFrame, lowest: int) -> np.ndarray:
    """The marker's values, or the run's probability of the end point, (N,)."""
    if arm != RUN:
        return rows[arm].to_numpy(np.float64)
    return predictions.probabilities(rows)[:, lowest:].sum(axis=1)


def _decided(
    score: np.ndarray, positive: np.ndarray, groups: np.ndarray, cutoff: float, level: float
) -> dict[str, Estimate]:
    """What a cut-off is worth, by the names of `DECIDED`."""
    if math.isnan(cutoff):
        return dict.fromkeys(DECIDED, Estimate(math.nan, note="there is no cut-off"))
    return operating_points.decided(score >= cutoff, positive, groups, level)
