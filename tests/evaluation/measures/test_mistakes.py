import numpy as np
import pandas as pd
import pytest

from fibrolab.errors import DataError
from fibrolab.evaluation.measures import mistakes

STAGES = ("F0", "F1", "F2")


def predicted(rows, partition="test"):
    true, probabilities = zip(*rows, strict=True)
    columns = {f"p_{k}": np.array(probabilities)[:, k] for k in range(3)}
    ids = [f"{i:03d}" for i in range(len(rows))]
    text = {"sample_id": ids, "group_id": ids, "patient_id": ids, "site": "", "partition": partition}
    return pd.DataFrame(text | {"fold": 0, "y_true": true} | columns)


ROWS = [
    (0, (0.8, 0.1, 0.1)),  # right
    (0, (0.1, 0.8, 0.1)),  # one stage off, sure
    (0, (0.2, 0.2, 0.6)),  # two stages off
    (1, (0.5, 0.3, 0.2)),  # one stage off, unsure
]


def test_mistakes_are_sorted_by_distance_then_confidence():
    found = mistakes.table(predicted(ROWS), STAGES)
    assert found["sample_id"].tolist() == ["002", "001", "003"]
    assert found["distance"].tolist() == [2, 1, 1]
    assert found["probability"].tolist() == [0.6, 0.8, 0.5]
    assert found[["true", "predicted"]].iloc[0].tolist() == ["F0", "F2"]


def test_unordered_classes_have_equal_distances():
    found = mistakes.table(predicted(ROWS), STAGES, ordered=False)
    assert found["sample_id"].tolist() == ["001", "002", "003"]
    assert found["distance"].tolist() == [1, 1, 1]


def test_a_run_without_mistakes_has_an_empty_table_and_one_without_test_rows_none():
    assert mistakes.table(predicted(ROWS[:1]), STAGES).empty
    with pytest.raises(DataError, match="No predictions of partition 'test'"):
        mistakes.table(predicted(ROWS, "validation"), STAGES)
