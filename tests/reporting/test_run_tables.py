import io
import math
from pathlib import Path
from typing import Any

import fake_run
import fake_tables
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fibrolab import keys
from fibrolab.reporting import numbers, run_page, vocabulary
from fibrolab.reporting.tables import metrics as metric_sheets
from fibrolab.reporting.tables.sheet import Footnotes, Sheet, line
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run

CONFIG = {"task": {"classes": list(fake_run.CLASSES), "endpoints": fake_tables.ENDPOINTS}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    fake_tables.write(folder, pd.read_csv(folder / keys.METRICS_FILE, index_col=0), fake_run.CLASSES)
    return folder


def having(**found: pd.DataFrame) -> Run:
    """A run of stages with these tables only."""
    return Run(Path(), config=CONFIG, tables=found)


def cells(sheet: Sheet) -> dict[str, list[tuple[str, str, str]]]:
    """Text, small text and marks of the cells of each line, by its title and the text below it."""
    lines = [(each.cells[0], each.cells[1:]) for each in sheet.lines]
    return {
        f"{first.text}, {first.small}": [(cell.text, cell.small, cell.marks) for cell in rest]
        for first, rest in lines
    }


def metrics(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"metric": ["accuracy", "macro_auc", "qwk"], **columns})


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.8644, "86.4\u00a0%"),
        ("sensitivity_F3", 1.0, "100.0\u00a0%"),
        ("weighted_precision", 0.0, "0.0\u00a0%"),
        ("macro_auc", 0.9679, ".968"),
        ("auc_F0", 1.0, "1.000"),
        ("qwk", -0.0123, "−.012"),
        ("qwk", -0.0001, ".000"),
        ("qwk", -1.0, "−1.000"),
        ("mae", 0.314, "0.31"),
        ("f1_accuracy", math.nan, "not defined"),
        ("qwk", math.inf, "not defined"),
    ],
)
def test_a_number_has_the_digits_of_its_metric(metric: str, value: float, text: str) -> None:
    assert numbers.quantity(value, metric) == text


def test_a_row_reads_as_value_and_interval() -> None:
    assert str(numbers.Row("accuracy", 0.864, 0.841, 0.879, 0.334)) == "86.4\u00a0% [84.1, 87.9]"
    assert str(numbers.Row("qwk", 0.5, math.nan, math.nan, 0.0)) == ".500 [not defined]"
    assert str(numbers.Row("qwk", math.nan, math.nan, math.nan, 0.0)) == "not defined"


def test_the_highest_known_baseline_is_used() -> None:
    table = metrics(
        value=[0.6, 0.8, 0.5], low=[0.5, 0.7, 0.4], high=[0.7, 0.9, 0.6], baseline=[0.3, 0.5, 0.0]
    )
    accuracy, auc, _ = numbers.headline(table, {"hash_lookup": 0.55, "majority": 0.3})
    assert accuracy.baseline_text == "55.0\u00a0% (hash look-up)"
    assert accuracy.above_baseline is False
    assert (auc.baseline_text, auc.above_baseline) == (".500 (chance)", True)


def test_an_interval_that_touches_its_baseline_is_not_above_it() -> None:
    assert numbers.Row("qwk", 0.2, 0.0, 0.4, 0.0).above_baseline is False


def test_a_metric_without_interval_or_baseline_is_not_judged() -> None:
    assert all(row.above_baseline is None for row in numbers.headline(metrics(value=[0.6, 0.8, 0.5])))


def test_every_metric_of_a_run_is_shown_once(run: Path) -> None:
    table = pd.read_csv(run / keys.METRICS_FILE)
    shown = [row.metric for row in numbers.headline(table) + metric_sheets.others(table, fake_run.CLASSES)]
    lines = metric_sheets.per_class(table, fake_run.CLASSES).values()
    shown += [row.metric for line in lines for row in line if row]
    assert sorted(set(shown) - {"macro_auc"}) == sorted(set(table["metric"]) - {"macro_auc"})
    assert len(shown) == len(set(shown)) + 1  # macro AUC is in the headline and among the averages


def test_the_console_table_marks_what_is_not_above_its_baseline() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    table = metrics(
        value=[0.6, 0.8, 0.5], low=[0.2, 0.7, 0.4], high=[0.7, 0.9, 0.6], baseline=[0.3, 0.5, 0.0]
    )
    console.print(numbers.console_table(table, level=0.9))
    text = console.export_text()
    assert "90\u00a0% CI" in text
    marked = [line for line in text.splitlines() if "not above its baseline" in line]
    assert len(marked) == 1
    assert "Accuracy" in marked[0]


