"""Selection: the surest samples of each class and the undecided ones, whatever the order of the table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.explanation.selection import (
    NEAREST,
    RIGHT,
    WRONG,
    Boundary,
    Choice,
    choose,
    outcomes,
    shared,
    surest,
)


def predicted(
    probabilities: list[list[float]], truth: list[int], ids: Sequence[object] = "abcdefgh"
) -> pd.DataFrame:
    frame = pd.DataFrame(probabilities, columns=keys.probability_columns(len(probabilities[0])))
    return frame.assign(**{keys.SAMPLE_ID: list(ids)[: len(truth)], keys.Y_TRUE: truth})


SIX = predicted(
    [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55], [0.55, 0.45], [0.05, 0.95]], [0, 0, 0, 1, 1, 1]
)


def test_the_surest_right_and_wrong_of_each_class_are_chosen_then_the_undecided() -> None:
    assert choose(outcomes(SIX), undecided=1) == [
        Choice("a", RIGHT, 0),
        Choice("c", WRONG, 0),
        Choice("f", RIGHT, 1),
        Choice("e", WRONG, 1),
        Choice("d", NEAREST, 1),
    ]


def test_the_threshold_of_an_end_point_tells_which_samples_are_undecided() -> None:
    distances = outcomes(SIX, Boundary(lowest=1, threshold=0.2))["distance"]
    np.testing.assert_allclose(distances, [0.1, 0, 0.5, 0.35, 0.25, 0.75])


def test_samples_without_a_label_are_chosen_by_their_distance_only() -> None:
    unlabelled = SIX.assign(**{keys.Y_TRUE: keys.UNLABELLED})
    assert choose(outcomes(unlabelled)) == [Choice("d", NEAREST, -1), Choice("e", NEAREST, -1)]


@settings(max_examples=50, deadline=None)
@given(
    scores=st.lists(st.tuples(*[st.integers(1, 5)] * 3, st.integers(-1, 2)), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
)
def test_neither_ties_nor_the_order_of_the_rows_change_the_choice(scores, order) -> None:
    counts = np.array([row[:3] for row in scores], float)
    frame = predicted(
        (counts / counts.sum(axis=1, keepdims=True)).tolist(),
        [row[3] for row in scores],
        "abcdefghijklmnopqrst",
    )
    chosen = choose(outcomes(frame))
    shuffled = order.sample(range(len(frame)), len(frame))
    assert choose(outcomes(frame.iloc[shuffled])) == chosen
    names = [choice.sample_id for choice in chosen]
    assert len(set(names)) == len(names)


def test_the_surest_predictions_show_each_group_once() -> None:
    groups = dict(zip("abcdef", "xxyzzw", strict=True))
    assert surest(outcomes(SIX), groups, each=2) == [
        Choice("f", RIGHT, 1),
        Choice("a", RIGHT, 0),
        Choice("c", WRONG, 0),
        Choice("e", WRONG, 1),
    ]
    assert surest(outcomes(SIX), groups | {"c": "w"}, each=2)[2:] == [Choice("e", WRONG, 1)]
    assert surest(outcomes(SIX), groups, each=1) == [Choice("f", RIGHT, 1), Choice("c", WRONG, 0)]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 5), st.integers(-1, 1), st.integers(0, 4)), min_size=1),
    order=st.randoms(use_true_random=False),
)
def test_the_surest_predictions_are_of_different_groups_whatever_the_order(rows, order) -> None:
    frame = predicted(
        [[k / 6, 1 - k / 6] for k, _, _ in rows], [truth for _, truth, _ in rows], range(len(rows))
    )
    frame[keys.SAMPLE_ID] = [f"{k:03d}" for k in range(len(rows))]
    groups = dict(zip(frame[keys.SAMPLE_ID], [str(group) for _, _, group in rows], strict=True))
    table = outcomes(frame)
    chosen = surest(table, groups, each=3)
    assert surest(table.iloc[order.sample(range(len(table)), len(table))], groups, each=3) == chosen
    shown = [groups[each.sample_id] for each in chosen]
    assert len(set(shown)) == len(shown)
    decided = table.set_index(keys.SAMPLE_ID)["predicted"]
    for each in chosen:
        assert (each.rule == RIGHT) == (decided[each.sample_id] == each.y_true)
        assert each.y_true >= 0


def test_the_samples_of_several_arms_are_those_that_all_predicted() -> None:
    other = SIX.iloc[1:].assign(p_0=lambda table: table["p_0"] - 0.04, p_1=lambda table: table["p_1"] + 0.04)
    mean = shared([SIX, other.sample(frac=1, random_state=0)])
    assert list(mean[keys.SAMPLE_ID]) == list("bcdef")
    np.testing.assert_allclose(mean["p_1"], SIX["p_1"].iloc[1:] + 0.02)


def test_arms_without_a_common_sample_are_refused() -> None:
    with pytest.raises(DataError, match="No sample was predicted by all runs"):
        shared([SIX.iloc[:3], SIX.iloc[3:]])
