"""Backbones: scaling, pooling, freezing, and feature maps."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from compose import composed, names
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.models.backbones import Backbone
from fibrolab.models.networks import build_network

CONF = Path(__file__).parents[2] / "conf" / "backbone"
TINY = "test_resnet"
SIDE = 96  # [px], an image size that all networks of conf/backbone take


def bytes_of_images(n: int = 2, size: int = 32, channels: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8)


def settings_of(config: str) -> dict:
    return dict(composed("+pretrained=false", name=f"backbone/{config}").backbone)


@pytest.fixture(scope="module", params=names("backbone"))
def built(request) -> tuple[dict, Backbone]:
    settings = settings_of(request.param)
    with torch.device("meta"):  # meta tensors: even VGG16 is built at once
        return settings, Backbone(**settings, image_size=SIDE)


def blank(backbone: Backbone, n: int = 2) -> torch.Tensor:
    return torch.zeros(n, 1, *((5,) if backbone.takes_clips else ()), SIDE, SIDE, device="meta")


@pytest.mark.parametrize("config", names("backbone"))
def test_every_config_holds_all_settings_and_ends_its_sentence_with_a_command(config):
    assert settings_of(config).keys() == inspect.signature(Backbone).parameters.keys() - {
        "image_size",
        "_target_",
        "settings",
    }
    sentence = (CONF / f"{config}.yaml").read_text().splitlines()[0]
    assert re.search(rf"backbone@model\.branches\.(image|clip)={config}$", sentence)
    of_clips = sentence.endswith(f"clip={config}")
    assert ("model=video" in sentence) == ("frames@model.branches.clip.frames=none" in sentence) == of_clips


def test_the_network_of_every_config_has_the_interface(built):
    _, backbone = built
    images = blank(backbone)
    with torch.device("meta"):
        assert backbone(images).shape == (2, backbone.num_features)
        features = backbone.feature_map(images)
    assert features.shape[0] == 2
    assert features.ndim == images.ndim
    assert features.shape[-1] == features.shape[-2] < SIDE / 4
    assert backbone.native_size >= SIDE
    assert backbone.layers


def test_depths_of_every_config_cover_all_parameters_and_rise_from_the_input_to_the_head(built):
    _, backbone = built
    depths = backbone.depths()
    assert depths.keys() == dict(backbone.named_parameters()).keys()
    assert set(depths.values()) == set(range(len(backbone.layers)))
    entered: dict[str, int] = {}

    def enter(name: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            entered.setdefault(name, len(entered))

        return note

    hooks = [module.register_forward_pre_hook(enter(name)) for name, module in backbone.named_modules()]
    with torch.device("meta"):
        backbone(blank(backbone))
    for hook in hooks:
        hook.remove()
    ends = [0] * len(backbone.layers)
    for name, depth in depths.items():
        ends[depth] = max(ends[depth], entered.get(name.rpartition(".")[0], 0))
    assert ends == sorted(ends)


def test_no_parameter_of_any_config_trains_with_freeze_all(built):
    settings, _ = built
    with torch.device("meta"):
        backbone = Backbone(**{**settings, "freeze": "all"}, image_size=SIDE)
    assert backbone.frozen
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize(
    ("name", "pooling", "width"),
    [
        ("resnet50", "native", 2048),
        ("resnet50", "avg", 2048),
        ("vgg16", "native", 4096),
        ("vgg16", "flatten", 25_088),
        ("inception_v3", "native", 2048),
        ("densenet121", "native", 1024),
    ],
)
def test_feature_vectors_have_the_lengths_that_the_papers_give(name, pooling, width):
    with torch.device("meta"):
        backbone = Backbone(name, pooling=pooling)
        assert backbone.num_features == width
        assert backbone(torch.zeros(2, 1, 224, 224)).shape == (2, width)


def test_bytes_are_scaled_with_the_mean_and_deviation_that_timm_gives():
    backbone = Backbone("test_convnext", image_size=32).eval()
    config = backbone.network.pretrained_cfg
    images = bytes_of_images()
    three = images.expand(-1, 3, -1, -1).float() / 255
    expected = torchvision.transforms.functional.normalize(three, config["mean"], config["std"])
    torch.testing.assert_close(backbone.scale(images), expected)
    torch.testing.assert_close(backbone(images), backbone.network(expected))


def test_unit_scaling_leaves_the_interval_from_zero_to_one():
    images = bytes_of_images()
    backbone = Backbone(TINY, scaling="unit", image_size=32)
    torch.testing.assert_close(backbone.scale(images), (images / 255).expand(-1, 3, -1, -1))


@given(value=st.integers(0, 255), as_float=st.booleans(), scaling=st.sampled_from(["backbone", "unit"]))
def test_one_channel_and_three_equal_channels_are_the_same_image(value, as_float, scaling):
    backbone = CACHED[scaling]
    grey = torch.full((1, 1, 8, 8), value, dtype=torch.float32 if as_float else torch.uint8)
    torch.testing.assert_close(backbone.scale(grey), backbone.scale(grey.expand(-1, 3, -1, -1)))
    assert backbone.scale(grey).shape == (1, 3, 8, 8)


CACHED = {scaling: Backbone(TINY, scaling=scaling, image_size=32) for scaling in ("backbone", "unit")}


def test_scaling_is_not_part_of_a_checkpoint():
    assert all(key.startswith("network.") for key in CACHED["unit"].state_dict())


def test_poolings_reduce_the_last_feature_map():
    images = bytes_of_images(size=64)
    pooled = {}
    for pooling in ("native", "avg", "max", "flatten"):
        torch.manual_seed(0)
        backbone = Backbone(TINY, pooling=pooling, image_size=64).eval()
        pooled[pooling] = backbone(images)
        assert pooled[pooling].shape == (2, backbone.num_features)
    features = backbone.feature_map(images)
    assert features.shape[2:] == (2, 2)
    torch.testing.assert_close(pooled["avg"], features.mean((2, 3)))
    torch.testing.assert_close(pooled["max"], features.amax((2, 3)))
    torch.testing.assert_close(pooled["flatten"], features.reshape(2, -1))
    torch.testing.assert_close(pooled["native"], pooled["avg"])  # a ResNet's own pooling is the average


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224", "test_resnet"])
def test_tokens_and_channels_last_networks_give_maps_in_the_order_of_the_image(name):
    backbone = Backbone(name, image_size=64).eval()
    images = bytes_of_images(size=64)
    last = backbone.network.forward_intermediates(
        backbone.scale(images), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
    )[0]
    torch.testing.assert_close(backbone.feature_map(images), last)


@pytest.mark.parametrize("name", ["vgg16", "mobilenetv3_small_050"])
def test_layers_that_pooling_bypasses_are_removed(name):
    with torch.device("meta"):
        whole, pooled = Backbone(name, image_size=64), Backbone(name, pooling="avg", image_size=64)
    assert pooled.state_dict().keys() < whole.state_dict().keys()
    assert sum(p.numel() for p in pooled.parameters()) < sum(p.numel() for p in whole.parameters())


@pytest.mark.parametrize("pooling", ["native", "avg"])
def test_every_weight_learns(pooling):
    backbone = Backbone("mobilenetv3_small_050", pooling=pooling, image_size=32)
    backbone(bytes_of_images()).sum().backward()
    assert all(weight.grad is not None for weight in backbone.parameters())


def test_building_leaves_batch_norm_untouched_and_the_network_in_training():
    backbone = Backbone(TINY, image_size=32)
    assert backbone.training
    assert all(module.training for module in backbone.modules())
    assert all(
        count == 0 for key, count in backbone.state_dict().items() if key.endswith("num_batches_tracked")
    )


def test_a_frozen_backbone_does_not_change_while_the_rest_trains():
    backbone = Backbone(TINY, freeze="all", image_size=32)
    model = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.num_features, 2)).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    images = bytes_of_images(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    features = backbone(images)
    for _ in range(2):
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()
    assert not features.requires_grad
    assert not any(module.training for module in backbone.modules())
    assert not any(weight.requires_grad for weight in backbone.parameters())
    assert model[1].weight.grad is not None
    for key, value in backbone.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_a_trainable_backbone_does_change():
    backbone = Backbone(TINY, image_size=32)
    before = backbone.network.bn1.running_mean.clone()
    backbone(bytes_of_images(4)).sum().backward()
    assert not torch.equal(backbone.network.bn1.running_mean, before)
    assert all(weight.grad is not None for weight in backbone.parameters())


def test_saliency_maps_reach_the_pixels_through_a_frozen_backbone():
    images = bytes_of_images().float().requires_grad_()
    Backbone(TINY, freeze="all", image_size=32)(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_no_graph_is_built_where_gradients_are_off():
    with torch.no_grad():
        assert not CACHED["unit"](bytes_of_images()).requires_grad
    assert CACHED["unit"](bytes_of_images()).requires_grad


@pytest.mark.parametrize("pooling", ["native", "avg", "max"])
def test_clips_of_any_length_give_feature_vectors_of_one_length(pooling):
    with torch.device("meta"):
        backbone = Backbone("r3d_18", pooling=pooling, image_size=32)
        for frames in (1, 7, 16):
            assert backbone(torch.zeros(2, 1, frames, 32, 32)).shape == (2, backbone.num_features)


def test_the_image_size_of_published_weights_is_known():
    with torch.device("meta"):
        assert Backbone("inception_v3", image_size=96).native_size == 299
        assert Backbone("r3d_18", image_size=32).native_size == 112


@pytest.mark.parametrize("name", ["vgg16", "densenet121", "resnet18", "inception_v3"])
def test_checkpoints_of_torchvision_fit_the_same_network_of_timm(name):
    extra = {"init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        foreign = getattr(torchvision.models, name)(weights=None, **extra).state_dict()
        built = build_network(name, 224)
    if name == "densenet121":  # torchvision's published file still carries the names of its first release
        foreign = {re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key): value for key, value in foreign.items()}
    adapted = built.adapt(foreign)
    for key, value in built.module.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert adapted[key].shape == value.shape
