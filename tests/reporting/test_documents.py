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
from fibrolab.reporting.checklists import answers, documents
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


def told(name: str, run: Run) -> list[answers.Answer]:
    return [answer for found in answers.answered(name, run).sections.values() for answer in found]


def changed_run(folder: Path, **settings: dict[str, Any]) -> Run:
    run = runs.read(folder)
    return replace(run, config=run.config | settings)


def answer(run: Run, number: str) -> answers.Answer:
    return next(each for each in told("claim", run) if each.number == number)


def test_the_lists_have_as_many_items_as_their_papers() -> None:
    empty = Run(Path())
    claim, tripod = ([each.number for each in told(name, empty)] for name in ("claim", "tripod_ai"))
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


def test_every_function_answers_some_item() -> None:
    named = {
        name
        for sheet in LISTS
        for items in answers.questions(sheet)["sections"].values()
        for item in items
        for name in answers.named(item)
    }
    public = {
        name
        for home in answers.MODULES
        for name, value in vars(home).items()
        if inspect.isfunction(value) and value.__module__ == home.__name__ and not name.startswith("_")
    }
    assert named == public


@pytest.mark.parametrize("name", LISTS)
def test_every_item_asks_and_names_a_known_function_or_what_a_person_adds(name: str) -> None:
    for items in answers.questions(name)["sections"].values():
        for item in items:
            assert set(item) <= {"number", "item", "answer", "open", "else"}
            assert item["item"]
            assert "answer" in item or "open" in item
            assert "answer" in item or "else" not in item
            assert all(callable(answers.function(each)) for each in answers.named(item))


@pytest.mark.parametrize("name", LISTS)
def test_a_run_that_left_nothing_answers_nothing_but_what_holds_for_all(name: str, tmp_path: Path) -> None:
    known = [each for each in told(name, runs.read(tmp_path)) if each.text]
    assert {each.item for each in known} <= {"Out-of-scope uses"}
    assert all(each.open for each in told(name, runs.read(tmp_path)))


@pytest.mark.parametrize("name", LISTS)
def test_a_whole_run_answers_what_it_knows_and_leaves_people_their_part(name: str, folder: Path) -> None:
    states = [each.state for each in told(name, runs.read(folder))]
    filled, partly, left = (states.count(state) for state in (answers.FILLED, answers.PARTLY, answers.OPEN))
    assert min(filled, partly, left) > 1
    expected = f"{filled} of {len(states)} completed from the run, {partly} in part, {left} open"
    assert answers.answered(name, runs.read(folder)).tally == expected


def test_answers_come_from_the_settings_of_the_run(folder: Path) -> None:
    run = runs.read(folder)
    assert answer(run, "24").text == "Initial weights: a (resnet50): pretrained; b (vgg16): random. Seed 7."
    assert answer(run, "10").text == "Input: image and elastogram. Images are used whole."
    assert answer(run, "12").text.endswith("A sample without one of the inputs is predicted from the others.")
    assert answer(run, "22").text.startswith("Model hybrid: resnet50 on image and vgg16 on elastogram.")
    assert answer(run, "26").text == "Epoch with the lowest val/loss."
    assert (
        "Optimizer: AdamW (lr 0.001). Augmentation: HorizontalFlip (p 0.5), Affine (rotate -5 to 5)."
        in answer(run, "25").text
    )
    assert "Early stopping after 10 epochs" in answer(run, "25").text
    assert answer(run, "28").text.startswith("Accuracy, Macro AUC, Quadratic weighted kappa")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "resize to 64 x 64 px."),
        ({"equalize": "clahe"}, "CLAHE with clip limit 2.0, resize"),
        (
            {"denoise": 7.0, "crop": "borders"},
            "crop of burned-in borders, non-local means of strength 7, resize",
        ),
        ({"equalize": "both"}, "histogram equalisation, CLAHE with clip limit 2.0, resize"),
    ],
)
def test_only_steps_that_were_switched_on_are_told(folder: Path, changed: dict[str, Any], told: str) -> None:
    off = {
        "size": 64,
        "crop": "none",
        "denoise": 0.0,
        "denoise_template": 7,
        "equalize": "none",
        "clahe_clip": 2.0,
    }
    text = answer(changed_run(folder, preprocess=off | changed), "9").text
    assert text == f"Grey-scale images: {told if told.endswith('.') else f'{told} to 64 x 64 px.'} {RESIZED}"


def test_simulated_patients_are_called_so(folder: Path) -> None:
    phantom = {"name": "phantom", "_target_": "fibrolab.phantom.source.load"}
    assert (
        "All data are simulated: no patient was examined."
        in answer(changed_run(folder, data=phantom), "7").text
    )
    assert "simulated" not in answer(runs.read(folder), "7").text


def test_a_test_on_other_data_is_external_and_never_the_training_data(folder: Path) -> None:
    run = changed_run(folder, split={"name": "external"}, data={"name": "elsewhere"})
    assert answer(run, "32").state == answers.OPEN
    assert answer(run, "33").text == (
        "Data set elsewhere, which was not used for training: 60 samples of 20 groups in the test set."
    )
    assert answer(run, "33").state == answers.FILLED
    assert answer(run, "20").text == "The test set is a different data set from the training data."
    assert answer(run, "19").text.startswith(
        "All samples are in the test set; the split of the training data"
    )
    learnt = next(each for each in told("model_card", run) if each.item == "Data set")
    assert learnt.text.startswith(
        "The network was trained on 120 and validated on 60 samples of an earlier run."
    )
    assert "elsewhere" not in learnt.text


