"""Fold by fold: every measure of the headline and every area has its mean, SD and test."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_arms import STAGES, TASK, compared, decided, of_test, one, predictions_of
from sklearn.metrics import cohen_kappa_score, precision_score, roc_auc_score

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.comparison import fold_by_fold, hypothesis_tests
from fibrolab.evaluation.comparison.arms import arm_from_runs

FOLDS = 4


def folded(skill, seed, without=None):
    """One frame a fold, each with its own test samples; the first may lack a stage."""
    whole = predictions_of(skill, seed, n=160)
    rows, validation = of_test(whole), predictions.select(whole, keys.VALIDATION)
    parts = [rows[np.arange(len(rows)) % FOLDS == fold] for fold in range(FOLDS)]
    parts[0] = parts[0][parts[0][keys.Y_TRUE] != without]
    return [pd.concat([validation, part], ignore_index=True) for part in parts]


def arm(name, frames):
    return replace(arm_from_runs(name, frames, TASK, folds=True), sizes=(120.0, 40.0))


def areas(frames):
    ill = [(rows[keys.Y_TRUE] >= 2, predictions.probabilities(rows)) for rows in map(of_test, frames)]
    return np.array([roc_auc_score(yes, chances[:, 2:].sum(axis=1)) for yes, chances in ill])


def test_mean_and_sd_are_those_of_the_folds():
    frames = folded(1.2, 0)
    table = compared([arm("a", frames), arm("b", folded(1.2, 1))])
    row = one(table, "auc", "ge_F2", against="", arm="a", family="folds")
    found = areas(frames)
    assert (row["value"], row["sd"]) == pytest.approx((found.mean(), found.std(ddof=1)))
    kappas = [
        cohen_kappa_score(rows[keys.Y_TRUE], decided(rows), weights="quadratic")
        for rows in map(of_test, frames)
    ]
    assert one(table, "qwk", against="", arm="a", family="folds")["value"] == pytest.approx(np.mean(kappas))


def test_every_measure_has_the_corrected_resampled_t_test():
    sides = folded(1.0, 0), folded(1.6, 1)
    row = one(compared([arm("a", sides[0]), arm("b", sides[1])]), "auc", "ge_F2", family="folds")
    expected = hypothesis_tests.corrected_resampled_t(areas(sides[1]) - areas(sides[0]), 120, 40)
    assert (row["value"], row["p"]) == pytest.approx((expected.difference, expected.p))


def test_a_fold_that_lacks_a_class_leaves_a_note_instead_of_a_mean():
    last = len(STAGES) - 1
    table = compared([arm(name, folded(1.2, seed, without=last)) for seed, name in enumerate("ab")])
    row = one(table, "auc", f"ge_{STAGES[last]}", against="", arm="a", family="folds")
    assert np.isnan(row["value"])
    assert "lacks a class" in row["note"]
    assert np.isfinite(one(table, "accuracy", against="", arm="a", family="folds")["value"])


def test_each_fold_has_a_row_of_every_measure_that_papers_report():
    frames = folded(1.2, 0)
    table = compared([arm("a", frames), arm("b", folded(1.2, 1))])
    own = table[(table["family"] == "folds") & (table["arm"] == "a") & (table["against"] == "")]
    names = {"accuracy", "balanced_accuracy", "macro_specificity", "macro_precision", "macro_f1", "macro_auc"}
    assert names <= set(own["metric"])
    found = own[(own["metric"] == "macro_precision") & (own["fold"] != "")].set_index("fold")["value"]
    wanted = [
        precision_score(rows[keys.Y_TRUE], decided(rows), average="macro", zero_division=0)
        for rows in map(of_test, frames)
    ]
    assert list(found.index) == ["0", "1", "2", "3"]
    assert list(found) == pytest.approx(wanted)
    tests = table[(table["family"] == "folds") & (table["against"] != "")]
    assert set(tests["metric"]) == {"accuracy", "balanced_accuracy", "macro_auc", "qwk", "mae", "auc"}


def of_networks(frames, sizes=(120.0, 40.0), repeats=1):
    parts = [
        part.assign(**{keys.REPEAT: k // (len(frames) // repeats), keys.FOLD: k % (len(frames) // repeats)})
        for k, part in enumerate(frames)
    ]
    return fold_by_fold.of_networks(pd.concat(parts, ignore_index=True), TASK, sizes)


def test_a_run_of_several_folds_has_mean_sd_and_the_corrected_interval():
    frames = folded(1.2, 0)
    table = of_networks(frames)
    rows = table[(table["metric"] == "auc") & (table["of"] == "ge_F2")]
    found = areas(frames)
    assert rows["value"].tolist() == pytest.approx([*found, found.mean()])
    mean = rows.iloc[-1]
    expected = hypothesis_tests.corrected_resampled_t(found, 120, 40)
    assert (mean["sd"], mean["low"]) == pytest.approx((found.std(ddof=1), expected.low))
    assert mean["high"] == pytest.approx(min(expected.high, 1.0))
    assert rows["n"].tolist() == [40, 40, 40, 40, 4]


def test_each_class_has_mean_and_sd_over_the_folds():
    frames = folded(1.2, 0)
    table = of_networks(frames).set_index("metric")
    for number, name in enumerate(STAGES):
        found = [
            (decided(rows)[(rows[keys.Y_TRUE] == number).to_numpy()] == number).mean()
            for rows in map(of_test, frames)
        ]
        rows = table.loc[f"sensitivity_{name}"]
        assert rows["value"].tolist() == pytest.approx([*found, np.mean(found)])
        assert rows["sd"].iloc[-1] == pytest.approx(np.std(found, ddof=1))
    assert {f"{metric}_{STAGES[0]}" for metric in ("specificity", "precision")} <= set(table.index)


def test_networks_with_one_test_part_have_an_sd_and_no_interval():
    whole = predictions_of(1.2, 0, n=160)
    table = of_networks([whole, predictions_of(1.2, 5, n=160)])
    means = table[table[keys.FOLD].isna()]
    assert means["sd"].notna().all()
    assert means["low"].isna().all()
