"""The page of a study: any number of trials, several goals, what is chosen, and damaged tables."""

import json
import re
from dataclasses import replace
from pathlib import Path

import fake_study
import numpy as np
import pandas as pd
import pytest
from chromium import chromium, visit
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.errors import DataError
from fibrolab.reporting import tuning_page, tuning_record
from fibrolab.reporting.figures import tuning as figures
from fibrolab.reporting.tables import tuning as sheets

LOSS = {"val/loss": "min"}
GOALS = LOSS | {"latency": "min", "val/accuracy": "max"}


def read(folder: Path, number: int, goals: int = 1) -> tuning_record.Study:
    named = dict(list(GOALS.items())[:goals])
    return tuning_record.read(fake_study.make(folder, number, goals), "tuned", named)


def change(folder: Path, name: str, **columns: object) -> None:
    pd.read_csv(folder / name).assign(**columns).to_csv(folder / name, index=False)


@pytest.mark.parametrize("number", [1, 2, 40])
def test_the_figures_that_the_trials_allow_are_drawn(tmp_path: Path, number: int) -> None:
    study = read(tmp_path, number)
    drawn = dict(figures.drawn(study))
    assert {"history", "curves", "cost"} <= set(drawn)
    assert ("importances" in drawn) == (number == 40)
    assert ("slices" in drawn) == ("parallel" in drawn) == (number > 1)
    assert "pareto" not in drawn


@pytest.mark.parametrize("goals", [2, 3])
def test_several_goals_have_a_front_and_no_chosen_trial(tmp_path: Path, goals: int) -> None:
    study = read(tmp_path, 30, goals)
    drawn = dict(figures.drawn(study))
    assert len(drawn["pareto"].axes) == (1 if goals == 2 else 3)
    assert study.chosen is None
    text = " ".join(tuning_record.sentences(study))
    assert f"{int(study.front.sum())} trials that no other trial exceeds in validation loss" in text
    assert "one goal only" in tuning_record.without_importances(study)


