"""Late fusion: concatenated and gated branches, and the settings that are refused."""

import pytest
import torch
from compose import composed, names
from omegaconf import OmegaConf
from small_fusion import OTHER, SECOND_LACKS, THREE_INPUTS, TINY, TWO_INPUTS, build, images, pairs

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.models.fusion import FUSIONS, Gated, LateFusion


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


def test_grey_and_elastogram_of_paper_4_join_2048_and_2048_features():
    branches = {"gm": {"name": "inception_v3"}, "em": {"name": "inception_v3", "input": "elastogram"}}
    with torch.device("meta"):
        model = LateFusion(branches, {"hidden": [1024, 256]}, num_classes=2, image_size=299)
        batch = {"image": torch.zeros(2, 1, 299, 299), "elastogram": torch.zeros(2, 3, 299, 299)}
        assert model.num_features == 4096
        assert model(batch).shape == (2, 2)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model.head) == 3


def test_one_branch_is_the_plain_classifier():
    model = build({"image": TINY}).eval()
    batch = {"image": images()}
    assert model.inputs == ("image",)
    torch.testing.assert_close(model(batch), model.head(model.branches["image"](batch["image"])))


def test_features_are_in_the_order_of_the_branches():
    model = build({"z": TINY, "a": OTHER}).eval()
    batch = {"image": images()}
    z, a = model.branches["z"](batch["image"]), model.branches["a"](batch["image"])
    torch.testing.assert_close(model.encode(batch), torch.cat([z, a], dim=1))
    assert model.num_features == z.shape[1] + a.shape[1]


def test_each_branch_takes_the_entry_that_it_names():
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


def test_two_gated_branches_are_the_bimodal_unit_of_the_paper():
    sizes = {"v": 6, "t": 3}
    unit, x = Gated(sizes, width=4), {"v": torch.randn(5, 6), "t": torch.randn(5, 3)}
    both = torch.cat([x["v"], x["t"]], dim=1)
    with torch.no_grad():
        (weight, bias), h = (unit.gates.weight, unit.gates.bias), {}
        for name in sizes:
            h[name] = torch.tanh(x[name] @ unit.views[name].weight.T + unit.views[name].bias)
        z = torch.sigmoid(both @ (weight[:4] - weight[4:]).T + bias[:4] - bias[4:])
        torch.testing.assert_close(unit(x, {}), z * h["v"] + (1 - z) * h["t"])


def test_a_sample_with_one_branch_uses_only_that_branch():
    unit, x = Gated({"v": 6, "t": 3}, width=4), {"v": torch.randn(2, 6), "t": torch.randn(2, 3)}
    joined = unit(x, {"v": torch.tensor([True, False])})
    torch.testing.assert_close(joined[1], torch.tanh(unit.views["t"](x["t"][1])))
    torch.testing.assert_close(joined[:1], unit({name: row[:1] for name, row in x.items()}, {}))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_trains_all_of_three_inputs(fusion):
    model = build(THREE_INPUTS, fusion={"name": fusion})
    table = torch.tensor([[1.0], [float("nan")], [3.0], [9.0]])
    batch = pairs() | {"clinical": table, keys.present("elastogram"): SECOND_LACKS}
    assert model.inputs == ("image", "elastogram", "clinical")
    assert model.encode(batch).shape == (4, model.num_features)
    model(batch).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("mask", [None, SECOND_LACKS])
def test_precomputed_features_replace_pixels(mask, monkeypatch):
    model = build({**TWO_INPUTS, "stiffness": {**TWO_INPUTS["stiffness"], "freeze": "all"}}).eval()
    batch = pairs(mask)
    expected, features = model(batch), model.branches["stiffness"](batch["elastogram"])
    monkeypatch.setattr(model.branches["stiffness"], "forward", None)
    served = {name: value for name, value in batch.items() if name != "elastogram"}
    served[keys.features("stiffness")] = features
    torch.testing.assert_close(model(served), expected)


def test_every_parameter_has_a_depth_and_branches_end_at_the_same_depth():
    model = build({**THREE_INPUTS, "other": OTHER}, fusion={"name": "gated", "width": 8})
    depths = model.depths()
    assert set(depths) == {name for name, _ in model.named_parameters()}
    head = depths["head.0.weight"]
    assert {depth for name, depth in depths.items() if name.startswith(("head.", "fusion."))} == {head}
    for branch in model.branches:
        own = model.branches[branch].depths()
        found = {name: depths[f"branches.{branch}.{name}"] for name in own}
        assert max(found.values()) == head - 1
        assert {name: depth - min(found.values()) for name, depth in found.items()} == own
    assert min(depths.values()) == 0


def test_branches_are_unfrozen_by_epoch():
    model = build({"a": {**TINY, "freeze": "gradual"}, "b": {**OTHER, "freeze": "all"}})
    trains = lambda branch: sum(p.requires_grad for p in model.branches[branch].parameters())  # noqa: E731
    counts = []
    for epoch in (0, 2, 50, 0):
        model.at_epoch(epoch)
        counts.append(trains("a"))
    assert counts[0] == counts[3] == 0 < counts[1] < counts[2] == len(list(model.branches["a"].parameters()))
    assert trains("b") == 0


@pytest.mark.parametrize("name", names("fusion"))
def test_every_config_of_a_fusion_joins_two_inputs(name):
    config = composed("model=multimodal", f"fusion@model.fusion={name}", "model.fusion.modality_dropout=0.2")
    model = OmegaConf.to_container(config.model)
    network = LateFusion(model["branches"], model["head"], 5, image_size=32, fusion=model["fusion"])
    assert network(pairs(SECOND_LACKS)).shape == (4, 5)


def test_a_batch_without_the_input_is_refused_with_its_entries():
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


@pytest.mark.parametrize(
    ("fusion", "sentence"),
    [
        ({"name": "gatd"}, "there is no 'gatd'.* Did you mean gated"),
        ({"name": "concatenate", "width": 8}, r"model\.fusion: there is no 'width'"),
        ({"name": "gated", "width": 0}, "0 is not a number of units"),
        ({"name": "gated", "modality_dropout": 1}, "1 is not a proportion"),
        ({"name": "gated", "modality_dropout": "often"}, "often is not a proportion"),
    ],
)
def test_settings_of_a_fusion_are_checked(fusion, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build(TWO_INPUTS, fusion=fusion)


def test_the_only_input_cannot_be_dropped():
    with pytest.raises(ConfigError, match=r"0\.3 needs two inputs"):
        build({"a": TINY, "b": OTHER}, fusion={"modality_dropout": 0.3})


def test_faults_of_all_branches_and_the_head_are_listed_at_once():
    with pytest.raises(ConfigError) as fault:
        build({"a": {**TINY, "poling": "avg"}, "b": {"weights": None}}, head={"hiden": [3]})
    for sentence in (
        "branches.a: there is no 'poling'",
        "Did you mean pooling",
        "b: no backbone is named",
        "hidden",
    ):
        assert sentence in str(fault.value)
    with pytest.raises(ConfigError) as fault:
        build({"a": {"name": "resnet81"}, "b": {**TINY, "freeze": "half"}})
    assert "model.branches.a" in str(fault.value)
    assert "model.branches.b" in str(fault.value)
