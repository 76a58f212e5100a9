import math
import warnings

import numpy as np
import pytest
from fake_clinic import clinic
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score, roc_curve
from statsmodels.stats.proportion import proportion_confint

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation.clinical import markers
from fibrolab.evaluation.clinical.comparators import COLUMNS, CUTOFFS, DECIDED, stage_of, table
from fibrolab.evaluation.intervals import delong

STAGES = ("F0", "F1", "F2", "F3", "F4")
ENDPOINTS = {"ge_F2": 2, "ge_F3": 3, "ge_F4": 4}


def one(found, **chosen):
    rows = found[np.logical_and.reduce([found[name] == value for name, value in chosen.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def test_predictions_of_another_manifest_are_refused():
    frame, manifest = clinic()
    with pytest.raises(DataError, match=r"1 predicted sample\(s\) are not in the manifest, such as 's0000'"):
        table(frame, manifest.iloc[1:], STAGES, ENDPOINTS)


@pytest.mark.parametrize(
    ("marker", "column", "factor", "word"),
    [
        ("fib4", keys.PLATELETS_1E9_L, 1 / 10, "10^4/µL"),
        ("apri", keys.PLATELETS_1E9_L, 1 / 10, "10^4/µL"),
        ("apri", keys.AST_U_L, 1 / 60, "µkat/L"),
        ("lsm", keys.LSM_KPA, 1 / 5, "m/s"),
    ],
)
def test_a_probable_error_of_units_is_noted_beside_the_area(marker, column, factor, word):
    frame, manifest = clinic()
    slipped = manifest.assign(**{column: manifest[column] * factor})
    right, wrong = (table(frame, each, STAGES, ENDPOINTS) for each in (manifest, slipped))
    chosen = {"marker": marker, "metric": "auc", "endpoint": "ge_F2"}
    assert "not plausible" not in one(right, **chosen)["note"]
    assert "not plausible" in one(wrong, **chosen)["note"]
    assert word in one(wrong, **chosen)["note"]


def test_apri_without_an_upper_limit_is_nan_with_advice():
    frame, manifest = clinic()
    found = table(frame, manifest.drop(columns=keys.AST_ULN_U_L), STAGES, {"ge_F2": 2})
    row = one(found, beside="apri")
    assert math.isnan(row["value"])
    assert row["n"] == 0
    assert "ast_uln_u_l" in row["note"]
    assert "add the column" in row["note"]
    assert {"lsm", "fib4"} <= set(found["marker"])


def test_each_marker_and_stage_has_one_cutoff_with_its_source():
    assert len({(cut.marker, cut.stage) for cut in CUTOFFS}) == len(CUTOFFS) == 9
    assert all(cut.source for cut in CUTOFFS)
    for marker in markers.MARKERS:
        values = [cut.value for cut in CUTOFFS if cut.marker == marker]
        assert values == sorted(values)


def test_every_cutoff_names_its_disease_and_stiffness_its_machine_and_that_it_was_not_checked():
    assert all("hepatitis" in cut.source for cut in CUTOFFS)
    assert all("2D-SWE, Aixplorer" in cut.source for cut in CUTOFFS if cut.marker == "lsm")
    frame, manifest = clinic()
    found = table(frame, manifest, STAGES, {"ge_F2": 2})
    notes = found[found["rule"] == "published"].groupby("marker")["note"].first()
    assert "transient elastography" in notes["lsm"]
    assert [name for name, note in notes.items() if "not checked" in note] == ["lsm"]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("F2", 2),
        ("F2-F4", 2),
        ("F3-F4", 3),
        ("S4", 4),
        ("f0-f1", 0),
        ("cyst", None),
        ("FFS", None),
        ("F22", None),
    ],
)
def test_the_stage_of_a_class_is_the_lowest_in_its_name(name, stage):
    assert stage_of(name) == stage


def test_the_table_agrees_with_scikit_learn_and_statsmodels_on_the_patients():
    frame, manifest = clinic()
    found = table(frame, manifest, STAGES, ENDPOINTS)
    assert list(found.columns) == list(COLUMNS)
    measured = markers.of_patients(frame, manifest)
    test = measured[measured[keys.PARTITION] == keys.TEST]
    for name, lowest in ENDPOINTS.items():
        truth = test[keys.Y_TRUE] >= lowest
        for marker in ("lsm", "apri", "fib4"):
            cut = next(c.value for c in CUTOFFS if (c.marker, c.stage) == (marker, lowest))
            rows = found[(found["marker"] == marker) & (found["endpoint"] == name)]
            assert one(rows, metric="auc")["value"] == pytest.approx(roc_auc_score(truth, test[marker]))
            (tn, fp), (fn, tp) = confusion_matrix(truth, test[marker] >= cut)
            counts = {
                "sensitivity": (tp, tp + fn),
                "specificity": (tn, tn + fp),
                "ppv": (tp, tp + fp),
                "npv": (tn, tn + fn),
                "accuracy": (tp + tn, len(test)),
            }
            for metric, (hits, n) in counts.items():
                row = one(rows, rule="published", metric=metric)
                low, high = proportion_confint(hits, n, method="wilson") if n else (np.nan, np.nan)
                limits = [row["value"], row["low"], row["high"]]
                assert limits == pytest.approx([hits / n if n else np.nan, low, high], nan_ok=True)
            f1 = one(rows, rule="published", metric="f1")
            assert f1["value"] == pytest.approx(f1_score(truth, test[marker] >= cut))
            assert np.isnan(f1["low"])
            assert "no interval" in f1["note"]
            assert set(rows.loc[rows["rule"] == "published", "cutoff"]) == {cut}


def test_the_fitted_cutoff_is_youdens_on_validation_and_independent_of_test():
    frame, manifest = clinic()
    measured = markers.of_patients(frame, manifest)
    validation = measured[measured[keys.PARTITION] == keys.VALIDATION]
    fall, rise, values = roc_curve(validation[keys.Y_TRUE] >= 2, validation["lsm"], drop_intermediate=False)
    best = values[np.isclose(rise - fall, (rise - fall).max())]
    found = table(frame, manifest, STAGES, {"ge_F2": 2})
    cutoff = one(found, marker="lsm", rule="fitted", metric="sensitivity")["cutoff"]
    assert cutoff in best
    of_test = frame[keys.PARTITION] == keys.TEST
    turned = frame.assign(**{keys.Y_TRUE: frame[keys.Y_TRUE].where(~of_test, 4 - frame[keys.Y_TRUE])})
    again = table(turned, manifest, STAGES, {"ge_F2": 2})
    assert one(again, marker="lsm", rule="fitted", metric="sensitivity")["cutoff"] == cutoff


def test_the_run_is_scored_on_the_patients_who_have_the_marker():
    frame, manifest = clinic()
    some = manifest.assign(**{keys.LSM_KPA: manifest[keys.LSM_KPA].where(np.arange(len(manifest)) % 12 < 6)})
    found = table(frame, some, STAGES, {"ge_F3": 3})
    measured = markers.of_patients(frame, some)
    test = measured[(measured[keys.PARTITION] == keys.TEST) & measured["lsm"].notna()]
    truth, score = test[keys.Y_TRUE] >= 3, test[["p_3", "p_4"]].sum(axis=1)
    run = one(found, marker="run", beside="lsm", metric="auc")
    marker = one(found, marker="lsm", metric="auc")
    assert run["n"] == marker["n"] == len(test) < len(measured) / 2
    assert run["value"] == pytest.approx(roc_auc_score(truth, score))
    both = delong.areas(np.stack([test["lsm"], score]), truth.to_numpy())
    assert marker["p_auc"] == pytest.approx(delong.paired(both).p)
    assert "patients lack it" in marker["note"]
    assert math.isnan(run["p_auc"])


def test_a_marker_that_is_the_run_itself_has_a_p_of_one():
    frame, manifest = clinic(images=1)
    score = frame.set_index(keys.SAMPLE_ID)[["p_2", "p_3", "p_4"]].sum(axis=1)
    found = table(frame, manifest.assign(**{keys.LSM_KPA: 10 * score}), STAGES, {"ge_F2": 2})
    assert one(found, marker="lsm", metric="auc")["p_auc"] == 1


def test_a_binary_task_takes_the_published_cutoff_of_the_stage_in_its_class():
    frame, manifest = clinic()
    yes = frame[["p_3", "p_4"]].sum(axis=1)
    binary = frame.drop(columns=["p_2", "p_3", "p_4"]).assign(
        p_0=1 - yes, p_1=yes, **{keys.Y_TRUE: (frame[keys.Y_TRUE] >= 3).astype(int)}
    )
    found = table(binary, manifest, ("F0-F2", "F3-F4"), {"F3-F4": 1})
    rows = found[(found["marker"] == "lsm") & (found["rule"] == "published")]
    assert set(rows["cutoff"]) == {9.2}
    unnamed = table(binary, manifest, ("mild", "severe"), {"severe": 1})
    assert set(unnamed["rule"]) == {"", "fitted"}


def test_without_a_marker_or_an_end_point_the_table_is_empty_but_has_its_columns():
    frame, manifest = clinic()
    bare = manifest[[keys.PATIENT_ID, keys.VISIT_ID]]
    for found in (table(frame, bare, STAGES, ENDPOINTS), table(frame, manifest, STAGES, {})):
        assert found.empty
        assert list(found.columns) == list(COLUMNS)


def test_one_class_and_no_validation_give_nan_with_reasons_and_no_warning():
    frame, manifest = clinic()
    healthy = frame[(frame[keys.Y_TRUE] < 2) | (frame[keys.PARTITION] == keys.VALIDATION)]
    test_only = frame[frame[keys.PARTITION] == keys.TEST]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike, unfitted = (table(each, manifest, STAGES, {"ge_F2": 2}) for each in (healthy, test_only))
    undefined = alike[alike["value"].isna()]
    assert {"auc", "sensitivity", "lr_plus", "lr_minus"} <= set(undefined["metric"])
    assert (undefined["note"] != "").all()
    fitted = unfitted[unfitted["rule"] == "fitted"]
    assert set(fitted["metric"]) == set(DECIDED)
    assert fitted["value"].isna().all()
    assert fitted["note"].str.contains("no validation").all()


def test_a_patient_with_two_stages_counts_as_one_group_in_every_interval():
    frame, manifest = clinic(images=2)
    changed = frame.assign(**{keys.Y_TRUE: frame[keys.Y_TRUE].where(np.arange(len(frame)) % 2 == 0, 4)})
    found = table(changed, manifest, STAGES, {"ge_F4": 4})
    assert one(found, marker="lsm", metric="auc")["method"] == "logit clustered DeLong"
    ratio = one(found, marker="lsm", rule="published", metric="lr_minus")
    assert ratio["method"] == "clustered log (Simel)"
    assert ratio["low"] < ratio["value"] < ratio["high"]
