"""Predictions of several networks, pooled to one of each test sample, and thresholds of each fold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation import predictions
from fibrolab.evaluation.measures import operating_points, thresholds
from fibrolab.evaluation.probabilities import calibration, conformal

SAMPLES = 24


def predicted(samples, partition, fold, repeat, rng):
    """Predictions of three classes by one network."""
    chances = np.stack([rng.dirichlet(1 + np.eye(3)[i % 3]) for i in samples])
    columns = {
        keys.SAMPLE_ID: [f"s{i}" for i in samples],
        keys.GROUP_ID: [f"g{i}" for i in samples],
        keys.PATIENT_ID: [f"g{i}" for i in samples],
        keys.SITE: "",
        keys.PARTITION: partition,
        keys.FOLD: fold,
        keys.REPEAT: repeat,
        keys.Y_TRUE: np.asarray(samples) % 3,
    }
    return pd.DataFrame(columns | dict(zip(keys.probability_columns(3), chances.T, strict=True)))


def crossed(folds, repeats, seed=0):
    """Return predictions of a cross-validation that draws other folds in each repetition."""
    rng, frames = np.random.default_rng(seed), []
    for repeat in range(repeats):
        parts = rng.permutation(SAMPLES) % folds
        for fold in range(folds):
            rest = np.flatnonzero(parts != fold)
            frames.append(predicted(rest[: len(rest) // 2], keys.VALIDATION, fold, repeat, rng))
            frames.append(predicted(np.flatnonzero(parts == fold), keys.TEST, fold, repeat, rng))
    return pd.concat(frames, ignore_index=True)


def inside_training(folds, repeats, seed=0):
    """Folds inside the training part: six test samples, the same for all networks."""
    rng, frames = np.random.default_rng(seed), []
    for repeat in range(repeats):
        for fold in range(folds):
            own = [i for i in range(6, SAMPLES) if i % folds == fold]
            frames.append(predicted(own, keys.VALIDATION, fold, repeat, rng))
            frames.append(predicted(range(6), keys.TEST, fold, repeat, rng))
    return pd.concat(frames, ignore_index=True)


@given(folds=st.integers(2, 5), repeats=st.integers(1, 3), seed=st.integers(0, 99), nested=st.booleans())
def test_each_test_sample_is_predicted_once_by_the_mean_of_its_networks(folds, repeats, seed, nested):
    frame = (inside_training if nested else crossed)(folds, repeats, seed)
    pooled = predictions.validated(predictions.pooled(frame), "pooled")
    test = pooled[pooled[keys.PARTITION] == keys.TEST].set_index(keys.SAMPLE_ID)
    given_test = frame[frame[keys.PARTITION] == keys.TEST]
    assert sorted(test.index) == sorted(given_test[keys.SAMPLE_ID].unique())
    means = given_test.groupby(keys.SAMPLE_ID)[keys.probability_columns(3)].mean().loc[test.index]
    assert np.allclose(means, test[keys.probability_columns(3)], rtol=0, atol=1e-15)
    assert not pooled.duplicated([keys.SAMPLE_ID, keys.PARTITION, keys.FOLD]).any()


@given(folds=st.integers(2, 5), repeats=st.integers(1, 3), seed=st.integers(0, 99))
def test_no_fold_of_a_cross_validation_is_validated_on_its_test_samples(folds, repeats, seed):
    pooled = predictions.pooled(crossed(folds, repeats, seed))
    test = pooled[pooled[keys.PARTITION] == keys.TEST].reset_index(drop=True)
    seen = []
    for rows, validation in predictions.by_fold(pooled):
        assert set(test.loc[rows, keys.GROUP_ID]).isdisjoint(validation[keys.GROUP_ID])
        assert len(validation)
        seen.extend(rows)
    assert sorted(seen) == list(range(len(test)))


def test_one_cross_validation_keeps_the_bits_of_its_predictions_and_their_folds():
    frame = crossed(3, 1)
    pooled = predictions.pooled(frame)
    order = [keys.PARTITION, keys.FOLD, keys.SAMPLE_ID]
    expected = frame.drop(columns=keys.REPEAT).sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(pooled.sort_values(order, ignore_index=True)[expected.columns], expected)


def test_folds_inside_training_give_one_prediction_out_of_fold_and_a_test_without_folds():
    pooled = predictions.pooled(inside_training(3, 2))
    assert set(pooled.loc[pooled[keys.PARTITION] == keys.TEST, keys.FOLD]) == {0}
    validation = pooled[pooled[keys.PARTITION] == keys.VALIDATION]
    assert not validation.duplicated(keys.SAMPLE_ID).any()
    assert len(validation) == SAMPLES - 6
    ((rows, own),) = predictions.by_fold(pooled)
    assert (len(rows), len(own)) == (6, SAMPLES - 6)


def test_each_fold_is_decided_by_the_threshold_of_its_own_validation():
    pooled = predictions.pooled(crossed(3, 1))

    def score(rows):
        return predictions.probabilities(rows)[:, 2]

    joint, decided = operating_points.decide(pooled, score, 2, thresholds.YOUDEN)
    test = pooled[pooled[keys.PARTITION] == keys.TEST].reset_index(drop=True)
    values = []
    for fold in range(3):
        own = pooled[(pooled[keys.FOLD] == fold) & (pooled[keys.PARTITION] == keys.VALIDATION)]
        one = thresholds.chosen(score(own), own[keys.Y_TRUE].to_numpy() >= 2, thresholds.YOUDEN)
        rows = (test[keys.FOLD] == fold).to_numpy()
        assert (decided[rows] == (score(test[rows]) >= one.value)).all()
        values.append(one.value)
    assert len(set(values)) == 3
    assert joint.value == pytest.approx(np.mean(values))
    assert joint.note == "mean of 3 thresholds, each fitted on validation of its fold"


def test_a_fold_without_a_threshold_leaves_the_run_without_one():
    pooled = predictions.pooled(crossed(3, 1))
    own = (pooled[keys.FOLD] == 1) & (pooled[keys.PARTITION] == keys.VALIDATION)
    pooled.loc[own, keys.Y_TRUE] = 0
    joint, decided = operating_points.decide(
        pooled, lambda rows: predictions.probabilities(rows)[:, 2], 2, thresholds.YOUDEN
    )
    assert np.isnan(joint.value)
    assert joint.note.startswith("in 1 of 3 folds: every validation row lacks the end point")
    assert decided is None


def test_each_fold_has_its_own_temperature_and_prediction_sets():
    pooled = predictions.pooled(crossed(2, 1, seed=3))
    test = pooled[pooled[keys.PARTITION] == keys.TEST].reset_index(drop=True)
    chance = predictions.probabilities(test)
    fitted, cooled = calibration.on_validation(pooled, chance)
    heats = []
    for fold in range(2):
        alone = pooled[pooled[keys.FOLD] == fold]
        rows = (test[keys.FOLD] == fold).to_numpy()
        heat, expected = calibration.on_validation(alone, chance[rows])
        assert np.array_equal(cooled[rows], expected)
        sets = conformal.prediction_sets(alone, 0.2)
        assert np.array_equal(conformal.prediction_sets(pooled, 0.2)[rows], sets)
        heats.append(heat.value)
    assert fitted.value == pytest.approx(np.sqrt(np.prod(heats)))


def test_predictions_of_networks_are_read_as_written_and_refused_without_their_repetition(tmp_path):
    frame, path = crossed(2, 2), tmp_path / "network_predictions.csv"
    frame.to_csv(path, index=False)
    found = predictions.read_of_networks(path)
    pd.testing.assert_frame_equal(found[frame.columns], frame, check_dtype=False)
    frame.drop(columns=keys.REPEAT).to_csv(path, index=False)
    with pytest.raises(DataError, match="column repeat is missing"):
        predictions.read_of_networks(path)