def test_every_line_of_every_table_has_a_cell_a_column_and_every_mark_its_note(run: Path) -> None:
    sheets = [sheet for found in run_page.tables(runs.read(run)).values() for sheet in found]
    assert len({sheet.file for sheet in sheets}) == len(sheets) > 15
    for sheet in sheets:
        assert sheet.lines
        assert {len(each.cells) for each in sheet.lines} == {len(sheet.columns)}
        used = {
            mark for each in sheet.lines for cell in each.cells for mark in cell.marks.split(", ") if mark
        }
        assert used == {mark for mark, _ in sheet.notes if mark}


def test_ids_sites_and_classes_stay_text(run: Path) -> None:
    found = runs.read(run).tables
    assert found["mistakes"][keys.SAMPLE_ID].tolist()[:2] == ["0000", "0001"]
    assert "007" in found["subgroups"]["value"].tolist()
    assert found["subgroups"]["estimate"].dtype == float
    of_masks = {"segmentation", "bland_altman", "pixel_calibration"}
    elsewhere = {"training", "validation", "explanation/tests"}  # made by an evaluation, by fibrolab.explain
    assert set(found) == set(runs.TABLES) - of_masks - elsewhere


def test_a_table_without_a_needed_column_is_a_fault_and_an_empty_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text("variable,statistic\nage,median\n")
    (tmp_path / "mistakes.csv").write_text("sample_id,true,predicted\n")
    record = runs.read(tmp_path)
    assert "mistakes" not in record.tables
    assert len(record.faults) == 1
    assert record.faults[0].startswith("cohort.csv is there but could not be read: it has no column train,")


def test_one_method_has_a_general_note_and_several_have_marks() -> None:
    table = fake_tables.calibration()
    sheet, _ = run_page.tables(having(calibration=table))["calibration"]
    assert sheet.notes == [("", "Confidence interval: percentile bootstrap over groups.")]
    assert cells(sheet)["Brier score, "][0] == (".480", "[.450, .510]", "")
    table.loc[0, "method"] = "BCa"
    sheet, _ = run_page.tables(having(calibration=table))["calibration"]
    assert [mark for mark, _ in sheet.notes] == ["a", "b"]


def test_undefined_values_have_a_note() -> None:
    found = run_page.tables(having(endpoints=fake_tables.endpoints()))["endpoints"]
    by_sample = next(sheet for sheet in found if sheet.file == "end_points_by_sample")
    place = [column.title for column in by_sample.columns].index("LR+") - 1
    text, small, mark = cells(by_sample)["F2 or worse, specificity of 90\u00a0%"][place]
    assert (text, small) == ("not defined", "")
    assert dict(by_sample.notes)[mark] == "No healthy sample is called ill."


def test_end_points_are_listed_by_level_rule_and_threshold() -> None:
    areas, by_sample, *others = run_page.tables(having(endpoints=fake_tables.endpoints()))["endpoints"]
    levels = ("mean", "worst_sample", "vote")
    assert [sheet.file for sheet in others] == [f"end_points_by_patient_{level}" for level in levels]
    assert list(cells(areas)) == ["F2 or worse, ", "F3 or worse, ", "F4, "]
    assert cells(by_sample)["F4, one half"][0][0] == ".500"
    assert cells(by_sample)["F4, Youden's index"][0][0] == ".370"


def test_a_marker_is_listed_with_the_run_on_the_same_patients() -> None:
    table = fake_tables.comparators()
    other = (table["marker"] == "run") & (table["beside"] == "apri") & (table["metric"] == "auc")
    table.loc[other, "value"] = 0.9
    found = cells(run_page.tables(having(comparators=table))["comparators"][0])
    beside = "This run, where LSM is known, Youden's index"
    assert list(found)[:3] == ["LSM, published", "LSM, fitted on validation", beside]
    assert [text for text, _, _ in found["LSM, published"][:3]] == ["90", ".840", ".03"]
    assert found["LSM, published"][0][1] == "40 positive"
    assert found[beside][1][0] == ".840"
    assert found["This run, where APRI is known, Youden's index"][1][0] == ".900"


def test_a_remark_common_to_all_measures_is_on_the_cut_off() -> None:
    table = fake_tables.comparators()
    table.loc[table["rule"] == "published", "note"] = "depends on the machine"
    table.loc[(table["rule"] == "published") & (table["metric"] == "npv"), "note"] += "; few patients"
    sheet = run_page.tables(having(comparators=table))["comparators"][0]
    noted = dict(sheet.notes)
    found = cells(sheet)["LSM, published"]
    assert [noted[mark] for mark in found[3][2].split(", ")] == ["Castera 2005.", "Depends on the machine."]
    marked = [mark for _, _, marks in found[4:] for mark in marks.split(", ")]
    assert [noted[mark] for mark in marked].count("Few patients.") == 1
    assert "Depends on the machine." not in [noted[mark] for mark in marked]


