"""Scores of markers against scikit-learn and against DeLong's formulas written out; circular references."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, roc_auc_score
from small_markers import patients, staged_by

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.evaluation.clinical import marker_scores
from fibrolab.evaluation.clinical.marker_scores import HIGH, LOW, cross_validated, folded, named
from fibrolab.evaluation.comparison.hypothesis_tests import holm

STAGES = ("F0", "F1", "F2", "F3", "F4")
ENDPOINTS = {"ge_F2": 2, "ge_F4": 4}
COLUMNS = ["lsm_kpa", "bilirubin", "platelets_1e9_l", "age_years", "ast_u_l"]


def of(table: pd.DataFrame, *names: str, label_from: str = "", folds: int = 5):
    """Markers, circular ones, scores and differences of a table of patients."""
    rows = table.assign(**{keys.GROUP_ID: table[keys.PATIENT_ID]})
    cases = marker_scores.cases(stages(table), STAGES, ENDPOINTS)
    scored = named(names, COLUMNS)
    circular = marker_scores.circular(scored, rows, cases, label_from)
    found = marker_scores.table(scored, rows, cases, circular, folds)
    return circular, found, marker_scores.differences(scored, rows, cases, circular)


def stages(table: pd.DataFrame) -> np.ndarray:
    return table[keys.LABEL].str[1].astype(int).to_numpy()


def one(found: pd.DataFrame, **chosen: object) -> pd.Series:
    rows = found[np.logical_and.reduce([found[name] == value for name, value in chosen.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def placements(scores: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """DeLong's structural components, pair by pair."""
    wins = (scores[positive][:, None] > scores[~positive]) + 0.5 * (
        scores[positive][:, None] == scores[~positive]
    )
    return wins.mean(), wins.mean(axis=1), wins.mean(axis=0)


def test_areas_and_intervals_are_those_of_delongs_formulas_on_the_patients_who_have_the_marker() -> None:
    table = patients()
    table.loc[::7, keys.LSM_KPA] = np.nan
    _, found, _ = of(table, "lsm", "fib4")
    known = table[keys.LSM_KPA].notna().to_numpy()
    scores, positive = table.loc[known, keys.LSM_KPA].to_numpy(), stages(table)[known] >= 2
    row = one(found, marker="lsm", endpoint="ge_F2", metric="auc")
    area, ours, others = placements(scores, positive)
    assert (row["n"], row["n_positive"]) == (known.sum(), positive.sum())
    assert one(found, marker="fib4", endpoint="ge_F2", metric="auc")["n"] == len(table)
    assert row["value"] == pytest.approx(roc_auc_score(positive, scores)) == pytest.approx(area)
    error = math.sqrt(ours.var(ddof=1) / len(ours) + others.var(ddof=1) / len(others))
    margin = norm.isf(0.025) * error / (area * (1 - area))
    logit = math.log(area / (1 - area))
    expected = [1 / (1 + math.exp(-(logit + side * margin))) for side in (-1, 1)]
    assert [row["low"], row["high"]] == pytest.approx(expected)


def test_an_interval_agrees_with_a_bootstrap() -> None:
    table = patients(300)
    _, found, _ = of(table, "fib4")
    row = one(found, marker="fib4", endpoint="ge_F4", metric="auc")
    rng, positive = np.random.default_rng(0), stages(table) >= 4
    scores = named(["fib4"], COLUMNS)[0].values(table)
    draws = []
    for _ in range(500):
        drawn = rng.integers(0, len(table), len(table))
        draws.append(roc_auc_score(positive[drawn], scores[drawn]))
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.015)


