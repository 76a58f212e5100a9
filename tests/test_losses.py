"""Losses: against hand-computed cases and scikit-learn, and the settings they refuse."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sklearn.utils.class_weight import compute_class_weight

from fibrolab.errors import ConfigError
from fibrolab.losses import balanced_weights, build_loss

CONFIGS = sorted((Path(__file__).parents[1] / "conf" / "loss").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_a_loss_with_a_gradient(path):
    assert path.read_text().splitlines()[0].endswith(f"loss={path.stem}")
    loss = build_loss(**OmegaConf.to_container(OmegaConf.load(path)), class_counts=[4, 2, 1])
    logits = torch.randn(6, 3, requires_grad=True)
    loss(logits, torch.tensor([0, 1, 2, 0, 0, 1])).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


@given(counts=st.lists(st.integers(1, 2000), min_size=2, max_size=6))
def test_balanced_weights_are_those_of_scikit_learn(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    weights = balanced_weights(counts)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    assert math.isclose(float(weights.double() @ torch.tensor(counts).double()), sum(counts), rel_tol=1e-6)


def test_weighted_cross_entropy_divides_by_the_sum_of_the_weights():
    loss = build_loss("cross_entropy", class_counts=[3, 1], class_weights="balanced")  # weights 2/3 and 2
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # p = (3/4, 1/4) and (1/2, 1/2)
    expected = (2 / 3 * math.log(4 / 3) + 2 * math.log(2)) / (2 / 3 + 2)
    assert math.isclose(float(loss(logits, torch.tensor([0, 1]))), expected, rel_tol=1e-6)


def test_label_smoothing_spreads_a_share_of_the_target():
    loss = build_loss("cross_entropy", label_smoothing=0.2)
    logits = torch.tensor([[math.log(3.0), 0.0]])  # target (0.9, 0.1)
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    assert math.isclose(float(loss(logits, torch.tensor([0]))), expected, rel_tol=1e-6)


def test_unweighted_loss_ignores_the_counts():
    logits, labels = torch.randn(8, 3), torch.randint(0, 3, (8,))
    loss = build_loss("cross_entropy", class_counts=[5, 0, 1])
    torch.testing.assert_close(loss(logits, labels), torch.nn.functional.cross_entropy(logits, labels))


def test_counts_may_be_an_array():
    weights = build_loss("cross_entropy", np.array([3, 1]), "balanced").weight
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))


def test_weights_follow_the_module_but_not_the_checkpoint():
    loss = build_loss("cross_entropy", class_counts=[3, 1], class_weights="balanced")
    assert not loss.state_dict()
    assert loss.to(torch.float64).weight.dtype == torch.float64


def test_a_class_without_samples_cannot_be_balanced():
    with pytest.raises(ConfigError, match="class 1, 3 has none"):
        balanced_weights([4, 0, 2, 0])
    with pytest.raises(ConfigError, match="none are counted"):
        build_loss("cross_entropy", class_weights="balanced")


def test_unknown_names_and_shares_are_listed_at_once():
    with pytest.raises(ConfigError) as fault:
        build_loss("crossentropy", class_weights="balance", label_smoothing=1.0)
    for word in ("Did you mean cross_entropy", "Did you mean balanced", "label_smoothing: 1.0"):
        assert word in str(fault.value)
