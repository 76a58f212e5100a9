import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation.probabilities import conformal
from fibrolab.evaluation.probabilities.conformal import mass_before, prediction_sets, table, threshold

STAGES = ("F0", "F1", "F2", "F3", "F4")


def frame(truth, probabilities, partition, groups=None, patients=None):
    n = len(truth)
    columns = {
        keys.SAMPLE_ID: [f"{partition}{i}" for i in range(n)],
        keys.GROUP_ID: [f"{partition}{g}" for g in (range(n) if groups is None else groups)],
        keys.PATIENT_ID: [""] * n if patients is None else [f"{partition}{p}" for p in patients],
        keys.SITE: "",
        keys.PARTITION: partition,
        keys.FOLD: 0,
        keys.Y_TRUE: np.asarray(truth),
    }
    names = keys.probability_columns(probabilities.shape[1])
    return pd.DataFrame(columns | dict(zip(names, probabilities.T, strict=True)))


def staged(rng, n, rows=1, skill=1.5):
    """Patients with `rows` images each, whose errors agree; overconfident probabilities."""
    truth = rng.integers(0, 5, n)
    own = rng.normal(size=n)
    seen = np.repeat(truth + own, rows) + 0.3 * rng.normal(size=n * rows)
    logits = -skill * np.abs(np.arange(5) - seen[:, None])
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.repeat(truth, rows), chance, np.repeat(np.arange(n), rows)


def clinic(n_validation, n_test, rows=1, seed=0):
    rng = np.random.default_rng(seed)
    parts = [
        frame(truth, chance, partition, groups, patients=groups)
        for partition, n in ((keys.VALIDATION, n_validation), (keys.TEST, n_test))
        for truth, chance, groups in [staged(rng, n, rows)]
    ]
    return pd.concat(parts, ignore_index=True)


@st.composite
def rows_of_probabilities(draw):
    n, k = draw(st.integers(1, 12)), draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = rng.integers(0, draw(st.sampled_from([2, 4, 1000])), (n, k)) + 1e-3 * draw(st.booleans())
    coarse[coarse.sum(axis=1) == 0, 0] = 1.0
    return coarse / coarse.sum(axis=1, keepdims=True)


def test_a_set_of_stages_grows_to_the_more_probable_neighbour():
    chance = np.array([[0.05, 0.30, 0.40, 0.10, 0.15]])  # F2, then F1 (.3 > .1), then F3 (.1 > .05), then F4
    np.testing.assert_allclose(mass_before(chance), [[0.95, 0.40, 0.0, 0.70, 0.80]])


def test_a_set_of_unordered_classes_grows_to_the_next_most_probable_one():
    chance = np.array([[0.05, 0.30, 0.40, 0.10, 0.15]])
    np.testing.assert_allclose(mass_before(chance, ordered=False), [[0.95, 0.40, 0.0, 0.85, 0.70]])


@settings(max_examples=80, deadline=None)
@given(rows_of_probabilities(), st.floats(0, 1))
def test_sets_of_stages_have_no_gap_and_contain_the_most_probable(chance, limit):
    sets = mass_before(chance) <= limit
    assert sets[np.arange(len(sets)), chance.argmax(axis=1)].all()
    edges = np.abs(np.diff(np.pad(sets, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1)
    assert (edges == 2).all()


@settings(max_examples=80, deadline=None)
@given(rows_of_probabilities(), st.booleans(), st.floats(0.01, 0.98))
def test_a_smaller_alpha_only_adds_classes(chance, ordered, alpha):
    rng = np.random.default_rng(0)
    scores, groups = rng.random(60), rng.integers(0, 40, 60)
    wide, narrow = (
        mass_before(chance, ordered) <= threshold(scores, groups, a) for a in (alpha, alpha + 0.01)
    )
    assert (wide | ~narrow).all()


@settings(max_examples=60, deadline=None)
@given(rows_of_probabilities(), st.floats(0, 0.9))
def test_a_set_is_the_smallest_that_reaches_the_threshold(chance, limit):
    sets = mass_before(chance) <= limit
    mass = np.where(sets, chance, 0).sum(axis=1)
    last = np.where(sets, mass_before(chance), -1).max(axis=1)
    assert (last <= limit).all()
    assert ((mass > limit - 1e-12) | sets.all(axis=1)).all()


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 1 / 3])
@pytest.mark.parametrize("n", [9, 19, 20, 99, 150])
def test_the_threshold_of_single_rows_is_the_usual_order_statistic(n, alpha):
    scores = np.random.default_rng(n).permutation(np.arange(n, dtype=float))
    rank = math.ceil(round((n + 1) * (1 - alpha), 9))
    expected = math.inf if rank > n else float(rank - 1)
    assert threshold(scores, np.arange(n), alpha) == expected


