"""Heads: the layers of the papers, in their order, and the settings they refuse."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fibrolab.errors import ConfigError
from fibrolab.models.heads import build_head


def layers(head: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in head]


def test_the_hybrid_of_paper_1_narrows_6144_features_to_five_stages():
    head = build_head(6144, 5, hidden=[1024, 512], dropout=0.5)
    assert layers(head) == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [tuple(head[i].weight.shape) for i in (0, 3, 6)] == [(1024, 6144), (512, 1024), (5, 512)]
    assert head[2].p == head[5].p == 0.5


def test_the_head_of_paper_2_is_dropout_dense_batch_norm_relu_dense():
    head = build_head(1280, 5, hidden=[256], input_dropout=0.3, batch_norm=True)
    assert layers(head) == ["Dropout", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert head[0].p == 0.3


def test_without_hidden_layers_dropout_stands_in_front_of_the_classifier():
    assert layers(build_head(8, 2, dropout=0.2)) == ["Dropout", "Linear"]
    assert layers(build_head(8, 2)) == ["Linear"]


@given(
    features=st.integers(1, 16),
    classes=st.integers(2, 6),
    hidden=st.lists(st.integers(1, 16), max_size=3),
    dropout=st.floats(0, 0.9),
    batch_norm=st.booleans(),
)
def test_any_head_maps_features_to_one_logit_a_class(features, classes, hidden, dropout, batch_norm):
    head = build_head(features, classes, hidden, dropout, batch_norm=batch_norm and bool(hidden))
    assert head(torch.randn(3, features)).shape == (3, classes)
    assert layers(head).count("Linear") == len(hidden) + 1


def test_all_settings_that_cannot_be_are_listed_at_once():
    with pytest.raises(ConfigError) as fault:
        build_head(8, 1, hidden=[4, 0], dropout=1.0, input_dropout=-0.1)
    for word in ("num_classes: 1", r"[4, 0]", "head.dropout: 1.0", "head.input_dropout: -0.1"):
        assert word in str(fault.value)


def test_settings_of_a_hidden_layer_need_one():
    with pytest.raises(ConfigError, match=r"input_dropout(.|\n)*batch_norm"):
        build_head(8, 2, input_dropout=0.1, batch_norm=True)
