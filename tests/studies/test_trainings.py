"""Trainings of a study: their words, and the key by which a finished one is recognised."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_run
import pytest
import yaml

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.studies import definition, results, running, trainings
from fibrolab.studies.definition import Arm, Size, Study
from fibrolab.studies.trainings import Data, Place

FIRST, SECOND = Place("audited", "first", "F4", 1), Place("audited", "second", "F4", 1)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    content = {
        "arms": {
            "first": {"settings": ["model=single", "optimizer.lr=1"]},
            "second": {"settings": ["model=single"], "weights": {"image": "first"}},
        },
        "protocols": {
            "paper": {"settings": ["split=paper_random"]},
            "audited": {"settings": ["split=grouped", "optimizer.lr=2"], "arms": {"first": ["batch_size=3"]}},
        },
        "tasks": ["F4"],
        "seeds": [0, 1],
        "measures": ["auc"],
        "sizes": {
            "smoke": {
                "settings": ["data.patients=40", "preprocess.size=32"],
                "arms": {"first": ["batch_size=4"]},
            },
            "small": {"seeds": [1], "without": {"second": "no time"}},
        },
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    return definition.read(str(tmp_path), tmp_path)


def test_of_two_words_for_one_setting_the_later_counts(study: Study) -> None:
    words = trainings.words(study, "smoke", FIRST, ["preprocess.size=16"], {})
    assert set(words) == {
        "model=single", "optimizer.lr=2", "split=grouped", "batch_size=4", "task=F4", "data.patients=40",
        "preprocess.size=16", "seed=1", "split.seed=0", f"name='{study.name} {FIRST}'",
    }  # fmt: skip
    assert not any(word.startswith("split.seed") for word in trainings.words(study, "small", FIRST, [], {}))


@pytest.mark.parametrize("given", ["data=table", "data.path=own.csv"])
def test_own_data_take_the_place_of_those_of_the_size(study: Study, given: str) -> None:
    words = trainings.words(study, "smoke", FIRST, [given], {})
    assert given in words
    assert "data.patients=40" not in words
    assert "preprocess.size=32" in words


@pytest.mark.parametrize(
    ("name", "source"), [("paper3", "focal_lesions"), ("paper4", "swe_pairs"), ("paper5", "clips")]
)
def test_each_size_of_a_paper_takes_a_table_of_the_users_own(name: str, source: str, tmp_path: Path) -> None:
    study, table = definition.read(name, Path()), tmp_path / "own.csv"
    table.write_text("image,label\n")
    for size in definition.SIZES:
        place = trainings.places(study, size)[0]
        training = trainings.compose(study, size, place, [f"data.path={table}"], {})
        assert training.config.data.name == source
        assert training.config.data.path == str(table)


def test_weights_come_from_the_run_of_the_same_protocol_task_and_seed(study: Study) -> None:
    runs = {FIRST: "abc", FIRST._replace(seed=0): "other", FIRST._replace(protocol="paper"): "other"}
    assert "model.branches.image.weights=run:abc" in trainings.words(study, "smoke", SECOND, [], runs)


def test_a_size_may_leave_arms_and_seeds_out(study: Study) -> None:
    assert {(place.arm, place.seed) for place in trainings.places(study, "small")} == {("first", 1)}
    assert len(trainings.places(study, "smoke")) == 2 * 2 * 2


def test_dear_arms_and_protocols_may_run_with_the_first_seed_alone(study: Study) -> None:
    sizes = {**study.sizes, "small": Size(seeds=(0, 1), one_seed=("second", "paper"))}
    found = trainings.places(replace(study, sizes=sizes), "small")
    assert [(place.protocol, place.arm, place.seed) for place in found] == [
        ("audited", "first", 0), ("audited", "first", 1), ("audited", "second", 0), ("paper", "first", 0),
        ("paper", "second", 0),
    ]  # fmt: skip


def test_a_protocol_may_have_tasks_of_its_own_and_lack_arms(study: Study) -> None:
    sizes = {**study.sizes, "small": Size(without={"second": {"paper": "no time"}})}
    paper = replace(study.protocols["paper"], tasks=("ge_F2", "ge_F3"))
    changed = replace(study, sizes=sizes, protocols={**study.protocols, "paper": paper}, seeds=(0,))
    assert {place[:3] for place in trainings.places(changed, "small")} == {
        ("paper", "first", "ge_F2"), ("paper", "first", "ge_F3"), ("audited", "first", "F4"),
        ("audited", "second", "F4"),
    }  # fmt: skip
    assert sizes["small"].left_out("paper") == {"second": "no time"}


def test_a_setting_that_is_refused_names_its_training(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"audited first F4 seed 1: 'optimizer\.rl' is not a setting"):
        trainings.compose(study, "smoke", FIRST, ["optimizer.rl=1"], {})


def test_the_network_is_the_papers_unless_the_size_or_the_user_changes_it(study: Study) -> None:
    assert trainings.compose(study, "smoke", FIRST, [], {}).is_own_network
    changed = ["model.branches.image.name=resnet10t"]
    for size in ("smoke", "full"):
        assert not trainings.compose(study, size, FIRST, changed, {}).is_own_network
    assert not trainings.compose(study, "smoke", FIRST, ["pretrained=false"], {}).is_own_network


@pytest.mark.parametrize(
    ("other", "found"), [("", [True] * 3), ("a", [False] * 3), ("b", [True, False, False])]
)
def test_a_published_number_needs_the_papers_network_in_every_arm_behind_it(
    study: Study, other: str, found: list[bool]
) -> None:
    arms = {"a": Arm("a"), "b": Arm("b", masks_of="a"), "c": Arm("c", stack=("a", "b"))}
    places = [FIRST._replace(arm=name) for name in arms]
    composed: Any = {place: SimpleNamespace(is_own_network=place.arm != other) for place in places}
    own = [results._is_own_network(replace(study, arms=arms), place, composed) for place in places]
    assert own == found


def test_the_key_changes_with_settings_data_and_source_and_with_nothing_else(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, data = [f"paths.cache={tmp_path / 'cache'}"], Data()

    def key(*words: str) -> str:
        training = trainings.compose(study, "smoke", FIRST, [*given, *words], {})
        return trainings.key(training, data.of(training))

    first = key()
    assert key() == key("num_workers=0") == key("tracking.experiment=other") == first
    others = [key("optimizer.lr=3"), key("data.seed=1"), key("split.test=0.2")]
    training = trainings.compose(study, "smoke", FIRST, given, {})
    known = data.of(training)
    facts = known.facts["image"].assign(sha256="of other pixels")
    other = replace(known, facts={**known.facts, "image": facts})
    others.append(trainings.key(training, other))
    monkeypatch.setattr(trainings, "source", lambda: "changed")
    assert len({first, *others, key()}) == 6


def test_a_finished_run_with_damaged_files_is_a_hole_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, damaged = (fake_run.make(tmp_path / name, n=60) for name in ("whole", "damaged"))
    (damaged / keys.PREDICTIONS_FILE).write_text("sample_id\ns1\n")
    monkeypatch.setattr(running, "open_run", lambda run, uri: TrainedRun(tmp_path / run))
    runs = {FIRST: "whole", SECOND: "damaged"}
    progress = SimpleNamespace(places=[FIRST, SECOND], runs=runs, uri="", failed={})
    opened = running._opened(progress)  # type: ignore[arg-type]
    assert {place: run.folder for place, run in opened.items()} == {FIRST: whole}
    assert progress.failed == {SECOND: "the files of its run damaged cannot be read."}
    assert f"{SECOND}: {damaged / keys.PREDICTIONS_FILE}" in caplog.text  # with the path, for the user alone
