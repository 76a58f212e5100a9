"""Freezing: the parameters that train in each epoch, and the layers that stay in evaluation mode."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fibrolab.errors import ConfigError
from fibrolab.models import freezing
from fibrolab.models.backbones import Backbone

# A network of each kind, with one of its middle layers.
FAMILIES = {
    "resnet18": "layer2",
    "test_efficientnet": "blocks.2.0",
    "vgg16": "features.10",
    "test_vit": "blocks.2",
    "googlenet": "inception3b.branch2",
    "r3d_18": "layer2.0",
}
FREEZINGS: dict[str, Callable[[str], dict]] = {
    "none": lambda layer: {"freeze": "none"},
    "all": lambda layer: {"freeze": "all"},
    "layer": lambda layer: {"freeze": layer},
    "gradual": lambda layer: {"freeze": "gradual", "unfreeze_every": 2},
}


def images(backbone: Backbone, n: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, *((4,) if backbone.takes_clips else ()), side, side))


def trained(backbone: Backbone) -> set[str]:
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", FREEZINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_only_parameters_that_train_get_gradients(name, kind):
    with torch.device("meta"):  # meta tensors suffice to see which parameters get gradients
        backbone = Backbone(name, **FREEZINGS[kind](FAMILIES[name]), image_size=64)
        head = nn.Linear(backbone.num_features, 2)
        for epoch in (0, 5):
            backbone.zero_grad()
            backbone.at_epoch(epoch)
            head(backbone(images(backbone))).sum().backward()
            reached = {key for key, value in backbone.named_parameters() if value.grad is not None}
            held = freezing.frozen_parameters(
                backbone.network, backbone.freeze, epoch, backbone.unfreeze_every
            )
            assert reached == trained(backbone)
            assert reached == backbone.depths().keys() - {f"network.{key}" for key in held}
    assert (not reached) == (kind == "all")


@pytest.mark.parametrize("name", FAMILIES)
def test_freezing_a_layer_freezes_it_and_all_before_it_only(name):
    layer = FAMILIES[name]
    with torch.device("meta"):
        backbone = Backbone(name, freeze=layer, image_size=64)
    train = trained(backbone)
    depths = backbone.depths()
    own = {depth for key, depth in depths.items() if key.startswith(f"network.{layer}.")}
    assert not any(key.startswith(f"network.{layer}.") for key in train)
    assert all(depths[key] >= max(own) for key in train)
    assert {key for key, depth in depths.items() if depth > max(own)} <= train
    assert depths.keys() == dict(backbone.named_parameters()).keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_freezing_up_to_a_listed_layer_freezes_whole_stages(name):
    with torch.device("meta"):
        network = Backbone(name, image_size=64).network
    stages = freezing.stages(network)
    for number, layer in enumerate(freezing.layers(network)):
        assert freezing.frozen_parameters(network, layer) == {
            key for stage in stages[: number + 1] for key in stage
        }


@pytest.mark.parametrize(
    ("name", "layer"), [("test_resnet", "layer2"), ("test_efficientnet", "blocks.2"), ("googlenet", "conv3")]
)
def test_statistics_of_frozen_layers_stay_and_those_of_the_others_move(name, layer):
    backbone = Backbone(name, freeze=layer, image_size=64).train()
    head = nn.Linear(backbone.num_features, 2)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    weights = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(weights, lr=0.01, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        head(backbone(images(backbone, 4))).square().mean().backward()
        optimizer.step()
    held = {f"network.{key}" for key in freezing.frozen_parameters(backbone.network, layer)}
    frozen_layers = {key.rpartition(".")[0] for key in held}
    statistics = 0
    for key, value in backbone.state_dict().items():
        if key.endswith("running_mean"):
            statistics += 1
            assert torch.equal(value, before[key]) == (key.rpartition(".")[0] in frozen_layers), key
        elif key in held:
            assert torch.equal(value, before[key]), key
    assert statistics > 4
    assert frozen_layers


def test_gradual_freezing_unfreezes_one_stage_at_a_time_from_the_head_down():
    backbone = Backbone("test_resnet", freeze="gradual", unfreeze_every=3, image_size=32)
    depths = backbone.depths()
    deepest = max(depths.values())
    for epoch in range(3 * (deepest + 3)):
        backbone.at_epoch(epoch)
        expected = {key for key, depth in depths.items() if depth > deepest - epoch // 3}
        assert trained(backbone) == expected
    assert trained(backbone) == depths.keys()
    assert not backbone.frozen


@given(epochs=st.lists(st.integers(0, 12), min_size=1, max_size=6))
def test_the_parameters_that_train_do_not_depend_on_earlier_epochs(epochs):
    for epoch in epochs:
        GRADUAL.at_epoch(epoch)
    fresh = freezing.frozen_parameters(GRADUAL.network, "gradual", epochs[-1], 2)
    assert trained(GRADUAL) == GRADUAL.depths().keys() - {f"network.{key}" for key in fresh}
    for name, module in GRADUAL.network.named_modules():
        own = [parameter.requires_grad for parameter in module.parameters()]
        if own:
            assert module.training == any(own), name


GRADUAL = Backbone("test_efficientnet", freeze="gradual", unfreeze_every=2, image_size=32)


def test_unfreezing_in_evaluation_mode_takes_effect_with_the_next_training():
    backbone = Backbone("test_resnet", freeze="gradual", image_size=32).eval()
    backbone.at_epoch(1)
    assert not any(module.training for module in backbone.modules())
    backbone.train()
    assert backbone.network.layer4[0].bn1.training
    assert not backbone.network.layer3[0].bn1.training


def test_a_layer_without_weights_follows_the_layer_before_it():
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2))
    freezing.freeze_parameters(network, {"0.weight", "0.bias", "2.weight", "2.bias"})
    assert list(freezing.frozen_layers(network)) == list(network)[:4]
    freezing.freeze_parameters(network, {"0.weight", "0.bias"})
    assert list(freezing.frozen_layers(network)) == list(network)[:2]


def test_a_network_frozen_up_to_its_last_layer_is_frozen_as_a_whole():
    assert Backbone("test_vit", freeze="norm", image_size=32).frozen
    assert not Backbone("test_vit", freeze="blocks.4", image_size=32).frozen


def test_frozen_layers_at_the_bottom_keep_no_activations():
    kept = {}
    for freeze in ("none", "layer1", "layer3", "all"):
        backbone = Backbone("test_resnet", freeze=freeze, image_size=32)
        saved: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, to=saved: to.append(x), lambda x: x):
            backbone(images(backbone, side=32))
        kept[freeze] = len(saved)
    assert kept["none"] > kept["layer1"] > kept["layer3"] > kept["all"] == 0


def test_an_unknown_layer_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"there is no 'layer5'.*gradual.*layer1.*Did you mean layer4"):
        Backbone("test_resnet", freeze="layer5", image_size=32)
    with pytest.raises(ConfigError, match=r"there is no 'block.3'.*Did you mean blocks\.3"):
        Backbone("test_vit", freeze="block.3", image_size=32)


def test_a_layer_that_pooling_bypasses_cannot_be_frozen():
    with torch.device("meta"), pytest.raises(ConfigError, match="there is no 'pre_logits'"):
        Backbone("vgg16", pooling="avg", freeze="pre_logits", image_size=32)
