"""Backbone, fusion, head and loss of the user's own package, each by its `_target_`."""

import pytest
import torch
from small_fusion import TINY, images
from torch import nn

from fibrolab.errors import ConfigError
from fibrolab.losses import ThresholdLoss, _threshold_losses
from fibrolab.modules.base import Classifier

HERE = __name__


class OwnNet(nn.Sequential):
    """Any module from (B, 3, H, W) to (B, F)."""

    mean = (0.2, 0.2, 0.2)

    def __init__(self, width=4):
        super().__init__(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class OwnFusion(nn.Module):
    def __init__(self, sizes, width=6):
        super().__init__()
        self.num_features = width
        self.views = nn.ModuleDict({name: nn.Linear(size, width) for name, size in sizes.items()})

    def forward(self, features, present):
        return sum(view(features[name]) for name, view in self.views.items())


class OwnHead(nn.Module):
    def __init__(self, in_features, num_classes, output, slope=0.1):
        super().__init__()
        self.act, self.last = nn.LeakyReLU(slope), output(in_features)

    def forward(self, features):
        return self.last(self.act(features))


class OwnLoss(ThresholdLoss):
    needs_order = True

    def output_layer(self, in_features):
        return nn.Linear(in_features, self.num_logits, bias=False)

    def per_sample(self, logits, labels):
        return _threshold_losses(logits, labels).mean(dim=1)

    def probabilities(self, logits):
        above = nn.functional.pad(logits.float().sigmoid().cummin(dim=1).values, (1, 1))
        above[:, 0] = 1
        return -above.diff(dim=1)


def classifier(**changes):
    given = {
        "branches": {"a": {"_target_": f"{HERE}.OwnNet", "name": "own", "width": 5}, "b": TINY},
        "fusion": {"_target_": f"{HERE}.OwnFusion", "name": "own", "width": 7},
        "head": {"_target_": f"{HERE}.OwnHead", "slope": 0.2},
        "loss": {"_target_": f"{HERE}.OwnLoss", "name": "own"},
    }
    return Classifier(
        **given | changes,
        classes=list("01234"),
        class_counts=[1] * 5,
        image_size=32,
        optimizer={"name": "SGD", "lr": 0.1},
        scheduler={"name": "constant"},
    )


def test_a_classifier_of_user_modules_learns_and_is_rebuilt_from_primitives():
    module = classifier()
    backbone = module.network.branches["a"]
    assert (type(backbone.network), backbone.num_features, backbone.mean[0, 0, 0, 0]) == (OwnNet, 5, 0.2)
    assert (type(module.network.fusion), type(module.network.head)) == (OwnFusion, OwnHead)
    assert module.network.head.last.weight.shape == (4, 7)
    batch = {"image": images(3)}
    module.criterion(module(batch), torch.tensor([0, 2, 4])).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    again = Classifier(**module.hparams)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.eval()(batch), module.eval()(batch))
    assert torch.allclose(module.criterion.probabilities(module(batch)).sum(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"branches": {"a": {"_target_": f"{HERE}.OwnNet", "name": "own", "wdth": 5}}},
            r"a: .*wdth",
        ),
        ({"branches": {"a": {"_target_": "no_such.Net", "name": "own"}}}, r"a: _target_=no_such\.Net cannot"),
        (
            {"branches": {"a": {"_target_": f"{HERE}.OwnNet", "name": "own", "pooling": "avg"}}},
            "has no feature map to pool",
        ),
        (
            {"fusion": {"_target_": "torch.nn.Identity", "name": "own"}},
            "must be an nn.Module with the attribute num_features",
        ),
        ({"head": {"_target_": f"{HERE}.OwnHead", "slop": 1}}, r"model\.head: .*slop.*signature"),
    ],
)
def test_settings_that_user_modules_do_not_take_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        classifier(**changes)
