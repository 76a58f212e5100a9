"""Names, settings and image sizes that backbones refuse, each with a suggestion."""

import pytest
import torch

from fibrolab.errors import ConfigError
from fibrolab.models.backbones import Backbone


def test_a_misspelt_network_is_refused_with_the_nearest_names():
    with pytest.raises(ConfigError, match=r"no 'resnet81'.*resnet"):
        Backbone("resnet81")
    with pytest.raises(ConfigError, match=r"no 'vgg16.tv_in2k'.*vgg16\.tv_in1k"):
        Backbone("vgg16.tv_in2k")


def test_all_unknown_settings_are_listed_at_once():
    with pytest.raises(ConfigError) as fault:
        Backbone(
            "resnet_18", pooling="average", unfreeze_every=0, scaling="imagenet", pretrained=True, weights="w"
        )
    for word in ("resnet_18", "average", "flatten", "unfreeze_every", "imagenet", "unit", "contradict"):
        assert word in str(fault.value)


def test_an_image_too_small_for_the_network_is_a_fault_of_the_settings():
    with pytest.raises(ConfigError, match=r"inception_v3 cannot take images of 32 px.*preprocess\.size"):
        Backbone("inception_v3", image_size=32)
    with pytest.raises(ConfigError, match="test_vit cannot take images of 60 px"):
        Backbone("test_vit", image_size=60)


@pytest.mark.parametrize(
    ("name", "least"), [("test_resnet", 32), ("resnet18", 32), ("r3d_18", 16), ("googlenet", 32)]
)
def test_an_image_smaller_than_the_stride_is_refused_with_the_least_size(name, least):
    with torch.device("meta"):
        Backbone(name, image_size=least)
        with pytest.raises(
            ConfigError, match=rf"{name} cannot take images of {least - 1} px.*{least} px or more"
        ):
            Backbone(name, image_size=least - 1)


def test_flattened_clips_are_refused():
    with torch.device("meta"), pytest.raises(ConfigError, match=r"flatten.*Use native, avg or max"):
        Backbone("r3d_18", pooling="flatten", image_size=32)


def test_a_network_without_a_feature_map_says_so_when_it_is_pooled():
    with torch.device("meta"), pytest.raises(ConfigError, match="crossvit_9_240 has no feature map"):
        Backbone("crossvit_9_240", pooling="avg", image_size=240)
