"""The corrected value of the best among trials: simulated studies, identities, and input that is refused."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation.selection_optimism import estimate

PATIENTS, PER_PATIENT = 50, 2


def trials(seed: int, number: int, skill: float = 0.0, classes: int = 2) -> list[pd.DataFrame]:
    """Predictions of trials whose probabilities favour the true class by `skill`; 0 is noise."""
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(PATIENTS), PER_PATIENT)
    truth = (np.arange(PATIENTS) % classes)[patients]
    found = []
    for _ in range(number):
        scores = random.normal(size=(PATIENTS, classes))[patients]
        scores += 0.2 * random.normal(size=scores.shape) + skill * np.eye(classes)[truth]
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        columns = {
            keys.SAMPLE_ID: [f"{row:03}" for row in range(len(truth))],
            keys.GROUP_ID: [f"p{patient:02}" for patient in patients],
            keys.PATIENT_ID: "",
            keys.SITE: "",
            keys.PARTITION: keys.VALIDATION,
            keys.FOLD: 0,
            keys.Y_TRUE: truth,
        }
        named = dict(zip(keys.probability_columns(classes), probabilities.T, strict=True))
        found.append(pd.DataFrame(columns | named))
    return found


def test_the_best_of_many_guessing_trials_is_corrected_to_chance() -> None:
    found = [estimate(trials(seed, 40), "val/accuracy", resamples=200) for seed in range(12)]
    assert np.mean([each.apparent for each in found]) > 0.62
    assert np.mean([each.corrected for each in found]) == pytest.approx(0.5, abs=0.025)
    assert sum(each.low <= 0.5 <= each.high for each in found) >= 10


def test_a_loss_of_guessing_trials_is_corrected_upwards() -> None:
    guessing = trials(0, 40)
    found = estimate(guessing, "val/loss", resamples=200)
    assert found.metric == "log_loss"
    rows = guessing[found.best]
    chosen = np.where(rows[keys.Y_TRUE] == 1, rows["p_1"], rows["p_0"])
    assert found.apparent == pytest.approx(-np.log(chosen).mean())
    assert found.corrected > found.apparent


def test_a_trial_that_is_much_better_than_the_others_is_hardly_corrected() -> None:
    found = estimate([*trials(1, 20), *trials(2, 1, skill=3)], "val/auc", resamples=200)
    assert found.best == 20
    assert found.apparent > 0.9
    assert found.corrected == pytest.approx(found.apparent, abs=0.01)


def test_a_single_trial_is_not_optimistic() -> None:
    found = estimate(trials(3, 1, skill=1), "val/accuracy", resamples=1000)
    assert found.corrected == pytest.approx(found.apparent, abs=0.01)
    assert (found.trials, found.groups, found.best) == (1, PATIENTS, 0)


@given(seed=st.integers(0, 1000), copies=st.integers(1, 4))
@settings(max_examples=10)
def test_copies_of_a_trial_and_the_order_of_rows_change_nothing(seed: int, copies: int) -> None:
    (trial,) = trials(seed, 1, skill=0.5)
    shuffled = trial.sample(frac=1, random_state=seed)
    one = estimate([trial], "val/accuracy", resamples=30)
    many = estimate([shuffled] * copies, "val/accuracy", resamples=30)
    assert (many.apparent, many.corrected, many.low, many.high) == (
        one.apparent, one.corrected, one.low, one.high,
    )  # fmt: skip


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_best_trial_is_that_with_the_best_value(seed: int) -> None:
    several = trials(seed, 5, classes=3)
    found = estimate(several, "val/accuracy", resamples=20)
    right = [
        (trial[["p_0", "p_1", "p_2"]].to_numpy().argmax(axis=1) == trial[keys.Y_TRUE]).mean()
        for trial in several
    ]
    assert found.apparent == pytest.approx(max(right))
    assert found.best == int(np.argmax(right))


@pytest.mark.parametrize("monitor", ["val/qwk", "val/macro_auc", "val/weighted_f1", "val/balanced_accuracy"])
def test_metrics_of_all_classes_together_can_be_corrected(monitor: str) -> None:
    found = estimate(trials(0, 5, skill=1, classes=3), monitor, resamples=50)
    assert found.low <= found.corrected <= found.high


def test_predictions_of_the_test_set_do_not_take_part() -> None:
    several = trials(0, 3, skill=1)
    tested = [each.assign(**{keys.PARTITION: keys.TEST, "p_0": 1.0, "p_1": 0.0}) for each in several]
    both = [pd.concat(pair, ignore_index=True) for pair in zip(several, tested, strict=True)]
    assert estimate(both, "val/loss", resamples=20) == estimate(several, "val/loss", resamples=20)


def test_one_group_gives_no_corrected_value() -> None:
    alone = [each.assign(**{keys.GROUP_ID: "one"}) for each in trials(0, 3)]
    found = estimate(alone, "val/accuracy", resamples=20)
    assert math.isnan(found.corrected)
    assert found.apparent > 0


def test_an_unknown_metric_and_other_samples_are_refused() -> None:
    several = trials(0, 2)
    with pytest.raises(ConfigError, match=r"monitor: there is no 'val/acuracy'.*Did you mean val/accuracy"):
        estimate(several, "val/acuracy")
    with pytest.raises(DataError, match="Trial 1 of 2 was validated on other samples"):
        estimate([several[0], several[1].iloc[1:]], "val/loss")
    with pytest.raises(DataError, match="at least one trial"):
        estimate([], "val/loss")
    with pytest.raises(DataError, match="no predictions of validation samples"):
        estimate([several[0].assign(**{keys.PARTITION: keys.TEST})], "val/loss")
    with pytest.raises(ConfigError, match="resamples=1"):
        estimate(several, "val/loss", resamples=1)
