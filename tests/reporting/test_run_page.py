import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import fake_audit
import fake_run
import fake_tables
import pandas as pd
import pytest
import yaml
from chromium import chromium, visit

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.reporting import numbers, run_page, run_sentences
from fibrolab.reporting.figures import run as figures
from fibrolab.reporting.figures.counts import partitions
from fibrolab.reporting.figures.style import save
from fibrolab.runs import trained_run as runs

CONTRAST = """() => {
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const behind = node => { for (; node; node = node.parentElement) {
    const colour = parts(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3); } return [255, 255, 255]; };
  return [...document.querySelectorAll("body *")]
    .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
    .map(node => { const ink = parts(getComputedStyle(node).color).slice(0, 3);
      const [a, b] = [light(ink), light(behind(node))];
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), node.tagName + "." + node.className]; })
    .sort((x, y) => x[0] - y[0])[0];
}"""
TASK = {
    "name": "stage",
    "classes": list(fake_run.CLASSES),
    "ordered": True,
    "endpoints": fake_tables.ENDPOINTS,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """A copy of the complete run that a test may damage."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run.make(tmp_path_factory.mktemp("run"))
    amend(folder, keys.CONFIG_FILE, task=TASK)
    fake_tables.write(folder, pd.read_csv(folder / keys.METRICS_FILE, index_col=0), fake_run.CLASSES)
    figures.draw_all(folder)
    run_page.write(folder)
    return folder


def amend(folder: Path, name: str, /, **changes: Any) -> None:
    """Change entries of a run's JSON or YAML file."""
    content = yaml.safe_load((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(content))  # JSON is YAML


def cautions_of(folder: Path) -> dict[str, bool]:
    return {caution.text: caution.grave for caution in run_sentences.cautions(runs.read(folder))}


def test_the_page_opens_in_a_browser_without_errors_or_requests(run: Path, browser: Any) -> None:
    opened = visit(browser, run / keys.REPORT_FILE)
    assert opened.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    assert sum(url.startswith("file:") for url in opened.requests) == 1  # the page itself
    widths = opened.page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) == len(list((run / keys.FIGURES).glob("*.png"))) > 6
    assert min(widths) > 0


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_headline_is_visible_and_nothing_overflows(run: Path, browser: Any, width: int) -> None:
    sheet = visit(browser, run / keys.REPORT_FILE, width).page
    assert sheet.evaluate("document.documentElement.scrollWidth") == width
    record = runs.read(run)
    assert record.metrics is not None
    for row in numbers.headline(record.metrics, record.baselines):
        for text in (row.value_text, row.interval_text, row.baseline_text):
            cell = sheet.locator(".headline td", has_text=text).first
            assert cell.is_visible()
            box = cell.bounding_box()
            assert box is not None
            assert 0 <= box["x"] < box["x"] + box["width"] <= width


def test_the_page_has_one_title_and_labels_every_picture_and_column(run: Path, browser: Any) -> None:
    sheet = visit(browser, run / keys.REPORT_FILE).page
    assert sheet.locator("h1").count() == 1
    assert sheet.locator("img:not([alt]), img[alt='']").count() == 0
    assert sheet.locator("th:not([scope])").count() == 0
    assert sheet.locator("table").count() == sheet.locator("table > caption").count() > 3


def test_headings_are_in_order_and_the_contents_link_to_every_section(run: Path, browser: Any) -> None:
    sheet = visit(browser, run / keys.REPORT_FILE).page
    levels = sheet.eval_on_selector_all("h1, h2, h3", "all => all.map(each => Number(each.tagName[1]))")
    assert all(after <= before + 1 for before, after in pairwise(levels))
    linked = sheet.eval_on_selector_all("nav a", "all => all.map(each => each.hash.slice(1))")
    assert linked == sheet.eval_on_selector_all("main h2", "all => all.map(each => each.id)")
    assert linked[:4] == ["findings", "result", "published", "endpoints"]
    assert sheet.locator("body > :first-child").get_attribute("href") == "#main"


def test_every_text_has_enough_contrast(run: Path, browser: Any) -> None:
    worst = visit(browser, run / keys.REPORT_FILE).page.evaluate(CONTRAST)
    assert worst[0] >= 4.5, worst


def test_folded_content_is_printed(run: Path, browser: Any) -> None:
    sheet = visit(browser, run / keys.REPORT_FILE, width=680).page
    hidden = sheet.locator("details table").first
    assert not hidden.is_visible()
    sheet.emulate_media(media="print")
    assert hidden.is_visible()
    assert hidden.bounding_box()["height"] > 50
    assert not sheet.locator("nav").is_visible()
    assert sheet.evaluate("document.documentElement.scrollWidth") == 680


def test_a_report_without_the_newer_tables_still_has_its_end_points(tmp_path: Path) -> None:
    folder = fake_run.make(tmp_path, n=60)
    text = run_page.write(folder).read_text()
    assert 'id="classes"' in text
    assert 'id="comparators"' not in text
    assert 'id="cohort"' not in text


def test_names_are_shown_as_text_and_never_executed(tmp_path: Path, browser: Any) -> None:
    evil = "<script>document.title='owned'</script>"
    folder = fake_run.make(tmp_path, classes=(evil, "<img src=x onerror=alert(1)>", "F2"), n=30)
    amend(folder, keys.CONFIG_FILE, name=evil)
    amend(folder, keys.AUDIT_FILE, warnings=[evil], left_out=[evil])
    amend(folder, keys.ENVIRONMENT_FILE, command=["python", evil], packages={evil: evil})
    fake_tables.mistakes((evil, "F4")).assign(patient_id=evil).to_csv(folder / "mistakes.csv")
    fake_tables.subgroups().assign(value=evil, note=evil).to_csv(folder / "subgroups.csv")
    fake_tables.cohort().assign(variable=evil, statistic=evil).to_csv(folder / "cohort.csv")
    figures.draw_all(folder)
    opened = visit(browser, run_page.write(folder))
    assert opened.page.title().startswith(evil)
    assert opened.page.locator("h1").inner_text() == evil
    assert opened.page.locator("script").count() == 0
    assert opened.complaints == []


def test_a_run_without_files_states_that_nothing_was_recorded(tmp_path: Path) -> None:
    text = run_page.write(tmp_path).read_text()
    for name in (
        "Metrics of the test set",
        "ROC curves",
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
def test_each_file_may_be_damaged_or_missing(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b'{"broken\xff')
    assert run_page.write(folder).read_text().count(f"{name} is there but could not be read") == 1
    (folder / name).unlink()
    assert "could not be read" not in run_page.write(folder).read_text()


def test_files_are_parsed_again_only_where_one_has_changed(folder: Path) -> None:
    read = runs.read(folder)
    assert runs.read(folder) is read
    amend(folder, keys.CONFIG_FILE, name="another")
    assert (read.setting("name"), runs.read(folder).setting("name")) == ("hybrid-kaggle_fibrosis", "another")
    (folder / keys.EXPLANATION).mkdir()
    (folder / keys.EXPLANATION_FINDINGS_FILE).write_text('[{"level": "fail", "sentence": "Heat."}]')
    assert run_sentences.Caution("Heat.", grave=True) in run_sentences.cautions(runs.read(folder))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a run's folder"):
        run_page.write(tmp_path / "nowhere")


def test_a_failed_audit_is_the_first_caution(folder: Path) -> None:
    amend(folder, keys.AUDIT_FILE, verdict="fail", warnings=["12 groups cross partitions."])
    texts = cautions_of(folder)
    assert next(iter(texts)).startswith("The data failed the audit")
    assert texts["12 groups cross partitions."] is False
    text = run_page.write(folder).read_text()
    assert 'class="findings grave"' in text
    assert text.index("12 groups cross partitions.") < text.index('<h2 id="result">')


@pytest.mark.parametrize("level", ["ok", "warning", "fail"])
def test_the_verdict_of_the_audit_is_in_the_header(folder: Path, browser: Any, level: str) -> None:
    amend(folder, keys.AUDIT_FILE, verdict=level)
    (folder / keys.AUDIT_PAGE).touch()
    head = visit(browser, run_page.write(folder)).page.locator("header .audited")
    assert f"Audit of the data: {run_sentences.VERDICT_TEXTS[level].word}." in head.inner_text()
    assert head.locator("a").get_attribute("href") == keys.AUDIT_PAGE


def test_the_header_tells_a_test_of_the_command_from_a_result(folder: Path, browser: Any) -> None:
    assert "not a result" not in run_page.write(folder).read_text()
    config = yaml.safe_load((folder / keys.CONFIG_FILE).read_text())
    config["trainer"]["fast_dev_run"] = True
    (folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    head = visit(browser, run_page.write(folder)).page.locator("header .audited").first
    assert head.inner_text().strip().endswith("A test of the command, not a result.")


def test_a_missing_audit_page_is_not_linked(folder: Path) -> None:
    assert 'href="audit.html"' not in run_page.write(folder).read_text()


def test_failures_of_the_audit_are_grave_and_its_warnings_are_not(folder: Path) -> None:
    amend(folder, keys.AUDIT_FILE, **fake_audit.audit())
    texts = cautions_of(folder)
    assert [grave for text, grave in texts.items() if "test images leak" in text] == [True]
    assert [grave for text, grave in texts.items() if "assigned in blocks" in text] == [False]


def test_the_headline_is_compared_with_the_highest_baseline(folder: Path) -> None:
    found = fake_audit.audit()
    found["protocols"]["run"]["metadata"] = fake_audit.baseline(0.41) | {"macro_auc": 0.71}
    amend(folder, keys.AUDIT_FILE, **found)
    record = runs.read(folder)
    assert record.metrics is not None
    accuracy, auc, kappa = numbers.headline(record.metrics, record.baselines)
    assert accuracy.baseline_text == "63.6\u00a0% (nearest neighbour)"
    assert auc.baseline_text == ".710 (metadata)"
    assert kappa.baseline_text == ".000 (chance)"


def test_figures_of_the_audit_are_only_on_its_own_page(folder: Path) -> None:
    save(partitions({"train": {"F0": 1}}), folder / keys.FIGURES / "audit_clusters.png")
    assert "Further figures" not in run_page.write(folder).read_text()


def test_a_leaky_split_has_a_caution_even_without_an_audit(folder: Path) -> None:
    (folder / keys.AUDIT_FILE).unlink()
    amend(folder, keys.CONFIG_FILE, split={"name": "paper_random", "leaky": True, "val_is_test": True})
    assert sum(cautions_of(folder).values()) == 2


def test_guessing_does_not_exceed_its_baseline(tmp_path: Path) -> None:
    texts = cautions_of(fake_run.make(tmp_path, n=60, skill=0.0))
    assert sum("is not clearly better than its baseline" in text for text in texts) == 3


def test_a_class_absent_from_the_test_is_named(folder: Path) -> None:
    table = pd.read_csv(folder / keys.PREDICTIONS_FILE, dtype=str)
    table[table[keys.Y_TRUE] != "2"].to_csv(folder / keys.PREDICTIONS_FILE, index=False)
    assert "The test set contains no sample of F2." in cautions_of(folder)


def test_an_additional_figure_is_shown_and_a_damaged_one_skipped(folder: Path) -> None:
    save(partitions({"train": {"F0": 1}}), folder / keys.FIGURES / "grad_cam.png")
    (folder / keys.FIGURES / "broken.png").write_bytes(b"")
    text = run_page.write(folder).read_text()
    assert "<figcaption>Grad cam.</figcaption>" in text
    assert "Broken" not in text


def test_the_page_names_the_level_of_the_intervals(folder: Path) -> None:
    amend(folder, keys.CONFIG_FILE, bootstrap={"level": 0.9})
    text = run_page.write(folder).read_text()
    assert "90\u00a0% CI" in text
    assert "95\u00a0%" not in text


def test_links_to_other_files_open_in_a_new_tab(run: Path, browser: Any) -> None:
    opened = browser.new_page()
    opened.evaluate(
        """text => {
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts";
            frame.src = URL.createObjectURL(new Blob([text], {type: "text/html"}));
            document.body.append(frame);
        }""",
        (run / keys.REPORT_FILE).read_text(),
    )
    frame = opened.frame_locator("iframe")
    frame.get_by_role("link", name="tables").click()
    opened.wait_for_timeout(300)
    assert frame.locator("h1").count() == 1
