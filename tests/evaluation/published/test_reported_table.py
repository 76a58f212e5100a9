"""The table of published numbers: what a printed number stands for, synonyms, and faults by line."""

from pathlib import Path

import pandas as pd
import pytest

from fibrolab.errors import DataError
from fibrolab.evaluation.published.check import check, unread
from fibrolab.evaluation.published.printed_numbers import parse
from fibrolab.evaluation.published.reported_table import read, reported


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0.86", 0.855, 0.865),
        ("0.860", 0.8595, 0.8605),
        ("86%", 0.855, 0.865),
        ("86.0 %", 0.8595, 0.8605),
        ("~0.13", 0.12, 0.14),
        ("17", 16.5, 17.5),
        (">=0.5", 0.5, float("inf")),
    ],
)
def test_a_printed_number_stands_for_all_that_round_to_it(text: str, low: float, high: float) -> None:
    number = parse(text)
    assert number is not None
    assert (number.low, number.high) == pytest.approx((low, high))


@pytest.mark.parametrize("text", ["", ".", "0,86", "eight", "0.8.6", "1e-3", "nan"])
def test_what_is_no_number_is_not_read(text: str) -> None:
    assert parse(text) is None


def test_all_faults_are_told_with_their_lines() -> None:
    rows = [
        {"metric": "auc", "value": "0,86", "n": "12.5", "low": "0.8"},
        {"metric": "", "value": "0.9", "n": "10", "positive": "10"},
        {"metric": "confusion", "value": "3", "class": "F1", "classes": "1"},
    ]
    with pytest.raises(DataError) as error:
        check(pd.DataFrame(rows).fillna(""))
    for part in (
        "line 2: value is '0,86'", "line 2: n is '12.5'", "line 2: an interval needs both",
        "line 3: the metric is missing", "line 3: positive=10 leaves none", "line 4: classes is 1",
        "line 4: a cell of a confusion matrix",
    ):  # fmt: skip
        assert part in str(error.value)


def test_unknown_and_missing_columns_are_told() -> None:
    with pytest.raises(DataError, match=r"there is no 'vlaue'.*Did you mean value") as error:
        check(pd.DataFrame([{"metric": "auc", "vlaue": "0.9"}]))
    assert "The column 'value' is missing" in str(error.value)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "empty.csv")


def test_digits_and_words_of_papers_are_kept(tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text(
        "metric,value\nRecall,0.70\nF-measure,70.0%\nAUROC,1.00\nloss,0.3\n"
    )
    table = read(tmp_path / "numbers.csv")
    rows = reported(table)
    assert [row.metric for row in rows] == ["sensitivity", "f1", "auc", "loss"]
    assert [row.value.text for row in rows] == ["0.70", "70.0%", "1.00", "0.3"]
    assert unread(table) == ["loss"]