def test_copies_of_the_training_data_are_reported_where_sets_must_be_disjoint(folder: Path) -> None:
    finding = {"key": "external_copies", "level": "fail", "sentence": "12 % of the images have a copy."}
    run = changed_run(folder, split={"name": "external"})
    run.audit["findings"] = [finding, finding | {"key": "near_copies", "sentence": "Others."}]
    assert answer(run, "20").text.endswith("training data. 12 % of the images have a copy.")


def test_a_site_that_was_held_out_is_of_other_origin(folder: Path) -> None:
    run = changed_run(folder, split={"name": "by_site", "site": "south"})
    assert answer(run, "33").text.startswith(
        "Site south of kaggle_fibrosis, held out of training: 60 samples"
    )
    assert answer(run, "32").state == answers.OPEN
    within = runs.read(folder)
    assert answer(within, "32").text.startswith("Test set of kaggle_fibrosis: 60 samples")
    assert (answer(within, "33").text, answer(within, "33").state) == ("", answers.OPEN)


def test_clusters_are_sites_and_scanners_and_fairness_is_about_people(folder: Path) -> None:
    run = runs.read(folder)
    found = {each.number: each.text for each in told("tripod_ai", run)}
    assert found["12d"] == "Measured by site, with intervals: see Subgroups."
    assert found["23b"].startswith("Accuracy by subgroup from 70.0 %")
    assert found["14"].startswith("Measured by sex and age [years], with intervals: see Subgroups. Accuracy")
    people = run.tables["subgroups"][run.tables["subgroups"]["variable"] != "site"]
    alone = replace(run, tables={**run.tables, "subgroups": people})
    assert {each.number for each in told("tripod_ai", alone) if not each.text} >= {"12d", "23b"}


def test_differences_of_training_and_test_are_named_with_their_p(folder: Path) -> None:
    run = runs.read(folder)
    cohort = run.tables["cohort"]
    cohort.loc[cohort["variable"] == "sex", "p"] = 0.0004
    cohort.loc[cohort["variable"] == "age_years", "p"] = 0.021
    found = {each.number: each.text for each in told("tripod_ai", run)}
    assert found["16"] == (
        "Of 2 variables compared between training and test, these differ at p < .05 (not corrected): "
        "Age [years] (p = .02), Sex (p < .001); see Cohort."
    )
    assert "p values are not corrected for multiple tests" in answer(run, "29").text


def test_groups_that_cross_the_parts_are_counted_in_the_split_itself(folder: Path) -> None:
    run = runs.read(folder)
    assert answer(run, "20").text == "Clusters of copies (patients are not known) in several partitions: 0."
    assert run.split is not None
    run.split.loc[run.split.index[0], keys.GROUP_ID] = run.split[keys.GROUP_ID].iloc[-1]
    assert answer(run, "20").text.endswith("in several partitions: 1.")


def test_no_ethics_funding_or_availability_is_ever_filled_in(folder: Path) -> None:
    run = runs.read(folder)
    people = {"5", "6", "15", "16", "17", "18", "33", "34", "41", "43", "44"}
    assert {each.number for each in told("claim", run) if not each.text} >= people
    left = {each.number for each in told("tripod_ai", run) if each.state == answers.OPEN}
    assert left >= {"3c", "8b", "8c", "17", "18a", "18b", "18c", "18d", "18e", "19", "27a", "27c"}


def test_the_card_has_the_sections_of_its_paper_and_says_what_is_open(folder: Path) -> None:
    text = documents.write_model_card(folder).read_text()
    headings = [row.removeprefix("## ") for row in text.splitlines() if row.startswith("## ")]
    assert headings[:3] == ["Model details", "Intended use", "Factors"]
    assert len(headings) == 9
    assert "Decisions about patients: this is research software, not a medical device." in text
    assert text.count(answers.UNANSWERED) > 5


def test_markup_and_html_in_names_stay_text(folder: Path, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)> [a](javascript:b) *c* `d`"
    config = {"name": evil, "data": {"name": evil}, "task": {"classes": [evil, "b"]}}
    (tmp_path / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    text = documents.write_model_card(tmp_path).read_text()
    assert r"&lt;img src=x onerror=alert\(1\)&gt; \[a\]\(javascript:b\) \*c\* \`d\`" in text
    assert "<img" not in text
    assert "<img" not in documents.write_checklist(tmp_path).read_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_checklists_open_in_a_browser_without_complaint(folder: Path, browser: Any, width: int) -> None:
    opened = visit(browser, documents.write_checklist(folder), width)
    assert opened.complaints == []
    assert len(opened.requests) == 1 + sum(url.startswith("data:") for url in opened.requests)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    assert opened.page.locator("dt").count() == 44 + 52
    assert "in part" in opened.page.locator("nav").inner_text()
    assert opened.page.locator(f"a[href='{keys.REPORT_FILE}']").count() == 1
