"""The tables of a run of several trainings."""

from dataclasses import replace
from pathlib import Path

import fake_run
import fake_tables
import numpy as np
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.reporting.tables import folds
from fibrolab.runs.trained_run import Run

CONFIG = {"task": {"classes": list(fake_run.CLASSES), "endpoints": fake_tables.ENDPOINTS}}


def run_of(repeats: int = 1, number: int = 3, test_folds: int = 3, **changes: object) -> Run:
    table = fake_tables.folds(repeats, number).assign(**changes)
    frame = fake_run.predicted(fake_run.CLASSES, 30, 1.0)
    frame[keys.FOLD] = np.arange(len(frame)) % test_folds
    networks = fake_tables.networks(repeats, number)
    return Run(Path(), config=CONFIG, tables={"folds": table}, networks=networks, predictions=frame)


def test_every_fold_has_a_column_before_mean_sd_and_corrected_interval() -> None:
    sheet, _ = folds.sheets(run_of())
    titles = [column.title for column in sheet.columns]
    assert titles[:4] == ["Measure", "Fold 0", "Fold 1", "Fold 2"]
    first, second = ([cell.text.replace("\u00a0", " ") for cell in each.cells] for each in sheet.lines)
    assert first[:5] == ["Accuracy", "50.0 %", "60.0 %", "70.0 %", "60.0 % ± 10.0 %"]
    assert second[0] == "AUC, F2 or worse"
    assert second[-1] == "[.400, .800]"
    assert "Nadeau and Bengio" in sheet.caption


def test_measures_of_classes_have_a_table_of_their_own() -> None:
    run = run_of()
    table = run.tables["folds"]
    of_class = table[table["metric"] == "accuracy"].assign(metric="sensitivity_F4")
    sheets = folds.sheets(replace(run, tables={"folds": pd.concat([table, of_class])}))
    assert [sheet.name for sheet in sheets] == ["folds", "classes by fold", "networks"]
    assert [cell.text.replace("\u00a0", " ") for cell in sheets[1].lines[0].cells][:2] == [
        "Sensitivity, F4",
        "50.0 %",
    ]
    assert len(sheets[0].lines) == len(folds.sheets(run)[0].lines)


def test_many_networks_have_their_lowest_and_highest_value() -> None:
    sheet, networks = folds.sheets(run_of(repeats=3))
    assert [column.title for column in sheet.columns][1:3] == ["Lowest", "Highest"]
    assert [cell.text for cell in sheet.lines[1].cells][1:3] == [".500", "1.300"]
    assert networks.lines[4].cells[0].text == "Repetition 1, fold 1"
    assert [cell.text for cell in networks.lines[4].cells][1:] == ["8", "1,234", "60", "run4"]


def test_networks_with_one_test_part_have_no_interval() -> None:
    sheet, _ = folds.sheets(run_of(low=np.nan, high=np.nan))
    assert [column.title for column in sheet.columns][-1] == "Mean ± SD"
    assert "without that between patients" in sheet.caption


@pytest.mark.parametrize(
    ("repeats", "test_folds", "words"),
    [
        (1, 3, "by the network of the fold that left it out"),
        (1, 1, "by the mean of the probabilities of all networks"),
        (2, 3, "one in each repetition"),
    ],
)
def test_the_page_says_how_the_predictions_were_pooled(repeats: int, test_folds: int, words: str) -> None:
    assert words in folds.pooling(run_of(repeats, test_folds=test_folds))


def test_a_run_of_one_network_has_no_such_table() -> None:
    assert folds.sheets(Run(Path(), tables={"folds": fake_tables.folds()})) == []
    assert folds.pooling(Run(Path(), predictions=pd.DataFrame())) == ""
