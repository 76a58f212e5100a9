import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as reference
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.evaluation import score
from fibrolab.evaluation.measures import probability_quality
from fibrolab.evaluation.measures.decisions import decide
from fibrolab.evaluation.probabilities import calibration
from fibrolab.evaluation.probabilities.calibration import scaled, table, temperature

STAGES = ("F0", "F1", "F2", "F3", "F4")
END_POINTS = {"ge_F2": 2, "ge_F3": 3, "F4": 4}


def drawn(rng, n, heat=1.0, k=5):
    """Probabilities and labels such that the right temperature is `heat`."""
    logits = 2.0 * rng.normal(size=(n, k))
    right = softmax(logits, axis=1)
    truth = (right.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, k - 1)
    return softmax(logits * heat, axis=1), truth


def frame(probabilities, truth, partition, rows=1):
    n = len(truth)
    patient = [f"{partition}{i // rows}" for i in range(n)]
    columns = {
        keys.SAMPLE_ID: [f"{partition}{i}" for i in range(n)],
        keys.GROUP_ID: patient,
        keys.PATIENT_ID: patient,
        keys.SITE: "",
        keys.PARTITION: partition,
        keys.FOLD: 0,
        keys.Y_TRUE: truth,
    }
    names = keys.probability_columns(probabilities.shape[1])
    return pd.DataFrame(columns | dict(zip(names, probabilities.T, strict=True)))


def run(n=300, heat=2.0, k=5, seed=0, rows=1):
    rng = np.random.default_rng(seed)
    parts = [frame(*drawn(rng, n, heat, k), name, rows) for name in (keys.VALIDATION, keys.TEST)]
    return pd.concat(parts, ignore_index=True)


def by_chance(note):
    return float(note.split("shows ")[1].split()[0])


