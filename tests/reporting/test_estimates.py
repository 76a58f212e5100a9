import fake_run
import numpy as np
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.evaluation import score
from fibrolab.evaluation.clinical import subgroups
from fibrolab.evaluation.intervals import delong, proportions
from fibrolab.evaluation.measures import operating_points
from fibrolab.evaluation.probabilities import calibration
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables import estimates
from fibrolab.reporting.tables.sheet import Footnotes

GROUPS = np.repeat(np.arange(12), 4)


def notes_of(hits: np.ndarray) -> list[str]:
    row = vars(proportions.estimate(hits, groups=GROUPS))
    notes = Footnotes()
    estimates.estimated(row | {"method": ""}, "accuracy", notes)
    return [text for _, text in notes.notes]


def test_remarks_that_differ_only_in_numbers_share_a_footnote() -> None:
    few = [np.isin(np.arange(len(GROUPS)), places) for places in ([], [4], [4, 9])]
    told = ["Too few groups with a hit or a miss to estimate their variance: each counts as one sample."]
    assert [notes_of(hits) for some in few for hits in (some, ~some)] == [told] * 6


@pytest.mark.parametrize("n_positive", [3, 7])
def test_remarks_on_areas_of_few_patients_contain_no_number_of_patients(n_positive: int) -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(40) < n_positive
    (few,) = estimates.remarks(vars(delong.estimate(rng.normal(size=40) + positive, positive)))
    assert few == "Fewer than 10 independent units of a class: the interval may be too narrow."
    (bound,) = estimates.remarks(vars(delong.estimate(positive.astype(float), positive)))
    assert bound == "No variance was observed: the bound is that of independent pairs which all agree."


def test_a_shared_remark_has_one_footnote() -> None:
    notes = Footnotes()
    cells = [
        estimates.estimated({"value": 0.5, "note": note}, "accuracy", notes)
        for note in ("few patients", "few patients; odd scanner", "odd scanner")
    ]
    assert [cell.marks for cell in cells] == ["a", "a, b", "b"]


def test_age_bands_are_printed_with_dashes_and_signs() -> None:
    bands = subgroups.age_bands(pd.Series([30.0, 45.0, 70.0]))
    assert [vocabulary.value("age_years", band) for band in bands] == ["<40", "40–59", "≥60"]
    assert vocabulary.value("site", "north-2 >=3") == "north-2 >=3"


def test_a_value_has_the_mean_and_sd_of_its_resamples_and_its_p_against_chance() -> None:
    table = pd.DataFrame(
        {"metric": ["accuracy", "qwk"], "value": [0.864, 0.9], "low": 0.8, "high": 0.95, "mean": [0.861, 0.9]}
        | {"sd": [0.0104, 0.02], "chance": [0.334, np.nan], "p_chance": [0.0001, np.nan]}
    )
    accuracy, kappa = numbers.rows(table, ["accuracy", "qwk"])
    assert (accuracy.spread_text, kappa.spread_text) == ("86.1 ± 1.0", ".900 ± .020")
    short, long = estimates.against_chance(accuracy)
    assert short == "p\u00a0<\u00a0.001 against chance"
    assert "against the 33.4\u00a0% reached by predicting the most frequent class" in long
    assert estimates.against_chance(kappa) == ("", "")
    assert numbers.rows(table[["metric", "value"]], ["qwk"])[0].spread_text == ""


def test_every_method_of_an_interval_has_a_name_in_words() -> None:
    frame = fake_run.predicted(("F0", "F1", "F2"), 60, skill=2.0)
    alone = frame.assign(**{keys.GROUP_ID: frame[keys.SAMPLE_ID]})
    classes, ends = ("F0", "F1", "F2"), {"ge_F2": 2}
    used = {"Clopper-Pearson", "logit Hanley-McNeil"}
    for rows in (frame, alone):
        used |= set(score.score(rows, classes, resamples=50, endpoints=ends)["method"])
        used |= set(operating_points.table(rows, classes, ends, resamples=50)["method"])
        used |= set(calibration.table(rows, classes, ends, resamples=50)["method"])
    assert {"clustered log (Simel)", "log (Simel)", "clustered Wald"} <= used
    assert used - {""} <= set(estimates.METHODS)
