"""Networks of torchvision and timm, and 3D networks that start from 2D weights."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from fibrolab.errors import ConfigError, WeightsError
from fibrolab.models.backbones import Backbone
from fibrolab.models.inflation import central_frame_kernel
from fibrolab.models.networks import TORCHVISION, build_network, fault_of_name

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def with_random_statistics(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def original(name: str, **settings) -> nn.Module:
    extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **extra, **settings).eval()
    classifier = list(dict(network.named_children()))[-1]
    setattr(network, classifier, nn.Identity())
    return network


@pytest.mark.parametrize("name", TORCHVISION)
def test_networks_of_torchvision_equal_the_originals(name):
    theirs, ours = original(name), build_network(name, 32)
    ours.module.load_state_dict(theirs.state_dict())  # strict: the same keys but for the classifier's
    ours.module.eval()
    images = torch.randn(2, 3, *((3,) if ours.takes_clips else ()), 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.module(images), theirs(images))
        features = ours.module.forward_features(images)
        torch.testing.assert_close(features.flatten(2).mean(2), theirs(images))


def test_googlenet_input_has_the_scale_of_its_published_weights():
    theirs = original("googlenet", transform_input=True)
    backbone = Backbone("googlenet", image_size=32).eval()
    backbone.network.load_state_dict(theirs.state_dict())
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    scaled = torchvision.transforms.functional.normalize(images.expand(-1, 3, -1, -1) / 255, *IMAGENET)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), theirs(scaled), rtol=1e-4, atol=1e-5)


def test_clips_are_scaled_with_the_statistics_of_kinetics():
    with torch.device("meta"):
        assert Backbone("r3d_18", image_size=32).mean.shape == (1, 3, 1, 1, 1)
    known = torchvision.models.video.R3D_18_Weights.DEFAULT.transforms()
    network = build_network("mc3_18", 32)
    assert network.mean == tuple(known.mean)
    assert network.std == tuple(known.std)


def test_misspelt_networks_of_torchvision_are_refused_with_the_nearest_names():
    assert "Did you mean r3d_18" in fault_of_name("r3d18")
    assert "googlenet" in fault_of_name("googlenet1")
    assert all(fault_of_name(name) is None for name in (*TORCHVISION, "resnet18", "vgg16.tv_in1k"))


def test_a_central_frame_kernel_filters_every_frame_as_the_2d_kernel_does():
    kernel, clip = torch.randn(4, 2, 3, 3), torch.randn(1, 2, 5, 8, 8)
    through_time = nn.functional.conv3d(clip, central_frame_kernel(kernel, 3), padding=1)
    for t in range(5):
        expected = nn.functional.conv2d(clip[:, :, t], kernel, padding=1)
        torch.testing.assert_close(through_time[:, :, t], expected)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory) -> tuple[nn.Module, str]:
    """A 2D ResNet18 without max pooling, like its 3D counterparts, and the file of its weights."""
    network = with_random_statistics(timm.create_model("resnet18", num_classes=7))
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(network.state_dict(), path)
    network.maxpool = nn.Identity()
    return network, str(path)


@pytest.mark.parametrize(("name", "step"), [("r3d_18", 8), ("mc3_18", 1)])
def test_an_inflated_3d_network_equals_its_2d_counterpart_on_frames(resnet18, name, step):
    flat, path = resnet18
    backbone = Backbone(name, weights=path, image_size=32).eval()
    assert not backbone.weights_report.missing
    assert set(backbone.weights_report.unexpected) == {"fc.weight", "fc.bias"}
    clip = torch.randint(0, 256, (1, 1, 9, 32, 32), dtype=torch.uint8)
    still = clip[:, :, :1].expand(-1, -1, 9, -1, -1)
    scaled = backbone.scale(clip)
    with torch.no_grad():
        features = backbone.feature_map(clip)
        frames = scaled[0, :, ::step].transpose(0, 1)  # the frames that temporal strides keep
        expected = flat.forward_features(frames)
        torch.testing.assert_close(features[0].transpose(0, 1), expected, rtol=1e-4, atol=1e-4)
        pooled = flat.forward_features(scaled[:, :, 0]).mean((2, 3))
        torch.testing.assert_close(backbone(still), pooled, rtol=1e-4, atol=1e-4)


def test_a_branch_of_a_run_on_images_starts_a_3d_network(resnet18, tmp_path):
    _, path = resnet18
    images = Backbone("resnet18", weights=path, image_size=32)
    run = {f"network.branches.image.{key}": value for key, value in images.state_dict().items()}
    torch.save({"state_dict": run | {"network.head.0.weight": torch.zeros(5, 512)}}, tmp_path / "best.ckpt")
    backbone = Backbone("mc3_18", weights=f"{tmp_path / 'best.ckpt'}#network.branches.image", image_size=32)
    assert not backbone.weights_report.missing
    assert backbone.weights_report.prefix == "network.branches.image.network."
    torch.testing.assert_close(
        backbone.network.layer1[0].conv1[0].weight[:, :, 1], images.network.layer1[0].conv1.weight
    )


def test_a_3d_network_loads_its_own_weights(tmp_path):
    source = Backbone("mc3_18", image_size=32)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    backbone = Backbone("mc3_18", weights=str(tmp_path / "w.pt"), image_size=32)
    for key, value in source.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value)


def test_weights_of_images_are_refused_where_they_cannot_fit(resnet18, tmp_path):
    _, path = resnet18
    with pytest.raises(WeightsError, match=r"r2plus1d_18 factorises every kernel.*use r3d_18 or mc3_18"):
        Backbone("r2plus1d_18", weights=path, image_size=32)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="weights of the configured backbone"):
        Backbone("r3d_18", weights=str(tmp_path / "w.safetensors"), image_size=32)


def test_a_transformer_takes_images_of_the_size_that_is_set():
    for name in ("vit_small_patch16_224", "swin_tiny_patch4_window7_224"):
        with torch.device("meta"):
            backbone = Backbone(name, image_size=64)
            assert backbone(torch.zeros(2, 1, 64, 64)).shape == (2, backbone.num_features)
            assert backbone.native_size == 224
    with pytest.raises(ConfigError, match="cannot take images of 8 px"):
        Backbone("test_vit", image_size=8)