class Network(ClassifierMixin, BaseEstimator):
    """Returns its input, so that scikit-learn's own temperature can be fitted."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x

    def predict(self, x):
        return self.classes_[x.argmax(axis=1)]


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_temperature_equals_that_of_scikit_learn(heat):
    chance, truth = drawn(np.random.default_rng(1), 400, heat)
    frozen = FrozenEstimator(Network().fit(np.log(chance), truth))
    theirs = CalibratedClassifierCV(frozen, method="temperature").fit(np.log(chance), truth)
    ours = temperature(chance, truth).value
    assert ours == pytest.approx(1 / theirs.calibrated_classifiers_[0].calibrators[0].beta_, rel=1e-5)
    np.testing.assert_allclose(scaled(chance, ours), theirs.predict_proba(np.log(chance)), atol=1e-6)


def test_the_temperature_of_two_probabilities_equals_the_value_computed_by_hand():
    chance = np.tile([0.1, 0.9], (4, 1))  # correct three times of four, so that .75 is calibrated
    found = temperature(chance, np.array([1, 1, 1, 0]))
    assert found.value == pytest.approx(math.log(9) / math.log(3))
    np.testing.assert_allclose(scaled(chance, found.value)[0], [0.25, 0.75])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 2.0))
def test_the_temperature_minimises_the_log_loss_and_scaled_probabilities_have_temperature_one(seed, factor):
    chance, truth = drawn(np.random.default_rng(seed), 60)
    best = temperature(chance, truth).value
    if math.isnan(best):
        return
    losses = [
        probability_quality.log_losses(truth, scaled(chance, heat)).mean() for heat in (best, best * factor)
    ]
    assert losses[0] <= losses[1] + 1e-12
    assert temperature(scaled(chance, best), truth).value == pytest.approx(1.0, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20.0))
def test_a_temperature_changes_no_predicted_class_and_rows_sum_to_one(seed, heat):
    chance, _ = drawn(np.random.default_rng(seed), 30)
    warmer = scaled(chance, heat)
    np.testing.assert_array_equal(decide(warmer), decide(chance))
    np.testing.assert_allclose(warmer.sum(axis=1), 1.0)
    np.testing.assert_allclose(scaled(chance, 1.0), chance, atol=1e-12)


def test_repeating_every_row_changes_no_temperature():
    chance, truth = drawn(np.random.default_rng(2), 80, 2.0)
    repeated = temperature(np.repeat(chance, 5, axis=0), np.repeat(truth, 5))
    assert repeated.value == pytest.approx(temperature(chance, truth).value, rel=1e-9)


@pytest.mark.parametrize(
    ("chance", "labels", "reason"),
    [
        (np.eye(3)[[0, 0]], [0, 0], "fewer than two classes"),
        (np.full((1, 2), 0.5), [1], "fewer than two classes"),
        (np.array([[0.8, 0.2], [0.3, 0.7]]), [0, 1], "has no misclassified row"),
        (np.array([[0.8, 0.2], [0.3, 0.7]]), [1, 0], "no better than chance"),
        (np.full((4, 2), 0.5), [0, 1, 0, 1], "no better than chance"),
    ],
)
def test_a_temperature_without_an_optimum_is_undefined_with_a_note(chance, labels, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = temperature(chance, np.array(labels))
    assert math.isnan(found.value)
    assert reason in found.note


def test_probabilities_of_zero_have_a_temperature():
    chance = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    found = temperature(chance, np.array([0, 1, 2, 0, 1, 2, 1]))
    assert found.value > 5  # probability 1, and wrong once in seven
    assert scaled(chance, found.value).max() == pytest.approx(6 / 7, abs=1e-6)


def test_the_table_equals_scikit_learn_on_the_test_rows():
    data = run()
    found = table(data, STAGES, END_POINTS, resamples=50, levels=("sample",))
    found = found.set_index(["probabilities", "measure"]).sort_index()
    test = data[data[keys.PARTITION] == keys.TEST]
    chance, truth = test[keys.probability_columns(5)].to_numpy(), test[keys.Y_TRUE].to_numpy()
    heat = found["temperature"]["temperature", "brier"]
    for kind, answer in (("as predicted", chance), ("temperature", scaled(chance, heat))):
        rows = found.loc[kind]
        assert rows["value"]["log_loss"] == pytest.approx(reference.log_loss(truth, answer))
        brier = ((answer - np.eye(5)[truth]) ** 2).sum(axis=1).mean()
        assert rows["value"]["brier"] == pytest.approx(brier)
        for name in ("log_loss", "brier"):
            assert rows["low"][name] < rows["value"][name] < rows["high"][name]
            assert rows["method"][name] == "BCa"


def test_a_loss_has_the_same_interval_as_in_the_metrics():
    data = run(120, rows=3)
    found = table(data, STAGES, resamples=100, seed=3, levels=("sample",)).set_index("measure")
    metrics = score.score(data, STAGES, resamples=100, seed=3)
    for name in ("log_loss", "brier"):
        row = found[found["probabilities"] == "as predicted"].loc[name]
        for column in ("value", "low", "high"):
            assert row[column] == pytest.approx(metrics.loc[name, column])


def test_the_temperature_is_fitted_on_validation_only():
    data = run()
    changed = data.copy()
    of_test = changed[keys.PARTITION] == keys.TEST
    changed.loc[of_test, keys.Y_TRUE] = (changed.loc[of_test, keys.Y_TRUE] + 1) % 5
    heats = [
        table(x, STAGES, resamples=2, levels=("sample",))["temperature"].iloc[-1] for x in (data, changed)
    ]
    assert heats[0] == heats[1]
    assert heats[0] == pytest.approx(2.0, rel=0.2)


def test_the_right_temperature_corrects_loss_error_and_slope():
    found = table(run(600, heat=3.0), STAGES, END_POINTS, resamples=100, levels=("sample",))
    value = found.set_index(["probabilities", "measure"])["value"]
    for measure in ("log_loss", "brier", "ece"):
        assert value["temperature", measure] < value["as predicted", measure]
    assert value["as predicted", "slope_ge_F2"] == pytest.approx(1 / 3, abs=0.15)
    assert abs(value["temperature", "slope_ge_F2"] - 1) < 0.3


def test_every_level_kind_and_measure_has_a_row():
    found = table(run(60, rows=3), STAGES, END_POINTS, resamples=10)
    assert list(found.columns) == list(calibration.COLUMNS)
    measures = ["log_loss", "brier", "ece"]
    measures += [f"{x}_{name}" for name in END_POINTS for x in ("slope", "intercept")]
    assert list(found["measure"]) == measures * 4
    assert set(found["level"]) == {"sample", "patient"}
    assert set(found.loc[found["probabilities"] == "as predicted", "temperature"]) == {1.0}


def test_two_classes_have_one_end_point_and_classes_without_an_order_none():
    binary = table(run(100, k=2), ("no", "yes"), resamples=10, levels=("sample",))
    assert set(binary["measure"]) == {"log_loss", "brier", "ece", "slope_yes", "intercept_yes"}
    nominal = table(run(100, k=3), ("cyst", "HCC", "normal"), resamples=10, levels=("sample",))
    assert set(nominal["measure"]) == {"log_loss", "brier", "ece"}


def test_the_calibration_error_has_its_expectation_by_chance_instead_of_an_interval():
    calm = table(run(300, heat=1.0), STAGES, resamples=10, levels=("sample",)).set_index("measure")
    row = calm[calm["probabilities"] == "as predicted"].loc["ece"]
    assert math.isnan(row["low"])
    assert row["value"] == pytest.approx(by_chance(row["note"]), abs=0.04)
    overconfident = table(run(300, heat=4.0), STAGES, resamples=10, levels=("sample",)).set_index("measure")
    row = overconfident[overconfident["probabilities"] == "as predicted"].loc["ece"]
    assert row["value"] > 3 * by_chance(row["note"])


def test_the_expected_error_by_chance_is_larger_for_images_of_the_same_patients():
    chance, truth = drawn(np.random.default_rng(6), 40)
    images = np.concatenate([scaled(chance, heat) for heat in np.linspace(0.98, 1.02, 10)])
    order = np.arange(400).reshape(10, 40).T.ravel()  # the ten images of each patient in a row
    alone, shared = (
        table(
            frame(images[order], np.repeat(truth, 10), keys.TEST, rows),
            STAGES,
            resamples=10,
            levels=("sample",),
        )
        .set_index("measure")["note"]["ece"]
        .iloc[0]
        for rows in (1, 10)
    )
    assert by_chance(shared) > 1.5 * by_chance(alone)


@pytest.mark.parametrize(
    ("kept", "reason"), [("none", "no validation"), ("one class", "fewer than two classes")]
)
def test_without_a_temperature_only_its_rows_have_a_note(kept, reason):
    data = run(100)
    validation = data[keys.PARTITION] == keys.VALIDATION
    out = validation if kept == "none" else validation & (data[keys.Y_TRUE] != 0)
    found = table(data[~out], STAGES, END_POINTS, resamples=10)
    cold = found["probabilities"] == "temperature"
    assert found.loc[cold, ["temperature", "value", "low", "high"]].isna().all(axis=None)
    assert found.loc[cold, "note"].str.contains(reason).all()
    assert found.loc[~cold, "value"].notna().all()


def test_one_test_row_has_losses_and_notes_on_missing_values():
    data = run(50)
    data = data[(data[keys.PARTITION] == keys.VALIDATION) | (data.index == 60)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = table(data, STAGES, END_POINTS, resamples=10)
    assert found.loc[found["measure"].isin(["log_loss", "brier", "ece"]), "value"].notna().all()
    assert found["low"].isna().all()
    assert (found["note"] != "").all()


def test_equal_losses_have_no_interval():
    data = run(40, k=2)
    data[["p_0", "p_1"]] = 0.5
    found = table(data, ("no", "yes"), resamples=10, levels=("sample",)).set_index("measure")
    row = found[found["probabilities"] == "as predicted"].loc["log_loss"]
    assert row["value"] == pytest.approx(math.log(2))
    assert math.isnan(row["low"])
    assert "same value" in row["note"]


def test_resamples_and_level_out_of_range_are_both_refused():
    with pytest.raises(ConfigError, match=r"resamples=1.*level=2"):
        table(run(20), STAGES, resamples=1, level=2)
