"""Stiffness, APRI and FIB-4 from a manifest: by formula, by visit, by patient."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from fake_clinic import clinic
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.evaluation.clinical import markers
from fibrolab.evaluation.clinical.markers import apri, fib4, lsm

BLOOD = {
    keys.AGE_YEARS: [50.0],
    keys.AST_U_L: [80.0],
    keys.AST_ULN_U_L: [40.0],
    keys.ALT_U_L: [100.0],
    keys.PLATELETS_1E9_L: [160.0],
}


def test_apri_and_fib4_equal_values_computed_by_hand():
    blood = pd.DataFrame(BLOOD)
    assert apri(blood) == pytest.approx([1.25])  # twice the limit, of 160 platelets, in hundredths
    assert fib4(blood) == pytest.approx([2.5])  # 50 x 80 = 4000 over 160 x 10


@pytest.mark.parametrize("column", BLOOD)
@pytest.mark.parametrize("wrong", [np.nan, 0.0, -3.0, np.inf])
def test_a_missing_or_impossible_value_makes_its_markers_nan_without_a_warning(column, wrong):
    blood = pd.DataFrame(BLOOD | {column: [wrong]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {"apri": apri(blood)[0], "fib4": fib4(blood)[0], "lsm": lsm(blood)[0]}
    touched = {name for name, marker in markers.MARKERS.items() if column in marker.needs}
    assert {name for name in ("apri", "fib4") if math.isnan(values[name])} == touched & {"apri", "fib4"}
    assert math.isnan(values["lsm"])


@settings(max_examples=50, deadline=None)
@given(st.floats(1.1, 10), st.floats(20, 90), st.floats(5, 500), st.floats(5, 500), st.floats(10, 600))
def test_more_ast_or_fewer_platelets_raise_both_serum_markers_in_proportion(factor, age, ast, alt, platelets):
    def of(ast, platelets):
        values = (age, ast, 40.0, alt, platelets)
        blood = pd.DataFrame({name: [value] for name, value in zip(BLOOD, values, strict=True)})
        return np.array([apri(blood)[0], fib4(blood)[0]])

    assert of(factor * ast, platelets) == pytest.approx(factor * of(ast, platelets))
    assert of(ast, platelets / factor) == pytest.approx(factor * of(ast, platelets))


def test_a_value_in_one_row_of_a_visit_holds_for_the_whole_visit():
    frame, manifest = clinic()
    gaps = manifest.copy()
    gaps.loc[gaps.index[1::3], list(BLOOD)] = np.nan
    gaps.loc[gaps.index[2::3], [keys.LSM_KPA, keys.ALT_U_L]] = np.nan
    whole, filled = (markers.of_patients(frame, each) for each in (manifest, gaps))
    pd.testing.assert_frame_equal(whole, filled)


def test_two_visits_in_one_stage_give_the_median_of_their_values_and_a_note():
    frame, manifest = clinic()
    changed = manifest.copy()
    changed.iloc[0, changed.columns.get_loc(keys.LSM_KPA)] = 20.0
    changed.iloc[1:3, changed.columns.get_loc(keys.LSM_KPA)] = 30.0
    changed.iloc[0, changed.columns.get_loc(keys.VISIT_ID)] = "p000-v2"
    measured = markers.of_patients(frame, changed)
    first = measured[measured[keys.PATIENT_ID] == "p000"].iloc[0]
    assert (first["lsm"], first["lsm_values"]) == (25.0, 2)
    assert any("1 patients have several" in caveat for caveat in markers.caveats("lsm", measured, changed))
    assert not markers.caveats("lsm", markers.of_patients(frame, manifest), manifest)


def test_samples_without_a_patient_keep_their_own_value():
    frame, manifest = clinic(images=2)
    manifest[keys.LSM_KPA] = np.arange(1.0, len(manifest) + 1)
    alone = frame.assign(**{keys.PATIENT_ID: "", keys.GROUP_ID: frame[keys.SAMPLE_ID]})
    measured = markers.of_patients(alone, manifest.assign(**{keys.PATIENT_ID: "", keys.VISIT_ID: ""}))
    assert measured["lsm"].tolist() == manifest.loc[measured[keys.SAMPLE_ID], keys.LSM_KPA].tolist()


def test_a_marker_is_expected_if_all_its_indicators_have_values():
    _, manifest = clinic()
    assert markers.expected(manifest) == ["lsm", "apri", "fib4"]
    assert markers.expected(manifest.drop(columns=[keys.AST_ULN_U_L])) == ["lsm", "apri", "fib4"]
    assert markers.expected(manifest.drop(columns=[keys.PLATELETS_1E9_L])) == ["lsm"]
    assert markers.expected(manifest.assign(**{keys.LSM_KPA: np.nan})) == ["apri", "fib4"]