def test_repeating_the_rows_of_a_patient_changes_no_threshold():
    rng = np.random.default_rng(1)
    scores, times = rng.random(40), rng.integers(1, 9, 40)
    repeated = threshold(np.repeat(scores, times), np.repeat(np.arange(40), times), 0.1)
    assert repeated == threshold(scores, np.arange(40), 0.1)


def test_rounded_weights_do_not_change_the_rank():
    scores = np.arange(9.0).repeat(3)  # each group's three rows weigh a third
    assert threshold(scores, np.arange(9).repeat(3), 0.1) == 8.0


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("rows", [1, 5])
def test_sets_of_new_patients_have_their_nominal_coverage(ordered, rows):
    rng = np.random.default_rng(2)
    n, draws, covered = 40, 400, []
    for _ in range(draws):
        truth, chance, groups = staged(rng, n + 10, rows)
        hit = np.take_along_axis(mass_before(chance, ordered), truth[:, None], axis=1)[:, 0]
        seen = groups < n
        covered.append((hit[~seen] <= threshold(hit[seen], groups[seen], 0.2)).mean())
    assert np.mean(covered) > 0.8 - 3 * np.std(covered) / math.sqrt(draws)
    assert np.mean(covered) < 0.9


def test_patients_with_many_hard_images_do_not_reduce_the_coverage_of_others():
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(400):
        sizes = rng.choice([1, 20], 31)
        scores = rng.random(31) * np.where(sizes == 20, 0.5, 1.0)  # small patients are the hard ones
        rows, groups = scores.repeat(sizes), np.arange(31).repeat(sizes)
        covered.append(scores[30] <= threshold(rows[groups < 30], groups[groups < 30], 0.1))
    assert np.mean(covered) > 0.9 - 3 * math.sqrt(0.09 / 400)


def test_with_too_few_validation_patients_every_set_contains_every_class_with_a_note():
    rows = table(clinic(8, 30), STAGES, alphas=(0.1, 0.2), levels=("sample",)).set_index(["alpha", "stage"])
    assert rows.loc[(0.1, "all"), "coverage"] == 1.0
    assert rows.loc[(0.1, "all"), "mean_size"] == 5.0
    assert "8 validation groups, where 90 % needs 9" in rows.loc[(0.1, "F2"), "note"]
    assert "takes" not in rows.loc[(0.2, "all"), "note"]


def test_the_number_of_groups_that_an_alpha_needs_is_the_first_with_a_finite_threshold():
    for alpha in (0.05, 0.1, 0.15, 0.2, 0.3, 1 / 3, 0.5):
        finite = [n for n in range(1, 60) if threshold(np.arange(float(n)), np.arange(n), alpha) < math.inf]
        enough = [n for n in range(1, 60) if not conformal._too_few(n, alpha)]
        assert finite == enough, alpha


def test_the_table_has_coverage_and_size_of_the_sets():
    data = clinic(60, 80, rows=3)
    found = table(data, STAGES, alphas=(0.1,)).set_index(["level", "stage"])
    assert list(table(data, STAGES).columns) == list(conformal.COLUMNS)
    sets = prediction_sets(data, 0.1)
    truth = data.loc[data[keys.PARTITION] == keys.TEST, keys.Y_TRUE].to_numpy()
    row = found.loc[("sample", "F3")]
    of = truth == 3
    assert row["n"] == of.sum()
    assert row["coverage"] == pytest.approx(sets[of, 3].mean())
    assert row["mean_size"] == pytest.approx(sets[of].sum() / of.sum())
    assert row["alone"] == pytest.approx((sets[of].sum(axis=1) == 1).mean())
    assert row["low"] < row["coverage"] < row["high"]
    assert found.loc[("patient", "all"), "n"] == 80
    assert found.loc[("sample", "all"), "n"] == 240


