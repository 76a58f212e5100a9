"""The page of an explanation and its section of the report: verdicts, cautions, filter, missing parts."""

import json
import re
import shutil
from pathlib import Path

import fake_explanation
import fake_run
import pandas as pd
import pytest
from chromium import chromium, visit
from drawn import unrendered

from fibrolab import keys
from fibrolab.analyses import explanation_pictures
from fibrolab.analyses.explanation_pictures import Subject
from fibrolab.errors import DataError
from fibrolab.reporting import explanation_page, explanation_record, run_page, run_sentences
from fibrolab.runs import trained_run as runs

CLASSES = ("F0", "F1<i>", "F2")
SAMPLES = 12


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with maps of three methods, two of them tested; one class has a name that looks like markup."""
    folder = fake_run.make(tmp_path_factory.mktemp("run"), CLASSES, n=30)
    rows = fake_explanation.table(SAMPLES, CLASSES)
    spots = fake_explanation.spots(SAMPLES)
    methods = ("gradcam", "integrated_gradients", "occlusion")
    fake_explanation.write(folder, {(method, "image"): spots for method in methods}, rows)
    fake_explanation.tested(folder)
    source = fake_explanation.stills(folder, rows)
    with unrendered():
        explanation_pictures.write(folder, {"image": source}, Subject("a run", CLASSES))
    return folder


@pytest.fixture
def run(explained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to change."""
    return shutil.copytree(explained, tmp_path / "run")


def page(folder: Path) -> str:
    return (folder / keys.EXPLANATION_PAGE).read_text()


def test_each_method_has_its_verdict_and_failures_are_not_hidden(explained: Path) -> None:
    record = explanation_record.read(explained / keys.EXPLANATION)
    found = {each.label: each for each in record.sets}
    assert list(found) == ["Grad-CAM", "Integrated gradients", "Occlusion"]
    levels = {}
    for verdict in explanation_page.verdicts(runs.read(explained), record):
        levels[re.split(" of |:", verdict.text)[0]] = verdict.level
        assert verdict.text in page(explained)
    assert levels == {"Grad-CAM": "ok", "Integrated gradients": "warning", "Occlusion": "fail"}
    assert "Occlusion: fails randomised weights (its maps survive random weights)." in page(explained)


def test_findings_on_maps_stand_among_the_cautions_of_page_and_report(explained: Path) -> None:
    sentence = "38\u00a0% of the heat lies outside the sector."
    assert sentence in [caution.text for caution in run_sentences.cautions(runs.read(explained))]
    for text in (page(explained), (explained / keys.REPORT_FILE).read_text()):
        cautions = text.partition('class="findings')[2].partition("</aside>")[0]
        assert sentence in cautions
        assert "lies on the border" not in text, "a note is no caution"


def test_the_report_has_the_panels_and_leads_to_the_page(explained: Path) -> None:
    report = (explained / keys.REPORT_FILE).read_text()
    section = report.partition('<h2 id="explanation">')[2].partition("</section>")[0]
    assert section.count("<figure") == 2  # panels and mean maps of the first method
    assert f'href="{keys.EXPLANATION_PAGE}"' in section
    assert "Tests of gradcam, image" in section


def test_a_report_without_an_explanation_has_no_such_section(run: Path) -> None:
    shutil.rmtree(run / keys.EXPLANATION)
    assert 'id="explanation"' not in run_page.write(run).read_text()


def test_a_damaged_finding_is_named_in_the_report(run: Path) -> None:
    (run / keys.EXPLANATION_FINDINGS_FILE).write_text('{"sentence": 1}')
    assert "explanation/findings.json is there but could not be read" in run_page.write(run).read_text()


def test_maps_without_tests_are_said_to_be_untested(run: Path) -> None:
    (run / keys.EXPLANATION / "tests.csv").unlink()
    text = explanation_page.write(run).read_text()
    assert text.count("not tested, so that it is not known") == 3
    assert "Tests of the maps" not in text


@pytest.mark.parametrize("content", [None, "", "[]", json.dumps({"name": "a", "sets": [], "chosen": {}})])
def test_a_missing_or_damaged_record_is_refused(run: Path, content: str | None) -> None:
    path = run / keys.EXPLANATION / explanation_record.FILE
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match="explain the run again"):
        explanation_page.write(run)


def test_samples_without_a_true_class_have_no_outcome(run: Path) -> None:
    path = run / keys.EXPLANATION / "maps.csv"
    pd.read_csv(path).assign(**{keys.Y_TRUE: keys.UNLABELLED}).to_csv(path, index=False)
    gallery = explanation_page.write(run).read_text().partition('class="samples"')[2]
    assert "predicted F0" in gallery
    assert "true F" not in gallery
    assert 'class="sample stage-1"' in gallery


@pytest.mark.slow  # starts a browser
def test_the_filter_shows_the_chosen_stage_outcome_and_map_without_network_or_scripts(
    explained: Path,
) -> None:
    with chromium() as browser:
        opened = visit(browser, explained / keys.EXPLANATION_PAGE)
        assert opened.complaints == []
        assert all(request.startswith(("file:", "data:")) for request in opened.requests)
        shown = opened.page.locator(".sample:visible")
        assert shown.count() == SAMPLES
        assert opened.page.locator(".sample:visible .map:visible").count() == SAMPLES
        opened.page.check("#stage-1")
        assert shown.count() == 4
        assert all("true F1<i>" in text for text in shown.all_inner_texts())
        opened.page.check("#map-2")
        assert opened.page.locator(".sample:visible .map-2:visible").count() == 4
        assert opened.page.locator(".sample:visible .map-0:visible").count() == 0
        opened.page.check("#stage-all")
        opened.page.check("#outcome-wrong")
        assert shown.count() == 4
        assert all("wrong" in text for text in shown.all_inner_texts())
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 1280
