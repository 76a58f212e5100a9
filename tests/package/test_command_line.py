"""Values of the command line that Hydra's grammar refuses or misreads."""

import re
from pathlib import Path

import commanded
import pytest
from compose import composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.command_line import SYNONYMS, _settings, explain, prepared, quote, quoted
from fibrolab.config import folder
from fibrolab.errors import ConfigError
from fibrolab.training import checks

NAMES = [
    "a b",
    "a [1]",
    "(a)",
    "x=y",
    "a,b",
    "中文",
    "übung",
    "it's",
    'say "a"',
    "#1",
    "a;b",
    "{a}",
    "~a",
    "a!",
    "a\\b",
]


def parsed(word: str) -> object:
    return OverridesParser.create().parse_override(word).value()


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_folder_that_exists_arrives_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (word,) = quoted([f"data.root={tmp_path / name}"])
    assert parsed(word) == str(tmp_path / name)


@pytest.mark.parametrize("name", ["2024", "007", "1.5"])
def test_a_number_is_the_name_of_a_folder_where_a_folder_is_set(name: str) -> None:
    words = quoted([f"data.root={name}", f"data.patients={name}"])
    assert parsed(words[0]) == name
    assert words[1] == f"data.patients={name}"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="$"), min_size=1))
def test_a_value_in_quotes_is_read_as_it_was_typed(value: str) -> None:
    assert parsed(f"name={quote(value)}") == value


@pytest.mark.parametrize(
    "word",
    [
        "model=single,hybrid", "seed=range(0,3)", "runs=[a1,b2]", "runs={a: [x, y], b: [z]}", "name='a b'",
        "+a.b=null", "~callbacks.early_stopping", "--multirun", "--config-dir=/a b", "name=${model.name}",
        "data.root=", "lr=1e-3", "runs=[a,b", "columns={a: b", "+trainer.profiler=simple", "trainer=auto",
    ],
)  # fmt: skip
def test_words_that_the_grammar_reads_stay_as_they_are(word: str) -> None:
    assert quoted([word]) == [word]


def test_a_command_takes_a_folder_of_any_name(tmp_path: Path) -> None:
    root = tmp_path / "Übung [1], x=y (中文)"
    root.mkdir()
    words = ["data=folder", f"data.root={root}", "--cfg", "job", "--package", "data.root"]
    ended = commanded.command("audit", *words)
    assert ended.returncode == 0, ended.stderr
    assert str(root) in ended.stdout


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("lr", "'optimizer.lr'"),
        ("epochs", "trainer.max_epochs"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("ckpt_path", "resume=RUN_ID, or the command evaluate"),
        ("logger", "loggers"),
        ("tags", "name, which MLflow shows"),
        ("backbone", "backbone@model.branches.image=NAME"),
        ("precision", "'trainer.precision'"),
        ("patience", "'scheduler.patience' or 'callbacks.early_stopping.patience'"),
        ("modl", "'model'"),
        ("optimizer.lrr", "'optimizer.lr'"),
    ],
)
def test_a_word_of_another_tool_is_refused_with_the_setting_that_was_meant(given: str, hint: str) -> None:
    error = ConfigCompositionException(f"Could not override '{given}'.")
    assert f"'{given}' is not a setting. Did you mean {hint}?" in explain(error, folder())


@pytest.mark.parametrize("given", ["zzz", "flavour", "x.y.z", "verbosity", "hidden_act"])
def test_a_word_that_is_near_to_none_is_refused_without_a_suggestion(given: str) -> None:
    error = ConfigCompositionException(f"Could not override '{given}'.")
    assert explain(error, folder()) == f"'{given}' is not a setting. `--cfg job` prints all settings."


def test_every_suggested_word_is_a_setting_or_a_group() -> None:
    known = {*_settings(folder()), "loggers", "model"}
    for hint in SYNONYMS.values():
        for word in re.findall(r"[\w.@]+(?==)", hint) or [hint.partition(",")[0]]:
            assert word.partition("@")[0] in known or "branches.image" in word


def test_an_argument_of_the_trainer_needs_no_plus_and_one_that_is_none_is_refused() -> None:
    words = ["trainer.strategy=auto", "trainer.max_epochs=2", "trainer.max_epoch=3", "trainer.logger=x"]
    config = composed(*prepared("train", words))
    assert (config.trainer.strategy, config.trainer.max_epochs) == ("auto", 2)
    with pytest.raises(ConfigError) as refused:
        checks.check(config)
    assert "trainer: there is no 'max_epoch'. Did you mean max_epochs" in str(refused.value)
    assert "trainer.logger is set by fibrolab: use loggers=NAME" in str(refused.value)


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_a_multirun_may_be_asked_for_between_settings(flag: str) -> None:
    words = ["model=single", "--config-dir", "mine", flag, "seed=0,1"]
    assert prepared("train", words) == [flag, "model=single", "--config-dir", "mine", "seed=0,1"]


def test_a_command_without_a_trainer_refuses_its_arguments() -> None:
    with pytest.raises(ConfigCompositionException, match=r"trainer\.max_epochs"):
        composed(*prepared("evaluate", ["run=abc", "trainer.max_epochs=2"]), name="evaluate")
