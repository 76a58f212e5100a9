"""Image networks over clips: average, LSTM, inflation, and the video model."""

import copy

import pytest
import torch
from compose import composed, names
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.models.backbones import Backbone
from fibrolab.models.frame_models import FRAMES, over_frames
from fibrolab.models.side_taps import add_side_taps, side_taps
from fibrolab.modules.classifiers import VideoClassifier

TINY = "test_resnet"
FAMILIES = [
    "test_resnet",
    "test_efficientnet",  # depthwise kernels, squeeze-and-excitation
    "test_convnext",  # layer norm, patches of 4 x 4
    "tf_efficientnet_lite0",  # padding as TensorFlow does it
    "googlenet",
]


def clips(n: int = 2, length: int = 4, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (n, 1, length, size, size), dtype=torch.uint8)


def build(name: str, backbone: str = TINY, freeze: str = "none", **given: object) -> nn.Module:
    torch.manual_seed(0)
    return over_frames(Backbone(backbone, freeze=freeze, image_size=32), name, **given)


def randomise_side_taps(convs: list[nn.Conv2d]) -> None:
    """Give side taps random weights, as after training."""
    for conv in convs:
        for tap in (side_taps(conv).before, side_taps(conv).after):
            nn.init.normal_(tap.weight, std=0.1)


def test_the_average_of_one_frame_is_the_image_network():
    branch, still = build("average").eval(), clips(length=1)
    torch.testing.assert_close(branch(still), branch.backbone(still[:, :, 0]), rtol=0, atol=0)


def test_the_average_is_that_of_each_frame_by_itself():
    branch, clip = build("average").eval(), clips()
    alone = torch.stack([branch.backbone(clip[:, :, t]) for t in range(4)]).mean(0)
    torch.testing.assert_close(branch(clip), alone)


@given(n=st.integers(1, 3), length=st.integers(1, 5), name=st.sampled_from(sorted(FRAMES)))
@settings(deadline=None, max_examples=15)
def test_clips_of_any_length_give_one_vector_each(n, length, name):
    assert CACHED[name](clips(n, length)).shape == (n, CACHED[name].num_features)


CACHED = {name: build(name).eval() for name in FRAMES}


@pytest.mark.parametrize(
    ("given", "width"), [({}, 256), ({"units": 8, "layers": 2}, 8), ({"units": 8, "bidirectional": True}, 16)]
)
def test_an_lstm_returns_its_last_states(given, width):
    branch, clip = build("lstm", **given).eval(), clips()
    assert branch.num_features == width
    outputs, _ = branch.lstm(branch.each_frame(clip))
    units = branch.lstm.hidden_size
    expected = [outputs[:, -1, :units]]  # forwards it ends at the last frame, backwards at the first
    if branch.lstm.bidirectional:
        expected.append(outputs[:, 0, units:])
    torch.testing.assert_close(branch(clip), torch.cat(expected, 1))


