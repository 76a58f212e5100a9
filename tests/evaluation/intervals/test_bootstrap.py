import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import score
from fibrolab.evaluation.baselines import majority
from fibrolab.evaluation.intervals import bootstrap
from fibrolab.evaluation.intervals.bootstrap import intervals, resample_weights, resampled
from fibrolab.evaluation.measures.metrics import evaluate
from fibrolab.storage import write_table

STAGES = ("F0", "F1", "F2", "F3", "F4")


def made_up(n, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(classes, size=n)
    probabilities = rng.dirichlet(np.ones(classes), n)
    probabilities[np.arange(n), y_true] += 0.5
    return y_true, probabilities / probabilities.sum(axis=1, keepdims=True)


def draws(groups, resamples, seed=0):
    return np.concatenate(list(resample_weights(groups, resamples, seed)))


def test_intervals_equal_an_explicit_loop_over_repeated_rows():
    y_true, probabilities = made_up(60)
    groups = np.repeat([f"p{i}" for i in range(20)], 3)
    table = intervals(y_true, probabilities, groups, STAGES[:3], resamples=50, seed=4)
    loop = []
    for counts in draws(groups, 50, seed=4):
        rows = np.concatenate(
            [np.flatnonzero(groups == g).repeat(counts[groups == g][0]) for g in set(groups)]
        )
        loop.append(
            {name: v[0] for name, v in evaluate(y_true[rows], probabilities[rows], STAGES[:3]).items()}
        )
    expected = pd.DataFrame(loop)
    assert list(table.index) == list(expected.columns)
    np.testing.assert_allclose(table["mean"], expected.mean(), rtol=1e-12)
    np.testing.assert_allclose(table["sd"], expected.std(), rtol=1e-9)
    np.testing.assert_allclose(table["low"], expected.quantile(0.025), rtol=1e-12)
    np.testing.assert_allclose(table["high"], expected.quantile(0.975), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=30), st.integers(0, 2**31))
def test_a_resample_draws_as_many_whole_groups_as_there_are(groups, seed):
    groups = np.array(groups)
    weights = draws(groups, 5, seed)
    _, first = np.unique(groups, return_index=True)
    assert (weights[:, first].sum(axis=1) == len(first)).all()
    for group in set(groups):
        members = weights[:, groups == group]
        assert (members == members[:, :1]).all()


def test_every_group_is_drawn_equally_often_on_average():
    weights = draws(np.arange(10).astype(str), 4000)
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.07)
    np.testing.assert_allclose(weights.var(axis=0), 0.9, atol=0.1)  # binomial: n p (1 - p) = .9


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(24)))
def test_the_order_of_the_rows_changes_no_interval(order):
    y_true, probabilities = made_up(24)
    groups = np.repeat(list("hgfedcba"), 3)
    one = intervals(y_true, probabilities, groups, STAGES[:3], resamples=20)
    order = list(order)
    other = intervals(y_true[order], probabilities[order], groups[order], STAGES[:3], resamples=20)
    pd.testing.assert_frame_equal(one, other, rtol=1e-12)


