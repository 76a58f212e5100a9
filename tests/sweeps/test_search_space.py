"""Search spaces: Hydra's sweep syntax, conditional parameters, and what is refused."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fibrolab.errors import ConfigError
from fibrolab.sweeps import search_space

CONDITIONAL = {
    "batch_size": "choice(16, 32)",
    "optimizer": {
        "adamw": {"optimizer.weight_decay": "tag(log, interval(1e-4, 1e-1))"},
        "sgd": {"optimizer.momentum": "interval(0.8, 0.99)"},
        "adam": None,
    },
}


def only(line: str) -> object:
    (parameter,) = search_space.parsed({}, [line]).parameters
    return parameter.distribution


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=interval(0.1, 0.5)", FloatDistribution(0.1, 0.5)),
        ("a=int(interval(1, 5))", IntDistribution(1, 5)),
        ("a=interval(1, 5)", FloatDistribution(1, 5)),
        ("a=tag(log, interval(1e-5, 1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("a=tag(log, int(interval(1, 64)))", IntDistribution(1, 64, log=True)),
        ("a=tag(int, interval(1.0, 5.0))", IntDistribution(1, 5)),
        ("a=range(10, 50, 10)", IntDistribution(10, 40, step=10)),
        ("a=range(0.0, 0.5, 0.25)", FloatDistribution(0, 0.25, step=0.25)),
        ("a=choice(resnet18, 'a b', 3)", CategoricalDistribution(["resnet18", r"a\ b", "3"])),
        ("a=x,y", CategoricalDistribution(["x", "y"])),
    ],
)
def test_the_sweep_syntax_gives_distributions(line: str, expected: object) -> None:
    assert only(line) == expected


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("optimizer.lr=interval(1, 1)", "is empty: the lower bound must be below"),
        ("optimizer.lr=interval(0.5, 0.1)", "is empty"),
        ("batch_size=range(5, 5)", "is empty"),
        ("optimizer.lr=tag(log, interval(0, 1))", "a lower bound above 0"),
        ("optimizer.lr=tag(lgo, interval(1, 2))", "Did you mean log?"),
        ("optimizer.lr=0.1", "names no space"),
        ("model=glob(*)", "names no space"),
        ("seed=range(0, 5)", "would differ in their samples"),
        ("split.val=interval(0.1, 0.3)", "would differ in their samples"),
        ("data=phantom,table", "would differ in their samples"),
        ("paths.root=a,b", "changes no model"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(line: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        search_space.parsed({}, [line])
    assert sentence in str(caught.value)


def test_a_sweep_without_a_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no parameter: choose a space with sweep=NAME"):
        search_space.parsed({})


def test_the_command_line_replaces_a_parameter_of_the_file() -> None:
    space = search_space.parsed({"optimizer.lr": "interval(0.1, 0.2)"}, ["optimizer.lr=interval(0.3, 0.4)"])
    assert [parameter.distribution for parameter in space.parameters] == [FloatDistribution(0.3, 0.4)]


def test_a_setting_of_the_trainer_needs_no_plus() -> None:
    space = search_space.parsed({"trainer.max_epochs": "range(1, 4)"})
    assert [(one.key, one.name) for one in space.parameters] == [
        ("++trainer.max_epochs", "trainer.max_epochs")
    ]


def test_one_parameter_with_two_spaces_is_refused() -> None:
    nested = {"optimizer": {"sgd": {"a": "interval(0, 1)"}, "adam": {"a": "interval(0, 2)"}}}
    with pytest.raises(ConfigError, match="a has two spaces, under different options"):
        search_space.parsed(nested)


@given(st.integers(0, 2**32 - 1))
def test_a_conditional_parameter_exists_under_its_option_only(seed: int) -> None:
    space = search_space.parsed(CONDITIONAL)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    drawn = space.suggest(optuna.create_study(sampler=sampler).ask())
    own = {"adamw": {"optimizer.weight_decay"}, "sgd": {"optimizer.momentum"}, "adam": set()}
    assert set(drawn) == {"batch_size", "optimizer"} | own[drawn["optimizer"]]


def test_corners_have_every_option_and_every_bound() -> None:
    corners = search_space.parsed(CONDITIONAL).corners()
    found = {(key, value) for corner in corners for key, value in corner.items()}
    assert found == {
        ("batch_size", "16"), ("batch_size", "32"),
        ("optimizer", "adamw"), ("optimizer", "sgd"), ("optimizer", "adam"),
        ("optimizer.weight_decay", "0.0001"), ("optimizer.weight_decay", "0.1"),
        ("optimizer.momentum", "0.8"), ("optimizer.momentum", "0.99"),
    }  # fmt: skip
    assert all(("optimizer.momentum" in corner) == (corner["optimizer"] == "sgd") for corner in corners)


def test_a_space_is_described_for_the_comparison_with_another() -> None:
    assert search_space.parsed(CONDITIONAL).described() == {
        "batch_size": "choice(16, 32)",
        "optimizer": "choice(adamw, sgd, adam)",
        "optimizer=adamw: optimizer.weight_decay": "tag(log, interval(0.0001, 0.1))",
        "optimizer=sgd: optimizer.momentum": "interval(0.8, 0.99)",
    }
