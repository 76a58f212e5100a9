import math
from typing import Any

import pandas as pd
import pytest

from fibrolab.evaluation.arms import HEADLINE, Task
from fibrolab.evaluation.comparison import COLUMNS
from fibrolab.reporting.comparison_words import Comparison
from fibrolab.reporting.tables import comparison as comparison_sheets
from fibrolab.reporting.tables.sheet import Sheet


def arms(measures: int, note: str = "") -> Sheet:
    """One arm's table of so many measures, each with the same remark."""
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
def test_a_table_of_many_measures_takes_the_whole_screen(measures: int, broad: bool) -> None:
    assert ("broad" in arms(measures).style) is broad


def test_two_remarks_on_a_cell_are_two_footnotes() -> None:
    sheet = arms(2, "few patients; odd scanner")
    assert [text for mark, text in sheet.notes if mark] == ["Few patients.", "Odd scanner."]
