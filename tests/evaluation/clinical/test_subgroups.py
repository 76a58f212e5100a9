import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, mean_absolute_error, roc_auc_score

from fibrolab import keys
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation.clinical.subgroups import (
    COLUMNS,
    MOST,
    OTHER,
    UNKNOWN,
    age_bands,
    commonest,
    multiplicity,
    table,
)
from fibrolab.evaluation.intervals import bootstrap, delong, proportions

STAGES = ("F0", "F1", "F2", "F3", "F4")


def clinic(patients=120, classes=5, images=2, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, classes, patients), images)
    scores = -np.abs(np.arange(classes) - truth[:, None]) + rng.normal(size=(len(truth), classes))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    samples = [f"s{i:04d}" for i in range(len(truth))]
    patient = np.repeat([f"p{i:03d}" for i in range(patients)], images)
    of_patient = {
        keys.SITE: rng.choice(["north", "south"], patients),
        keys.SEX: rng.choice(["F", "M", ""], patients),
        keys.AGE_YEARS: np.where(rng.random(patients) < 0.1, np.nan, rng.uniform(20, 80, patients)),
        keys.SCANNER: np.full(patients, "convex-a"),
    }
    manifest = pd.DataFrame({name: np.repeat(values, images) for name, values in of_patient.items()}, samples)
    named = {
        keys.SAMPLE_ID: samples,
        keys.GROUP_ID: patient,
        keys.PATIENT_ID: patient,
        keys.SITE: manifest[keys.SITE].to_numpy(),
        keys.PARTITION: np.where(np.arange(len(truth)) < images * 10, keys.VALIDATION, keys.TEST),
        keys.FOLD: 0,
        keys.Y_TRUE: truth,
    }
    columns = dict(zip(keys.probability_columns(classes), probabilities.T, strict=True))
    return pd.DataFrame(named | columns), manifest.rename_axis(keys.SAMPLE_ID)


def rows_of(frame, manifest, variable, value):
    test = frame[frame[keys.PARTITION] == keys.TEST]
    return test[(manifest.loc[test[keys.SAMPLE_ID], variable] == value).to_numpy()]


def one(found, variable, value, metric):
    rows = found.query("variable == @variable and value == @value and metric == @metric")
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_subgroup_is_measured_on_its_own_test_samples():
    frame, manifest = clinic()
    found = table(frame, manifest, STAGES, True, resamples=50)
    assert list(found.columns) == list(COLUMNS)
    assert list(dict.fromkeys(found["metric"])) == ["accuracy", "macro_auc", "mae"]
    for variable, value in ((keys.SITE, "north"), (keys.SEX, "F")):
        part = rows_of(frame, manifest, variable, value)
        truth, answer = part[keys.Y_TRUE], part[keys.probability_columns(5)].to_numpy()
        right = answer.argmax(axis=1)
        row = one(found, variable, value, "accuracy")
        assert (row["n"], row["groups"]) == (len(part), part[keys.GROUP_ID].nunique())
        assert row["estimate"] == pytest.approx(accuracy_score(truth, right))
        mae = one(found, variable, value, "mae")["estimate"]
        assert mae == pytest.approx(mean_absolute_error(truth, right))
        area = roc_auc_score(truth, answer, multi_class="ovr")
        assert one(found, variable, value, "macro_auc")["estimate"] == pytest.approx(area)


def test_intervals_are_wilsons_and_those_of_the_bootstrap_over_groups():
    frame, manifest = clinic()
    found = table(frame, manifest, STAGES, True, resamples=80, seed=3, level=0.9)
    part = rows_of(frame, manifest, keys.SITE, "south")
    groups = part[keys.GROUP_ID].to_numpy()
    answer = part[keys.probability_columns(5)].to_numpy().argmax(axis=1)
    proportion = proportions.estimate(answer == part[keys.Y_TRUE], None, groups, 0.9)
    row = one(found, keys.SITE, "south", "accuracy")
    assert (row["low"], row["high"], row["method"]) == (proportion.low, proportion.high, "clustered Wilson")
    errors = np.abs(answer - part[keys.Y_TRUE].to_numpy())

    def measure(weights):
        rows = np.ones((1, len(errors))) if weights is None else weights
        return {"mae": np.array([np.average(errors, weights=each) for each in rows])}

    wanted = bootstrap.resampled(measure, groups, 80, 3, 0.9).loc["mae"]
    row = one(found, keys.SITE, "south", "mae")
    assert [row["low"], row["high"]] == pytest.approx([wanted["bca_low"], wanted["bca_high"]])


def test_a_variable_of_a_single_value_is_left_out_and_the_unknown_are_named():
    frame, manifest = clinic()
    found = table(frame, manifest, STAGES, True, resamples=20)
    assert list(dict.fromkeys(found["variable"])) == [keys.SITE, keys.SEX, keys.AGE_YEARS]
    assert list(dict.fromkeys(found.loc[found["variable"] == keys.SEX, "value"])) == ["F", "M", UNKNOWN]
    ages = list(dict.fromkeys(found.loc[found["variable"] == keys.AGE_YEARS, "value"]))
    assert ages == ["<40", "40-59", ">=60", UNKNOWN]
    for variable in (keys.SITE, keys.SEX, keys.AGE_YEARS):
        counted = found[(found["variable"] == variable) & (found["metric"] == "accuracy")]["n"].sum()
        assert counted == (frame[keys.PARTITION] == keys.TEST).sum()


