"""Ordinal losses: the authors' formulas, likelihoods, identities."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from fibrolab.errors import ConfigError
from fibrolab.losses import Loss, build_loss

STAGES = 5


def batch(loss: Loss, size: int = 12):
    draw = torch.Generator().manual_seed(0)
    return 2 * torch.randn(size, loss.num_logits, generator=draw), torch.arange(size) % loss.num_classes


def logits_of(width: int, bound: float = 50.0):
    return arrays(np.float32, (3, width), elements=st.floats(-bound, bound, width=32)).map(torch.from_numpy)


@pytest.mark.parametrize("name", ["corn", "coral"])
def test_on_two_classes_the_ordinal_losses_are_binary_cross_entropy(name):
    loss, binary = build_loss(name, 2), build_loss("binary", 2)
    logits, labels = batch(loss)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    torch.testing.assert_close(loss(logits, labels), expected)
    torch.testing.assert_close(binary(logits, labels), expected)
    torch.testing.assert_close(loss.probabilities(logits), binary.probabilities(logits))


def test_binary_is_cross_entropy_of_a_logit_against_zero():
    loss = build_loss("binary", 2)
    logits, labels = batch(loss)
    pair = F.pad(logits, (1, 0))
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(pair, labels))
    torch.testing.assert_close(loss.probabilities(logits), pair.softmax(dim=1))


def test_corn_by_hand():
    loss = build_loss("corn", 3)
    logits = torch.tensor([[math.log(3.0), 0.0]])  # P(y > 0) = 3/4, P(y > 1 | y > 0) = 1/2
    torch.testing.assert_close(loss.probabilities(logits), torch.tensor([[0.25, 0.375, 0.375]]))
    assert math.isclose(float(loss(logits, torch.tensor([0]))), math.log(4), rel_tol=1e-6)
    assert math.isclose(float(loss(logits, torch.tensor([2]))), math.log(8 / 3), rel_tol=1e-6)


def test_corn_is_the_authors_loss_with_another_divisor():
    loss = build_loss("corn", STAGES)
    logits, labels = batch(loss)
    total, pairs = 0.0, 0
    for question in range(STAGES - 1):  # each on the subset of samples that reach it
        for logit, label in zip(logits[:, question].tolist(), labels.tolist(), strict=True):
            if label >= question:
                above = 1 / (1 + math.exp(-logit))
                total -= math.log(above if label > question else 1 - above)
                pairs += 1
    assert 12 < pairs < 12 * (STAGES - 1)
    assert math.isclose(float(loss(logits, labels)) * 12 / pairs, total / pairs, rel_tol=1e-5)


@settings(max_examples=60, deadline=None)
@given(logits=logits_of(STAGES - 1, bound=20.0), labels=st.lists(st.integers(0, 4), min_size=3, max_size=3))
def test_corn_is_the_likelihood_of_its_probabilities(logits, labels):
    loss = build_loss("corn", STAGES)
    likelihood = -loss.probabilities(logits).log()[range(3), labels].mean()
    torch.testing.assert_close(loss(logits, torch.tensor(labels)), likelihood, rtol=1e-4, atol=1e-5)


def test_coral_is_the_authors_loss():
    loss = build_loss("coral", STAGES)
    logits, labels = batch(loss)
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        for threshold, logit in enumerate(row):
            above = 1 / (1 + math.exp(-logit))
            total -= math.log(above if label > threshold else 1 - above)
    assert math.isclose(float(loss(logits, labels)), total / 12, rel_tol=1e-5)


def test_coral_probabilities_by_hand():
    loss = build_loss("coral", 3)
    ordered = torch.tensor([[math.log(3.0), -math.log(3.0)]])  # P(y > 0) = 3/4, P(y > 1) = 1/4
    torch.testing.assert_close(loss.probabilities(ordered), torch.tensor([[0.25, 0.5, 0.25]]))
    crossed = -ordered  # P(y > 0) = 1/4, P(y > 1) = 3/4: differences 3/4, -1/2, 3/4
    torch.testing.assert_close(loss.probabilities(crossed), torch.tensor([[0.5, 0.0, 0.5]]))


@settings(max_examples=60, deadline=None)
@given(logits=logits_of(STAGES - 1))
def test_ordered_coral_logits_are_the_cumulative_probabilities(logits):
    falling = logits.sort(dim=1, descending=True).values
    probabilities = build_loss("coral", STAGES).probabilities(falling)
    at_least = probabilities.flip(1).cumsum(dim=1).flip(1)[:, 1:]  # P(y > k)
    torch.testing.assert_close(at_least, falling.sigmoid(), rtol=1e-4, atol=1e-6)


def test_coral_probabilities_keep_their_tails():
    logits = torch.tensor([[40.0, 30.0]])
    expected = torch.special.expit(-logits[0].double())
    probabilities = build_loss("coral", 3).probabilities(logits)[0].double()
    torch.testing.assert_close(probabilities[0], expected[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(probabilities[1], expected[1] - expected[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["corn", "coral"])
@settings(max_examples=60, deadline=None)
@given(logits=logits_of(STAGES - 1))
def test_ordinal_probabilities_sum_to_one_and_cumulative_ones_fall(name, logits):
    probabilities = build_loss(name, STAGES).probabilities(logits)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    assert (probabilities >= 0).all()
    above = probabilities.flip(1).cumsum(dim=1).flip(1)
    assert (above.diff(dim=1) <= 0).all()


def test_soft_targets_fall_off_by_the_same_factor_at_every_stage():
    targets = build_loss("soft_ordinal", 3, sharpness=math.log(2)).targets
    expected = torch.tensor([[4 / 7, 2 / 7, 1 / 7], [1 / 4, 1 / 2, 1 / 4], [1 / 7, 2 / 7, 4 / 7]])
    torch.testing.assert_close(targets, expected)


def test_soft_ordinal_is_the_cross_entropy_to_its_targets_and_plain_when_sharp():
    loss = build_loss("soft_ordinal", STAGES, sharpness=1.5)
    logits, labels = batch(loss)
    expected = -(loss.targets[labels] * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss(logits, labels), expected)
    sharp = build_loss("soft_ordinal", STAGES, sharpness=100)
    torch.testing.assert_close(sharp(logits, labels), F.cross_entropy(logits, labels))


@pytest.mark.parametrize("name", ["soft_ordinal", "coral"])
def test_a_far_mistake_costs_an_ordinal_loss_more_than_a_near_one(name):
    loss = build_loss(name, STAGES)
    if name == "coral":
        sure = 4.0 - 8.0 * (torch.arange(4)[None] >= torch.arange(5)[:, None]).float()
    else:
        sure = 4.0 * torch.eye(STAGES)
    costs = [float(loss(sure[stage][None], torch.tensor([0]))) for stage in range(STAGES)]
    assert costs == sorted(costs)
    assert len({round(cost, 3) for cost in costs}) == STAGES


@pytest.mark.parametrize("name", ["corn", "coral", "soft_ordinal"])
def test_ordinal_losses_refuse_classes_without_an_order(name):
    with pytest.raises(ConfigError, match=rf"loss={name}: it needs ordered classes"):
        build_loss(name, STAGES, ordered=False)
