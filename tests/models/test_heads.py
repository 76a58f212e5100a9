"""Heads: the layers of the papers, the outputs that each loss needs, and the settings that are refused."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from fibrolab.errors import ConfigError
from fibrolab.losses import LOSSES, CoralLayer, build_loss
from fibrolab.models.heads import build_head

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "head").glob("*.yaml"))


def layers(head: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in head]


def shapes(head: nn.Sequential) -> list[tuple[int, ...]]:
    return [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)]


def configured(name: str, in_features: int, num_classes: int) -> nn.Sequential:
    (path,) = (path for path in CONFIGS if path.stem == name)
    return build_head(in_features, num_classes, **OmegaConf.to_container(OmegaConf.load(path)))


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_learns_every_loss(path, name):
    assert path.read_text().splitlines()[0].endswith(f"head@model.head={path.stem}")
    loss = build_loss(name, 2)
    named = OmegaConf.to_container(OmegaConf.load(path))
    head = build_head(16, 2, output=loss.output_layer, **named)
    loss(head(torch.randn(4, 16)), torch.tensor([0, 1, 0, 1])).backward()
    assert all(weight.grad is not None for weight in head.parameters())


def test_the_hybrid_of_paper_1_narrows_6144_features_to_five_stages():
    head = configured("paper1", 6144, 5)
    assert layers(head) == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert shapes(head) == [(1024, 6144), (512, 1024), (5, 512)]
    assert head[2].p == head[5].p == 0.5


def test_the_head_of_paper_2_is_dropout_dense_batch_norm_relu_dense():
    head = configured("paper2", 1280, 5)
    assert layers(head) == ["Dropout", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert shapes(head) == [(256, 1280), (5, 256)]
    assert head[0].p == 0.3


def test_the_head_of_paper_3_has_two_dense_layers_of_as_many_units_as_classes():
    for num_classes in (5, 3):
        head = configured("paper3", 2048, num_classes)
        assert layers(head) == ["Linear", "Linear"]
        assert shapes(head) == [(num_classes, 2048), (num_classes, num_classes)]


def test_the_head_of_paper_4_has_three_dense_layers_on_4096_features():
    assert shapes(configured("paper4", 4096, 2)) == [(1024, 4096), (256, 1024), (2, 256)]


def test_without_hidden_layers_dropout_precedes_the_last_layer():
    assert layers(configured("linear", 8, 2)) == ["Dropout", "Linear"]
    assert layers(build_head(8, 2)) == ["Linear"]


@settings(max_examples=60, deadline=None)
@given(
    features=st.integers(1, 16),
    classes=st.integers(2, 6),
    name=st.sampled_from(sorted(LOSSES)),
    hidden=st.lists(st.integers(1, 16) | st.just("classes"), max_size=3),
    dropout=st.floats(0, 0.9),
    batch_norm=st.booleans(),
)
def test_any_head_has_the_outputs_of_its_loss(features, classes, name, hidden, dropout, batch_norm):
    loss = build_loss(name, 2 if name == "binary" else classes)
    norm = batch_norm and bool(hidden)
    head = build_head(features, loss.num_classes, loss.output_layer, hidden, dropout, batch_norm=norm)
    assert head(torch.randn(3, features)).shape == (3, loss.num_logits)
    assert layers(head[:-1]).count("Linear") == len(hidden)


def test_coral_has_one_weight_vector_and_a_bias_a_threshold():
    head = build_head(8, 5, build_loss("coral", 5).output_layer)
    assert {name: tuple(value.shape) for name, value in head.named_parameters()} == {
        "0.bias": (4,),
        "0.score.weight": (1, 8),
    }


@settings(max_examples=60, deadline=None)
@given(features=st.lists(st.floats(-10, 10), min_size=4, max_size=4), classes=st.integers(2, 7))
def test_coral_starts_with_its_thresholds_in_order(features, classes):
    layer = CoralLayer(4, classes)
    torch.testing.assert_close(layer.bias.detach(), torch.arange(classes - 1, 0, -1) / (classes - 1))
    assert (layer(torch.tensor([features])).diff(dim=1) < 0).all()


def test_coral_learns_an_order_and_keeps_it():
    torch.manual_seed(0)
    labels = torch.arange(5).repeat(8)
    features = torch.stack([labels.float(), torch.randn(40)], dim=1)
    loss = build_loss("coral", 5)
    head = build_head(2, 5, loss.output_layer)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        loss(head(features), labels).backward()
        optimizer.step()
    assert (head[-1].bias.diff() < 0).all()
    assert loss.probabilities(head(features)).argmax(dim=1).tolist() == labels.tolist()


def test_all_invalid_settings_are_listed_at_once():
    with pytest.raises(ConfigError) as fault:
        build_head(8, 1, hidden=[4, 0], dropout=1.0, input_dropout="x", activation="rel")
    for word in ("num_classes: 1", r"[4, 0]", "head.dropout: 1.0"):
        assert word in str(fault.value)
    for word in ("head.input_dropout: x", "Did you mean relu"):
        assert word in str(fault.value)


@pytest.mark.parametrize("hidden", [256, "classes", None, [2.5], ["class"], [True], [None]])
def test_widths_are_a_list_of_numbers_or_the_word_classes(hidden):
    with pytest.raises(ConfigError, match=r"head\.hidden: .* Give the units of each layer"):
        build_head(8, 2, hidden=hidden)


def test_settings_of_a_hidden_layer_need_one():
    with pytest.raises(ConfigError, match=r"input_dropout(.|\n)*batch_norm"):
        build_head(8, 2, input_dropout=0.1, batch_norm=True)
