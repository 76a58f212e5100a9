import io
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_audit
import fake_run
import pandas as pd
import pytest
import yaml
from chromium import chromium, visit
from rich.console import Console

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.reporting import figures, findings, page, tables
from fibrolab.reporting import run as runs


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """A copy of the whole run that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run.make(tmp_path_factory.mktemp("run"))
    figures.draw_all(folder)
    page.write(folder)
    return folder


def metrics(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"metric": ["accuracy", "macro_auc", "qwk"], **columns})


def amend(folder: Path, name: str, /, **changes: Any) -> None:
    """Change entries of a run's JSON or YAML file."""
    content = yaml.safe_load((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(content))  # JSON is YAML


def said(folder: Path) -> dict[str, bool]:
    return {finding.text: finding.grave for finding in findings.of(runs.read(folder))}


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
    assert tables.quantity(value, metric) == text


def test_a_row_reads_as_value_and_interval() -> None:
    assert str(tables.Row("accuracy", 0.864, 0.841, 0.879, 0.334)) == "86.4\u00a0% [84.1, 87.9]"
    assert str(tables.Row("qwk", 0.5, math.nan, math.nan, 0.0)) == ".500 [not defined]"
    assert str(tables.Row("qwk", math.nan, math.nan, math.nan, 0.0)) == "not defined"


def test_the_highest_known_floor_of_accuracy_counts() -> None:
    table = metrics(value=[0.6, 0.8, 0.5], low=[0.5, 0.7, 0.4], high=[0.7, 0.9, 0.6], floor=[0.3, 0.5, 0.0])
    accuracy, auc, _ = tables.headline(table, {"hash_lookup": 0.55, "majority": 0.3})
    assert accuracy.floor_text == "55.0\u00a0% (hash look-up)"
    assert accuracy.above_floor is False
    assert (auc.floor_text, auc.above_floor) == (".500 (chance)", True)


def test_an_interval_that_touches_its_floor_is_not_above_it() -> None:
    assert tables.Row("qwk", 0.2, 0.0, 0.4, 0.0).above_floor is False


def test_a_metric_without_interval_or_floor_is_not_judged() -> None:
    assert all(row.above_floor is None for row in tables.headline(metrics(value=[0.6, 0.8, 0.5])))


def test_every_metric_of_a_run_is_shown_once(run: Path) -> None:
    table = pd.read_csv(run / keys.METRICS_FILE)
    shown = [row.metric for row in tables.headline(table) + tables.others(table, fake_run.CLASSES)]
    lines = tables.per_class(table, fake_run.CLASSES).values()
    shown += [row.metric for line in lines for row in line if row]
    assert sorted(set(shown) - {"macro_auc"}) == sorted(set(table["metric"]) - {"macro_auc"})
    assert len(shown) == len(set(shown)) + 1  # macro AUC stands in the headline and among the averages


def test_the_console_table_marks_what_is_not_above_its_floor() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    table = metrics(value=[0.6, 0.8, 0.5], low=[0.2, 0.7, 0.4], high=[0.7, 0.9, 0.6], floor=[0.3, 0.5, 0.0])
    console.print(tables.console_table(table, level=0.9))
    text = console.export_text()
    assert "90\u00a0% CI" in text
    marked = [line for line in text.splitlines() if "NOT above its floor" in line]
    assert len(marked) == 1
    assert "Accuracy" in marked[0]


def test_the_page_opens_in_a_browser_without_complaint_or_request(run: Path, browser: Any) -> None:
    opened = visit(browser, run / keys.REPORT_FILE)
    assert opened.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    assert sum(url.startswith("file:") for url in opened.requests) == 1  # the page itself
    widths = opened.page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) == 4
    assert min(widths) > 0


@pytest.mark.parametrize("width", [390, 1280])
def test_the_headline_is_in_sight_and_nothing_overflows(run: Path, browser: Any, width: int) -> None:
    sheet = visit(browser, run / keys.REPORT_FILE, width).page
    assert sheet.evaluate("document.documentElement.scrollWidth") == width
    record = runs.read(run)
    assert record.metrics is not None
    for row in tables.headline(record.metrics, record.floors):
        for text in (row.value_text, row.interval_text, row.floor_text):
            cell = sheet.locator(".headline td", has_text=text).first
            assert cell.is_visible()
            box = cell.bounding_box()
            assert box is not None
            assert 0 <= box["x"] < box["x"] + box["width"] <= width


def test_the_page_has_one_title_and_says_what_every_picture_and_column_is(run: Path, browser: Any) -> None:
    sheet = visit(browser, run / keys.REPORT_FILE).page
    assert sheet.locator("h1").count() == 1
    assert sheet.locator("img:not([alt]), img[alt='']").count() == 0
    assert sheet.locator("th:not([scope])").count() == 0
    assert sheet.locator("table").count() == sheet.locator("table > caption").count() == 4


def test_names_are_shown_as_text_and_never_run(tmp_path: Path, browser: Any) -> None:
    evil = "<script>document.title='owned'</script>"
    folder = fake_run.make(tmp_path, classes=(evil, "<img src=x onerror=alert(1)>", "F2"), n=30)
    amend(folder, keys.CONFIG_FILE, name=evil)
    amend(folder, keys.AUDIT_FILE, warnings=[evil], left_out=[evil])
    amend(folder, keys.ENVIRONMENT_FILE, command=["python", evil], packages={evil: evil})
    figures.draw_all(folder)
    opened = visit(browser, page.write(folder))
    assert opened.page.title().startswith(evil)
    assert opened.page.locator("h1").inner_text() == evil
    assert opened.page.locator("script").count() == 0
    assert opened.complaints == []


