import math
from typing import Any

import pandas as pd
import pytest

from fibrolab.evaluation.comparison.arms import AT_THRESHOLDS, CLASSES, HEADLINE, Task
from fibrolab.evaluation.comparison.comparison_table import COLUMNS, FOLDS
from fibrolab.reporting.comparison_sentences import Comparison
from fibrolab.reporting.tables import comparison as comparison_sheets
from fibrolab.reporting.tables.sheet import Sheet


def arms(measures: int, note: str = "") -> Sheet:
    """The table of one arm with the given number of measures, each with the same remark."""
    names = ("accuracy", "balanced_accuracy", "macro_auc", "qwk", "mae")[:measures]
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"level": "sample", "family": HEADLINE, "arm": "a"}
    row |= {"n": 90, "groups": 90, "value": 0.8, "low": 0.7, "high": 0.9, "sd": math.nan}
    row |= {"method": "percentile"}
    rows = [row | {"metric": name, "note": note} for name in names]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    nothing = pd.DataFrame()
    task = Task(("F0", "F1"), True, {})
    comparison = Comparison("c", table, {"sample": []}, task, [], nothing, "patients", True, 100, 0.95)
    return comparison_sheets.arms(comparison, "sample", HEADLINE)


@pytest.mark.parametrize(("measures", "broad"), [(3, False), (5, True)])
def test_a_table_of_many_measures_is_broad(measures: int, broad: bool) -> None:
    assert ("broad" in arms(measures).style) is broad


def test_two_remarks_on_a_cell_are_two_footnotes() -> None:
    sheet = arms(2, "few patients; odd scanner")
    assert [text for mark, text in sheet.notes if mark] == ["Few patients.", "Odd scanner."]


def sheet_of(rows: list[dict[str, Any]], level: str, family: str) -> Sheet:
    """The arms' table of a family, from rows of the comparison's table."""
    task = Task(("F0", "F1", "F2"), True, {"ge_F1": 1})
    base: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"level": level, "family": family, "n": 90}
    base |= {"groups": 30, "value": 0.8, "low": math.nan, "high": math.nan, "sd": math.nan}
    table = pd.DataFrame([base | row for row in rows], columns=list(COLUMNS))
    shown = Comparison("c", table, {level: []}, task, [], pd.DataFrame(), "patients", True, 100, 0.95)
    return comparison_sheets.LAYOUTS[family](shown, level, family)


def test_each_class_has_a_line_per_arm_and_the_average_is_last() -> None:
    rows = [
        {"arm": arm, "of": of, "metric": f"macro_{rate}" if not of else rate}
        for arm in "ab"
        for of in ("F0", "F1", "")
        for rate in ("precision", "f1")
    ]
    sheet = sheet_of(rows, "sample", CLASSES)
    assert [column.title for column in sheet.columns] == ["Class", "Arm", "Precision", "F1"]
    found = [(line.cells[0].text, line.cells[1].text) for line in sheet.lines]
    assert found == [(part, arm) for part in ("F0", "F1", "Macro average") for arm in "ab"]
    assert "the most probable one" in sheet.caption


def test_end_points_at_thresholds_are_named_in_words() -> None:
    sheet = sheet_of([{"arm": "a", "of": "ge_F1", "metric": "ppv"}], "patient", AT_THRESHOLDS)
    assert [cell.text for cell in sheet.lines[0].cells[:2]] == ["F1 or worse", "a"]


def test_folds_are_lines_and_their_mean_is_emphasised() -> None:
    rows = [{"arm": "a", "metric": "accuracy", "fold": fold, "groups": math.nan} for fold in ("0", "1")]
    rows.append({"arm": "a", "metric": "accuracy", "fold": "", "sd": 0.02})
    sheet = sheet_of(rows, "sample", FOLDS)
    assert [line.cells[1].text for line in sheet.lines] == ["fold 0", "fold 1", "mean"]
    assert [line.cells[1].small for line in sheet.lines] == ["90 samples", "90 samples", ""]
    assert [line.strong for line in sheet.lines] == [False, False, True]
    assert sheet.lines[2].cells[2].small == "SD 2.0\u00a0%"
