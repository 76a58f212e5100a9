"""Checklists and model card: which items a run completes, and which it leaves to the authors."""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_run
import fake_tables
import pandas as pd
import pytest
import yaml
from chromium import chromium, visit

from fibrolab import keys
from fibrolab.reporting.checklists import documents, items
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run

RESIZED = "Elastograms are only resized."
LISTS = ("claim", "tripod_ai", "model_card")
SETTINGS = {
    "task": {"name": "stage", "classes": list(fake_run.CLASSES), "ordered": True, "endpoints": {"ge_F2": 2}},
    "model": {
        "name": "hybrid",
        "branches": {
            "a": {"name": "resnet50", "pretrained": True, "weights": None, "input": "image"},
            "b": {"name": "vgg16", "pretrained": False, "weights": None, "input": "elastogram"},
        },
    },
    "optimizer": {"name": "AdamW", "lr": 0.001, "weight_decay": 0.0},
    "augment": {
        "name": "light",
        "transforms": [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Affine", "rotate": [-5, 5]}],
    },
    "callbacks": {"early_stopping": {"patience": 10}},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    config = yaml.safe_load((folder / keys.CONFIG_FILE).read_text()) | SETTINGS
    (folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    fake_tables.write(folder, pd.read_csv(folder / keys.METRICS_FILE, index_col=0), fake_run.CLASSES)
    return folder


def items_of(name: str, run: Run) -> list[items.Item]:
    return [item for found in items.completed(name, run).sections.values() for item in found]


def changed_run(folder: Path, **settings: dict[str, Any]) -> Run:
    run = runs.read(folder)
    return replace(run, config=run.config | settings)


def claim_item(run: Run, number: str) -> items.Item:
    return next(each for each in items_of("claim", run) if each.number == number)


def test_the_lists_have_as_many_items_as_their_papers() -> None:
    empty = Run(Path())
    claim, tripod = ([each.number for each in items_of(name, empty)] for name in ("claim", "tripod_ai"))
    assert claim == [str(number) for number in range(1, 45)]
    rows = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    assert tripod == [f"{number}{row}" for number in range(1, 28) for row in rows.get(number, [""])]
    assert len(tripod) == 52


def test_every_function_completes_some_item() -> None:
    named = {
        name
        for document in LISTS
        for entries in items.content_of(document)["sections"].values()
        for entry in entries
        for name in items.functions_of(entry)
    }
    public = {
        name
        for module in items.MODULES
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert named == public


@pytest.mark.parametrize("name", LISTS)
def test_every_item_names_a_known_function_or_what_the_authors_add(name: str) -> None:
    for entries in items.content_of(name)["sections"].values():
        for entry in entries:
            assert set(entry) <= {"number", "item", "completed_by", "open", "else"}
            assert entry["item"]
            assert "completed_by" in entry or "open" in entry
            assert "completed_by" in entry or "else" not in entry
            assert all(callable(items.function(each)) for each in items.functions_of(entry))


@pytest.mark.parametrize("name", LISTS)
def test_a_run_without_files_completes_only_items_that_hold_for_all_runs(name: str, tmp_path: Path) -> None:
    known = [each for each in items_of(name, runs.read(tmp_path)) if each.text]
    assert {each.subject for each in known} <= {"Out-of-scope uses"}
    assert all(each.open for each in items_of(name, runs.read(tmp_path)))


@pytest.mark.parametrize("name", LISTS)
def test_a_complete_run_has_items_in_every_state(name: str, folder: Path) -> None:
    states = [each.state for each in items_of(name, runs.read(folder))]
    filled, partly, left = (states.count(state) for state in (items.FILLED, items.PARTLY, items.OPEN))
    assert min(filled, partly, left) > 1
    expected = f"{filled} of {len(states)} completed from the run, {partly} in part, {left} open"
    assert items.completed(name, runs.read(folder)).tally == expected


def test_texts_come_from_the_settings_of_the_run(folder: Path) -> None:
    run = runs.read(folder)
    assert (
        claim_item(run, "24").text == "Initial weights: a (resnet50): pretrained; b (vgg16): random. Seed 7."
    )
    assert claim_item(run, "10").text == "Input: image and elastogram. Images are used whole."
    assert claim_item(run, "12").text.endswith(
        "A sample without one of the inputs is predicted from the others."
    )
    assert claim_item(run, "22").text.startswith("Model hybrid: resnet50 on image and vgg16 on elastogram.")
    assert claim_item(run, "26").text == "Epoch with the lowest val/loss."
    assert (
        "Optimizer: AdamW (lr 0.001). Augmentation: HorizontalFlip (p 0.5), Affine (rotate -5 to 5)."
        in claim_item(run, "25").text
    )
    assert "Early stopping after 10 epochs" in claim_item(run, "25").text
    assert claim_item(run, "28").text.startswith("Accuracy, Macro AUC, Quadratic weighted kappa")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "resize to 64 x 64 px."),
        ({"equalize": "clahe"}, "CLAHE with clip limit 2.0, resize"),
        (
            {"denoise": 7.0, "crop": "borders"},
            "crop of burned-in borders, non-local means of strength 7, resize",
        ),
        ({"equalize": "both"}, "histogram equalisation, CLAHE with clip limit 2.0, resize"),
        (
            {"resize": "first", "equalize": "histogram", "crop": "borders"},
            "crop of burned-in borders, resize to 64 x 64 px, histogram equalisation.",
        ),
    ],
)
def test_only_active_steps_are_described(folder: Path, changed: dict[str, Any], expected: str) -> None:
    off = {
        "size": 64,
        "crop": "none",
        "denoise": 0.0,
        "denoise_template": 7,
        "equalize": "none",
        "clahe_clip": 2.0,
    }
    text = claim_item(changed_run(folder, preprocess=off | changed), "9").text
    steps = expected if expected.endswith(".") else f"{expected} to 64 x 64 px."
    assert text == f"Grey-scale images: {steps} {RESIZED}"


def test_simulated_patients_are_called_so(folder: Path) -> None:
    phantom = {"name": "phantom", "_target_": "fibrolab.phantom.source.load"}
    assert (
        "All data are simulated: no patient was examined."
        in claim_item(changed_run(folder, data=phantom), "7").text
    )
    assert "simulated" not in claim_item(runs.read(folder), "7").text


def test_a_test_on_other_data_is_external_and_never_the_training_data(folder: Path) -> None:
    run = changed_run(folder, split={"name": "external"}, data={"name": "elsewhere"})
    assert claim_item(run, "32").state == items.OPEN
    assert claim_item(run, "33").text == (
        "Data set elsewhere, which was not used for training: 60 samples of 20 groups in the test set."
    )
    assert claim_item(run, "33").state == items.FILLED
    assert claim_item(run, "20").text == "The test set is a different data set from the training data."
    assert claim_item(run, "19").text.startswith(
        "All samples are in the test set; the split of the training data"
    )
    data_set = next(each for each in items_of("model_card", run) if each.subject == "Data set")
    assert data_set.text.startswith(
        "The network was trained on 120 and validated on 60 samples of an earlier run."
    )
    assert "elsewhere" not in data_set.text


def test_copies_of_the_training_data_are_reported_where_sets_must_be_disjoint(folder: Path) -> None:
    finding = {"key": "external_copies", "level": "fail", "sentence": "12 % of the images have a copy."}
    run = changed_run(folder, split={"name": "external"})
    run.audit["findings"] = [finding, finding | {"key": "near_copies", "sentence": "Others."}]
    assert claim_item(run, "20").text.endswith("training data. 12 % of the images have a copy.")


def test_a_held_out_site_is_an_external_test_set(folder: Path) -> None:
    run = changed_run(folder, split={"name": "by_site", "site": "south"})
    assert claim_item(run, "33").text.startswith(
        "Site south of kaggle_fibrosis, held out of training: 60 samples"
    )
    assert claim_item(run, "32").state == items.OPEN
    each = changed_run(folder, split={"name": "leave_one_site_out", "folds": 2})
    assert claim_item(each, "33").text.startswith("Sites of kaggle_fibrosis, each held out of the training")
    assert claim_item(each, "32").state == items.OPEN
    within = runs.read(folder)
    assert claim_item(within, "32").text.startswith("Test set of kaggle_fibrosis: 60 samples")
    assert (claim_item(within, "33").text, claim_item(within, "33").state) == ("", items.OPEN)


def test_clusters_are_sites_and_scanners_and_fairness_is_about_people(folder: Path) -> None:
    run = runs.read(folder)
    found = {each.number: each.text for each in items_of("tripod_ai", run)}
    assert found["12d"] == "Measured by site, with intervals: see Subgroups."
    assert found["23b"].startswith("Accuracy by subgroup from 70.0 %")
    assert found["14"].startswith("Measured by sex and age [years], with intervals: see Subgroups. Accuracy")
    people = run.tables["subgroups"][run.tables["subgroups"]["variable"] != "site"]
    alone = replace(run, tables={**run.tables, "subgroups": people})
    assert {each.number for each in items_of("tripod_ai", alone) if not each.text} >= {"12d", "23b"}


def test_differences_of_training_and_test_are_named_with_their_p(folder: Path) -> None:
    run = runs.read(folder)
    cohort = run.tables["cohort"]
    cohort.loc[cohort["variable"] == "sex", "p"] = 0.0004
    cohort.loc[cohort["variable"] == "age_years", "p"] = 0.021
    found = {each.number: each.text for each in items_of("tripod_ai", run)}
    assert found["16"] == (
        "Of 2 variables compared between training and test, these differ at p < .05 (not corrected): "
        "Age [years] (p = .02), Sex (p < .001); see Cohort."
    )
    assert "p values are not corrected for multiple tests" in claim_item(run, "29").text


def test_groups_in_several_partitions_are_counted_in_the_split(folder: Path) -> None:
    run = runs.read(folder)
    assert (
        claim_item(run, "20").text == "Clusters of copies (patients are not known) in several partitions: 0."
    )
    assert run.split is not None
    run.split.loc[run.split.index[0], keys.GROUP_ID] = run.split[keys.GROUP_ID].iloc[-1]
    assert claim_item(run, "20").text.endswith("in several partitions: 1.")


def test_no_ethics_funding_or_availability_is_ever_filled_in(folder: Path) -> None:
    run = runs.read(folder)
    people = {"5", "6", "15", "16", "17", "18", "33", "34", "41", "43", "44"}
    assert {each.number for each in items_of("claim", run) if not each.text} >= people
    left = {each.number for each in items_of("tripod_ai", run) if each.state == items.OPEN}
    assert left >= {"3c", "8b", "8c", "17", "18a", "18b", "18c", "18d", "18e", "19", "27a", "27c"}


def test_the_card_has_the_sections_of_its_paper_and_names_open_items(folder: Path) -> None:
    text = documents.write_model_card(folder).read_text()
    headings = [row.removeprefix("## ") for row in text.splitlines() if row.startswith("## ")]
    assert headings[:3] == ["Model details", "Intended use", "Factors"]
    assert len(headings) == 9
    assert "Decisions about patients: this is research software, not a medical device." in text
    assert text.count(items.TO_COMPLETE) > 5


def test_markup_and_html_in_names_stay_text(folder: Path, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)> [a](javascript:b) *c* `d`"
    config = {"name": evil, "data": {"name": evil}, "task": {"classes": [evil, "b"]}}
    (tmp_path / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    text = documents.write_model_card(tmp_path).read_text()
    assert r"&lt;img src=x onerror=alert\(1\)&gt; \[a\]\(javascript:b\) \*c\* \`d\`" in text
    assert "<img" not in text
    assert "<img" not in documents.write_checklist(tmp_path).read_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_checklists_open_in_a_browser_without_errors(folder: Path, browser: Any, width: int) -> None:
    opened = visit(browser, documents.write_checklist(folder), width)
    assert opened.complaints == []
    assert len(opened.requests) == 1 + sum(url.startswith("data:") for url in opened.requests)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    assert opened.page.locator("dt").count() == 44 + 52
    assert "in part" in opened.page.locator("nav").inner_text()
    assert opened.page.locator(f"a[href='{keys.REPORT_FILE}']").count() == 1
