"""Values of the command line that Hydra's grammar refuses or misreads."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.command_line import quote, quoted

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


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="$"), min_size=1))
def test_a_value_in_quotes_is_read_as_it_was_typed(value: str) -> None:
    assert parsed(f"name={quote(value)}") == value


@pytest.mark.parametrize(
    "word",
    [
        "model=single,hybrid", "seed=range(0,3)", "runs=[a1,b2]", "runs={a: [x, y], b: [z]}", "name='a b'",
        "+a.b=null", "~callbacks.early_stopping", "--multirun", "--config-dir=/a b", "name=${model.name}",
        "data.root=", "lr=1e-3",
    ],
)  # fmt: skip
def test_words_that_the_grammar_reads_stay_as_they_are(word: str) -> None:
    assert quoted([word]) == [word]


def test_a_command_takes_a_folder_of_any_name(tmp_path: Path) -> None:
    root = tmp_path / "Übung [1], x=y (中文)"
    root.mkdir()
    words = ["data=folder", f"data.root={root}", "--cfg", "job", "--package", "data.root"]
    ended = subprocess.run(
        [sys.executable, "-m", "fibrolab.audit", *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert str(root) in ended.stdout
