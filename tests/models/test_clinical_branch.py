"""The branch of clinical values: scaling, missing values, and the columns that are refused."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from compose import composed, names
from hypothesis import given, settings
from omegaconf import OmegaConf
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import StandardScaler

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.models.branches import build_branch, clinical_columns
from fibrolab.models.clinical_branch import COLUMNS, ClinicalBranch

TWO = [keys.LSM_KPA, keys.AGE_YEARS]


def branch(hidden: tuple[int, ...] = (16,)) -> ClinicalBranch:
    return ClinicalBranch(TWO, mean=[2.0, 5.0], sd=[0.5, 1.5], hidden=hidden)


def test_values_are_scaled_and_filled_as_scikit_learn_does_it() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal([2, 5], [0.5, 1.5], (40, 2))
    values[rng.random(values.shape) < 0.3] = np.nan
    scaler = StandardScaler().fit(values)
    model = ClinicalBranch(TWO, mean=scaler.mean_.tolist(), sd=scaler.scale_.tolist(), hidden=[])
    filled = SimpleImputer(strategy="constant", fill_value=0.0).fit_transform(scaler.transform(values))
    expected = np.hstack([filled, MissingIndicator(features="all").fit_transform(values)])
    features = model(torch.tensor(values, dtype=torch.float32))
    assert model.num_features == features.shape[1] == 4
    torch.testing.assert_close(features, torch.tensor(expected, dtype=torch.float32))


@settings(max_examples=30, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=6, max_size=6))
def test_features_are_finite_for_any_missing_values(mask: list[bool]) -> None:
    values = torch.full((3, 2), 3.0).masked_fill(torch.tensor(mask).view(3, 2), math.nan)
    features = branch()(values)
    assert features.shape == (3, 16)
    assert features.isfinite().all()


def test_a_missing_value_differs_from_an_average_one() -> None:
    features = branch(hidden=())(torch.tensor([[2.0, 5.0], [math.nan, 5.0]]))
    assert features.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]


def test_a_column_that_does_not_vary_is_only_centred() -> None:
    model = ClinicalBranch(TWO, mean=[2.0, 5.0], sd=[0.0, 1.0], hidden=[])
    assert model(torch.tensor([[3.0, 5.0]])).tolist() == [[1, 0, 0, 0]]


def test_mean_and_deviation_are_saved_with_the_weights() -> None:
    saved, other = branch(), ClinicalBranch(TWO, mean=[0.0, 0.0], sd=[1.0, 1.0])
    other.load_state_dict(saved.state_dict())
    values = torch.tensor([[1.0, 4.0], [math.nan, 9.0]])
    torch.testing.assert_close(other(values), saved(values), rtol=0, atol=0)


def test_each_branch_finds_its_columns_among_those_of_the_batch() -> None:
    known = {"columns": list(COLUMNS), "mean": list(range(7)), "sd": [1.0] * 7}
    chosen = {"input": "clinical", "columns": [keys.SEX, keys.LSM_KPA], "hidden": []}
    features = build_branch("table", chosen, 32, known)(torch.tensor([[10.0, 0, 1, 0, 0, 0, 0]]))
    assert features.tolist() == [[1 - 2, 10 - 0, 0, 0]]


def test_every_parameter_learns_and_has_a_depth() -> None:
    model = branch(hidden=(8, 4))
    model(torch.tensor([[1.0, math.nan], [9.0, 2.0], [-9.0, -2.0]])).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert [model.depths()[name] for name, _ in model.named_parameters()] == [0, 0, 1, 1]
    assert not model.frozen


@pytest.mark.parametrize(
    ("columns", "hidden", "sentence"),
    [
        ([], [16], "not a list of clinical columns"),
        ("lsm_kpa", [16], "not a list of clinical columns"),
        (["lsm"], [16], "Did you mean lsm_kpa"),
        (["sex", "sex"], [16], "repeats a column"),
        (["sex"], [16, 0], "not a list of widths"),
        (["sex"], 16, "not a list of widths"),
    ],
)
def test_invalid_columns_and_widths_are_refused(columns, hidden, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ClinicalBranch(columns, mean=[0.0], sd=[1.0], hidden=hidden)


@pytest.mark.parametrize("name", names("clinical"))
def test_every_config_of_values_becomes_a_branch(name: str) -> None:
    config = composed("model=multimodal", f"+clinical@model.branches.clinical={name}")
    branches = OmegaConf.to_container(config.model.branches)
    assert isinstance(branches, dict)
    columns = clinical_columns(branches)  # type: ignore[arg-type]
    known = {"columns": columns, "mean": [0.0] * len(columns), "sd": [1.0] * len(columns)}
    model = build_branch("clinical", branches["clinical"], 32, known)
    assert model(torch.full((2, len(columns)), math.nan)).shape == (2, model.num_features)


def test_columns_are_gathered_from_all_branches_each_once() -> None:
    branches = {
        "image": {"name": "test_resnet"},
        "a": {"input": "clinical", "columns": ["sex", "lsm_kpa"]},
        "b": {"input": "clinical", "columns": ["lsm_kpa", "age", "age_years"]},
        "c": {"input": "clinical"},
    }
    assert clinical_columns(branches) == ["sex", "lsm_kpa", "age_years"]
