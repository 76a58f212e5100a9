"""Late fusion: one branch, two branches, branches on inputs of their own, and the settings it refuses."""

import pytest
import torch

from fibrolab.errors import ConfigError
from fibrolab.models.fusion import LateFusion

TINY = {"name": "test_resnet"}
OTHER = {"name": "test_convnext"}


def images(n: int = 2, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8)


def build(branches, head=None, num_classes=5) -> LateFusion:
    return LateFusion(branches, head or {}, num_classes, image_size=32)


def test_the_hybrid_of_paper_1_joins_2048_and_4096_features():
    branches = {"a": {"name": "resnet50"}, "b": {"name": "vgg16"}}
    with torch.device("meta"):
        model = LateFusion(branches, {"hidden": [1024, 512], "dropout": 0.5}, num_classes=5, image_size=224)
        batch = {"image": torch.zeros(2, 1, 224, 224, dtype=torch.uint8)}
        assert model.num_features == 6144
        assert model.encode(batch).shape == (2, 6144)
        assert model(batch).shape == (2, 5)
    assert [layer.out_features for layer in model.head if isinstance(layer, torch.nn.Linear)] == [
        1024,
        512,
        5,
    ]


def test_one_branch_is_the_plain_classifier():
    model = build({"image": TINY}).eval()
    batch = {"image": images()}
    assert model.inputs == ("image",)
    torch.testing.assert_close(model(batch), model.head(model.branches["image"](batch["image"])))


def test_features_stand_in_the_order_of_the_branches():
    model = build({"z": TINY, "a": OTHER}).eval()
    batch = {"image": images()}
    z, a = model.branches["z"](batch["image"]), model.branches["a"](batch["image"])
    torch.testing.assert_close(model.encode(batch), torch.cat([z, a], dim=1))
    assert model.num_features == z.shape[1] + a.shape[1]


def test_each_branch_eats_the_entry_that_it_names():
    model = build({"grey": TINY, "stiffness": {**TINY, "input": "elastogram"}}).eval()
    assert model.inputs == ("image", "elastogram")
    first, second = images(), images().expand(-1, 3, -1, -1)
    joined = model.encode({"image": first, "elastogram": second})
    changed = model.encode({"image": first, "elastogram": 255 - second})
    width = model.branches["grey"].num_features
    torch.testing.assert_close(joined[:, :width], changed[:, :width])
    assert not torch.allclose(joined[:, width:], changed[:, width:])


def test_gradients_reach_every_branch_that_is_not_frozen():
    model = build({"a": TINY, "b": {**TINY, "freeze": "all"}}, head={"hidden": [8], "dropout": 0.1}).train()
    model({"image": images(4)}).sum().backward()
    assert all(weight.grad is not None for weight in model.branches["a"].parameters())
    assert all(weight.grad is None for weight in model.branches["b"].parameters())
    assert not model.branches["b"].training
    assert all(weight.grad is not None for weight in model.head.parameters())


def test_the_same_settings_rebuild_a_network_that_takes_the_saved_state():
    branches, batch = {"a": TINY, "b": OTHER}, {"image": images()}
    saved, fresh = build(branches).eval(), build(branches).eval()
    fresh.load_state_dict(saved.state_dict())
    torch.testing.assert_close(fresh(batch), saved(batch), rtol=0, atol=0)


def test_settings_are_left_as_they_were_given():
    settings = {**TINY, "input": "image"}
    build({"a": settings})
    assert settings == {**TINY, "input": "image"}


def test_a_batch_without_the_input_names_what_it_has():
    model = build({"a": {**TINY, "input": "elastogram"}})
    with pytest.raises(ConfigError, match=r"no elastogram\. It has: image, label"):
        model({"image": images(), "label": torch.zeros(2)})


def test_a_network_needs_a_branch():
    with pytest.raises(ConfigError, match="at least one backbone"):
        build({})


@pytest.mark.parametrize("name", ["a.b", "keys", "training", ""])
def test_names_that_torch_cannot_hold_are_refused(name):
    with pytest.raises(ConfigError, match="cannot name a branch"):
        build({name: TINY})


def test_faults_of_all_branches_and_the_head_are_listed_at_once():
    with pytest.raises(ConfigError) as fault:
        build({"a": {**TINY, "poling": "avg"}, "b": {"weights": None}}, head={"hiden": [3]})
    for sentence in (
        "branches.a: there is no 'poling'",
        "Did you mean pooling",
        "b: it names no backbone",
        "hidden",
    ):
        assert sentence in str(fault.value)
    with pytest.raises(ConfigError) as fault:
        build({"a": {"name": "resnet81"}, "b": {**TINY, "freeze": "half"}})
    assert "model.branches.a" in str(fault.value)
    assert "model.branches.b" in str(fault.value)
