from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_run
import fake_tables
import pandas as pd
import pytest
import yaml
from chromium import chromium, visit

from fibrolab import keys
from fibrolab.reporting import answers, checklist, model_card
from fibrolab.reporting import run as runs
from fibrolab.reporting.run import Run

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
    "augment": {"name": "light", "transforms": [{"name": "HorizontalFlip", "p": 0.5}]},
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


def answer(run: Run, number: str) -> answers.Answer:
    return next(each for each in told("claim", run) if each.number == number)


def test_the_lists_have_as_many_items_as_their_papers() -> None:
    empty = Run(Path())
    claim, tripod = ([each.number for each in told(name, empty)] for name in ("claim", "tripod_ai"))
    assert claim == [str(number) for number in range(1, 45)]
    assert len(tripod) == len(set(tripod)) == 52
    assert list(dict.fromkeys(number.rstrip("abcdefg") for number in tripod)) == [
        str(n) for n in range(1, 28)
    ]


@pytest.mark.parametrize("name", LISTS)
def test_every_item_asks_and_names_a_known_function_or_what_a_person_adds(name: str) -> None:
    for items in answers.questions(name)["sections"].values():
        for item in items:
            assert set(item) <= {"number", "asks", "answer", "open"}
            assert item["asks"]
            assert "answer" in item or "open" in item
            if "answer" in item:
                assert callable(answers.function(item["answer"]))


@pytest.mark.parametrize("name", LISTS)
def test_a_run_that_left_nothing_answers_nothing_but_what_holds_for_all(name: str, tmp_path: Path) -> None:
    known = [each for each in told(name, runs.read(tmp_path)) if each.text]
    assert {each.asks for each in known} <= {"What it is not for"}
    assert all(each.open for each in told(name, runs.read(tmp_path)))


@pytest.mark.parametrize("name", LISTS)
def test_a_whole_run_answers_what_it_knows_and_leaves_people_their_part(name: str, folder: Path) -> None:
    states = [each.state for each in told(name, runs.read(folder))]
    filled, partly, left = (states.count(state) for state in (answers.FILLED, answers.PARTLY, answers.OPEN))
    assert min(filled, partly, left) > 1
    expected = f"{filled} of {len(states)} filled from the run, {partly} in part, {left} open"
    assert answers.answered(name, runs.read(folder)).tally == expected


def test_answers_come_from_the_settings_of_the_run(folder: Path) -> None:
    run = runs.read(folder)
    assert answer(run, "24").text == "Started from: a (resnet50): pretrained; b (vgg16): random. Seed 7."
    assert answer(run, "10").text == "Input: image and elastogram."
    assert answer(run, "26").text == "The epoch with the lowest val/loss."
    assert "Optimizer: AdamW (lr 0.001). Augmentation: HorizontalFlip." in answer(run, "25").text
    assert "Early stopping after 10 epochs" in answer(run, "25").text
    assert answer(run, "28").text.startswith("Accuracy, Macro AUC, Quadratic weighted kappa")


def test_groups_that_cross_the_parts_are_counted_in_the_split_itself(folder: Path) -> None:
    run = runs.read(folder)
    assert answer(run, "20").text == "Clusters of copies (patients are not known) in several parts: 0."
    assert run.split is not None
    run.split.loc[run.split.index[0], keys.GROUP_ID] = run.split[keys.GROUP_ID].iloc[-1]
    assert answer(run, "20").text.endswith("in several parts: 1.")


def test_no_ethics_funding_or_availability_is_ever_filled_in(folder: Path) -> None:
    run = runs.read(folder)
    people = {"5", "6", "12", "15", "16", "17", "18", "33", "34", "41", "43", "44"}
    assert {each.number for each in told("claim", run) if not each.text} >= people
    left = {each.number for each in told("tripod_ai", run) if each.state == answers.OPEN}
    assert left >= {"3c", "8b", "8c", "11", "14", "17", "18a", "18b", "18c", "18d", "18e", "19", "27a", "27c"}


def test_the_card_has_the_sections_of_its_paper_and_says_what_is_open(folder: Path) -> None:
    text = model_card.write(folder).read_text()
    headings = [row.removeprefix("## ") for row in text.splitlines() if row.startswith("## ")]
    assert headings[:3] == ["Model details", "Intended use", "Factors"]
    assert len(headings) == 9
    assert "Decisions on patients: research software, not a medical device." in text
    assert text.count(answers.UNANSWERED) > 5


def test_markup_and_html_in_names_stay_text(folder: Path, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)> [a](javascript:b) *c* `d`"
    config = {"name": evil, "data": {"name": evil}, "task": {"classes": [evil, "b"]}}
    (tmp_path / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    text = model_card.write(tmp_path).read_text()
    assert r"&lt;img src=x onerror=alert\(1\)&gt; \[a\]\(javascript:b\) \*c\* \`d\`" in text
    assert "<img" not in text
    assert "<img" not in checklist.write(tmp_path).read_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_checklists_open_in_a_browser_without_complaint(folder: Path, browser: Any, width: int) -> None:
    opened = visit(browser, checklist.write(folder), width)
    assert opened.complaints == []
    assert len(opened.requests) == 1 + sum(url.startswith("data:") for url in opened.requests)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    assert opened.page.locator("dt").count() == 44 + 52
    assert "in part" in opened.page.locator("nav").inner_text()
    assert opened.page.locator(f"a[href='{keys.REPORT_FILE}']").count() == 1
