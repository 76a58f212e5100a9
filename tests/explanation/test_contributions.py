"""Shares of branches: Shapley values sum to the difference of the scores, and follow the network."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from small_classifier import settings
from torch import Tensor

from fibrolab import keys
from fibrolab.explanation.contributions import mean_features, shapley_values
from fibrolab.modules.base import Classifier

LSM = {"columns": ["lsm_kpa"], "mean": [2.0], "sd": [0.7]}
BRANCHES = {
    "grey": {"name": "test_resnet"},
    "stiffness": {"name": "test_resnet", "input": keys.ELASTOGRAM},
    "table": {"input": keys.CLINICAL, "columns": ["lsm_kpa"]},
}


def batch_of(seed: int, present: list[bool]) -> dict[str, Tensor]:
    generator = torch.manual_seed(seed)
    size = len(present)
    images = torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return {
        keys.IMAGE: images[:, :1],
        keys.ELASTOGRAM: images,
        keys.present(keys.ELASTOGRAM): torch.tensor(present),
        keys.CLINICAL: torch.rand(size, 1, generator=generator) * 10,
    }


def target(logits: Tensor) -> Tensor:
    return logits[:, 3] - logits[:, 1]


@pytest.fixture(scope="module", params=["concatenate", "gated"])
def module(request: pytest.FixtureRequest) -> Classifier:
    torch.manual_seed(0)
    fusion = {"name": request.param, **({"width": 8} if request.param == "gated" else {})}
    return Classifier(**settings(branches=BRANCHES, clinical=LSM, fusion=fusion)).eval()


@hypothesis_settings(max_examples=5)
@given(st.integers(0, 99), st.lists(st.booleans(), min_size=1, max_size=3))
def test_shares_sum_to_the_difference_from_an_average_sample(
    module: Classifier, seed: int, present: list[bool]
) -> None:
    batch = batch_of(seed, present)
    means = mean_features(module, [batch_of(100, [True, False, True])])
    shares = shapley_values(module, batch, target, means)
    with torch.no_grad():
        average = {keys.features(name): mean.expand(len(present), -1) for name, mean in means.items()}
        masks = {keys.present(keys.ELASTOGRAM): batch[keys.present(keys.ELASTOGRAM)]}
        expected = target(module(batch)) - target(module({**average, **masks}))
    torch.testing.assert_close(torch.stack(list(shares.values())).sum(0), expected, atol=1e-5, rtol=1e-4)
    absent = ~batch[keys.present(keys.ELASTOGRAM)]
    torch.testing.assert_close(shares["stiffness"][absent], torch.zeros(int(absent.sum())))


def test_of_a_linear_head_each_branch_has_its_own_term() -> None:
    torch.manual_seed(0)
    module = Classifier(**settings(branches=BRANCHES, clinical=LSM)).eval()
    batch = batch_of(1, [True, True])
    means = mean_features(module, [batch_of(2, [True, True])])
    shares = shapley_values(module, batch, target, means)
    weights = module.network.head[-1].weight  # type: ignore[index,union-attr]
    slope, start = (weights[3] - weights[1]).detach(), 0
    with torch.no_grad():
        features = module.network.features(batch)
    for name, own in features.items():
        part = slope[start : start + own.shape[1]]
        start += own.shape[1]
        torch.testing.assert_close(shares[name], (own - means[name]) @ part, atol=1e-5, rtol=1e-4)


def test_the_mean_counts_only_samples_that_have_the_input(module: Classifier) -> None:
    batch = batch_of(3, [True, False, True])
    with torch.no_grad():
        features = module.network.features(batch)["stiffness"]
    means = mean_features(module, [{name: value[:2] for name, value in batch.items()}, batch])
    expected = (2 * features[0] + features[2]) / 3
    torch.testing.assert_close(means["stiffness"], expected, atol=1e-5, rtol=1e-4)