def test_images_of_one_patient_do_not_narrow_the_interval():
    copied = pd.concat([clinic(60, 80)] * 4, ignore_index=True)
    once, four = (
        table(data, STAGES, alphas=(0.1,), levels=("sample",)).set_index("stage").loc["all"]
        for data in (clinic(60, 80), copied)
    )
    assert four["coverage"] == once["coverage"]
    assert four["high"] - four["low"] >= 0.95 * (once["high"] - once["low"])


def test_a_stage_with_low_coverage_has_a_note_on_the_guarantee():
    rng = np.random.default_rng(5)
    truth, chance, _ = staged(rng, 400, skill=3.0)
    missed = (truth == 1) & (rng.random(400) < 0.5)
    chance[missed] = [0.999, 0.001, 0.0, 0.0, 0.0]  # half of F1 is predicted as F0 with high probability
    half = np.arange(400) < 200
    data = pd.concat(
        [frame(truth[half], chance[half], keys.VALIDATION), frame(truth[~half], chance[~half], keys.TEST)]
    )
    rows = table(data, STAGES, alphas=(0.2,), levels=("sample",)).set_index("stage")
    assert rows.loc["F1", "high"] < 0.8
    assert "not in each" in rows.loc["F1", "note"]
    assert rows.loc["F4", "note"] == ""


def test_test_patients_unlike_those_of_validation_have_a_note():
    rng = np.random.default_rng(6)
    known, strange = staged(rng, 200, skill=3.0), staged(rng, 200, skill=3.0)
    data = pd.concat(
        [
            frame(known[0], known[1], keys.VALIDATION),
            frame((strange[0] + 3) % 5, strange[1], keys.TEST),
        ]
    )
    rows = table(data, STAGES, alphas=(0.1,), levels=("sample",)).set_index("stage")
    assert "differ from those of validation" in rows.loc["all", "note"]


def test_a_stage_without_test_rows_is_undefined_without_a_warning():
    data = clinic(50, 60)
    data = data[(data[keys.PARTITION] == keys.VALIDATION) | (data[keys.Y_TRUE] != 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = table(data, STAGES, levels=("sample",)).set_index(["alpha", "stage"])
    row = rows.loc[(0.1, "F2")]
    assert row["n"] == 0
    assert row[["coverage", "low", "high", "mean_size", "alone"]].isna().all()
    assert row["note"]


def test_one_test_row_has_a_wide_interval():
    row = table(clinic(50, 1), STAGES, levels=("sample",)).set_index(["alpha", "stage"]).loc[(0.1, "all")]
    assert row["n"] == 1
    assert row["high"] - row["low"] > 0.7


def test_without_validation_there_is_a_note_instead_of_a_value():
    data = clinic(50, 60)
    rows = table(data[data[keys.PARTITION] == keys.TEST], STAGES)
    assert rows["coverage"].isna().all()
    assert (rows["note"] == conformal.NO_VALIDATION).all()
    with pytest.raises(DataError, match="validation"):
        prediction_sets(data[data[keys.PARTITION] == keys.TEST])


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, math.nan])
def test_an_alpha_outside_0_and_1_is_refused(alpha):
    with pytest.raises(ConfigError, match=r"between 0 and 1, such as 0\.1"):
        table(clinic(20, 20), STAGES, alphas=(alpha,))


def test_two_classes_are_treated_like_stages():
    rng = np.random.default_rng(7)
    score = rng.random(300)
    truth = (rng.random(300) < score).astype(int)
    chance = np.column_stack([1 - score, score])
    half = np.arange(300) < 150
    data = pd.concat(
        [frame(truth[half], chance[half], keys.VALIDATION), frame(truth[~half], chance[~half], keys.TEST)]
    )
    np.testing.assert_array_equal(prediction_sets(data, 0.1), prediction_sets(data, 0.1, ordered=False))
    assert table(data, ("no", "yes"), levels=("sample",)).iloc[0]["coverage"] > 0.85