def test_without_any_variable_the_table_is_empty_but_has_its_columns():
    frame, manifest = clinic()
    found = table(frame.assign(**{keys.SITE: ""}), manifest[[keys.SCANNER]], STAGES, True, resamples=20)
    assert found.empty
    assert list(found.columns) == list(COLUMNS)


def test_two_classes_have_delongs_area_and_no_distance():
    frame, manifest = clinic(classes=2)
    found = table(frame, manifest, ("F0-F1", "F2-F4"), True, resamples=20)
    assert set(found["metric"]) == {"accuracy", "auc"}
    part = rows_of(frame, manifest, keys.SITE, "north")
    area = delong.estimate(
        part["p_1"].to_numpy(), part[keys.Y_TRUE].to_numpy() == 1, part[keys.GROUP_ID].to_numpy()
    )
    row = one(found, keys.SITE, "north", "auc")
    assert (row["estimate"], row["low"], row["high"]) == (area.value, area.low, area.high)


def test_classes_without_an_order_have_no_distance():
    frame, manifest = clinic()
    found = table(frame, manifest, ("cyst", "FFS", "haemangioma", "HCC", "none"), False, resamples=20)
    assert set(found["metric"]) == {"accuracy", "macro_auc"}


@pytest.mark.parametrize("classes", [2, 5])
def test_a_subgroup_of_one_group_or_of_one_class_is_nan_with_a_reason_and_no_warning(classes):
    frame, manifest = clinic(classes=classes)
    test = frame[keys.PARTITION] == keys.TEST
    lone = frame[keys.GROUP_ID] == "p050"
    site = frame[keys.SITE].mask(test & (frame[keys.Y_TRUE] == 0), "healthy").mask(lone, "lone")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = table(frame.assign(**{keys.SITE: site}), manifest, STAGES[:classes], True, resamples=50)
    alone = found[found["value"] == "lone"]
    assert alone[["estimate", "low", "high"]].isna().all(axis=None)
    assert alone["note"].str.contains("one group only").all()
    area = one(found, keys.SITE, "healthy", "auc" if classes == 2 else "macro_auc")
    assert math.isnan(area["estimate"])
    assert area["note"] != ""
    accuracy = one(found, keys.SITE, "healthy", "accuracy")
    assert "sensitivity of F0" in accuracy["note"]
    assert accuracy["low"] < accuracy["estimate"] < accuracy["high"]


def test_an_area_over_fewer_classes_has_a_note():
    frame, manifest = clinic()
    test = frame[keys.PARTITION] == keys.TEST
    site = frame[keys.SITE].mask(test & frame[keys.Y_TRUE].isin([0, 1]), "early")
    found = table(frame.assign(**{keys.SITE: site}), manifest, STAGES, True, resamples=50)
    assert "no sample of F2, F3, F4" in one(found, keys.SITE, "early", "macro_auc")["note"]
    assert "no sample of" not in one(found, keys.SITE, "early", "mae")["note"]
    assert "no sample of" not in one(found, keys.SEX, "F", "macro_auc")["note"]


def test_a_subgroup_without_an_error_has_no_bootstrap_interval_of_zero_width():
    frame, manifest = clinic()
    perfect = np.eye(5)[frame[keys.Y_TRUE]]
    frame[keys.probability_columns(5)] = perfect
    found = table(frame, manifest, STAGES, True, resamples=50)
    row = one(found, keys.SITE, "north", "mae")
    assert row["estimate"] == 0
    assert math.isnan(row["low"])
    assert "same value" in row["note"]


def test_few_groups_have_a_note_on_too_narrow_bootstrap_intervals():
    frame, manifest = clinic()
    found = table(frame, manifest, STAGES, True, resamples=50)
    drawn = found[found["method"] == "BCa"]
    assert (drawn["note"].str.contains("too narrow") == (drawn["groups"] < 30)).all()
    assert drawn["groups"].min() < 30 <= drawn["groups"].max()


def test_many_intervals_have_a_note_on_multiplicity_and_few_have_none():
    frame, manifest = clinic()
    many = table(frame, manifest, STAGES, True, resamples=50)
    drawn = many["low"].notna().sum()
    note = multiplicity(many)
    assert note.startswith(f"of {drawn} intervals at 95 %, about {drawn * (1 - 0.95):.1f} are expected")
    few = table(frame, manifest[[keys.SCANNER]], STAGES, True, resamples=50)
    assert multiplicity(few) == ""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*"abcdefghijklmnopqrst", "", " "]), min_size=1, max_size=80))
def test_the_twelve_most_frequent_values_are_kept(values):
    grouped = commonest(pd.Series(values))
    assert len(set(grouped) - {OTHER, UNKNOWN}) <= MOST
    assert (grouped == UNKNOWN).tolist() == [not value.strip() for value in values]
    pooled = {value for value, name in zip(values, grouped, strict=True) if name == OTHER}
    kept = {value for value, name in zip(values, grouped, strict=True) if name == value}
    assert all(values.count(one) >= values.count(other) for one in kept for other in pooled)


def test_age_bands_include_their_lower_limit():
    years = pd.Series([0, 39.9, 40, 59.9, 60, 101, np.nan])
    assert age_bands(years).tolist() == ["<40", "<40", "40-59", "40-59", ">=60", ">=60", UNKNOWN]


def test_no_test_predictions_and_an_impossible_bootstrap_are_refused():
    frame, manifest = clinic()
    with pytest.raises(DataError, match="No predictions of partition 'test'"):
        table(frame[frame[keys.PARTITION] == keys.VALIDATION], manifest, STAGES, True)
    with pytest.raises(ConfigError, match="resamples=1"):
        table(frame, manifest, STAGES, True, resamples=1)