@given(values=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
@settings(max_examples=60)
def test_the_front_holds_the_trials_that_none_exceeds(values: list[tuple[int, int]]) -> None:
    first, second = zip(*values, strict=True)
    trials = pd.DataFrame(
        {"number": range(len(values)), "state": "finished", "value_0": first, "value_1": second}
    )
    study = tuning_record.Study("s", {"a": "min", "b": "max"}, trials, pd.DataFrame(), pd.DataFrame())
    for own, is_front in zip(values, study.front, strict=True):
        better = [each for each in values if each[0] <= own[0] and each[1] >= own[1] and each != own]
        assert is_front == (not better)


def test_the_best_trial_is_chosen_by_the_better_end(tmp_path: Path) -> None:
    lowest = read(tmp_path, 40)
    values = lowest.finished.set_index("number")["value_0"]
    assert lowest.chosen == values.idxmin()
    highest = tuning_record.read(tmp_path, "tuned", {"val/qwk": "max"})
    assert highest.chosen == values.idxmax()
    first = [sheet.lines[0].cells[0].text for sheet in map(sheets.best, (lowest, highest))]
    assert first == [str(lowest.chosen), str(highest.chosen)]


def test_the_sentences_name_the_choice_its_optimism_and_what_the_trials_saw(tmp_path: Path) -> None:
    study = read(tmp_path, 40)
    choice, optimism, seen = tuning_record.sentences(study)
    assert (
        choice
        == f"Trial {study.chosen} was chosen: it has the best validation loss, 0.5542, of 25 finished trials."
    )
    assert optimism == (
        f"A loss is corrected as log loss. Log loss of trial {study.chosen} is 0.55. It is the best of 25 "
        "trials by the same validation samples; corrected for this choice, 0.61 [0.51, 0.73] is expected of "
        "other patients (60 independent units)."
    )
    assert "not in the ledger of test sets" in seen


def test_a_trial_that_log_loss_prefers_to_the_chosen_one_is_named(tmp_path: Path) -> None:
    study = read(tmp_path, 40)
    other = study.finished["number"].iloc[0]
    study = replace(study, optimism=dict(study.optimism or {}) | {"best": 0}, chosen=study.chosen)
    assert other != study.chosen
    text = tuning_record.sentences(study)[1]
    assert text.startswith(
        f"A loss is corrected as log loss, by which trial {other} is the best, not the chosen trial "
        f"{study.chosen}. Log loss of trial {other} is 0.55. It is the best of 25 trials"
    )
    text = tuning_record.sentences(replace(study, goals={"val/qwk": "max"}))[1]
    assert f"all folds together, by which trial {other} is the best, not the chosen" in text


@pytest.mark.parametrize(("goals", "why"), [(1, "it is; this"), (2, "it is; with several goals this")])
def test_an_optimism_that_was_not_estimated_is_said(tmp_path: Path, goals: int, why: str) -> None:
    study = replace(read(tmp_path, 40, goals), optimism=None)
    assert f"{why} optimism was not estimated." in tuning_record.sentences(study)[1]


def test_an_optimism_that_few_groups_do_not_allow_is_said(tmp_path: Path) -> None:
    fake_study.make(tmp_path, 40)
    known = json.loads((tmp_path / "optimism.json").read_text())
    (tmp_path / "optimism.json").write_text(
        json.dumps(known | dict.fromkeys(("corrected", "low", "high"), np.nan))
    )
    text = tuning_record.sentences(tuning_record.read(tmp_path, "tuned", LOSS))[1]
    assert text.endswith("samples; with so few groups it cannot be corrected for this choice.")


def test_a_study_without_a_finished_trial_has_a_page(tmp_path: Path) -> None:
    fake_study.make(tmp_path, 3)
    change(tmp_path, "trials.csv", state="failed", value=np.nan)
    page = tuning_page.write(tmp_path, "tuned", LOSS).read_text()
    assert "No trial has finished" in page
    assert "3 trials: 3 failed" in page


def test_short_names_of_parameters_are_used_where_they_are_unique(tmp_path: Path) -> None:
    study = read(tmp_path, 40)
    assert study.label("optimizer.lr") == "lr"
    assert study.label("backbone@model.branches.image") == "backbone"
    two = pd.DataFrame({"param/a.lr": [1.0], "param/b.lr": [1.0]})
    both = tuning_record.Study("s", LOSS, two, pd.DataFrame(), pd.DataFrame())
    assert both.label("a.lr") == "a.lr"


def test_parameters_drawn_on_a_log_scale_are_shown_on_one(tmp_path: Path) -> None:
    drawn = ("optimizer.lr", "optimizer.weight_decay")
    study = tuning_record.read(fake_study.make(tmp_path, 40), "tuned", LOSS, logarithmic=drawn)
    scales = {axes.get_xlabel(): axes.get_xscale() for axes in figures.slices(study).axes}
    assert (scales["lr"], scales["weight_decay"], scales["dropout"]) == ("log", "log", "linear")


@pytest.mark.parametrize("fault", ["missing", "no state", "torn"])
def test_missing_and_damaged_tables_are_refused(tmp_path: Path, fault: str) -> None:
    path = fake_study.make(tmp_path, 3) / "trials.csv"
    if fault == "missing":
        path.unlink()
    elif fault == "no state":
        pd.read_csv(path).drop(columns="state").to_csv(path, index=False)
    else:
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match=f"The tables of the study in {re.escape(str(tmp_path))} cannot be read"
    ):
        tuning_page.write(tmp_path, "tuned", LOSS)


def test_names_that_look_like_markup_are_shown(tmp_path: Path) -> None:
    fake_study.make(tmp_path, 5)
    change(tmp_path, "trials.csv", **{"param/model.<b>$x$": ["<i>", "$a", "b_c", "d", "e"]})
    page = tuning_page.write(tmp_path, "<script>alert(1)</script>", LOSS).read_text()
    assert "<script>alert" not in page
    assert "&lt;i&gt;" in page


def test_the_page_of_a_thousand_trials_opens_without_network_and_scripts(tmp_path: Path) -> None:
    fake_study.make(tmp_path, 1000)
    page = tuning_page.write(
        tmp_path, "tuned", LOSS, command="python -m fibrolab.train -m", experiment="experiment=tuned"
    )
    assert page.stat().st_size < 2_000_000
    assert pd.read_csv(tmp_path / "tables" / "trials.csv").shape[0] == sheets.SHOWN
    with chromium() as browser:
        opened = visit(browser, page, width=1000)
        assert opened.complaints == []
        assert opened.requests == [page.as_uri()] or all(
            each.startswith("data:") for each in opened.requests[1:]
        )
        images = opened.page.locator("img")
        assert images.count() == 6
        wide = opened.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 1000