def test_a_comparison_of_areas_only_has_its_lines() -> None:
    table = fake_tables.comparators()
    first = run_page.tables(having(comparators=table[table["metric"] == "auc"]))["comparators"][0]
    names = ["LSM, ", "This run, where LSM is known", "APRI, ", "This run, where APRI is known"]
    assert list(cells(first)) == names


def test_a_note_on_multiplicity_applies_to_the_whole_table() -> None:
    many = pd.concat([fake_tables.subgroups().assign(variable=f"v{k}") for k in range(5)])
    (sheet,) = run_page.tables(having(subgroups=many))["subgroups"]
    expected = "Of 30 intervals at 95 %, about 1.5 are expected to miss the true value by chance: "
    assert [mark for mark, text in sheet.notes if text.startswith(expected)] == [""]


def test_only_the_largest_of_many_errors_are_shown() -> None:
    (sheet,) = run_page.tables(having(mistakes=fake_tables.mistakes(fake_run.CLASSES)))["mistakes"]
    assert len(sheet.lines) == 30
    assert "The first 30 of 40." in sheet.caption
    assert [text for text, _, _ in cells(sheet)["0000, 000"]] == ["F4", "F0", "99.0\u00a0%", "4"]


def test_the_p_of_a_variable_is_on_its_first_line_only() -> None:
    values = [("sex", "F, n (%)", 0.84), ("sex", "M, n (%)", math.nan), ("age_years", "n", math.nan)]
    rows = [{"variable": name, "statistic": text, "p": p, "train": "1"} for name, text, p in values]
    table = pd.DataFrame(rows).assign(validation="1", test="1", test_name="", note="")
    (sheet,) = run_page.tables(having(cohort=table))["cohort"]
    assert [line.cells[-1].text for line in sheet.lines] == [".84", "", "–"]


def test_the_table_of_the_headline_has_mean_and_sd_of_the_resamples(run: Path) -> None:
    sheet, *_ = run_page.tables(runs.read(run))["headline"]
    place = [column.title for column in sheet.columns].index("Bootstrap mean ± SD")
    record = runs.read(run).metrics
    assert record is not None
    known = record.set_index("metric").loc["accuracy"]
    noted = sheet.lines[0].cells[place].text
    assert noted == f"{100 * known['mean']:.1f} ± {100 * known['sd']:.1f}"


def test_without_endpoints_csv_end_points_are_at_one_half() -> None:
    names = [f"{name}_ge_F2" for name in ("auc", "accuracy", "sensitivity", "specificity")]
    table = pd.DataFrame({"metric": names, "value": 0.8})
    (sheet,) = run_page.tables(Run(Path(), config=CONFIG, metrics=table))["endpoints"]
    assert list(cells(sheet)) == ["F2 or worse, "]
    assert "a threshold that does not depend on data" in sheet.caption


def test_an_empty_run_has_no_table(tmp_path: Path) -> None:
    assert not any(run_page.tables(runs.read(tmp_path)).values())


def test_measures_without_values_have_no_column() -> None:
    table = pd.DataFrame({"metric": ["sensitivity_F0", "f1_F0"], "value": [0.8, 0.7]})
    (sheet,) = metric_sheets.by_class(Run(Path(), config=CONFIG, metrics=table))
    assert [column.title for column in sheet.columns] == ["Class", "Sensitivity", "F1"]


def test_a_repeated_footnote_is_listed_once_and_marks_continue_after_z() -> None:
    notes = Footnotes(["of all"])
    assert notes.marks("one", "two", "one", "", "of all") == "a, b"
    assert notes.marks("two") == "b"
    marks = [notes.marks(str(i)) for i in range(26)]
    assert marks[23:] == ["z", "aa", "ab"]
    assert notes.notes[:2] == [("", "of all"), ("a", "one")]


@given(st.lists(st.text(max_size=3), max_size=80))
def test_each_mark_has_one_text(texts: list[str]) -> None:
    notes = Footnotes()
    marks = {text: notes.marks(text) for text in texts}
    noted = dict(notes.notes)
    assert len(noted) == len(notes.notes) == len(set(texts) - {""})
    assert all(noted[mark] == text for text, mark in marks.items() if text)


def test_the_name_of_a_table_gives_a_valid_file_name() -> None:
    assert Sheet("../End points: F2 & worse", "", [], [line("a")]).file == "end_points_f2_worse"


@pytest.mark.parametrize(
    ("remark", "noted"),
    [("", ""), ("one group only", "One group only."), ("Why?", "Why?"), (" no data. ", "No data.")],
)
def test_a_remark_becomes_a_sentence(remark: str, noted: str) -> None:
    assert vocabulary.sentence(remark) == noted