def test_blocks_bound_the_memory_and_change_no_value(monkeypatch):
    y_true, probabilities = made_up(1000)
    arguments = (y_true, probabilities, np.arange(1000).astype(str), STAGES[:3], 400)
    whole = intervals(*arguments)
    monkeypatch.setattr(bootstrap, "BLOCK", 2**14)  # 128 KiB, where all weights take 3 MiB
    tracemalloc.start()
    blocks = intervals(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pd.testing.assert_frame_equal(whole, blocks)
    assert peak < 2 * 2**20


def test_copies_within_a_group_do_not_narrow_intervals_and_copies_as_new_groups_do():
    y_true, probabilities = made_up(80)
    groups = np.arange(80).astype(str)
    distinct = intervals(y_true, probabilities, groups, STAGES[:3], 200)
    thrice = [np.repeat(values, 3, axis=0) for values in (y_true, probabilities, groups)]
    pd.testing.assert_frame_equal(intervals(*thrice, STAGES[:3], 200), distinct, rtol=1e-9)
    blind = intervals(thrice[0], thrice[1], np.arange(240).astype(str), STAGES[:3], 200)
    width, narrow = distinct["high"] - distinct["low"], blind["high"] - blind["low"]
    assert narrow["accuracy"] < 0.75 * width["accuracy"]  # 1 / sqrt(3) = .58
    assert narrow["macro_auc"] < 0.75 * width["macro_auc"]


def covered(seed, by_group):
    """Return whether the interval of a simulated study contains the true accuracy of .7.

    Predictions of one patient are alike.
    """
    rng = np.random.default_rng(seed)
    accuracy_of_patient = rng.beta(1.4, 0.6, size=40)
    right = rng.random((40, 5)) < accuracy_of_patient[:, None]
    groups = np.repeat(np.arange(40), 5) if by_group else np.arange(200)
    row = resampled(weighted_mean(right.ravel().astype(float)), groups.astype(str), 200, seed).loc["mean"]
    return row["low"] <= 0.7 <= row["high"]


def test_resampling_patients_covers_the_truth_where_resampling_images_does_not():
    by_patient = np.mean([covered(seed, by_group=True) for seed in range(150)])
    by_image = np.mean([covered(seed, by_group=False) for seed in range(150)])
    assert 0.88 <= by_patient <= 0.99
    assert by_image < 0.85


def test_one_group_gives_values_without_intervals():
    y_true, probabilities = made_up(12)
    table = intervals(y_true, probabilities, ["p"] * 12, STAGES[:3], 20)
    assert np.isfinite(table.loc["accuracy", "value"])
    assert table[["mean", "sd", "low", "high"]].isna().all(axis=None)
    assert (table["n_valid"] == 0).all()


def test_a_class_held_by_one_group_has_a_value_but_no_interval():
    y_true = np.array([0] * 10 + [1] * 10 + [2])
    table = intervals(y_true, np.eye(3)[y_true], np.arange(21).astype(str), STAGES[:3], 300)
    assert table.loc["sensitivity_F2", "value"] == 1.0
    assert np.isnan(table.loc["sensitivity_F2", "low"])
    assert 150 < table.loc["sensitivity_F2", "n_valid"] < 230  # absent from 1 / e of the resamples
    over_classes = table.loc[["macro_sensitivity", "macro_auc", "obuchowski"]]
    assert over_classes["value"].eq(1.0).all()
    assert over_classes["low"].isna().all()  # an average over fewer classes is another quantity
    assert table.loc["weighted_sensitivity", "n_valid"] == 300


@pytest.mark.parametrize("settings", [{"resamples": 1}, {"level": 95}, {"level": 0.0}])
def test_impossible_settings_are_refused_with_what_is_allowed(settings):
    with pytest.raises(ConfigError, match="give"):
        intervals(*made_up(4), list("abcd"), STAGES[:3], **settings)


def predicted(n=30, partition="test"):
    y_true, probabilities = made_up(n)
    ids = [f"{i:03d}" for i in range(n)]
    columns = {f"p_{k}": probabilities[:, k] for k in range(3)}
    fixed = {"patient_id": "", "site": "", "partition": partition, "fold": 0}
    return pd.DataFrame({"sample_id": ids, "group_id": ids, **fixed, "y_true": y_true, **columns})


def test_score_reads_one_partition_and_adds_the_baselines(tmp_path):
    frame = pd.concat([predicted(20, "validation"), predicted(30, "test")])
    test = predicted(30)["y_true"].to_numpy()
    table = score.score(frame, STAGES[:3], baselines=majority(np.array([2, 2, 0]), test), resamples=20)
    assert table.loc["accuracy", "baseline"] == np.mean(test == 2)
    assert np.isnan(table.loc["mae", "baseline"])
    assert "auc" not in table.index
    write_table(table, tmp_path / "metrics.csv", index=True)
    back = pd.read_csv(tmp_path / "metrics.csv", index_col="metric").fillna({"method": "", "note": ""})
    pd.testing.assert_frame_equal(back, table, rtol=1e-12, check_index_type=False, check_dtype=False)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_votes_have_no_losses_but_all_other_metrics():
    plain, votes = (score.score(predicted(), STAGES[:3], resamples=20, votes=x) for x in (False, True))
    losses = ["log_loss", "brier", "ece"]
    numbers = ["value", "mean", "sd", "low", "high", "bca_low", "percentile_high", "coverage"]
    assert votes.loc[losses, numbers].isna().all(axis=None)
    assert votes.loc[losses, "note"].eq("proportions of votes are not probabilities").all()
    pd.testing.assert_frame_equal(votes.drop(index=losses), plain.drop(index=losses))


def test_scoring_with_the_classes_of_another_task_is_refused():
    with pytest.raises(DataError, match="3 probabilities a row, but 2 classes"):
        score.score(predicted(), ("no", "yes"))


def weighted_mean(values):
    def measure(weights):
        weights = np.ones((1, len(values))) if weights is None else weights
        return {"mean": weights @ values / weights.sum(axis=1)}

    return measure


def test_the_corrected_interval_is_that_of_scipy():
    values = np.random.default_rng(3).exponential(size=60)  # skewed, so that the correction matters
    row = resampled(weighted_mean(values), np.arange(60).astype(str), resamples=20_000).loc["mean"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert abs(row["bca_low"] - theirs.low) < 0.03 * width
    assert abs(row["bca_high"] - theirs.high) < 0.03 * width
    assert row["bca_high"] - row["high"] > 0.03 * width  # and the percentiles are not


def test_leaving_out_blocks_of_groups_gives_the_interval_that_leaving_out_each_gives(monkeypatch):
    values = np.random.default_rng(4).exponential(size=600)
    groups = np.arange(600).astype(str)
    blocks = resampled(weighted_mean(values), groups, 500).loc["mean"]
    monkeypatch.setattr(bootstrap, "BLOCKS", 600)
    each = resampled(weighted_mean(values), groups, 500).loc["mean"]
    width = each["bca_high"] - each["bca_low"]
    assert abs(blocks["bca_low"] - each["bca_low"]) < 0.03 * width
    assert abs(blocks["bca_high"] - each["bca_high"]) < 0.03 * width


def test_if_every_resample_agrees_there_is_no_corrected_interval():
    row = resampled(weighted_mean(np.ones(20)), np.arange(20).astype(str), 100).loc["mean"]
    assert (row["value"], row["low"], row["high"]) == (1.0, 1.0, 1.0)
    assert np.isnan(row["bca_low"])
    assert np.isnan(row["bca_high"])


def test_the_ends_of_the_corrected_interval_stay_in_order_with_one_dominant_group():
    draws, jackknife = np.linspace(0.0, 1.0, 1000), np.append(np.zeros(199), -1.0)
    low, high = bootstrap._bca(0.9995, draws, jackknife, level=0.999)
    assert low <= high
    assert high == 1.0