@pytest.mark.parametrize("name", ["lstm", "inflated"])
def test_only_the_average_ignores_the_order_of_frames(name):
    clip = clips()
    branch = build(name).eval()
    if name == "inflated":
        randomise_side_taps(branch.convs)
    assert not torch.allclose(branch(clip), branch(clip.flip(2)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(CACHED["average"](clip), CACHED["average"](clip.flip(2)))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_inflated_network_initially_equals_the_average(family):
    clip = clips()
    average, inflated = (build(name, family) for name in ("average", "inflated"))
    assert inflated.convs
    for training in (False, True):
        torch.manual_seed(1)  # of dropout
        expected = average.train(training)(clip)
        torch.manual_seed(1)
        torch.testing.assert_close(inflated.train(training)(clip), expected, rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_side_taps_learn_where_their_central_tap_does(family):
    branch = build("inflated", family)
    branch(clips()).square().sum().backward()
    learning = [conv for conv in branch.convs if conv.weight.grad.any()]  # others are scaled by zero
    assert learning
    for conv in learning:
        assert side_taps(conv).before.weight.grad.any()
        assert side_taps(conv).after.weight.grad.any()


@given(
    kernel=st.sampled_from([(3, 3), (1, 5), (2, 3)]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    length=st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_a_convolution_with_side_taps_is_one_over_space_and_time(
    kernel, stride, padding, groups, bias, length
):
    conv = nn.Conv2d(4, 8, kernel, stride, padding, groups=groups, bias=bias)
    randomise_side_taps(add_side_taps(Alone(conv)))
    side_taps(conv).length = length
    clip = torch.randn(2, 4, length, 6, 6)
    through_time = torch.stack([side_taps(conv).before.weight, conv.weight, side_taps(conv).after.weight], 2)
    expected = F.conv3d(
        clip, through_time, conv.bias, (1, stride, stride), (1, padding, padding), groups=groups
    )
    frames = conv(clip.transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(
        frames.unflatten(0, (2, length)).transpose(1, 2), expected, rtol=1e-4, atol=1e-4
    )


class Alone(nn.Module):
    """A convolution with the part of a backbone that inflation needs."""

    name = "alone"

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(4, 4, 1), conv)

    def at_epoch(self, epoch: int) -> None:
        pass


def test_weights_keep_their_names_when_they_are_inflated():
    flat, inflated = build("average").state_dict(), build("inflated").state_dict()
    assert flat.keys() < inflated.keys()
    assert all(torch.equal(flat[key], inflated[key]) for key in flat)
    assert {key.split(".sides.")[1] for key in inflated.keys() - flat.keys()} == {
        "before.weight",
        "after.weight",
    }


def test_a_copy_of_an_inflated_network_is_independent():
    branch, clip = build("inflated").eval(), clips()
    randomise_side_taps(branch.convs)
    copied = copy.deepcopy(branch)
    branch(clips(length=2))
    expected = branch(clip)
    for weight in branch.parameters():
        nn.init.zeros_(weight)
    torch.testing.assert_close(copied(clip), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", FRAMES)
def test_the_same_settings_rebuild_a_network_that_takes_the_saved_state(name):
    saved, fresh, clip = build(name).eval(), build(name).eval(), clips()
    for weight in fresh.parameters():
        nn.init.zeros_(weight)
    fresh.load_state_dict(saved.state_dict())
    torch.testing.assert_close(fresh(clip), saved(clip), rtol=0, atol=0)


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("freeze", ["none", "gradual", "layer2"])
def test_every_parameter_has_a_depth(name, freeze):
    branch = build(name, freeze=freeze)
    depths = branch.depths()
    assert depths.keys() == dict(branch.named_parameters()).keys()
    assert set(depths.values()) == set(range(max(depths.values()) + 1))
    network = branch.backbone.depths()
    assert all(depths[f"backbone.{key}"] == depth for key, depth in network.items())
    if name == "lstm":
        assert {depth for key, depth in depths.items() if key.startswith("lstm.")} == {
            1 + max(network.values())
        }
    for key, depth in depths.items():
        if ".sides." in key:
            assert depth == depths[f"{key.split('.sides.')[0]}.weight"]


def test_a_frozen_backbone_makes_a_frozen_average_and_leaves_an_lstm_to_train():
    average, lstm = build("average", freeze="all"), build("lstm", freeze="all")
    assert average.frozen
    assert not lstm.frozen
    assert not any(weight.requires_grad for weight in average.parameters())
    assert not lstm.train().each_frame(clips()).requires_grad  # no graph: the frames cost no memory
    lstm(clips()).sum().backward()
    assert {key for key, weight in lstm.named_parameters() if weight.grad is not None} == {
        f"lstm.{key}" for key, _ in lstm.lstm.named_parameters()
    }


def test_layers_that_never_train_stay_2d():
    branch = build("inflated", freeze="layer2")
    inflated = {key.split(".sides.")[0] for key in branch.state_dict() if ".sides." in key}
    assert inflated
    assert all(key.startswith(("backbone.network.layer3", "backbone.network.layer4")) for key in inflated)


def test_side_taps_are_unfrozen_with_their_central_tap_in_any_order_of_epochs():
    branch = build("inflated", freeze="gradual")
    assert len(branch.convs) == len(build("inflated").convs)
    seen = []
    for epoch in (0, 2, 100, 2, 0):
        branch.at_epoch(epoch)
        for conv in branch.convs:
            taps = {weight.requires_grad for weight in side_taps(conv).parameters()}
            assert taps == {conv.weight.requires_grad}
        seen.append(sum(conv.weight.requires_grad for conv in branch.convs))
    assert seen[0] == seen[4] == 0
    assert 0 < seen[1] == seen[3] < seen[2] == len(branch.convs)


@pytest.mark.parametrize(
    ("backbone", "freeze", "said"),
    [
        ("test_vit", "none", "test_vit has none"),
        ("test_nfnet", "none", r"kernels of test_nfnet \(ScaledStdConv2d\)"),
        (TINY, "all", r"those of test_resnet are frozen.*frames=average"),
    ],
)
def test_networks_that_cannot_be_inflated_are_refused(backbone, freeze, said):
    with pytest.raises(ConfigError, match=said):
        build("inflated", backbone, freeze)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "lstn"}, "no 'lstn'.*Did you mean lstm"),
        ({"name": "lstm", "unit": 8}, "no 'unit'.*Did you mean units"),
        ({"name": "lstm", "units": 0}, r"frames\.units: 0"),
        ({"name": "lstm", "layers": "two"}, r"frames\.layers: two"),
        ({"name": "average", "units": 8}, "frames=average has no settings; units was given"),
    ],
)
def test_unknown_settings_are_refused_with_the_known_ones(given, said):
    with pytest.raises(ConfigError, match=said):
        build(**given)


def classifier(**clip: object) -> VideoClassifier:
    return VideoClassifier(
        branches={"clip": {"input": "clip", "name": TINY} | clip},
        head={},
        classes=["F0", "F1", "F2", "F3", "F4"],
        class_counts=[2] * 5,
        image_size=32,
        loss={"name": "cross_entropy"},
        optimizer={"name": "AdamW", "lr": 0.003},
        scheduler={"name": "constant"},
    )


def test_a_model_without_a_clip_is_refused():
    with pytest.raises(ConfigError, match=r"clip takes image.*model=single"):
        classifier(input="image")


@pytest.mark.parametrize("name", FRAMES)
def test_one_batch_of_clips_is_overfitted(name):
    torch.manual_seed(0)
    module = classifier(frames={"name": name})
    assert module.inputs == ["clip"]
    batch = {"clip": clips(5, length=3), "label": torch.arange(5)}
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        loss = module.criterion(module(batch), batch["label"])
        if loss < 0.05:
            return
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {loss.item():.3f}")


@pytest.mark.parametrize("frames", names("frames"))
def test_networks_that_see_time_are_chosen_by_config(frames):
    backbone = "r3d_18" if frames == "none" else "tiny"
    chosen = (f"backbone@model.branches.clip={backbone}", f"frames@model.branches.clip.frames={frames}")
    branches = resolved(composed("model=video", "pretrained=false", *chosen).model.branches)
    module = classifier(**branches["clip"]).eval()
    assert module({"clip": clips()}).shape == (2, 5)