def test_differences_are_delongs_paired_test_on_common_patients_corrected_by_holm() -> None:
    table = patients()
    table.loc[::5, keys.LSM_KPA] = np.nan
    _, _, found = of(table, "lsm", "fib4", "bilirubin")
    known, lowest = table[keys.LSM_KPA].notna().to_numpy(), 2
    positive = stages(table)[known] >= lowest
    both = [each.values(table)[known] for each in named(["lsm", "fib4"], COLUMNS)]
    (first, a, b), (second, c, d) = (placements(scores, positive) for scores in both)
    error = math.sqrt((a - c).var(ddof=1) / len(a) + (b - d).var(ddof=1) / len(b))
    row = one(found, marker="lsm", against="fib4", endpoint="ge_F2")
    assert row["n"] == known.sum()
    assert [row["auc"], row["auc_against"], row["value"]] == pytest.approx([first, second, first - second])
    assert row["p"] == pytest.approx(2 * norm.sf(abs(first - second) / error))
    margin = norm.isf(0.025) * error
    assert [row["low"], row["high"]] == pytest.approx([first - second - margin, first - second + margin])
    assert len(found) == 6
    np.testing.assert_allclose(found["p_holm"], holm(found["p"].to_numpy()))


def test_published_cutoffs_decide_from_their_value_up() -> None:
    table = patients()
    _, found, _ = of(table, "lsm")
    (tn, fp), (fn, tp) = confusion_matrix(stages(table) >= 4, table[keys.LSM_KPA] >= 13.0)
    expected = {"sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp), "ppv": tp / (tp + fp)}
    for metric, value in (expected | {"npv": tn / (tn + fn)}).items():
        row = one(found, rule="published", endpoint="ge_F4", metric=metric)
        assert (row["cutoff"], row["value"]) == (13.0, pytest.approx(value))
        assert row["low"] < row["value"] < row["high"]
    assert "Herrmann" in row["source"]


def test_own_cutoffs_are_tested_on_patients_who_did_not_choose_them() -> None:
    """On noise, a cut-off that is tested where it was chosen looks useful; a cross-validated one does not."""
    optimistic, honest = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scores, positive = rng.normal(size=60), np.arange(60) % 2 == 0
        chosen = cross_validated(scores, positive, folded(positive, np.arange(60), 5, seed), "youden")
        inside = scores >= chosen.value
        for kept, decided in ((optimistic, inside), (honest, chosen.decided)):
            assert decided is not None
            kept.append(decided[positive].mean() - decided[~positive].mean())
        assert chosen.low <= chosen.high
    assert np.mean(optimistic) > 0.12
    assert abs(np.mean(honest)) < 0.08


def test_the_visits_of_a_patient_stay_in_one_fold() -> None:
    """Ten equal visits of each patient: in several folds they would choose their own cut-off."""
    kept: dict[str, list[float]] = {"patients": [], "visits": []}
    for seed in range(30):
        scores = np.repeat(np.random.default_rng(seed).normal(size=14), 10)
        positive = np.arange(140) // 10 % 2 == 0
        for name, groups in (("patients", np.arange(140) // 10), ("visits", np.arange(140))):
            decided = cross_validated(scores, positive, folded(positive, groups, 5, seed), "youden").decided
            assert decided is not None
            kept[name].append(decided[positive].mean() - decided[~positive].mean())
    assert np.mean(kept["patients"]) < 0.1
    assert np.mean(kept["visits"]) > 0.2


def test_the_direction_is_stated_and_never_chosen_on_the_data() -> None:
    table = patients()
    _, high, _ = of(table, "platelets_1e9_l")
    _, low, _ = of(table, "-platelets_1e9_l")
    first, second = (one(each, endpoint="ge_F2", metric="auc") for each in (high, low))
    assert first["value"] < 0.5 < second["value"] == pytest.approx(1 - first["value"])
    assert (first["direction"], second["direction"]) == (HIGH, LOW)
    assert "below .5: high values count as positive" in first["note"]
    assert second["note"] == ""
    row = one(low, endpoint="ge_F2", rule="youden", metric="sensitivity")
    decided = table[keys.PLATELETS_1E9_L] <= row["cutoff"]
    assert 40 < row["cutoff_low"] <= row["cutoff_high"] < 400
    assert decided[stages(table) >= 2].mean() == pytest.approx(row["value"], abs=0.1)


def test_a_label_made_from_a_marker_is_detected_and_every_number_says_so() -> None:
    circular, found, differences = of(staged_by(patients()), "lsm", "apri", "fib4")
    assert list(circular) == ["lsm"]
    assert circular["lsm"].startswith("probably circular: its AUC of 1.000 for ge_F2")
    own = found["marker"] == "lsm"
    assert found.loc[own, "note"].str.contains("probably circular").all()
    assert found["circular"].equals(own)
    suspect = differences["marker"].eq("lsm") | differences["against"].eq("lsm")
    assert differences.loc[suspect, "p"].isna().all()
    assert (differences.loc[suspect, "value"] > 0).all()
    assert differences.loc[suspect, "note"].str.contains("not tested").all()
    assert differences.loc[~suspect, "p_holm"].notna().all()


def test_a_label_made_from_low_values_is_detected_under_either_direction() -> None:
    table = patients()
    platelets = table[keys.PLATELETS_1E9_L]
    made = table.assign(label=[f"F{4 - stage}" for stage in np.searchsorted((150, 220), platelets)])
    for name, area in (("platelets_1e9_l", "0.000"), ("-platelets_1e9_l", "1.000")):
        assert f"AUC of {area}" in of(made, name)[0]["platelets_1e9_l"]


def test_values_that_were_rounded_after_the_label_was_made_are_still_detected() -> None:
    table = patients(400)
    exact = table.assign(lsm_kpa=table[keys.LSM_KPA] + np.random.default_rng(1).uniform(-0.05, 0.05, 400))
    circular, found, _ = of(staged_by(exact).assign(lsm_kpa=table[keys.LSM_KPA]), "lsm")
    assert found.loc[found["metric"] == "auc", "value"].min() < 1
    assert list(circular) == ["lsm"]


def test_a_stated_origin_makes_every_marker_of_its_columns_circular() -> None:
    table = patients()
    assert set(of(table, "lsm", "fib4", label_from="lsm_kpa")[0]) == {"lsm"}
    assert set(of(table, "lsm", "apri", "fib4", label_from="ast_u_l")[0]) == {"apri", "fib4"}
    assert set(of(table, "lsm", "apri", "bilirubin", label_from="fib4")[0]) == {"apri"}
    assert not of(table, "lsm", "apri", "fib4", "bilirubin")[0]


def test_few_patients_may_be_separated_by_chance_and_one_class_is_no_separation() -> None:
    table = patients(10).assign(lsm_kpa=np.arange(10) % 5 + 4.0)
    assert "by chance" in of(table, "lsm")[0]["lsm"]
    circular, found, _ = of(table.assign(label="F4"), "lsm")
    assert not circular
    assert found.loc[found["metric"] == "auc", "value"].isna().all()
    assert found.loc[found["rule"] == "youden", "note"].str.contains("no cut-off").all()


def test_names_are_checked_together() -> None:
    assert [each.name for each in named(["lsm_kpa", "-age_years"], COLUMNS)] == ["lsm", "age_years"]
    with pytest.raises(ConfigError) as caught:
        named(["lsm", "lsm_kpa", "-fib4", "bilirubine"], COLUMNS)
    for words in ("lsm is named twice", "FIB-4 rises with fibrosis", "Did you mean bilirubin?"):
        assert words in str(caught.value)


@settings(max_examples=20)
@given(st.permutations(range(25)), st.floats(0.1, 10), st.floats(0.1, 3))
def test_order_and_units_change_no_area_and_no_p(order: list[int], factor: float, power: float) -> None:
    table = patients(25)
    other = table.iloc[order].assign(lsm_kpa=factor * table[keys.LSM_KPA].iloc[order] ** power)
    first, second = (of(each, "lsm", "bilirubin", folds=2) for each in (table, other))
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(
            *(each[1].loc[each[1]["metric"] == "auc", name] for each in (first, second)), rtol=1e-9
        )
    np.testing.assert_allclose(first[2]["p"], second[2]["p"], rtol=1e-7)