def test_a_run_that_left_nothing_says_so(tmp_path: Path) -> None:
    text = page.write(tmp_path).read_text()
    for name in (
        "Metrics of the test set",
        "Audit of the data",
        "Confusion matrix",
        "Learning curves",
        "Environment",
    ):
        assert f"{name}: not recorded." in text


@pytest.mark.parametrize(
    "name",
    [
        keys.CONFIG_FILE,
        keys.AUDIT_FILE,
        keys.ENVIRONMENT_FILE,
        keys.METRICS_FILE,
        keys.HISTORY_FILE,
        keys.SPLIT_FILE,
        keys.PREDICTIONS_FILE,
    ],
)
def test_each_file_may_be_broken_or_missing(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b'{"broken\xff')
    assert page.write(folder).read_text().count(f"{name} is there but could not be read") == 1
    (folder / name).unlink()
    assert "could not be read" not in page.write(folder).read_text()


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a run's folder"):
        page.write(tmp_path / "nowhere")


def test_a_failed_audit_stands_first_and_grave(folder: Path) -> None:
    amend(folder, keys.AUDIT_FILE, verdict="fail", warnings=["12 groups cross partitions."])
    told = said(folder)
    assert next(iter(told)).startswith("The data failed its audit")
    assert told["12 groups cross partitions."] is False
    text = page.write(folder).read_text()
    assert 'class="findings grave"' in text
    assert text.index("12 groups cross partitions.") < text.index("Result on the test set")


@pytest.mark.parametrize("level", ["ok", "warning", "fail"])
def test_the_verdict_of_the_audit_stands_at_the_head(folder: Path, browser: Any, level: str) -> None:
    amend(folder, keys.AUDIT_FILE, verdict=level)
    (folder / keys.AUDIT_PAGE).touch()
    head = visit(browser, page.write(folder)).page.locator("header .audited")
    assert f"Audit of the data: {findings.VERDICTS[level].word}." in head.inner_text()
    assert head.locator("a").get_attribute("href") == keys.AUDIT_PAGE


def test_an_audit_page_that_is_not_there_is_not_linked(folder: Path) -> None:
    assert 'href="audit.html"' not in page.write(folder).read_text()


def test_failures_of_the_audit_are_grave_and_its_warnings_are_not(folder: Path) -> None:
    amend(folder, keys.AUDIT_FILE, **fake_audit.audit())
    told = said(folder)
    assert [grave for text, grave in told.items() if "test images leak" in text] == [True]
    assert [grave for text, grave in told.items() if "dealt out in slices" in text] == [False]


def test_the_headline_is_held_against_the_best_that_needs_no_network(folder: Path) -> None:
    found = fake_audit.audit()
    found["protocols"]["run"]["metadata"] = fake_audit.floor(0.41) | {"macro_auc": 0.71}
    amend(folder, keys.AUDIT_FILE, **found)
    record = runs.read(folder)
    assert record.metrics is not None
    accuracy, auc, kappa = tables.headline(record.metrics, record.floors)
    assert accuracy.floor_text == "63.6\u00a0% (nearest neighbour)"
    assert auc.floor_text == ".710 (metadata)"
    assert kappa.floor_text == ".000 (chance)"


def test_figures_of_the_audit_stay_on_its_own_page(folder: Path) -> None:
    figures.save(figures.partitions({"train": {"F0": 1}}), folder / keys.FIGURES / "audit_clusters.png")
    assert "Further figures" not in page.write(folder).read_text()


def test_a_leaky_split_is_told_even_without_an_audit(folder: Path) -> None:
    (folder / keys.AUDIT_FILE).unlink()
    amend(folder, keys.CONFIG_FILE, split={"name": "paper_random", "leaky": True, "val_is_test": True})
    assert sum(said(folder).values()) == 2


def test_guessing_is_told_not_to_beat_its_floor(tmp_path: Path) -> None:
    told = said(fake_run.make(tmp_path, n=60, skill=0.0))
    assert sum("does not rise surely above its floor" in text for text in told) == 3


def test_a_class_absent_from_the_test_is_told(folder: Path) -> None:
    table = pd.read_csv(folder / keys.PREDICTIONS_FILE, dtype=str)
    table[table[keys.Y_TRUE] != "2"].to_csv(folder / keys.PREDICTIONS_FILE, index=False)
    assert "The test set holds no sample of F2." in said(folder)


def test_a_figure_that_a_later_stage_adds_is_shown_and_a_broken_one_passed_over(folder: Path) -> None:
    figures.save(figures.partitions({"train": {"F0": 1}}), folder / keys.FIGURES / "grad_cam.png")
    (folder / keys.FIGURES / "broken.png").write_bytes(b"")
    text = page.write(folder).read_text()
    assert "<figcaption>Grad cam.</figcaption>" in text
    assert "Broken" not in text


def test_the_page_names_the_interval_that_was_asked_for(folder: Path) -> None:
    amend(folder, keys.CONFIG_FILE, bootstrap={"level": 0.9})
    text = page.write(folder).read_text()
    assert "90\u00a0% CI" in text
    assert "95\u00a0%" not in text
