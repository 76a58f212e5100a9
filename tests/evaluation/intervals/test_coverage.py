import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage import cells, study_of_area, study_of_proportion, tabulated
from fibrolab.evaluation.intervals import coverage

KEPT = pd.read_csv(coverage.FILE)
DEFAULTS = {  # by whether groups hold several samples
    ("auc",): ("logit DeLong", "logit clustered DeLong"),
    ("share",): ("Wilson", "clustered Wilson"),
    ("qwk", "mae", "macro_auc", "macro_f1", "balanced_accuracy"): ("BCa", "BCa"),
}


@pytest.mark.parametrize("clustered", [0, 1])
@pytest.mark.parametrize("families", DEFAULTS, ids=str)
def test_the_default_method_has_the_best_coverage_of_the_table(families, clustered):
    rows = KEPT[KEPT["family"].isin(families) & (KEPT["clustered"] == clustered)]
    shortfall = (coverage.LEVEL - rows["coverage"]).clip(lower=0).groupby(rows["method"]).mean()
    assert shortfall[DEFAULTS[families][clustered]] <= shortfall.min() + 0.002


def test_plain_intervals_have_low_coverage_for_few_samples_and_a_large_area():
    few = KEPT[(KEPT["family"] == "auc") & (KEPT["n"] == 50) & (KEPT["truth"] == 0.95)]
    alone = few[few["clustered"] == 0].set_index("method")["coverage"]
    assert alone["DeLong"] == pytest.approx(0.86, abs=0.02)
    assert alone["percentile"] == pytest.approx(0.89, abs=0.02)
    assert alone["logit DeLong"] == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("make", "family", "method", "clustered"),
    [(study_of_area, "auc", "DeLong", False), (study_of_proportion, "share", "clustered Wilson", True)],
)
def test_the_stored_table_equals_that_of_the_simulation(make, family, method, clustered):
    study = make(50, 0.95, clustered, resamples=20)
    rng = np.random.default_rng(7)
    found = pd.DataFrame(tabulated(study, {family: 0.95}, 50, clustered, 400, rng)).set_index("method")
    wanted = coverage.expected(
        "auc" if family == "auc" else "accuracy", method, 10 if clustered else 50, 0.95, clustered
    )
    assert found.loc[method, "coverage"] == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize(("every", "coverage_of_the_given"), [(2, 1.0), (20, math.nan)])
def test_studies_without_an_interval_do_not_count_and_too_few_give_no_coverage(every, coverage_of_the_given):
    number = iter(range(40))

    def study(rng):
        return {("share", "Wilson"): (0.4, 0.6) if next(number) % every == 0 else (math.nan, math.nan)}

    (row,) = tabulated(study, {"share": 0.5}, 50, False, 40, np.random.default_rng(0))
    assert row["given"] == 1 / every
    assert row["coverage"] == pytest.approx(coverage_of_the_given, nan_ok=True)


def test_every_cell_is_simulated_in_the_order_of_the_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.coverage.MANY", 2000)  # the order does not depend on the truth
    found = pd.DataFrame(cells(simulations=2, resamples=10))
    columns = ["family", "method", "n", "groups", "clustered"]
    pd.testing.assert_frame_equal(found[columns], KEPT[columns])


def test_the_coverage_of_a_result_is_that_of_the_nearest_study():
    def kept(family, method, n, truth, clustered):
        rows = KEPT[(KEPT["family"] == family) & (KEPT["method"] == method) & (KEPT["n"] == n)]
        rows = rows[(rows["truth"] == truth) & (rows["clustered"] == clustered)]
        return rows["coverage"].item()

    assert coverage.expected("auc_F3", "logit DeLong", 3, 0.99, False) == kept(
        "auc", "logit DeLong", 50, 0.95, 0
    )
    assert coverage.expected("accuracy", "Wilson", 10**6, 0.6, False) == kept("share", "Wilson", 1000, 0.7, 0)
    assert coverage.expected("npv_F0", "clustered Wilson", 41, 1.0, True) == kept(
        "share", "clustered Wilson", 200, 0.95, 1
    )
    of_kappa = KEPT.query("family == 'qwk' and method == 'BCa' and n == 200 and clustered == 0")[
        "coverage"
    ].item()
    assert coverage.expected("qwk", "BCa", 150, -0.3, False) == of_kappa


def test_results_without_a_simulated_study_have_no_coverage():
    assert math.isnan(coverage.expected("obuchowski", "BCa", 100, 0.8, False))
    assert math.isnan(coverage.expected("auc", "Clopper-Pearson", 100, 1.0, False))
    assert math.isnan(coverage.expected("qwk", "BCa", 100, math.nan, False))
