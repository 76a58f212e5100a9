"""Randomised networks: which weights are drawn again, and that the trained network stays as it is."""

import itertools

import pytest
import torch
from small_classifier import loader, settings

from fibrolab import keys
from fibrolab.explanation.randomisation import CASCADE, cascade, with_random_labels
from fibrolab.modules.base import Classifier

BACKBONES = ("test_resnet", "test_vit")


@pytest.fixture(scope="module", params=BACKBONES)
def module(request: pytest.FixtureRequest) -> Classifier:
    torch.manual_seed(0)
    built = Classifier(**settings(branches={"image": {"name": request.param}}))
    return built.eval()


def weights(module: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def changed(module: Classifier, before: dict[str, torch.Tensor]) -> set[str]:
    """Return the matrices that differ; a bias or a scale may be drawn with its value at construction."""
    after = module.network.state_dict()
    return {name for name, value in before.items() if value.ndim > 1 and not after[name].equal(value)}


def test_weights_are_drawn_from_the_head_down_to_the_input(module: Classifier) -> None:
    before, depths = weights(module), module.network.depths()
    found = [(name, changed(network, before)) for name, network in cascade(module)]
    assert [name for name, _ in found][0::3] == ["the head", "all weights"]
    assert len(found) == CASCADE
    assert found[-1][1] == {name for name in depths if before[name].ndim > 1}
    for (_, fewer), (_, more) in itertools.pairwise(found):
        assert fewer < more
        assert max(depths[name] for name in more - fewer) <= min(depths[name] for name in fewer)


def test_the_trained_network_is_not_changed(module: Classifier) -> None:
    before = weights(module)
    list(cascade(module))
    with_random_labels(module, list(loader()))
    assert all(value.equal(before[name]) for name, value in module.network.state_dict().items())


def test_the_same_seed_draws_the_same_weights_and_leaves_others_alone(module: Classifier) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, again, other = (
        [weights(network) for _, network in cascade(module, seed)][-1] for seed in (0, 0, 1)
    )
    assert torch.rand(3).equal(expected)
    assert all(value.equal(again[name]) for name, value in first.items())
    assert any(not value.equal(other[name]) for name, value in first.items())


def test_batch_norm_forgets_what_it_measured() -> None:
    built = Classifier(**settings()).eval()
    norms = [layer for layer in built.network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.constant_(norm.running_var, 7)  # type: ignore[arg-type]
    *_, (_, network) = cascade(built)
    random = [layer for layer in network.network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms
    assert all(bool((norm.running_var == 1).all()) for norm in random)  # type: ignore[union-attr]


def test_a_head_fitted_to_permuted_labels_leaves_the_features(module: Classifier) -> None:
    before = weights(module)
    fitted = with_random_labels(module, list(loader()))
    assert changed(fitted, before)
    assert all(name.startswith("head.") for name in changed(fitted, before))


def test_the_head_is_fitted_to_other_labels_than_the_true_ones(module: Classifier) -> None:
    batches = list(loader())
    torch.manual_seed(0)
    fitted = with_random_labels(module, batches)
    labels = torch.cat([batch[keys.LABEL] for batch in batches])
    with torch.no_grad():
        predicted = torch.cat([fitted(batch).argmax(dim=1) for batch in batches])
    assert (predicted == labels).float().mean() < 0.6  # brightness tells the true class


def test_samples_without_labels_get_the_predicted_class(module: Classifier) -> None:
    batches = list(loader())
    with torch.no_grad():
        for batch in batches:
            batch[keys.LABEL] = module(batch).argmax(dim=1)
    labelled = with_random_labels(module, batches)
    for batch in batches:
        batch[keys.LABEL] = torch.full((len(batch[keys.LABEL]),), keys.UNLABELLED)
    unlabelled = with_random_labels(module, batches)
    assert not changed(unlabelled, weights(labelled))
